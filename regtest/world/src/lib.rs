//! A small world in memory: a Bitcoin chain mined here, a ledger, and every key, for stories that need few processes.
//!
//! Real blocks with real proof of work, real transactions and real signatures: a node that starts takes them
//! (`Node::of` of the tests on a real one). Only the network is missing. Each method is one act of one party.

pub mod anchored;
mod bitcoin;
pub mod blocks;
mod disk;
mod finality;
mod keys;
#[allow(missing_docs, reason = "acts and facts that their names tell")]
pub mod player;
mod stakes;

pub use self::bitcoin::{address, key_path, transaction};
pub use finality::{leaked_key, vote_by_seed};
pub use keys::{bls_secret, governance_key, keypair, pair, provider_key, schnorr, secret};
pub use stakes::{Wish, answer, unbonding};

use self::bitcoin::Wallet;
use ::bitcoin::{Block, CompactTarget, Network, OutPoint, Transaction, TxOut};
use keys::x_only;
use palisade_hub::init::default_params;
use palisade_hub::ledger::{Event, Ledger, Rejected};
use palisade_hub::timestamps;
use palisade_protocol::block::{Block as HubBlock, HubHeader, MessageBytes};
use palisade_protocol::chain::{HeaderChain, HeaderRules};
use palisade_protocol::context::{ChainId, ChainIdentity, Terms};
use palisade_protocol::genesis::{Genesis, GenesisDocument, HeaderHex, Magic};
use palisade_protocol::governance::{self, Action, GovernanceMessage, GovernanceSignature, NewChain};
use palisade_protocol::hash::Hash32;
use palisade_protocol::inclusion::InclusionProof;
use palisade_protocol::keys::{CovenantKey, HubKey};
use palisade_protocol::message::{Message, TimestampBatch};
use palisade_protocol::params::{ParamsDocument, Profile};
use palisade_protocol::units::{BtcHeight, Epoch, Height};
use std::sync::Arc;

/// Committee members of the world.
pub const COVENANT: [&str; 5] = ["covenant 0", "covenant 1", "covenant 2", "covenant 3", "covenant 4"];
/// Members of governance; two must sign.
pub const GOVERNANCE: [&str; 3] = ["governance 0", "governance 1", "governance 2"];

/// Bitcoin, a ledger on top of it, and everybody's keys.
#[derive(Debug, Clone)]
pub struct World {
    /// The best chain, from the genesis block on.
    pub chain: Vec<Block>,
    /// Transactions for the next block.
    pub mempool: Vec<Transaction>,
    /// The ledger.
    pub ledger: Ledger,
    /// The blocks of the log.
    pub log: Vec<HubBlock>,
    /// What they told.
    pub events: Vec<Event>,
    /// Coins that are there already, from an earlier block or made on a node: [`World::fund`] takes these first.
    pub coins: Vec<(OutPoint, TxOut, InclusionProof)>,
    pending: Vec<MessageBytes>,
    wallet: Wallet,
}

impl World {
    /// A world whose chain zero opens at `minimum_power_sat`; three of [`COVENANT`] are a quorum.
    pub fn new(minimum_power_sat: u64) -> Self {
        Self::with_committee(minimum_power_sat, &COVENANT, 3)
    }

    /// A world with a committee of these names.
    pub fn with_committee(minimum_power_sat: u64, members: &[&str], quorum: u8) -> Self {
        Self::with(Terms { epoch_length: 20, voted_every: 5, minimum_power_sat }, members, quorum)
    }

    /// A world whose presigned transactions can be bumped.
    pub fn bumpable(minimum_power_sat: u64) -> Self {
        let zero = Terms { epoch_length: 20, voted_every: 5, minimum_power_sat };
        Self::with_params(zero, &COVENANT, 3, |params| params.profile = Profile::Bumpable)
    }

    /// A world with these terms of chain zero, and a committee of these names.
    pub fn with(zero: Terms, members: &[&str], quorum: u8) -> Self {
        Self::with_params(zero, members, quorum, |_| ())
    }

    /// The same with other parameters than a new hub has on regtest.
    pub fn with_params(
        zero: Terms,
        members: &[&str],
        quorum: u8,
        alter: impl FnOnce(&mut ParamsDocument),
    ) -> Self {
        let block = ::bitcoin::constants::genesis_block(Network::Regtest);
        Self::begun(block, zero, members, quorum, alter)
    }

