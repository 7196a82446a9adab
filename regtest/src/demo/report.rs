//! The report: facts that anybody can check against the kept node and the log of messages. The storyteller says which
//! transactions, blocks and refusals belong to the story; everything about them is read back from bitcoind, from the hub's
//! API or from a daemon's files when the story is over, never from the demo's own memory.

mod bitcoin;
mod entries;
mod equivocations;
mod finality;
mod finish;
mod hub;
pub mod log;
mod reorgs;
mod rules;

pub use entries::{Anchor, Files, Reorg, Timestamp};
pub use finish::{Sources, add_step, has_uncommitted_changes, proven, write};

use ::bitcoin::{BlockHash, Transaction, Txid};
use anyhow::{Context as _, ensure};
use serde::Serialize;
use serde_json::Value;
use std::path::Path;

/// Replays the log of a report from the genesis document on, and compares the end with the last header in the report. Run by
/// another build than the demo's it shows that both builds compute the same roots. Says what was found.
pub fn replay(report: &Path) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(report).with_context(|| report.display().to_string())?;
    let hub = serde_json::from_str::<Value>(&text)?["hub"].take();
    let dir = report.parent().context("a directory")?;
    let file = |name: &str| anyhow::Ok(dir.join(hub[name].as_str().with_context(|| format!("hub.{name}"))?));
    let tip = log::Log::replay(&file("genesis")?, &file("log")?)?;
    for (name, own) in [("hash", tip.hash()), ("state_root", tip.state_root)] {
        let told = hub["header"][name].as_str();
        ensure!(told == Some(&own.to_string()), "the last {name} is {own}, the report says {told:?}");
    }
    let build = if cfg!(debug_assertions) { "dev" } else { "release" };
    let (blocks, root) = (tip.height.0 + 1, tip.state_root);
    Ok(format!("the {build} build reproduces the roots of all {blocks} blocks; the last is {root}"))
}

/// What a transaction is in the story.
#[derive(Debug, Clone)]
struct Told {
    txid: Txid,
    kind: &'static str,
    stake: Option<String>,
    leaf: Option<&'static str>,
}

/// A transaction in a block that Bitcoin has left.
#[derive(Debug, Clone, Copy)]
struct Stale {
    txid: Txid,
    block: BlockHash,
    height: u32,
}

/// A transaction that the node refused.
#[derive(Debug, Clone, Serialize)]
struct Refused {
    tx: String,
    leaf: String,
    at_height: u32,
    reason: String,
}

/// A step of the story.
#[derive(Debug, Clone)]
struct Step {
    number: String,
    claim: String,
    txs: Vec<Txid>,
    refs: Vec<String>,
    btc: (u32, u32),
    ms: u128,
}

/// The report as it grows.
#[derive(Debug, Default)]
pub struct Report {
    txs: Vec<Told>,
    stale: Vec<Stale>,
    finality: Vec<(String, u64)>,
    /// Places of final blocks, each with a key that could not vote for it.
    absent: Vec<(usize, String)>,
    anchors: Vec<Anchor>,
    timestamps: Vec<Timestamp>,
    reorgs: Vec<Reorg>,
    refused: Vec<Refused>,
    files: Option<Files>,
    steps: Vec<Step>,
}

impl Report {
    /// Remembers which transaction to look up at the end: its kind (fund, stake, unbond, slash, withdraw, expand or
    /// anchor), the stake that it belongs to, and the leaf that it spends by. Told twice, the later words count.
    pub fn tx(&mut self, txid: Txid, kind: &'static str, stake: Option<&str>, leaf: Option<&'static str>) {
        let told = Told { txid, kind, stake: stake.map(str::to_owned), leaf };
        match self.txs.iter_mut().find(|known| known.txid == txid) {
            Some(known) => *known = told,
            None => self.txs.push(told),
        }
    }

    /// What a transaction is in the story.
    pub fn kind(&self, txid: Txid) -> Option<&'static str> {
        self.txs.iter().find(|told| told.txid == txid).map(|told| told.kind)
    }

    /// Remembers that a transaction stands in a block that Bitcoin has left. It gets an entry if [`tx`](Self::tx) tells it.
    pub fn stale(&mut self, txid: Txid, block: BlockHash, height: u32) {
        self.stale.push(Stale { txid, block, height });
    }

    /// A reorganisation. Gives its place, for a step to refer to.
    pub fn reorg(&mut self, fact: Reorg) -> String {
        self.reorgs.push(fact);
        format!("reorgs/{}", self.reorgs.len() - 1)
    }

    /// An anchor. Gives its place, for a step to refer to. The certificate of its header is looked up at the end.
    pub fn anchor(&mut self, fact: Anchor) -> String {
        let known = self.anchors.iter().position(|known| known.txid == fact.txid);
        let index = known.unwrap_or(self.anchors.len());
        if known.is_none() {
            self.anchors.push(fact);
        }
        format!("anchors/{index}")
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
        format!("finality/{}", self.final_block(chain, height))
    }

    /// The same of a block that became final while the holder of a key was stopped.
    pub fn finality_without(&mut self, chain: &str, height: u64, key: &str) -> String {
        let index = self.final_block(chain, height);
        self.absent.push((index, key.to_owned()));
        format!("finality/{index}")
    }

    fn final_block(&mut self, chain: &str, height: u64) -> usize {
        let block = (chain.to_owned(), height);
        self.finality.iter().position(|known| *known == block).unwrap_or_else(|| {
            self.finality.push(block);
            self.finality.len() - 1
        })
    }

    /// A step of the story. Its transactions and their stakes are referred to by themselves, its other facts by
    /// `section/index`. Blocks mined since the step before belong to it: gives its first and last height.
    pub fn step(
        &mut self,
        number: &str,
        claim: &str,
        txs: &[Txid],
        refs: &[String],
        btc: (u32, u32),
        ms: u128,
    ) -> (u32, u32) {
        let (number, claim) = (number.to_owned(), claim.to_owned());
        let btc = (self.steps.last().map_or(btc.0, |before| before.btc.1), btc.1);
        self.steps.push(Step { number, claim, txs: txs.to_vec(), refs: refs.to_vec(), btc, ms });
        btc
    }

    /// A transaction that the node refused, in its own words. Gives its place, for a step to refer to.
    pub fn refused(&mut self, tx: &Transaction, leaf: &str, at_height: u32, reason: &str) -> String {
        let tx = ::bitcoin::consensus::encode::serialize_hex(tx);
        let (leaf, reason) = (leaf.to_owned(), reason.to_owned());
        self.refused.push(Refused { tx, leaf, at_height, reason });
        format!("refused/{}", self.refused.len() - 1)
    }
}
