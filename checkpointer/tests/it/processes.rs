//! The shipped binary, with a user's flags.

use crate::watch::{leak, party_with_stakes};
use palisade_hub::daemon::private_file;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::message::Message;
use palisade_regtest::process::{Daemon, json_tool, tool, wait_for};
use palisade_regtest::world::provider_key;
use std::path::Path;

const PROGRAM: &str = "palisade-checkpointer";

#[tokio::test(flavor = "multi_thread")]
async fn report_watch_and_anchor_run_side_by_side_and_stop_when_asked() {
    let (party, reporter, _) = party_with_stakes().await;
    drop(reporter);
    let dir = party.folder.path().join("shipped here");
    std::fs::create_dir(&dir).unwrap();
    let at = |name: &str| dir.join(name).to_str().unwrap().to_owned();
    let genesis = party.world.ledger.genesis();
    std::fs::write(at("genesis.json"), serde_json::to_string(genesis.document()).unwrap()).unwrap();
    private_file::create(Path::new(&at("password")), b"correct horse").unwrap();
    let (dir_text, cookie) = (dir.to_str().unwrap(), party.node.cookie_path());
    let args = [
        ["--dir", dir_text],
        ["--genesis", &at("genesis.json")],
        ["--hub", party.hub.client.url().as_str()],
        ["--bitcoin", &party.node.rpc_url()],
        ["--cookie", cookie.to_str().unwrap()],
        ["--password-file", &at("password")],
    ];
    let args: Vec<&str> = ["--json", "init"].into_iter().chain(args.into_iter().flatten()).collect();
    let made = json_tool(PROGRAM, &args).await.unwrap();
    assert_eq!(made["hub"], genesis.id().to_string());
    let config = at("checkpointer.toml");
    assert_eq!(made["config"], config);
    let again = tool(PROGRAM, &args).await.unwrap_err().to_string();
    assert!(again.contains("exists"), "{again}");
    let text = std::fs::read_to_string(&config).unwrap();
    let text = text.replace(":8210", ":0").replace(":8211", ":0").replace(":8212", ":0");
    let text = text.replace("= 1000", "= 50");
    std::fs::write(&config, text).unwrap();
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
