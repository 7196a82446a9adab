//! The story, step by step. Each step fails if it did not happen on Bitcoin.

mod anchoring;
mod commands;
mod equivocation;
mod exits;
mod extension;
mod finality;
mod lies;
mod locking;
mod power;
mod reorgs;
mod rules;

use crate::demo::holders::Holder;
use crate::demo::network::{Network, OtherChain};
use crate::demo::operators::Operator;
use crate::demo::place;
use crate::demo::report::{self, Report, Sources};
use crate::demo::tell::{Shown, ShownTx, Tell, Waiting};
use anyhow::{Context as _, ensure};
use bitcoin::{Amount, Transaction, Txid};
use palisade_hub::bitcoind::Acceptance;
use palisade_protocol::params::Profile;
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// The depth at which stakes count.
const K: u32 = 6;

/// Everything that the story is told with.
pub struct Story {
    network: Network,
    tell: Tell,
    report: Report,
    operators: Vec<Operator>,
    chain: OtherChain,
    stakes: Vec<Stake>,
    shares: [u64; 4],
}

/// A stake of the story.
#[derive(Clone)]
struct Stake {
    id: String,
    holder: Holder,
    sat: u64,
}

/// A step that is under way.
struct Step {
    number: &'static str,
    began: Instant,
    from: u32,
    txs: Vec<Txid>,
    refs: Vec<String>,
}

/// Tells the whole story in an empty directory and gives the path of the report.
pub async fn tell_all(dir: &Path) -> anyhow::Result<PathBuf> {
    place::must_be_empty(dir)?;
    let mut story = Story::begin_network(dir).await?;
    story.blocks_become_final().await?;
    story.finality_survives_each_operator().await?;
    story.one_operator_refuses_a_lie().await?;
    story.an_epoch_is_anchored().await?;
    story.one_leaves_early().await?;
    story.one_waits_the_timelock_out().await?;
    story.one_extends_without_leaving().await?;
    story.one_votes_twice().await?;
    story.bitcoin_reorganises().await?;
    story.rules_were_kept().await?;
    story.end(dir).await
}

impl Story {
    /// The story up to a timestamp: the directory of the network has `document.txt` and `document.txt.ots` then.
    pub async fn until_timestamped(dir: &Path) -> anyhow::Result<Self> {
        let mut story = Self::begin_network(dir).await?;
        story.blocks_become_final().await?;
        story.an_epoch_is_anchored().await?;
        Ok(story)
    }

    /// The story up to final blocks of both chains.
    pub async fn until_final(dir: &Path) -> anyhow::Result<Self> {
        let mut story = Self::begin_network(dir).await?;
        story.blocks_become_final().await?;
        Ok(story)
    }

    /// The network, to be disturbed.
    pub fn network_mut(&mut self) -> &mut Network {
        &mut self.network
    }

    /// All that runs beside the development chain: the network and the operators.
    pub fn processes_mut(&mut self) -> (&mut Network, &mut [Operator]) {
        (&mut self.network, &mut self.operators)
    }

    /// The operators, to be looked at.
    pub fn operators(&self) -> &[Operator] {
        &self.operators
    }

    /// The operators.
    pub fn operators_mut(&mut self) -> &mut [Operator] {
        &mut self.operators
    }

    /// The id of a stake: that of operator `index` comes `index`-th.
    pub fn stake_id(&self, index: usize) -> &str {
        &self.stakes[index].id
    }

    /// The network that the story is told on.
    pub fn network(&self) -> &Network {
        &self.network
    }

    /// A network with two chains, four operators, and stakes that have power.
    pub async fn begin_network(dir: &Path) -> anyhow::Result<Self> {
        let mut story =
            Self::begin_operators(dir, Tell::default(), locking::SHARES, Profile::Compatible).await?;
        story.stakes_get_power().await?;
        Ok(story)
    }

    /// A network with two chains and four operators, and no stakes: while there are none no set expires, however many blocks are
    /// mined. The operators are to have these shares of the power, in percent.
    pub async fn begin_operators(
        dir: &Path,
        tell: Tell,
        shares: [u64; 4],
        profile: Profile,
    ) -> anyhow::Result<Self> {
        tell.chapter("A network on a real bitcoind");
        let mut network = Network::start_in_profile(dir, &tell, profile).await?;
        let chain = network.start_chain(locking::PLANNED_SAT / 100 * 95).await?;
        tell.line(format!("governance registers chain {} with genesis {}", chain.id, chain.genesis));
        let (report, operators, stakes) = (Report::default(), Vec::new(), Vec::new());
        let mut story = Self { network, tell, report, operators, chain, stakes, shares };
        story.operators_register().await?;
        Ok(story)
    }

