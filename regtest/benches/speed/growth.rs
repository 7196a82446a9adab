//! A hub block's work must not grow with what the ledger holds.

use crate::crowd::{COINS, activate, fund, mine_waiting, providers, register};
use crate::measure::{ROUNDS, median, time};
use crate::table::{Row, Target};
use bitcoin::OutPoint;
use palisade_hub::ledger::state::StakeState;
use palisade_protocol::block::MessageBytes;
use palisade_protocol::message::{Message, OutputSpent};
use palisade_world::World;

const PROVIDERS: usize = 1_000;
pub const CHANGES: usize = 100;
/// Any committee does for this; a small one is the quickest to fill a ledger with.
pub const MEMBER: [&str; 1] = ["the only member"];

/// The same block in one ledger that grows.
pub fn rows(full: bool) -> Vec<Row> {
    let sizes: &[usize] = if full { &[1_000, 100_000, 1_000_000] } else { &[1_000, 100_000] };
    let mut world = World::with_committee(1, &MEMBER, 1);
    world.mine(1);
    let names = providers(&mut world, PROVIDERS);
    let purses = fund(&mut world, sizes[sizes.len() - 1]);
    let mut rows: Vec<Row> = Vec::new();
    let mut have = 0;
    for size in sizes {
        let start = std::time::Instant::now();
        let stakes =
            register(&mut world, &purses[have / COINS..size / COINS], &names, &MEMBER, ROUNDS * CHANGES);
        world.ledger.finish_block();
        have = *size;
        eprintln!("{have} stakes, the newest made and applied in {:.1} s", start.elapsed().as_secs_f64());
        activate(&mut world, &stakes);
        world.ledger.finish_block();
        let ids: Vec<_> = stakes.iter().map(|stake| stake.id).collect();
        let exits = exits(&mut world, &ids);
        let ours = median(exits.chunks(CHANGES).map(|exits| time(|| block(&mut world, exits))).collect());
        assert!(ids.iter().all(|id| world.stake(id).state == StakeState::Unbonding));
        let target = rows.first().map_or(Target::None, |first| Target::TimesFirst(1.5, first.ours));
        let work = format!("hub block, 100 exits, {PROVIDERS} providers, {have} stakes");
        rows.push(Row { work, ours, floor: None, go: None, target });
    }
    rows
}

/// Mines the exits of these stakes, and gives the messages that report them.
pub fn exits(world: &mut World, stakes: &[palisade_protocol::stake::StakeId]) -> Vec<MessageBytes> {
    let txs: Vec<_> = stakes.iter().map(|id| world.stake(id).presigned.unbonding.clone()).collect();
    let outpoints: Vec<OutPoint> = txs.iter().map(|tx| tx.input[0].previous_output).collect();
    world.mempool.extend(txs);
    let proofs = mine_waiting(world);
    world.ledger.finish_block();
    let spent = stakes.iter().zip(outpoints).zip(proofs).map(|((stake, outpoint), proof)| {
        MessageBytes::of(&Message::Spent(OutputSpent { stake: *stake, outpoint, proof }))
    });
    spent.collect()
}

pub fn block(world: &mut World, messages: &[MessageBytes]) {
    for message in messages {
        world.ledger.apply(message).expect("a good report");
    }
    world.ledger.finish_block();
}