    /// A world whose targets change with each period of so many blocks, which are meant to be a second apart. No node takes its blocks.
    pub fn retargeting(minimum_power_sat: u64, interval: u32) -> Self {
        let mut block = ::bitcoin::constants::genesis_block(Network::Regtest);
        // As easy as such rules can be.
        block.header.bits = CompactTarget::from_consensus(0x1f3f_ffff);
        blocks::work(&mut block.header);
        let zero = Terms { epoch_length: 20, voted_every: 5, minimum_power_sat };
        let mut world = Self::begun(block.clone(), zero, &COVENANT, 3, |_| ());
        let rules = HeaderRules::private(block.header.bits, interval, 1).expect("good rules");
        let chain = HeaderChain::new(rules, BtcHeight(0), &[block.header]).expect("one header");
        world.ledger = Ledger::over(chain, world.ledger.genesis().clone());
        world
    }

    fn begun(
        block: Block,
        zero: Terms,
        members: &[&str],
        quorum: u8,
        alter: impl FnOnce(&mut ParamsDocument),
    ) -> Self {
        let covenant = members.iter().map(|name| CovenantKey::from(x_only(name))).collect();
        let mut params = default_params(Network::Regtest, covenant, quorum).expect("defaults");
        alter(&mut params);
        let document = GenesisDocument {
            network_magic: Magic(Network::Regtest.magic().to_bytes()),
            base_headers: vec![HeaderHex(block.header)],
            base_height: BtcHeight(0),
            hub_key: HubKey::from(x_only("hub")),
            governance: GOVERNANCE.map(governance_key).to_vec(),
            governance_quorum: 2,
            zero,
            nonce_roots_ahead: 64,
            block_interval_ms: 200,
            params,
        };
        let genesis = Arc::new(Genesis::new(document).expect("a genesis"));
        let ledger = Ledger::new(genesis);
        Self {
            chain: vec![block],
            mempool: Vec::new(),
            ledger,
            log: Vec::new(),
            events: Vec::new(),
            coins: Vec::new(),
            pending: Vec::new(),
            wallet: Wallet::new(),
        }
    }

    /// Applies a message to the block being made.
    pub fn send(&mut self, message: &Message) -> Result<Hash32, Rejected> {
        self.send_bytes(MessageBytes::of(message))
    }

    /// The same for a message's bytes.
    pub fn send_bytes(&mut self, bytes: MessageBytes) -> Result<Hash32, Rejected> {
        let id = self.ledger.apply(&bytes)?;
        self.pending.push(bytes);
        Ok(id)
    }

    /// Closes the block, signs it and adds it to the log.
    pub fn close(&mut self) -> (HubHeader, Vec<Event>) {
        let (header, events) = self.ledger.finish_block();
        let message = HubHeader::signing_message(&self.ledger.contexts().hub, &header.hash());
        let signature = schnorr("hub", &message);
        self.log.push(HubBlock { header, signature, messages: std::mem::take(&mut self.pending) });
        self.events.extend_from_slice(&events);
        (header, events)
    }

    /// Closes blocks until the next one has this height.
    pub fn close_until(&mut self, height: u64) {
        while self.ledger.next_height() < Height(height) {
            self.close();
        }
    }

    /// A chain as signatures see it.
    pub fn identity(&self, chain: &ChainId) -> ChainIdentity {
        self.ledger.chain(chain).expect("a registered chain").identity.clone()
    }

    /// A decision of two of the three governance members is made.
    pub fn govern(&mut self, action: Action) -> Result<Hash32, Rejected> {
        let decision = self.decision(action);
        self.send(&Message::Governance(decision))
    }

    /// Registers a chain that is in its first epoch.
    pub fn register_chain(&mut self, id: &ChainId, terms: Terms) {
        let chain = NewChain { id: id.clone(), genesis: Hash32([5; 32]), terms, first_epoch: Epoch(0) };
        self.govern(Action::RegisterChain(chain)).expect("a good decision");
    }

    /// The next decision, signed by two of the three governance members.
    pub fn decision(&self, action: Action) -> GovernanceMessage {
        self.decision_by(&GOVERNANCE[..2], action)
    }

    /// The next decision, signed by all these names.
    pub fn decision_by(&self, names: &[&str], action: Action) -> GovernanceMessage {
        let sequence = self.ledger.next_decision();
        let message = governance::message(&self.ledger.contexts().governance, sequence, &action);
        let sign = |name: &&str| GovernanceSignature {
            key: governance_key(name),
            signature: schnorr(name, &message),
        };
        let mut signatures: Vec<_> = names.iter().map(sign).collect();
        signatures.sort_unstable_by_key(|signature| signature.key);
        GovernanceMessage { sequence, action, signatures }
    }

    /// Records digests in the block being made, as the hub does.
    pub fn stamp(&mut self, digests: &[Hash32]) {
        let (height, context) = (self.ledger.next_height(), self.ledger.contexts().hub);
        let mut batch = timestamps::batch(height, digests, &context, &keypair("hub"));
        // A hub's has randomness in it.
        let message = TimestampBatch::message(&context, height, &batch.root, batch.count);
        batch.signature = schnorr("hub", &message);
        self.send(&Message::Batch(batch)).expect("a good batch");
    }
}
