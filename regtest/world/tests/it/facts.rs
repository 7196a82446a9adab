//! Stories of facts: what backs a registration, what an expansion moves, what a reorganisation takes and gives back.

use bitcoin::Transaction;
use bitcoin::hashes::Hash as _;
use bitcoin::sighash::{Prevouts, SighashCache, TapSighashType};
use palisade_hub::ledger::Rejected;
use palisade_hub::ledger::state::StakeState::*;
use palisade_protocol::context::{ChainId, Terms};
use palisade_protocol::message::{Message, OutputSpent, StakeIncluded};
use palisade_protocol::outputs::Leaf;
use palisade_protocol::registration::{RegistrationProof, StakeRegistration};
use palisade_protocol::stake::StakeId;
use palisade_world::anchored::dev;
use palisade_world::{COVENANT, Wish, World, provider_key};

const SAT: u64 = 500_000;
const LOCK: u16 = 600;

fn wish<'a>(providers: &'a [&'a str]) -> Wish<'a> {
    Wish { holder: "alice", sat: SAT, providers, lock: LOCK }
}

fn world() -> World {
    let mut world = World::new(1_000_000);
    world.mine(10);
    for name in ["anna", "bert"] {
        world.register_provider(&ChainId::zero(), name);
    }
    world
}

fn power(world: &World, name: &str) -> u64 {
    world.ledger.providers().get(&provider_key(name)).expect("registered").power.to_sat()
}

/// Registers one stake more that the same output backs.
fn register_on_the_coin_of(
    world: &mut World,
    first: &StakeRegistration,
    lock: u16,
) -> Result<StakeId, Rejected> {
    let RegistrationProof::Funding(backing) = &first.proof else { panic!("a backing") };
    world.coins.push((backing.outpoint(), backing.output().unwrap().clone(), backing.proof.clone()));
    let registration = world.registration(&Wish { lock, ..wish(&["anna"]) });
    world.send(&Message::Stake(Box::new(registration))).map(StakeId)
}

fn register(world: &mut World) -> (StakeId, StakeRegistration) {
    let registration = world.registration(&wish(&["anna"]));
    let id = world.send(&Message::Stake(Box::new(registration.clone()))).unwrap();
    (StakeId(id), registration)
}

fn used(registration: &StakeRegistration) -> Rejected {
    let RegistrationProof::Funding(backing) = &registration.proof else { panic!("a backing") };
    Rejected::BackingUsed(backing.outpoint())
}

#[test]
fn the_output_behind_a_rejected_stake_is_free_when_that_lapses() {
    let mut world = world();
    let (id, first) = register(&mut world);
    for member in &COVENANT[..3] {
        let refusal = world.refusal(member, &id, "no");
        world.send(&refusal).unwrap();
    }
    assert_eq!(world.stake(&id).state, Rejected);
    assert_eq!(register_on_the_coin_of(&mut world, &first, 301), Err(used(&first)));
    world.mine(60);
    register_on_the_coin_of(&mut world, &first, 302).unwrap();
}

#[test]
fn a_lapsed_stake_does_not_free_the_output_that_backs_another_now() {
    let mut world = world();
    let (id, first) = register(&mut world);
    world.mine(60);
    assert_eq!(world.stake(&id).state, Lapsed);
    register_on_the_coin_of(&mut world, &first, 301).unwrap();
    // An answer about the lapsed stake has it looked at once more.
    world.sign_quorum(&id);
    assert_eq!(register_on_the_coin_of(&mut world, &first, 302), Err(used(&first)));
    world.include(&id, &first.staking_tx);
    assert_eq!(register_on_the_coin_of(&mut world, &first, 303), Err(used(&first)));
}

#[test]
fn the_output_backs_a_stake_again_that_a_reorganisation_takes_off_bitcoin() {
    let mut world = world();
    let (id, first) = register(&mut world);
    world.include(&id, &first.staking_tx);
    world.reorg(1, &[]).unwrap();
    assert_eq!(world.stake(&id).included, None);
    assert_eq!(register_on_the_coin_of(&mut world, &first, 301), Err(used(&first)));
}

#[test]
fn heights_that_a_reorganisation_brings_count_like_others() {
    let mut world = world();
    let (id, first) = register(&mut world);
    world.sign_quorum(&id);
    world.include(&id, &first.staking_tx);
    world.mine(5);
    assert_eq!((world.stake(&id).state, power(&world, "anna")), (Verified, 0));
    world.reorg(2, &[]).unwrap();
    assert_eq!((world.stake(&id).state, power(&world, "anna")), (Active, SAT));
    world.mine(u32::from(LOCK) - 244 - 7);
    assert_eq!(world.stake(&id).state, Active);
    world.reorg(2, &[]).unwrap();
    assert_eq!((world.stake(&id).state, power(&world, "anna")), (Ending, 0));
}

/// An active stake of anna's and its signed expansion by 100,000 sat for these providers, which is mined but not told of.
fn expanding(world: &mut World, providers: &[&str], former: &[&str]) -> (StakeId, StakeId, Transaction) {
    expanding_from(world, &["anna"], providers, former)
}

/// The same of a stake with these providers.
fn expanding_from(
    world: &mut World,
    old: &[&str],
    providers: &[&str],
    former: &[&str],
) -> (StakeId, StakeId, Transaction) {
    world.register_stake(&Wish { holder: "another", ..wish(&["bert"]) });
    let old = world.active_stake(&wish(old));
    let registration = world.expansion(&old, &Wish { sat: SAT + 100_000, ..wish(providers) }, former);
    let new = StakeId(world.send(&Message::Stake(Box::new(registration.clone()))).unwrap());
    world.sign_quorum(&new);
    for member in &COVENANT[..3] {
        let consent = world.consent(member, &new).unwrap();
        world.send(&consent).unwrap();
    }
    (old, new, registration.staking_tx)
}

fn mine(world: &mut World, tx: &Transaction) {
    world.mempool.push(tx.clone());
    world.mine(1);
}

fn inclusion(world: &World, new: &StakeId, tx: &Transaction) -> Message {
    Message::Included(StakeIncluded { stake: *new, proof: world.proof(tx) })
}

fn spend(world: &World, old: &StakeId, tx: &Transaction) -> Message {
    let outpoint = world.stake(old).contract.coin.outpoint;
    Message::Spent(OutputSpent { stake: *old, outpoint, proof: world.proof(tx) })
}

#[test]
fn members_consent_to_an_expansion_by_what_bitcoin_asks_of_the_old_stakes_unbonding_leaf() {
    let mut world = world();
    let (old, new, tx) = expanding(&mut world, &["anna"], &[]);
    let (old, new) = (world.stake(&old), world.stake(&new));
    let spent = [old.contract.txout(), new.expansion.as_ref().unwrap().funding.clone()];
    let leaf = old.contract.output().leaf(Leaf::Unbonding).unwrap().tapscript_leaf_hash();
    let sighash = SighashCache::new(&tx).taproot_script_spend_signature_hash(
        0,
        &Prevouts::All(&spent),
        leaf,
        TapSighashType::Default,
    );
    assert_eq!(world.ledger.expansion_sighash(&new.id).unwrap(), sighash.unwrap().to_byte_array());
}

#[test]
fn coins_that_an_expansion_moves_count_once_whichever_side_is_told() {
    for side in [inclusion, |world: &World, _: &StakeId, tx: &Transaction| {
        spend(world, &world.ledger.stakes().iter().nth(1).unwrap().id, tx)
    }] {
        let mut world = world();
        let (old, new, tx) = expanding(&mut world, &["anna"], &[]);
        mine(&mut world, &tx);
        assert_eq!((world.stake(&old).state, power(&world, "anna")), (Active, SAT));
        let message = side(&world, &new, &tx);
        world.send(&message).unwrap();
        assert_eq!((world.stake(&old).state, world.stake(&new).state), (Expanded, Verified));
        assert_eq!(power(&world, "anna"), SAT);
        world.mine(6);
        assert_eq!((world.stake(&new).state, power(&world, "anna")), (Active, SAT + 100_000));
        for repeated in [inclusion(&world, &new, &tx), spend(&world, &old, &tx)] {
            assert!(matches!(world.send(&repeated), Err(Rejected::Repeated(_))));
        }
    }
}

#[test]
fn another_stake_made_of_a_stakes_coins_ends_its_power() {
    let mut world = world();
    let old = world.active_stake(&wish(&["anna"]));
    // The committee let the coins go into a stake that expands nothing in the ledger, registered when it is on Bitcoin.
    let mut registration = world.expansion(&old, &Wish { sat: SAT + 100_000, ..wish(&["anna"]) }, &[]);
    registration.expands = None;
    mine(&mut world, &registration.staking_tx);
    let confirmed = world.confirmed("alice", registration);
    world.send(&Message::Stake(Box::new(confirmed))).unwrap();
    assert_eq!((world.stake(&old).state, power(&world, "anna")), (Breached, 0));
}

#[test]
fn a_reorganisation_of_an_expansion_ends_no_power() {
    let mut world = world();
    let (old, new, tx) = expanding(&mut world, &["anna"], &[]);
    mine(&mut world, &tx);
    let message = inclusion(&world, &new, &tx);
    world.send(&message).unwrap();
    world.reorg(2, &[]).unwrap();
    assert_eq!((world.stake(&old).state, power(&world, "anna")), (Active, SAT));
    mine(&mut world, &tx);
    let message = inclusion(&world, &new, &tx);
    world.send(&message).unwrap();
    assert_eq!((world.stake(&old).state, power(&world, "anna")), (Expanded, SAT));
    world.mine(5);
    assert_eq!(power(&world, "anna"), SAT);
    world.mine(1);
    assert_eq!(power(&world, "anna"), SAT + 100_000);
    // A rollback that takes an active expansion away is deeper than k: nothing is given back before governance resumes.
    world.reorg(7, &[]).unwrap();
    assert_eq!((world.stake(&old).state, power(&world, "anna")), (Verified, 0));
}

#[test]
fn a_key_that_an_expansion_drops_loses_its_power_at_the_spend() {
    let mut world = world();
    let (old, new, tx) = expanding(&mut world, &["bert"], &["anna"]);
    mine(&mut world, &tx);
    let message = spend(&world, &old, &tx);
    world.send(&message).unwrap();
    assert_eq!((power(&world, "anna"), power(&world, "bert")), (0, 0));
    world.reorg(1, &[]).unwrap();
    assert_eq!((world.stake(&old).state, power(&world, "anna")), (Verified, 0));
    mine(&mut world, &tx);
    let message = spend(&world, &old, &tx);
    world.send(&message).unwrap();
    world.mine(6);
    assert_eq!((power(&world, "anna"), power(&world, "bert")), (0, SAT + 100_000));
    assert_eq!(world.stake(&new).state, Active);
}

/// Two keys, one of which the expansion keeps: when that is reorganised out both count at once again, for the stake had never stopped
/// to count; while the breaker is tripped neither does, for one of them would gain.
#[test]
fn a_reorganised_expansion_that_keeps_one_key_of_two_gives_the_other_its_power_back_unless_nobody_may_gain() {
    for (depth, blocks, expected) in [(1, 0, SAT), (7, 5, 0)] {
        let mut world = world();
        world.register_chain(&dev(), Terms { epoch_length: 50, voted_every: 5, minimum_power_sat: 1 });
        world.register_provider(&dev(), "dev anna");
        let (old, new, tx) = expanding_from(&mut world, &["anna", "dev anna"], &["anna"], &["dev anna"]);
        mine(&mut world, &tx);
        let message = spend(&world, &old, &tx);
        world.send(&message).unwrap();
        assert_eq!((power(&world, "anna"), power(&world, "dev anna")), (SAT, 0));
        // Not so deep that the expansion counts itself.
        (0..blocks).for_each(|_| world.mine(1));
        assert_eq!(world.stake(&new).state, Verified);
        world.reorg(depth, &[]).unwrap();
        assert_eq!(world.ledger.breaker().is_some(), depth > 6);
        assert_eq!((power(&world, "anna"), power(&world, "dev anna")), (expected, expected));
    }
}

/// The same where the expansion keeps both: nothing stops to count, whatever is lost.
#[test]
fn a_reorganised_expansion_that_keeps_all_keys_ends_no_power_while_nobody_may_gain() {
    let mut world = world();
    let (old, _, tx) = expanding(&mut world, &["anna"], &[]);
    mine(&mut world, &tx);
    let message = spend(&world, &old, &tx);
    world.send(&message).unwrap();
    world.mine(5);
    world.reorg(7, &[]).unwrap();
    assert!(world.ledger.breaker().is_some());
    assert_eq!((world.stake(&old).state, power(&world, "anna")), (Active, SAT));
}

/// While it stood nothing counted: so what it spent counts again only k blocks later.
#[test]
fn a_reorganised_expansion_that_nobody_has_signed_gives_the_old_stake_its_power_back_after_k_blocks() {
    let mut world = world();
    let old = world.active_stake(&wish(&["anna"]));
    let registration = world.expansion(&old, &Wish { sat: SAT + 100_000, ..wish(&["anna"]) }, &[]);
    world.send(&Message::Stake(Box::new(registration.clone()))).unwrap();
    mine(&mut world, &registration.staking_tx);
    let message = spend(&world, &old, &registration.staking_tx);
    world.send(&message).unwrap();
    assert_eq!((world.stake(&old).state, power(&world, "anna")), (Expanded, 0));
    world.reorg(1, &[]).unwrap();
    assert_eq!((world.stake(&old).state, power(&world, "anna")), (Verified, 0));
    world.mine(4);
    assert_eq!((world.stake(&old).state, power(&world, "anna")), (Verified, 0));
    world.mine(1);
    assert_eq!((world.stake(&old).state, power(&world, "anna")), (Active, SAT));
}

#[test]
fn what_stands_in_the_block_at_the_fork_stays() {
    let mut world = world();
    let (id, made) = register(&mut world);
    world.sign_quorum(&id);
    world.include(&id, &made.staking_tx);
    let included = world.stake(&id).included;
    let exit = world.stake(&id).presigned.unbonding.clone();
    world.spend(&id, made.outpoint(), &exit).unwrap();
    assert_eq!(world.stake(&id).state, Unbonding);
    world.reorg(1, &[]).unwrap();
    let stake = world.stake(&id);
    assert_eq!((stake.state, stake.included), (Verified, included));
}

#[test]
fn an_expansion_gives_no_power_back_to_a_stake_that_is_ending() {
    let mut world = world();
    let old = world.active_stake(&wish(&["anna"]));
    world.mine(u32::from(LOCK) - 244 - 6);
    assert_eq!((world.stake(&old).state, power(&world, "anna")), (Ending, 0));
    let registration = world.expansion(&old, &Wish { sat: SAT + 100_000, ..wish(&["anna"]) }, &[]);
    let new = StakeId(world.send(&Message::Stake(Box::new(registration.clone()))).unwrap());
    world.sign_quorum(&new);
    mine(&mut world, &registration.staking_tx);
    let message = spend(&world, &old, &registration.staking_tx);
    world.send(&message).unwrap();
    assert_eq!((world.stake(&old).state, world.stake(&new).state), (Expanded, Verified));
    assert_eq!(power(&world, "anna"), 0);
    world.mine(6);
    assert_eq!((world.stake(&new).state, power(&world, "anna")), (Active, SAT + 100_000));
}

#[test]
fn coins_that_have_left_a_lapsed_stake_give_no_power_a_second_time() {
    let mut world = world();
    let (id, made) = register(&mut world);
    world.sign_quorum(&id);
    world.mine(60);
    world.include(&id, &made.staking_tx);
    assert_eq!(world.stake(&id).state, Lapsed);
    let exit = world.stake(&id).presigned.unbonding.clone();
    world.spend(&id, made.outpoint(), &exit).unwrap();
    let anew = Message::Stake(Box::new(world.confirmed("alice", made.clone())));
    assert_eq!(world.send(&anew), Err(Rejected::CoinsLeft(made.outpoint())));
    world.mine(244);
    assert_eq!((world.stake(&id).state, world.send(&anew).is_err()), (Withdrawable, true));
    // Without the exit they are there again.
    world.reorg(245, &[]).unwrap();
    assert_eq!(world.stake(&id).state, Lapsed);
    let new = StakeId(world.send(&anew).unwrap());
    world.sign_quorum(&new);
    assert_eq!((world.stake(&id).state, world.stake(&new).state), (Lapsed, Verified));
    world.mine(LOCK.into());
    assert_eq!((world.stake(&id).state, world.stake(&new).state), (Lapsed, Withdrawable));
}

#[test]
fn a_stake_that_is_deep_when_it_is_registered_counts_k_blocks_later_unless_its_coins_have_left() {
    let mut world = world();
    let made = world.registration(&Wish { lock: 2_000, ..wish(&["anna"]) });
    world.mempool.push(made.staking_tx.clone());
    world.mine(500);
    let confirmed = Message::Stake(Box::new(world.confirmed("alice", made.clone())));
    let id = StakeId(world.send(&confirmed).unwrap());
    world.sign_quorum(&id);
    world.mine(4);
    let mut left = world.clone();
    let exit = left.stake(&id).presigned.unbonding.clone();
    left.spend(&id, made.outpoint(), &exit).unwrap();
    left.mine(10);
    assert_eq!((left.stake(&id).state, left.stake(&id).activated), (Unbonding, false));
    world.mine(1);
    assert_eq!((world.stake(&id).state, power(&world, "anna")), (Verified, 0));
    world.mine(1);
    assert_eq!((world.stake(&id).state, power(&world, "anna")), (Active, SAT));
}

#[test]
fn what_has_matured_before_it_was_told_is_not_booked_with_its_predecessors_spend() {
    let mut world = world();
    let (old, new, tx) = expanding(&mut world, &["anna"], &[]);
    mine(&mut world, &tx);
    world.mine(u32::from(world.stake(&new).contract.lock.get()) - 2);
    let mut late = world.clone();
    late.mine(1);
    for (world, included) in [(&mut world, true), (&mut late, false)] {
        let message = spend(world, &old, &tx);
        world.send(&message).unwrap();
        assert_eq!((world.stake(&old).state, world.stake(&new).included.is_some()), (Expanded, included));
    }
}
