//! Extractable one-time signatures (EOTS): Schnorr signatures whose nonce is known before the message.
//!
//! A provider commits to one nonce per height in advance. One signature with a nonce is an ordinary signature; two
//! signatures on different messages with one nonce are two linear equations in two unknowns, and [`extract`] solves
//! them for the secret key. With the nonce R, `R.x || s` is a BIP-340 signature on SHA-256 of the message.
//!
//! Not here: which message deserves a signature, and which nonces are spent. Both are the signer's duty, and so is
//! the check of a fresh signature with [`verify`] before it is released: a fault inside [`sign`] (a flipped bit in
//! the challenge) and a repetition without the fault would be two equations as well.
//! Source: docs/protocol.md, section 3.2.

use crate::curve::{self, KeyPair, Scalar, SecretScalar, XOnlyPublicKey, byte_value};
use crate::hash::sha256;
use std::fmt;

/// The s of a signature: 32 bytes, big-endian, below the group order n.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EotsSignature(Scalar);

/// Thirty-two bytes that are no number below n. Reducing them would give one signature two encodings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("s of an EOTS signature is not below the group order n")]
pub struct SOutOfRange;

impl EotsSignature {
    /// Refuses numbers of n or more.
    pub fn from_bytes(bytes: [u8; 32]) -> Result<Self, SOutOfRange> {
        Scalar::from_be_bytes(bytes).map(Self).map_err(|_| SOutOfRange)
    }

    /// The 32 bytes.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0.to_be_bytes()
    }
}

byte_value!(EotsSignature, 32, "EOTS signature", |bytes| EotsSignature::from_bytes(bytes).ok());

/// The x coordinate of a nonce point: public randomness. Any 32 bytes, because verification compares them with a
/// computed coordinate and never lifts them: bytes that are no coordinate verify nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicNonce([u8; 32]);

impl PublicNonce {
    /// The nonce with this x coordinate.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The x coordinate, big-endian.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0
    }
}

byte_value!(PublicNonce, 32, "public nonce", |bytes| Some(PublicNonce::from_bytes(bytes)));

/// The secret k of one nonce, with its public half. [`sign`] consumes it: the same value never signs twice.
/// Made by [`crate::nonce::derive`].
pub struct SecretNonce {
    k: SecretScalar,
    public: PublicNonce,
}

impl SecretNonce {
    /// Takes k or -k, whichever has a point with an even y.
    pub(crate) fn new(k: SecretScalar) -> Self {
        let (k, x) = k.into_even_y();
        Self { k, public: PublicNonce(x.serialize()) }
    }

    /// The half that is committed to and published.
    pub fn public(&self) -> PublicNonce {
        self.public
    }
}

impl fmt::Debug for SecretNonce {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SecretNonce {{ public: {}, k: [redacted] }}", self.public)
    }
}

/// Signs a message: `s = k + e d`, where `e` is BIP-340's challenge over R.x, the public key and SHA-256 of the message.
///
/// Parities and public halves are known already, so this costs two hashes and two scalar operations.
pub fn sign(key: &KeyPair, nonce: SecretNonce, message: &[u8]) -> EotsSignature {
    let e = challenge(&key.public(), &nonce.public, message);
    EotsSignature(key.secret().sign(&e, &nonce.k))
}

/// A signature that the key did not make over this message with this nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("EOTS signature does not verify for this key, nonce and message")]
pub struct EotsInvalid;

/// Verifies a signature: `R || s` is a BIP-340 signature on SHA-256 of the message.
pub fn verify(
    key: &XOnlyPublicKey,
    nonce: &PublicNonce,
    message: &[u8],
    signature: &EotsSignature,
) -> Result<(), EotsInvalid> {
    let bip340 = curve::signature(&nonce.0, &signature.to_bytes());
    curve::verify_bip340(key, &sha256(&[message]).0, &bip340).map_err(|_| EotsInvalid)
}

/// Why two signatures give no key away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExtractError {
    /// One message signed twice is one equation.
    #[error("both signatures are on the same message: there is nothing to extract")]
    SameMessage,
    /// Signatures on two messages under one key and nonce differ.
    #[error("both signatures are equal, so at least one of them is not by this key and nonce")]
    SameSignature,
    /// What the equations give is not this key: a signature is invalid, or by another key or nonce.
    #[error("the two signatures do not give the secret key of {0}")]
    NotThisKey(XOnlyPublicKey),
}

/// The secret key, from two signatures on different messages with one nonce: `d = (s1 - s2) / (e1 - e2)`.
///
/// The result owns the public key given; this is checked, so the signatures need no verification before.
pub fn extract(
    key: &XOnlyPublicKey,
    nonce: &PublicNonce,
    a: (&[u8], &EotsSignature),
    b: (&[u8], &EotsSignature),
) -> Result<KeyPair, ExtractError> {
    if a.0 == b.0 {
        return Err(ExtractError::SameMessage);
    }
    if a.1 == b.1 {
        return Err(ExtractError::SameSignature);
    }
    let s = curve::subtract(&a.1.0, &b.1.0);
    let e = curve::subtract(&challenge(key, nonce, a.0), &challenge(key, nonce, b.0));
    let d = curve::multiply(&s, &curve::invert(&e));
    KeyPair::from_secret_bytes(&d.to_be_bytes())
        .ok()
        .filter(|pair| pair.public() == *key)
        .ok_or(ExtractError::NotThisKey(*key))
}

fn challenge(key: &XOnlyPublicKey, nonce: &PublicNonce, message: &[u8]) -> Scalar {
    curve::challenge(&nonce.0, key, &sha256(&[message]).0)
}

#[cfg(test)]
mod tests;
