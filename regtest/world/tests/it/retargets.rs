//! What no regtest node shows, because all its blocks weigh the same: a branch that weighs more and is shorter.

use bitcoin::block::Header;
use bitcoin::hashes::Hash as _;
use bitcoin::{CompactTarget, TxMerkleNode};
use palisade_hub::ledger::Rejected;
use palisade_hub::ledger::state::StakeState::{Active, Ending};
use palisade_protocol::context::ChainId;
use palisade_protocol::message::{Headers, Message};
use palisade_world::{Wish, World, blocks, provider_key};

/// Blocks of a period.
const PERIOD: u32 = 180;

/// A block of nothing but its header: seconds after its parent, and the target.
fn on_top(parent: &Header, seconds: u32, bits: CompactTarget) -> Header {
    let mut header = Header {
        prev_blockhash: parent.block_hash(),
        merkle_root: TxMerkleNode::all_zeros(),
        time: parent.time + seconds,
        bits,
        ..*parent
    };
    blocks::work(&mut header);
    header
}

/// A branch whose first block ends the period.
fn branch(parent: &Header, seconds: u32, next: CompactTarget, count: u32) -> Message {
    let last = on_top(parent, seconds, parent.bits);
    let mut headers = vec![last];
    (0..count).for_each(|_| headers.push(on_top(headers.last().unwrap(), 1, next)));
    Message::Headers(Headers { headers })
}

#[test]
fn after_a_branch_that_weighs_more_and_is_shorter_a_stake_that_was_ending_is_active_until_its_height_comes_again()
 {
    let mut world = World::retargeting(1_000_000, PERIOD);
    world.mine(1);
    world.register_provider(&ChainId::zero(), "anna");
    // Its power ends an unbonding time before its timelock does.
    let included = PERIOD - 60;
    let lock = u16::try_from(PERIOD + 1 + 244 - included).unwrap();
    let (id, tx) = world.register_stake(&Wish { holder: "alice", sat: 500_000, providers: &["anna"], lock });
    world.sign_quorum(&id);
    world.mine(included - 1 - world.btc_height());
    world.include(&id, &tx);
    world.mine(PERIOD - 2 - included);
    let seen = |world: &World| {
        let power = world.ledger.providers().get(&provider_key("anna")).unwrap().power.to_sat();
        (world.ledger.btc_height().0, world.stake(&id).state, power)
    };
    assert_eq!(seen(&world), (PERIOD - 2, Active, 500_000));

    // A period as long as it is meant to be: the target stays.
    let fork = world.chain.last().unwrap().header;
    let slow = branch(&fork, world.chain[0].header.time + PERIOD - fork.time, fork.bits, 3);
    world.send(&slow).unwrap();
    assert_eq!(seen(&world), (PERIOD + 2, Ending, 0));

    // Much shorter: a quarter of it, and each block weighs as much as four.
    let fast = |count| branch(&fork, 1, CompactTarget::from_consensus(0x1f0f_ffff), count);
    assert!(matches!(world.send(&fast(0)), Err(Rejected::Headers(_))));
    world.send(&fast(1)).unwrap();
    assert_eq!(seen(&world), (PERIOD, Active, 500_000));
    world.send(&fast(2)).unwrap();
    assert_eq!(seen(&world), (PERIOD + 1, Ending, 0));
    assert!(world.ledger.breaker().is_none());
}
