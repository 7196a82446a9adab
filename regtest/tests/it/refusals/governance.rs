//! Decisions and batches (docs/protocol.md, sections 8.4 and 9.3).

use super::{Pair, Row, beside, too_early, too_late};
use palisade_hub::timestamps;
use palisade_protocol::context::Terms;
use palisade_protocol::governance::{AcceptedPower, Action, NewChain, Reserved, Resume};
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::{Message, TimestampBatch};
use palisade_protocol::params::ParamsDocument;
use palisade_protocol::units::BtcHeight;
use palisade_regtest::world::{World, keypair};

fn chain(name: &str, voted_every: u64) -> Action {
    let terms = Terms { epoch_length: 50, voted_every, minimum_power_sat: 1 };
    Action::RegisterChain(NewChain { id: name.parse().expect("a name"), genesis: Hash32([6; 32]), terms })
}

fn decide(world: &World, action: Action) -> Message {
    Message::Governance(world.decision(action))
}

fn decisions(world: World, good: Action, broken: Action) -> Pair {
    let (good, broken) = (decide(&world, good), decide(&world, broken));
    beside(world, &good, &broken)
}

/// The parameters in force, for a height above the tip, changed.
pub(crate) fn params(world: &World, above: u32, change: impl FnOnce(&mut ParamsDocument)) -> Action {
    let mut document = world.ledger.params()[0].document().clone();
    document.from_height = BtcHeight(world.btc_height() + above);
    change(&mut document);
    Action::SetParams(Box::new(document))
}

fn resume(chain: &str) -> Action {
    let power = bitcoin::Amount::from_sat(1);
    Action::Resume(Resume { accepted: vec![AcceptedPower { chain: chain.parse().expect("a name"), power }] })
}

fn trip(world: &mut World) {
    world.reorg(7, &[]).expect("more work");
}

fn batch(world: &World, ahead: u64, digests: &[Hash32], key: &str) -> TimestampBatch {
    let height = world.ledger.next_height().plus(ahead);
    timestamps::batch(height, digests, &world.ledger.contexts().hub, &keypair(key))
}

fn batches(world: World, broken: TimestampBatch) -> Pair {
    let good = batch(&world, 0, &[Hash32([1; 32])], "hub");
    beside(world, &Message::Batch(good), &Message::Batch(broken))
}

pub(super) const ROWS: &[Row] = &[
    ("governance", |world| {
        let good = world.decision(chain("new", 5));
        let mut broken = good.clone();
        broken.signatures.pop();
        beside(world, &Message::Governance(good), &Message::Governance(broken))
    }),
    ("governance", |world| {
        let good = world.decision(chain("new", 5));
        let mut broken = good.clone();
        broken.action = chain("newer", 5);
        beside(world, &Message::Governance(good), &Message::Governance(broken))
    }),
    ("sequence", |world| {
        let message = decide(&world, chain("new", 5));
        too_late(world, &message, |world| {
            world.govern(chain("first", 5)).expect("a good decision");
        })
    }),
    ("sequence", |world| {
        let mut ahead = world.clone();
        ahead.govern(chain("first", 5)).expect("a good decision");
        let message = decide(&ahead, chain("new", 5));
        too_early(world, &message, |world| {
            world.govern(chain("first", 5)).expect("a good decision");
        })
    }),
    ("repeated", |world| decisions(world, chain("new", 5), chain("dev", 5))),
    ("repeated", |world| decisions(world, chain("new", 5), chain("zero", 5))),
    ("decision", |world| decisions(world, chain("new", 5), chain("new", 7))),
    ("decision", |world| decisions(world, chain("new", 5), Action::RotateKeys(Reserved))),
    ("decision", |world| decisions(world, chain("new", 5), Action::RecoveryRoot(Reserved))),
    ("decision", |world| {
        let (good, broken) = (params(&world, 1, |_| ()), params(&world, 0, |_| ()));
        decisions(world, good, broken)
    }),
    ("decision", |mut world| {
        let first = params(&world, 5, |_| ());
        world.govern(first).expect("a good decision");
        let (good, broken) = (params(&world, 6, |_| ()), params(&world, 5, |_| ()));
        decisions(world, good, broken)
    }),
    ("params", |world| {
        let (good, broken) = (params(&world, 1, |_| ()), params(&world, 1, |made| made.k = 0));
        decisions(world, good, broken)
    }),
    ("decision", |world| {
        let message = decide(&world, resume("dev"));
        too_early(world, &message, trip)
    }),
    ("unknown-chain", |mut world| {
        trip(&mut world);
        decisions(world, resume("dev"), resume("nowhere"))
    }),
    ("batch", |world| {
        let broken = batch(&world, 1, &[Hash32([1; 32])], "hub");
        batches(world, broken)
    }),
    ("batch", |world| {
        let broken = batch(&world, 0, &[], "hub");
        batches(world, broken)
    }),
    ("batch", |world| {
        let broken = batch(&world, 0, &[Hash32([1; 32])], "stranger");
        batches(world, broken)
    }),
    ("repeated", |world| {
        let message = Message::Batch(batch(&world, 0, &[Hash32([1; 32])], "hub"));
        too_late(world, &message, |world| world.stamp(&[Hash32([2; 32])]))
    }),
];
