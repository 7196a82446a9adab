//! What a node says that would confirm soon, when it says nothing, nonsense, or less than it takes.

use crate::anchor::Scene;
use crate::fees;
use crate::party::{Party, settle};
use crate::watch::{watch, watcher_on};
use palisade_checkpointer::PassError;
use palisade_hub::bitcoind::{Auth, BitcoinRpc};
use palisade_regtest::gate::Gate;

/// Relays nothing below 20 sat/vB.
const DEAR: [&str; 1] = ["-minrelaytxfee=0.0002"];
/// What nobody can have meant.
const ABSURD: u32 = 10_000;

/// The party's node, by the gate.
fn rpc(party: &Party, gate: &Gate) -> BitcoinRpc {
    BitcoinRpc::new(gate.url(), Auth::Cookie(party.node.cookie_path())).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_pays_what_nodes_take_and_never_more_than_the_ceiling_whatever_the_estimate() {
    let mut scene = Scene::new(&[1_000_000]).await;
    let gate = Gate::start(&scene.party.node.rpc_url()).await;
    let hub = scene.party.hub.client.url().to_string();
    for (estimate, flags, least, most) in [
        (Some(0), [].as_slice(), 0.2, 0.3),
        (None, &[], 2.0, 4.0),
        (Some(5), &DEAR, 20.0, 22.0),
        (Some(ABSURD), &DEAR, 200.0, 400.0),
    ] {
        scene.party.node.restart_with(flags).await.unwrap();
        gate.estimate(estimate);
        let epoch = scene.one_more_epoch().await;
        scene.anchorer_with(&hub, rpc(&scene.party, &gate)).pass().await.unwrap();
        let (txid, anchored, fee) = scene.flying().await;
        let vsize = scene.party.node.rpc().mempool_entry(txid).await.unwrap().unwrap().vsize;
        let rate = fee.to_sat() as f64 / vsize as f64;
        assert!(anchored == epoch && (least..most).contains(&rate), "{estimate:?}: {rate}");
        assert_eq!(fee.to_sat() > 49_000, estimate == Some(ABSURD), "{fee}");
        assert!(fee.to_sat() <= 50_000, "{fee}");
    }
    scene.party.node.mine(1).await.unwrap();
    settle(&mut scene.reporter).await;

    // Where the least that nodes take costs more than the ceiling, nothing is sent, and that is said.
    scene.config.wallet.max_fee_sat = 3_000;
    scene.one_more_epoch().await;
    let why = scene.anchorer_with(&hub, rpc(&scene.party, &gate)).pass().await.unwrap_err();
    assert!(
        matches!(&why, PassError::Wallet(said) if said.contains("the ceiling is 0.00003000 BTC")),
        "{why}"
    );
    assert!(scene.mempool().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slashing_is_paid_for_up_to_the_ceiling_whatever_the_estimate() {
    let mut scene = Box::pin(fees::Scene::new(&[300_000, 300_000])).await;
    let gate = Gate::start(&scene.party.node.rpc_url()).await;
    scene.key_is_out().await;
    let [left, stayed] = scene.slashings();
    // Their own fee is above what is said to be enough.
    for estimate in [Some(0), None] {
        gate.estimate(estimate);
        let node = rpc(&scene.party, &gate);
        watch(&mut watcher_on(&scene.party, &scene.hub(), node, scene.payer())).await;
        for tx in [&left, &stayed] {
            assert!(scene.waits(tx).await && !scene.is_paid_for(tx).await, "{estimate:?}");
        }
    }
    for (estimate, flags, least, most) in
        [(Some(1), DEAR.as_slice(), 5_000, 20_000), (Some(ABSURD), &DEAR, 100_000, 100_000)]
    {
        scene.party.node.restart_with(flags).await.unwrap();
        gate.estimate(estimate);
        let node = rpc(&scene.party, &gate);
        watch(&mut watcher_on(&scene.party, &scene.hub(), node, scene.payer())).await;
        for tx in [&left, &stayed] {
            let paid = scene.paid_for(tx).await.unwrap().to_sat();
            assert!((least..=most).contains(&paid), "{estimate:?}: {paid}");
        }
    }
    scene.party.node.mine(1).await.unwrap();
    assert!(scene.is_mined(&left).await && scene.is_mined(&stayed).await);
}
