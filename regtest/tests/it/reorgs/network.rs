//! Deep reorganisations and false branches under a whole network of shipped programs.

use crate::proof_files::Files;
use crate::views::until_reasons;
use bitcoin::block::Header;
use palisade_protocol::hash::Hash32;
use palisade_protocol::inclusion::InclusionProof;
use palisade_protocol::message::{Headers, Message, StakeIncluded};
use palisade_protocol::stake::StakeId;
use palisade_regtest::Node;
use palisade_regtest::demo::holders::Holder;
use palisade_regtest::demo::network::string;
use palisade_regtest::demo::story::Story;
use palisade_regtest::in_time;
use serde_json::Value;

const K: u32 = 6;

async fn until_said(story: &Story, name: &str, words: &str) {
    let address = story.network().dir.join(name).with_extension("address");
    until_reasons(&address, words, |all| all.iter().any(|reason| reason.starts_with(words))).await;
}

async fn resume(story: &Story) {
    let chains = story.network().view("chains").await.unwrap();
    let power = |chain: &Value| format!("{}=1", chain["id"].as_str().unwrap());
    let accept: Vec<String> = chains.as_array().unwrap().iter().map(power).collect();
    let mut decision = vec!["resume"];
    accept.iter().for_each(|power| decision.extend(["--accept", power]));
    story.network().govern(&decision).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_that_was_final_and_is_reorganised_away_proves_nothing_until_it_is_deep_again() {
    let dir = tempfile::tempdir().unwrap();
    let mut story = Story::until_timestamped(&dir.path().join("network")).await.unwrap();
    let depth = story.network().view("params").await.unwrap()[0]["params"]["w"].as_u64().unwrap();
    let w = u32::try_from(depth).unwrap();
    story.network_mut().mine(w).await.unwrap();
    let files = Files::fetch(&story).await;
    files.hold(&story, &[]).await.unwrap();
    let place = format!("checkpoints/{}", files.epoch);
    let before = story.network().view(&place).await.unwrap();
    assert_eq!(before["state"], "FINAL", "{before}");

    // The anchor's block goes, and with it all above.
    let tip = story.network().node.rpc().tip().await.unwrap().height;
    let lost = tip - u32::try_from(files.anchor_height).unwrap() + 1;
    assert!(lost > w);
    story.network().node.reorg(lost, lost + 1, &[]).await.unwrap();
    story.network_mut().wait_for_bitcoin().await.unwrap();
    until_said(&story, "hub/hub", &format!("breaker: Bitcoin lost {lost} blocks")).await;
    let gone = |view: &Value| view["state"] == "SIGNED";
    story.network_mut().until_view(&place, "the hub has forgotten the anchor", gone).await.unwrap();
    let why = files.hold(&story, &[]).await.unwrap_err();
    assert!(why.contains("is not among the headers"), "{why}");

    // The anchorer sees to it that it comes again, also while the breaker is tripped.
    story.network_mut().mine(1).await.unwrap();
    let back = |view: &Value| view["state"] == "SUBMITTED";
    story.network_mut().until_view(&place, "the anchor is in a block again", back).await.unwrap();
    let why = files.hold(&story, &[]).await.unwrap_err();
    assert!(why.contains("is not among the headers"), "the block that the files name is gone: {why}");
    story.network_mut().mine(w).await.unwrap();
    let again = |view: &Value| view["state"] == "FINAL";
    story.network_mut().until_view(&place, "the anchor is final again", again).await.unwrap();
    Files::fetch(&story).await.hold(&story, &[]).await.unwrap();
    story.stop().await.unwrap();
}

/// A branch of an attacker's, on the tip of the honest chain, that holds a stake which is nowhere else.
async fn private_branch(story: &Story, stake: &bitcoin::Transaction) -> (Vec<Header>, InclusionProof) {
    let (honest, own) = (&story.network().node, Node::temporary().await.unwrap());
    let tip = honest.rpc().tip().await.unwrap().height;
    for height in 1..=tip {
        let hash = honest.rpc().block_hash(height).await.unwrap().unwrap();
        let block = honest.rpc().block(hash).await.unwrap().unwrap();
        own.rpc().submit_block(&block).await.unwrap();
    }
    let first = own.mine_block_with(std::slice::from_ref(stake)).await.unwrap();
    own.mine(K + 3).await.unwrap();
    let block = own.rpc().block(first).await.unwrap().unwrap();
    let headers = own.rpc().headers(tip + 1, 100).await.unwrap();
    assert_eq!(headers.len() as u32, K + 4);
    (headers, InclusionProof::from_block(&block, 1).unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_branch_that_a_hub_is_fed_first_after_an_outage_makes_nothing_final_and_gives_no_power_for_good()
 {
    let dir = tempfile::tempdir().unwrap();
    let mut story = Story::until_final(&dir.path().join("network")).await.unwrap();
    let network = story.network_mut();
    let (mallory, _) = Holder::new(network, "mallory", bitcoin::Amount::from_sat(200_000)).await.unwrap();
    network.mine(1).await.unwrap();
    let provider = story.operators()[0].zero.clone();
    let network = story.network_mut();
    let honest_power = network.view("providers").await.unwrap();
    let stake = ["stake", "--yes", "--no-wait", "--amount", "100000 sat", "--provider", &provider];
    let locked = mallory.run(&[&stake[..], &["--lock", "2000 blocks"]].concat()).await.unwrap();
    let id = string(&locked, "id").unwrap();
    network.until_state(&id, "VERIFIED").await.unwrap();
    mallory.run(&["stake", "--yes", "--resume", &id]).await.unwrap();
    let txid = string(&locked, "outpoint").unwrap()[..64].parse().unwrap();
    let tx = network.node.rpc().raw_transaction(txid).await.unwrap().unwrap().transaction;
    let (headers, proof) = private_branch(&story, &tx).await;

    // An outage of hub and reporter. Bitcoin goes on without that stake.
    let network = story.network_mut();
    network.kill("checkpointer/report").await.unwrap();
    network.kill("hub/hub").await.unwrap();
    for _ in 0..40 {
        network.node.mine_block_with(&[]).await.unwrap();
    }
    network.start_again("hub/hub").await.unwrap();
    let fed = network.hub.submit(&Message::Headers(Headers { headers })).await.unwrap().height;
    let stake = StakeId(id.parse::<Hash32>().unwrap());
    network.hub.submit(&Message::Included(StakeIncluded { stake, proof })).await.unwrap();
    network.until_state(&id, "ACTIVE").await.unwrap();

    // The hub believes it, and so did nobody else: voters judge by their own nodes.
    let operators: Vec<String> = story.operators().iter().map(|own| own.name.clone()).collect();
    for name in &operators {
        until_said(&story, &format!("operator-{name}/voter"), "judge: the hub's Bitcoin has block").await;
    }
    // Of the heights since then several would be final, as they are on every other day.
    let network = story.network();
    let more =
        async { while network.view("status").await.unwrap()["height"].as_u64() <= Some(fed.0 + 30) {} };
    in_time("30 more blocks", more).await;
    let zero = network.view("chains").await.unwrap()[0]["final_height"].as_u64().unwrap();
    assert!(zero < fed.0, "{zero} is final, the false branch was told in {fed}");

    story.network_mut().start_again("checkpointer/report").await.unwrap();
    story.network_mut().wait_for_bitcoin().await.unwrap();
    until_said(&story, "hub/hub", &format!("breaker: Bitcoin lost {} blocks", K + 4)).await;
    story.network_mut().until_state(&id, "VERIFIED").await.unwrap();
    let power = story.network().view("providers").await.unwrap();
    let sats = |view: &Value| -> Vec<Value> {
        view["providers"].as_array().unwrap().iter().map(|provider| provider["sat"].clone()).collect()
    };
    assert_eq!(sats(&power), sats(&honest_power));
    resume(&story).await;
    let began = story.final_now().await.unwrap();
    story.further(&began, 2).await.unwrap();
    story.stop().await.unwrap();
}
