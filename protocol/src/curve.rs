//! The curve secp256k1: the one module behind which libsecp256k1 stands for EOTS and adaptor signatures.
//!
//! Two halves. Here is arithmetic on **public** values only; it may branch on them. [`KeyPair`] and the secret scalars
//! live in the half called `secret`, where secrets meet nothing but libsecp256k1's constant-time operations. A
//! verify-only build needs this half alone, and a pure-Rust backend can take its place.
//!
//! Every function is total: what has probability 2^-128 or less has a defined result and no panic.
//! Source: BIP-340; docs/protocol.md, section 3.2.

mod bytes;
mod secret;

pub(crate) use bytes::byte_value;
pub(crate) use secp256k1::{PublicKey as Point, Scalar};
pub(crate) use secret::SecretScalar;

pub use secp256k1::{XOnlyPublicKey, schnorr::Signature};
pub use secret::{KeyPair, NotASecretKey};

use crate::hash::tagged;
use secp256k1::ecdsa::{RecoverableSignature, RecoveryId};
use secp256k1::{Message, Parity, SECP256K1, SecretKey};

/// A BIP-340 signature that the key did not make over the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("BIP-340 signature does not verify")]
pub struct Bip340Invalid;

/// Verifies a BIP-340 signature over a 32-byte message, usually a hash.
pub fn verify_bip340(
    key: &XOnlyPublicKey,
    message: &[u8; 32],
    signature: &Signature,
) -> Result<(), Bip340Invalid> {
    SECP256K1.verify_schnorr(signature, &Message::from_digest(*message), key).map_err(|_| Bip340Invalid)
}

/// Whoever can tell a key's signatures from others: anybody who knows the public key, or the owner of the secret key, for
/// whom that costs less than half.
pub trait Verifier {
    /// The key.
    fn public(&self) -> XOnlyPublicKey;

    /// `sG - eP`, the nonce point of a Schnorr signature, or nothing where that is infinity or e is zero.
    fn nonce_point(&self, s: &Scalar, e: &Scalar) -> Option<Point>;

    /// Verifies a BIP-340 signature over a 32-byte message.
    fn verify_bip340(&self, message: &[u8; 32], signature: &Signature) -> Result<(), Bip340Invalid> {
        let [x, s] = halves(&signature.serialize());
        let s = Scalar::from_be_bytes(s).map_err(|_| Bip340Invalid)?;
        let r = self.nonce_point(&s, &challenge(&x, &self.public(), message)).ok_or(Bip340Invalid)?;
        if parity_and_x(&r) == (false, x) { Ok(()) } else { Err(Bip340Invalid) }
    }
}

impl Verifier for XOnlyPublicKey {
    fn public(&self) -> XOnlyPublicKey {
        *self
    }

    fn nonce_point(&self, s: &Scalar, e: &Scalar) -> Option<Point> {
        nonce_point(s, e, self)
    }

    fn verify_bip340(&self, message: &[u8; 32], signature: &Signature) -> Result<(), Bip340Invalid> {
        verify_bip340(self, message, signature)
    }
}

/// `R.x` and `s` of a signature.
pub(crate) fn halves(bytes: &[u8; 64]) -> [[u8; 32]; 2] {
    let mut halves = [[0; 32]; 2];
    halves.as_flattened_mut().copy_from_slice(bytes);
    halves
}

/// The 64 bytes `R.x || s` as a BIP-340 signature. Whether it is valid, only verification says.
#[allow(clippy::expect_used, reason = "two arrays of 32 bytes are 64 bytes, the only thing that is checked")]
pub(crate) fn signature(nonce_x: &[u8; 32], s: &[u8; 32]) -> Signature {
    Signature::from_slice([*nonce_x, *s].as_flattened()).expect("64 bytes")
}

/// The challenge `e = H("BIP0340/challenge", R.x || P.x || m) mod n`.
pub(crate) fn challenge(nonce_x: &[u8; 32], key: &XOnlyPublicKey, message: &[u8; 32]) -> Scalar {
    reduce(tagged("BIP0340/challenge", &[nonce_x, &key.serialize(), message]).0)
}

/// The number that the bytes are, modulo the group order n.
fn reduce(bytes: [u8; 32]) -> Scalar {
    Scalar::from_be_bytes(bytes).unwrap_or_else(|_| {
        // At least n, so above 2^255: the sum of 2^255 and the rest, which the library reduces.
        let (mut rest, mut top) = (bytes, [0; 32]);
        rest[0] ^= 0x80;
        top[0] = 0x80;
        match (Scalar::from_be_bytes(rest), Scalar::from_be_bytes(top)) {
            (Ok(rest), Ok(top)) => add(&rest, &top),
            _ => Scalar::ZERO,
        }
    })
}

