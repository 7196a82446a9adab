//! Timestamps: from a digest through the log, the state and an anchor to a Bitcoin block, as a standard `.ots` file.
//! Source: docs/protocol.md, section 9.3.

use crate::ledger::Ledger;
use crate::ledger::anchors::{Anchored, Milestone};
use crate::store::{Store, StoreError};
use bitcoin::TxMerkleNode;
use bitcoin::hashes::Hash as _;
use bitcoin::secp256k1::{Keypair, Message as Digest, SECP256K1};
use palisade_protocol::block::{Block, MessageBytes, message_tree};
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::Context;
use palisade_protocol::hash::Hash32;
use palisade_protocol::inclusion::InclusionProof;
use palisade_protocol::message::{Message, TimestampBatch};
use palisade_protocol::state::{SECTIONS, Section};
use palisade_protocol::timestamp::{Path, PathRefused, TimestampFile};
use palisade_protocol::tree::{Tree, leaf_hash};
use palisade_protocol::units::{Epoch, Height};

/// Most digests in a batch. They cost their senders nothing and stay for ever, so there are few: a tree of digests counts as one.
pub const MAX_DIGESTS: usize = 256;

/// Why there is no file.
#[derive(Debug, thiserror::Error)]
pub enum NoFile {
    /// Nobody had it timestamped here.
    #[error("this hub has recorded no such digest")]
    Unknown,
    /// The hub's state behind it is not on Bitcoin.
    #[error("the digest is in hub block {0}; no anchor on Bitcoin covers that yet")]
    NotAnchored(Height),
    /// The log does not hold what it should.
    #[error("the log holds no {0}")]
    Missing(&'static str),
    /// A way that no file can have.
    #[error(transparent)]
    Path(#[from] PathRefused),
    /// The log cannot be read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// The tree over a batch's digests.
pub fn batch_tree(digests: &[Hash32]) -> Tree {
    Tree::from_leaves(digests.iter().map(|digest| leaf_hash(&digest.0)))
}

/// The message that records digests in the hub block at `height`, signed by the hub's key.
pub fn batch(height: Height, digests: &[Hash32], context: &Context, key: &Keypair) -> TimestampBatch {
    let (root, count) = (batch_tree(digests).root(), digests.len() as u32);
    let message = TimestampBatch::message(context, height, &root, count);
    TimestampBatch {
        height,
        root,
        count,
        signature: SECP256K1.sign_schnorr(&Digest::from_digest(message), key),
    }
}

/// The batch that a block holds.
pub fn batch_of(block: &Block) -> Option<TimestampBatch> {
    block.messages.iter().find_map(|bytes| match bytes.decode() {
        Ok(Message::Batch(batch)) => Some(batch),
        _ => None,
    })
}

/// Whether these are the digests of a batch, in their order.
pub fn is_batch_of(batch: &TimestampBatch, digests: &[Hash32]) -> bool {
    let count = u32::try_from(digests.len());
    digests.len() <= MAX_DIGESTS && count == Ok(batch.count) && batch_tree(digests).root() == batch.root
}

/// The first epoch whose checkpoint on Bitcoin covers a hub block.
pub fn covering(ledger: &Ledger, height: Height) -> Option<(Epoch, &Anchored, &Milestone)> {
    let terms = ledger.chains().first()?.terms;
    let first = terms.epoch_of(height);
    ledger.anchors().from(first).find_map(|(epoch, anchored)| {
        let milestone = ledger.anchors().milestone(terms.last_voted(epoch))?;
        let covers = milestone.header.height >= height && milestone.header.hash() == anchored.header;
        covers.then_some((epoch, anchored, milestone))
    })
}

/// What the ledger knows of a digest's way; the rest stands in the log. Made and filled in two steps, so that nobody waits
/// for the ledger while the log is read.
#[derive(Debug)]
pub struct Plan {
    digest: Hash32,
    height: Height,
    place: usize,
    anchored: Anchored,
    milestone: Milestone,
    /// Siblings of the block's header among those of the milestone's state.
    siblings: Vec<Hash32>,
}

/// Plans the file of a digest that is recorded in a block at `height`, at `place` of its batch.
pub fn plan(digest: Hash32, (height, place): (Height, usize), ledger: &Ledger) -> Result<Plan, NoFile> {
    let (_, anchored, milestone) = covering(ledger, height).ok_or(NoFile::NotAnchored(height))?;
    let (index, size) = (height.0 as usize, milestone.header.height.0 as usize);
    let headers = ledger.tree().section(Section::Headers);
    // None of its own header's: the batch stands in the very block that the anchor names.
    let siblings = headers.path_among_first(index, size).unwrap_or_default();
    let (anchored, milestone) = (anchored.clone(), milestone.clone());
    Ok(Plan { digest, height, place, anchored, milestone, siblings })
}

impl Plan {
    /// Reads the rest from the log.
    pub fn fill(&self, store: &Store) -> Result<TimestampFile, NoFile> {
        let block = block_at(store, self.height)?;
        let path = in_batch(Path::new(self.digest), &store.digests(self.height)?, self.place)?;
        let path = self.to_milestone(to_header(path, &block)?)?;
        let proof = anchor_proof(store, &self.anchored)?;
        let siblings: Vec<TxMerkleNode> =
            proof.path.iter().map(|node| TxMerkleNode::from_byte_array(*node)).collect();
        let path = path.transaction(&proof.transaction)?.block(proof.index, &siblings)?;
        Ok(path.attest(self.anchored.place.height.0)?)
    }

    /// From the block's header to the one that the anchor names, through the headers in its state.
    fn to_milestone(&self, path: Path) -> Result<Path, NoFile> {
        let header = &self.milestone.header;
        if self.height == header.height {
            return Ok(path);
        }
        let sections = Tree::from_leaves(self.milestone.sections.iter().map(|root| leaf_hash(&root.0)));
        let section = Section::Headers as usize;
        let above = sections.path(section).ok_or(NoFile::Missing("section"))?;
        let path = path.tree(self.height.0, header.height.0, &self.siblings)?;
        let path = path.tree(section as u64, SECTIONS as u64, &above)?;
        Ok(path.tagged("palisade/1/header", &header.to_bytes())?)
    }
}

fn block_at(store: &Store, height: Height) -> Result<Block, NoFile> {
    store
        .blocks(height, 1)?
        .pop()
        .filter(|block| block.header.height == height)
        .ok_or(NoFile::Missing("block"))
}

fn in_batch(path: Path, digests: &[Hash32], place: usize) -> Result<Path, NoFile> {
    let siblings = batch_tree(digests).path(place).ok_or(NoFile::Missing("place in the batch"))?;
    Ok(path.tree(place as u64, digests.len() as u64, &siblings)?)
}

/// From a batch's root to the header of its block.
fn to_header(path: Path, block: &Block) -> Result<Path, NoFile> {
    let root = path.message().to_vec();
    let holds = |bytes: &MessageBytes| matches!(bytes.decode(), Ok(Message::Batch(batch)) if batch.root.0[..] == root);
    let index = block.messages.iter().position(holds).ok_or(NoFile::Missing("batch in the block"))?;
    let bytes = block.messages.get(index).ok_or(NoFile::Missing("batch in the block"))?;
    let ids = message_tree(block.messages.iter().map(MessageBytes::id));
    let siblings = ids.path(index).ok_or(NoFile::Missing("message in the block"))?;
    let path = path.tagged("palisade/1/message", bytes.as_slice())?;
    let path = path.tree(index as u64, ids.len() as u64, &siblings)?;
    Ok(path.tagged("palisade/1/header", &block.header.to_bytes())?)
}

/// The inclusion proof of a checkpoint's transaction, from the log.
pub fn anchor_proof(store: &Store, anchored: &Anchored) -> Result<InclusionProof, NoFile> {
    let block = block_at(store, anchored.hub_height)?;
    let message = block.messages.iter().find(|bytes| bytes.id() == anchored.message);
    match message.and_then(|bytes| bytes.decode().ok()) {
        Some(Message::Anchor(proof)) => Ok(proof),
        _ => Err(NoFile::Missing("anchor")),
    }
}