    /// The four stakes, until they have power.
    pub async fn stakes_get_power(&mut self) -> anyhow::Result<()> {
        self.stakes_are_locked().await?;
        self.stakes_become_active().await
    }

    /// Mines one block if the mining rule allows it now, and waits until the hub knows it.
    pub async fn one_block(&mut self) -> anyhow::Result<()> {
        self.network.check()?;
        self.mine_alone().await?;
        self.network.wait_for_bitcoin().await?;
        Ok(())
    }

    /// Mines one block if the mining rule allows it now, and waits for nobody: where somebody has had the node give blocks up
    /// by hand, the hub follows only once it has more of them than before. A chain that may not vote does not hold Bitcoin up.
    pub async fn mine_alone(&self) -> anyhow::Result<()> {
        if self.room().await? > 0 {
            self.network.node.mine(1).await?;
        }
        Ok(())
    }

    /// How many blocks the mining rule allows now. A set that has expired already is not waited for: votes come too late for it.
    pub async fn room(&self) -> anyhow::Result<u32> {
        let height = self.network.node.rpc().tip().await?.height;
        let tripped = !self.network.view("status").await?["breaker"].is_null();
        let votes = |chain: &Value| chain["zero"] == true || !(tripped || chain["paused"] == true);
        let expiry = self.expiries(votes).await?.into_iter().filter(|expiry| *expiry > height).min();
        Ok(expiry.map_or(u32::MAX, |expiry| expiry.saturating_sub(11 + height)))
    }

    /// Gives coins away; they are in the next block.
    pub async fn give(&mut self, address: &bitcoin::Address, amount: Amount) -> anyhow::Result<Txid> {
        Ok(self.network.node.fund(address, amount).await?)
    }

