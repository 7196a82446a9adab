//! Quantities that could be mistaken for one another, each a type of its own. Amounts are [`bitcoin::Amount`].
//! Source: docs/protocol.md, section 1.1.

use crate::codec::{DecodeError, Reader, Wire};
use serde::{Deserialize, Serialize};
use std::fmt;

macro_rules! height {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub $int);

        impl $name {
            /// This many further on; stops at the largest value.
            pub fn plus(self, n: $int) -> Self {
                Self(self.0.saturating_add(n))
            }

            /// This many back; stops at zero.
            pub fn minus(self, n: $int) -> Self {
                Self(self.0.saturating_sub(n))
            }

            /// The one after it.
            pub fn next(self) -> Self {
                self.plus(1)
            }

            /// How far `earlier` lies behind; zero if it does not.
            pub fn since(self, earlier: Self) -> $int {
                self.0.saturating_sub(earlier.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Wire for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                self.0.encode(out);
            }

            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Wire::decode(reader).map(Self)
            }
        }
    };
}

height! {
    /// Height of a Bitcoin block.
    BtcHeight(u32)
}
height! {
    /// Height of a block of a chain that finality is given to; chain zero's are the hub's own blocks.
    Height(u64)
}
height! {
    /// Number of an epoch: heights `[e L, (e + 1) L)` of a chain with epoch length L.
    Epoch(u64)
}

/// A quantity outside its range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{what} is {found}, allowed are {min} to {max}")]
pub struct OutOfRange {
    /// The quantity.
    pub what: &'static str,
    /// What was given.
    pub found: u64,
    /// Smallest value allowed.
    pub min: u64,
    /// Largest value allowed.
    pub max: u64,
}

macro_rules! ranged {
    ($(#[$doc:meta])* $name:ident($int:ty, $what:literal, $min:literal, $max:literal)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "u64", into = "u64")]
        pub struct $name($int);

        impl $name {
            /// Refuses what is out of range.
            pub fn new(value: $int) -> Result<Self, OutOfRange> {
                Self::try_from(u64::from(value))
            }

            /// The number.
            pub fn get(self) -> $int {
                self.0
            }
        }

        impl TryFrom<u64> for $name {
            type Error = OutOfRange;

            fn try_from(found: u64) -> Result<Self, OutOfRange> {
                <$int>::try_from(found)
                    .ok()
                    .filter(|value| ($min..=$max).contains(value))
                    .map(Self)
                    .ok_or(OutOfRange { what: $what, found, min: $min, max: $max })
            }
        }

        impl From<$name> for u64 {
            fn from(value: $name) -> u64 {
                u64::from(value.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl Wire for $name {
            fn encode(&self, out: &mut Vec<u8>) {
                self.0.encode(out);
            }

            fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Self::new(Wire::decode(reader)?).map_err(|_| DecodeError::Invalid($what))
            }
        }
    };
}

ranged! {
    /// Bitcoin blocks that an output must age before it can be spent (BIP 68, BIP 112). Never zero, never seconds.
    RelativeBlocks(u16, "relative timelock in blocks", 1, 65_535)
}
ranged! {
    /// Hundredths of a percent, above nothing and below everything.
    BasisPoints(u16, "rate in basis points", 1, 9_999)
}
