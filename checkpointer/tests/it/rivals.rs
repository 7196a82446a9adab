//! Anchors that somebody else is faster than: another copy of the wallet, another anchorer.

use crate::anchor::Scene;
use crate::party::settle;
use crate::processes::init;
use bitcoin::{Address, Amount, FeeRate, OutPoint, Transaction, TxOut, Txid, Witness};
use palisade_checkpointer::anchor::flight::{Flights, Version};
use palisade_checkpointer::{Pass, PassError};
use palisade_protocol::anchor::Anchor;
use palisade_protocol::units::Epoch;
use palisade_regtest::in_time;
use palisade_regtest::process::{Daemon, metric};
use palisade_staker::purse::sign_all;
use palisade_world::address;
use std::collections::BTreeSet;

/// The coin that an anchor spends.
async fn coin_of(scene: &Scene, anchor: Txid) -> (OutPoint, TxOut) {
    let coin = scene.transaction(anchor).await.input[0].previous_output;
    (coin, scene.transaction(coin.txid).await.output[coin.vout as usize].clone())
}

/// What another copy of the wallet makes of the same coin: a payment to somebody else.
async fn rival(scene: &Scene, anchor: Txid, sat: u64) -> Transaction {
    let mut copy = scene.wallet();
    copy.purse.sync(&scene.party.rpc(), 0).await.unwrap();
    let coin = coin_of(scene, anchor).await.0;
    let output = TxOut { value: Amount::from_sat(sat), script_pubkey: address("mallory") };
    let rate = FeeRate::from_sat_per_vb_u32(20);
    let funded = copy.purse.fund(&output, rate, &BTreeSet::new(), &[coin]).unwrap();
    assert_eq!(funded.transaction.input.len(), 1);
    sign_all(&funded, &copy.keys).unwrap()
}

