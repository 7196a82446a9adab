//! The shipped binary, with a user's flags.

use crate::party::{Party, settle};
use crate::watch::{leak, party_with_stakes};
use bitcoin::{Address, Amount};
use palisade_hub::daemon::private_file;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::message::Message;
use palisade_regtest::process::{Daemon, json_tool, tool, wait_for};
use palisade_regtest::{Node, in_time};
use palisade_world::{World, provider_key};
use serde_json::Value;
use std::path::Path;

/// A configuration in `dir` for everything of a party but the node, with free ports, and what was said when it was made.
pub async fn init(party: &Party, dir: &Path, node: &Node) -> (String, Value) {
    std::fs::create_dir(dir).unwrap();
    let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let genesis = serde_json::to_string(party.world.ledger.genesis().document()).unwrap();
    std::fs::write(at("genesis.json"), genesis).unwrap();
    private_file::create(Path::new(&at("password")), b"correct horse").unwrap();
    let cookie = node.cookie_path();
    let args = [
        ["--dir", dir.to_str().unwrap()],
        ["--genesis", &at("genesis.json")],
        ["--hub", party.hub.client.url().as_str()],
        ["--bitcoin", &node.rpc_url()],
        ["--cookie", cookie.to_str().unwrap()],
        ["--password-file", &at("password")],
    ];
    let args: Vec<&str> = ["--json", "init"].into_iter().chain(args.into_iter().flatten()).collect();
    let made = json_tool(PROGRAM, &args).await.unwrap();
    assert_eq!(made["hub"], party.world.ledger.genesis().id().to_string());
    let config = at("checkpointer.toml");
    assert_eq!(made["config"], config);
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace(":8210", ":0").replace(":8211", ":0").replace(":8212", ":0");
    std::fs::write(&config, text.replace("poll_interval_ms = 1000", "poll_interval_ms = 50")).unwrap();
    (config, made)
}

/// Sends coins to an address that `init` printed.
async fn fund(party: &Party, made: &Value, name: &str, sat: u64) {
    let address: Address<_> = made[name].as_str().unwrap().parse().unwrap();
    party.node.fund(&address.assume_checked(), Amount::from_sat(sat)).await.unwrap();
}

/// What a process answers at `/health`.
async fn said(address: &str) -> Value {
    reqwest::get(format!("http://{address}/health")).await.unwrap().json().await.unwrap()
}

/// Waits until that has these words.
async fn until_said(address: &str, wanted: &str) {
    until(address, wanted, |said| said.contains(wanted)).await;
}

