//! The ledger: a deterministic state machine over messages.
//!
//! `apply` takes a message and changes the state or names the rule that the message breaks; `finish_block` closes a block
//! and gives its header. The same messages give the same roots on any machine: no I/O, no clock, no randomness, no
//! floats, no hash maps, no panics. Every message authenticates itself; there are no accounts.
//! The work of a block is proportional to what changed. Source: docs/protocol.md, section 8.

#![cfg_attr(
    not(test),
    deny(
        clippy::arithmetic_side_effects,
        clippy::disallowed_macros,
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::expect_used,
        clippy::float_arithmetic,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::panic_in_result_fn,
        clippy::print_stderr,
        clippy::print_stdout,
        clippy::string_slice,
        clippy::todo,
        clippy::unimplemented,
        clippy::unreachable,
        clippy::unwrap_used
    )
)]

pub mod anchors;
mod bitcoin_facts;
mod breaker;
pub mod chains;
pub mod event;
mod expansion;
mod finality;
mod governance;
mod judging;
pub mod providers;
mod registration;
pub mod rejected;
mod sets;
pub mod stake;
pub mod stakes;
pub mod state;

pub use breaker::Trip;
pub use event::Event;
pub use judging::Proven;
pub use rejected::Rejected;

use anchors::Anchors;
use bitcoin::Network;
use chains::Chain;
use palisade_protocol::block::{Block, HubHeader, MessageBytes, message_tree};
use palisade_protocol::chain::HeaderChain;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::{ChainId, ChainIdentity, Context, Purpose};
use palisade_protocol::genesis::Genesis;
use palisade_protocol::governance::Governors;
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::params::{self, Params};
use palisade_protocol::state::{Section, StateTree};
use palisade_protocol::units::{BtcHeight, Epoch, Height};
use providers::{DROPPED_IN_A_BLOCK, Providers};
use stake::Transition;
use stakes::{Now, Stakes};
use std::sync::Arc;

/// Contexts of chain zero that the ledger checks signatures under, and that no recovery changes.
#[derive(Debug, Clone, Copy)]
pub struct Contexts {
    /// Of a holder's intent.
    pub intent: Context,
    /// Of governance.
    pub governance: Context,
    /// Of a committee member's refusal.
    pub covenant: Context,
    /// Of what the hub's key signs.
    pub hub: Context,
}

/// The state after some block, and the block being made on top of it.
#[derive(Debug, Clone)]
pub struct Ledger {
    genesis: Arc<Genesis>,
    contexts: Contexts,
    bitcoin: HeaderChain,
    params: Vec<Params>,
    providers: Providers,
    stakes: Stakes,
    chains: Vec<Chain>,
    anchors: Anchors,
    breaker: Option<Trip>,
    governors: Governors,
    decisions: u64,
    tree: StateTree,
    tip: Option<(Height, Hash32)>,
    messages: Vec<Hash32>,
    events: Vec<Event>,
    sets_fixed: usize,
    certificates: usize,
}

/// Why a block of somebody's log is not a block of this ledger.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBlock {
    /// The header does not follow the one before.
    #[error("block {0} does not follow the block before it")]
    NotNext(Height),
    /// The header's signature is bad.
    #[error("the hub's signature on block {0} does not verify")]
    Signature(Height),
    /// A message is refused.
    #[error("message {index} of block {height} is refused: {why}")]
    Message {
        /// Which block.
        height: Height,
        /// Which message.
        index: usize,
        /// Why.
        why: Box<Rejected>,
    },
    /// The header claims another state.
    #[error("block {height} claims {}", difference(claimed, computed))]
    Root {
        /// Which block.
        height: Height,
        /// The header that came.
        claimed: Box<HubHeader>,
        /// The header that the messages give.
        computed: Box<HubHeader>,
    },
}

/// Each field of two headers that differs, in words.
fn difference(claimed: &HubHeader, computed: &HubHeader) -> String {
    let fields = |header: &HubHeader| {
        let (tip, height) = (header.btc_tip.to_string(), header.btc_height.to_string());
        [
            ("message root", header.message_root.to_string()),
            ("state root", header.state_root.to_string()),
            ("Bitcoin tip", tip),
            ("Bitcoin height", height),
        ]
    };
    let both =
        fields(claimed).into_iter().zip(fields(computed)).filter(|(claimed, computed)| claimed != computed);
    let words = both
        .map(|((name, claimed), (_, computed))| format!("{name} {claimed}, its messages give {computed}"));
    words.collect::<Vec<_>>().join("; ")
}

impl Ledger {
    /// The state before the first block.
    pub fn new(genesis: Arc<Genesis>) -> Self {
        Self::over(genesis.bitcoin().clone(), genesis)
    }

