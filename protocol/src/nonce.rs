//! Nonces: one for each key, seed, context and height, the same whenever it is asked for.
//!
//! The seed is born with the signer's record and stands in no backup, so a restored signer has other nonces: it cannot
//! sign twice with one. Source: docs/protocol.md, Nonces.

use crate::codec::Wire as _;
use crate::context::Context;
use crate::curve::SecretScalar;
use crate::eots::SecretNonce;
use crate::units::Height;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use zeroize::Zeroizing;

/// Randomness of one signer record.
#[derive(Clone)]
pub struct NonceSeed(Zeroizing<[u8; 32]>);

impl NonceSeed {
    /// Thirty-two random bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, for the record.
    pub fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        self.0.clone()
    }
}

impl std::fmt::Debug for NonceSeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[redacted]")
    }
}

/// The nonce of a height.
pub fn derive(key: &SecretScalar, seed: &NonceSeed, context: &Context, height: Height) -> SecretNonce {
    let key = Zeroizing::new(key.to_bytes());
    derive_with(|counter| {
        #[allow(clippy::expect_used, reason = "HMAC takes keys of any length")]
        let mut mac = Hmac::<Sha256>::new_from_slice(&*key).expect("any length");
        mac.update(b"palisade/1/nonce");
        mac.update(&*seed.0);
        mac.update(&context.0);
        mac.update(&height.to_bytes());
        mac.update(&counter.to_be_bytes());
        mac.finalize().into_bytes().into()
    })
}

/// The first candidate that is a scalar: rejection, so that no nonce is more likely than another.
fn derive_with(candidate: impl Fn(u32) -> [u8; 32]) -> SecretNonce {
    let mut counter = 0u32;
    loop {
        if let Ok(k) = SecretScalar::from_bytes(candidate(counter)) {
            return SecretNonce::new(&k);
        }
        counter = counter.wrapping_add(1);
    }
}