async fn until(address: &str, what: &str, holds: impl Fn(&str) -> bool) {
    let told = async { while !holds(&said(address).await["reasons"].to_string()) {} };
    in_time(what, told).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_behind_is_said_to_be_until_it_is_not() {
    let (party, mut reporter) = Party::new().await;
    let late = Node::temporary().await.unwrap();
    let dir = party.folder.path().join("behind");
    let (config, made) = init(&party, &dir, &late).await;
    fund(&party, &made, "address", 100_000).await;
    party.node.mine(4).await.unwrap();
    settle(&mut reporter).await;
    drop(reporter);
    // The same chain, a few blocks short: whoever asks it finds nothing to do.
    let tip = party.node.rpc().tip().await.unwrap().height;
    let hand = async |heights: std::ops::RangeInclusive<u32>| {
        for height in heights {
            let hash = party.node.rpc().block_hash(height).await.unwrap().unwrap();
            let block = party.node.rpc().block(hash).await.unwrap().unwrap();
            late.rpc().submit_block(&block).await.unwrap();
        }
    };
    hand(1..=tip - 3).await;
    let mut daemons = Vec::new();
    for name in ["report", "watch", "anchor"] {
        let log = dir.join(format!("{name}.log"));
        let mut daemon = Daemon::start(PROGRAM, &[name, "--config", &config], &log).unwrap();
        let address = daemon.address(&dir.join(format!("{name}.address"))).await.unwrap();
        daemons.push((daemon, address));
    }
    let all_say = async |wanted: &str| {
        for (_, address) in &daemons {
            until_said(address, wanted).await;
        }
    };
    let (height, behind) = (tip - 3, "bitcoind: the Bitcoin node is behind the hub");
    all_say(&format!("{behind}: it is at height {height}, and the hub's log knows Bitcoin up to {tip}"))
        .await;
    hand(tip - 2..=tip).await;
    all_say("[]").await;
    for (daemon, _) in daemons {
        daemon.stop().await.unwrap();
    }
}

pub const PROGRAM: &str = "palisade-checkpointer";

#[tokio::test(flavor = "multi_thread")]
async fn report_watch_and_anchor_run_side_by_side_and_stop_when_asked() {
    let (party, reporter, _) = party_with_stakes().await;
    drop(reporter);
    let dir = party.folder.path().join("shipped here");
    let (config, _) = init(&party, &dir, &party.node).await;
    let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let (dir_text, cookie) = (dir.to_str().unwrap(), party.node.cookie_path());
    let args =
        ["init", "--dir", dir_text, "--genesis", &at("genesis.json"), "--cookie", cookie.to_str().unwrap()];
    let again = tool(PROGRAM, &args).await.unwrap_err().to_string();
    assert!(again.contains("exists"), "{again}");
    std::fs::write(at("evidence.hex"), hex::encode(Message::Evidence(leak()).to_bytes())).unwrap();

    let mut report =
        Daemon::start(PROGRAM, &["report", "--config", &config], &dir.join("report.log")).unwrap();
    let evidence = at("evidence.hex");
    let args = ["watch", "--config", &config, "--evidence", &evidence];
    let mut watch = Daemon::start(PROGRAM, &args, &dir.join("watch.log")).unwrap();
    let mut anchor =
        Daemon::start(PROGRAM, &["anchor", "--config", &config], &dir.join("anchor.log")).unwrap();
    let mut addresses = vec![report.address(&dir.join("report.address")).await.unwrap()];
    addresses.push(watch.address(&dir.join("watch.address")).await.unwrap());
    addresses.push(anchor.address(&dir.join("anchor.address")).await.unwrap());
    addresses.dedup();
    assert_eq!(addresses.len(), 3);

    let hub = &party.hub.hub;
    let exposed = || hub.ledger().providers().get(&provider_key("anna")).unwrap().exposed_at.is_some();
    wait_for("the watcher told the hub", || Ok(exposed()), || watch.check()).await.unwrap();
    party.node.mine(3).await.unwrap();
    let tip = party.node.rpc().tip().await.unwrap();
    let told = || Ok(hub.ledger().bitcoin().tip().hash == tip.hash);
    wait_for("the reporter told three blocks", told, || report.check()).await.unwrap();
    for daemon in [report, watch, anchor] {
        daemon.stop().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_that_is_too_small_for_the_ceiling_is_told_before_anything_has_to_be_paid() {
    let (party, mut reporter) = Box::pin(Party::of(World::bumpable(1_000_000))).await;
    let dir = party.folder.path().join("small");
    let (config, made) = init(&party, &dir, &party.node).await;
    let log = |name: &str| dir.join(format!("{name}.log"));
    let mut daemons = Vec::new();
    for (name, address, ceiling) in [("anchor", "address", 50_000), ("watch", "watch_address", 100_000)] {
        let mut daemon = Daemon::start(PROGRAM, &[name, "--config", &config], &log(name)).unwrap();
        let served = daemon.address(&dir.join(format!("{name}.address"))).await.unwrap();
        daemons.push((daemon, served, address, ceiling));
    }
    // No coin; one that is nine tenths of the ceiling; and one more that is enough by itself.
    for part in [0, 9, 10] {
        for (_, _, address, ceiling) in daemons.iter().filter(|_| part > 0) {
            fund(&party, &made, address, ceiling * part / 10 + part).await;
        }
        party.node.mine(1).await.unwrap();
        settle(&mut reporter).await;
        for (_, served, name, ceiling) in &daemons {
            let most = Amount::from_sat(*ceiling);
            let rings =
                format!("wallet: its coins would not pay for one transaction at the ceiling of {most}");
            // The change of a slashing's child is no dust, and it spends 240 sat that are there.
            let nothing = Amount::from_sat(ceiling + if *name == "address" { 0 } else { 90 });
            let all = format!("send {nothing} to it, in one payment");
            until(served, &format!("{name} {part}"), |said| match part {
                0 | 9 => said.contains(&rings) && said.contains(&all),
                _ => said == "[]",
            })
            .await;
        }
    }
    for (daemon, ..) in daemons {
        daemon.stop().await.unwrap();
    }
}
