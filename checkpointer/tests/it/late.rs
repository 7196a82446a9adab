//! Early exits whose wait is over, and that nobody has taken home when a key comes out.

use crate::party::settle;
use crate::watch::{leak, party_with_stakes, watch, watcher};
use palisade_checkpointer::watch::job::Outcome;
use palisade_hub::ledger::state::StakeState;
use palisade_protocol::message::Message;

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_that_waits_after_its_time_is_slashed_unless_the_holder_takes_it_home_first() {
    let (party, mut reporter, [idle, quick]) = party_with_stakes().await;
    for (id, holder) in [(&idle, "alice"), (&quick, "bob")] {
        party.confirm(&party.unbonding(id, holder)).await;
    }
    // Both could be taken home with the next block.
    party.node.mine(243).await.unwrap();
    settle(&mut reporter).await;
    party.hub.client.submit(&Message::Evidence(leak())).await.unwrap();
    let mut watcher = watcher(&party, party.hub.client.url().as_str());
    watch(&mut watcher).await;
    let [slashing, missed] = [idle, quick].map(|id| party.stake(&id).presigned.unbonding_slashing);
    let waiting = async |tx: &bitcoin::Transaction| {
        party.node.rpc().raw_transaction(tx.compute_txid()).await.unwrap().map(|found| found.transaction)
    };
    let slashing = waiting(&slashing).await.expect("sent although the wait is over");
    assert!(waiting(&missed).await.is_some());

    // The next block has one slashing, and a withdrawal in the place of the other.
    let withdrawal = party.withdrawal(&quick, "bob");
    party.node.mine_block_with(&[slashing.clone(), withdrawal]).await.unwrap();
    settle(&mut reporter).await;
    watch(&mut watcher).await;
    assert!(waiting(&missed).await.is_none());
    let state = |id| party.stake(&id).state;
    assert_eq!((state(idle), state(quick)), (StakeState::Slashed, StakeState::Withdrawn));
    assert!(watcher.jobs().values().all(|job| job.ended.is_none()), "one block is not deep");
    party.node.mine(6).await.unwrap();
    watch(&mut watcher).await;
    let ended = |id| watcher.jobs()[&id].ended.map(|(outcome, _)| outcome);
    assert_eq!((ended(idle), ended(quick)), (Some(Outcome::Slashed), Some(Outcome::Elsewhere)));
}
