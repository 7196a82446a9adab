//! The committee changes while a stake waits for it, with shipped programs: each stake belongs to the members that its own
//! parameters name, and what they signed outlives their keys (docs/operations/keys.md).

use crate::views::{mine, until, until_says};
use bitcoin::Amount;
use palisade_hub::daemon::private_file;
use palisade_regtest::demo::holders::Holder;
use palisade_regtest::demo::network::{COVENANT, Network, make_member, string, text};
use palisade_regtest::demo::operators::Operator;
use palisade_regtest::demo::tell::Tell;
use palisade_regtest::process::json_tool;
use serde_json::json;
use std::ops::Range;
use std::path::PathBuf;

/// The first members, and those of the second version.
const OLD: Range<usize> = 0..COVENANT.0;
const NEW: Range<usize> = COVENANT.0..COVENANT.0 + 3;
/// Members of the first committee that are away at first; without them there is no quorum.
const AWAY: Range<usize> = 2..COVENANT.0;

fn place(member: usize) -> String {
    format!("covenant-{member}/covenant")
}

fn address(network: &Network, member: usize) -> PathBuf {
    dir(network, member).join("covenant.address")
}

fn dir(network: &Network, member: usize) -> PathBuf {
    network.dir.join(format!("covenant-{member}"))
}

/// The stakes in a member's audit log, all of which it has signed.
async fn signed(network: &Network, member: usize) -> Vec<String> {
    let config = text(&dir(network, member).join("covenant.toml"));
    let entries = json_tool("palisade-covenant", &["--json", "audit", "--config", &config]).await.unwrap();
    let entries = entries.as_array().unwrap().iter();
    entries
        .map(|entry| {
            assert_eq!(entry["act"], "signed", "{entry}");
            string(entry, "stake").unwrap()
        })
        .collect()
}

/// Two of three new members take over in two blocks.
async fn decide_on_another_committee(network: &mut Network) {
    let mut params = network.view("params").await.unwrap()[0]["params"].clone();
    let mut keys = Vec::new();
    for member in NEW {
        keys.push(make_member(&network.dir, &network.hub_url, member).await.unwrap());
        network.run_member(member).await.unwrap();
    }
    let tip = network.node.rpc().tip().await.unwrap().height;
    (params["covenant"], params["quorum"], params["from_height"]) = (json!(keys), json!(2), json!(tip + 2));
    let file = network.dir.join("params.json");
    private_file::create(&file, params.to_string().as_bytes()).unwrap();
    network.govern(&["set-params", "--params", &text(&file)]).await.unwrap();
}

async fn stake(holder: &Holder, provider: &str, more: &[&str]) -> String {
    let order = ["stake", "--yes", "--amount", "500000 sat", "--lock", "300 blocks", "--provider", provider];
    string(&holder.run(&[&order[..], more].concat()).await.unwrap(), "id").unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stake_that_waits_while_the_committee_changes_is_finished_by_the_old_one_and_leaves_by_its_signatures()
 {
    let directory = tempfile::tempdir().unwrap();
    let mut network = Network::start(&directory.path().join("network"), &Tell::default()).await.unwrap();
    let chain = network.start_chain(1_000_000_000).await.unwrap();
    let (mut operator, _) = Operator::new(&network, "anna", &chain).await.unwrap();
    let coins = Amount::from_sat(10_000_000);
    let (alice, _) = Holder::new(&network, "alice", coins).await.unwrap();
    let (bob, _) = Holder::new(&network, "bob", coins).await.unwrap();
    network.mine(1).await.unwrap();
    operator.start().await.unwrap();
    operator.register(&chain).await.unwrap();

    // Two members have signed and three are away when the other committee comes into force.
    for member in AWAY {
        network.kill(&place(member)).await.unwrap();
    }
    let old = stake(&alice, &operator.zero, &["--no-wait"]).await;
    let old_view = format!("stakes/{old}");
    until(&network, &old_view, |stake| stake["signatures"] == 2).await;
    decide_on_another_committee(&mut network).await;
    until_says(&address(&network, NEW.start), "health", "no committee with the key").await;
    mine(&network, 2).await;
    until_says(&address(&network, NEW.start), "health", "\"ok\"").await;
    let view = network.view(&old_view).await.unwrap();
    assert_eq!((&view["state"], &view["params"]), (&json!("PENDING"), &json!(0)));

    // A new stake is the new members' alone, and the old one is no business of theirs.
    let new = stake(&bob, &operator.zero, &[]).await;
    until(&network, &format!("stakes/{new}"), |stake| stake["signatures"] == NEW.len()).await;
    let view = network.view(&format!("stakes/{new}")).await.unwrap();
    assert_eq!(
        (&view["params"], &view["quorum"], &view["state"]),
        (&json!(1), &json!(2), &json!("VERIFIED"))
    );
    assert_eq!(network.view(&old_view).await.unwrap()["signatures"], 2);

    // Those who were away come back, and finish what they were asked for before.
    for member in AWAY {
        network.start_again(&place(member)).await.unwrap();
    }
    until(&network, &old_view, |stake| stake["signatures"] == OLD.len()).await;
    let resumed = alice.run(&["stake", "--yes", "--resume", &old]).await.unwrap();
    assert_eq!(string(&resumed, "id").unwrap(), old);
    network.mine(7).await.unwrap();
    for id in [&old, &new] {
        network.until_state(id, "ACTIVE").await.unwrap();
    }
    for (members, id) in [(OLD, &old), (NEW, &new)] {
        for member in members {
            assert_eq!(signed(&network, member).await, [id.as_str()], "member {member}");
        }
    }

    let refused = alice.fails(&["extend", "--yes", "--add", "20000 sat", &old]).await.unwrap();
    assert!(refused.contains("committee"), "{refused}");

    // Once the page says so, the keys of the old members are destroyed; what they signed is enough to leave.
    for member in OLD {
        until_says(&address(&network, member), "metrics", "palisade_waiting_stakes 0").await;
        network.kill(&place(member)).await.unwrap();
        std::fs::remove_dir_all(dir(&network, member)).unwrap();
    }
    alice.run(&["unbond", "--yes", &old]).await.unwrap();
    mine(&network, 1).await;
    until(&network, &old_view, |stake| stake["state"] == "UNBONDING").await;
    operator.stop().await.unwrap();
}
