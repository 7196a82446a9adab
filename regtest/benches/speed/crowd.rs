//! Many holders with coins and stakes, made on all cores.

use crate::measure::cores;
use bitcoin::hashes::Hash as _;
use bitcoin::secp256k1::SECP256K1;
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut, Txid};
use palisade_hub::ledger::Proven;
use palisade_protocol::backing::Backing;
use palisade_protocol::bip322;
use palisade_protocol::block::MessageBytes;
use palisade_protocol::context::{ChainId, Purpose};
use palisade_protocol::hash::sha256;
use palisade_protocol::inclusion::InclusionProof;
use palisade_protocol::message::{Message, StakeIncluded};
use palisade_protocol::provider::ProviderRegistration;
use palisade_protocol::stake::StakeId;
use palisade_world::{Wish, World, answer, keypair, provider_key, schnorr, secret, transaction};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{SyncSender, sync_channel};

/// Coins of one holder, made by one transaction.
pub const COINS: usize = 20;
const TRANSACTIONS_IN_BLOCK: usize = 100;
const STAKE_SAT: u64 = 100_000;

/// A holder's coins: one proof for all of them.
pub struct Purse {
    holder: String,
    proof: InclusionProof,
}

/// A stake on its way into a ledger.
pub struct NewStake {
    /// Its name.
    pub id: StakeId,
    /// What is to be broadcast.
    pub tx: Transaction,
    /// The registration, and after it the answers of members.
    pub messages: Vec<MessageBytes>,
}

/// Gives holders coins for at least `count` stakes.
pub fn fund(world: &mut World, count: usize) -> Vec<Purse> {
    let holders: Vec<usize> = (0..count.div_ceil(COINS)).collect();
    holders.chunks(TRANSACTIONS_IN_BLOCK).flat_map(|holders| mine_purses(world, holders)).collect()
}

fn mine_purses(world: &mut World, holders: &[usize]) -> Vec<Purse> {
    let names: Vec<String> = holders.iter().map(|holder| format!("holder {holder}")).collect();
    for name in &names {
        let source = Txid::from_byte_array(sha256(&[b"purse", name.as_bytes()]).0);
        let owner = keypair(name).x_only_public_key().0;
        let script_pubkey = ScriptBuf::new_p2tr(SECP256K1, owner, None);
        let coin = TxOut { value: Amount::from_sat(STAKE_SAT + 1_000), script_pubkey };
        world.mempool.push(transaction(vec![OutPoint { txid: source, vout: 0 }], vec![coin; COINS]));
    }
    let proofs = mine_waiting(world);
    names.into_iter().zip(proofs).map(|(holder, proof)| Purse { holder, proof }).collect()
}

/// Mines what waits into one block. Gives the proofs in order.
pub fn mine_waiting(world: &mut World) -> Vec<InclusionProof> {
    world.mine(1);
    let block = world.chain.last().expect("a block");
    let places = 1..u32::try_from(block.txdata.len()).expect("a small block");
    places.map(|place| InclusionProof::from_block(block, place).expect("a sound block")).collect()
}

impl Purse {
    /// A stake from each coin, naming the providers in turn, signed by these members.
    pub fn stakes(&self, world: &World, providers: &[String], members: &[&str]) -> Vec<NewStake> {
        let vouts = 0..u32::try_from(COINS).expect("few");
        let txid = self.proof.transaction.compute_txid();
        let stake = |vout: u32| {
            let provider = [providers[vout as usize % providers.len()].as_str()];
            let wish = Wish { holder: &self.holder, sat: STAKE_SAT, providers: &provider, lock: 60_000 };
            let coin = (OutPoint { txid, vout }, self.proof.clone());
            let (registration, judged) = world.registration_with(&wish, coin);
            let tx = registration.staking_tx.clone();
            let registration = MessageBytes::of(&Message::Stake(Box::new(registration)));
            let id = StakeId(registration.id());
            let answer = |member| MessageBytes::of(&answer(member, &id, &judged.contract, &judged.sighashes));
            let answers = members.iter().map(|member| answer(member));
            NewStake { id, tx, messages: std::iter::once(registration).chain(answers).collect() }
        };
        vouts.map(stake).collect()
    }
}

