//! Writing a timestamp: one way from a digest to a Bitcoin block.

use super::op::Op;
use super::{Attestation, Branch, FILE_MAX, MESSAGE_MAX, OPS_MAX, Timestamp, TimestampFile};
use crate::hash::{Hash32, sha256};
use bitcoin::consensus::encode::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::{Transaction, TxIn, TxMerkleNode, Witness};

/// Why a way cannot be written as a standard timestamp.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PathRefused {
    /// An operation would have a result longer than [`MESSAGE_MAX`].
    #[error("a message would have {found} bytes, at most {MESSAGE_MAX} are allowed")]
    MessageTooLong {
        /// Its length.
        found: usize,
    },
    /// The way is longer than the standard client reads.
    #[error("the way needs {found} operations, at most {OPS_MAX} are read by the standard client")]
    TooManyOps {
        /// Number of operations.
        found: usize,
    },
    /// The file would be longer than [`FILE_MAX`].
    #[error("the file would have {found} bytes, at most {FILE_MAX} are allowed")]
    FileTooLong {
        /// Its length.
        found: usize,
    },
    /// The siblings do not fit the leaf's place in a tree of this size.
    #[error("{siblings} siblings do not lead from leaf {index} to the root of this tree")]
    TreeShape {
        /// Place of the leaf.
        index: u64,
        /// Number of siblings given.
        siblings: usize,
    },
    /// The message does not occur in the bytes that are to be hashed.
    #[error("the message does not occur in what is to be hashed")]
    NotInBytes,
    /// The message does not occur in the transaction.
    #[error("the message does not occur in the transaction without its witnesses")]
    NotInTransaction,
}

/// A way under construction: a digest, and the operations that lead from it to the present message.
///
/// Only append, prepend and SHA-256 are used. Nothing here knows what the hashes mean: a wrong sibling gives a file
/// that is well formed and does not verify.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Path {
    digest: Hash32,
    message: Vec<u8>,
    ops: Vec<Op>,
}

impl Path {
    /// The way that starts, and so far ends, at `digest`.
    pub fn new(digest: Hash32) -> Self {
        Self { digest, message: digest.0.to_vec(), ops: Vec::new() }
    }

    /// The message reached so far: after each of the steps below, a hash of 32 bytes.
    pub fn message(&self) -> &[u8] {
        &self.message
    }

    /// To `SHA256(prefix || message || suffix)`. Either part may be empty.
    pub fn step(mut self, prefix: &[u8], suffix: &[u8]) -> Result<Self, PathRefused> {
        if !prefix.is_empty() {
            self.push(Op::Prepend(prefix.to_vec()))?;
        }
        if !suffix.is_empty() {
            self.push(Op::Append(suffix.to_vec()))?;
        }
        self.push(Op::Sha256)?;
        Ok(self)
    }

    /// To the root of one of our trees (docs/protocol.md, section 1.4), whose leaf at `index` of `size` holds the message;
    /// `siblings` from the leaf up.
    pub fn tree(self, index: u64, size: u64, siblings: &[Hash32]) -> Result<Self, PathRefused> {
        let shape = PathRefused::TreeShape { index, siblings: siblings.len() };
        if index >= size {
            return Err(shape);
        }
        let mut path = self.step(&[0], &[])?;
        let mut rest = siblings.iter();
        let (mut at, mut width) = (index, size);
        while width > 1 {
            // A node without a right neighbour moves up unchanged.
            if at & 1 == 1 {
                let left = rest.next().ok_or_else(|| shape.clone())?;
                path = path.step(&[&[1][..], &left.0].concat(), &[])?;
            } else if at.saturating_add(1) < width {
                let right = rest.next().ok_or_else(|| shape.clone())?;
                path = path.step(&[1], &right.0)?;
            }
            (at, width) = (at >> 1, width.div_ceil(2));
        }
        if rest.next().is_some() { Err(shape) } else { Ok(path) }
    }

    /// To the tagged hash (docs/protocol.md, section 1.3) of bytes that hold the message.
    pub fn tagged(self, tag: &str, bytes: &[u8]) -> Result<Self, PathRefused> {
        let tag = sha256(&[tag.as_bytes()]).0;
        let (before, after) = around(bytes, &self.message).ok_or(PathRefused::NotInBytes)?;
        self.step(&[&tag, &tag, before].concat(), after)
    }

    /// To the id of a transaction that holds the message in its outputs or inputs. The witnesses do not enter the id,
    /// nor the file.
    pub fn transaction(self, transaction: &Transaction) -> Result<Self, PathRefused> {
        let found = transaction.base_size();
        if found > MESSAGE_MAX {
            return Err(PathRefused::MessageTooLong { found });
        }
        let strip = |input: &TxIn| TxIn { witness: Witness::new(), ..input.clone() };
        let input = transaction.input.iter().map(strip).collect();
        let bytes = serialize(&Transaction { input, ..transaction.clone() });
        let (prefix, suffix) = around(&bytes, &self.message).ok_or(PathRefused::NotInTransaction)?;
        self.step(prefix, suffix)?.step(&[], &[])
    }

    /// To the Merkle root of the Bitcoin block that has the transaction at `position`; `siblings` from the transaction
    /// up, an id that stands alone being its own sibling.
    pub fn block(self, position: u32, siblings: &[TxMerkleNode]) -> Result<Self, PathRefused> {
        let shape = PathRefused::TreeShape { index: u64::from(position), siblings: siblings.len() };
        let mut path = self;
        let mut at = position;
        for sibling in siblings {
            let sibling = sibling.to_byte_array();
            let (left, right): (&[u8], &[u8]) = if at & 1 == 1 { (&sibling, &[]) } else { (&[], &sibling) };
            path = path.step(left, right)?.step(&[], &[])?;
            at >>= 1;
        }
        if at == 0 { Ok(path) } else { Err(shape) }
    }

    /// The file: the message is the Merkle root of the Bitcoin block at `height`.
    pub fn attest(self, height: u32) -> Result<TimestampFile, PathRefused> {
        let end = Timestamp { branches: vec![Branch::Attested(Attestation::Bitcoin { height })] };
        let timestamp = self
            .ops
            .into_iter()
            .rev()
            .fold(end, |next, op| Timestamp { branches: vec![Branch::Then(op, next)] });
        let file = TimestampFile { digest: self.digest, timestamp };
        match file.serialize().len() {
            0..=FILE_MAX => Ok(file),
            found => Err(PathRefused::FileTooLong { found }),
        }
    }

    fn push(&mut self, op: Op) -> Result<(), PathRefused> {
        let found = self.ops.len().saturating_add(1);
        if found > OPS_MAX {
            return Err(PathRefused::TooManyOps { found });
        }
        let message = op.apply(&self.message);
        if message.len() > MESSAGE_MAX {
            return Err(PathRefused::MessageTooLong { found: message.len() });
        }
        self.message = message;
        self.ops.push(op);
        Ok(())
    }
}

/// What stands before and after the first occurrence of `part` in `whole`.
fn around<'a>(whole: &'a [u8], part: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let at = whole.windows(part.len()).position(|window| window == part)?;
    let (prefix, rest) = whole.split_at_checked(at)?;
    Some((prefix, rest.get(part.len()..)?))
}
