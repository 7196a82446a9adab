//! A hub block's work must not grow with providers that have no power.

use crate::crowd::{self, COINS, activate, fund, providers, register};
use crate::growth::{CHANGES, MEMBER, block, exits};
use crate::measure::{ROUNDS, median, time};
use crate::table::{Row, Target};
use palisade_protocol::context::{ChainId, Terms};
use palisade_protocol::governance::{Action, NewChain};
use palisade_protocol::hash::Hash32;
use palisade_protocol::units::Epoch;
use palisade_world::World;

/// Providers with power, and those that join them without.
const STRONG: usize = 100;
const IDLE: usize = 100_000;
/// Epochs of chain zero for which nonces are committed, as many as the ledger takes.
const EPOCHS: u64 = 64;

/// The same blocks before and after a hundred thousand providers have registered.
pub fn rows() -> Vec<Row> {
    let mut world = World::with_committee(1, &MEMBER, 1);
    world.mine(1);
    let chain: ChainId = "idle".parse().expect("a name");
    let terms = Terms { epoch_length: 50, voted_every: 5, minimum_power_sat: 1 };
    let new = NewChain { id: chain.clone(), genesis: Hash32([5; 32]), terms, first_epoch: Epoch(0) };
    world.govern(Action::RegisterChain(new)).expect("a new chain");
    let names = providers(&mut world, STRONG);
    // Twice a part of them leaves, and no set may shrink by a third.
    let count = 4 * ROUNDS * CHANGES;
    let purses = fund(&mut world, count + IDLE);
    let (purses, coins) = purses.split_at(count / COINS);
    let stakes = register(&mut world, purses, &names, &MEMBER, count);
    activate(&mut world, &stakes);
    names.iter().for_each(|name| world.commit(&ChainId::zero(), name, 1..EPOCHS));
    world.close();
    let ids: Vec<_> = stakes.iter().map(|stake| stake.id).collect();
    let (first, others) = ids.split_at(ROUNDS * CHANGES);
    let second = &others[..ROUNDS * CHANGES];
    let before = measure(&mut world, first);
    let began = std::time::Instant::now();
    crowd::register_idle(&mut world, coins, &chain);
    world.close();
    eprintln!("{IDLE} providers registered in {:.1} s", began.elapsed().as_secs_f64());
    let after = measure(&mut world, second);
    assert_eq!(world.ledger.providers().len(), STRONG + IDLE);
    let work = ["hub block that fixes a set", "hub block, 100 exits"];
    let row = |work: &str, count: usize, ours: f64, target: Target| Row {
        work: format!("{work}, {STRONG} providers with power, {count} without"),
        ours,
        floor: None,
        go: None,
        target,
    };
    let pairs = work.into_iter().zip(before.into_iter().zip(after));
    pairs
        .flat_map(|(work, (before, after))| {
            [row(work, 0, before, Target::None), row(work, IDLE, after, Target::TimesFirst(1.5, before))]
        })
        .collect()
}

/// Times of a block that fixes a set of chain zero, and of one in which a hundred stakes leave.
fn measure(world: &mut World, leave: &[palisade_protocol::stake::StakeId]) -> [f64; 2] {
    let length = world.ledger.genesis().document().zero.epoch_length;
    let fixes = (0..ROUNDS).map(|_| {
        world.close();
        while !world.ledger.next_height().0.is_multiple_of(length) {
            world.close();
        }
        time(|| drop(world.close()))
    });
    let fixes = median(fixes.collect());
    let exits = exits(world, leave);
    let leaves = median(exits.chunks(CHANGES).map(|exits| time(|| block(world, exits))).collect());
    [fixes, leaves]
}
