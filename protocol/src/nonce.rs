//! Nonces for EOTS, one for each key, seed, context and height.
//!
//! `k = HMAC-SHA256(key, "palisade/1/nonce" || seed(32) || context(32) || height(u64) || counter(u32))`, where the
//! counter is the first from 0 up with `0 < k < n`, and key is the secret key in its even-y form. Candidates are
//! rejected, never reduced, so k is uniform. The seed is born with a signer's record and is in no backup: a restored
//! signer derives other nonces than the lost one, and so cannot repeat any of its nonces for another message.
//! Source: docs/protocol.md, section 3.3.

use crate::context::Context;
use crate::curve::{KeyPair, SecretScalar};
use crate::eots::SecretNonce;
use crate::units::Height;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;
use std::fmt;
use zeroize::Zeroizing;

const TAG: &[u8; 16] = b"palisade/1/nonce";

/// Thirty-two random bytes that belong to one signer's record. Secret, and never copied to another record.
pub struct NonceSeed(Zeroizing<[u8; 32]>);

impl NonceSeed {
    /// A seed from the 32 bytes that the caller drew or read from its record.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(Zeroizing::new(bytes))
    }

    /// The bytes, to write them into the record.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for NonceSeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("NonceSeed([redacted])")
    }
}

/// The nonce of a height of a chain, whose vote context is `context`.
pub fn derive(key: &KeyPair, seed: &NonceSeed, context: &Context, height: Height) -> SecretNonce {
    let secret = key.secret_bytes();
    SecretNonce::new(first_scalar(seed, context, height, |preimage| hmac(&secret, preimage)))
}

/// The first candidate that is a secret scalar. One in 2^128 is not, so the counter never comes near its end.
fn first_scalar(
    seed: &NonceSeed,
    context: &Context,
    height: Height,
    hmac: impl Fn(&[&[u8]; 5]) -> Zeroizing<[u8; 32]>,
) -> SecretScalar {
    let mut counter: u32 = 0;
    loop {
        let candidate =
            hmac(&[TAG, seed.as_bytes(), &context.0, &height.0.to_be_bytes(), &counter.to_be_bytes()]);
        match SecretScalar::from_bytes(&candidate) {
            Ok(k) => return k,
            Err(_) => counter = counter.wrapping_add(1),
        }
    }
}

#[allow(clippy::expect_used, reason = "HMAC takes a key of any length")]
fn hmac(key: &[u8; 32], parts: &[&[u8]; 5]) -> Zeroizing<[u8; 32]> {
    let mut hmac = Hmac::<Sha256>::new_from_slice(key).expect("any length is a key");
    parts.iter().for_each(|part| hmac.update(part));
    Zeroizing::new(hmac.finalize().into_bytes().into())
}

#[cfg(test)]
mod tests;
