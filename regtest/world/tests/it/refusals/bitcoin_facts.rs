//! Headers, inclusions, spends and anchors (docs/protocol.md, sections 5.3, 5.8 and 9.2).

use super::{Pair, Row, beside, catch_up, raw, too_early, too_late};
use bitcoin::Transaction;
use bitcoin::block::Header;
use palisade_protocol::block::MessageBytes;
use palisade_protocol::message::{Headers, Message, OutputSpent, StakeIncluded};
use palisade_protocol::stake::StakeId;
use palisade_protocol::units::Epoch;
use palisade_world::anchored::{ZERO, end_of};
use palisade_world::{Wish, World};

fn wish() -> Wish<'static> {
    Wish { holder: "alice", sat: 500_000, providers: &["anna"], lock: 300 }
}

/// The next blocks, which the world does not know yet.
fn next(world: &World, count: u32) -> Vec<Header> {
    let mut ahead = world.clone();
    ahead.mine(count);
    ahead.chain[world.chain.len()..].iter().map(|block| block.header).collect()
}

fn headers(headers: &[Header]) -> Message {
    Message::Headers(Headers { headers: headers.to_vec() })
}

/// A stake that is mined and not told of.
fn mined(world: &mut World) -> (StakeId, Transaction) {
    let (id, tx) = world.register_stake(&wish());
    world.mempool.push(tx.clone());
    world.mine(1);
    (id, tx)
}

fn included(world: &World, id: StakeId, tx: &Transaction) -> StakeIncluded {
    StakeIncluded { stake: id, proof: world.proof(tx) }
}

/// An active stake whose unbonding transaction is mined and not told of.
fn left(world: &mut World) -> (StakeId, OutputSpent) {
    let id = world.active_stake(&wish());
    let (outpoint, tx) =
        (world.stake(&id).contract.coin.outpoint, world.stake(&id).presigned.unbonding.clone());
    world.mempool.push(tx.clone());
    world.mine(1);
    (id, OutputSpent { stake: id, outpoint, proof: world.proof(&tx) })
}

/// The anchor of epoch 3 by these members, mined and not told of.
fn anchored(world: &mut World, names: &[&str], epoch: u64) -> Message {
    let anchor = world.anchor(names, Epoch(epoch), end_of(world, 3));
    let tx = world.mine_anchor(&anchor);
    Message::Anchor(world.proof(&tx))
}

fn spoilt_spend(mut world: World, change: impl FnOnce(&mut World, &mut OutputSpent)) -> Pair {
    let (_, good) = left(&mut world);
    let mut broken = good.clone();
    change(&mut world, &mut broken);
    beside(world, &Message::Spent(good), &Message::Spent(broken))
}

