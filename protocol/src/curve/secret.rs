//! Secret scalars and key pairs: the half of the curve that must not leak.
//!
//! Secrets meet only libsecp256k1's constant-time operations: tweaks of secret keys, and multiplication of the
//! generator, which is blinded. They branch on parities alone, and the parity of a key or nonce tells nothing.
//! A value is erased when it is dropped. Rust may leave copies of moved values on the stack, and hash functions keep
//! state: erasure makes a leak less likely, and does not prove its absence.

use super::{Point, Scalar, Signature, Verifier, XOnlyPublicKey, negate};
use secp256k1::{Keypair, Message, Parity, SECP256K1, SecretKey};
use std::fmt;
use zeroize::Zeroizing;

/// Thirty-two bytes that are no secret key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret key is a number from 1 to n - 1, the order of secp256k1 less one")]
pub struct NotASecretKey;

/// A secret number from 1 to n - 1.
pub(crate) struct SecretScalar(SecretKey);

impl SecretScalar {
    /// Refuses zero and numbers of n or more; never reduces.
    pub(crate) fn from_bytes(bytes: &[u8; 32]) -> Result<Self, NotASecretKey> {
        SecretKey::from_slice(bytes).map(Self).map_err(|_| NotASecretKey)
    }

    /// Big-endian bytes.
    pub(crate) fn to_bytes(&self) -> Zeroizing<[u8; 32]> {
        Zeroizing::new(self.0.secret_bytes())
    }

    /// `k G`.
    pub(crate) fn point(&self) -> Point {
        Point::from_secret_key(SECP256K1, &self.0)
    }

    /// `-k`.
    pub(crate) fn negated(&self) -> Self {
        Self(self.0.negate())
    }

    /// The representative of the pair `k, -k` whose point has an even y, and that point's x coordinate.
    pub(crate) fn into_even_y(self) -> (Self, XOnlyPublicKey) {
        let (x, parity) = self.point().x_only_public_key();
        (self.with_even_y(parity), x)
    }

    fn with_even_y(self, parity: Parity) -> Self {
        match parity {
            Parity::Even => self,
            Parity::Odd => self.negated(),
        }
    }

    /// `k + e d`, where self is d: the s of a signature, public as soon as it exists.
    pub(crate) fn sign(&self, e: &Scalar, k: &Self) -> Scalar {
        let mut k = Scalar::from(k.0);
        let s = match self.0.mul_tweak(e).map(Self) {
            Ok(product) => product.plus(&k),
            Err(_) => k, // e is zero
        };
        k.non_secure_erase();
        s
    }

    /// `s - e d`, where self is d: the nonce of a signature that d made. Nothing for zero.
    fn nonce_of(&self, s: &Scalar, e: &Scalar) -> Option<Self> {
        let minus_e_d = self.0.mul_tweak(&negate(e)).map(Self).ok()?;
        minus_e_d.0.add_tweak(s).map(Self).ok()
    }

    /// `k + a`: public where the sum is.
    pub(crate) fn plus(&self, a: &Scalar) -> Scalar {
        self.0.add_tweak(a).map_or(Scalar::ZERO, Scalar::from)
    }
}

impl Drop for SecretScalar {
    fn drop(&mut self) {
        self.0.non_secure_erase();
    }
}

impl fmt::Debug for SecretScalar {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

/// A secret key with its x-only public key, kept so that signing needs no curve operation to find the parity.
///
/// The secret is always the representative whose public point has an even y, as BIP-340 uses it.
pub struct KeyPair {
    even: SecretScalar,
    public: XOnlyPublicKey,
    /// The same key in the form that libsecp256k1's own signing wants.
    pair: Keypair,
}

impl KeyPair {
    /// The pair of a secret key. Derives the public key, so a caller can compare it with the one that it expects.
    pub fn from_secret_bytes(secret: &[u8; 32]) -> Result<Self, NotASecretKey> {
        let secret = SecretScalar::from_bytes(secret)?;
        let pair = Keypair::from_secret_key(SECP256K1, &secret.0);
        let (public, parity) = pair.x_only_public_key();
        Ok(Self { even: secret.with_even_y(parity), public, pair })
    }

    /// The x-only public key.
    pub fn public(&self) -> XOnlyPublicKey {
        self.public
    }

    /// The secret key, 32 bytes big-endian, in its even-y form: equal for `d` and `n - d`. To store it encrypted, or to
    /// publish a key that equivocation has given away.
    pub fn secret_bytes(&self) -> Zeroizing<[u8; 32]> {
        self.even.to_bytes()
    }

    /// A BIP-340 signature over a 32-byte message. `aux_rand` is 32 fresh random bytes.
    pub fn sign_bip340(&self, message: &[u8; 32], aux_rand: &[u8; 32]) -> Signature {
        SECP256K1.sign_schnorr_with_aux_rand(&Message::from_digest(*message), &self.pair, aux_rand)
    }

    /// The secret scalar d with `d G = lift_x(public)`.
    pub(crate) fn secret(&self) -> &SecretScalar {
        &self.even
    }
}

/// By one multiplication of the generator: `sG - eP = (s - e d) G`.
impl Verifier for KeyPair {
    fn public(&self) -> XOnlyPublicKey {
        self.public
    }

    fn nonce_point(&self, s: &Scalar, e: &Scalar) -> Option<Point> {
        self.even.nonce_of(s, e).map(|nonce| nonce.point())
    }
}

impl Drop for KeyPair {
    fn drop(&mut self) {
        self.pair.non_secure_erase();
    }
}

impl fmt::Debug for KeyPair {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyPair {{ public: {}, secret: [redacted] }}", self.public)
    }
}