fn flights(scene: &Scene) -> usize {
    let file = scene.config.process.data_dir.join("flights.sqlite");
    Flights::open(&file).unwrap().open_ones().unwrap().len()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_whose_coin_something_in_the_mempool_spends_is_given_up_once_and_made_of_another_coin() {
    let scene = Scene::new(&[30_000, 30_000]).await;
    let epoch = scene.one_more_epoch().await;
    scene.anchorer().pass().await.unwrap();
    let (first, _, _) = scene.flying().await;
    let other = rival(&scene, first, 5_000).await;
    scene.party.node.rpc().send_raw_transaction(&other).await.unwrap();
    assert_eq!(scene.mempool().await, [other.compute_txid()]);

    let mut anchorer = scene.anchorer();
    assert_eq!(anchorer.pass().await.unwrap(), Pass::Idle);
    let mempool = scene.mempool().await;
    let [second] = mempool.iter().filter(|txid| **txid != other.compute_txid()).collect::<Vec<_>>()[..]
    else {
        panic!("{mempool:?}")
    };
    let second = scene.transaction(*second).await;
    assert_eq!(Anchor::find(&second).unwrap().1.epoch, epoch);
    assert!(other.input.iter().all(|input| !spends(&second, input.previous_output)));
    // It is over once: nothing more happens, until both are in a block and after.
    for _ in 0..2 {
        assert_eq!((anchorer.pass().await.unwrap(), flights(&scene)), (Pass::Idle, 1));
        assert_eq!(scene.mempool().await.len(), 2);
    }
    scene.party.node.mine(1).await.unwrap();
    assert_eq!(anchorer.pass().await.unwrap(), Pass::Idle);
    assert!(scene.mempool().await.is_empty());
}

fn spends(tx: &Transaction, coin: OutPoint) -> bool {
    tx.input.iter().any(|input| input.previous_output == coin)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_whose_only_coin_a_block_has_spent_says_what_is_missing_and_flies_again_once_there_are_coins()
 {
    let mut scene = Scene::new(&[30_000]).await;
    let epoch = scene.one_more_epoch().await;
    scene.anchorer().pass().await.unwrap();
    let (first, _, _) = scene.flying().await;
    let (_, coin) = coin_of(&scene, first).await;
    let other = rival(&scene, first, 27_500).await;
    assert_eq!(other.output.len(), 1, "all of it goes elsewhere");
    scene.party.node.mine_block_with(&[other]).await.unwrap();
    settle(&mut scene.reporter).await;

    let mut anchorer = scene.anchorer();
    for _ in 0..2 {
        let why = anchorer.pass().await.unwrap_err();
        assert!(matches!(&why, PassError::Wallet(said) if said.contains("is needed")), "{why}");
        assert_eq!(flights(&scene), 0);
    }
    let address = Address::from_script(&coin.script_pubkey, bitcoin::Network::Regtest).unwrap();
    scene.party.node.fund(&address, Amount::from_sat(30_000)).await.unwrap();
    scene.party.node.mine(1).await.unwrap();
    assert_eq!(anchorer.pass().await.unwrap(), Pass::Idle);
    let (second, same, _) = scene.flying().await;
    assert!(second != first && same == epoch && flights(&scene) == 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_that_breaks_a_rule_of_bitcoin_is_given_up_and_another_one_is_made() {
    let scene = Scene::new(&[30_000, 30_000]).await;
    let epoch = scene.one_more_epoch().await;
    let mut wallet = scene.wallet();
    wallet.purse.sync(&scene.party.rpc(), 0).await.unwrap();
    let output = TxOut { value: Amount::from_sat(5_000), script_pubkey: address("mallory") };
    let rate = FeeRate::from_sat_per_vb_u32(20);
    let funded = wallet.purse.fund(&output, rate, &BTreeSet::new(), &[]).unwrap();
    let mut transaction = sign_all(&funded, &wallet.keys).unwrap();
    drop(wallet);
    // As where the coins are another seed's: the signatures do not verify.
    transaction.input[0].witness = Witness::from_slice(&[[7; 64]]);
    let refused = scene.party.node.rpc().send_raw_transaction(&transaction).await.unwrap_err();
    let version = Version { epoch, fee: funded.fee, height: 1, transaction };
    let file = scene.config.process.data_dir.join("flights.sqlite");
    Flights::open(&file).unwrap().record(None, &version).unwrap();

    assert_eq!(scene.anchorer().pass().await.unwrap(), Pass::Idle, "{refused}");
    assert_eq!(scene.flying().await.1, epoch);
    let open = Flights::open(&file).unwrap().open_ones().unwrap();
    assert!(open.len() == 1 && open[0].versions[0] != version, "{open:?}");
}

/// Anchors in the mempool and in the newest blocks, by their transactions.
async fn anchors(scene: &Scene, blocks: u32) -> Vec<(Txid, Epoch)> {
    let rpc = scene.party.node.rpc();
    let tip = rpc.tip().await.unwrap().height;
    let mut found = Vec::new();
    for height in tip - blocks + 1..=tip {
        let hash = rpc.block_hash(height).await.unwrap().unwrap();
        found.extend(rpc.block(hash).await.unwrap().unwrap().txdata);
    }
    for txid in scene.mempool().await {
        found.push(scene.transaction(txid).await);
    }
    let anchor = |tx: &Transaction| Some((tx.compute_txid(), Anchor::find(tx).ok()?.1.epoch));
    found.iter().filter_map(anchor).collect()
}

/// A shipped anchorer with a coin, and where it serves its metrics.
async fn shipped(scene: &Scene, name: &str) -> (Daemon, String) {
    let dir = scene.party.folder.path().join(name);
    let (config, made) = init(&scene.party, &dir, &scene.party.node).await;
    let address: Address<_> = made["address"].as_str().unwrap().parse().unwrap();
    scene.party.node.fund(&address.assume_checked(), Amount::from_sat(1_000_000)).await.unwrap();
    scene.party.node.mine(1).await.unwrap();
    let mut daemon =
        Daemon::start("palisade-checkpointer", &["anchor", "--config", &config], &dir.join("anchor.log"))
            .unwrap();
    let address = daemon.address(&dir.join("anchor.address")).await.unwrap();
    (daemon, address)
}

/// Waits until so many anchors of an epoch wait in the mempool.
async fn until_waiting(scene: &Scene, epoch: Epoch, count: usize) {
    let all = async {
        loop {
            let waiting = anchors(scene, 0).await;
            if waiting.iter().filter(|(_, own)| *own == epoch).count() == count {
                return;
            }
        }
    };
    in_time(&format!("{count} anchors of epoch {epoch}"), all).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_two_anchorers_the_second_sends_nothing_for_an_epoch_whose_anchor_is_in_a_block() {
    let mut scene = Scene::new(&[]).await;
    let start = scene.party.node.rpc().tip().await.unwrap().height;
    let (first, of_first) = shipped(&scene, "first").await;
    settle(&mut scene.reporter).await;
    let early = scene.one_more_epoch().await;
    until_waiting(&scene, early, 1).await;
    scene.party.node.mine(1).await.unwrap();
    settle(&mut scene.reporter).await;

    // The second comes when the anchor is there. Before the next one is, both pay.
    let (second, of_second) = shipped(&scene, "second").await;
    settle(&mut scene.reporter).await;
    let both = scene.one_more_epoch().await;
    until_waiting(&scene, both, 2).await;
    scene.party.node.mine(1).await.unwrap();
    settle(&mut scene.reporter).await;
    assert_eq!(
        scene.party.hub.hub.ledger().anchors().get(both).unwrap().index,
        1,
        "the first in the block counts"
    );
    let last = scene.one_more_epoch().await;
    until_waiting(&scene, last, 2).await;

    let blocks = scene.party.node.rpc().tip().await.unwrap().height - start;
    let found = anchors(&scene, blocks).await;
    let count = |epoch| found.iter().filter(|(_, own)| *own == epoch).count();
    assert_eq!([early, both, last].map(count), [1, 2, 2], "{found:?}");
    for (address, sent) in [(of_first, 3), (of_second, 2)] {
        assert_eq!(metric(&address, "palisade_anchors_sent_total").await.unwrap(), Some(sent));
    }
    for daemon in [first, second] {
        daemon.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_that_waits_is_not_made_dearer_once_somebody_elses_is_in_a_block() {
    let mut scene = Scene::new(&[30_000]).await;
    let epoch = scene.one_more_epoch().await;
    scene.anchorer().pass().await.unwrap();
    let (own, _, fee) = scene.flying().await;
    let output = Anchor::find(&scene.transaction(own).await).unwrap().1.script();
    let output = TxOut { value: Amount::ZERO, script_pubkey: output };
    let other = scene.party.node.fund_many(&[output]).await.unwrap();
    scene.party.node.mine_block_with(std::slice::from_ref(&other)).await.unwrap();
    settle(&mut scene.reporter).await;
    let first = scene.party.hub.hub.ledger().anchors().get(epoch).unwrap().outpoint.txid;
    assert_eq!(first, other.compute_txid());
    let mut anchorer = scene.anchorer();
    for _ in 0..4 {
        scene.party.node.mine_block_with(&[]).await.unwrap();
        settle(&mut scene.reporter).await;
        anchorer.pass().await.unwrap();
        assert_eq!(scene.flying().await, (own, epoch, fee));
    }
    // A reorganisation takes the other one away: then this one is needed again.
    scene.party.node.reorg(5, 6, &[]).await.unwrap();
    settle(&mut scene.reporter).await;
    anchorer.pass().await.unwrap();
    let entry = scene.party.node.rpc().mempool_entry(own).await.unwrap();
    assert_eq!(entry, None, "replaced by one that pays more");
}
