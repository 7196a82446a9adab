//! What reorganisations of Bitcoin changed: the transactions that left, as the node tells the two branches, and the power and
//! the breaker, as the replayed log has them at the hub's blocks before and after.

use super::{Reorg, log::Log};
use ::bitcoin::{BlockHash, Txid};
use anyhow::{Context as _, ensure};
use palisade_hub::bitcoind::BitcoinRpc;
use palisade_protocol::units::Height;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};

/// The section of the report.
pub async fn reorgs(rpc: &BitcoinRpc, log: &Log, told: &[Reorg]) -> anyhow::Result<Vec<Value>> {
    let moments = moments(log, told)?;
    let mut entries = Vec::new();
    for reorg in told {
        let old = branch(rpc, reorg.old_tip, reorg.fork_height).await?;
        let new = branch(rpc, reorg.new_tip, reorg.fork_height).await?;
        ensure!(rpc.height_of(reorg.old_tip).await?.is_none(), "block {} was not lost", reorg.old_tip);
        ensure!(rpc.height_of(reorg.new_tip).await?.is_some(), "block {} was lost", reorg.new_tip);
        let [before, after] = reorg.moments.map(|height| &moments[&height]);
        let power = [before, after].into_iter().flat_map(|moment| moment.power(reorg));
        entries.push(json!({
            "fork_height": reorg.fork_height,
            "old_tip": reorg.old_tip,
            "new_tip": reorg.new_tip,
            "removed": old.into_iter().filter(|txid| !new.contains(txid)).collect::<Vec<_>>(),
            "breaker": !before.tripped && after.tripped,
            "power": power.collect::<anyhow::Result<Vec<_>>>()?,
        }));
    }
    Ok(entries)
}

/// The transactions of a branch above the block at a height of the best chain, lowest block first, coinbases left out.
async fn branch(rpc: &BitcoinRpc, tip: BlockHash, fork_height: u32) -> anyhow::Result<Vec<Txid>> {
    let (mut hash, mut blocks) = (tip, Vec::new());
    let fork = rpc.block_hash(fork_height).await?.context("the last common block")?;
    while hash != fork {
        let block = rpc.block(hash).await?.with_context(|| format!("no block {hash}"))?;
        blocks.push(block.txdata.iter().skip(1).map(|tx| tx.compute_txid()).collect::<Vec<_>>());
        hash = block.header.prev_blockhash;
    }
    Ok(blocks.into_iter().rev().flatten().collect())
}

/// The state after a hub block, as far as a reorganisation can change it.
struct Moment {
    height: Height,
    btc_height: u32,
    tripped: bool,
    power: BTreeMap<String, u64>,
}

impl Moment {
    fn power(&self, reorg: &Reorg) -> impl Iterator<Item = anyhow::Result<Value>> {
        reorg.keys.iter().map(|key| {
            let sat = self.power.get(key).with_context(|| format!("{key} is not registered"))?;
            Ok(json!({ "btc_height": self.btc_height, "hub_height": self.height, "key": key, "sat": sat }))
        })
    }
}

fn moments(log: &Log, told: &[Reorg]) -> anyhow::Result<BTreeMap<Height, Moment>> {
    let wanted: BTreeSet<Height> = told.iter().flat_map(|reorg| reorg.moments).collect();
    let mut moments = BTreeMap::new();
    log.states(&wanted, |header, ledger| {
        let power = ledger.providers().iter().map(|own| (own.key.to_string(), own.power.to_sat()));
        let moment = Moment {
            height: header.height,
            btc_height: header.btc_height.0,
            tripped: ledger.breaker().is_some(),
            power: power.collect(),
        };
        moments.insert(header.height, moment);
    })?;
    ensure!(moments.len() == wanted.len(), "the log ends before a reorganisation was over");
    Ok(moments)
}
