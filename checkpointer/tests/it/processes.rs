//! The shipped binary, with a user's flags.

use crate::party::Party;
use crate::watch::{leak, party_with_stakes};
use palisade_hub::daemon::private_file;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::message::Message;
use palisade_regtest::process::{Daemon, json_tool, tool, wait_for};
use palisade_regtest::world::provider_key;
use palisade_regtest::{Node, in_time};
use serde_json::Value;
use std::path::Path;

/// A configuration in `dir` for everything of a party but the node, with free ports.
async fn init(party: &Party, dir: &Path, node: &Node) -> String {
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
    std::fs::write(&config, text.replace("= 1000", "= 50")).unwrap();
    config
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_behind_is_said_to_be_until_it_is_not() {
    let (party, reporter) = Party::new().await;
    drop(reporter);
    // The same chain, a few blocks short: whoever asks it finds nothing to do.
    let late = Node::temporary().await.unwrap();
    let tip = party.node.rpc().tip().await.unwrap().height;
    let hand = async |heights: std::ops::RangeInclusive<u32>| {
        for height in heights {
            let hash = party.node.rpc().block_hash(height).await.unwrap().unwrap();
            let block = party.node.rpc().block(hash).await.unwrap().unwrap();
            late.rpc().submit_block(&block).await.unwrap();
        }
    };
    hand(1..=tip - 3).await;
    let dir = party.folder.path().join("behind");
    let config = init(&party, &dir, &late).await;
    let mut daemons = Vec::new();
    for name in ["report", "watch", "anchor"] {
        let log = dir.join(format!("{name}.log"));
        let mut daemon = Daemon::start(PROGRAM, &[name, "--config", &config], &log).unwrap();
        let address = daemon.address(&dir.join(format!("{name}.address"))).await.unwrap();
        daemons.push((daemon, address));
    }
    let said = async |address: &str| -> Value {
        reqwest::get(format!("http://{address}/health")).await.unwrap().json().await.unwrap()
    };
    let until = async |wanted: &str| {
        for (_, address) in &daemons {
            let told = async { while !said(address).await["reasons"].to_string().contains(wanted) {} };
            in_time(wanted, told).await;
        }
    };
    let (height, behind) = (tip - 3, "bitcoind: the Bitcoin node is behind the hub");
    until(&format!("{behind}: it is at height {height}, and the hub's log knows Bitcoin up to {tip}")).await;
    hand(tip - 2..=tip).await;
    until("[]").await;
    for (daemon, _) in daemons {
        daemon.stop().await.unwrap();
    }
}

const PROGRAM: &str = "palisade-checkpointer";

#[tokio::test(flavor = "multi_thread")]
async fn report_watch_and_anchor_run_side_by_side_and_stop_when_asked() {
    let (party, reporter, _) = party_with_stakes().await;
    drop(reporter);
    let dir = party.folder.path().join("shipped here");
    let config = init(&party, &dir, &party.node).await;
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
