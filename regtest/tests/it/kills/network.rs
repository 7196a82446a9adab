//! The daemons of a whole network are killed one after the other, and bitcoind too.

use super::moments;
use bitcoin::{Transaction, Txid};
use palisade_hub::replica::Replica;
use palisade_protocol::anchor::Anchor;
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::genesis::Genesis;
use palisade_protocol::message::Message;
use palisade_protocol::units::Height;
use palisade_regtest::demo::network::edit;
use palisade_regtest::demo::operators::Operator;
use palisade_regtest::demo::story::Story;
use palisade_regtest::faults::checks::signatures::{place, recorded, refuses_another_block};
use palisade_regtest::gate::{Gate, Hold};
use palisade_regtest::in_time;
use rand::Rng as _;
use rand::rngs::StdRng;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Operators whose signer and whose voter are killed. None of them is needed for a quorum, one at a time; the signer's may sit
/// epochs out, so it is always the same one.
const SIGNER: usize = 1;
const VOTERS: [usize; 2] = [2, 3];

#[tokio::test(flavor = "multi_thread")]
async fn a_network_goes_on_whichever_of_its_daemons_is_killed() {
    let mut moments = moments();
    let dir = tempfile::tempdir().unwrap();
    let mut story = Story::until_final(&dir.path().join("network")).await.unwrap();
    signers_and_voters(&mut story, &mut moments).await;
    nothing_was_signed_twice(&mut story).await;
    let anchor = an_anchor_in_flight(&mut story).await;
    bitcoind_and_the_hub(&mut story, &anchor).await;
    a_slashing_that_is_due(&mut story).await;
    story.stop().await.unwrap();
}

/// Waits, looking often, until something holds.
async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let mut looks = tokio::time::interval(Duration::from_millis(2));
    let there = async {
        while !holds().await {
            looks.tick().await;
        }
    };
    in_time(what, there).await;
}

/// Waits until the signer of an operator has given so many more votes.
async fn until_voted(operator: &Operator, more: usize) {
    let log = operator.dir().join("signer.log");
    let votes = || std::fs::read_to_string(&log).unwrap().matches("voted").count();
    let before = votes();
    until("the operator's votes", async || votes() >= before + more).await;
}

async fn goes_on(story: &mut Story) {
    let began = story.final_now().await.unwrap();
    story.further(&began, 1).await.unwrap();
    story.network_mut().check().unwrap();
    story.operators_mut().iter_mut().for_each(|operator| operator.check().unwrap());
}

async fn signers_and_voters(story: &mut Story, moments: &mut StdRng) {
    for voter in VOTERS {
        until_voted(&story.operators_mut()[SIGNER], moments.gen_range(1..4)).await;
        story.operators_mut()[SIGNER].kill_signer().await.unwrap();
        until_voted(&story.operators_mut()[voter], moments.gen_range(1..4)).await;
        story.operators_mut()[voter].kill_voter().await.unwrap();
        goes_on(story).await;
    }
}

/// All votes that the hub holds.
async fn votes(story: &Story) -> Vec<Vote> {
    let mut all = Vec::new();
    for chain in ["zero", "dev"] {
        let votes = story.network().hub.votes(chain, Height(0)).await.unwrap();
        assert!(votes.len() < 500, "all on one page");
        all.extend(votes);
    }
    all
}

async fn nothing_was_signed_twice(story: &mut Story) {
    let own = tempfile::tempdir().unwrap();
    let genesis = Genesis::new(story.network().hub.genesis().await.unwrap()).unwrap();
    let mut log = Replica::open(own.path(), Arc::new(genesis)).unwrap();
    log.catch_up(&story.network().hub).await.unwrap();
    let blocks = log.store().blocks(Height(0), u32::MAX).unwrap();
    let messages = blocks.iter().flat_map(|block| &block.messages);
    assert!(messages.filter(|bytes| matches!(bytes.decode(), Ok(Message::Evidence(_)))).count() == 0);

    let (mut ballots, mut nonces) = (BTreeMap::new(), BTreeMap::new());
    let votes = votes(story).await;
    for vote in &votes {
        let at = (vote.key, vote.ballot.context, vote.ballot.height);
        assert_eq!(*ballots.entry(at).or_insert(vote.ballot), vote.ballot);
        assert_eq!(*nonces.entry(vote.nonce.to_bytes()).or_insert(vote.ballot), vote.ballot);
    }
    for operator in story.operators_mut() {
        let record = recorded(&operator.dir().join("signer-data")).unwrap();
        let own = |vote: &&Vote| [&operator.zero, &operator.other].contains(&&vote.key.to_string());
        assert!(votes.iter().filter(own).all(|vote| record.votes.contains(&place(vote))));
        refuses_another_block(operator).await.unwrap();
    }
}

