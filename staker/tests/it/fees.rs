//! Early exits in times of high fees.

use crate::orders::{check_refused, one, stake, unbond};
use crate::party::{Party, args, open};
use palisade_hub::daemon::exit::{Exit, Failure};
use palisade_hub::ledger::state::StakeState::{Active, Unbonding};
use palisade_regtest::world::World;
use palisade_staker::unbond::{Unbond, Unbonding as Left};
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
