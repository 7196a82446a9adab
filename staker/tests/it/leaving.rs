//! The program is killed while it sends what leaves a stake: the next order sends the same, or says that it waits, and what has
//! waited its timelock out is not made to wait again.

use crate::party::Party;
use crate::program::{json, program, run, signal};
use bitcoin::Txid;
use palisade_hub::ledger::state::StakeState::{Active, Unbonding, Withdrawable, Withdrawn};
use palisade_regtest::demo::network::edit;
use palisade_regtest::gate::{Gate, Hold};
use palisade_world::provider_key;
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A wallet with an active stake, behind a gate before its node.
async fn staked(party: &Party) -> (PathBuf, Gate, String) {
    let config = party.funded("alice", &[600_000]).await;
    let gate = Gate::start(&party.node.rpc_url()).await;
    edit(&config, &[(&party.node.rpc_url(), gate.url())]).unwrap();
    let anna = provider_key("anna").to_string();
    let order = ["stake", "--amount", "0.005 BTC", "--provider", &anna, "--yes", "--json"];
    let locked = json(&run(&config, &order).await);
    let id = locked["id"].as_str().unwrap().to_owned();
    party.mine(7).await;
    party.until_state(&id, Active).await;
    (config, gate, id)
}

/// What the program refuses with as JSON, and its exit code.
async fn refused(config: &Path, order: &[&str]) -> (Value, Option<i32>) {
    let output = run(config, &[order, &["--json"]].concat()).await;
    assert!(output.stdout.is_empty(), "it should refuse");
    (serde_json::from_slice(&output.stderr).unwrap(), output.status.code())
}

/// Gives an order three times: it is killed before the node has the transaction, then after, and then it refuses, because that one
/// waits. One transaction is ever made.
async fn killed_twice(config: &Path, gate: &Gate, order: &[&str]) -> Txid {
    let before = gate.sent().len();
    for when in [Hold::Before, Hold::After] {
        gate.hold(when);
        let mut child = program(config, order).spawn().unwrap();
        gate.held().await;
        signal(&child, "-KILL").await;
        child.wait().await.unwrap();
    }
    gate.open();
    let (said, code) = refused(config, order).await;
    let sent = gate.sent();
    let made: BTreeSet<Txid> = sent[before..].iter().map(|tx| tx.compute_txid()).collect();
    assert_eq!((made.len(), sent.len() - before), (1, 2), "{made:?}");
    let txid = made.into_iter().next().unwrap();
    assert_eq!(
        (&said["txid"], &said["height"], code),
        (&txid.to_string().into(), &Value::Null, Some(3)),
        "{said}"
    );
    txid
}

/// The order again, once its transaction is in a block: it says so, and sends nothing.
async fn is_done(config: &Path, gate: &Gate, order: &[&str], txid: Txid) {
    let before = gate.sent().len();
    let (said, code) = refused(config, order).await;
    assert_eq!((&said["txid"], code), (&txid.to_string().into(), Some(1)), "{said}");
    assert_eq!(gate.sent().len(), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_program_that_is_killed_while_it_sends_an_exit_sends_no_other_one_and_says_that_it_waits() {
    let party = Party::new(&["anna"]).await;
    let (config, gate, id) = staked(&party).await;
    let unbond = ["unbond", &id, "--yes"];
    let txid = killed_twice(&config, &gate, &unbond).await;
    party.mine(1).await;
    party.until_state(&id, Unbonding).await;
    is_done(&config, &gate, &unbond, txid).await;

    let withdraw = ["withdraw", &id, "--yes"];
    let (early, code) = refused(&config, &withdraw).await;
    assert_eq!((early["withdraw_at"].is_u64(), code), (true, Some(3)), "{early}");
    party.mine(243).await;
    party.until_state(&id, Withdrawable).await;
    let txid = killed_twice(&config, &gate, &withdraw).await;
    party.mine(1).await;
    party.until_state(&id, Withdrawn).await;
    is_done(&config, &gate, &withdraw, txid).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_stake_whose_lock_is_over_unbond_says_that_withdraw_is_the_way_and_moves_nothing() {
    let party = Party::new(&["anna"]).await;
    let (config, gate, id) = staked(&party).await;
    // Locked for 300 blocks, seven of which are there. In the last one before the end leaving early is still what was asked for.
    party.mine(292).await;
    let printed = json(&run(&config, &["unbond", &id, "--print", "--json"]).await);
    party.mine(1).await;
    party.until_state(&id, Withdrawable).await;
    let before = gate.sent().len();
    let (said, code) = refused(&config, &["unbond", &id, "--yes"]).await;
    let hint = said["hint"].as_str().unwrap();
    assert!(hint.contains("palisade-staker withdraw") && code == Some(1), "{said}");
    assert_eq!(gate.sent().len(), before);
    // Whoever wants it all the same prints it.
    let again = json(&run(&config, &["unbond", &id, "--print", "--json"]).await);
    assert_eq!((&again["txid"], &again["sent"]), (&printed["txid"], &false.into()));
    json(&run(&config, &["withdraw", &id, "--yes", "--json"]).await);
    party.mine(1).await;
    party.until_state(&id, Withdrawn).await;
}
