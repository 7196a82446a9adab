//! How a chain goes on after a pause, and starts again after an expiry (docs/protocol.md, sections 7.2 and 8.4).

use bitcoin::Amount;
use palisade_hub::ledger::chains::Chain;
use palisade_protocol::context::{ChainId, Terms};
use palisade_protocol::governance::{AcceptedPower, Action, Resume};
use palisade_protocol::hash::Hash32;
use palisade_protocol::units::{Epoch, Height};
use palisade_world::anchored::{self, DEV, dev};
use palisade_world::{Wish, World, provider_key};

const SAT: u64 = 1_000_000;
const EPOCH: u64 = 10;

fn chain(world: &World) -> &Chain {
    world.ledger.chain(&dev()).expect("registered")
}

/// A chain whose set of epoch 1 is fixed: members of equal power, with roots for these epochs.
fn world(members: &[(&str, &[u64])]) -> World {
    let mut world = World::new(Amount::MAX_MONEY.to_sat());
    world.mine(1);
    world.register_provider(&ChainId::zero(), "anna");
    let minimum_power_sat = SAT * members.len() as u64;
    let terms = Terms { epoch_length: EPOCH, voted_every: EPOCH, minimum_power_sat };
    world.register_chain(&dev(), terms);
    for (name, epochs) in members {
        world.register_provider(&dev(), name);
        world.active_stake(&Wish { holder: "alice", sat: SAT, providers: &["anna", name], lock: 2_000 });
        epochs.iter().for_each(|epoch| world.commit(&dev(), name, *epoch..epoch + 1));
    }
    world.close();
    assert!(chain(&world).sets.keys().eq([&Epoch(1)]));
    world
}

/// The first block of an epoch becomes final, keys get out, and the set that is wanted then is too weak.
fn pause(world: &mut World, epoch: u64, signers: &[&str], lost: &[&str]) {
    let certificate = world.certificate(&dev(), signers, Height(epoch * EPOCH), Hash32([7; 32]));
    world.send(&certificate).unwrap();
    lost.iter().for_each(|name| world.leak(name));
    world.close();
    assert!(chain(world).paused && chain(world).newest().unwrap().0 == Epoch(epoch));
}

fn resume(world: &mut World, chain: &ChainId, accepted: &[u64]) {
    let accepted =
        accepted.iter().map(|sat| AcceptedPower { chain: chain.clone(), power: Amount::from_sat(*sat) });
    world.govern(Action::Resume(Resume { accepted: accepted.collect() })).unwrap();
}

/// A chain with sets of epoch 1 only, which waits for governance because half of its power is lost.
fn paused() -> World {
    let mut world = world(&DEV.map(|name| (name, [1, 2, 3].as_slice())));
    pause(&mut world, 1, &DEV, &DEV[..2]);
    world
}

#[test]
fn governance_accepts_a_weaker_set_of_at_least_the_power_that_it_names_first() {
    let world = paused();
    let check = |accepted: &[u64], goes_on: bool| {
        let mut world = world.clone();
        resume(&mut world, &dev(), accepted);
        world.close();
        let chain = chain(&world);
        assert_eq!((chain.sets.contains_key(&Epoch(2)), chain.paused), (goes_on, !goes_on), "{accepted:?}");
    };
    check(&[], false);
    check(&[2 * SAT + 1], false);
    check(&[2 * SAT], true);
    check(&[2 * SAT + 1, 1], false);
    check(&[1, 2 * SAT + 1], true);
}

#[test]
fn governance_cannot_accept_a_set_of_nobody() {
    let mut world = paused();
    DEV[2..].iter().for_each(|name| world.leak(name));
    resume(&mut world, &dev(), &[0]);
    world.close();
    assert!(chain(&world).paused);
}

#[test]
fn what_governance_accepts_holds_for_one_set() {
    let mut world = paused();
    resume(&mut world, &dev(), &[SAT]);
    world.close();
    assert_eq!((chain(&world).newest().unwrap().0, chain(&world).accepted), (Epoch(2), None));
    // As much as was accepted is left, and that is too little now.
    pause(&mut world, 2, &DEV[2..], &DEV[2..3]);
}

#[test]
fn what_governance_accepts_ends_with_the_next_resume_and_not_with_a_set_that_is_carried_over() {
    let zero = ChainId::zero();
    let mut world = anchored::world(20);
    let accepted = |world: &World| world.ledger.chains()[0].accepted;
    world.reorg(7, &[]).unwrap();
    resume(&mut world, &zero, &[SAT]);
    world.reorg(7, &[]).unwrap();
    world.close();
    assert!(world.ledger.chains()[0].sets[&Epoch(2)].carried_over);
    assert_eq!(accepted(&world), Some(Amount::from_sat(SAT)));
    resume(&mut world, &zero, &[]);
    assert_eq!(accepted(&world), None);
}

#[test]
fn a_chain_starts_again_above_the_expiry_and_not_at_it() {
    let mut world = world(&[("dev anna", &[1, 2])]);
    let expiry = chain(&world).sets[&Epoch(1)].set.header().expiry.0;
    world.mine(expiry - world.btc_height());
    world.close();
    assert_eq!(chain(&world).newest().unwrap().0, Epoch(1));
    world.mine(1);
    world.close();
    assert_eq!((chain(&world).newest().unwrap().0, chain(&world).opened_at), (Epoch(2), Some(Epoch(2))));
}

#[test]
fn a_chain_starts_again_with_more_than_two_thirds_of_what_its_members_hold_now() {
    // All three are ready for epoch 3, and two of them for epoch 2.
    let start = world(&[("dev anna", &[1, 2, 3]), ("dev bert", &[1, 2, 3]), ("dev carl", &[1, 3])]);
    for (lost, epoch) in [(&[] as &[&str], 3), (&["dev carl"], 2)] {
        let mut world = start.clone();
        lost.iter().for_each(|name| world.leak(name));
        world.mine(101);
        world.close();
        assert_eq!(chain(&world).newest().unwrap().0, Epoch(epoch), "{lost:?}");
    }
}

#[test]
fn nonces_that_come_by_the_end_of_the_block_with_the_first_certificate_make_a_member_of_the_next_set() {
    let mut world =
        world(&[("dev anna", &[1, 2]), ("dev bert", &[1]), ("dev carl", &[1]), ("dev dora", &[1])]);
    world.commit(&dev(), "dev bert", 2..3);
    world.close();
    let certificate = world.certificate(&dev(), &DEV, Height(EPOCH), Hash32([7; 32]));
    world.send(&certificate).unwrap();
    world.commit(&dev(), "dev carl", 2..3);
    world.close();
    let late = world.commitment(&dev(), "dev dora", Epoch(2));
    assert_eq!(world.send(&late).unwrap_err().rule(), "commitment-epoch");
    let set = &chain(&world).sets[&Epoch(2)].set;
    assert_eq!(DEV.map(|name| set.find(&provider_key(name)).is_some()), [true, true, true, false]);
}
