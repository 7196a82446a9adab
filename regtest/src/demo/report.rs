//! The report: facts that anybody can check against the kept node and the message log. Everything in it was read back from
//! bitcoind or from a daemon's API, never from the demo's own memory.

mod entries;

pub use entries::{Anchor, Files, PowerAt, Reorg, Timestamp};

use anyhow::{Context as _, ensure};
use bitcoin::{BlockHash, Transaction, Txid};
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
    stale: Vec<(Txid, BlockHash, u32)>,
    reorgs: Vec<Reorg>,
    anchors: Vec<Anchor>,
    timestamps: Vec<Timestamp>,
    files: Option<Files>,
    finality: Vec<(String, u64)>,
    steps: Vec<Value>,
    refused: Vec<Value>,
}

impl Report {
    /// Remembers which transaction to look up at the end.
    pub fn tx(&mut self, txid: Txid, kind: &'static str, stake: Option<&str>, leaf: Option<&'static str>) {
        self.txs.insert(txid, Told { kind, stake: stake.map(str::to_owned), leaf });
    }

    /// Remembers that a transaction, told by [`tx`](Self::tx) too, stands in a block that Bitcoin has left.
    pub fn stale(&mut self, txid: Txid, block: BlockHash, height: u32) {
        self.stale.push((txid, block, height));
    }

    /// A reorganisation. Gives its place, for a step to refer to.
    pub fn reorg(&mut self, fact: Reorg) -> String {
        self.reorgs.push(fact);
        format!("reorgs/{}", self.reorgs.len() - 1)
    }

    /// An anchor. Gives its place, for a step to refer to. The certificate of its header is looked up at the end.
    pub fn anchor(&mut self, fact: Anchor) -> String {
        self.anchors.push(fact);
        format!("anchors/{}", self.anchors.len() - 1)
    }

    /// A timestamp. Gives its place, for a step to refer to.
    pub fn timestamp(&mut self, fact: Timestamp) -> String {
        self.timestamps.push(fact);
        format!("timestamps/{}", self.timestamps.len() - 1)
    }

    /// What is needed to verify a block of the development chain, offline.
    pub fn files(&mut self, files: Files) {
        self.files = Some(files);
    }

    /// A final block of a chain, whose certificate is looked up at the end. Gives its place, for a step to refer to.
    pub fn finality(&mut self, chain: &str, height: u64) -> String {
        self.finality.push((chain.to_owned(), height));
        format!("finality/{}", self.finality.len() - 1)
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
