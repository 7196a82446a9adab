//! BLS multi-signatures over BLS12-381, minimal signature size: signatures in G1 (48 bytes), keys in G2 (96 bytes).
//!
//! The one place that knows which library computes the pairing. The suite is the one that Babylon uses:
//! draft-irtf-cfrg-bls-signature, hashing to G1 by RFC 9380.
//!
//! Many signatures over one message add up to one. That is only sound among keys whose owners have each shown that they
//! hold the secret: else a key made as a difference of others' signs in their name. So a key counts for
//! [`verify_aggregate`] only after [`BlsPublicKey::verify_possession`], in a domain of its own, and the caller keeps
//! that order (an FP of chain zero registers with its proof of possession).
//!
//! Every value of these types is a point of the right subgroup and not infinity: that is checked once, when bytes are
//! parsed. A check answers with one `Result`, never with a bool beside an error. Source: docs/protocol.md, section 3.5.

use crate::codec::{DecodeError, Reader, Wire};
use crate::hash::{Hash32, sha256};
use blst::BLST_ERROR;
use blst::min_sig::{AggregateSignature, PublicKey, SecretKey, Signature};
use std::collections::BTreeSet;
use std::fmt;

/// Domain of signatures over messages.
const SIGNATURE_DST: &[u8] = b"BLS_SIG_BLS12381G1_XMD:SHA-256_SSWU_RO_NUL_";

/// Domain of proofs of possession: a signature over a key never passes for one over a message, nor the reverse.
const POSSESSION_DST: &[u8] = b"BLS_POP_BLS12381G1_XMD:SHA-256_SSWU_RO_POP_";

/// Why BLS bytes or signatures are refused. A retry with the same bytes never helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlsInvalid {
    /// Key material of zeros is an unfilled buffer, never a secret.
    #[error("key material is all zeros")]
    KeyMaterial,
    /// The bytes are not the one compressed encoding of a point on the curve.
    #[error("not a compressed point of BLS12-381")]
    Encoding,
    /// The point is on the curve but outside the subgroup of prime order.
    #[error("point is not in the subgroup of prime order")]
    Subgroup,
    /// The point at infinity: as a key it would sign everything, as a signature it belongs to keys that cancel out.
    #[error("point at infinity")]
    Infinity,
    /// An aggregate of nothing says nothing.
    #[error("no signature or no key to aggregate")]
    Empty,
    /// One key stands twice among the signers.
    #[error("signer {index} has a key that an earlier signer has too")]
    DuplicateKey {
        /// Place of its second appearance.
        index: usize,
    },
    /// The signature is a point and was not made by these keys over this message in this domain.
    #[error("BLS signature does not verify")]
    Signature,
}

/// A secret key. Wiped from memory when dropped, and never printed.
pub struct BlsSecretKey(SecretKey);

impl BlsSecretKey {
    /// Derives a key from 32 bytes of secret, uniformly random key material (KeyGen of the draft, with no key info;
    /// equal to the master key of EIP-2333). The same material gives the same key. The caller wipes the material.
    pub fn from_key_material(material: &[u8; 32]) -> Result<Self, BlsInvalid> {
        if material == &[0; 32] {
            return Err(BlsInvalid::KeyMaterial);
        }
        SecretKey::key_gen(material, &[]).map(Self).map_err(|_| BlsInvalid::KeyMaterial)
    }

    /// The public key.
    pub fn public_key(&self) -> BlsPublicKey {
        BlsPublicKey(self.0.sk_to_pk())
    }

    /// Signs a message. Deterministic.
    pub fn sign(&self, message: &[u8]) -> BlsSignature {
        BlsSignature(self.0.sign(message, SIGNATURE_DST, &[]))
    }

    /// Signs the own public key in the domain of possession (PopProve of the draft).
    pub fn prove_possession(&self) -> BlsPossession {
        BlsPossession(BlsSignature(self.0.sign(&self.public_key().to_bytes(), POSSESSION_DST, &[])))
    }
}

impl fmt::Debug for BlsSecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BlsSecretKey([redacted])")
    }
}

/// A public key: a point of the prime-order subgroup of G2, not infinity.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BlsPublicKey(PublicKey);

impl BlsPublicKey {
    /// Length of a compressed key.
    pub const LEN: usize = 96;

    /// Parses a compressed key, refusing infinity and points outside the subgroup. Costs more than a comparison of
    /// bytes: parse once, and keep the value.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Result<Self, BlsInvalid> {
        PublicKey::key_validate(bytes).map(Self).map_err(refusal)
    }

    /// The compressed key.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        self.0.to_bytes()
    }

    /// SHA-256 of the compressed key, by which sets name it.
    pub fn hash(&self) -> Hash32 {
        sha256(&[&self.to_bytes()])
    }

    /// Verifies one signer's signature over `message`.
    pub fn verify(&self, message: &[u8], signature: &BlsSignature) -> Result<(), BlsInvalid> {
        // Group and infinity were checked when key and signature were parsed.
        accepted(signature.0.verify(false, message, SIGNATURE_DST, &[], &self.0, false))
    }

    /// Verifies that the owner of this key holds its secret (PopVerify of the draft).
    pub fn verify_possession(&self, proof: &BlsPossession) -> Result<(), BlsInvalid> {
        accepted(proof.0.0.verify(false, &self.to_bytes(), POSSESSION_DST, &[], &self.0, false))
    }
}

