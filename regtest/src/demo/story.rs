//! The story, step by step. Each step fails if it did not happen on Bitcoin.

use crate::demo::holders::Holder;
use crate::demo::network::{Network, string};
use crate::demo::registrar;
use crate::demo::report::{self, Report};
use crate::demo::tell::Tell;
use anyhow::{Context as _, ensure};
use bitcoin::{Amount, Transaction, Txid};
use palisade_hub::bitcoind::Acceptance;
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::Instant;

/// Operators and their share of the power planned for step 1, in percent.
const OPERATORS: [(&str, u64); 4] = [("dora", 20), ("anna", 30), ("bert", 25), ("carl", 25)];
/// Holders; the first broadcasts before registering, the others register first.
const HOLDERS: [&str; 4] = ["dave", "alice", "bob", "carol"];
/// Power planned for step 1.
const PLANNED_SAT: u64 = 100_000_000;

/// Everything that the story is told with.
struct Story {
    network: Network,
    tell: Tell,
    report: Report,
    stakes: Vec<Stake>,
}

/// A stake of the story.
#[derive(Clone)]
struct Stake {
    id: String,
    holder: Holder,
    sat: u64,
}

/// Tells the whole story in a directory and gives the path of the report.
pub async fn tell_all(dir: &Path) -> anyhow::Result<PathBuf> {
    let tell = Tell::default();
    tell.chapter("A network on a real bitcoind");
    let network = Network::start(dir, &tell).await?;
    let mut story = Story { network, tell, report: Report::default(), stakes: Vec::new() };
    story.stakes_are_locked().await?;
    story.stakes_become_active().await?;
    story.one_leaves_early().await?;
    story.one_waits_the_timelock_out().await?;
    story.end(dir).await
}

/// A step that is under way.
struct Step {
    number: &'static str,
    began: Instant,
    from: u32,
    txs: Vec<Txid>,
    refs: Vec<String>,
}

impl Story {
    async fn begin(&self, number: &'static str) -> anyhow::Result<Step> {
        let from = self.network.node.rpc().tip().await?.height;
        Ok(Step { number, began: Instant::now(), from, txs: Vec::new(), refs: Vec::new() })
    }

    async fn done(&mut self, step: Step, claim: &str) -> anyhow::Result<()> {
        let to = self.network.node.rpc().tip().await?.height;
        let took = step.began.elapsed();
        self.report.step(step.number, claim, &step.txs, &step.refs, (step.from, to), took.as_millis());
        self.tell.step(step.number, claim, took);
        Ok(())
    }

    /// Mines with a bar.
    async fn mine(&mut self, count: u32, why: &str) -> anyhow::Result<u32> {
        let bar = self.tell.bar(why, count.into());
        let mut height = 0;
        let mut left = count;
        while left > 0 {
            let now = left.min(20);
            height = self.network.mine(now).await?;
            bar.inc(now.into());
            left -= now;
        }
        bar.finish_and_clear();
        Ok(height)
    }

    /// Step 1: holders fund wallets and stake; most register before they broadcast, one after.
    async fn stakes_are_locked(&mut self) -> anyhow::Result<()> {
        self.tell.chapter("1. Holders lock coins");
        let step = self.begin("1.1").await?;
        let mut keys = Vec::new();
        for (operator, _) in OPERATORS {
            let key = registrar::register(&mut self.network, operator).await?;
            self.tell.line(format!("operator {operator} registers key {key}"));
            keys.push(key.to_string());
        }
        let mut holders = Vec::new();
        let mut step = Step { refs: vec!["fps/0".to_owned()], ..step };
        for name in HOLDERS {
            let (holder, txid) = Holder::new(&self.network, name, Amount::from_sat(60_000_000)).await?;
            self.report.tx(txid, "fund", None, None);
            step.txs.push(txid);
            holders.push(holder);
        }
        self.network.mine(1).await?;
        self.done(step, "Operators register keys, holders fund wallets").await?;

        let mut step = self.begin("1.2").await?;
        for ((holder, (operator, percent)), key) in holders.iter().zip(OPERATORS).zip(&keys) {
            let sat = PLANNED_SAT / 100 * percent;
            let amount = format!("{sat} sat");
            let mut args =
                vec!["stake", "--yes", "--amount", &amount, "--provider", key, "--lock", "300 blocks"];
            let after = holder.name == HOLDERS[0];
            if after {
                args.extend(["--confirmed", "--no-wait"]);
            }
            let locked = holder.run(&args).await?;
            let locked = if after { self.confirm_first(holder, locked).await? } else { locked };
            let id = string(&locked, "id")?;
            let txid = outpoint_txid(&string(&locked, "outpoint")?)?;
            self.tell.line(format!("{} locks {sat} sat behind {operator} in {txid}", holder.name));
            self.report.tx(txid, "stake", Some(&id), None);
            step.txs.push(txid);
            step.refs.push(format!("stakes/{}", self.stakes.len()));
            self.stakes.push(Stake { id, holder: holder.clone(), sat });
        }
        self.done(step, "Four stakes are locked, three registered before broadcasting, one after").await
    }