    /// The same over other header rules than those of the document's network: a test cannot mine Bitcoin's, and only where targets
    /// change a heavier branch can be shorter. `bitcoin` begins with the document's base headers.
    pub fn over(bitcoin: HeaderChain, genesis: Arc<Genesis>) -> Self {
        let zero = genesis.zero();
        let contexts = Contexts {
            intent: zero.context(Purpose::Intent),
            governance: zero.context(Purpose::Governance),
            covenant: zero.context(Purpose::Covenant),
            hub: zero.context(Purpose::Hub),
        };
        let mut ledger = Self {
            bitcoin,
            params: Vec::new(),
            providers: Providers::default(),
            stakes: Stakes::default(),
            chains: vec![Chain::new(zero, genesis.document().zero, (Epoch(0), Height(0)))],
            anchors: Anchors::default(),
            breaker: None,
            governors: genesis.governors().clone(),
            decisions: 0,
            tree: StateTree::default(),
            tip: None,
            messages: Vec::new(),
            events: Vec::new(),
            sets_fixed: 0,
            certificates: 0,
            contexts,
            genesis,
        };
        ledger.add_params(ledger.genesis.params().clone());
        ledger
    }

    /// What the hub was born with.
    pub fn genesis(&self) -> &Arc<Genesis> {
        &self.genesis
    }

    /// The Bitcoin network.
    pub fn network(&self) -> Network {
        self.genesis.network()
    }

    /// Contexts of chain zero.
    pub fn contexts(&self) -> &Contexts {
        &self.contexts
    }

    /// Bitcoin as the ledger knows it.
    pub fn bitcoin(&self) -> &HeaderChain {
        &self.bitcoin
    }

    /// Height of Bitcoin's tip.
    pub fn btc_height(&self) -> BtcHeight {
        self.bitcoin.tip().height
    }

    /// Versions of the parameters, oldest first.
    pub fn params(&self) -> &[Params] {
        &self.params
    }

    /// The version in force at a height; the first one below its own.
    pub fn params_at(&self, height: BtcHeight) -> (usize, &Params) {
        params::in_force(&self.params, height).unwrap_or((0, self.genesis.params()))
    }

    /// Finality providers.
    pub fn providers(&self) -> &Providers {
        &self.providers
    }

    /// Stakes.
    pub fn stakes(&self) -> &Stakes {
        &self.stakes
    }

    /// Chains, chain zero first.
    pub fn chains(&self) -> &[Chain] {
        &self.chains
    }

    /// A chain by its name.
    pub fn chain(&self, id: &ChainId) -> Option<&Chain> {
        self.chains.iter().find(|chain| chain.id() == id)
    }

    /// A chain by the context of its votes.
    pub fn chain_of_votes(&self, context: &Context) -> Option<&Chain> {
        self.chains.iter().find(|chain| chain.vote == *context)
    }

    /// Why the breaker is tripped, if it is.
    pub fn breaker(&self) -> Option<&Trip> {
        self.breaker.as_ref()
    }

    /// Who governs.
    pub fn governors(&self) -> &Governors {
        &self.governors
    }

    /// Number of the next governance decision.
    pub fn next_decision(&self) -> u64 {
        self.decisions
    }

    /// The newest block: its height and hash.
    pub fn tip(&self) -> Option<(Height, Hash32)> {
        self.tip
    }

    /// Height of the block being made.
    pub fn next_height(&self) -> Height {
        self.tip.map_or(Height(0), |(height, _)| height.plus(1))
    }

    /// The state's trees, for proofs.
    pub fn tree(&self) -> &StateTree {
        &self.tree
    }

    /// Applies a message to the block being made.
    pub fn apply(&mut self, bytes: &MessageBytes) -> Result<Hash32, Rejected> {
        self.apply_proven(bytes, None)
    }

    /// The same of a message that may have been [judged](Ledger::judge) before: then only what is cheap is asked again.
    pub fn apply_proven(
        &mut self,
        bytes: &MessageBytes,
        proven: Option<&Proven>,
    ) -> Result<Hash32, Rejected> {
        let id = bytes.id();
        let known = proven.and_then(|proven| proven.of(id));
        let message = bytes.decode()?;
        let cause = id.to_string();
        match &message {
            Message::Headers(headers) => self.apply_headers(headers, &cause),
            Message::Provider(registration) => self.apply_provider(registration, known),
            Message::Stake(registration) => self.apply_stake(registration, known, id, &cause),
            Message::Answer(answer) => self.apply_answer(answer, known, &cause),
            Message::Consent(consent) => self.apply_consent(consent, known, &cause),
            Message::Included(included) => self.apply_included(included, &cause),
            Message::Spent(spent) => self.apply_spent(spent, &cause),
            Message::Commitment(commitment) => self.apply_commitment(commitment, known),
            Message::Certificate(certificate) => self.apply_certificate(certificate, known),
            Message::Evidence(evidence) => self.apply_evidence(evidence, known, &cause),
            Message::Governance(decision) => self.apply_governance(decision, known, &cause),
            Message::Anchor(proof) => self.apply_anchor(proof, known, id),
            Message::Batch(batch) => self.apply_batch(batch),
        }?;
        self.messages.push(id);
        Ok(id)
    }

