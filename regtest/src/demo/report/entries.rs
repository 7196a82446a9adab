//! Facts that the storyteller hands over as they happen, because nothing else keeps them together: a branch that Bitcoin
//! lost, what an anchor carries, where the files of a timestamp are. Byte strings are plain lowercase hex.

use bitcoin::{BlockHash, Txid};
use serde::Serialize;
use std::path::PathBuf;

/// A reorganisation of Bitcoin.
#[derive(Debug, Clone, Serialize)]
pub struct Reorg {
    /// Height of the last common block.
    pub fork_height: u32,
    /// Tip of the branch that was lost.
    pub old_tip: BlockHash,
    /// The node's tip once it had followed the new branch.
    pub new_tip: BlockHash,
    /// Transactions that stand in the old branch only.
    pub removed: Vec<Txid>,
    /// Whether it tripped the breaker.
    pub breaker: bool,
    /// Power of each affected key, before and after.
    pub power: Vec<PowerAt>,
}

/// Power of a key as the hub told it at a moment.
#[derive(Debug, Clone, Serialize)]
pub struct PowerAt {
    /// The hub's Bitcoin tip then.
    pub btc_height: u32,
    /// The hub's newest block then.
    pub hub_height: u64,
    /// The provider's key, x-only.
    pub key: String,
    /// Its power.
    pub sat: u64,
}

/// A checkpoint of chain zero on Bitcoin.
#[derive(Debug, Clone, Serialize)]
pub struct Anchor {
    /// The epoch that ended.
    pub epoch: u64,
    /// Hash of its last voted header.
    pub header: String,
    /// The context that its BLS signature is made in.
    pub context: String,
    /// What the OP_RETURN pushes.
    pub payload: String,
    /// The transaction that carries it.
    pub txid: Txid,
    /// Which output.
    pub vout: u32,
    /// Keys of the members that signed, in the order of the set.
    pub signers: Vec<String>,
}

/// A digest that rode along with an anchor.
#[derive(Debug, Clone, Serialize)]
pub struct Timestamp {
    /// The digest.
    pub digest: String,
    /// The file it is the SHA-256 of.
    pub file: PathBuf,
    /// Its OpenTimestamps file.
    pub ots: PathBuf,
    /// The transaction that carries the anchor.
    pub txid: Txid,
}

/// What somebody needs to verify, offline, that a block of the development chain is final.
#[derive(Debug, Clone, Serialize)]
pub struct Files {
    /// The certificates up to the block, and its anchor.
    pub proof: PathBuf,
    /// Bitcoin's headers from the height that the proof names.
    pub headers: PathBuf,
    /// The trust root.
    pub root: PathBuf,
}
