//! Waiting for what hub and daemons show, while some of the network's processes are away.

use palisade_regtest::demo::network::Network;
use palisade_regtest::in_time;
use palisade_regtest::process::reasons;
use serde_json::Value;
use std::path::Path;
use std::time::Duration;

/// Waits until a view of the hub's is there and as wanted.
pub(crate) async fn until(network: &Network, path: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let seen = async {
        loop {
            match network.view(path).await {
                Ok(view) if holds(&view) => return view,
                _ => tokio::task::yield_now().await,
            }
        }
    };
    in_time(path, seen).await
}

/// Mines, and waits until the hub knows it.
pub(crate) async fn mine(network: &Network, count: u32) {
    network.node.mine(count).await.unwrap();
    let tip = network.node.rpc().tip().await.unwrap();
    until(network, "status", |status| status["btc_tip"] == tip.hash.to_string()).await;
}

/// What a daemon serves at a door, given the file with its address.
pub(crate) async fn serves(address: &Path, door: &str) -> String {
    let address = std::fs::read_to_string(address).unwrap();
    reqwest::get(format!("http://{}/{door}", address.trim())).await.unwrap().text().await.unwrap()
}

/// Waits until a daemon says something at a door.
pub(crate) async fn until_says(address: &Path, door: &str, what: &str) {
    let said = async { while !serves(address, door).await.contains(what) {} };
    in_time(what, said).await;
}

/// Waits until a process gives reasons that are as wanted.
pub(crate) async fn until_reasons(address: &Path, what: &str, holds: impl Fn(&[String]) -> bool) {
    let given = async {
        while !reasons(address).await.is_some_and(|reasons| holds(&reasons)) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    in_time(&format!("{}: {what}", address.display()), given).await;
}
