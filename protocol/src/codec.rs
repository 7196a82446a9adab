//! Canonical bytes of our own formats: big-endian, fixed width, every variable part behind its length.
//!
//! One value has one encoding: [`Wire::from_bytes`] refuses trailing bytes and anything that would not be written the
//! same way again. Lengths are compared with what is left of the input before anything is allocated, so hostile input
//! costs no more memory than its own size. Source: docs/protocol.md, section 1.1.

use bitcoin::consensus::encode as btc;
use bitcoin::hashes::Hash as _;
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::{Amount, BlockHash, OutPoint, ScriptBuf, Transaction, Txid, Witness, block::Header};

/// Most elements that any list may hold.
pub const MAX_LIST: usize = 8_192;

/// Why bytes are not a value of the type asked for. A retry with the same bytes never helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// The input ended inside a value.
    #[error("input ends early: {wanted} more bytes wanted, {left} left")]
    Truncated {
        /// Bytes that the value still needed.
        wanted: usize,
        /// Bytes that were there.
        left: usize,
    },
    /// The value is complete and bytes follow it.
    #[error("{0} bytes follow the end of the value")]
    Trailing(usize),
    /// A list or byte string is longer than its bound.
    #[error("{what} has length {found}, at most {max} is allowed")]
    TooLong {
        /// What was being read.
        what: &'static str,
        /// Its stated length.
        found: usize,
        /// The bound.
        max: usize,
    },
    /// The bytes have the right length and no meaning.
    #[error("not a valid {0}")]
    Invalid(&'static str),
    /// An enumeration has no variant of this number.
    #[error("{what} has no variant {tag}")]
    UnknownVariant {
        /// The enumeration.
        what: &'static str,
        /// The number found.
        tag: u8,
    },
}

/// What is left of an input.
#[derive(Debug, Clone)]
pub struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// A reader over all of `bytes`.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// The next `n` bytes.
    pub fn take(&mut self, n: usize) -> Result<&'a [u8], DecodeError> {
        let left = self.0.len();
        let (head, tail) = self.0.split_at_checked(n).ok_or(DecodeError::Truncated { wanted: n, left })?;
        self.0 = tail;
        Ok(head)
    }

    /// The next `N` bytes.
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let bytes = self.take(N)?;
        bytes.try_into().map_err(|_| DecodeError::Invalid("array"))
    }

    /// A byte string behind its four-byte length, of at most `max` bytes.
    pub fn bytes(&mut self, what: &'static str, max: usize) -> Result<&'a [u8], DecodeError> {
        let found = u32::decode(self)? as usize;
        if found > max {
            return Err(DecodeError::TooLong { what, found, max });
        }
        self.take(found)
    }

    /// Bytes not read yet.
    pub fn left(&self) -> usize {
        self.0.len()
    }
}

/// A value with canonical bytes.
pub trait Wire: Sized {
    /// Appends the canonical bytes to `out`.
    fn encode(&self, out: &mut Vec<u8>);

    /// Reads one value and leaves the reader behind it.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError>;

    /// The canonical bytes.
    fn to_bytes(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.encode(&mut out);
        out
    }

    /// The value whose canonical bytes are all of `bytes`.
    fn from_bytes(bytes: &[u8]) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(bytes);
        let value = Self::decode(&mut reader)?;
        match reader.left() {
            0 => Ok(value),
            n => Err(DecodeError::Trailing(n)),
        }
    }
}

/// Implements [`Wire`] for a struct, field after field in the order given.
#[macro_export]
macro_rules! wire {
    ($name:ident { $($field:ident),+ $(,)? }) => {
        impl $crate::codec::Wire for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                $($crate::codec::Wire::encode(&self.$field, out);)+
            }
            fn decode(reader: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::DecodeError> {
                Ok(Self { $($field: $crate::codec::Wire::decode(reader)?),+ })
            }
        }
    };
}

/// Implements [`Wire`] for an enum whose variants each hold one value: a byte that names the variant, then the value.
#[macro_export]
macro_rules! wire_enum {
    ($name:ident { $($tag:literal => $variant:ident),+ $(,)? }) => {
        impl $crate::codec::Wire for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$variant(value) => {
                        out.push($tag);
                        $crate::codec::Wire::encode(value, out);
                    })+
                }
            }
            fn decode(reader: &mut $crate::codec::Reader<'_>) -> Result<Self, $crate::codec::DecodeError> {
                match <u8 as $crate::codec::Wire>::decode(reader)? {
                    $($tag => Ok(Self::$variant($crate::codec::Wire::decode(reader)?)),)+
                    tag => Err($crate::codec::DecodeError::UnknownVariant { what: stringify!($name), tag }),
                }
            }
        }
    };
}

macro_rules! wire_integer {
    ($($int:ty),+) => {$(
        impl Wire for $int {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_be_bytes());
            }
            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self::from_be_bytes(reader.array()?))
            }
        }
    )+};
}

wire_integer!(u8, u16, u32, u64);

impl<const N: usize> Wire for [u8; N] {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        reader.array()
    }
}

impl Wire for bool {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(reader)? {
            0 => Ok(false),
            1 => Ok(true),
            _ => Err(DecodeError::Invalid("truth value")),
        }
    }
}

