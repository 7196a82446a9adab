//! Proofs that a transaction is in a Bitcoin block.
//!
//! A block header commits to its transactions by a tree of double SHA-256 hashes that says neither how many leaves it
//! has nor which 64 bytes are a leaf and which are two hashes. [`InclusionProof::check`] closes both gaps:
//!
//! - *Which bytes are a leaf.* A miner can place a 64-byte transaction whose bytes double as two hashes, and hang a
//!   transaction that never existed below it; the reverse turns two hashes into a "transaction". Each changes the
//!   length of the path. Every proof therefore also proves the coinbase, by a path of the same length: the coinbase
//!   of a real block cannot be moved to another depth without finding 27 bytes of zeros in a hash. Proven transactions
//!   of 64 bytes are refused besides; Bitcoin Core does not relay them. A coinbase may have 64 bytes: refusing
//!   that would let a miner make a block in which nothing can be proven.
//! - *How many leaves there are.* An odd level repeats its last hash, so the last leaf also seems to be where nothing
//!   is (CVE-2012-2459). A repeated hash is always the right one of two equal ones, and two equal ones are never two
//!   real ones, so a path that comes from the right of its equal is refused: each transaction has one index.
//!
//! A transaction id covers no witness, so neither does a proof: witnesses are refused rather than carried unproven, and
//! one transaction in one block has exactly one proof. Not here: whether the block is on the best chain, and how deep;
//! [`crate::chain`] knows. Source: docs/protocol.md, section 4.2.

use crate::wire;
use bitcoin::block::Header;
use bitcoin::hashes::{Hash as _, HashEngine as _, sha256d};
use bitcoin::{Block, BlockHash, Transaction, Txid};

#[cfg(test)]
mod tests;

/// Longest path that is looked at. No block has room for more than 2^15 transactions.
pub const MAX_PATH: usize = 32;

/// Serialised size of two hashes, which no proven transaction may have.
const TWO_HASHES: usize = 64;

/// The claim that a transaction is in a block, with all that is needed to check it against the block's header.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InclusionProof {
    /// The block.
    pub block_hash: BlockHash,
    /// The transaction, without witness.
    pub transaction: Transaction,
    /// Its place in the block, from zero.
    pub index: u32,
    /// The hash beside each hash on the way from the transaction to the root, in Bitcoin's internal byte order.
    pub path: Vec<[u8; 32]>,
    /// The block's first transaction, without witness.
    pub coinbase: Transaction,
    /// The hashes on its way to the root; as many as in `path`.
    pub coinbase_path: Vec<[u8; 32]>,
}

wire!(InclusionProof { block_hash, transaction, index, path, coinbase, coinbase_path });

/// Which of a proof's two transactions a refusal is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leaf {
    /// The transaction to be proven.
    Proven,
    /// The block's first transaction.
    Coinbase,
}

/// Why a proof proves nothing. Trying again with the same proof never helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InclusionRefused {
    /// The header is not the one of the block named.
    #[error("the proof is about block {claimed}, the header is of {found}")]
    OtherBlock {
        /// The block that the proof names.
        claimed: BlockHash,
        /// The block that the header belongs to.
        found: BlockHash,
    },
    /// A path that no block can have.
    #[error("a path has {0} hashes, at most {MAX_PATH} are allowed")]
    PathTooLong(usize),
    /// The transaction's leaf is not as far from the root as the coinbase's: one of them is no leaf.
    #[error("the path of the transaction has {path} hashes, that of the coinbase {coinbase_path}")]
    DepthsDiffer {
        /// Hashes in the transaction's path.
        path: usize,
        /// Hashes in the coinbase's path.
        coinbase_path: usize,
    },
    /// Witnesses are not covered by the tree.
    #[error("the {0:?} transaction carries a witness, which the proof cannot cover")]
    Witness(Leaf),
    /// Sixty-four bytes can be two hashes.
    #[error("the transaction has 64 bytes without witness, as two hashes of the tree have")]
    SizeOfTwoHashes,
    /// A coinbase is the first transaction of its block, and the first transaction is one.
    #[error("the transaction at index {0} must be a coinbase if and only if it is the first")]
    CoinbaseOutOfPlace(u32),
    /// There is no such place in a tree of this depth.
    #[error("index {index} is beyond a tree of {depth} levels")]
    IndexBeyondTree {
        /// The index claimed.
        index: u32,
        /// Hashes in the path.
        depth: usize,
    },
    /// The index points to the repetition of the last hash of a level.
    #[error("index {index} is the repetition of a hash at level {level}, not a transaction")]
    Repeated {
        /// The index claimed.
        index: u32,
        /// The level, counted from the leaves.
        level: usize,
    },
    /// The path does not lead to the header's root.
    #[error("the path of the {0:?} transaction does not lead to the header's merkle root")]
    WrongRoot(Leaf),
    /// The block holds no transaction at this place; said only when a proof is built.
    #[error("the block has {count} transactions, none at index {index}")]
    NoTransaction {
        /// The place asked for.
        index: u32,
        /// Transactions in the block.
        count: usize,
    },
}