pub(super) const ROWS: &[Row] = &[
    ("encoding", |world| {
        let good = headers(&next(&world, 1));
        let bytes = MessageBytes::of(&good);
        let broken = raw(&[bytes.as_slice(), &[0]].concat());
        Pair { accepted: (world.clone(), bytes), refused: (world, broken) }
    }),
    ("headers", |world| {
        let next = next(&world, 2);
        beside(world, &headers(&next), &headers(&next[1..]))
    }),
    ("headers", |world| {
        let good = next(&world, 1)[0];
        let is_weak = |header: &Header| !header.target().is_met_by(header.block_hash());
        let others = (0..).map(|nonce| Header { nonce, ..good });
        let broken = others.into_iter().find(is_weak).expect("half of all nonces");
        beside(world, &headers(&[good]), &headers(&[broken]))
    }),
    ("unknown-stake", |world| {
        let mut ahead = world.clone();
        let registration = ahead.registration(&wish());
        let mut behind = world;
        catch_up(&mut behind, &ahead);
        let stake = Message::Stake(Box::new(registration.clone()));
        behind.mempool.push(registration.staking_tx.clone());
        behind.mine(1);
        let id = StakeId(stake.id());
        let message = Message::Included(included(&behind, id, &registration.staking_tx));
        too_early(behind, &message, |world| {
            world.send(&stake).expect("a good registration");
        })
    }),
    ("not-staking", |mut world| {
        let (id, tx) = mined(&mut world);
        let other = world.fund("bob", 5_000).2;
        let good = included(&world, id, &tx);
        let broken = StakeIncluded { stake: id, proof: other };
        beside(world, &Message::Included(good), &Message::Included(broken))
    }),
    ("inclusion", |mut world| {
        let (id, tx) = mined(&mut world);
        let good = included(&world, id, &tx);
        let mut broken = good.clone();
        broken.proof.path[0][0] ^= 1;
        beside(world, &Message::Included(good), &Message::Included(broken))
    }),
    ("unknown-block", |mut world| {
        let (id, tx) = mined(&mut world);
        let good = Message::Included(included(&world, id, &tx));
        too_late(world, &good, |world| {
            world.reorg(1, &[]).expect("more work");
        })
    }),
    ("repeated", |mut world| {
        let (id, tx) = mined(&mut world);
        let first = included(&world, id, &tx);
        let again = Message::Included(first.clone());
        too_late(world, &again, |world| {
            world.send(&Message::Included(first)).expect("the first");
        })
    }),
    ("spend", |world| spoilt_spend(world, |_, spent| spent.outpoint.vout += 1)),
    ("spend", |world| spoilt_spend(world, |world, spent| spent.proof = world.fund("bob", 5_000).2)),
    ("unknown-stake", |world| {
        spoilt_spend(world, |world, spent| spent.stake = world.register_stake(&wish()).0)
    }),
    ("inclusion", |world| spoilt_spend(world, |_, spent| spent.proof.coinbase_path[0][0] ^= 1)),
    ("matured", |mut world| {
        let (id, tx) = world.register_stake(&wish());
        world.mempool.push(tx.clone());
        // The next block but one may hold a withdrawal.
        world.mine(u32::from(world.stake(&id).contract.lock.get()) - 1);
        let late = Message::Included(included(&world, id, &tx));
        too_late(world, &late, |world| world.mine(1))
    }),
    ("not-reported", |mut world| {
        let (id, tx) = mined(&mut world);
        let outpoint = world.stake(&id).contract.coin.outpoint;
        let unbonding = world.stake(&id).presigned.unbonding.clone();
        world.mempool.push(unbonding.clone());
        world.mine(1);
        let spent = OutputSpent { stake: id, outpoint, proof: world.proof(&unbonding) };
        let included = Message::Included(included(&world, id, &tx));
        too_early(world, &Message::Spent(spent), |world| {
            world.send(&included).expect("it is mined");
        })
    }),
    ("repeated", |mut world| {
        let (_, first) = left(&mut world);
        let again = Message::Spent(first.clone());
        too_late(world, &again, |world| {
            world.send(&Message::Spent(first)).expect("the first");
        })
    }),
    ("anchor", |mut world| {
        let (good, broken) = (anchored(&mut world, &ZERO[..3], 3), anchored(&mut world, &ZERO[..2], 3));
        beside(world, &good, &broken)
    }),
    ("anchor", |mut world| {
        let (good, broken) = (anchored(&mut world, &ZERO, 3), Message::Anchor(world.fund("bob", 5_000).2));
        beside(world, &good, &broken)
    }),
    ("inclusion", |mut world| {
        let good = anchored(&mut world, &ZERO, 3);
        let mut broken = good.clone();
        if let Message::Anchor(proof) = &mut broken {
            proof.path[0][0] ^= 1;
        }
        beside(world, &good, &broken)
    }),
    ("not-in-order", |mut world| {
        let (good, broken) = (anchored(&mut world, &ZERO, 3), anchored(&mut world, &ZERO, 4));
        beside(world, &good, &broken)
    }),
    ("set-expired", |mut world| {
        let expiry = world.ledger.chains()[0].sets[&Epoch(3)].set.header().expiry.0;
        world.mine(expiry - world.btc_height() - 1);
        let (good, broken) = (anchored(&mut world, &ZERO, 3), anchored(&mut world, &ZERO, 3));
        beside(world, &good, &broken)
    }),
    ("unknown-set", |mut world| {
        let good = anchored(&mut world, &ZERO, 3);
        // The genesis epoch had no set.
        let mut anchor = world.anchor(&ZERO, Epoch(3), end_of(&world, 3));
        anchor.epoch = Epoch(0);
        let tx = world.mine_anchor(&anchor);
        let broken = Message::Anchor(world.proof(&tx));
        beside(world, &good, &broken)
    }),
];
