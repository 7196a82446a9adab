use super::*;
use bitcoin::{Amount, ScriptBuf, Sequence, Transaction, TxOut};
use palisade_hub::ledger::state::StakeState;
use palisade_protocol::context::ChainId;
use palisade_protocol::stake::StakeId;
use palisade_world::{Wish, World, transaction};

const WISH: Wish<'static> = Wish { holder: "alice", sat: 500_000, providers: &["anna"], lock: 300 };

fn world_with_stake() -> (World, StakeId, Transaction) {
    let mut world = World::new(1_000_000);
    world.mine(1);
    world.register_provider(&ChainId::zero(), "anna");
    let (id, tx) = world.register_stake(&WISH);
    world.sign_quorum(&id);
    (world, id, tx)
}

fn mine(world: &mut World, transactions: &[&Transaction]) -> Block {
    world.mempool.extend(transactions.iter().copied().cloned());
    world.mine(1);
    world.chain.last().unwrap().clone()
}

/// Plans and tells until nothing is left. Gives what was told, in order: each plan's messages together.
fn tell(world: &mut World, block: &Block) -> Vec<Vec<&'static str>> {
    let mut told = Vec::new();
    loop {
        let plan: Vec<_> = facts(&world.ledger, block).into_iter().map(Result::unwrap).collect();
        if plan.is_empty() {
            return told;
        }
        let mut names = Vec::new();
        for message in plan {
            world.send(&message).expect("the ledger takes what is planned");
            names.push(match message {
                Message::Included(_) => "included",
                Message::Spent(_) => "spent",
                other => panic!("{other:?} is no fact"),
            });
        }
        told.push(names);
    }
}

fn withdrawal(outpoint: OutPoint, script_pubkey: ScriptBuf, after: u16) -> Transaction {
    let output = TxOut { value: Amount::from_sat(1_000), script_pubkey };
    let mut tx = transaction(vec![outpoint], vec![output]);
    tx.input[0].sequence = Sequence::from_height(after);
    tx
}

#[test]
fn a_fact_that_builds_on_another_waits_for_it_and_nothing_is_told_twice() {
    let (mut world, id, staking) = world_with_stake();
    let unbonding = world.stake(&id).presigned.unbonding.clone();
    let left = OutPoint { txid: unbonding.compute_txid(), vout: 0 };
    let withdrawn = withdrawal(left, ScriptBuf::new_p2tr_tweaked(tweaked()), 244);
    let block = mine(&mut world, &[&staking, &unbonding, &withdrawn]);
    assert_eq!(tell(&mut world, &block), [["included"], ["spent"], ["spent"]]);
    assert_eq!(world.stake(&id).state, StakeState::Withdrawn);
    assert_eq!(tell(&mut world, &block), Vec::<Vec<&str>>::new());
}

fn tweaked() -> bitcoin::key::TweakedPublicKey {
    let key = palisade_world::keypair("bob").x_only_public_key().0;
    bitcoin::key::TweakedPublicKey::dangerous_assume_tweaked(key)
}

#[test]
fn what_a_rollback_withdrew_is_told_again_and_lost_blocks_show_nothing() {
    let (mut world, id, staking) = world_with_stake();
    let lost = mine(&mut world, &[&staking]);
    assert_eq!(tell(&mut world, &lost), [["included"]]);
    world.mine(2);
    world.reorg(3, std::slice::from_ref(&staking)).unwrap();
    assert_eq!(world.stake(&id).included, None);
    assert!(facts(&world.ledger, &lost).is_empty());
    let kept = world.chain[world.chain.len() - 4].clone();
    assert_eq!(tell(&mut world, &kept), [["included"]]);
}

#[test]
fn of_a_lapsed_stake_all_is_told_but_what_comes_to_light_when_it_can_be_withdrawn() {
    let (mut world, id, staking) = world_with_stake();
    world.mine(60);
    assert_eq!(world.stake(&id).state, StakeState::Lapsed);
    let block = mine(&mut world, &[&staking]);
    let lock = u32::from(world.stake(&id).contract.lock.get());
    for (blocks, told) in [(lock - 2, 1), (1, 0)] {
        world.mine(blocks);
        assert_eq!(facts(&world.ledger, &block).len(), told);
    }
}

#[test]
fn a_spend_that_no_proof_can_show_is_named_and_keeps_nothing_else_waiting() {
    let (mut world, id, staking) = world_with_stake();
    let block = mine(&mut world, &[&staking]);
    tell(&mut world, &block);
    let spend =
        withdrawal(world.stake(&id).contract.coin.outpoint, ScriptBuf::from_bytes(vec![0x51; 4]), 300);
    assert_eq!(spend.base_size(), 64);
    let (_, other) = world.register_stake(&Wish { holder: "bob", ..WISH });
    let block = mine(&mut world, &[&spend, &other]);
    let plan = facts(&world.ledger, &block);
    assert!(matches!(&plan[0], Err(Unprovable { txid, .. }) if *txid == spend.compute_txid()));
    assert!(matches!(&plan[1], Ok(Message::Included(_))));
}

/// Headers of a branch that leaves the world's chain `depth` blocks below its tip.
fn branch(world: &World, depth: u32, length: u32) -> (BtcHeight, Vec<Header>) {
    let mut other = World::new(1_000_000);
    other.chain = world.chain.clone();
    other.ledger = world.ledger.clone();
    let fork = BtcHeight(world.btc_height() - depth);
    other.reorg(depth, &[]).unwrap();
    other.mine(length);
    let first = fork.next().0 as usize;
    let above = other.chain[first..first + length as usize].iter().map(|block| block.header).collect();
    (fork, above)
}

#[test]
fn a_branch_is_told_whole_and_only_once_it_has_more_work() {
    let mut world = World::new(1_000_000);
    world.mine(10);
    for (depth, length, told) in [(3, 1, 0), (3, 3, 0), (3, 4, 4), (1, 2, 2), (5, 9, 9)] {
        let (fork, above) = branch(&world, depth, length);
        let plan = headers(&world.ledger, fork, above);
        assert_eq!(plan.map_or(0, |headers| headers.len()), told, "{depth} {length}");
    }
}

#[test]
fn headers_stop_before_a_stake_lapses_until_the_blocks_below_are_read() {
    let (mut world, id, staking) = world_with_stake();
    let start = world.btc_height();
    let lapses_at = world.stake(&id).lapses_at;
    let ahead = |world: &World| {
        let mut other = World::new(1_000_000);
        other.chain = world.chain.clone();
        other.ledger = world.ledger.clone();
        other.mine(100);
        other.chain[world.chain.len()..].iter().map(|block| block.header).collect::<Vec<_>>()
    };
    let plan = headers(&world.ledger, BtcHeight(start), ahead(&world)).unwrap();
    assert_eq!(BtcHeight(start).plus(plan.len() as u32), lapses_at.minus(1));
    // Read up to there without finding it: it has lapsed, and the rest may be told.
    world.mine(lapses_at.0 - 1 - start);
    let tip = world.ledger.btc_height();
    assert_eq!(headers(&world.ledger, tip, ahead(&world)).unwrap().len(), 100);
    let block = mine(&mut world, &[&staking]);
    assert_eq!(facts(&world.ledger, &block).len(), 1);
    // With nobody waiting there is no limit, and with no headers no message.
    let tip = world.ledger.btc_height();
    assert_eq!((header_limit(&world.ledger), headers(&world.ledger, tip, Vec::new())), (None, None));
}
