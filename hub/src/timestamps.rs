//! Timestamps: from a digest through the log, the state and an anchor to a Bitcoin block, as a standard `.ots` file.

use crate::ledger::Ledger;
use crate::ledger::anchors::{Anchored, Milestone};
use crate::store::{Store, StoreError};
use bitcoin::TxMerkleNode;
use bitcoin::hashes::Hash as _;
use bitcoin::secp256k1::{Keypair, Message as Digest, SECP256K1};
use palisade_protocol::block::{Block, HubHeader, MessageBytes, message_tree};
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::Context;
use palisade_protocol::hash::Hash32;
use palisade_protocol::inclusion::InclusionProof;
use palisade_protocol::message::{Message, TimestampBatch};
use palisade_protocol::state::{SECTIONS, Section};
use palisade_protocol::timestamp::{Path, PathRefused, TimestampFile};
use palisade_protocol::tree::{Tree, leaf_hash};
use palisade_protocol::units::{Epoch, Height};

/// Most digests in a batch.
pub const MAX_DIGESTS: usize = 4_096;

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

/// The first epoch whose checkpoint on Bitcoin covers a hub block.
pub fn covering(ledger: &Ledger, height: Height) -> Option<(Epoch, &Anchored, &Milestone)> {
    let terms = ledger.chains().first()?.terms;
    let first = terms.epoch_of(height);
    ledger.anchors().iter().filter(|(epoch, _)| *epoch >= first).find_map(|(epoch, anchored)| {
        let milestone = ledger.anchors().milestone(terms.last_voted(epoch))?;
        let covers = milestone.header.height >= height && milestone.header.hash() == anchored.header;
        covers.then_some((epoch, anchored, milestone))
    })
}

/// The file of a digest.
pub fn file(digest: Hash32, ledger: &Ledger, store: &Store) -> Result<TimestampFile, NoFile> {
    let (height, place) = store.find_digest(&digest)?.ok_or(NoFile::Unknown)?;
    let (_, anchored, milestone) = covering(ledger, height).ok_or(NoFile::NotAnchored(height))?;
    let block = block_at(store, height)?;
    let path = in_batch(Path::new(digest), &store.digests(height)?, place)?;
    let path = to_header(path, &block)?;
    let path = to_milestone(path, ledger, &block.header, milestone)?;
    let proof = anchor_proof(store, anchored)?;
    let siblings: Vec<TxMerkleNode> =
        proof.path.iter().map(|node| TxMerkleNode::from_byte_array(*node)).collect();
    let path = path.transaction(&proof.transaction)?.block(proof.index, &siblings)?;
    Ok(path.attest(anchored.place.height.0)?)
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

/// From a header to that of a later block, through the headers in its state.
fn to_milestone(
    path: Path,
    ledger: &Ledger,
    header: &HubHeader,
    milestone: &Milestone,
) -> Result<Path, NoFile> {
    if header.height == milestone.header.height {
        return Ok(path);
    }
    let (index, size) = (header.height.0, milestone.header.height.0);
    let headers = ledger.tree().section(Section::Headers);
    let siblings =
        headers.path_among_first(index as usize, size as usize).ok_or(NoFile::Missing("header"))?;
    let sections = Tree::from_leaves(milestone.sections.iter().map(|root| leaf_hash(&root.0)));
    let section = Section::Headers as usize;
    let above = sections.path(section).ok_or(NoFile::Missing("section"))?;
    let path = path.tree(index, size, &siblings)?.tree(section as u64, SECTIONS as u64, &above)?;
    Ok(path.tagged("palisade/1/header", &milestone.header.to_bytes())?)
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
