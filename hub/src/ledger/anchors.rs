//! Checkpoints on Bitcoin, and batches of digests that ride along.
//!
//! For each epoch the first anchor in Bitcoin's order that a quorum of its set signed is the checkpoint. An anchor of the same
//! epoch for another header is void, and an alarm: more than a third of the set signed twice.
//! Source: docs/protocol.md, sections 9.2 and 9.3.

use super::judging::Under;
use super::stake::Place;
use super::{Event, Ledger, Rejected};
use bitcoin::{BlockHash, OutPoint, Transaction};
use palisade_protocol::anchor::{Anchor, BadAnchor, Signer};
use palisade_protocol::block::HubHeader;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::{Context, Purpose};
use palisade_protocol::finality::set::{Member, Set};
use palisade_protocol::hash::Hash32;
use palisade_protocol::inclusion::InclusionProof;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::message::TimestampBatch;
use palisade_protocol::state::{SECTIONS, Section};
use palisade_protocol::units::{BtcHeight, Epoch, Height};
use std::collections::{BTreeMap, BTreeSet};

/// A checkpoint on Bitcoin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchored {
    /// The header that it names.
    pub header: Hash32,
    /// Its Bitcoin block.
    pub place: Place,
    /// Its transaction's place in that block.
    pub index: u32,
    /// The output that carries it.
    pub outpoint: OutPoint,
    /// Members that signed.
    pub signers: Vec<ProviderKey>,
    /// The message that told of it.
    pub message: Hash32,
    /// The hub block that holds the message.
    pub hub_height: Height,
}

/// What is known of an epoch's anchors.
#[derive(Debug, Clone)]
struct OfEpoch {
    /// Place in the state's section.
    leaf: usize,
    /// The checkpoint, while its block is on the best chain.
    first: Option<Anchored>,
    /// Other headers that quorums of the set signed and anchored.
    void: BTreeSet<Hash32>,
}

/// A hub block whose state proofs start from: the first of an epoch, or its last voted one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Milestone {
    /// The block.
    pub header: HubHeader,
    /// Roots of the state's sections after it.
    pub sections: [Hash32; SECTIONS],
    /// Sets in that state.
    pub sets: usize,
}

/// Anchors of a ledger, and the blocks that they can be asked to prove.
#[derive(Debug, Clone, Default)]
pub struct Anchors {
    epochs: BTreeMap<Epoch, OfEpoch>,
    milestones: BTreeMap<Height, Milestone>,
    changed: BTreeSet<Epoch>,
    /// The block being made holds a batch.
    batched: bool,
}

impl Anchors {
    /// The checkpoint of an epoch.
    pub fn get(&self, epoch: Epoch) -> Option<&Anchored> {
        self.epochs.get(&epoch)?.first.as_ref()
    }

    /// All checkpoints, by epoch.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = (Epoch, &Anchored)> {
        self.epochs.iter().filter_map(|(epoch, own)| Some((*epoch, own.first.as_ref()?)))
    }

    /// Checkpoints of an epoch and those after it.
    pub fn from(&self, epoch: Epoch) -> impl Iterator<Item = (Epoch, &Anchored)> {
        self.epochs.range(epoch..).filter_map(|(epoch, own)| Some((*epoch, own.first.as_ref()?)))
    }

    /// Headers beside the checkpoint's that quorums of an epoch's set signed and anchored: an alarm.
    pub fn void(&self) -> impl Iterator<Item = (Epoch, &Hash32)> {
        self.epochs.iter().flat_map(|(epoch, own)| own.void.iter().map(|header| (*epoch, header)))
    }

    /// The first or the last voted block of one of chain zero's epochs.
    pub fn milestone(&self, height: Height) -> Option<&Milestone> {
        self.milestones.get(&height)
    }

    fn roll_back(&mut self, fork: BtcHeight) {
        for (epoch, own) in &mut self.epochs {
            if own.first.as_ref().is_some_and(|first| first.place.height > fork) {
                own.first = None;
                self.changed.insert(*epoch);
            }
        }
    }
}

impl Ledger {
    /// Checkpoints on Bitcoin.
    pub fn anchors(&self) -> &Anchors {
        &self.anchors
    }

