//! Hashes of our own formats: SHA-256, always with a tag or a tree prefix in front. Source: docs/protocol.md, section 1.3.

use crate::codec::{DecodeError, Reader, Wire};
use bitcoin::hashes::{Hash as _, HashEngine as _, sha256};
use std::fmt;
use std::str::FromStr;

/// Thirty-two bytes that commit to something. Printed as plain lowercase hex, never reversed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Hash32(pub [u8; 32]);

impl Hash32 {
    /// Where a tree has no leaf and a chain no parent.
    pub const ZERO: Self = Self([0; 32]);
}

impl fmt::Display for Hash32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Hash32 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Hash32 {
    type Err = DecodeError;

    fn from_str(text: &str) -> Result<Self, DecodeError> {
        <[u8; 32] as bitcoin::hex::FromHex>::from_hex(text)
            .map(Self)
            .map_err(|_| DecodeError::Invalid("32-byte hex"))
    }
}

impl serde::Serialize for Hash32 {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

impl<'de> serde::Deserialize<'de> for Hash32 {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let text = String::deserialize(d)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

impl Wire for Hash32 {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array().map(Self)
    }
}

/// SHA-256 of the parts, one after the other.
pub fn sha256(parts: &[&[u8]]) -> Hash32 {
    let mut engine = sha256::Hash::engine();
    parts.iter().for_each(|part| engine.input(part));
    Hash32(sha256::Hash::from_engine(engine).to_byte_array())
}

/// `SHA256(SHA256(tag) || SHA256(tag) || parts)`, as BIP-340 does: no preimage of one format is one of another.
pub fn tagged(tag: &str, parts: &[&[u8]]) -> Hash32 {
    let tag = sha256::Hash::hash(tag.as_bytes()).to_byte_array();
    let mut engine = sha256::Hash::engine();
    engine.input(&tag);
    engine.input(&tag);
    parts.iter().for_each(|part| engine.input(part));
    Hash32(sha256::Hash::from_engine(engine).to_byte_array())
}
