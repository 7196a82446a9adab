//! The report: facts that anybody can check against the kept node and the message log. Everything in it was read back from
//! bitcoind or from a daemon's API, never from the demo's own memory.

use anyhow::{Context as _, ensure};
use bitcoin::{Transaction, Txid};
use palisade_hub::bitcoind::BitcoinRpc;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;

/// What a transaction is in the story.
#[derive(Debug, Clone)]
pub struct Told {
    /// fund, stake, unbond, slash, withdraw, expand or anchor.
    pub kind: &'static str,
    /// The stake it belongs to.
    pub stake: Option<String>,
    /// The leaf it spends by.
    pub leaf: Option<&'static str>,
}

/// The report as it grows.
#[derive(Debug, Default)]
pub struct Report {
    txs: BTreeMap<Txid, Told>,
    steps: Vec<Value>,
    refused: Vec<Value>,
}

impl Report {
    /// Remembers which transaction to look up at the end.
    pub fn tx(&mut self, txid: Txid, kind: &'static str, stake: Option<&str>, leaf: Option<&'static str>) {
        self.txs.insert(txid, Told { kind, stake: stake.map(str::to_owned), leaf });
    }

    /// A step of the story.
    pub fn step(
        &mut self,
        number: &str,
        claim: &str,
        txs: &[Txid],
        refs: &[String],
        btc: (u32, u32),
        ms: u128,
    ) {
        self.steps.push(
            json!({ "n": number, "claim": claim, "txs": txs, "refs": refs, "btc": [btc.0, btc.1], "ms": ms }),
        );
    }

    /// A transaction that the node refused, in its own words. Gives its place, for a step to refer to.
    pub fn refused(&mut self, tx: &Transaction, leaf: &str, at_height: u32, reason: &str) -> String {
        let raw = bitcoin::consensus::encode::serialize_hex(tx);
        self.refused.push(json!({ "tx": raw, "leaf": leaf, "at_height": at_height, "reason": reason }));
        format!("refused/{}", self.refused.len() - 1)
    }

    /// Looks every transaction up on the node and puts the sections together with those that the caller read back.
    pub async fn finish(&self, node: &BitcoinRpc, mut sections: Value) -> anyhow::Result<Value> {
        let mut txs = Vec::new();
        for (txid, told) in &self.txs {
            let found = node.raw_transaction(*txid).await?;
            let found = found.with_context(|| format!("{txid} ({}) is not on Bitcoin", told.kind))?;
            let mut entry = json!({ "txid": txid, "kind": told.kind, "stale": false });
            if let Some(block) = found.mined_in {
                let height = node.height_of(block).await?.context("the block is on the best chain")?;
                entry["block"] = json!(block);
                entry["height"] = json!(height);
            }
            if let Some(stake) = &told.stake {
                entry["stake"] = json!(stake);
            }
            if let Some(leaf) = told.leaf {
                entry["leaf"] = json!(leaf);
            }
            txs.push(entry);
        }
        sections["txs"] = Value::Array(txs);
        sections["refused"] = Value::Array(self.refused.clone());
        sections["steps"] = Value::Array(self.steps.clone());
        Ok(sections)
    }
}

/// Writes the report, whole or not at all.
pub fn write(path: &Path, report: &Value) -> anyhow::Result<()> {
    let text = serde_json::to_string_pretty(report)?;
    ensure!(!text.is_empty(), "an empty report");
    let unfinished = path.with_extension("json.new");
    std::fs::write(&unfinished, text)?;
    Ok(std::fs::rename(&unfinished, path)?)
}
