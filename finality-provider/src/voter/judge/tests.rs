use super::*;
use palisade_protocol::context::ChainId;
use palisade_protocol::stake::StakeId;
use palisade_world::{Wish, World, provider_key};

fn world() -> (World, StakeId) {
    let mut world = World::new(500_000);
    world.mine(1);
    world.register_provider(&ChainId::zero(), "anna");
    let wish = Wish { holder: "holder", sat: 500_000, providers: &["anna"], lock: 2_000 };
    let stake = world.active_stake(&wish);
    world.close();
    (world, stake)
}

/// An honest node's view of the world's Bitcoin.
fn verdict(world: &World, spends: &[OutPoint], commitment_sent: Option<u64>) -> Result<(), NotJudged> {
    let deep = deep_height(&world.ledger);
    let facts = Facts {
        deep_block: Some(world.block_hash(deep.0)),
        searched: deep,
        spends,
        key: provider_key("anna"),
        commitment_sent: commitment_sent.map(Height),
    };
    judge(&world.ledger, &facts)
}

#[test]
fn an_honest_header_passes() {
    let (world, stake) = world();
    assert_eq!(verdict(&world, &[], None), Ok(()));
    // Spends of outputs that are no stakes are nobody's business here.
    assert_eq!(verdict(&world, &[OutPoint::null()], None), Ok(()));
    assert_eq!(world.stake(&stake).spend, None);
}

#[test]
fn a_node_that_is_behind_says_so_and_judges_nothing() {
    let (world, _) = world();
    let deep = deep_height(&world.ledger);
    assert_eq!(deep.0, world.btc_height() - 6);
    let facts = |deep_block, searched| Facts {
        deep_block,
        searched,
        spends: &[],
        key: provider_key("anna"),
        commitment_sent: None,
    };
    assert_eq!(judge(&world.ledger, &facts(None, deep)), Err(NotJudged::NodeBehind(deep)));
    let searching = facts(Some(world.block_hash(deep.0)), deep.minus(1));
    assert_eq!(judge(&world.ledger, &searching), Err(NotJudged::NodeBehind(deep)));
}

#[test]
fn a_spend_that_the_ledger_does_not_know_stops_the_vote_and_its_report_ends_that() {
    let (mut world, stake) = world();
    let outpoint = world.stake(&stake).contract.coin.outpoint;
    assert_eq!(verdict(&world, &[outpoint], None), Err(NotJudged::MissingSpend(outpoint)));
    let unbonding = world.stake(&stake).presigned.unbonding.clone();
    world.spend(&stake, outpoint, &unbonding).unwrap();
    world.close();
    assert_eq!(verdict(&world, &[outpoint], None), Ok(()));
    // The same holds for the unbonding output that now exists.
    let unbonded = OutPoint { txid: unbonding.compute_txid(), vout: 0 };
    assert_eq!(verdict(&world, &[outpoint, unbonded], None), Err(NotJudged::MissingSpend(unbonded)));
}

#[test]
fn half_of_the_story_of_a_stake_without_power_stops_nobody() {
    let mut world = World::new(500_000);
    world.mine(1);
    world.register_provider(&ChainId::zero(), "anna");
    let wish = Wish { holder: "holder", sat: 500_000, providers: &["anna"], lock: 300 };
    let (stake, tx) = world.register_stake(&wish);
    world.sign_quorum(&stake);
    world.mine(60);
    // It lapsed, came to Bitcoin, and left early: only the second of these is told.
    world.include(&stake, &tx);
    world.mine(10);
    world.close();
    let outpoint = world.stake(&stake).contract.coin.outpoint;
    assert_eq!(world.stake(&stake).state, StakeState::Lapsed);
    assert_eq!(verdict(&world, &[outpoint], None), Ok(()));
    world.mine(300);
    world.close();
    assert_eq!(world.stake(&stake).state, StakeState::Withdrawable);
    assert_eq!(verdict(&world, &[outpoint], None), Ok(()));
}

#[test]
fn a_set_without_a_key_that_committed_in_time_is_not_voted_for() {
    let mut world = World::new(500_000);
    world.mine(1);
    for (name, sat) in [("anna", 400_000), ("bert", 600_000)] {
        world.register_provider(&ChainId::zero(), name);
        world.active_stake(&Wish { holder: "holder", sat, providers: &[name], lock: 2_000 });
    }
    world.commit(&ChainId::zero(), "bert", 1..8);
    world.close_until(42);
    // The newest set is that of epoch 3, fixed at height 40.
    let kept_out = |sent| NotJudged::KeptOut { epoch: Epoch(3), sent: Height(sent), fixed: Height(40) };
    assert_eq!(verdict(&world, &[], Some(20)), Err(kept_out(20)));
    assert_eq!(verdict(&world, &[], Some(21)), Ok(()), "less than an epoch is no time");
    assert_eq!(verdict(&world, &[], None), Ok(()), "nothing was sent");
    // Taken late is taken: the next set has the key.
    world.commit(&ChainId::zero(), "anna", 4..8);
    world.close_until(61);
    assert_eq!(verdict(&world, &[], Some(20)), Ok(()));
}
