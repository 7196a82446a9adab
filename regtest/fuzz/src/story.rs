//! One story of a network, from its first block to a proof from files: real blocks, real keys, and everybody's messages.
//!
//! Corpora are cut from it: each message of its log with the ledger that took it, its files, and what could be sent at its end.

mod young;

use crate::{forms, scratch};
use bitcoin::block::Header;
use bitcoin::{Amount, Transaction, TxOut};
use palisade_hub::ledger::Ledger;
use palisade_hub::store::{FILE, Store};
use palisade_hub::{proofs, timestamps};
use palisade_protocol::block::{Block, MessageBytes};
use palisade_protocol::context::{ChainId, Terms};
use palisade_protocol::finality::evidence::Evidence;
use palisade_protocol::governance::{AcceptedPower, Action, Governors, NewChain, Resume};
use palisade_protocol::hash::{Hash32, sha256};
use palisade_protocol::message::Message;
use palisade_protocol::params::{ParamsDocument, Profile};
use palisade_protocol::proof::{FinalityProof, TrustRoot};
use palisade_protocol::stake::StakeId;
use palisade_protocol::timestamp::TimestampFile;
use palisade_protocol::transactions::bump;
use palisade_protocol::units::{BtcHeight, Epoch, Height};
use palisade_world::{
    COVENANT, GOVERNANCE, Wish, World, governance_key, key_path, provider_key, transaction, unbonding,
};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::LazyLock;

const ZERO: [&str; 4] = ["anna", "bert", "carl", "dora"];
const DEV: [&str; 4] = ["dev anna", "dev bert", "dev carl", "dev dora"];
/// The block of the other chain that is proven.
const PROVEN: Height = Height(200);
/// Messages of a kind that are kept with their ledgers.
const KEPT: usize = 6;

/// Who has a coin and has not used it at the end: a holder, and a provider of the other chain.
pub(crate) const NEWCOMERS: [(&str, u64); 2] = [("frank", 301_000), ("gina", 10_000)];

/// The other chain.
pub fn dev() -> ChainId {
    "dev".parse().expect("a name")
}

/// A message, and the ledger that takes it.
#[derive(Debug, Clone)]
pub struct Told {
    /// The ledger before.
    pub before: Ledger,
    /// The message.
    pub bytes: MessageBytes,
}

/// A block, and the ledger that takes it.
#[derive(Debug, Clone)]
pub struct Closed {
    /// The ledger before.
    pub before: Ledger,
    /// The block.
    pub block: Block,
}

/// What is left of the story.
#[derive(Debug)]
pub struct Story {
    /// The world at the time of the proof: nothing has gone wrong yet.
    pub world: World,
    /// The whole log, beyond that, with what goes wrong.
    pub whole: World,
    /// Another hub's: its presigned transactions can be bumped, and it is lost before a block of its own is final.
    pub lost: World,
    /// An early exit from a stake of that hub, and a child that pays for it.
    pub bumped: [Transaction; 2],
    /// Messages of each kind, by the number of the kind: some of each, and one of every form.
    pub told: BTreeMap<u8, Vec<Told>>,
    /// Some blocks with messages in them.
    pub closed: Vec<Closed>,
    /// Proof of a block of the other chain, with its root and headers.
    pub proof: FinalityProof,
    /// Another, with the headers that it needs.
    pub young: (FinalityProof, Vec<Header>),
    /// Where their verifier starts.
    pub root: TrustRoot,
    /// Bitcoin, for the verifier of the first.
    pub headers: Vec<Header>,
    /// A timestamp file about the first of its digests.
    pub ots: TimestampFile,
    /// Digests that are stamped in the log.
    pub digests: Vec<Hash32>,
    /// The file with the log of `world`.
    pub log: Vec<u8>,
}

/// The story. It is told once in a process.
pub fn story() -> &'static Story {
    static STORY: LazyLock<Story> = LazyLock::new(tell);
    &STORY
}

fn tell() -> Story {
    let mut world = beginning();
    let young = young::proof(world.clone());
    let digests: Vec<Hash32> = (0..5u8).map(|number| sha256(&[&[number]])).collect();
    let stamped = world.ledger.next_height();
    finality(&mut world, &digests);
    let log = scratch::written(FILE, |path| keep(path, &world, stamped, &digests));
    let dir = scratch::dir();
    let path = dir.path().join(FILE);
    std::fs::write(&path, &log).expect("a place");
    let store = Store::open(&path).expect("a log");
    let root = proofs::root(&world.ledger, None).expect("a first set");
    let proof = proofs::plan(&world.ledger, &dev(), PROVEN).expect("a plan").fill(&store).expect("a proof");
    let headers = world.chain[proof.headers_from.0 as usize..].iter().map(|block| block.header).collect();
    let found = store.find_digest(&digests[0]).expect("a log").expect("it was stamped");
    let plan = timestamps::plan(digests[0], found, &world.ledger).expect("an anchor");
    let ots = plan.fill(&store).expect("a file");
    let mut whole = world.clone();
    trouble(&mut whole);
    let (lost, bumped) = lost();
    let (mut told, closed) = replayed(&whole);
    for (kind, more) in replayed(&lost).0 {
        told.entry(kind).or_default().extend(more);
    }
    Story { world, whole, lost, bumped, told, closed, proof, young, root, headers, ots, digests, log }
}

