//! Two logs of one hub that part, and the ledgers and nonces on them.

use palisade_hub::ledger::Ledger;
use palisade_protocol::context::{ChainId, Context, Terms};
use palisade_protocol::eots::{self, SecretNonce};
use palisade_protocol::finality::certificate::Certificate;
use palisade_protocol::finality::commitment::{self, Commitment, nonce_tree};
use palisade_protocol::finality::vote::{Ballot, Vote};
use palisade_protocol::hash::{Hash32, sha256};
use palisade_protocol::message::Message;
use palisade_protocol::nonce::{self, NonceSeed};
use palisade_protocol::stake::StakeId;
use palisade_protocol::units::{Epoch, Height};
use palisade_world::{COVENANT, Wish, World, pair, provider_key, schnorr};

pub(super) const NAMES: [&str; 4] = ["anna", "bert", "carl", "dora"];
/// The first height with a set.
pub(super) const FIRST: u64 = 2;
/// Heights that can be voted on are below.
pub(super) const END: u64 = 8;
pub(super) const TERMS: Terms = Terms { epoch_length: 2, voted_every: 1, minimum_power_sat: 1 };
const UNIT: u64 = 100_000;

/// What the second log has in the block in which it parts from the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Difference {
    /// Another digest.
    Digest,
    /// Other nonce roots of the first two members for all epochs that still take one.
    Roots,
    /// The exit of the last member.
    Exit,
    /// The exits of the first two, who have half of the power or more: the breaker trips, and the sets that follow are carried over.
    Breaker,
    /// The same, where the first log has the exit of the last member: the sets that follow there are without it.
    BreakerOrExit,
}

impl Difference {
    /// The second log's sets are carried over.
    pub(super) fn carries_over(self) -> bool {
        matches!(self, Self::Breaker | Self::BreakerOrExit)
    }
}

/// The same up to a height, and then not.
pub(super) fn logs(
    names: &[&'static str],
    powers: &[u64],
    parting: u64,
    difference: Difference,
) -> [World; 2] {
    let mut first = World::with(TERMS, &COVENANT, 3);
    first.mine(1);
    let mut stakes = Vec::new();
    for (name, power) in names.iter().zip(powers) {
        first.register_provider(&ChainId::zero(), name);
        first.commit(&ChainId::zero(), name, 1..END / 2 + 1);
        let wish = Wish { holder: "alice", sat: power * UNIT, providers: &[name], lock: 2_000 };
        stakes.push(first.active_stake(&wish));
    }
    first.close_until(parting);
    let mut second = first.clone();
    first.stamp(&[Hash32([1; 32])]);
    match difference {
        Difference::Digest => second.stamp(&[Hash32([2; 32])]),
        Difference::Roots => names[..2].iter().for_each(|name| replace_roots(&mut second, name)),
        Difference::Exit => exit(&mut second, stakes.last().unwrap()),
        Difference::Breaker | Difference::BreakerOrExit => {
            stakes[..2].iter().for_each(|stake| exit(&mut second, stake));
        }
    }
    if difference == Difference::BreakerOrExit {
        exit(&mut first, stakes.last().unwrap());
    }
    let mut logs = [first, second];
    logs.iter_mut().for_each(|log| log.close_until(END));
    let carries_over = |log: &World| log.ledger.chains()[0].newest().unwrap().1.carried_over;
    assert_eq!(logs.each_ref().map(carries_over), [false, difference.carries_over()]);
    logs
}

fn exit(world: &mut World, stake: &StakeId) {
    let stake = world.stake(stake);
    let (id, coin) = (stake.id, stake.contract.coin.outpoint);
    let unbonding = stake.presigned.unbonding.clone();
    world.spend(&id, coin, &unbonding).unwrap();
}

/// A provider that was restored sends other roots.
fn replace_roots(world: &mut World, name: &str) {
    let chain = &world.ledger.chains()[0];
    let (first, contexts) = (world.ledger.first_open_epoch(chain.id()).0, (chain.vote, chain.commitment));
    for epoch in (first..END / 2 + 1).map(Epoch) {
        let nonces = nonces(name, 1, &contexts.0, epoch);
        let root = nonce_tree(nonces.iter().map(SecretNonce::public)).root();
        let signature = schnorr(name, &commitment::message(&contexts.1, epoch, &root));
        let commitment = Commitment { key: provider_key(name), epoch, root, signature };
        world.send(&Message::Commitment(commitment)).unwrap();
    }
}

/// The nonces of an epoch under a seed: the first is the one that a world's own commitments are made with.
pub(super) fn nonces(name: &str, seed: u8, context: &Context, epoch: Epoch) -> Vec<SecretNonce> {
    let seed = match seed {
        0 => sha256(&[b"seed", name.as_bytes()]).0,
        other => [other; 32],
    };
    let heights = (0..TERMS.epoch_length).map(|place| TERMS.first_height(epoch).plus(place));
    let seed = NonceSeed::from_bytes(seed);
    heights.map(|height| nonce::derive(&pair(name), &seed, context, height)).collect()
}

/// A branch's ledger after each number of certificates above the parting, as a member of the network has it.
pub(super) fn ledgers(log: &World, names: &[&str], parting: u64) -> Vec<Ledger> {
    let mut world = log.clone();
    let certify = |world: &mut World, height: u64| {
        let set = &world.ledger.chains()[0].sets[&TERMS.epoch_of(Height(height))].set;
        let members: Vec<_> =
            names.iter().copied().filter(|name| set.find(&provider_key(name)).is_some()).collect();
        let block = world.log[height as usize].header.hash();
        let own: Vec<Vote> = members.iter().map(|name| any_vote(world, name, height, block)).collect();
        let made = Certificate::assemble(own[0].ballot, set, &own);
        world.send(&Message::Certificate(Box::new(made))).unwrap();
    };
    (FIRST..parting).for_each(|height| certify(&mut world, height));
    let mut ledgers = vec![world.ledger.clone()];
    for height in parting..END {
        certify(&mut world, height);
        ledgers.push(world.ledger.clone());
    }
    ledgers
}

/// A vote under the root that the ledger's set names.
fn any_vote(world: &World, name: &str, height: u64, block: Hash32) -> Vote {
    let chain = &world.ledger.chains()[0];
    let epoch = TERMS.epoch_of(Height(height));
    let named = chain.sets[&epoch].set.find(&provider_key(name)).unwrap().1.nonce_root;
    let index = (height % TERMS.epoch_length) as usize;
    let found = (0..2).map(|seed| nonces(name, seed, &chain.vote, epoch)).find_map(|mut nonces| {
        let tree = nonce_tree(nonces.iter().map(SecretNonce::public));
        (tree.root() == named).then(|| (tree.path(index).unwrap(), nonces.swap_remove(index)))
    });
    let (path, secret) = found.expect("one of two seeds");
    let ballot = Ballot { context: chain.vote, height: Height(height), block };
    let nonce = secret.public();
    let signature = eots::sign(&pair(name), secret, &ballot.message());
    Vote { ballot, key: provider_key(name), nonce, signature, path }
}
