//! Facts that the storyteller hands over as they happen, because nothing else keeps them together: which branch Bitcoin
//! lost, what an anchor carries, where the files of a timestamp are. Byte strings are plain lowercase hex.

use bitcoin::{BlockHash, Txid};
use palisade_protocol::units::Height;
use serde::Serialize;
use std::path::PathBuf;

/// A reorganisation of Bitcoin: where to look for what it changed.
#[derive(Debug, Clone)]
pub struct Reorg {
    /// Height of the last common block.
    pub fork_height: u32,
    /// Tip of the branch that was lost.
    pub old_tip: BlockHash,
    /// The node's tip once it had followed the new branch.
    pub new_tip: BlockHash,
    /// The affected keys.
    pub keys: Vec<String>,
    /// The hub's newest block before it, and one after it.
    pub moments: [Height; 2],
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