/// Two chains with four providers each, and stakes of every kind.
fn beginning() -> World {
    let mut world = World::new(4_000_000);
    world.mine(20);
    world.close();
    let terms = Terms { epoch_length: 50, voted_every: 5, minimum_power_sat: 4_000_000 };
    let chain = NewChain { id: dev(), genesis: Hash32([5; 32]), terms, first_epoch: Epoch(0) };
    world.govern(Action::RegisterChain(chain)).expect("a decision");
    for (zero, other) in ZERO.into_iter().zip(DEV) {
        world.register_provider(&ChainId::zero(), zero);
        world.register_provider(&dev(), other);
        world.active_stake(&Wish { holder: "alice", sat: 1_000_000, providers: &[zero, other], lock: 2_000 });
        world.close();
        world.commit(&ChainId::zero(), zero, 1..24);
        world.commit(&dev(), other, 4..8);
    }
    stakes(&mut world);
    for (name, sat) in NEWCOMERS {
        let coin = world.fund(name, sat);
        world.coins.push(coin);
    }
    world
}

fn wish<'a>(holder: &'a str, providers: &'a [&'a str]) -> Wish<'a> {
    Wish { holder, sat: 500_000, providers, lock: 1_000 }
}

/// A stake that is left early, one that is expanded, one that was on Bitcoin first, and one that is refused.
fn stakes(world: &mut World) {
    let left = world.active_stake(&wish("bob", &["anna"]));
    let (coin, exit) = (world.stake(&left).contract.coin.outpoint, unbonding(world.stake(&left), "bob"));
    world.spend(&left, coin, &exit).expect("a good exit");
    world.close();
    let old = world.active_stake(&wish("carol", &["bert"]));
    let expansion = world.expansion(&old, &Wish { sat: 600_000, ..wish("carol", &["anna"]) }, &["bert"]);
    let new = StakeId(world.send(&Message::Stake(Box::new(expansion))).expect("a good expansion"));
    world.sign_quorum(&new);
    for member in &COVENANT[..3] {
        let consent = world.consent(member, &new).expect("an expansion");
        world.send(&consent).expect("a good consent");
    }
    world.close();
    let first = world.registration(&wish("dave", &["carl"]));
    world.mempool.push(first.staking_tx.clone());
    world.mine(2);
    let first = world.confirmed("dave", first);
    world.send(&Message::Stake(Box::new(first))).expect("a good registration");
    let (unwanted, _) = world.register_stake(&wish("eve", &["dora"]));
    let refusal = world.refusal(COVENANT[3], &unwanted, "not this one");
    world.send(&refusal).expect("a good refusal");
    world.close();
}

/// Finality over many epochs, digests in the block that comes next, anchors, and a block of the other chain.
fn finality(world: &mut World, digests: &[Hash32]) {
    world.stamp(digests);
    world.finalise_until(&ZERO, 105);
    for epoch in 5..9 {
        world.mine(3);
        if epoch == 5 {
            let certificate = world.certificate(&dev(), &DEV, PROVEN, Hash32([7; 32]));
            world.send(&certificate).expect("a good certificate");
        }
        world.finalise_until(&ZERO, (epoch + 1) * 20 + 5);
        let header = world.ledger.own_header(Epoch(epoch)).expect("the epoch is over");
        let tx = world.mine_anchor(&world.anchor(&ZERO, Epoch(epoch), header));
        let proof = world.proof(&tx);
        world.send(&Message::Anchor(proof)).expect("a good anchor");
    }
    world.close();
}

