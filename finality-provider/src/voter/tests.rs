//! Stories of one operator: the real voter, the real signer behind its socket, the hub's real engine and API, and the
//! development chain, and a real Bitcoin node that was given a world's blocks.

mod behind;
mod lies;
mod network;
mod node;
mod register;
mod returns;
mod signer;
mod sources;

use super::*;
use crate::signer::record::Record;
use crate::signer::{ChainSigner, Signer, server};
use crate::voter::status::Status;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::secp256k1::{Message as Digest, SECP256K1};
use network::Network;
use palisade_hub::client::LogPage;
use palisade_protocol::block::{Block, HubHeader};
use palisade_protocol::codec::Wire as _;
use palisade_protocol::units::Epoch;
use palisade_world::keypair;
use std::sync::atomic::{AtomicBool, Ordering};

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_makes_blocks_of_both_chains_final_and_misses_none() {
    let network = Network::start().await;
    let voter = network.voter().await;
    voter
        .until("both chains have final blocks", |status| {
            let last = |index: usize| status.chains[index].last_final.map_or(0, |height| height.0);
            last(0) >= 100 && status.chains[1].votes >= 8
        })
        .await;
    let status = voter.status().await;
    for chain in &status.chains {
        assert_eq!((chain.missed, chain.exposed, chain.registered), (0, false, true), "{chain}");
        assert!(chain.epochs_committed >= 6, "{chain}");
    }
    assert!(status.refusals.is_empty() && status.not_judged.is_none());
    let (zero, dev) = (network.certified(&ChainId::zero()), network.certified(&network::dev()));
    let heights: Vec<u64> = zero.keys().map(|height| height.0).collect();
    assert!(heights[0].is_multiple_of(20), "from the first height of an epoch on: {heights:?}");
    assert!(heights.windows(2).all(|pair| pair[1] == pair[0] + 5), "without a gap: {heights:?}");
    for (height, block) in dev {
        assert_eq!(network.dev_block(height), block);
    }
    voter.stop().await;
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restarted_voter_goes_on_and_a_lost_record_returns_within_epochs() {
    let network = Network::start().await;
    let voter = network.voter().await;
    voter.until("blocks are final", |status| status.chains[0].votes >= 4).await;
    voter.stop().await;
    let record = network.record_id().await;
    network.lose_record().await;
    assert_ne!(network.record_id().await, record);
    let voter = network.voter().await;
    voter
        .until("the new record's nonces are committed", |status| status.chains[0].epochs_committed >= 6)
        .await;
    // The sets that are fixed name the lost record's roots, and this key alone has all power: no block of theirs is signed.
    voter
        .until("the signer refuses under the old roots", |status| {
            let why = status.chains[0].waiting.as_deref().unwrap_or_default();
            why.contains("not-committed") || why.contains("other-root")
        })
        .await;
    // How many sets more are fixed before the new commitments are in depends on the machine.
    let mut found = None;
    for _ in 0..20 {
        let (set, named) = network.newest_zero_root();
        found = (network.signers_root(set).await == named).then_some(set);
        if found.is_some() {
            break;
        }
        voter.until("a later set is fixed", |_| network.newest_zero_epoch() > set).await;
    }
    assert!(found.is_some(), "no later set names the new record's root");
    voter.stop().await;
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_does_not_reproduce_is_refused_with_proof_and_an_honest_one_ends_that() {
    let network = Network::start().await;
    let voter = network.voter().await;
    voter.until("blocks are final", |status| status.chains[0].votes >= 2).await;
    network.lie(Hash32([0xbd; 32]));
    voter.until("the lie is refused", |status| !status.refusals.is_empty()).await;
    let status = voter.status().await;
    let refusal = &status.refusals[0];
    assert_eq!(refusal.fp, status.chains[0].key);
    let header = HubHeader::from_bytes(&hex::decode(&refusal.header).unwrap()).unwrap();
    assert_eq!((header.height, header.state_root), (refusal.height, Hash32([0xbd; 32])));
    // The hub's own signature is on it: that is the proof.
    let contexts = *network.hub.ledger().contexts();
    let message = HubHeader::signing_message(&contexts.hub, &header.hash());
    let signature = hex::decode(&refusal.signature).unwrap();
    let signature = Signature::from_slice(&signature).unwrap();
    network.hub.ledger().genesis().document().hub_key.verify(&message, &signature).unwrap();
    let honest = network.block(refusal.height);
    assert_eq!(refusal.expected_root, Some(honest.header.state_root));
    assert!(voter.health().contains("degraded"), "{}", voter.health());
    let (height, lie, root) = (header.height, header.state_root, honest.header.state_root);
    let words = format!("block {height} claims state root {lie}, its messages give {root}");
    assert_eq!((refusal.reason.clone(), status.not_judged), (words.clone(), Some(words)));
    let votes = status.chains[0].votes;
    network.truth();
    voter.until("votes go on", |status| status.chains[0].votes >= votes + 2).await;
    // What somebody else puts beside the refusals hides none of them.
    let refusals = &voter.voter.refusals;
    std::fs::write(refusals.join("half.json"), "{\"fp\":").unwrap();
    std::fs::create_dir(refusals.join("folder.json")).unwrap();
    assert_eq!(voter.status().await.refusals.len(), 1);
    voter.stop().await;
    network.stop().await;
}

/// What the hub says instead of the truth: a block with another state root, signed by the hub's key.
#[derive(Clone)]
struct Lie {
    hub: Arc<palisade_hub::engine::Hub>,
    root: Arc<Mutex<Option<Hash32>>>,
    deaf: Arc<AtomicBool>,
}

#[derive(serde::Deserialize)]
struct From {
    from: Height,
}

/// Answers for the hub while it lies; the first block asked for is the false one.
async fn lying(State(lie): State<Lie>, request: Request, next: Next) -> Response {
    if request.uri().path() == "/messages" && lie.deaf.load(Ordering::Relaxed) {
        return StatusCode::SERVICE_UNAVAILABLE.into_response();
    }
    let root = *lie.root.lock().unwrap();
    let asked = Query::<From>::try_from_uri(request.uri());
    let (Some(root), Ok(Query(From { from })), "/blocks") = (root, asked, request.uri().path()) else {
        return next.run(request).await;
    };
    let page = lie.hub.store().blocks(from, 1).unwrap().into_iter().map(|block| {
        let header = HubHeader { state_root: root, ..block.header };
        let message = HubHeader::signing_message(&lie.hub.ledger().contexts().hub, &header.hash());
        let signature = SECP256K1.sign_schnorr_no_aux_rand(&Digest::from_digest(message), &keypair("hub"));
        hex::encode(Block { header, signature, ..block }.to_bytes())
    });
    axum::Json(LogPage { blocks: page.collect() }).into_response()
}
