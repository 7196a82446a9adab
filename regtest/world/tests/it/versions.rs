//! A second version of the parameters, and which of the two a stake is judged by (docs/protocol.md, section 2.5).

use crate::refusals::governance::params;
use bitcoin::Transaction;
use palisade_hub::ledger::Rejected;
use palisade_hub::ledger::state::StakeState::{Active, Verified};
use palisade_protocol::context::ChainId;
use palisade_protocol::message::Message;
use palisade_protocol::registration::StakeRegistration;
use palisade_protocol::stake::StakeId;
use palisade_world::{Wish, World};

const WISH: Wish<'static> = Wish { holder: "alice", sat: 500_000, providers: &["anna"], lock: 300 };

/// A world in which other parameters come into force twenty blocks above, and that height: another fee, and k = 4 for 6.
fn world() -> (World, u32) {
    let mut world = World::new(1_000_000);
    world.mine(1);
    world.register_provider(&ChainId::zero(), "anna");
    let second = params(&world, 20, |made| {
        made.k = 4;
        made.unbonding_fee_sat += 1;
    });
    world.govern(second).unwrap();
    let from = world.btc_height() + 20;
    (world, from)
}

fn mine_until(world: &mut World, height: u32) {
    world.mine(height - world.btc_height());
}

/// Mines a staking transaction in the block of this height.
fn mine_at(world: &mut World, height: u32, tx: &Transaction) {
    if world.btc_height() + 1 < height {
        mine_until(world, height - 1);
    }
    world.mempool.push(tx.clone());
    mine_until(world, height);
}

/// Sends a registration; the version and the depth of power that the stake has.
fn sent(world: &mut World, made: StakeRegistration) -> Result<(StakeId, usize, u32), Rejected> {
    let id = StakeId(world.send(&Message::Stake(Box::new(made)))?);
    let stake = world.stake(&id);
    Ok((id, stake.params, stake.k))
}

fn version(sent: Result<(StakeId, usize, u32), Rejected>) -> Result<(usize, u32), &'static str> {
    sent.map(|(_, version, k)| (version, k)).map_err(|why| why.rule())
}

#[test]
fn a_stake_that_is_on_bitcoin_is_judged_by_the_version_of_its_block_and_not_of_the_tip() {
    let (mut world, from) = world();
    let (last, late) = (world.registration(&WISH), world.registration(&WISH));
    mine_at(&mut world, from - 1, &last.staking_tx);
    mine_at(&mut world, from, &late.staking_tx);
    world.mine(1);
    let (last, late) = (world.confirmed("alice", last), world.confirmed("alice", late));
    assert_eq!(version(sent(&mut world, last)), Ok((0, 6)));
    assert_eq!(version(sent(&mut world, late)), Err("stake"));
    let new = world.registration(&WISH);
    let next = world.btc_height() + 1;
    mine_at(&mut world, next, &new.staking_tx);
    let new = world.confirmed("alice", new);
    assert_eq!(version(sent(&mut world, new)), Ok((1, 4)));
}

#[test]
fn a_stake_that_is_registered_before_keeps_the_version_of_the_tip_at_its_registration() {
    let (mut world, from) = world();
    let (old, late) = (world.registration(&WISH), world.registration(&WISH));
    mine_until(&mut world, from - 1);
    let tx = old.staking_tx.clone();
    let (id, index, k) = sent(&mut world, old).unwrap();
    assert_eq!((index, k), (0, 6));
    mine_until(&mut world, from);
    assert_eq!(version(sent(&mut world, late)), Err("stake"));
    // It comes to Bitcoin under the new version, and counts at the depth of the old one.
    world.sign_quorum(&id);
    world.include(&id, &tx);
    world.mine(5);
    assert_eq!(world.stake(&id).state, Verified);
    world.mine(1);
    assert_eq!((world.stake(&id).state, world.stake(&id).params), (Active, 0));
    let new = world.registration(&WISH);
    assert_eq!(version(sent(&mut world, new)), Ok((1, 4)));
}
