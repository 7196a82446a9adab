//! Timestamps in the format of OpenTimestamps: what `.ots` files say, how they are made, and when they hold.
//!
//! A file starts at a digest and is a tree of operations (append, prepend, hash). Each of its ends is an attestation.
//! An end at a Bitcoin block holds if the bytes that arrive there are the Merkle root in that block's header: then the
//! digest is older than the block. [`Path`] writes the files that the hub hands out, a single way from a digest
//! through our trees and the anchor transaction to a block; the standard client verifies them. [`TimestampFile::parse`]
//! reads any standard file, whoever made it.
//!
//! A file that is parsed is written back byte for byte. Sizes and depths are bounded while parsing, before anything is
//! hashed. Not here: calendars, file digests other than SHA-256, the operation keccak256 (it leads to Ethereum only);
//! and whether a header is on the best chain, which the caller knows.
//!
//! Source: the reference implementation (`opentimestamps` 0.4.5 on PyPI), whose limits are ours; docs/protocol.md, section 9.3.

mod attestation;
mod encoding;
mod op;
mod path;

use attestation::Attestation;
pub use encoding::OtsInvalid;
pub use path::{Path, PathRefused};

use crate::codec::Reader;
use crate::hash::Hash32;
use bitcoin::TxMerkleNode;
use bitcoin::block::Header;
use bitcoin::hashes::Hash as _;
use op::Op;

/// Longest file that is read or written, in bytes. Real ones have some hundred to some thousand.
pub const FILE_MAX: usize = 65_536;

/// Longest argument or result of an operation, in bytes.
pub const MESSAGE_MAX: usize = 4_096;

/// Most operations from the digest to an attestation: one more and the standard client no longer reads the file.
pub const OPS_MAX: usize = 255;

const MAGIC: [u8; 31] = *b"\x00OpenTimestamps\x00\x00Proof\x00\xbf\x89\xe2\xe8\x84\xe8\x92\x94";
const VERSION: u64 = 1;
const ATTESTATION: u8 = 0x00;
const FORK: u8 = 0xff;

/// A proof about the SHA-256 digest of something, as it stands in a detached `.ots` file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimestampFile {
    digest: Hash32,
    timestamp: Timestamp,
}

/// What follows from a message. Never empty, branches in the order in which they stand in the file.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Timestamp {
    branches: Vec<Branch>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Branch {
    Attested(Attestation),
    Then(Op, Timestamp),
}

/// The oldest Bitcoin block that a timestamp reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attested {
    /// Height of the block.
    pub height: u32,
    /// Its header, as the caller gave it.
    pub header: Header,
}

/// Why a file does not show that a digest is older than a Bitcoin block.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotAttested {
    /// The file is about something else.
    #[error("the file is about digest {found}, not {wanted}")]
    OtherDigest {
        /// The digest in the file.
        found: Hash32,
        /// The digest asked for.
        wanted: Hash32,
    },
    /// No end of the file is a Bitcoin block: a calendar still owes the proof.
    #[error("the file reaches no Bitcoin block yet")]
    NoBitcoinBlock,
    /// No header is known for any block that the file reaches. With more headers the same file can hold.
    #[error("no header is known at height {height}")]
    HeaderUnknown {
        /// The lowest height that the file reaches.
        height: u32,
    },
    /// What arrives at a block is no hash.
    #[error("{length} bytes arrive at the block at height {height}, a Merkle root has 32")]
    NotARoot {
        /// Height of the block.
        height: u32,
        /// Number of bytes that arrive.
        length: usize,
    },
    /// What arrives at a block is not its Merkle root: the proof was altered, or the block was reorged away.
    #[error("{found} arrives at the block at height {height}, whose Merkle root is {wanted}")]
    OtherRoot {
        /// Height of the block.
        height: u32,
        /// What arrives, in internal byte order.
        found: Hash32,
        /// The root in the header, in internal byte order.
        wanted: Hash32,
    },
}

impl TimestampFile {
    /// Reads a detached `.ots` file about a SHA-256 digest.
    pub fn parse(bytes: &[u8]) -> Result<Self, OtsInvalid> {
        if bytes.len() > FILE_MAX {
            return Err(OtsInvalid::FileTooLong { found: bytes.len() });
        }
        let mut reader = Reader::new(bytes);
        if reader.array()? != MAGIC {
            return Err(OtsInvalid::Magic);
        }
        match encoding::number(&mut reader)? {
            VERSION => {}
            found => return Err(OtsInvalid::Version { found }),
        }
        match encoding::byte(&mut reader)? {
            op::SHA256 => {}
            found => return Err(OtsInvalid::FileHash { found }),
        }
        let digest = Hash32(reader.array()?);
        let timestamp = Timestamp::read(&mut reader, digest.0.len(), OPS_MAX)?;
        encoding::end(&reader)?;
        Ok(Self { digest, timestamp })
    }

