//! The record of a refusal: a hub block that this voter would not vote for, because its replica has another root.
//!
//! With the hub's own signature on the header it is a proof that anybody can check against the log.

use palisade_hub::daemon::bounded;
use palisade_hub::daemon::private_file;
use palisade_hub::ledger::BadBlock;
use palisade_protocol::block::{Block, MessageBytes};
use palisade_protocol::codec::Wire as _;
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::units::Height;
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Longest file of a refusal: the ids of a block's messages are most of it.
const MAX_BYTES: usize = 1 << 20;

/// A refused block, as it is written to disk and shown.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refusal {
    /// The key that does not vote.
    pub fp: Option<ProviderKey>,
    /// The block's height.
    pub height: Height,
    /// Canonical bytes of its header, hex.
    pub header: String,
    /// Hash of the header.
    pub hash: Hash32,
    /// The hub's signature on it, hex.
    pub signature: String,
    /// The state root that the block's messages give, where they can be applied.
    pub expected_root: Option<Hash32>,
    /// The message that the ledger refuses, else the block's last one.
    pub message: Option<Hash32>,
    /// All messages of the block.
    pub messages: Vec<Hash32>,
    /// In words.
    pub reason: String,
}

impl Refusal {
    /// The refusal of a block, or none if the hub did not sign it: then it proves nothing against the hub.
    pub fn new(fp: Option<ProviderKey>, block: &Block, why: &BadBlock) -> Option<Self> {
        let messages: Vec<Hash32> = block.messages.iter().map(MessageBytes::id).collect();
        let (expected_root, message) = match why {
            BadBlock::Signature(_) => return None,
            BadBlock::NotNext(_) => (None, None),
            BadBlock::Message { index, .. } => (None, messages.get(*index).copied()),
            BadBlock::Root { computed, .. } => (Some(computed.state_root), messages.last().copied()),
        };
        Some(Self {
            fp,
            height: block.header.height,
            header: hex::encode(block.header.to_bytes()),
            hash: block.header.hash(),
            signature: hex::encode(block.signature.serialize()),
            expected_root,
            message,
            messages,
            reason: why.to_string(),
        })
    }

    /// Writes it into `dir`, durably, unless it is there.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        fs::create_dir_all(dir)?;
        let path = dir.join(format!("{:012}-{}.json", self.height.0, self.hash));
        match path.exists() {
            true => Ok(()),
            false => private_file::replace(&path, &serde_json::to_vec_pretty(self)?),
        }
    }
}

/// All refusals in `dir`, lowest block first.
pub fn all(dir: &Path) -> io::Result<Vec<Refusal>> {
    Ok(files(dir)?.iter().filter_map(|path| read(path)).collect())
}

/// The files of all refusals in `dir`, lowest block first, and what else has such a name.
pub fn files(dir: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(dir) {
        Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut paths = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<Vec<_>>>()?;
    // One that is being written has another name.
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    paths.sort();
    Ok(paths)
}

/// One refusal. What is none, and was put there by somebody else, keeps the others from nobody.
fn read(path: &Path) -> Option<Refusal> {
    let bytes =
        bounded::read(path, MAX_BYTES).and_then(|bytes| bytes.ok_or(io::ErrorKind::FileTooLarge.into()));
    match bytes.and_then(|bytes| Ok(serde_json::from_slice(&bytes)?)) {
        Ok(refusal) => Some(refusal),
        Err(why) => {
            tracing::warn!(file = %path.display(), %why, "this is no refusal of ours");
            None
        }
    }
}
