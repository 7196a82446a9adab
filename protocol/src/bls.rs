//! BLS signatures: the one module behind which blst stands.
//!
//! Signatures in G1 (48 bytes), keys in G2 (96 bytes). Many signatures of one message become one. Keys count only with a
//! proof of possession, so nobody can choose a key as a function of others'.

use crate::codec::{DecodeError, Reader, Wire};
use crate::hash::{Hash32, sha256};
use blst::BLST_ERROR;
use blst::min_sig::{AggregateSignature, PublicKey, SecretKey, Signature};
use std::fmt;

const SIGN: &[u8] = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_";
const POSSESS: &[u8] = b"BLS_POP_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";

/// A BLS signature or key that is bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BlsInvalid {
    /// Bytes that are no secret key.
    #[error("not a BLS secret key")]
    SecretKey,
    /// The signature does not verify.
    #[error("BLS signature does not verify")]
    Signature,
    /// Nothing to aggregate.
    #[error("no BLS signature to aggregate")]
    Nothing,
}

/// A secret key; blst wipes it when dropped.
#[derive(Clone)]
pub struct BlsSecretKey(SecretKey);

impl fmt::Debug for BlsSecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[redacted]")
    }
}

impl BlsSecretKey {
    /// Derived from 32 bytes of secret randomness (the standard's KeyGen).
    pub fn from_key_material(material: &[u8; 32]) -> Result<Self, BlsInvalid> {
        SecretKey::key_gen(material, &[]).map(Self).map_err(|_| BlsInvalid::SecretKey)
    }

    /// The public key.
    pub fn public_key(&self) -> BlsPublicKey {
        BlsPublicKey(self.0.sk_to_pk())
    }

    /// Signs.
    pub fn sign(&self, message: &[u8]) -> BlsSignature {
        BlsSignature(self.0.sign(message, SIGN, &[]))
    }

    /// Proves that the secret is known.
    pub fn prove_possession(&self) -> BlsSignature {
        BlsSignature(self.0.sign(&self.0.sk_to_pk().compress(), POSSESS, &[]))
    }
}

/// A public key in the right group, not infinity.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BlsPublicKey(PublicKey);

impl fmt::Debug for BlsPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlsPublicKey({})", self.hash())
    }
}

impl BlsPublicKey {
    /// SHA-256 of the key's bytes, by which sets name it.
    pub fn hash(&self) -> Hash32 {
        sha256(&[&self.0.compress()])
    }

    /// Verifies one signature.
    pub fn verify(&self, message: &[u8], signature: &BlsSignature) -> Result<(), BlsInvalid> {
        accepted(signature.0.verify(true, message, SIGN, &[], &self.0, false))
    }

    /// Verifies a proof of possession.
    pub fn verify_possession(&self, proof: &BlsSignature) -> Result<(), BlsInvalid> {
        accepted(proof.0.verify(true, &self.0.compress(), POSSESS, &[], &self.0, false))
    }
}

impl Wire for BlsPublicKey {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.compress().encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let invalid = |_| DecodeError::Invalid("BLS public key");
        PublicKey::key_validate(reader.take(96)?).map(Self).map_err(invalid)
    }
}

/// A signature, or many of one message.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BlsSignature(Signature);

impl fmt::Debug for BlsSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlsSignature")
    }
}

impl Wire for BlsSignature {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.compress().encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let invalid = |_| DecodeError::Invalid("BLS signature");
        Signature::sig_validate(reader.take(48)?, true).map(Self).map_err(invalid)
    }
}

/// Many signatures of one message as one.
pub fn aggregate(signatures: &[BlsSignature]) -> Result<BlsSignature, BlsInvalid> {
    let signatures: Vec<&Signature> = signatures.iter().map(|signature| &signature.0).collect();
    AggregateSignature::aggregate(&signatures, false)
        .map(|sum| BlsSignature(sum.to_signature()))
        .map_err(|_| BlsInvalid::Nothing)
}

/// Verifies that all of `keys`, whose possession is proven, signed `message`.
pub fn verify_aggregate(
    keys: &[&BlsPublicKey],
    message: &[u8],
    signature: &BlsSignature,
) -> Result<(), BlsInvalid> {
    let keys: Vec<&PublicKey> = keys.iter().map(|key| &key.0).collect();
    accepted(signature.0.fast_aggregate_verify(true, message, SIGN, &keys))
}

fn accepted(result: BLST_ERROR) -> Result<(), BlsInvalid> {
    if result == BLST_ERROR::BLST_SUCCESS { Ok(()) } else { Err(BlsInvalid::Signature) }
}
