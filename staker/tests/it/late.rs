//! Stakes that came to Bitcoin after their registration had lapsed.

use crate::orders::{check_refused, one, resume, slashing, stake, unbond, withdraw};
use crate::party::{Party, args, open};
use bitcoin::Transaction;
use bitcoin::consensus::encode::deserialize_hex;
use palisade_hub::daemon::exit::Exit;
use palisade_hub::ledger::state::StakeState::{Active, Lapsed, Slashed, Unbonding, Verified, Withdrawn};
use palisade_protocol::governance::Action;
use palisade_protocol::stake::StakeId;
use palisade_protocol::units::BtcHeight;
use palisade_staker::unbond::Unbond;
use std::path::Path;

#[tokio::test(flavor = "multi_thread")]
async fn a_stake_that_came_too_late_is_registered_anew_and_counts() {
    let party = Party::new(&["anna"]).await;
    let config = party.funded("alice", &[600_000]).await;
    party.signing.send_replace(0);
    let id = stake(&config, &["--no-wait"]).await.unwrap().id.unwrap();
    let tx = open(&config).book.find(&id).unwrap().staking_tx;
    party.mine(60).await;
    party.until_state(&id, Lapsed).await;
    party.signing.send_replace(3);
    party.node.rpc().send_raw_transaction(&tx).await.unwrap();
    let anew = format!("`stake --resume {id}` registers it anew");
    let shown = one(&config, &id).await;
    assert!(
        shown.next.contains("waits in your node's mempool") && shown.next.contains(&anew),
        "{}",
        shown.next
    );
    party.mine(1).await;
    let height = party.node.rpc().tip().await.unwrap().height;
    let shown = one(&config, &id).await;
    let holds = format!("block {height} holds it, too late to count");
    assert!(shown.next.contains(&holds) && shown.next.contains(&anew), "{}", shown.next);
    assert_eq!((shown.included_at, shown.withdraw_at), (Some(height), Some(height + 300)));
    let new = resume(&config, &id).await.unwrap().id.unwrap();
    assert_ne!(new, id);
    party.mine(6).await;
    party.until_state(&new, Active).await;
}

/// Governance makes early exits dearer, ten blocks from now.
async fn exits_become_dearer(party: &Party) {
    let mut params = party.hub.ledger().params()[0].document().clone();
    params.from_height = BtcHeight(party.hub.ledger().btc_height().0 + 10);
    params.unbonding_fee_sat += 500;
    party.govern(Action::SetParams(Box::new(params))).await;
}

/// Stakes that a quorum has signed, that lapse, and that come to Bitcoin under other parameters.
async fn come_late<const N: usize>(party: &Party, config: &Path) -> [String; N] {
    party.signing.send_replace(0);
    let mut begun = [(); N].map(|()| String::new());
    for id in &mut begun {
        *id = stake(config, &["--no-wait"]).await.unwrap().id.unwrap();
    }
    party.signing.send_replace(3);
    for id in &begun {
        party.until_state(id, Verified).await;
    }
    exits_become_dearer(party).await;
    party.mine(60).await;
    for id in &begun {
        party.until_state(id, Lapsed).await;
        let tx = open(config).book.find(id).unwrap().staking_tx;
        party.node.rpc().send_raw_transaction(&tx).await.unwrap();
    }
    party.mine(1).await;
    begun
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_too_late_and_after_the_rules_had_changed_keeps_its_old_exit_and_gets_no_other() {
    let party = Party::new(&["anna"]).await;
    let config = party.funded("alice", &[600_000, 600_000, 600_000]).await;
    let [left, printed, slashed] = come_late(&party, &config).await;
    for id in [&left, &printed, &slashed] {
        let said = one(&config, id).await.next;
        let early = format!("or leave early now: `unbond {id}`");
        assert!(said.contains("cannot be registered anew") && said.contains(&early), "{said}");
    }

    // Whoever has the old exit in hand gets no registration under the new rules: two exits would be open then.
    let exit = args::<Unbond>(&[&printed, "--print"]).run(&mut open(&config)).await.unwrap();
    let refused = resume(&config, &printed).await.unwrap_err();
    assert_eq!(refused.to_json()["rule"], "agreed-before");
    check_refused::<()>(Err(refused), Exit::Failed, &["the exits that were agreed on then still hold"]);
    let exit: Transaction = deserialize_hex(&exit.raw.unwrap()).unwrap();
    party.node.rpc().send_raw_transaction(&exit).await.unwrap();
    unbond(&config, &left).await.unwrap();
    let name: StakeId = serde_json::from_value(slashed.as_str().into()).unwrap();
    let punished = slashing(party.hub.ledger().stakes().find(&name).unwrap().1, false);
    party.node.rpc().send_raw_transaction(&punished).await.unwrap();
    for id in [&left, &printed, &slashed] {
        check_refused(resume(&config, id).await, Exit::NotNow, &["is sent and waits"]);
    }

    // A hub that has heard nothing, or tells nothing, hides no exit: the own node knows.
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace(&party.url, "http://127.0.0.1:1/")).unwrap();
    party.mine(1).await;
    let height = party.node.rpc().tip().await.unwrap().height;
    let due = format!("from block {}", height + 244);
    let early = [&left, &printed].map(|id| (id, "it left early", Unbonding));
    let ways = early.into_iter().chain([(&slashed, "it was slashed", Slashed)]);
    for (id, went, _) in ways.clone() {
        let said = one(&config, id).await.next;
        assert!(said.starts_with(went) && said.contains(&due) && said.contains("`withdraw "), "{said}");
    }
    std::fs::write(&config, text).unwrap();
    for (id, went, state) in ways.clone() {
        party.until_state(id, state).await;
        check_refused(resume(&config, id).await, Exit::Failed, &["not in this stake any more", went]);
        let said = one(&config, id).await.next;
        assert!(said.contains(&due), "{said}");
    }
    // Nothing here was a breach: these exits are the ones that were agreed on.
    let ledger = party.hub.ledger().clone();
    assert_eq!((ledger.stakes().len(), ledger.stakes().breached().count()), (3, 0));
    party.mine(243).await;
    for id in [&left, &printed, &slashed] {
        withdraw(&config, &[id, "--yes"]).await.unwrap();
    }
    party.mine(1).await;
    for id in [&left, &printed] {
        party.until_state(id, Withdrawn).await;
    }
    for id in [&left, &printed, &slashed] {
        check_refused(resume(&config, id).await, Exit::Failed, &["withdrawn by"]);
    }
}
