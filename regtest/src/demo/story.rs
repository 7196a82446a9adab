//! The story, step by step. Each step fails if it did not happen on Bitcoin.

use crate::demo::network::Network;
use crate::demo::report::{self, Report};
use crate::demo::tell::Tell;
use serde_json::json;
use std::path::{Path, PathBuf};

/// Tells the whole story in a directory and gives the path of the report.
pub async fn tell_all(dir: &Path) -> anyhow::Result<PathBuf> {
    let tell = Tell::default();
    let report = Report::default();
    tell.chapter("A network on a real bitcoind");
    let network = Network::start(dir, &tell).await?;
    let path = dir.join("report.json");
    let sections = read_back(&network).await?;
    report::write(&path, &report.finish(network.node.rpc(), sections).await?)?;
    network.stop().await?;
    tell.table();
    Ok(path)
}

/// What daemons and node say at the end.
async fn read_back(network: &Network) -> anyhow::Result<serde_json::Value> {
    let tip = network.node.rpc().tip().await?;
    Ok(json!({
        "schema": 1,
        "ok": true,
        "node": { "tip": { "height": tip.height, "hash": tip.hash } },
        "hub": network.view("status").await?,
        "chains": network.view("chains").await?,
        "params": network.view("params").await?,
        "fps": network.view("providers").await?,
        "stakes": network.view("stakes").await?,
    }))
}
