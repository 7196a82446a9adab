//! What the holder's transactions pay for their size, whatever the coins, the shape, and what the node says.

use crate::orders::{check_refused, extend, fund, stake, unbond};
use crate::party::{Party, open};
use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::{Amount, FeeRate, OutPoint, Transaction, TxOut, Txid, Weight};
use palisade_hub::bitcoind::Acceptance;
use palisade_hub::daemon::exit::Exit;
use palisade_hub::ledger::state::StakeState::Active;
use palisade_regtest::demo::network::edit;
use palisade_regtest::gate::Gate;
use palisade_staker::purse::sign_all;
use palisade_world::{World, address};
use std::collections::BTreeSet;

/// Fails unless the node would take it, and it pays a rate to a hundredth, never less. Gives its fee.
async fn check_rate(party: &Party, what: &str, tx: &Transaction, sat_vb: u32) -> u64 {
    let verdict = party.rpc().test_mempool_accept(std::slice::from_ref(tx)).await.unwrap().remove(0);
    let Acceptance::Allowed { vsize, fee } = verdict else { panic!("{what}: {verdict:?}") };
    let asked = f64::from(sat_vb) * vsize as f64;
    let off = (fee.to_sat() as f64 - asked) / asked;
    assert!((0.0..=0.01).contains(&off), "{what}: {fee} for {vsize} vbytes, {sat_vb} sat/vB were asked for");
    fee.to_sat()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_wallet_signs_pays_the_rate_that_was_asked_for_whatever_its_shape() {
    let party = Party::new(&[]).await;
    let config = party.funded("alice", &[100_000; 8]).await;
    let mut session = open(&config);
    session.sync().await.unwrap();
    let keys = session.keys().unwrap();
    let places: Vec<OutPoint> =
        session.purse.coins(&BTreeSet::new()).iter().map(|coin| coin.outpoint).collect();
    for inputs in 1..=places.len() {
        for sat_vb in [5, 20, 100] {
            let rate = FeeRate::from_sat_per_vb_u32(sat_vb);
            let mut pay = |value| {
                let output = TxOut { value, script_pubkey: address("a stake") };
                let funded = session.purse.fund(&output, rate, &BTreeSet::new(), &places[..inputs]).unwrap();
                sign_all(&funded, &keys).unwrap()
            };
            let full = pay(Amount::from_sat(30_000));
            // Without change: what is left over is no more than a few satoshis.
            let change = full.output[1].weight();
            let bare = full.weight() - change + Weight::from_wu(inputs as u64);
            let all = Amount::from_sat(100_000 * inputs as u64);
            let bare = pay(all - rate.fee_wu(bare).unwrap() - Amount::from_sat(3));
            for (tx, outputs) in [(full, 2), (bare, 1)] {
                let what = format!("{inputs} inputs, {outputs} outputs");
                assert_eq!((tx.input.len(), tx.output.len()), (inputs, outputs), "{what}");
                check_rate(&party, &what, &tx, sat_vb).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expansion_pays_the_rate_that_was_asked_for_with_change_and_without() {
    let party = Party::new(&["anna"]).await;
    let config = party.funded("alice", &[600_000]).await;
    let id = stake(&config, &[]).await.unwrap().id.unwrap();
    fund(&party, &config, 200_000).await;
    party.mine(7).await;
    party.until_state(&id, Active).await;
    let print = async |add: &str| -> Transaction {
        let flags = [&id, "--add", add, "--fee-rate", "7", "--beside", "--print", "--yes"];
        deserialize_hex(&extend(&config, &flags).await.unwrap().raw.unwrap()).unwrap()
    };
    let full = print("1,000 sat").await;
    assert_eq!(full.output.len(), 2);
    let fee = check_rate(&party, "with change", &full, 7).await;
    // The other coin is used up.
    let bare = print(&format!("{} sat", 200_000 - (fee - 7 * 43))).await;
    assert_eq!(bare.output.len(), 1);
    check_rate(&party, "without change", &bare, 7).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn coins_that_cost_more_than_they_hold_are_said_to_be_too_little_and_are_left_where_they_are() {
    let party = Party::new(&["anna"]).await;
    let config = party.funded("alice", &[2_000; 6]).await;
    let dear = ["--fee-rate", "50"];
    let short = ["that are free and worth spending", "is needed with the fee at 50 sat/vB"];
    check_refused(stake(&config, &dear).await, Exit::NotNow, &short);
    assert!(open(&config).book.stakes().is_empty());
    fund(&party, &config, 600_000).await;
    let id = stake(&config, &dear).await.unwrap().id.unwrap();
    let tx = open(&config).book.find(&id).unwrap().staking_tx;
    assert_eq!(tx.input.len(), 1);
    check_rate_of(&party, tx.compute_txid(), 50.0..51.0).await;
}

/// Fails unless a transaction is in the mempool and pays such a rate.
async fn check_rate_of(party: &Party, txid: Txid, wanted: std::ops::Range<f64>) {
    let entry = party.rpc().mempool_entry(txid).await.unwrap().expect("sent and taken");
    let rate = entry.fee.to_sat() as f64 / entry.vsize as f64;
    assert!(wanted.contains(&rate), "{rate} sat/vB and not {wanted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_pays_what_nodes_take_and_no_absurd_rate_whatever_the_estimate() {
    let mut party = Box::pin(Party::of(World::bumpable(1_000_000), &["anna"])).await;
    let config = party.funded("alice", &[600_000, 600_000, 600_000, 300_000]).await;
    let gate = Gate::start(&party.node.rpc_url()).await;
    edit(&config, &[(&party.node.rpc_url(), gate.url())]).unwrap();
    let mut ids = Vec::new();
    for (estimate, flags, rates) in [
        (Some(0), [].as_slice(), 0.2..0.3),
        (None, &[], 2.0..2.1),
        (Some(5), &["-minrelaytxfee=0.0002"], 20.0..22.0),
    ] {
        party.node.restart_with(flags).await.unwrap();
        gate.estimate(estimate);
        let id = stake(&config, &[]).await.unwrap().id.unwrap();
        check_rate_of(&party, open(&config).book.find(&id).unwrap().outpoint.txid, rates).await;
        party.mine(1).await;
        ids.push(id);
    }
    party.node.restart_with(&[]).await.unwrap();
    gate.estimate(Some(10_000));
    let words = ["10000 sat/vB are needed", "more than 1000 sat/vB is not paid", "--fee-rate RATE"];
    check_refused(stake(&config, &[]).await, Exit::NotNow, &words);
    assert_eq!(open(&config).book.stakes().len(), 3);
    // An early exit goes out, for all that the wallet may pay.
    party.mine(7).await;
    party.until_state(&ids[0], Active).await;
    let left = unbond(&config, &ids[0]).await.unwrap();
    assert_eq!(left.child_fee_sat, Some(100_000));
    let child = left.child_txid.unwrap().parse().unwrap();
    assert_eq!(party.rpc().mempool_entry(child).await.unwrap().unwrap().fee.to_sat(), 100_000);
}
