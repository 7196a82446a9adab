//! Decisions and batches (docs/protocol.md, sections 8.4 and 9.3).

use super::{Pair, Row, beside, too_early, too_late};
use palisade_hub::timestamps;
use palisade_protocol::context::Terms;
use palisade_protocol::governance::{
    AcceptedPower, Action, FinalBlock, Governors, NewChain, Recovery, Resume,
};
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::{Message, TimestampBatch};
use palisade_protocol::params::ParamsDocument;
use palisade_protocol::units::{BtcHeight, Epoch};
use palisade_world::{World, governance_key, keypair};

fn chain(name: &str, voted_every: u64) -> Action {
    let terms = Terms { epoch_length: 50, voted_every, minimum_power_sat: 1 };
    Action::RegisterChain(NewChain {
        id: name.parse().expect("a name"),
        genesis: Hash32([6; 32]),
        terms,
        first_epoch: Epoch(0),
    })
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

/// A hand-over to keys of which two decide, signed by all these names, beside the same without the signature of one.
fn rotations(world: World, keys: [&str; 3], signers: &[&str], lacking: &str) -> Pair {
    let action =
        Action::RotateKeys(Governors::new(keys.map(governance_key).to_vec(), 2).expect("three keys"));
    let good = world.decision_by(signers, action);
    let mut broken = good.clone();
    broken.signatures.retain(|signed| signed.key != governance_key(lacking));
    beside(world, &Message::Governance(good), &Message::Governance(broken))
}

/// What brings chain zero back.
pub(crate) fn recovery(world: &World) -> Recovery {
    world.ledger.chains()[0].recovery().expect("another incarnation")
}

/// Chain zero is lost; one recovery beside another.
fn recoveries(mut world: World, spoil: impl FnOnce(&mut Recovery)) -> Pair {
    world.mine(101);
    let good = recovery(&world);
    let mut broken = good.clone();
    spoil(&mut broken);
    decisions(world, Action::RecoveryRoot(good), Action::RecoveryRoot(broken))
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
    // Those who are to govern must agree, and so must those who govern.
    ("governance", |world| {
        rotations(
            world,
            ["governance 0", "new 1", "new 2"],
            &["governance 0", "governance 1", "new 1"],
            "new 1",
        )
    }),
    ("governance", |world| {
        let signers = ["governance 0", "governance 1", "new 1", "new 2"];
        rotations(world, ["new 0", "new 1", "new 2"], &signers, "governance 1")
    }),
    ("decision", |world| recoveries(world, |recovery| recovery.incarnation = 2)),
    ("decision", |world| recoveries(world, |recovery| recovery.incarnation = 0)),
    ("decision", |world| recoveries(world, |recovery| recovery.chain = "dev".parse().expect("a name"))),
    ("decision", |world| recoveries(world, |recovery| recovery.last_final = None)),
    ("decision", |world| {
        let other = |block: &mut FinalBlock| block.hash = Hash32([9; 32]);
        recoveries(world, |recovery| recovery.last_final.iter_mut().for_each(other))
    }),
    // The set of the next voted block lives up to its expiry.
    ("decision", |mut world| {
        let zero = &world.ledger.chains()[0];
        let next = zero.last_final().expect("final blocks").0.plus(zero.terms.voted_every);
        let expiry = zero.sets[&zero.terms.epoch_of(next)].set.header().expiry;
        world.mine(expiry.0 - world.btc_height());
        let message = decide(&world, Action::RecoveryRoot(recovery(&world)));
        too_early(world, &message, |world| world.mine(1))
    }),
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