    /// Closes the block: sets are fixed, the state's root is computed, and the header follows.
    pub fn finish_block(&mut self) -> (HubHeader, Vec<Event>) {
        let height = self.next_height();
        self.fix_sets(height);
        self.providers.drop_stale(DROPPED_IN_A_BLOCK);
        self.note_transitions();
        self.write_leaves();
        let tip = self.bitcoin.tip();
        let header = HubHeader {
            height,
            previous: self.tip.map_or(Hash32::ZERO, |(_, hash)| hash),
            message_root: message_tree(std::mem::take(&mut self.messages)).root(),
            state_root: self.tree.root(),
            btc_tip: tip.hash,
            btc_height: tip.height,
        };
        let hash = header.hash();
        self.note_milestone(&header);
        // The header itself becomes part of the next block's state.
        self.tree.section_mut(Section::Headers).push(palisade_protocol::tree::leaf_hash(&hash.0));
        self.tip = Some((height, hash));
        (header, std::mem::take(&mut self.events))
    }

    /// Replays a block of a log and checks every claim of its header. On an error the ledger must be thrown away.
    pub fn replay(&mut self, block: &Block) -> Result<Vec<Event>, BadBlock> {
        let height = block.header.height;
        let previous = self.tip.map_or(Hash32::ZERO, |(_, hash)| hash);
        if height != self.next_height() || block.header.previous != previous {
            return Err(BadBlock::NotNext(height));
        }
        let message = HubHeader::signing_message(&self.contexts.hub, &block.header.hash());
        let hub = self.genesis.document().hub_key;
        hub.verify(&message, &block.signature).map_err(|_| BadBlock::Signature(height))?;
        for (index, bytes) in block.messages.iter().enumerate() {
            self.apply(bytes).map_err(|why| BadBlock::Message { height, index, why: Box::new(why) })?;
        }
        let (computed, events) = self.finish_block();
        if computed != block.header {
            let (claimed, computed) = (Box::new(block.header), Box::new(computed));
            return Err(BadBlock::Root { height, claimed, computed });
        }
        Ok(events)
    }

    /// Where the ledger stands, for booking a change with this cause.
    fn now<'a>(&self, cause: &'a str) -> Now<'a> {
        let may_gain = self.breaker.is_none();
        Now { tip: self.btc_height(), hub: self.next_height(), may_gain, cause }
    }

    fn add_params(&mut self, params: Params) {
        let leaf = params.document().to_bytes();
        self.tree.put(Section::Params, self.params.len(), &leaf);
        self.params.push(params);
    }

    fn note_transitions(&mut self) {
        for (id, Transition { state, btc_height, cause, .. }) in self.stakes.take_transitions() {
            self.events.push(Event::Stake { id, state, btc_height, cause });
        }
    }

    fn write_leaves(&mut self) {
        let stakes = self.stakes.take_changed();
        let stakes = stakes.into_iter().filter_map(|index| Some((index, self.stakes.get(index)?.to_leaf())));
        self.tree.put_all(Section::Stakes, stakes);
        self.tree.put_all(Section::Providers, self.providers.take_changed());
        self.write_anchor_leaves();
        // Leaf 0 is the breaker and governance, leaf i + 1 is chain i.
        let mut leaf = Vec::new();
        self.breaker.as_ref().map(Trip::to_string).encode(&mut leaf);
        self.decisions.encode(&mut leaf);
        self.governors.encode(&mut leaf);
        self.tree.put(Section::Chains, 0, &leaf);
        for (index, chain) in self.chains.iter_mut().enumerate() {
            if std::mem::take(&mut chain.changed) {
                self.tree.put(Section::Chains, index.saturating_add(1), &chain.to_leaf());
            }
        }
    }

    /// A chain as signatures see it, for a chain registered by governance.
    fn identity(&self, id: ChainId, genesis: Hash32) -> ChainIdentity {
        let zero = self.genesis.zero();
        ChainIdentity { id, genesis, ..zero }
    }
}