/// Keys that are out, a theft, a deep reorganisation, and what governance does.
fn trouble(world: &mut World) {
    world.leak("dora");
    let height = world.ledger.chains()[0].terms.last_voted(Epoch(8));
    let votes = [1, 2].map(|block| world.vote(&ChainId::zero(), "carl", height, Hash32([block; 32])));
    let evidence = Evidence::from_votes(&votes[0], &votes[1]).expect("two votes");
    world.send(&Message::Evidence(evidence)).expect("good evidence");
    let victim = world.ledger.stakes().naming(&provider_key("dora")).next().expect("a stake").id;
    let coin = world.stake(&victim).contract.coin.outpoint;
    let theft = transaction(vec![coin], vec![TxOut::minimal_non_dust(bitcoin::ScriptBuf::new())]);
    world.spend(&victim, coin, &theft).expect("a theft");
    world.close();
    let newer = world.ledger.params()[0].document().clone();
    let from_height = BtcHeight(world.btc_height() + 1_000);
    let newer = ParamsDocument { from_height, lapse_blocks: newer.lapse_blocks + 1, ..newer };
    world.govern(Action::SetParams(Box::new(newer.clone()))).expect("good parameters");
    let from_height = BtcHeight(from_height.0 + 1_000);
    let newest = ParamsDocument { from_height, profile: Profile::Bumpable, ..newer };
    world.govern(Action::SetParams(Box::new(newest))).expect("good parameters");
    world.reorg(7, &[]).expect("a longer chain");
    world.close();
    world.govern(Action::Resume(Resume { accepted: Vec::new() })).expect("a tripped breaker");
    let governors = Governors::new(GOVERNANCE[..2].iter().map(|name| governance_key(name)).collect(), 2);
    world.govern(Action::RotateKeys(governors.expect("members"))).expect("a decision");
    world.close();
    world.reorg(7, &[]).expect("a longer chain");
    let accepted = AcceptedPower { chain: ChainId::zero(), power: Amount::from_sat(1) };
    world.govern(Action::Resume(Resume { accepted: vec![accepted] })).expect("a tripped breaker");
    world.close();
    recover(world);
}

/// Nobody votes until the newest set has expired, and chain zero gets another root.
fn recover(world: &mut World) {
    world.mine(101);
    let recovery = world.ledger.chains()[0].recovery().expect("another incarnation");
    world.govern(Action::RecoveryRoot(recovery)).expect("a lost chain");
    world.close();
}

/// The beginning of another hub, whose presigned transactions can be bumped. No block is ever final on it. And an exit that nobody
/// has sent yet, with its child.
fn lost() -> (World, [Transaction; 2]) {
    let mut world = World::bumpable(1_000_000);
    world.mine(20);
    world.register_provider(&ChainId::zero(), "anna");
    let left = world.active_stake(&Wish { sat: 1_000_000, lock: 2_000, ..wish("alice", &["anna"]) });
    world.commit(&ChainId::zero(), "anna", 1..4);
    world.close_until(21);
    let (coin, exit) = (world.stake(&left).contract.coin.outpoint, unbonding(world.stake(&left), "alice"));
    world.spend(&left, coin, &exit).expect("a good exit");
    let stayed = world.active_stake(&wish("bob", &["anna"]));
    let (coin, held, _) = world.fund("mallory", 100_000);
    recover(&mut world);
    let parent = unbonding(world.stake(&stayed), "bob");
    let change = TxOut { value: held.value - Amount::from_sat(50_000), ..held.clone() };
    let handle = bump::handle(&parent).expect("a bumpable exit");
    let mut child = bump::child(handle, &[coin], change);
    let spent = [parent.output[handle.vout as usize].clone(), held];
    child.input[1].witness = key_path("mallory", &child, 1, &spent);
    (world, [parent, child])
}

/// Writes the log as a hub would have.
fn keep(path: &Path, world: &World, stamped: Height, digests: &[Hash32]) {
    let store = Store::open(path).expect("a log");
    let mut ledger = Ledger::new(world.ledger.genesis().clone());
    for block in &world.log {
        let events = ledger.replay(block).expect("a sound block");
        let digests = if block.header.height == stamped { digests } else { &[] };
        store.append(block, &events, digests).expect("a place");
    }
}

/// Messages of each kind, evenly from the whole log, those with which a form comes up, and blocks with the most messages.
fn replayed(world: &World) -> (BTreeMap<u8, Vec<Told>>, Vec<Closed>) {
    let kind = |bytes: &MessageBytes| bytes.as_slice()[0];
    let mut counts = BTreeMap::<u8, usize>::new();
    let messages = || world.log.iter().flat_map(|block| &block.messages);
    messages().for_each(|bytes| *counts.entry(kind(bytes)).or_default() += 1);
    let (mut seen, mut told, mut closed) = (BTreeMap::new(), BTreeMap::<u8, Vec<Told>>::new(), Vec::new());
    let (mut ledger, mut forms) = (Ledger::new(world.ledger.genesis().clone()), BTreeSet::new());
    for block in &world.log {
        let mut open = ledger.clone();
        for bytes in &block.messages {
            let (number, all) = (seen.entry(kind(bytes)).or_insert(0usize), counts[&kind(bytes)]);
            let before = forms.len();
            forms.extend(forms::of_message(bytes.as_slice()));
            if number.is_multiple_of(all.div_ceil(KEPT)) || forms.len() > before {
                let one = Told { before: open.clone(), bytes: bytes.clone() };
                told.entry(kind(bytes)).or_default().push(one);
            }
            *number += 1;
            open.apply(bytes).expect("a good message");
        }
        if block.messages.len() > 1 && closed.len() < 2 * KEPT {
            closed.push(Closed { before: ledger.clone(), block: block.clone() });
        }
        ledger.replay(block).expect("a sound block");
    }
    (told, closed)
}