impl<T: Wire> Wire for Option<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        self.is_some().encode(out);
        if let Some(value) = self {
            value.encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        bool::decode(reader)?.then(|| T::decode(reader)).transpose()
    }
}

impl<T: Wire> Wire for Vec<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        // Longer lists than a u16 can count are never built: `MAX_LIST` bounds what decodes, and constructors what is made.
        u16::try_from(self.len()).unwrap_or(u16::MAX).encode(out);
        for item in self {
            item.encode(out);
        }
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let found = usize::from(u16::decode(reader)?);
        let max = MAX_LIST.min(reader.left());
        if found > max {
            return Err(DecodeError::TooLong { what: "list", found, max });
        }
        (0..found).map(|_| T::decode(reader)).collect()
    }
}

impl Wire for String {
    fn encode(&self, out: &mut Vec<u8>) {
        encode_bytes(self.as_bytes(), out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bytes = reader.bytes("text", MAX_LIST)?;
        Self::from_utf8(bytes.to_vec()).map_err(|_| DecodeError::Invalid("UTF-8 text"))
    }
}

fn encode_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    u32::try_from(bytes.len()).unwrap_or(u32::MAX).encode(out);
    out.extend_from_slice(bytes);
}

macro_rules! wire_hash {
    ($($hash:ty),+) => {$(
        impl Wire for $hash {
            fn encode(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_byte_array());
            }
            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self::from_byte_array(reader.array()?))
            }
        }
    )+};
}

wire_hash!(Txid, BlockHash);

impl Wire for Amount {
    fn encode(&self, out: &mut Vec<u8>) {
        self.to_sat().encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let amount = Self::from_sat(u64::decode(reader)?);
        if amount > Self::MAX_MONEY { Err(DecodeError::Invalid("amount")) } else { Ok(amount) }
    }
}

impl Wire for Signature {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.serialize());
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Self::from_slice(reader.take(64)?).map_err(|_| DecodeError::Invalid("BIP-340 signature"))
    }
}

/// Values that Bitcoin already gives bytes to: its own encoding, behind a length.
macro_rules! wire_bitcoin {
    ($($kind:ty, $name:literal, $max:expr;)+) => {$(
        impl Wire for $kind {
            fn encode(&self, out: &mut Vec<u8>) {
                encode_bytes(&btc::serialize(self), out);
            }
            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                let bytes = reader.bytes($name, $max)?;
                let value: Self = btc::deserialize(bytes).map_err(|_| DecodeError::Invalid($name))?;
                // A transaction without witness can also be written with an empty one: only one form is canonical.
                if btc::serialize(&value) == bytes { Ok(value) } else { Err(DecodeError::Invalid($name)) }
            }
        }
    )+};
}

wire_bitcoin! {
    Transaction, "transaction", 400_000;
    ScriptBuf, "script", 10_003;
    Witness, "witness", 10_000;
}

impl Wire for OutPoint {
    fn encode(&self, out: &mut Vec<u8>) {
        self.txid.encode(out);
        self.vout.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { txid: Txid::decode(reader)?, vout: u32::decode(reader)? })
    }
}

impl Wire for Header {
    fn encode(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&btc::serialize(self));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        btc::deserialize(reader.take(80)?).map_err(|_| DecodeError::Invalid("Bitcoin header"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Pair {
        left: u16,
        right: Vec<Option<bool>>,
    }
    wire!(Pair { left, right });

    #[test]
    fn a_value_is_what_its_bytes_say() {
        let pair = Pair { left: 258, right: vec![None, Some(true), Some(false)] };
        assert_eq!(pair.to_bytes(), [1, 2, 0, 3, 0, 1, 1, 1, 0]);
        assert_eq!(Pair::from_bytes(&pair.to_bytes()), Ok(pair));
    }

    #[test]
    fn every_other_spelling_is_refused() {
        use DecodeError::*;
        let check = |bytes: &[u8], error| assert_eq!(Pair::from_bytes(bytes), Err(error));
        check(&[1], Truncated { wanted: 2, left: 1 });
        check(&[1, 2, 0, 0, 9], Trailing(1));
        check(&[1, 2, 0, 1, 2], Invalid("truth value"));
        check(&[1, 2, 255, 255, 0], TooLong { what: "list", found: 65_535, max: 1 });
    }

    #[test]
    fn a_byte_string_has_its_bound() {
        let read = |length: usize| {
            let mut bytes = Vec::new();
            encode_bytes(&vec![7; length], &mut bytes);
            Reader::new(&bytes).bytes("text", 3).map(<[u8]>::to_vec)
        };
        for length in 0..=3 {
            assert_eq!(read(length), Ok(vec![7; length]));
        }
        assert_eq!(read(4), Err(DecodeError::TooLong { what: "text", found: 4, max: 3 }));
    }

    #[test]
    fn a_list_that_claims_more_than_its_bytes_allocates_nothing() {
        let claim = [&[0x20, 0][..], &[0; 8]].concat();
        assert!(matches!(Vec::<u64>::from_bytes(&claim), Err(DecodeError::TooLong { max: 8, .. })));
    }
}