    /// Stops everything.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stop_daemons().await?;
        self.network.stop().await
    }

    /// Stops everything but the node.
    pub async fn stop_daemons(&mut self) -> anyhow::Result<()> {
        for operator in &mut self.operators {
            operator.stop().await?;
        }
        self.network.stop_daemons().await
    }

    async fn begin(&self, number: &'static str) -> anyhow::Result<Step> {
        let from = self.network.node.rpc().tip().await?.height;
        Ok(Step { number, began: Instant::now(), from, txs: Vec::new(), refs: Vec::new() })
    }

    async fn done(&mut self, step: Step, claim: &str) -> anyhow::Result<()> {
        self.operators.iter_mut().try_for_each(Operator::check)?;
        let to = self.network.node.rpc().tip().await?.height;
        let took = step.began.elapsed();
        let btc =
            self.report.step(step.number, claim, &step.txs, &step.refs, (step.from, to), took.as_millis());
        let mut txs = Vec::new();
        for txid in step.txs {
            txs.push(self.shown(txid).await?);
        }
        self.tell.step(step.number, claim, took, Shown { btc, txs, refs: step.refs });
        Ok(())
    }

    /// A transaction of the story, as the node has it.
    async fn shown(&self, txid: Txid) -> anyhow::Result<ShownTx> {
        let kind = self.report.kind(txid).with_context(|| format!("{txid} was not told"))?;
        let found = self.network.node.rpc().raw_transaction(txid).await?;
        let first = found.as_ref().and_then(|found| found.transaction.output.first());
        let amount = first.map(|output| output.value).filter(|amount| *amount > Amount::ZERO);
        Ok(ShownTx { txid, kind, amount, height: self.mined_at(txid).await? })
    }

    /// The height of the block that holds a transaction; none while it waits in the mempool.
    async fn mined_at(&self, txid: Txid) -> anyhow::Result<Option<u32>> {
        let rpc = self.network.node.rpc();
        let found =
            rpc.raw_transaction(txid).await?.with_context(|| format!("the node does not know {txid}"))?;
        let Some(block) = found.mined_in else { return Ok(None) };
        Ok(Some(
            rpc.height_of(block)
                .await?
                .with_context(|| format!("block {block} of {txid} is not on the best chain"))?,
        ))
    }

    /// Mines, with a bar, and never so far that a set in use comes within ten blocks of its expiry: then it waits for the
    /// next final set.
    async fn mine(&mut self, count: u32, why: &str) -> anyhow::Result<u32> {
        let bar = Waiting::for_units(why, count.into());
        let mut height = self.network.node.rpc().tip().await?.height;
        let mut left = count;
        let mut waited = Instant::now();
        while left > 0 {
            let room = self
                .expiries(|_| true)
                .await?
                .into_iter()
                .min()
                .map_or(left, |expiry| expiry.saturating_sub(11 + height));
            let now = left.min(room).min(20);
            if now == 0 {
                ensure!(waited.elapsed() < Duration::from_secs(60), "no new set for a minute");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            height = self.network.mine(now).await?;
            bar.more(now.into());
            left -= now;
            waited = Instant::now();
        }
        Ok(height)
    }

    /// The Bitcoin heights at which the sets that vote now expire in these chains.
    async fn expiries(&self, of: impl Fn(&Value) -> bool) -> anyhow::Result<Vec<u32>> {
        let mut expiries = Vec::new();
        let chains = self.network.view("chains").await?;
        for chain in chains.as_array().context("a list of chains")?.iter().filter(|chain| of(chain)) {
            let Some(newest) = chain["newest_set"].as_u64() else { continue };
            let length = chain["terms"]["epoch_length"].as_u64().context("an epoch length")?;
            let opened = chain["opened_at"].as_u64().unwrap_or(newest);
            let at = chain["final_height"].as_u64().map_or(opened, |height| height / length);
            let id = chain["id"].as_str().context("a name")?;
            for epoch in at.min(newest)..=newest {
                let set = self.network.view(&format!("sets/{id}/{epoch}")).await?;
                expiries.push(u32::try_from(set["expiry"].as_u64().context("an expiry")?)?);
            }
        }
        Ok(expiries)
    }

    /// Shows that the node refuses a transaction, by the rule that the story is about, and keeps its words.
    async fn refuse(&mut self, tx: &Transaction, leaf: &str, why: &str) -> anyhow::Result<String> {
        let tip = self.network.node.rpc().tip().await?.height;
        let answers = self.network.node.rpc().test_mempool_accept(std::slice::from_ref(tx)).await?;
        match answers.first() {
            Some(Acceptance::Refused { reason }) => {
                let due = if leaf == "timelock" { "non-BIP68-final" } else { "script-verify-flag-failed" };
                ensure!(
                    reason.contains(due),
                    "bitcoind refuses {} for another reason: {reason}",
                    tx.compute_txid()
                );
                self.tell
                    .line(format!("bitcoind refuses {} at height {tip}, {why}: {reason}", tx.compute_txid()));
                Ok(self.report.refused(tx, leaf, tip, reason))
            }
            other => anyhow::bail!("bitcoind would take {} {why}: {other:?}", tx.compute_txid()),
        }
    }

    async fn end(mut self, dir: &Path) -> anyhow::Result<PathBuf> {
        let proof = self.files_for_the_proof().await?;
        let path = dir.join("report.json");
        let refusals: Vec<PathBuf> = self.operators.iter().map(Operator::refusals).collect();
        let stakes: Vec<String> = self.stakes.iter().map(|stake| stake.id.clone()).collect();
        let sources = Sources {
            dir,
            node: &self.network.node,
            hub: &self.network.hub,
            refusals: &refusals,
            stakes: &stakes,
            ms: self.tell.elapsed().as_millis(),
        };
        let mut report = std::mem::take(&mut self.report).finish(&sources).await?;
        if report::has_uncommitted_changes() {
            self.tell
                .line("the checkout has uncommitted changes: the report's commit is not all that was run");
        }
        self.stop_daemons().await?;
        self.files_alone_suffice(proof, &mut report).await?;
        report::write(&path, &report)?;
        self.tell.table();
        self.network.stop().await?;
        Ok(path)
    }
}

fn outpoint_txid(outpoint: &str) -> anyhow::Result<Txid> {
    Ok(outpoint.parse::<bitcoin::OutPoint>()?.txid)
}
