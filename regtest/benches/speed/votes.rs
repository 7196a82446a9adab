//! Votes verified, on disk and counted, against what every core verifies at once.

use crate::crowd::{activate, fund, providers, register};
use crate::measure::{each_on_all_cores, in_turns, time};
use crate::signing::Floor;
use crate::table::{Row, Target};
use palisade_hub::engine::Hub;
use palisade_hub::store::Store;
use palisade_protocol::context::{ChainId, Terms};
use palisade_protocol::finality::set::MAX_MEMBERS;
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::hash::Hash32;
use palisade_protocol::units::Epoch;
use palisade_world::{COVENANT, World};

/// The row about votes of a full set.
pub fn rows() -> Vec<Row> {
    let (world, votes) = voted_epoch();
    let floor = Floor::new();
    let ours = || stored(&world, &votes) / votes.len() as f64;
    let (ours, floor) = in_turns(ours, || each_on_all_cores(500, || floor.verify()));
    let work = format!("vote of {MAX_MEMBERS} members verified, stored, counted; floor on all cores");
    let floor = Some(floor);
    vec![Row { work, ours, floor, go: Some(230.0), target: Target::OfFloor(0.8) }]
}

/// A world with a full set for epoch 1 of chain zero, and every vote of that epoch.
fn voted_epoch() -> (World, Vec<Vote>) {
    let (chain, epoch) = (ChainId::zero(), Epoch(1));
    let terms = Terms { epoch_length: 250, voted_every: 5, minimum_power_sat: 1 };
    let mut world = World::with(terms, &COVENANT, 3);
    world.mine(1);
    let names = providers(&mut world, MAX_MEMBERS);
    let purses = fund(&mut world, names.len());
    names.iter().for_each(|name| world.commit(&chain, name, 1..3));
    let stakes = register(&mut world, &purses, &names, &COVENANT[..3], names.len());
    activate(&mut world, &stakes);
    // The first block of epoch 0 fixes the set of epoch 1.
    world.close();
    let first = terms.first_height(epoch);
    let heights = (0..terms.voted_heights()).map(|index| first.plus(index * terms.voted_every));
    let votes = heights.flat_map(|height| {
        names.iter().map(|name| world.vote(&chain, name, height, Hash32([8; 32]))).collect::<Vec<_>>()
    });
    let votes = votes.collect();
    (world, votes)
}

/// Microseconds for all votes that wait at a new hub, with a new file.
fn stored(world: &World, votes: &[Vote]) -> f64 {
    let directory = tempfile::tempdir().expect("a directory");
    let store = Store::open(&directory.path().join("log.sqlite")).expect("a store");
    let hub = Hub::new(world.ledger.clone(), store);
    let answers: Vec<_> = votes.iter().map(|vote| hub.vote(vote.clone()).expect("room")).collect();
    let time = time(|| hub.count_waiting_votes());
    let counted = answers.into_iter().map(|mut answer| answer.try_recv().expect("an answer"));
    counted.for_each(|counted| counted.expect("a good vote"));
    time
}