    /// Gives the anchor, its place and output, and who signed it.
    pub(super) fn judge_anchor_proof(
        &self,
        proof: &InclusionProof,
        known: Option<&Under>,
    ) -> Result<(Anchor, Place, OutPoint, Vec<ProviderKey>), Rejected> {
        let (vout, anchor) = Anchor::find(&proof.transaction)?;
        let place = self.place_of(proof.block_hash)?;
        let outpoint = OutPoint { txid: proof.transaction.compute_txid(), vout };
        self.check_new(&anchor, place, proof.index)?;
        let (set, context) = self.set_of_anchor(&anchor, place.height)?;
        self.prove(proof)?;
        let signers = match known {
            Some(_) => named_members(&anchor, set).map(|(_, member)| member.key).collect(),
            None => self.verify_anchor(&anchor, (set, context))?,
        };
        Ok((anchor, place, outpoint, signers))
    }

    pub(super) fn apply_anchor(
        &mut self,
        proof: &InclusionProof,
        known: Option<&Under>,
        message: Hash32,
    ) -> Result<(), Rejected> {
        let (anchor, place, outpoint, signers) = self.judge_anchor_proof(proof, known)?;
        let (header, hub_height) = (anchor.header, self.next_height());
        let found = Anchored { header, place, index: proof.index, outpoint, signers, message, hub_height };
        self.record_anchor(anchor.epoch, found);
        Ok(())
    }

    /// Whether a transaction of a block on the best chain carries an anchor that the ledger would take: judged before anybody is
    /// told, so that nobody can make reporters forward nonsense.
    pub fn wants_anchor(&self, transaction: &Transaction, block: BlockHash, index: u32) -> bool {
        let judge = || -> Result<_, Rejected> {
            let (_, anchor) = Anchor::find(transaction)?;
            let place = self.place_of(block)?;
            self.check_new(&anchor, place, index)?;
            let set = self.set_of_anchor(&anchor, place.height)?;
            self.verify_anchor(&anchor, set)
        };
        judge().is_ok()
    }

    /// Judges an anchor that is not on Bitcoin yet, or whose inclusion is for the caller to prove.
    pub fn judge_anchor(&self, anchor: &Anchor) -> Result<(), Rejected> {
        let set = self.set_of_anchor(anchor, self.btc_height())?;
        self.verify_anchor(anchor, set).map(|_| ())
    }

    /// Whether an anchor in this place would say anything new.
    fn check_new(&self, anchor: &Anchor, place: Place, index: u32) -> Result<(), Rejected> {
        let Some(own) = self.anchors.epochs.get(&anchor.epoch) else { return Ok(()) };
        let Some(first) = &own.first else { return Ok(()) };
        // What stands before the recorded one in Bitcoin's order takes its place, whatever was told before.
        if (place.height, index) < (first.place.height, first.index) {
            return Ok(());
        }
        if first.header == anchor.header {
            return Err(Rejected::Repeated("this transaction or an earlier one anchors the header"));
        }
        if own.void.contains(&anchor.header) {
            return Err(Rejected::Repeated("the anchor is known to be void"));
        }
        Ok(())
    }

    /// The set that signed, if its time was not over at that height and the hub has come to the block that is named.
    fn set_of_anchor(&self, anchor: &Anchor, height: BtcHeight) -> Result<(&Set, Context), Rejected> {
        let zero = self.chains.first().ok_or(Rejected::Anchor(BadAnchor::NoAnchor))?;
        let unknown = || Rejected::UnknownSet { chain: zero.id().clone(), epoch: anchor.epoch };
        let (fixed, identity) = zero.set_of(anchor.epoch).ok_or_else(unknown)?;
        let last = zero.terms.last_voted(anchor.epoch);
        if self.anchors.milestone(last).is_none() {
            return Err(Rejected::NotInOrder(last));
        }
        let expiry = fixed.set.header().expiry;
        if height > expiry {
            return Err(Rejected::Expired(expiry));
        }
        Ok((&fixed.set, identity.context(Purpose::Checkpoint)))
    }

    fn verify_anchor(
        &self,
        anchor: &Anchor,
        (set, context): (&Set, Context),
    ) -> Result<Vec<ProviderKey>, Rejected> {
        let members: Vec<(u16, &Member)> = named_members(anchor, set).collect();
        let signers: Vec<Signer<'_>> = members
            .iter()
            .filter_map(|(index, member)| {
                let bls = self.providers.get(&member.key)?.bls.as_ref()?;
                Some(Signer { index: *index, member, bls })
            })
            .collect();
        anchor.verify(&context, set.header(), &signers)?;
        Ok(members.iter().map(|(_, member)| member.key).collect())
    }

