//! Stakes and early exits in times of high fees.

use crate::orders::{check_refused, one, resume, stake, unbond};
use crate::party::{Party, args, open};
use bitcoin::{Amount, FeeRate};
use palisade_hub::daemon::exit::{Exit, Failure};
use palisade_hub::ledger::state::StakeState::{Active, Unbonding};
use palisade_staker::stake::Stake;
use palisade_staker::status::status;
use palisade_staker::unbond::{Unbond, Unbonding as Left};
use palisade_world::World;
use std::path::{Path, PathBuf};

/// Relays nothing below 20 sat/vB.
const DEAR: [&str; 1] = ["-minrelaytxfee=0.0002"];

/// An active stake of alice's, and what is left of her coins.
async fn active(world: World) -> (Party, PathBuf, String) {
    let party = Party::of(world, &["anna"]).await;
    let config = party.funded("alice", &[600_000, 300_000]).await;
    let id = Box::pin(stake(&config, &[])).await.unwrap().id.unwrap();
    party.mine(7).await;
    party.until_state(&id, Active).await;
    (party, config, id)
}

async fn leave(config: &Path, flags: &[&str]) -> Result<Left, Failure> {
    args::<Unbond>(flags).run(&mut open(config)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_exit_whose_fee_is_too_low_by_now_leaves_with_a_child_that_the_wallet_pays() {
    let (mut party, config, id) = Box::pin(active(World::bumpable(1_000_000))).await;
    party.node.restart_with(&DEAR).await.unwrap();
    let left = unbond(&config, &id).await.unwrap();
    assert_eq!((left.amount_sat, left.fee_sat), (497_760, 2_000), "what anybody may spend is no fee");
    let paid = left.child_fee_sat.unwrap();
    assert!((2_000..10_000).contains(&paid), "{paid}");
    let said = left.to_string();
    assert!(said.contains("from the wallet, by transaction"), "{said}");
    let told = one(&config, &id).await;
    assert!(told.next.starts_with("the early exit is sent"), "{}", told.next);
    party.mine(1).await;
    party.until_state(&id, Unbonding).await;
}

/// What a full mempool asks for is told by the node; the exit is in the next block, which has room for a fifth of what waits.
#[tokio::test(flavor = "multi_thread")]
async fn a_full_mempool_strands_no_early_exit_whether_it_filled_before_or_dropped_the_exit() {
    for is_dropped in [false, true] {
        let (mut party, config, id) = Box::pin(active(World::bumpable(1_000_000))).await;
        // Coins for those who crowd the mempool.
        party.mine(100).await;
        party.node.restart_with(&["-maxmempool=5"]).await.unwrap();
        if is_dropped {
            assert_eq!(unbond(&config, &id).await.unwrap().child_fee_sat, None);
        }
        party.node.crowd(FeeRate::from_sat_per_vb_u32(20)).await.unwrap();
        // Without a rate it pays what lets it wait, and with one it is among the first.
        let waits = unbond(&config, &id).await.unwrap();
        assert!(party.rpc().mempool_entry(waits.txid.parse().unwrap()).await.unwrap().is_some());
        let left = leave(&config, &[&id, "--yes", "--fee-rate", "30"]).await.unwrap();
        assert!(
            left.child_fee_sat > waits.child_fee_sat && waits.child_fee_sat > Some(1_000),
            "{waits} {left}"
        );
        let txid = left.txid.parse().unwrap();
        party.mine(1).await;
        let found = party.rpc().raw_transaction(txid).await.unwrap().unwrap();
        assert!(found.mined_in.is_some());
        party.until_state(&id, Unbonding).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_exit_that_waits_is_raised_up_to_what_the_holder_allows() {
    let (party, config, id) = Box::pin(active(World::bumpable(1_000_000))).await;
    let left = unbond(&config, &id).await.unwrap();
    assert_eq!(left.child_fee_sat, None, "what was agreed on is enough");
    check_refused(unbond(&config, &id).await, Exit::NotNow, &["waits"]);
    let small = leave(&config, &[&id, "--yes", "--fee-rate", "50", "--max-fee", "1,000 sat"]).await;
    check_refused(small, Exit::NotNow, &["the ceiling is 0.00001000 BTC"]);
    let raised = leave(&config, &[&id, "--yes", "--fee-rate", "30"]).await.unwrap().child_fee_sat.unwrap();
    let again = leave(&config, &[&id, "--yes", "--fee-rate", "60"]).await.unwrap().child_fee_sat.unwrap();
    assert!(raised > 5_000 && again > raised * 3 / 2, "{raised} {again}");
    // Less than what waits is nothing to do.
    assert_eq!(leave(&config, &[&id, "--yes", "--fee-rate", "10"]).await.unwrap().child_fee_sat, None);
    party.mine(1).await;
    party.until_state(&id, Unbonding).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_early_exit_of_the_compatible_profile_says_that_nothing_can_be_added() {
    let (mut party, config, id) = Box::pin(active(World::new(1_000_000))).await;
    check_refused(
        leave(&config, &[&id, "--yes", "--fee-rate", "30"]).await,
        Exit::Failed,
        &["compatible profile"],
    );
    party.node.restart_with(&DEAR).await.unwrap();
    check_refused(unbond(&config, &id).await, Exit::NotNow, &["refuses the transaction", "fee"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_with_nothing_left_for_the_fee_of_an_early_exit_is_warned_of_until_it_has_coins() {
    let party = Party::of(World::bumpable(1_000_000), &["anna"]).await;
    let config = party.funded("alice", &[500_400]).await;
    let locked = stake(&config, &[]).await.unwrap();
    assert_eq!(locked.plan.spare, Some(Amount::ZERO));
    let plan = locked.plan.to_string();
    assert!(plan.contains("WARNING: nothing is left in the wallet to pay for an early exit"), "{plan}");
    party.mine(7).await;
    let id = locked.id.unwrap();
    party.until_state(&id, Active).await;
    let told = status(&mut open(&config), None).await.unwrap();
    assert_eq!(told.spare_sat, Some(0));
    assert!(told.to_string().contains("WARNING: nothing is left in the wallet"), "{told}");

    let address = open(&config).purse.address().unwrap();
    party.node.fund(&address, Amount::from_sat(150_000)).await.unwrap();
    party.mine(1).await;
    let told = status(&mut open(&config), None).await.unwrap();
    assert_eq!(told.spare_sat, Some(150_000));
    assert!(!told.to_string().contains("WARNING: nothing"), "{told}");
    // What has left needs nothing more.
    unbond(&config, &id).await.unwrap();
    party.mine(1).await;
    party.until_state(&id, Unbonding).await;
    assert_eq!(status(&mut open(&config), None).await.unwrap().spare_sat, None);
}

async fn raise(config: &Path, id: &str, flags: &[&str]) -> Result<Option<u64>, Failure> {
    let flags: Vec<&str> = ["--resume", id, "--no-wait", "--yes"].iter().chain(flags).copied().collect();
    let locked = args::<Stake>(&flags).run(&mut open(config)).await?;
    Ok(locked.raised.map(|raised| raised.child_fee_sat))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stake_that_nodes_dropped_for_its_fee_comes_into_a_block_with_a_child_of_its_change() {
    let mut party = Party::new(&["anna"]).await;
    // Coins for those who crowd the mempool.
    party.mine(80).await;
    let config = party.funded("alice", &[900_000, 200_000]).await;
    let bare = party.funded("bob", &[500_400]).await;
    let id = stake(&config, &[]).await.unwrap().id.unwrap();
    let poor = stake(&bare, &[]).await.unwrap().id.unwrap();
    let txid = open(&config).book.find(&id).unwrap().outpoint.txid;
    party.node.restart_with(&["-maxmempool=5"]).await.unwrap();
    party.node.crowd(FeeRate::from_sat_per_vb_u32(20)).await.unwrap();
    assert_eq!(party.rpc().mempool_entry(txid).await.unwrap(), None, "dropped");
    check_refused(resume(&config, &id).await, Exit::NotNow, &["fees are higher now", "--fee-rate RATE"]);
    check_refused(raise(&bare, &poor, &["--fee-rate", "30"]).await, Exit::Failed, &["has no change"]);
    let small = ["--fee-rate", "30", "--max-fee", "1,000 sat"];
    check_refused(raise(&config, &id, &small).await, Exit::NotNow, &["the ceiling is 0.00001000 BTC"]);

    let raised = raise(&config, &id, &["--fee-rate", "30"]).await.unwrap().unwrap();
    let again = raise(&config, &id, &["--fee-rate", "60"]).await.unwrap().unwrap();
    assert!(raised > 5_000 && again > raised * 3 / 2, "{raised} {again}");
    let less = raise(&config, &id, &["--fee-rate", "40"]).await.unwrap();
    assert_eq!(less, None, "it pays more already");
    party.mine(1).await;
    let found = party.rpc().raw_transaction(txid).await.unwrap().unwrap();
    assert!(found.mined_in.is_some());
    check_refused(raise(&config, &id, &["--fee-rate", "90"]).await, Exit::Failed, &["holds the stake"]);
    party.mine(6).await;
    party.until_state(&id, Active).await;
}
