//! Hex in the fixtures.

use bitcoin::Transaction;
use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::hex::FromHex;
use serde::de::Error;
use serde::{Deserialize, Deserializer};

/// So many bytes, written in hex.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Hex<const N: usize>(pub [u8; N]);

impl<'de, const N: usize> Deserialize<'de> for Hex<N> {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let bytes = Vec::from_hex(&String::deserialize(d)?).map_err(D::Error::custom)?;
        let found = bytes.len();
        let exactly = bytes.try_into().map_err(|_| D::Error::custom(format!("{found} bytes, not {N}")))?;
        Ok(Self(exactly))
    }
}

/// A transaction in Bitcoin's serialisation.
pub fn transaction<'de, D: Deserializer<'de>>(d: D) -> Result<Transaction, D::Error> {
    deserialize_hex(&String::deserialize(d)?).map_err(D::Error::custom)
}