impl InclusionProof {
    /// Builds the proof of the block's transaction at `index`, and checks it: a block whose header does not commit to
    /// its transactions is refused.
    pub fn from_block(block: &Block, index: u32) -> Result<Self, InclusionRefused> {
        let count = block.txdata.len();
        let missing = InclusionRefused::NoTransaction { index, count };
        let place = usize::try_from(index).map_err(|_| missing.clone())?;
        let levels = levels(block.txdata.iter().map(|tx| tx.compute_txid().to_byte_array()).collect());
        let proof = Self {
            block_hash: block.block_hash(),
            transaction: block.txdata.get(place).map(without_witness).ok_or(missing.clone())?,
            index,
            path: path(&levels, place),
            coinbase: block.txdata.first().map(without_witness).ok_or(missing)?,
            coinbase_path: path(&levels, 0),
        };
        proof.check(&block.header)?;
        Ok(proof)
    }

    /// Checks the proof against the header of its block, and returns the id of the transaction that is in it. Whoever
    /// must not rely on a coinbase, which cannot be spent for a hundred blocks, asks [`Self::is_coinbase`].
    pub fn check(&self, header: &Header) -> Result<Txid, InclusionRefused> {
        self.check_shape()?;
        let found = header.block_hash();
        if found != self.block_hash {
            return Err(InclusionRefused::OtherBlock { claimed: self.block_hash, found });
        }
        let txid = self.transaction.compute_txid();
        let coinbase = self.coinbase.compute_txid();
        let root = header.merkle_root.to_byte_array();
        if root_of(coinbase, 0, &self.coinbase_path)? != root {
            return Err(InclusionRefused::WrongRoot(Leaf::Coinbase));
        }
        if root_of(txid, self.index, &self.path)? != root {
            return Err(InclusionRefused::WrongRoot(Leaf::Proven));
        }
        Ok(txid)
    }

    /// Whether the transaction creates its block's reward. Known only once [`Self::check`] has passed.
    pub fn is_coinbase(&self) -> bool {
        self.transaction.is_coinbase()
    }

    /// All that can be refused without hashing.
    fn check_shape(&self) -> Result<(), InclusionRefused> {
        let (path, coinbase_path) = (self.path.len(), self.coinbase_path.len());
        if path.max(coinbase_path) > MAX_PATH {
            return Err(InclusionRefused::PathTooLong(path.max(coinbase_path)));
        }
        if has_witness(&self.transaction) {
            return Err(InclusionRefused::Witness(Leaf::Proven));
        }
        if has_witness(&self.coinbase) {
            return Err(InclusionRefused::Witness(Leaf::Coinbase));
        }
        if self.transaction.base_size() == TWO_HASHES {
            return Err(InclusionRefused::SizeOfTwoHashes);
        }
        if path != coinbase_path {
            return Err(InclusionRefused::DepthsDiffer { path, coinbase_path });
        }
        if !self.coinbase.is_coinbase() {
            return Err(InclusionRefused::CoinbaseOutOfPlace(0));
        }
        if self.is_coinbase() != (self.index == 0) {
            return Err(InclusionRefused::CoinbaseOutOfPlace(self.index));
        }
        Ok(())
    }
}

/// The root that a leaf at `index` leads to.
fn root_of(leaf: Txid, index: u32, path: &[[u8; 32]]) -> Result<[u8; 32], InclusionRefused> {
    let (mut hash, mut place) = (leaf.to_byte_array(), index);
    for (level, sibling) in path.iter().enumerate() {
        let is_right = place & 1 == 1;
        if is_right && *sibling == hash {
            return Err(InclusionRefused::Repeated { index, level });
        }
        hash = if is_right { parent(sibling, &hash) } else { parent(&hash, sibling) };
        place /= 2;
    }
    if place != 0 {
        return Err(InclusionRefused::IndexBeyondTree { index, depth: path.len() });
    }
    Ok(hash)
}

fn parent(left: &[u8; 32], right: &[u8; 32]) -> [u8; 32] {
    let mut engine = sha256d::Hash::engine();
    engine.input(left);
    engine.input(right);
    sha256d::Hash::from_engine(engine).to_byte_array()
}

/// The tree's levels below its root, leaves first.
fn levels(leaves: Vec<[u8; 32]>) -> Vec<Vec<[u8; 32]>> {
    let mut levels = Vec::new();
    let mut level = leaves;
    while level.len() > 1 {
        let above = level.chunks(2).filter_map(|pair| Some(parent(pair.first()?, pair.last()?))).collect();
        levels.push(std::mem::replace(&mut level, above));
    }
    levels
}

/// The hashes beside the way from the leaf at `place`; the last of an odd level is its own neighbour.
fn path(levels: &[Vec<[u8; 32]>], place: usize) -> Vec<[u8; 32]> {
    let mut place = place;
    let mut path = Vec::new();
    for level in levels {
        path.extend(level.get(place ^ 1).or_else(|| level.get(place)));
        place /= 2;
    }
    path
}

fn has_witness(tx: &Transaction) -> bool {
    tx.input.iter().any(|input| !input.witness.is_empty())
}

fn without_witness(tx: &Transaction) -> Transaction {
    let mut stripped = tx.clone();
    for input in &mut stripped.input {
        input.witness.clear();
    }
    stripped
}
