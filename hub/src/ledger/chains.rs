//! Chains: their terms, their sets, and the blocks that are final. Source: docs/protocol.md, section 8.2.

use bitcoin::{Amount, BlockHash};
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::{ChainId, ChainIdentity, Context, Purpose, Terms};
use palisade_protocol::finality::set::Set;
use palisade_protocol::governance::{FinalBlock, Recovery};
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::units::{BtcHeight, Epoch, Height};
use std::collections::BTreeMap;

/// A set and the moment that fixed it.
#[derive(Debug, Clone)]
pub struct FixedSet {
    /// The set.
    pub set: Set,
    /// The hub block whose state it was taken from.
    pub hub_height: Height,
    /// Bitcoin's tip there.
    pub btc_height: BtcHeight,
    /// Its hash.
    pub btc_tip: BlockHash,
    /// Whether it repeats its predecessor because the breaker was tripped.
    pub carried_over: bool,
    /// Keys that had power then and are no members, and why; for people.
    pub left_out: Vec<(ProviderKey, &'static str)>,
    /// Place in the state's section of sets.
    pub index: usize,
}

/// Sets of one incarnation of a chain, by epoch.
pub type Sets = BTreeMap<Epoch, FixedSet>;

/// A chain that gets finality.
#[derive(Debug, Clone)]
pub struct Chain {
    /// As signatures see it.
    pub identity: ChainIdentity,
    /// Its terms.
    pub terms: Terms,
    /// Context of its votes.
    pub vote: Context,
    /// Context of commitments.
    pub commitment: Context,
    /// Context of registrations.
    pub registration: Context,
    /// Context of checkpoints.
    pub checkpoint: Context,
    /// The epoch that it was in when it was registered, and the hub's height then.
    pub registered: (Epoch, Height),
    /// Sets by epoch.
    pub sets: Sets,
    /// Sets of earlier incarnations, oldest first.
    pub former: Vec<Sets>,
    /// Final blocks, by height.
    pub certified: BTreeMap<Height, Hash32>,
    /// The hub block that holds each certificate.
    pub records: BTreeMap<Height, Height>,
    /// First epoch since the chain opened or started again: its first voted height needs no certificate before it.
    pub opened_at: Option<Epoch>,
    /// Epoch whose first certificate still has to fix the next set (chains other than zero).
    pub wanted_set: Option<Epoch>,
    /// The chain waits for governance: its next set would be too weak.
    pub paused: bool,
    /// Power that governance accepts for the next set.
    pub accepted: Option<Amount>,
    /// Something changed since the last block.
    pub changed: bool,
}

impl Chain {
    /// A chain without sets.
    pub fn new(identity: ChainIdentity, terms: Terms, registered: (Epoch, Height)) -> Self {
        Self {
            vote: identity.context(Purpose::Vote),
            commitment: identity.context(Purpose::Commitment),
            checkpoint: identity.context(Purpose::Checkpoint),
            registration: identity.context(Purpose::Registration),
            identity,
            terms,
            registered,
            sets: BTreeMap::new(),
            former: Vec::new(),
            certified: BTreeMap::new(),
            records: BTreeMap::new(),
            opened_at: None,
            wanted_set: None,
            paused: false,
            accepted: None,
            changed: true,
        }
    }

    /// Its name.
    pub fn id(&self) -> &ChainId {
        &self.identity.id
    }

    /// The newest set.
    pub fn newest(&self) -> Option<(Epoch, &FixedSet)> {
        self.sets.last_key_value().map(|(epoch, set)| (*epoch, set))
    }

    /// The sets of each incarnation, oldest first. No epoch has sets in two of them.
    pub fn eras(&self) -> impl Iterator<Item = &Sets> {
        self.former.iter().chain(std::iter::once(&self.sets))
    }

    /// The set of an epoch with the identity that it signs under, whatever incarnation that is of.
    pub fn set_of(&self, epoch: Epoch) -> Option<(&FixedSet, ChainIdentity)> {
        let mut eras = (0..).zip(self.eras());
        eras.find_map(|(incarnation, sets)| {
            Some((sets.get(&epoch)?, ChainIdentity { incarnation, ..self.identity.clone() }))
        })
    }

    /// The height that the chain waits for: after its last certificate, or the first one since it opened.
    ///
    /// A voter goes on behind a certificate that it holds before the log does.
    pub fn awaited(&self) -> Option<Height> {
        let first = self.terms.first_height(self.opened_at?);
        match self.last_final() {
            Some((height, _)) if height >= first => Some(height.plus(self.terms.voted_every)),
            _ => Some(first),
        }
    }

    /// Whether nothing can become final any more: the set that the next voted height needs has expired.
    pub fn is_lost(&self, tip: BtcHeight) -> bool {
        let set = self.awaited().and_then(|next| self.sets.get(&self.terms.epoch_of(next)));
        set.is_some_and(|fixed| tip > fixed.set.header().expiry)
    }

    /// What brings the chain back, once it is lost: its next incarnation. `None` after the last one.
    pub fn recovery(&self) -> Option<Recovery> {
        let incarnation = self.identity.incarnation.checked_add(1)?;
        let last_final = self.last_final().map(|(height, hash)| FinalBlock { height, hash });
        Some(Recovery { chain: self.id().clone(), incarnation, last_final })
    }

    /// Begins anew without sets, from its last final block, under other contexts.
    pub fn restart(&mut self, incarnation: u32) {
        let identity = ChainIdentity { incarnation, ..self.identity.clone() };
        let (mut former, sets) = (std::mem::take(&mut self.former), std::mem::take(&mut self.sets));
        former.push(sets);
        let (certified, records) = (std::mem::take(&mut self.certified), std::mem::take(&mut self.records));
        *self = Self { former, certified, records, ..Self::new(identity, self.terms, self.registered) };
    }

    /// The newest final block.
    pub fn last_final(&self) -> Option<(Height, Hash32)> {
        self.certified.last_key_value().map(|(height, block)| (*height, *block))
    }

    /// The newest epoch whose last voted block is final.
    pub fn last_ended(&self) -> Option<Epoch> {
        let (height, _) = self.last_final()?;
        let current = self.terms.epoch_of(height);
        let is_over = self.terms.last_voted(current) <= height;
        let newest = if is_over { current } else { Epoch(current.0.checked_sub(1)?) };
        self.certified.contains_key(&self.terms.last_voted(newest)).then_some(newest)
    }

    /// The voted height before this one, or `None` at the first height since the chain opened.
    pub fn previous_voted(&self, height: Height) -> Option<Height> {
        let first = self.opened_at.map(|epoch| self.terms.first_height(epoch));
        (first != Some(height)).then(|| height.minus(self.terms.voted_every))
    }

    /// Leaf of the state's section of chains.
    pub fn to_leaf(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.identity.id.encode(&mut out);
        self.identity.genesis.encode(&mut out);
        self.identity.incarnation.encode(&mut out);
        self.terms.encode(&mut out);
        self.newest().map(|(epoch, _)| epoch).encode(&mut out);
        self.last_final().map(|(height, _)| height).encode(&mut out);
        self.last_final().map(|(_, block)| block).encode(&mut out);
        self.opened_at.encode(&mut out);
        self.wanted_set.encode(&mut out);
        self.paused.encode(&mut out);
        self.accepted.encode(&mut out);
        out
    }
}
