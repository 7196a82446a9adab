//! What strangers do to bytes. Shared: the tests of this crate edit what its decoders read, those of `regtest` what a ledger is
//! told.

use proptest::prelude::*;
use proptest::sample::Index;

/// One change of a byte string.
#[derive(Debug, Clone)]
pub(crate) enum Edit {
    Flip(Index, u8),
    Cut(Index),
    Extend(Vec<u8>),
    /// Removes bytes, or puts others in their place.
    Splice(Index, usize, Vec<u8>),
    /// A number so large that no input is so long.
    Claim(Index, usize),
}

impl Edit {
    pub(crate) fn apply(&self, bytes: &mut Vec<u8>) {
        let len = bytes.len();
        match self {
            Self::Flip(at, bits) if len > 0 => bytes[at.index(len)] ^= bits,
            Self::Cut(at) => bytes.truncate(at.index(len + 1)),
            Self::Extend(more) => bytes.extend(more),
            Self::Splice(at, removed, put) => {
                let from = at.index(len + 1);
                bytes.splice(from..len.min(from + removed), put.iter().copied());
            }
            Self::Claim(at, width) if len > 0 => {
                let from = at.index(len);
                bytes[from..len.min(from + width)].fill(0xff);
            }
            Self::Flip(..) | Self::Claim(..) => {}
        }
    }
}

pub(crate) fn edit() -> impl Strategy<Value = Edit> {
    let some = || prop::collection::vec(any::<u8>(), 1..8);
    prop_oneof![
        4 => (any::<Index>(), 1..=255u8).prop_map(|(at, bits)| Edit::Flip(at, bits)),
        1 => any::<Index>().prop_map(Edit::Cut),
        1 => some().prop_map(Edit::Extend),
        2 => (any::<Index>(), 0..8usize, some()).prop_map(|(at, removed, put)| Edit::Splice(at, removed, put)),
        2 => (any::<Index>(), 1..9usize).prop_map(|(at, width)| Edit::Claim(at, width)),
    ]
}
