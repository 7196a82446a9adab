//! Extractable one-time signatures: sign one message with a nonce and you have signed; sign two and you have published
//! your key.
//!
//! `s = k + e d` with BIP-340's challenge over SHA-256 of the message and a nonce that was committed to before; only `s`
//! is sent. So `R || s` is a BIP-340 signature. Source: docs/protocol.md, EOTS.
//!
//! Not here: which message deserves a signature, and which nonces are spent. Both belong to the signer.

use crate::codec::{DecodeError, Reader, Wire};
use crate::curve::{SecretScalar, challenge};
use crate::hash::sha256;
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::secp256k1::{Message, SECP256K1, XOnlyPublicKey};

/// A nonce's public half: R.x.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PublicNonce([u8; 32]);

impl PublicNonce {
    /// Any 32 bytes: whether they are a point shows when a signature is verified.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// R.x, big-endian.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0
    }
}

impl Wire for PublicNonce {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array().map(Self)
    }
}

/// A nonce's secret half, for one signature, with the point it belongs to.
#[derive(Debug, Clone)]
pub struct SecretNonce {
    even: SecretScalar,
    public: PublicNonce,
}

impl SecretNonce {
    /// The nonce `k`, or its negation where R.y is odd.
    pub fn new(k: &SecretScalar) -> Self {
        let (even, x) = k.even();
        Self { even, public: PublicNonce(x.serialize()) }
    }

    /// What is committed to.
    pub fn public(&self) -> PublicNonce {
        self.public
    }
}

/// A key that makes EOTS signatures.
#[derive(Debug, Clone)]
pub struct SigningKey {
    even: SecretScalar,
    public: XOnlyPublicKey,
}

impl SigningKey {
    /// The key of a secret.
    pub fn new(secret: &SecretScalar) -> Self {
        let (even, public) = secret.even();
        Self { even, public }
    }

    /// The public key.
    pub fn public(&self) -> XOnlyPublicKey {
        self.public
    }

    /// Signs. The caller has made durable that this nonce is spent on this message. `None` with probability 2^-256.
    pub fn sign(&self, nonce: &SecretNonce, message: &[u8]) -> Option<EotsSignature> {
        let e = challenge(&nonce.public.0, &self.public, &sha256(&[message]).0)?;
        self.even.multiply_add(&e, &nonce.even).map(|s| EotsSignature(s.to_bytes()))
    }
}

/// A signature: `s` alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct EotsSignature([u8; 32]);

impl EotsSignature {
    /// Any 32 bytes; an `s` that is not below the order never verifies.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// `s`, big-endian.
    pub fn to_bytes(&self) -> [u8; 32] {
        self.0
    }

    /// `R || s`, a BIP-340 signature on SHA-256 of the message.
    pub fn with_nonce(&self, nonce: &PublicNonce) -> [u8; 64] {
        let mut bytes = [0; 64];
        let (r, s) = bytes.split_at_mut(32);
        r.copy_from_slice(&nonce.0);
        s.copy_from_slice(&self.0);
        bytes
    }
}

impl Wire for EotsSignature {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array().map(Self)
    }
}

/// The signature is not the key's, with that nonce, over that message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("EOTS signature does not verify")]
pub struct EotsInvalid;

/// Verifies as BIP-340 does.
pub fn verify(
    key: &XOnlyPublicKey,
    nonce: &PublicNonce,
    message: &[u8],
    signature: &EotsSignature,
) -> Result<(), EotsInvalid> {
    let signature = Signature::from_slice(&signature.with_nonce(nonce)).map_err(|_| EotsInvalid)?;
    let digest = Message::from_digest(sha256(&[message]).0);
    SECP256K1.verify_schnorr(&signature, &digest, key).map_err(|_| EotsInvalid)
}

/// Why no key follows from two signatures.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ExtractError {
    /// They sign the same message.
    #[error("both signatures sign the same message")]
    SameMessage,
    /// A signature is no scalar.
    #[error("a signature is not a scalar")]
    NotAScalar,
    /// What follows is not this key.
    #[error("the signatures are not both of this key with this nonce")]
    OtherKey,
}

/// The secret key behind two signatures with one nonce: `(s1 - s2) / (e1 - e2)`, checked against the public key.
pub fn extract(
    key: &XOnlyPublicKey,
    nonce: &PublicNonce,
    first: (&[u8], &EotsSignature),
    second: (&[u8], &EotsSignature),
) -> Result<SecretScalar, ExtractError> {
    if first.0 == second.0 {
        return Err(ExtractError::SameMessage);
    }
    let scalar = |s: &EotsSignature| SecretScalar::from_bytes(s.0).map_err(|_| ExtractError::NotAScalar);
    let e = |message: &[u8]| {
        let e = challenge(&nonce.0, key, &sha256(&[message]).0)?;
        SecretScalar::from_bytes(e.to_be_bytes()).ok()
    };
    let (s1, s2) = (scalar(first.1)?, scalar(second.1)?);
    let quotient = || {
        let difference = e(first.0)?.minus(&e(second.0)?)?;
        s1.minus(&s2)?.times(&difference.inverse()?)
    };
    let secret = quotient().ok_or(ExtractError::OtherKey)?;
    if secret.x_only_public_key() == *key { Ok(secret) } else { Err(ExtractError::OtherKey) }
}
