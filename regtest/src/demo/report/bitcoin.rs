//! What the node says: itself, and where each transaction of the story stands.

use super::{Stale, Told};
use crate::node::Node;
use anyhow::{Context as _, ensure};
use palisade_hub::bitcoind::BitcoinRpc;
use serde_json::{Value, json};
use std::ffi::OsString;

/// The node, how to start it and how to ask it.
pub async fn node(node: &Node) -> anyhow::Result<Value> {
    let tip = node.rpc().tip().await?;
    let network: Value = node.rpc().call("getnetworkinfo", json!([])).await?;
    let argv = |args: Vec<OsString>| -> Vec<String> {
        args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect()
    };
    Ok(json!({
        "datadir": node.datadir(),
        "start": argv(node.start_args()),
        "cli": argv(node.cli_args()),
        "version": network["subversion"].as_str().context("the node's version")?,
        "tip": { "height": tip.height, "hash": tip.hash },
    }))
}

/// Every transaction of the story: first where it stood in blocks that Bitcoin has left, then where it stands now.
pub async fn transactions(rpc: &BitcoinRpc, txs: &[Told], stale: &[Stale]) -> anyhow::Result<Vec<Value>> {
    let mut entries = Vec::new();
    for told in txs {
        let before = entries.len();
        for lost in stale.iter().filter(|lost| lost.txid == told.txid) {
            check_stale(rpc, lost).await?;
            let (block, height) = (lost.block, lost.height);
            entries.push(entry(told, json!({ "block": block, "height": height, "stale": true })));
        }
        match rpc.raw_transaction(told.txid).await? {
            Some(found) => {
                let mut place = json!({ "stale": false });
                if let Some(block) = found.mined_in {
                    place["block"] = json!(block);
                    place["height"] =
                        json!(rpc.height_of(block).await?.context("the block is on the best chain")?);
                }
                entries.push(entry(told, place));
            }
            // Bitcoin has left its only block, and it could not come back.
            None => {
                let known = entries.len() > before;
                ensure!(known, "{} ({}) is neither on Bitcoin nor in the mempool", told.txid, told.kind);
            }
        }
    }
    Ok(entries)
}

fn entry(told: &Told, mut place: Value) -> Value {
    place["txid"] = json!(told.txid);
    place["kind"] = json!(told.kind);
    if let Some(stake) = &told.stake {
        place["stake"] = json!(stake);
    }
    if let Some(leaf) = told.leaf {
        place["leaf"] = json!(leaf);
    }
    place
}

/// The node still has the block, off its best chain, with the transaction in it.
async fn check_stale(rpc: &BitcoinRpc, lost: &Stale) -> anyhow::Result<()> {
    ensure!(rpc.height_of(lost.block).await?.is_none(), "block {} is not stale", lost.block);
    let block = rpc.block(lost.block).await?.with_context(|| format!("no block {}", lost.block))?;
    let holds = block.txdata.iter().any(|tx| tx.compute_txid() == lost.txid);
    ensure!(holds, "block {} does not hold {}", lost.block, lost.txid);
    Ok(())
}
