//! What people do when something is lost, with shipped programs on a running network (docs/operations).

use crate::proof_files::Files;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::proof::TrustRoot;
use palisade_regtest::demo::network::{EPOCH, edit, make_governor};
use palisade_regtest::demo::story::Story;
use serde_json::Value;

async fn root(story: &Story, query: &str) -> TrustRoot {
    let bytes = story.network().hub.get_bytes(&format!("root{query}")).await.unwrap();
    TrustRoot::from_bytes(&bytes).unwrap()
}

async fn zero(story: &Story) -> Value {
    story.network().view("chains").await.unwrap()[0].clone()
}

/// Files of a proof under an anchor of the new beginning, which is deep enough.
async fn anchored_files(story: &mut Story) -> Files {
    let w = story.network().view("params").await.unwrap()[0]["params"]["w"].as_u64().unwrap();
    // The epoch that it is of begins later than now: what the new sets have made final by now is under it.
    let now = story.network().view("status").await.unwrap()["height"].as_u64().unwrap();
    while story.network().view("status").await.unwrap()["anchored_epoch"].as_u64() <= Some(now / EPOCH) {
        story.one_block().await.unwrap();
    }
    story.network_mut().mine(u32::try_from(w).unwrap()).await.unwrap();
    Files::fetch(story).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_chain_zero_is_recovered_by_governance_once_each_provider_accepts_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut story = Story::until_final(&dir.path().join("network")).await.unwrap();
    let old = root(&story, "").await;
    assert_eq!(old.incarnation, 0);
    let why = story.network().govern(&["recover"]).await.unwrap_err().to_string();
    assert!(why.contains("needs no new trust root"), "{why}");

    // All voters are away for longer than a set lives.
    for operator in story.operators_mut() {
        operator.stop().await.unwrap();
    }
    story.network_mut().mine(101).await.unwrap();
    let last = zero(&story).await["final_height"].clone();
    for operator in story.operators_mut() {
        operator.start().await.unwrap();
    }
    story.network().govern(&["recover"]).await.unwrap();
    let now = zero(&story).await;
    assert_eq!(
        (&now["incarnation"], &now["final_height"], &now["newest_set"]),
        (&1.into(), &last, &Value::Null)
    );
    // A second one would be another incarnation of a chain that is not lost.
    assert!(story.network().govern(&["recover"]).await.is_err());
    let began = story.final_now().await.unwrap();

    // Nobody votes for it until its operator has said so.
    for operator in story.operators_mut() {
        operator.stop().await.unwrap();
        let config = operator.dir().join("signer.toml");
        edit(&config, &[("\nzero_key_file", "\nzero_incarnation = 1\nzero_key_file")]).unwrap();
        operator.start().await.unwrap();
    }
    story.further(&began, 2).await.unwrap();
    let new = root(&story, "").await;
    assert_eq!((new.incarnation, new.hub), (1, old.hub));
    assert_ne!(new.set, old.set);
    assert_eq!(root(&story, "?incarnation=0").await, old);

    // Verifiers take the new beginning when they are told to, and not before.
    let files = anchored_files(&mut story).await;
    let why = files.hold(&story, &[]).await.unwrap_err();
    assert!(why.contains("accept it with --accept-incarnation 1"), "{why}");
    files.hold(&story, &["--accept-incarnation", "1"]).await.unwrap();
    story.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn governance_hands_over_to_other_keys_and_the_old_ones_decide_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let story = Story::begin_network(&dir.path().join("network")).await.unwrap();
    let network = story.network();
    let mut rotate = vec!["rotate-keys".to_owned()];
    for member in 3..6 {
        rotate.extend(["--governance".to_owned(), make_governor(&network.dir, member).await.unwrap()]);
    }
    let rotate: Vec<&str> = rotate.iter().map(String::as_str).collect();
    let register = |id| {
        let block = "0707070707070707070707070707070707070707070707070707070707070707";
        let terms = ["--epoch-length", "50", "--voted-every", "5", "--minimum-power", "1000"];
        [&["register-chain", "--id", id, "--genesis-block", block][..], &terms].concat()
    };
    let why = network.govern_by(&[0, 1], &rotate).await.unwrap_err().to_string();
    assert!(why.contains("2 signatures are missing"), "those who are to govern sign too: {why}");
    network.govern_by(&[0, 1], &register("before")).await.unwrap();
    network.govern_by(&[0, 1, 3, 5], &rotate).await.unwrap();
    let why = network.govern_by(&[0, 1], &register("after")).await.unwrap_err().to_string();
    assert!(why.contains("none of this hub's governance"), "{why}");
    network.govern_by(&[4, 5], &register("after")).await.unwrap();
    let chains = network.view("chains").await.unwrap();
    let names: Vec<&str> =
        chains.as_array().unwrap().iter().filter_map(|chain| chain["id"].as_str()).collect();
    assert!(names.contains(&"before") && names.contains(&"after"), "{names:?}");
    story.stop().await.unwrap();
}