impl Purse {
    /// A provider of a chain behind each coin: its registration, and that it is good.
    fn providers(&self, world: &World, chain: &ChainId) -> Vec<(MessageBytes, Proven)> {
        let (hub, context) =
            (world.ledger.genesis().id(), world.identity(chain).context(Purpose::Registration));
        let provider = |vout: u32| {
            let name = format!("idle {vout} of {}", self.holder);
            let key = provider_key(&name);
            let text = ProviderRegistration::text(&hub, chain, &key);
            let witness = bip322::sign_p2tr_key_path(&secret(&self.holder), text.as_bytes(), &[7; 32]);
            let backing = Backing { proof: self.proof.clone(), vout, witness: witness.expect("a signature") };
            let message = ProviderRegistration::message(&context, &key, &name, None, backing.outpoint());
            let signature = schnorr(&name, &message);
            let (chain, operator) = (chain.clone(), name);
            let own = ProviderRegistration { chain, key, operator, bls: None, backing, signature };
            let bytes = MessageBytes::of(&Message::Provider(Box::new(own)));
            let proven = world.ledger.judge(&bytes).expect("a good registration");
            (bytes, proven)
        };
        (0..u32::try_from(COINS).expect("few")).map(provider).collect()
    }
}

/// Registers a stake from each coin and has them signed, while other cores make the next ones. Gives the first `keep`.
pub fn register(
    world: &mut World,
    purses: &[Purse],
    providers: &[String],
    members: &[&str],
    keep: usize,
) -> Vec<NewStake> {
    let mut ledger = world.ledger.clone();
    let mut kept = Vec::new();
    let (next, (sender, receiver)) = (AtomicUsize::new(0), sync_channel(64));
    std::thread::scope(|scope| {
        for _ in 0..cores() {
            let (next, sender, world) = (&next, sender.clone(), &*world);
            scope.spawn(move || make(world, purses, providers, members, next, &sender));
        }
        drop(sender);
        for stake in receiver.into_iter().flatten() {
            for message in &stake.messages {
                ledger.apply(message).expect("a good message");
            }
            if kept.len() < keep {
                kept.push(stake);
            }
        }
    });
    world.ledger = ledger;
    kept
}

fn make(
    world: &World,
    purses: &[Purse],
    providers: &[String],
    members: &[&str],
    next: &AtomicUsize,
    sender: &SyncSender<Vec<NewStake>>,
) {
    loop {
        let place = next.fetch_add(1, Ordering::Relaxed);
        let Some(purse) = purses.get(place) else { return };
        // Each holder begins with another provider, so that all get stakes.
        let mut providers = providers.to_vec();
        let by = place * COINS % providers.len();
        providers.rotate_left(by);
        sender.send(purse.stakes(world, &providers, members)).expect("the ledger listens");
    }
}

/// Brings stakes to Bitcoin and waits until they have power.
pub fn activate(world: &mut World, stakes: &[NewStake]) {
    world.mempool.extend(stakes.iter().map(|stake| stake.tx.clone()));
    let proofs = mine_waiting(world);
    for (stake, proof) in stakes.iter().zip(proofs) {
        world.send(&Message::Included(StakeIncluded { stake: stake.id, proof })).expect("a good proof");
    }
    world.mine(world.stake(&stakes[0].id).k);
}

/// Registers a provider of a chain for each coin, none of which gets power. They are made and judged on all cores.
pub fn register_idle(world: &mut World, purses: &[Purse], chain: &ChainId) {
    let (next, (sender, receiver)) = (AtomicUsize::new(0), sync_channel(64));
    let mut ledger = world.ledger.clone();
    std::thread::scope(|scope| {
        for _ in 0..cores() {
            let (next, sender, world) = (&next, sender.clone(), &*world);
            scope.spawn(move || {
                while let Some(purse) = purses.get(next.fetch_add(1, Ordering::Relaxed)) {
                    sender.send(purse.providers(world, chain)).expect("the ledger listens");
                }
            });
        }
        drop(sender);
        for (message, proven) in receiver.into_iter().flatten() {
            ledger.apply_proven(&message, Some(&proven)).expect("a good registration");
        }
    });
    world.ledger = ledger;
}

/// Providers of chain zero with these names' prefix and a number.
pub fn providers(world: &mut World, count: usize) -> Vec<String> {
    let names: Vec<String> = (0..count).map(|index| format!("provider {index}")).collect();
    for name in &names {
        world.register_provider(&ChainId::zero(), name);
    }
    names
}