    /// Who broadcasts first registers once the stake has a confirmation.
    async fn confirm_first(&mut self, holder: &Holder, locked: Value) -> anyhow::Result<Value> {
        self.network.mine(1).await?;
        holder.run(&["stake", "--yes", "--resume", &string(&locked, "outpoint")?]).await
    }

    /// Step 2: the committee has signed; at depth k the stakes have power.
    async fn stakes_become_active(&mut self) -> anyhow::Result<()> {
        self.tell.chapter("2. The committee signs, stakes become active");
        let step = self.begin("2.1").await?;
        self.mine(1, "the stakes confirm").await?;
        for stake in self.stakes.clone() {
            let view = self.network.until_state(&stake.id, "VERIFIED").await?;
            ensure!(
                view["signatures"].as_u64() >= view["quorum"].as_u64(),
                "a stake is verified without quorum"
            );
        }
        self.mine(5, "up to one block before depth k").await?;
        let early = self.network.stake(&self.stakes[1].id).await?;
        ensure!(early["state"] == "VERIFIED", "a stake is {} one block before depth k", early["state"]);
        self.mine(1, "depth k").await?;
        for stake in self.stakes.clone() {
            self.network.until_state(&stake.id, "ACTIVE").await?;
        }
        let powers: Vec<u64> = self.powers().await?;
        ensure!(powers == OPERATORS.map(|(_, percent)| PLANNED_SAT / 100 * percent), "powers are {powers:?}");
        let refs = (0..self.stakes.len()).map(|index| format!("stakes/{index}")).collect();
        let txs = self.stakes_txs().await?;
        self.done(Step { refs, txs, ..step }, "At depth k = 6, and not before, all stakes have power").await
    }

    async fn powers(&self) -> anyhow::Result<Vec<u64>> {
        let providers = self.network.view("providers").await?;
        let providers = providers.as_array().context("a list of providers")?;
        Ok(providers.iter().filter_map(|provider| provider["sat"].as_u64()).collect())
    }

    async fn stakes_txs(&self) -> anyhow::Result<Vec<Txid>> {
        let mut txs = Vec::new();
        for stake in &self.stakes {
            txs.push(outpoint_txid(&string(&self.network.stake(&stake.id).await?, "outpoint")?)?);
        }
        Ok(txs)
    }

    /// Step 4.1: leaving early. Each lock first shows the node's refusal: one signature short, one block early.
    async fn one_leaves_early(&mut self) -> anyhow::Result<()> {
        self.tell.chapter("4. Leaving");
        let stake = self.stakes[1].clone();
        let mut step = self.begin("4.1").await?;
        let complete = stake.holder.signed(&["unbond", "--yes", "--print", &stake.id]).await?;
        step.refs
            .push(self.refuse(&one_signature_short(&complete)?, "unbonding", "one signature short").await?);
        let unbonded = stake.holder.run(&["unbond", "--yes", &stake.id]).await?;
        let unbonding: Txid = string(&unbonded, "txid")?.parse()?;
        self.report.tx(unbonding, "unbond", Some(&stake.id), Some("unbonding"));
        step.txs.push(unbonding);
        self.mine(1, "the exit confirms").await?;
        self.network.until_state(&stake.id, "UNBONDING").await?;
        self.tell.line(format!(
            "{} leaves early in {unbonding}: no power from its first confirmation",
            stake.holder.name
        ));
        self.mine(142, "the unbonding time").await?;
        let (withdrawal, reference) = self.withdraw_in_time(&stake).await?;
        step.txs.push(withdrawal);
        step.refs.push(reference);
        self.done(step, "A holder leaves early with the committee's signatures, waits, and withdraws").await
    }