    fn record_anchor(&mut self, epoch: Epoch, found: Anchored) {
        let leaf = self.anchors.epochs.len();
        let own =
            self.anchors.epochs.entry(epoch).or_insert(OfEpoch { leaf, first: None, void: BTreeSet::new() });
        let order = |anchored: &Anchored| (anchored.place.height, anchored.index);
        let (header, txid) = (found.header, found.outpoint.txid);
        let other = own.first.as_ref().filter(|first| first.header != header);
        let lost = match (other, &own.first) {
            (Some(first), _) if order(first) < order(&found) => Some(header),
            (other, _) => {
                let lost = other.map(|first| first.header);
                own.void.remove(&header);
                own.first = Some(found);
                lost
            }
        };
        own.void.extend(lost);
        self.anchors.changed.insert(epoch);
        match lost {
            Some(void) => self.events.push(Event::VoidAnchor { epoch, header: void, txid }),
            None => self.events.push(Event::Anchored { epoch, header, txid }),
        }
        if self.own_header(epoch) != Some(header) {
            self.events.push(Event::ForeignAnchor { epoch, header, txid });
        }
    }

    /// The hash of this hub's own last voted block of an epoch.
    pub fn own_header(&self, epoch: Epoch) -> Option<Hash32> {
        let last = self.chains.first()?.terms.last_voted(epoch);
        Some(self.anchors.milestone(last)?.header.hash())
    }

    /// Facts of lost blocks are withdrawn.
    pub(super) fn roll_back_anchors(&mut self, fork: BtcHeight) {
        self.anchors.roll_back(fork);
    }

    /// Bitcoin blocks since chain zero's state was last put under Bitcoin's work, or since it got its first set.
    pub fn blocks_without_anchor(&self) -> Option<u32> {
        let newest = self.anchors.iter().map(|(_, anchored)| anchored.place.height).max();
        let first_set =
            self.chains.first()?.eras().find_map(|sets| Some(sets.first_key_value()?.1.btc_height));
        Some(self.btc_height().since(newest.or(first_set)?))
    }

    pub(super) fn judge_batch(&self, batch: &TimestampBatch) -> Result<(), Rejected> {
        let height = self.next_height();
        if self.anchors.batched {
            return Err(Rejected::Repeated("a block holds one batch"));
        }
        if batch.height != height {
            return Err(Rejected::Batch("it was made for another block"));
        }
        if batch.count == 0 {
            return Err(Rejected::Batch("it holds no digest"));
        }
        let message = TimestampBatch::message(&self.contexts.hub, height, &batch.root, batch.count);
        let hub = self.genesis.document().hub_key;
        let bad = |_| Rejected::Batch("the hub's signature does not verify");
        hub.verify(&message, &batch.signature).map_err(bad)
    }

    pub(super) fn apply_batch(&mut self, batch: &TimestampBatch) -> Result<(), Rejected> {
        self.judge_batch(batch)?;
        self.anchors.batched = true;
        Ok(())
    }

    pub(super) fn write_anchor_leaves(&mut self) {
        self.anchors.batched = false;
        for epoch in std::mem::take(&mut self.anchors.changed) {
            let Some(own) = self.anchors.epochs.get(&epoch) else { continue };
            self.tree.put(Section::Anchors, own.leaf, &own.to_leaf(epoch));
        }
    }

    /// Remembers the state after a block that proofs start from.
    pub(super) fn note_milestone(&mut self, header: &HubHeader) {
        let Some(zero) = self.chains.first() else { return };
        let epoch = zero.terms.epoch_of(header.height);
        let bounds = [zero.terms.first_height(epoch), zero.terms.last_voted(epoch)];
        if zero.newest().is_some() && bounds.contains(&header.height) {
            let (sets, sections) = (self.sets_fixed, self.tree.section_roots());
            let milestone = Milestone { header: *header, sections, sets };
            self.anchors.milestones.insert(header.height, milestone);
        }
    }
}

/// The members of a set that an anchor says have signed it.
fn named_members<'a>(anchor: &Anchor, set: &'a Set) -> impl Iterator<Item = (u16, &'a Member)> {
    let named = anchor.signers().into_iter();
    named.filter_map(|index| Some((index, set.members().get(usize::from(index))?)))
}

impl OfEpoch {
    fn to_leaf(&self, epoch: Epoch) -> Vec<u8> {
        let mut out = epoch.to_bytes();
        self.first.is_some().encode(&mut out);
        if let Some(first) = &self.first {
            first.header.encode(&mut out);
            first.place.block.encode(&mut out);
            first.outpoint.encode(&mut out);
        }
        self.void.iter().copied().collect::<Vec<_>>().encode(&mut out);
        out
    }
}
