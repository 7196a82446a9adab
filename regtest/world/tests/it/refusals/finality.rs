//! Commitments, certificates and evidence (docs/protocol.md, sections 7.1, 7.4 and 7.5).

use super::{Pair, Row, beside, too_early, too_late};
use palisade_protocol::context::ChainId;
use palisade_protocol::finality::certificate::Certificate;
use palisade_protocol::finality::evidence::Evidence;
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::units::{Epoch, Height};
use palisade_world::anchored::{DEV, ZERO, dev};
use palisade_world::{World, leaked_key, schnorr};

const BLOCK: Hash32 = Hash32([7; 32]);

/// A certificate of the other chain, whose set is that of epoch 4.
fn of_dev(world: &World, height: u64, block: Hash32) -> Message {
    world.certificate(&dev(), &DEV, Height(height), block)
}

fn certificates(world: World, change: impl FnOnce(&mut Certificate)) -> Pair {
    let good = of_dev(&world, 200, BLOCK);
    let mut broken = good.clone();
    if let Message::Certificate(certificate) = &mut broken {
        change(certificate);
    }
    beside(world, &good, &broken)
}

fn commitments(world: World, good: u64, broken: u64) -> Pair {
    let zero = ChainId::zero();
    let first = world.ledger.first_open_epoch(&zero).0;
    let made = |ahead: u64| world.commitment(&zero, "eva", Epoch(first + ahead - 1));
    let (good, broken) = (made(good), made(broken));
    let mut world = world;
    world.register_provider(&zero, "eva");
    beside(world, &good, &broken)
}

pub(super) const ROWS: &[Row] = &[
    // One ahead is the first epoch without a set, 65 ahead is M more than that.
    ("commitment-epoch", |world| commitments(world, 1, 0)),
    ("commitment-epoch", |world| commitments(world, 65, 66)),
    ("commitment", |mut world| {
        world.register_provider(&ChainId::zero(), "eva");
        let good = world.commitment(&ChainId::zero(), "eva", Epoch(9));
        let mut broken = good.clone();
        if let Message::Commitment(made) = &mut broken {
            made.signature = schnorr("eva", &[1; 32]);
        }
        beside(world, &good, &broken)
    }),
    ("exposed", |mut world| {
        world.register_provider(&ChainId::zero(), "eva");
        let message = world.commitment(&ChainId::zero(), "eva", Epoch(9));
        too_late(world, &message, |world| {
            world.leak("eva");
        })
    }),
    ("certificate", |world| certificates(world, |made| made.voters[0].path[0] = Hash32::ZERO)),
    ("certificate", |world| certificates(world, |made| made.ballot.context = Hash32::ZERO)),
    ("unknown-set", |world| certificates(world, |made| made.set.expiry = made.set.expiry.plus(1))),
    ("unknown-set", |world| certificates(world, |made| made.set.epoch = Epoch(9))),
    ("set-expired", |world| {
        let message = of_dev(&world, 200, BLOCK);
        let expiry = world.ledger.chain(&dev()).expect("registered").sets[&Epoch(4)].set.header().expiry.0;
        let mut world = world;
        world.mine(expiry - world.btc_height());
        too_late(world, &message, |world| world.mine(1))
    }),
    ("conflict", |world| {
        let (first, second) = (of_dev(&world, 200, BLOCK), of_dev(&world, 200, Hash32([8; 32])));
        too_late(world, &second, |world| {
            world.send(&first).expect("the first");
        })
    }),
    ("conflict", |mut world| {
        world.close_until(86);
        let (zero, height) = (ChainId::zero(), Height(85));
        let good = world.certificate(&zero, &ZERO, height, world.log[85].header.hash());
        let broken = world.certificate(&zero, &ZERO, height, BLOCK);
        beside(world, &good, &broken)
    }),
    ("not-in-order", |world| {
        let (first, second) = (of_dev(&world, 200, BLOCK), of_dev(&world, 205, BLOCK));
        too_early(world, &second, |world| {
            world.send(&first).expect("the first");
        })
    }),
    ("breaker", |world| {
        let message = of_dev(&world, 200, BLOCK);
        too_late(world, &message, |world| {
            world.reorg(7, &[]).expect("more work");
        })
    }),
    ("breaker", |mut world| {
        // The chain's next set would have half the power: that pauses this chain alone.
        let first = of_dev(&world, 200, BLOCK);
        let message = of_dev(&world, 205, BLOCK);
        world.send(&first).expect("the first");
        too_late(world, &message, |world| {
            for name in &DEV[..2] {
                world.leak(name);
            }
            world.close();
            let paused = world.ledger.chain(&dev()).expect("registered").paused;
            assert!(paused && world.ledger.breaker().is_none());
        })
    }),
    ("repeated", |world| {
        let other = world.certificate(&dev(), &DEV[1..], Height(200), BLOCK);
        let first = of_dev(&world, 200, BLOCK);
        too_late(world, &other, |world| {
            world.send(&first).expect("the first");
        })
    }),
    ("evidence", |world| beside(world, &leaked_key("anna", "anna"), &leaked_key("anna", "bert"))),
    ("unknown-provider", |world| beside(world, &leaked_key("anna", "anna"), &leaked_key("eva", "eva"))),
    ("repeated", |world| {
        let zero = ChainId::zero();
        let votes = [BLOCK, Hash32([8; 32])].map(|block| world.vote(&zero, "anna", Height(85), block));
        let evidence = Evidence::from_votes(&votes[0], &votes[1]).expect("two votes");
        let again = Message::Evidence(evidence);
        too_late(world, &again, |world| {
            world.leak("anna");
        })
    }),
];
