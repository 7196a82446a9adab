//! Step 6: Bitcoin changes its mind. A branch as long as the depth at which stakes count changes no power; a longer one trips
//! the breaker until governance resumes, and nobody's exit waits for that.

use super::exits::{PATIENT, SMALL_SAT};
use super::power::{Power, each};
use super::{K, Stake, Step, Story, outpoint_txid};
use crate::demo::holders::Holder;
use crate::demo::network::string;
use crate::demo::report::Reorg;
use crate::demo::tell::{Waiting, btc};
use crate::node::Reorg as Branch;
use anyhow::{Context as _, ensure};
use bitcoin::Txid;
use serde_json::Value;
use std::time::{Duration, Instant};

/// How many blocks above the tip every set in use must expire before a reorganisation begins.
const ROOM: u32 = 40;
/// Whose keys the stake of 6.1 names, and whose that of 6.2.
const OPERATORS: [usize; 2] = [1, 2];

impl Story {
    pub(super) async fn bitcoin_reorganises(&mut self) -> anyhow::Result<()> {
        self.tell.chapter("6. Bitcoin changes its mind");
        let next = self.k_blocks_change_no_power().await?;
        let mut step = self.begin("6.2").await?;
        let stake = self.one_block_more_removes_a_stake(&mut step, &next).await?;
        self.done(step, "A reorganisation of k + 1 blocks removes an active stake: the breaker trips")
            .await?;
        self.chain_zero_goes_on_and_exits_work().await?;
        self.governance_resumes(stake).await
    }

    /// A branch of k + 1 blocks replaces k. The stake's own block stays; what stood above it comes back by the mempool. Gives
    /// the next holder, whose wallet was funded so.
    async fn k_blocks_change_no_power(&mut self) -> anyhow::Result<Holder> {
        let mut step = self.begin("6.1").await?;
        let (holder, _) = self.funded("judy").await?;
        self.mine(1, "the wallet is funded").await?;
        let locked = self.lock(&holder, OPERATORS[0], SMALL_SAT, "2000 blocks", false).await?;
        self.mine(1, "the stake confirms").await?;
        let (next, funding) = self.funded("kate").await?;
        self.mine(K, "depth k").await?;
        let index = self.exactly_k_deep(locked).await?;
        self.wait_for_room().await?;

        let before = self.power(OPERATORS[0]).await?;
        let branch = self.replace(K, &[funding]).await?;
        let status = self.network.view("status").await?;
        ensure!(status["breaker"].is_null(), "the breaker tripped: {}", status["breaker"]);
        let after = self.power(OPERATORS[0]).await?;
        ensure!(before.sats == after.sats, "power changed from {before:?} to {after:?}");
        self.tell.line(format!("no power changes: both keys have {} as before", each(&after.sats)));
        step.refs.extend([self.reorg(&branch, &before, &after), format!("stakes/{index}")]);
        self.mine(1, "what was removed comes back").await?;
        self.mined_again(funding).await?;
        step.txs.extend([locked, funding]);
        self.done(step, "A reorganisation of k = 6 blocks changes no power").await?;
        Ok(next)
    }

    /// One block more: the stake itself goes, its power with it, and everything but the exits waits for governance.
    async fn one_block_more_removes_a_stake(
        &mut self,
        step: &mut Step,
        holder: &Holder,
    ) -> anyhow::Result<Removed> {
        let locked = self.lock(holder, OPERATORS[1], SMALL_SAT, "2000 blocks", false).await?;
        self.mine(1 + K, "depth k").await?;
        let index = self.exactly_k_deep(locked).await?;
        let stake = self.stakes[index].clone();
        self.wait_for_room().await?;

        let before = self.power(OPERATORS[1]).await?;
        let branch = self.replace(K + 1, &[locked]).await?;
        let status = self.network.until("the breaker trips", |status| status["breaker"].is_string()).await?;
        self.tell.line(format!("the breaker is tripped: {}", string(&status, "breaker")?));
        self.network.until_state(&stake.id, "VERIFIED").await?;
        let after = self.power(OPERATORS[1]).await?;
        let wanted: Vec<u64> = before.sats.iter().map(|sat| sat - stake.sat).collect();
        ensure!(after.sats == wanted, "power is {after:?} instead of {wanted:?}");
        self.tell.line(format!("power of both keys: {} before, {} now", each(&before.sats), each(&wanted)));
        let waits = self.network.node.rpc().mempool_entry(locked).await?;
        ensure!(waits.is_some(), "the stake is not back in the mempool");
        step.refs.extend([self.reorg(&branch, &before, &after), format!("stakes/{index}")]);
        step.txs.push(locked);
        Ok(Removed { stake, locked, index, before })
    }