    /// Step 4.2: waiting the timelock out.
    async fn one_waits_the_timelock_out(&mut self) -> anyhow::Result<()> {
        let stake = self.stakes[2].clone();
        let mut step = self.begin("4.2").await?;
        let view = self.network.stake(&stake.id).await?;
        let matures = u32::try_from(view["matures_at"].as_u64().context("the stake is on Bitcoin")?)?;
        let tip = self.network.node.rpc().tip().await?.height;
        self.mine(matures.saturating_sub(2).saturating_sub(tip), "the timelock").await?;
        let (withdrawal, reference) = self.withdraw_in_time(&stake).await?;
        step.txs.push(withdrawal);
        step.refs.push(reference);
        self.done(step, "A holder waits the timelock out and withdraws alone").await
    }

    /// Withdraws at the first block that may hold it, after the node has refused the same one block earlier.
    async fn withdraw_in_time(&mut self, stake: &Stake) -> anyhow::Result<(Txid, String)> {
        let early = stake.holder.signed(&["withdraw", "--yes", "--print", &stake.id]).await?;
        let reference = self.refuse(&early, "timelock", "one block early").await?;
        let said = stake.holder.fails(&["withdraw", "--yes", &stake.id]).await?;
        self.tell.line(format!("the wallet says: {}", said.lines().next_back().unwrap_or_default()));
        self.mine(1, "the last block of the lock").await?;
        self.network.until_state(&stake.id, "WITHDRAWABLE").await?;
        let withdrawn = stake.holder.run(&["withdraw", "--yes", &stake.id]).await?;
        let txid: Txid = string(&withdrawn, "txid")?.parse()?;
        self.report.tx(txid, "withdraw", Some(&stake.id), Some("timelock"));
        self.mine(1, "the withdrawal confirms").await?;
        self.network.until_state(&stake.id, "WITHDRAWN").await?;
        self.tell.line(format!("{} has {} sat back in {txid}", stake.holder.name, withdrawn["amount_sat"]));
        ensure!(withdrawn["amount_sat"].as_u64() <= Some(stake.sat), "more came back than was locked");
        Ok((txid, reference))
    }

    /// Shows that the node refuses a transaction, and keeps its words.
    async fn refuse(&mut self, tx: &Transaction, leaf: &str, why: &str) -> anyhow::Result<String> {
        let tip = self.network.node.rpc().tip().await?.height;
        let answers = self.network.node.rpc().test_mempool_accept(std::slice::from_ref(tx)).await?;
        match answers.first() {
            Some(Acceptance::Refused { reason }) => {
                self.tell.line(format!("bitcoind refuses it {why}: {reason}"));
                Ok(self.report.refused(tx, leaf, tip, reason))
            }
            other => anyhow::bail!("bitcoind would take {} {why}: {other:?}", tx.compute_txid()),
        }
    }

    async fn end(self, dir: &Path) -> anyhow::Result<PathBuf> {
        let path = dir.join("report.json");
        let sections = read_back(&self.network, &self.stakes).await?;
        report::write(&path, &self.report.finish(self.network.node.rpc(), sections).await?)?;
        self.network.stop().await?;
        self.tell.table();
        Ok(path)
    }
}

fn outpoint_txid(outpoint: &str) -> anyhow::Result<Txid> {
    Ok(outpoint.parse::<bitcoin::OutPoint>()?.txid)
}

/// The same transaction without one of the committee's signatures.
fn one_signature_short(tx: &Transaction) -> anyhow::Result<Transaction> {
    let mut short = tx.clone();
    let input = short.input.first_mut().context("an input")?;
    let mut items: Vec<Vec<u8>> = input.witness.iter().map(<[u8]>::to_vec).collect();
    items.iter_mut().find(|item| item.len() == 64).context("a signature")?.clear();
    input.witness = bitcoin::Witness::from_slice(&items);
    Ok(short)
}

/// What daemons and node say at the end.
async fn read_back(network: &Network, stakes: &[Stake]) -> anyhow::Result<Value> {
    let tip = network.node.rpc().tip().await?;
    let mut views = Vec::new();
    for stake in stakes {
        views.push(network.stake(&stake.id).await?);
    }
    let argv = |args: Vec<std::ffi::OsString>| -> Vec<String> {
        args.iter().map(|arg| arg.to_string_lossy().into_owned()).collect()
    };
    Ok(json!({
        "schema": 1,
        "ok": true,
        "node": {
            "datadir": network.node.datadir(),
            "start": argv(network.node.start_args()),
            "cli": argv(network.node.cli_args()),
            "tip": { "height": tip.height, "hash": tip.hash },
        },
        "hub": network.view("status").await?,
        "chains": network.view("chains").await?,
        "params": network.view("params").await?,
        "fps": network.view("providers").await?,
        "stakes": views,
    }))
}
