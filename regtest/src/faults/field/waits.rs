//! Waiting, asking and mining on a network whose parts come and go: whoever does not answer is asked again.

use super::Field;
use crate::demo::holders::Holder;
use crate::process::Failed;
use anyhow::{Context as _, bail, ensure};
use bitcoin::{Transaction, Txid};
use palisade_hub::bitcoind::BitcoinRpc;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long anything may take, all restarts included.
const PATIENCE: Duration = Duration::from_secs(120);
/// Time between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Blocks that are mined at a time.
const AT_ONCE: u32 = 20;
/// "Not now": the same command can succeed later.
const NOT_NOW: i32 = 3;

/// A wait with an end.
pub struct Waiting {
    what: String,
    since: Instant,
}

impl Waiting {
    /// Begins to wait.
    pub fn until(what: impl Into<String>) -> Self {
        Self { what: what.into(), since: Instant::now() }
    }

    /// Fails when it has lasted too long.
    pub fn check(&self, last: impl std::fmt::Debug) -> anyhow::Result<()> {
        let (what, s) = (&self.what, PATIENCE.as_secs());
        ensure!(self.since.elapsed() < PATIENCE, "waited {s} s in vain until {what}; last: {last:?}");
        Ok(())
    }
}

impl Field {
    /// The node.
    pub fn rpc(&self) -> &BitcoinRpc {
        self.story.network().node.rpc()
    }

    /// Looks after everything, and lets a moment pass.
    pub async fn pause(&mut self) -> anyhow::Result<()> {
        self.keep().await?;
        tokio::time::sleep(LOOK_AGAIN).await;
        Ok(())
    }

    /// Waits until a view of the hub's is as wanted.
    pub async fn until(
        &mut self,
        path: &str,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let waiting = Waiting::until(what);
        loop {
            self.pause().await?;
            let view = self.story.network().view(path).await;
            match view {
                Ok(view) if holds(&view) => return Ok(view),
                last => waiting.check(last)?,
            }
        }
    }

    /// Whether a stake is in a state; not, where nobody answers.
    pub async fn is_in(&self, id: &str, state: &str) -> bool {
        self.story.network().stake(id).await.is_ok_and(|stake| stake["state"] == state)
    }

    /// A command of a holder's; what is not possible now is tried again.
    pub async fn command(&mut self, holder: &Holder, args: &[&str]) -> anyhow::Result<Value> {
        let waiting = Waiting::until(format!("{} could {}", holder.name, args.join(" ")));
        loop {
            match self.attempt(holder, args).await? {
                Ok(answer) => return Ok(answer),
                Err(why) => waiting.check(why)?,
            }
            self.pause().await?;
        }
    }

    /// The same once. The inner error says why it is not possible now.
    pub async fn attempt(
        &mut self,
        holder: &Holder,
        args: &[&str],
    ) -> anyhow::Result<Result<Value, anyhow::Error>> {
        let attempt = holder.run(args);
        tokio::pin!(attempt);
        let done = loop {
            tokio::select! {
                done = &mut attempt => break done,
                () = tokio::time::sleep(LOOK_AGAIN) => {}
            }
            self.keep().await?;
        };
        match done {
            Err(why) => match why.downcast_ref::<Failed>() {
                Some(failed) if failed.status.code() == Some(NOT_NOW) => Ok(Err(why)),
                _ => Err(why),
            },
            answer => Ok(answer),
        }
    }

    /// The height of the hub's newest block.
    pub async fn hub_height(&self) -> anyhow::Result<u64> {
        self.story.network().view("status").await?["height"].as_u64().context("a height")
    }

    /// What waits for a block.
    pub async fn mempool(&self) -> anyhow::Result<Vec<Txid>> {
        Ok(self.rpc().call("getrawmempool", json!([])).await?)
    }

    /// Mines so many blocks, as fast as the mining rule allows, and waits until the hub knows them.
    pub async fn mine(&mut self, count: u32) -> anyhow::Result<()> {
        let waiting = Waiting::until(format!("{count} blocks are mined"));
        let mut target = None;
        loop {
            let done = self.mine_some(&mut target, count).await;
            match done {
                Ok(true) => return Ok(()),
                last => waiting.check(last)?,
            }
            self.pause().await?;
        }
    }

    /// Whether the hub knows the last of the blocks; mines some if not all are there.
    async fn mine_some(&mut self, target: &mut Option<u32>, count: u32) -> anyhow::Result<bool> {
        let tip = self.rpc().tip().await?;
        let target = *target.get_or_insert(tip.height + count);
        let now = self.story.room().await?.min(target.saturating_sub(tip.height)).min(AT_ONCE);
        if now > 0 {
            self.story.network().node.mine(now).await?;
            self.remember().await?;
        }
        let tip = self.rpc().tip().await?;
        let status = self.story.network().view("status").await?;
        Ok(tip.height >= target && status["btc_tip"] == tip.hash.to_string())
    }

    /// Every transaction in a block.
    pub fn mined(&self) -> BTreeMap<Txid, Transaction> {
        let all = self.chain.iter().flat_map(|block| &block.txdata);
        all.map(|tx| (tx.compute_txid(), tx.clone())).collect()
    }

    /// The height of each transaction's block.
    pub fn mined_at(&self) -> BTreeMap<Txid, u32> {
        let blocks = (1..).zip(&self.chain);
        let all = blocks.flat_map(|(height, block)| block.txdata.iter().map(move |tx| (tx, height)));
        all.map(|(tx, height)| (tx.compute_txid(), height)).collect()
    }

    /// Keeps the node's blocks, as its peers do.
    pub(super) async fn remember(&mut self) -> anyhow::Result<()> {
        let tip = self.rpc().tip().await?.height;
        while self.chain.len() < tip as usize {
            let height = self.chain.len() as u32 + 1;
            let hash = self.rpc().block_hash(height).await?.context("a block below the tip")?;
            let block = self.rpc().block(hash).await?.context("a block of the best chain")?;
            if self.chain.last().is_some_and(|last| last.block_hash() != block.header.prev_blockhash) {
                bail!("the node's chain is another one below height {height}");
            }
            self.chain.push(block);
        }
        Ok(())
    }

    /// Gives the node those blocks that it had not written yet, as its peers would.
    pub(super) async fn give_back(&mut self) -> anyhow::Result<()> {
        let tip = self.rpc().tip().await?.height as usize;
        if tip < self.chain.len() {
            self.story.network().node.submit(&self.chain[tip..]).await?;
        }
        Ok(())
    }
}