    /// While the breaker is tripped chain zero goes on, the other chain does not, and whoever wants to leave can.
    async fn chain_zero_goes_on_and_exits_work(&mut self) -> anyhow::Result<()> {
        let mut step = self.begin("6.3").await?;
        let began = self.final_now().await?;
        let zero: Vec<_> = began.iter().filter(|(chain, _)| chain == "zero").cloned().collect();
        let now = self.further(&zero, 3).await?;
        for ((chain, before), (_, after)) in began.iter().zip(&now) {
            ensure!((chain == "zero") == (after > before), "chain {chain} went from {before} to {after}");
            self.tell
                .line(format!("breaker tripped: chain {chain} was final up to {before}, now up to {after}"));
        }
        step.refs.push(self.report.finality("zero", now.first().context("chain zero")?.1));

        let leaving = self.stake_of("judy")?;
        let (index, stake) = (leaving, self.stakes[leaving].clone());
        step.txs.push(self.unbond(&stake).await?);
        let patient = self.stake_of(PATIENT)?;
        let waited = self.stakes[patient].clone();
        step.txs.push(self.withdraw(&waited).await?);
        self.network.until_state(&waited.id, "WITHDRAWN").await?;
        step.refs.extend([format!("stakes/{index}"), format!("stakes/{patient}")]);
        self.done(step, "Meanwhile chain zero goes on, an early exit confirms, and a withdrawal works").await
    }

    /// The stake is mined again and k deep, but has power only once governance resumes. Then both chains go on.
    async fn governance_resumes(&mut self, removed: Removed) -> anyhow::Result<()> {
        let mut step = self.begin("6.4").await?;
        let Removed { stake, locked, index, before } = removed;
        self.mine(K, "the stake is k deep again").await?;
        self.mined_again(locked).await?;
        self.until_included(&stake).await?;
        let view = self.network.stake(&stake.id).await?;
        ensure!(view["state"] == "VERIFIED", "the stake is {} while the breaker is tripped", view["state"]);
        let accepted = self.power_of_chains().await?;
        let accept: Vec<String> = accepted.iter().map(|(chain, sat)| format!("{chain}={sat}")).collect();
        let mut decision = vec!["resume"];
        accept.iter().for_each(|power| decision.extend(["--accept", power]));
        let receipt = self.network.govern(&decision).await?;
        self.tell.line(format!(
            "governance resumes in hub block {} and accepts the power of {}",
            receipt["height"],
            accepted
                .iter()
                .map(|(chain, sat)| format!("{} for {chain}", btc(*sat)))
                .collect::<Vec<_>>()
                .join(", ")
        ));
        self.network.until_state(&stake.id, "ACTIVE").await?;
        let back = self.power(OPERATORS[1]).await?;
        ensure!(back.sats == before.sats, "power is {back:?} instead of {before:?}");
        self.tell.line(format!("{}'s stake has its power of {} back", stake.holder.name, btc(stake.sat)));
        let began = self.final_now().await?;
        for (chain, height) in self.further(&began, 3).await? {
            self.tell.line(format!("chain {chain} goes on: final up to height {height}"));
            step.refs.push(self.report.finality(&chain, height));
        }
        step.txs.push(locked);
        step.refs.push(format!("stakes/{index}"));
        self.done(step, "The stake is mined again, governance resumes, power is back; both chains go on")
            .await
    }