/// `a + b mod n`.
fn add(a: &Scalar, b: &Scalar) -> Scalar {
    match nonzero(a) {
        None => *b,
        Some(a) => a.add_tweak(b).map_or(Scalar::ZERO, Scalar::from),
    }
}

/// `-a mod n`.
pub(crate) fn negate(a: &Scalar) -> Scalar {
    nonzero(a).map_or(Scalar::ZERO, |a| a.negate().into())
}

/// `a - b mod n`.
pub(crate) fn subtract(a: &Scalar, b: &Scalar) -> Scalar {
    add(a, &negate(b))
}

/// `a b mod n`.
pub(crate) fn multiply(a: &Scalar, b: &Scalar) -> Scalar {
    nonzero(a).and_then(|a| a.mul_tweak(b).ok()).map_or(Scalar::ZERO, Scalar::from)
}

/// `1 / a mod n`, and zero for zero: `a^(n - 2)` by Fermat, because libsecp256k1 exposes no inverse.
pub(crate) fn invert(a: &Scalar) -> Scalar {
    let mut exponent = secp256k1::constants::CURVE_ORDER;
    exponent[31] ^= 0x41 ^ 0x3f; // n ends in 0x41, n - 2 in 0x3f.
    let bits = exponent.iter().flat_map(|byte| [128, 64, 32, 16, 8, 4, 2, 1].map(|bit| byte & bit != 0));
    bits.fold(Scalar::ONE, |power, bit| {
        let square = multiply(&power, &power);
        if bit { multiply(&square, a) } else { square }
    })
}

/// libsecp256k1 does arithmetic on secret keys, which are never zero.
fn nonzero(a: &Scalar) -> Option<SecretKey> {
    SecretKey::from_slice(&a.to_be_bytes()).ok()
}

/// The point with this x coordinate and an even y: `lift_x` of BIP-340.
pub(crate) fn lift_x(key: &XOnlyPublicKey) -> Point {
    Point::from_x_only_public_key(*key, Parity::Even)
}

/// Whether y is odd, and x.
pub(crate) fn parity_and_x(point: &Point) -> (bool, [u8; 32]) {
    let (x, parity) = point.x_only_public_key();
    (parity == Parity::Odd, x.serialize())
}

/// `A + B`, or nothing where that is infinity.
pub(crate) fn add_points(a: &Point, b: &Point) -> Option<Point> {
    a.combine(b).ok()
}

/// `-A`.
pub(crate) fn negate_point(a: &Point) -> Point {
    a.negate(SECP256K1)
}

/// `sG - eP`, the nonce point of a Schnorr signature, or nothing where that is infinity or e is zero.
pub(crate) fn nonce_point(s: &Scalar, e: &Scalar, key: &XOnlyPublicKey) -> Option<Point> {
    nonce_point_by_recovery(s, e, key).or_else(|| nonce_point_by_tweaks(s, e, key))
}

/// [`nonce_point`] for the price of one multiplication, by the recovery of an ECDSA key.
///
/// From message hash z and signature (r, S), where r is the x coordinate of a point A, ECDSA recovers `(S A - z G) / r`.
/// With `A = P`, `S = -e r` and `z = -s r` that is `sG - eP`. Nothing where P.x is n or more (one key in 2^128).
fn nonce_point_by_recovery(s: &Scalar, e: &Scalar, key: &XOnlyPublicKey) -> Option<Point> {
    let r = Scalar::from_be_bytes(key.serialize()).ok()?;
    let minus_r = negate(&r);
    let (big_s, z) = (multiply(e, &minus_r), multiply(s, &minus_r));
    let even_y = RecoveryId::from_i32(0).ok()?;
    let compact = [r.to_be_bytes(), big_s.to_be_bytes()];
    let signature = RecoverableSignature::from_compact(compact.as_flattened(), even_y).ok()?;
    SECP256K1.recover_ecdsa(&Message::from_digest(z.to_be_bytes()), &signature).ok()
}

/// [`nonce_point`] for every key, by two multiplications.
fn nonce_point_by_tweaks(s: &Scalar, e: &Scalar, key: &XOnlyPublicKey) -> Option<Point> {
    let minus_e_p = lift_x(key).mul_tweak(SECP256K1, &negate(e)).ok()?;
    minus_e_p.add_exp_tweak(SECP256K1, s).ok()
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
