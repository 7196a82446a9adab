//! The operations between messages.

use super::MESSAGE_MAX;
use super::encoding::{self, OtsInvalid};
use crate::codec::Reader;
use bitcoin::hashes::{Hash as _, ripemd160, sha1, sha256};

const SHA1: u8 = 0x02;
const RIPEMD160: u8 = 0x03;
/// Tag of SHA-256, which also names the hash of the file.
pub(super) const SHA256: u8 = 0x08;
const APPEND: u8 = 0xf0;
const PREPEND: u8 = 0xf1;
const REVERSE: u8 = 0xf2;
const HEXLIFY: u8 = 0xf3;

/// What turns one message into the next. We write append, prepend and SHA-256 only.
///
/// SHA-1 is sound here: a collision proves two texts old, not a new one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Op {
    Append(Vec<u8>),
    Prepend(Vec<u8>),
    Reverse,
    Hexlify,
    Sha1,
    Ripemd160,
    Sha256,
}

impl Op {
    pub(super) fn read(tag: u8, reader: &mut Reader<'_>) -> Result<Self, OtsInvalid> {
        Ok(match tag {
            APPEND => Self::Append(argument(reader)?),
            PREPEND => Self::Prepend(argument(reader)?),
            REVERSE => Self::Reverse,
            HEXLIFY => Self::Hexlify,
            SHA1 => Self::Sha1,
            RIPEMD160 => Self::Ripemd160,
            SHA256 => Self::Sha256,
            found => return Err(OtsInvalid::UnknownOp { found }),
        })
    }

    pub(super) fn write(&self, out: &mut Vec<u8>) {
        let (tag, argument) = match self {
            Self::Append(argument) => (APPEND, Some(argument)),
            Self::Prepend(argument) => (PREPEND, Some(argument)),
            Self::Reverse => (REVERSE, None),
            Self::Hexlify => (HEXLIFY, None),
            Self::Sha1 => (SHA1, None),
            Self::Ripemd160 => (RIPEMD160, None),
            Self::Sha256 => (SHA256, None),
        };
        out.push(tag);
        if let Some(argument) = argument {
            encoding::put_bytes(out, argument);
        }
    }

    /// Length of the result for a message of `length` bytes, if it is allowed.
    pub(super) fn result_length(&self, length: usize) -> Result<usize, OtsInvalid> {
        let found = match self {
            Self::Append(argument) | Self::Prepend(argument) => length.saturating_add(argument.len()),
            Self::Reverse => length,
            Self::Hexlify => length.saturating_mul(2),
            Self::Sha1 | Self::Ripemd160 => 20,
            Self::Sha256 => 32,
        };
        if found <= MESSAGE_MAX { Ok(found) } else { Err(OtsInvalid::ResultTooLong { found }) }
    }

    pub(super) fn apply(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Append(suffix) => [message, suffix].concat(),
            Self::Prepend(prefix) => [prefix, message].concat(),
            Self::Reverse => message.iter().rev().copied().collect(),
            Self::Hexlify => message.iter().flat_map(|byte| format!("{byte:02x}").into_bytes()).collect(),
            Self::Sha1 => sha1::Hash::hash(message).to_byte_array().to_vec(),
            Self::Ripemd160 => ripemd160::Hash::hash(message).to_byte_array().to_vec(),
            Self::Sha256 => sha256::Hash::hash(message).to_byte_array().to_vec(),
        }
    }
}

fn argument(reader: &mut Reader<'_>) -> Result<Vec<u8>, OtsInvalid> {
    let allowed = 1..=MESSAGE_MAX as u64;
    let argument = encoding::bytes(reader, |found| match allowed.contains(&found) {
        true => Ok(()),
        false => Err(OtsInvalid::ArgumentLength { found }),
    })?;
    Ok(argument.to_vec())
}