    /// The bytes of the detached `.ots` file.
    pub fn serialize(&self) -> Vec<u8> {
        let mut out = MAGIC.to_vec();
        encoding::put_number(&mut out, VERSION);
        out.push(op::SHA256);
        out.extend_from_slice(&self.digest.0);
        self.timestamp.write(&mut out);
        out
    }

    /// The digest that the file is about.
    pub fn digest(&self) -> Hash32 {
        self.digest
    }

    /// Verifies that `digest` is older than a Bitcoin block, and says which.
    ///
    /// `header_at` answers with the header at a height of the chain that the caller trusts. Every end at a known header
    /// must hold; one at least must be known. The oldest is returned. Other attestations prove nothing here.
    pub fn verify(
        &self,
        digest: &Hash32,
        header_at: impl Fn(u32) -> Option<Header>,
    ) -> Result<Attested, NotAttested> {
        if self.digest != *digest {
            return Err(NotAttested::OtherDigest { found: self.digest, wanted: *digest });
        }
        let (mut oldest, mut unknown) = (None::<Attested>, None::<u32>);
        self.timestamp.walk(&self.digest.0, &mut |message, attestation| {
            let Attestation::Bitcoin { height } = *attestation else { return Ok(()) };
            match header_at(height) {
                None => unknown = Some(unknown.map_or(height, |lowest| lowest.min(height))),
                Some(header) => {
                    check_root(height, message, header.merkle_root)?;
                    let found = oldest.into_iter().chain([Attested { height, header }]);
                    oldest = found.min_by_key(|found| found.height);
                }
            }
            Ok(())
        })?;
        oldest.ok_or(match unknown {
            Some(height) => NotAttested::HeaderUnknown { height },
            None => NotAttested::NoBitcoinBlock,
        })
    }
}

fn check_root(height: u32, message: &[u8], root: TxMerkleNode) -> Result<(), NotAttested> {
    let length = message.len();
    let found = Hash32(message.try_into().map_err(|_| NotAttested::NotARoot { height, length })?);
    let wanted = Hash32(root.to_byte_array());
    if found == wanted { Ok(()) } else { Err(NotAttested::OtherRoot { height, found, wanted }) }
}

impl Timestamp {
    /// Reads what follows from a message of `length` bytes, with at most `ops_left` operations in a row.
    fn read(reader: &mut Reader<'_>, length: usize, ops_left: usize) -> Result<Self, OtsInvalid> {
        let mut branches = Vec::new();
        loop {
            let tag = encoding::byte(reader)?;
            let is_last = tag != FORK;
            let tag = if is_last { tag } else { encoding::byte(reader)? };
            branches.push(Branch::read(tag, reader, length, ops_left)?);
            if is_last {
                return Ok(Self { branches });
            }
        }
    }

    fn write(&self, out: &mut Vec<u8>) {
        let mut branches = self.branches.iter().peekable();
        while let Some(branch) = branches.next() {
            if branches.peek().is_some() {
                out.push(FORK);
            }
            match branch {
                Branch::Attested(attestation) => {
                    out.push(ATTESTATION);
                    attestation.write(out);
                }
                Branch::Then(op, timestamp) => {
                    op.write(out);
                    timestamp.write(out);
                }
            }
        }
    }

    /// Shows `see` each attestation with the message that arrives at it.
    fn walk<E, F>(&self, message: &[u8], see: &mut F) -> Result<(), E>
    where
        F: FnMut(&[u8], &Attestation) -> Result<(), E>,
    {
        self.branches.iter().try_for_each(|branch| match branch {
            Branch::Attested(attestation) => see(message, attestation),
            Branch::Then(op, timestamp) => timestamp.walk(&op.apply(message), see),
        })
    }
}

impl Branch {
    fn read(tag: u8, reader: &mut Reader<'_>, length: usize, ops_left: usize) -> Result<Self, OtsInvalid> {
        if tag == ATTESTATION {
            return Attestation::read(reader).map(Self::Attested);
        }
        let op = Op::read(tag, reader)?;
        let length = op.result_length(length)?;
        let ops_left = ops_left.checked_sub(1).ok_or(OtsInvalid::TooDeep)?;
        Ok(Self::Then(op, Timestamp::read(reader, length, ops_left)?))
    }
}

#[cfg(test)]
mod tests;
