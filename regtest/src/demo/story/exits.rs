//! Steps 4.1 and 4.2: leaving early, and waiting the timelock out. Each lock first shows the node's refusal.

use super::{Stake, Story};
use crate::demo::holders::Holder;
use crate::demo::network::string;
use crate::demo::tell::btc;
use anyhow::{Context as _, ensure};
use bitcoin::{Transaction, Txid};

/// Later stakes hold one percent of the power planned for step 1.
pub(super) const SMALL_SAT: u64 = super::locking::PLANNED_SAT / 100;
/// Somebody who waits the timelock out and does not withdraw before step 6.2.
pub(super) const PATIENT: &str = "ivan";

impl Story {
    /// A new holder with a small new stake that has power. Gives its place.
    pub(super) async fn small_stake(
        &mut self,
        name: &str,
        operator: usize,
        lock: &str,
    ) -> anyhow::Result<usize> {
        self.new_stake(name, operator, SMALL_SAT, lock).await
    }

    /// The same with an amount.
    pub(super) async fn new_stake(
        &mut self,
        name: &str,
        operator: usize,
        sat: u64,
        lock: &str,
    ) -> anyhow::Result<usize> {
        let (holder, _) = self.funded(name).await?;
        self.mine(1, "the wallet is funded").await?;
        self.lock(&holder, operator, sat, lock, false).await?;
        self.mine(7, "depth k").await?;
        let index = self.stakes.len() - 1;
        let id = self.stakes[index].id.clone();
        self.network.until_state(&id, "ACTIVE").await?;
        Ok(index)
    }

    /// A new holder, who has coins with the next block: the transaction that brings them.
    pub(super) async fn funded(&mut self, name: &str) -> anyhow::Result<(Holder, Txid)> {
        let (holder, txid) = Holder::new(&self.network, name, btc(2 * SMALL_SAT)).await?;
        self.tell.line(format!("{name} gets {} in {txid}", btc(2 * SMALL_SAT)));
        self.report.tx(txid, "fund", None, None);
        Ok((holder, txid))
    }

    /// Leaving early: one signature short first, one block early before the withdrawal.
    pub(super) async fn one_leaves_early(&mut self) -> anyhow::Result<()> {
        self.tell.chapter("4. Leaving");
        let mut step = self.begin("4.1").await?;
        let index = self.small_stake("erin", 1, "2000 blocks").await?;
        let stake = self.stakes[index].clone();
        let complete = stake.holder.signed(&["unbond", "--yes", "--print", &stake.id]).await?;
        step.refs
            .push(self.refuse(&one_signature_short(&complete)?, "unbonding", "one signature short").await?);
        let unbonding = self.unbond(&stake).await?;
        step.txs.push(unbonding);
        self.mine(242, "the unbonding time").await?;
        let (withdrawal, reference) = self.withdraw_in_time(&stake).await?;
        step.txs.push(withdrawal);
        step.refs.extend([reference, format!("stakes/{index}")]);
        self.done(step, "A holder leaves early with the committee's signatures, waits, and withdraws").await
    }

    /// Broadcasts the early exit and waits for its first confirmation.
    pub(super) async fn unbond(&mut self, stake: &Stake) -> anyhow::Result<Txid> {
        let unbonded = stake.holder.run(&["unbond", "--yes", &stake.id]).await?;
        let unbonding: Txid = string(&unbonded, "txid")?.parse()?;
        self.report.tx(unbonding, "unbond", Some(&stake.id), Some("unbonding"));
        self.mine(1, "the exit confirms").await?;
        self.network.until_state(&stake.id, "UNBONDING").await?;
        self.tell.line(format!(
            "{} leaves early with {} of {} in {unbonding}: no power from its first confirmation",
            stake.holder.name,
            btc(unbonded["amount_sat"].as_u64().context("an amount")?),
            btc(stake.sat)
        ));
        Ok(unbonding)
    }

    /// Waiting the timelock out.
    pub(super) async fn one_waits_the_timelock_out(&mut self) -> anyhow::Result<()> {
        let mut step = self.begin("4.2").await?;
        // Waits the same time, and stays until Bitcoin is in disorder.
        self.small_stake(PATIENT, 3, "300 blocks").await?;
        let index = self.small_stake("frank", 2, "300 blocks").await?;
        let stake = self.stakes[index].clone();
        let view = self.network.stake(&stake.id).await?;
        let matures = u32::try_from(view["matures_at"].as_u64().context("the stake is on Bitcoin")?)?;
        let tip = self.network.node.rpc().tip().await?.height;
        self.mine(matures.saturating_sub(2).saturating_sub(tip), "the timelock").await?;
        let (withdrawal, reference) = self.withdraw_in_time(&stake).await?;
        step.txs.push(withdrawal);
        step.refs.extend([reference, format!("stakes/{index}")]);
        self.done(step, "A holder waits the timelock out and withdraws alone").await
    }

    /// Withdraws at the first block that may hold it, after the node has refused the same one block earlier.
    async fn withdraw_in_time(&mut self, stake: &Stake) -> anyhow::Result<(Txid, String)> {
        let early = stake.holder.signed(&["withdraw", "--yes", "--print", &stake.id]).await?;
        let reference = self.refuse(&early, "timelock", "one block early").await?;
        let said = stake.holder.fails(&["withdraw", "--yes", &stake.id]).await?;
        self.tell.line(format!(
            "{}'s wallet says: {}",
            stake.holder.name,
            said.lines().next().unwrap_or_default()
        ));
        self.mine(1, "the last block of the lock").await?;
        self.network.until_state(&stake.id, "WITHDRAWABLE").await?;
        let txid = self.withdraw(stake).await?;
        self.network.until_state(&stake.id, "WITHDRAWN").await?;
        Ok((txid, reference))
    }

    /// Withdraws what is over its lock and mines it.
    pub(super) async fn withdraw(&mut self, stake: &Stake) -> anyhow::Result<Txid> {
        let withdrawn = stake.holder.run(&["withdraw", "--yes", &stake.id]).await?;
        let txid: Txid = string(&withdrawn, "txid")?.parse()?;
        let back = withdrawn["amount_sat"].as_u64().context("an amount")?;
        self.report.tx(txid, "withdraw", Some(&stake.id), Some("timelock"));
        self.mine(1, "the withdrawal confirms").await?;
        self.tell.line(format!(
            "{} has {} of {} back in {txid}",
            stake.holder.name,
            btc(back),
            btc(stake.sat)
        ));
        ensure!(back <= stake.sat, "more came back than was locked");
        Ok(txid)
    }
}

/// The same transaction without one of the committee's signatures.
pub(super) fn one_signature_short(tx: &Transaction) -> anyhow::Result<Transaction> {
    let mut short = tx.clone();
    let input = short.input.first_mut().context("an input")?;
    let mut items: Vec<Vec<u8>> = input.witness.iter().map(<[u8]>::to_vec).collect();
    items.iter_mut().find(|item| item.len() == 64).context("a signature")?.clear();
    input.witness = bitcoin::Witness::from_slice(&items);
    Ok(short)
}