    /// Waits, without mining, until every set in use expires far enough above the tip.
    async fn wait_for_room(&mut self) -> anyhow::Result<()> {
        let tip = self.network.node.rpc().tip().await?.height;
        let waiting = Waiting::until("every set in use expires late enough");
        let began = Instant::now();
        loop {
            let earliest = self.expiries(|_| true).await?.into_iter().min().context("a set in use")?;
            if earliest >= tip + ROOM {
                drop(waiting);
                self.tell.line(format!(
                    "every set in use signs up to height {earliest} or more; the tip is {tip}"
                ));
                return Ok(());
            }
            self.network.check()?;
            ensure!(
                began.elapsed() < Duration::from_secs(120),
                "a set in use expires at {earliest}, tip {tip}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// Replaces the last blocks by a longer branch, which loses just these transactions, and waits until the hub has followed.
    /// Whatever else the blocks hold, an anchor perhaps, stands in the new branch too.
    async fn replace(&mut self, depth: u32, lost: &[Txid]) -> anyhow::Result<Branch> {
        let rpc = self.network.node.rpc();
        let tip = rpc.tip().await?.height;
        let mut keep = Vec::new();
        for height in tip - depth + 1..=tip {
            let hash = rpc.block_hash(height).await?.context("a block of the best chain")?;
            let block = rpc.block(hash).await?.context("a block of the best chain")?;
            for tx in block.txdata.into_iter().skip(1) {
                let txid = tx.compute_txid();
                self.report.stale(txid, hash, height);
                if !lost.contains(&txid) {
                    keep.push(tx);
                }
            }
        }
        let branch = self.network.node.reorg(depth, depth + 1, &keep).await?;
        ensure!(branch.removed == lost, "the branch removes {:?}", branch.removed);
        self.tell.line(format!(
            "a branch of {} blocks replaces {depth} above height {}: tip {} instead of {}",
            depth + 1,
            branch.fork_height,
            branch.new_tip.hash,
            branch.old_tip.hash
        ));
        self.network.wait_for_bitcoin().await?;
        Ok(branch)
    }

    fn reorg(&mut self, branch: &Branch, before: &Power, after: &Power) -> String {
        self.report.reorg(Reorg {
            fork_height: branch.fork_height,
            old_tip: branch.old_tip.hash,
            new_tip: branch.new_tip.hash,
            keys: before.keys.to_vec(),
            moments: [before.hub_height, after.hub_height],
        })
    }

    /// The newest stake, once it has power, in a block exactly k below the tip.
    async fn exactly_k_deep(&mut self, locked: Txid) -> anyhow::Result<usize> {
        let index = self.stakes.len() - 1;
        let id = self.stakes[index].id.clone();
        let view = self.network.until_state(&id, "ACTIVE").await?;
        ensure!(outpoint_txid(&string(&view, "outpoint")?)? == locked, "another stake: {view}");
        let tip = self.network.node.rpc().tip().await?.height;
        let height = view["included"]["height"].as_u64();
        ensure!(height == Some(u64::from(tip - K)), "the stake stands at {height:?}, the tip at {tip}");
        Ok(index)
    }

    async fn mined_again(&self, txid: Txid) -> anyhow::Result<()> {
        let height = self.mined_at(txid).await?.with_context(|| format!("{txid} was not mined again"))?;
        self.tell.line(format!("{txid} is mined again, at height {height}"));
        Ok(())
    }

    pub(super) async fn until_included(&mut self, stake: &Stake) -> anyhow::Result<Value> {
        let path = format!("stakes/{}", stake.id);
        let known = |view: &Value| view["included"].is_object();
        self.network.until_view(&path, "the hub knows the stake's new block", known).await
    }

    fn stake_of(&self, holder: &str) -> anyhow::Result<usize> {
        let found = self.stakes.iter().position(|stake| stake.holder.name == holder);
        found.with_context(|| format!("{holder} has no stake"))
    }
}

/// A stake whose block Bitcoin has left.
struct Removed {
    stake: Stake,
    locked: Txid,
    index: usize,
    /// Power of its keys before.
    before: Power,
}