/// Has a process of the checkpointer reach bitcoind through a gate from its next start on.
async fn gate(story: &Story, before: &str) -> Gate {
    let gate = Gate::start(&story.network().node.rpc_url()).await;
    let config = story.network().dir.join("checkpointer/checkpointer.toml");
    edit(&config, &[(before, gate.url())]).unwrap();
    gate
}

/// The anchorer is killed when its transaction is on disk and not on the wire, and when it is on the wire: each time it knows
/// it, and spends no other coin. Gives the transaction, which waits in the mempool.
async fn an_anchor_in_flight(story: &mut Story) -> Transaction {
    const NAME: &str = "checkpointer/anchor";
    let node = story.network().node.rpc_url();
    // What was sent before this begins is in a block.
    story.one_block().await.unwrap();
    story.network_mut().kill(NAME).await.unwrap();
    let gate = gate(story, &node).await;
    let mut last = None;
    for when in [Hold::Before, Hold::After] {
        gate.hold(when);
        story.network_mut().start_again(NAME).await.unwrap();
        last = Some(gate.held().await);
        story.network_mut().kill(NAME).await.unwrap();
    }
    gate.open();
    story.network_mut().start_again(NAME).await.unwrap();
    let last = last.unwrap();
    until("an anchor waits for a block", async || !anchors(story).await.is_empty()).await;
    let sent = gate.sent();
    assert_eq!(sent[0], sent[1], "what was on disk is sent first");
    let coin = last.input[0].previous_output;
    assert!(sent.iter().all(|tx| tx.input[0].previous_output == coin), "a second coin was spent");
    // The watcher's gate is another one.
    let config = story.network().dir.join("checkpointer/checkpointer.toml");
    edit(&config, &[(gate.url(), &node)]).unwrap();
    last
}

/// Anchors in the mempool.
async fn anchors(story: &Story) -> Vec<Transaction> {
    let rpc = story.network().node.rpc();
    let waiting: Vec<Txid> = rpc.call("getrawmempool", json!([])).await.unwrap();
    let mut anchors = Vec::new();
    for txid in waiting {
        // It may have been replaced meanwhile.
        let Ok(Some(found)) = rpc.raw_transaction(txid).await else { continue };
        anchors.extend(Some(found.transaction).filter(|tx| Anchor::find(tx).is_ok()));
    }
    anchors
}

/// The node forgets its mempool: the anchor comes back, and confirms. Then the hub is killed; everything goes on.
async fn bitcoind_and_the_hub(story: &mut Story, anchor: &Transaction) {
    let tip = story.network().node.rpc().tip().await.unwrap();
    story.network_mut().node.kill_and_start().await.unwrap();
    assert_eq!(story.network().node.rpc().tip().await.unwrap(), tip);
    until("the anchor is back", async || !anchors(story).await.is_empty()).await;
    let back = anchors(story).await;
    assert!(back.len() == 1 && back[0].input[0].previous_output == anchor.input[0].previous_output);
    let (_, payload) = Anchor::find(anchor).unwrap();
    story.one_block().await.unwrap();
    let network = story.network_mut();
    let there = |status: &serde_json::Value| status["anchored_epoch"].as_u64() >= Some(payload.epoch.0);
    network.until("the anchor confirms", there).await.unwrap();
    goes_on(story).await;
    story.network_mut().kill("hub/hub").await.unwrap();
    story.network_mut().start_again("hub/hub").await.unwrap();
    goes_on(story).await;
}

/// The watcher is killed when it knows that a key is out and the slashing has not left it.
async fn a_slashing_that_is_due(story: &mut Story) {
    const NAME: &str = "checkpointer/watch";
    story.network_mut().kill(NAME).await.unwrap();
    let node = story.network().node.rpc_url();
    let gate = gate(story, &node).await;
    gate.hold(Hold::Before);
    story.network_mut().start_again(NAME).await.unwrap();
    story.equivocate().await.unwrap();
    let slashing = gate.held().await.compute_txid();
    let id = story.stake_id(0).to_owned();
    let stake = story.network().stake(&id).await.unwrap();
    assert_eq!(stake["slashing_txids"][0], slashing.to_string());
    story.network_mut().kill(NAME).await.unwrap();
    assert!(story.network().node.rpc().mempool_entry(slashing).await.unwrap().is_none());
    gate.open();
    story.network_mut().start_again(NAME).await.unwrap();
    let rpc = story.network().node.rpc();
    until("the slashing", async || rpc.mempool_entry(slashing).await.unwrap().is_some()).await;
    story.one_block().await.unwrap();
    story.network_mut().until_state(&id, "SLASHED").await.unwrap();
}