impl fmt::Debug for BlsPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex("BlsPublicKey", &self.to_bytes(), f)
    }
}

/// A signature, of one signer or an aggregate: a point of the prime-order subgroup of G1, not infinity.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct BlsSignature(Signature);

impl BlsSignature {
    /// Length of a compressed signature.
    pub const LEN: usize = 48;

    /// Parses a compressed signature, refusing infinity and points outside the subgroup.
    pub fn from_bytes(bytes: &[u8; Self::LEN]) -> Result<Self, BlsInvalid> {
        Signature::sig_validate(bytes, true).map(Self).map_err(refusal)
    }

    /// The compressed signature.
    pub fn to_bytes(&self) -> [u8; Self::LEN] {
        self.0.to_bytes()
    }
}

impl fmt::Debug for BlsSignature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        hex("BlsSignature", &self.to_bytes(), f)
    }
}

/// A proof that somebody holds the secret of a public key: a signature over that key in its own domain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BlsPossession(BlsSignature);

impl BlsPossession {
    /// Parses a compressed proof; the same checks as for a signature.
    pub fn from_bytes(bytes: &[u8; BlsSignature::LEN]) -> Result<Self, BlsInvalid> {
        BlsSignature::from_bytes(bytes).map(Self)
    }

    /// The compressed proof.
    pub fn to_bytes(&self) -> [u8; BlsSignature::LEN] {
        self.0.to_bytes()
    }
}

impl Wire for BlsPublicKey {
    fn encode(&self, out: &mut Vec<u8>) {
        self.to_bytes().encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::from_bytes(&reader.array()?).map_err(|_| DecodeError::Invalid("BLS public key"))
    }
}

impl Wire for BlsSignature {
    fn encode(&self, out: &mut Vec<u8>) {
        self.to_bytes().encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::from_bytes(&reader.array()?).map_err(|_| DecodeError::Invalid("BLS signature"))
    }
}

impl Wire for BlsPossession {
    fn encode(&self, out: &mut Vec<u8>) {
        self.to_bytes().encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::from_bytes(&reader.array()?).map_err(|_| DecodeError::Invalid("BLS proof of possession"))
    }
}

/// Adds signatures up to one. What it is worth, [`verify_aggregate`] says.
pub fn aggregate(signatures: &[BlsSignature]) -> Result<BlsSignature, BlsInvalid> {
    let points: Vec<&Signature> = signatures.iter().map(|signature| &signature.0).collect();
    let sum = AggregateSignature::aggregate(&points, false).map_err(refusal)?.to_signature();
    sum.validate(true).map_err(refusal)?;
    Ok(BlsSignature(sum))
}

/// Verifies that every one of `keys` signed `message` (FastAggregateVerify of the draft). The keys are distinct, and
/// each of them has proven its possession before.
pub fn verify_aggregate(
    keys: &[&BlsPublicKey],
    message: &[u8],
    signature: &BlsSignature,
) -> Result<(), BlsInvalid> {
    let mut seen = BTreeSet::new();
    if let Some(index) = keys.iter().position(|key| !seen.insert(key.to_bytes())) {
        return Err(BlsInvalid::DuplicateKey { index });
    }
    let points: Vec<&PublicKey> = keys.iter().map(|key| &key.0).collect();
    accepted(signature.0.fast_aggregate_verify(false, message, SIGNATURE_DST, &points))
}

fn accepted(answer: BLST_ERROR) -> Result<(), BlsInvalid> {
    match answer {
        BLST_ERROR::BLST_SUCCESS => Ok(()),
        error => Err(refusal(error)),
    }
}

fn refusal(error: BLST_ERROR) -> BlsInvalid {
    match error {
        BLST_ERROR::BLST_POINT_NOT_IN_GROUP => BlsInvalid::Subgroup,
        BLST_ERROR::BLST_PK_IS_INFINITY => BlsInvalid::Infinity,
        BLST_ERROR::BLST_AGGR_TYPE_MISMATCH => BlsInvalid::Empty,
        BLST_ERROR::BLST_BAD_ENCODING | BLST_ERROR::BLST_BAD_SCALAR | BLST_ERROR::BLST_POINT_NOT_ON_CURVE => {
            BlsInvalid::Encoding
        }
        BLST_ERROR::BLST_VERIFY_FAIL | BLST_ERROR::BLST_SUCCESS => BlsInvalid::Signature,
    }
}

fn hex(name: &str, bytes: &[u8], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    write!(f, "{name}(")?;
    bytes.iter().try_for_each(|byte| write!(f, "{byte:02x}"))?;
    f.write_str(")")
}

#[cfg(test)]
mod tests;
