//! Slashing: one job for each stake that names a key that is out, until a slashing or another spend is deep.

use super::Watcher;
use super::book::Job;
use super::job::{self, Outcome, Step, View};
use super::payer::Sent;
use super::slash;
use crate::shell::{FileError, PassError};
use bitcoin::{Amount, OutPoint, Txid};
use palisade_hub::bitcoind::{RpcError, Tip};
use palisade_hub::ledger::stake::Stake;
use palisade_protocol::stake::{Slashable, StakeId, unbonding_coin};
use palisade_protocol::units::BtcHeight;
use palisade_staker::bump::{NoChild, Parent};
use palisade_staker::purse::PurseError;
use std::time::{Duration, Instant};

/// Without a new block, jobs are looked at again after this time: nodes forget what waits for long.
const SEND_AGAIN: Duration = Duration::from_secs(30);

impl Watcher {
    /// A job for every stake that names a key that is out; on disk before anything is done about it.
    pub(super) fn open_jobs(&mut self) -> Result<(), FileError> {
        for provider in self.keys.keys() {
            for stake in self.replica.ledger().stakes().naming(provider) {
                if self.jobs.contains_key(&stake.id) {
                    continue;
                }
                let job = Job { provider: *provider, gone_at: None, ended: None };
                self.book.keep_job(&stake.id, &job)?;
                self.jobs.insert(stake.id, job);
                tracing::warn!(stake = %stake.id, %provider, "to be slashed");
                self.stepped = None;
            }
        }
        Ok(())
    }

    /// Blocks above `fork` are no longer on the best chain: what ended a job there may not hold.
    pub(super) fn reopen_jobs(&mut self, fork: BtcHeight) -> Result<(), FileError> {
        for (id, job) in &mut self.jobs {
            if job.ended.is_some_and(|(_, height)| height > fork) {
                job.ended = None;
                self.book.keep_job(id, job)?;
                tracing::warn!(stake = %id, %fork, "a deep reorganisation opens a job again");
            }
        }
        Ok(())
    }

    /// Looks at every open job, when there is a new block or some time has passed.
    pub(super) async fn step_jobs(&mut self, tip: Tip) -> Result<(), PassError> {
        let current = |(hash, at): (_, Instant)| hash == tip.hash && at.elapsed() < SEND_AGAIN;
        if self.stepped.is_some_and(current) {
            return Ok(());
        }
        let open: Vec<StakeId> =
            self.jobs.iter().filter(|(_, job)| job.ended.is_none()).map(|(id, _)| *id).collect();
        self.fill_purse().await?;
        let mut stuck = 0;
        self.meters.unpaid.set(0);
        self.stranded.clear();
        for id in &open {
            stuck += i64::from(!self.step_job(id, BtcHeight(tip.height)).await?);
        }
        self.stepped = Some((tip.hash, Instant::now()));
        let ended =
            |wanted| self.jobs.values().filter(move |job| job.ended.map(|(how, _)| how) == wanted).count();
        self.meters.stuck.set(stuck);
        self.meters.open.set(ended(None) as i64);
        self.meters.slashed.set(ended(Some(Outcome::Slashed)) as i64);
        Ok(())
    }

    /// One look at one job. Says whether everything is there that its slashing needs.
    async fn step_job(&mut self, id: &StakeId, tip: BtcHeight) -> Result<bool, PassError> {
        let Some(job) = self.jobs.get(id).copied() else { return Ok(true) };
        // The stakes of another log than ours cannot be slashed by us; they may still come.
        let Some((_, stake)) = self.ledger().stakes().find(id) else { return Ok(false) };
        let view = self.view(stake, &job, tip).await?;
        let step = job::step(view, tip, stake.k);
        let gone_at = match view {
            View::Gone(height) => Some(height),
            _ => None,
        };
        let ended = match step {
            Step::Done(outcome, height) => Some((outcome, height)),
            Step::Send(_) | Step::Wait => None,
        };
        let ready = match step {
            Step::Send(output) => self.slash(id, &job, output, tip).await?,
            Step::Wait | Step::Done(..) => true,
        };
        let now = Job { gone_at, ended, ..job };
        if now != job {
            self.book.keep_job(id, &now)?;
            self.jobs.insert(*id, now);
            if let Some((outcome, height)) = ended {
                tracing::info!(stake = %id, ?outcome, btc_height = %height, "a job has ended");
            }
        }
        Ok(ready)
    }

    async fn view(&self, stake: &Stake, job: &Job, tip: BtcHeight) -> Result<View, PassError> {
        let presigned = &stake.presigned;
        let staking = stake.contract.coin.outpoint;
        let unbonding = OutPoint { txid: presigned.unbonding.compute_txid(), vout: 0 };
        for (outpoint, output) in [(staking, Slashable::Staking), (unbonding, Slashable::Unbonding)] {
            if self.bitcoin.tx_out(outpoint, false).await?.is_some() {
                return Ok(View::Unspent(output));
            }
        }
        let slashings = [
            (&presigned.slashing, Slashable::Staking),
            (&presigned.unbonding_slashing, Slashable::Unbonding),
        ];
        for (tx, output) in slashings {
            if let Some(height) = self.mined_at(tx.compute_txid()).await? {
                return Ok(View::Slashed(output, height));
            }
        }
        let staked = self.mined_at(staking.txid).await?.is_some();
        Ok(if staked { View::Gone(job.gone_at.unwrap_or(tip)) } else { View::Absent })
    }

    async fn mined_at(&self, txid: Txid) -> Result<Option<BtcHeight>, PassError> {
        let block = self.bitcoin.raw_transaction(txid).await?.and_then(|found| found.mined_in);
        let Some(block) = block else { return Ok(None) };
        Ok(self.bitcoin.height_of(block).await?.map(BtcHeight))
    }

    /// Reads new blocks into the wallet that pays. What is wrong with it must not keep slashings back.
    async fn fill_purse(&mut self) -> Result<(), RpcError> {
        let birthday = self.ledger().genesis().document().base_height.0;
        let Some(payer) = &mut self.payer else { return Ok(()) };
        match payer.sync(&self.bitcoin, birthday).await {
            Ok(coins) => self.meters.coins.set(i64::try_from(coins.to_sat()).unwrap_or(i64::MAX)),
            Err(PurseError::Rpc(why)) => return Err(why),
            Err(why) => tracing::warn!(%why, "the wallet that pays for slashings cannot be used"),
        }
        Ok(())
    }

    /// Sends a slashing. A refusal is not the end: the other output may be spent first, or fees fall.
    async fn slash(
        &mut self,
        id: &StakeId,
        job: &Job,
        output: Slashable,
        tip: BtcHeight,
    ) -> Result<bool, PassError> {
        let Some((_, stake)) = self.ledger().stakes().find(id) else { return Ok(false) };
        let Some(leaked) = self.keys.get(&job.provider) else { return Ok(false) };
        let tx = match slash::slashing(stake, output, leaked) {
            Ok(tx) => tx,
            Err(why) => {
                tracing::warn!(stake = %id, ?output, %why, "cannot be slashed yet");
                return Ok(false);
            }
        };
        let value = match output {
            Slashable::Staking => stake.contract.coin.value,
            Slashable::Unbonding => unbonding_coin(&stake.presigned.unbonding).value,
        };
        let paid: Amount = tx.output.iter().map(|output| output.value).sum();
        let parent = Parent::presigned(&tx, value.checked_sub(paid).unwrap_or(Amount::ZERO));
        let txid = tx.compute_txid();
        match self.send(&parent, tip).await {
            Ok(Sent::Paid(child, fee)) => {
                tracing::info!(stake = %id, ?output, %txid, %child, fee_sat = fee.to_sat(), "slashing sent, and paid for");
            }
            Ok(Sent::Alone) if self.sent.insert(txid) => {
                tracing::info!(stake = %id, ?output, %txid, "slashing sent")
            }
            Ok(Sent::Alone) => {}
            Err(RpcError::Refused { message, .. }) => {
                tracing::warn!(stake = %id, ?output, why = message, "slashing not taken, trying again");
                self.stranded.push(format!("the node does not take {txid}, of stake {id}: {message}"));
            }
            Err(why) => return Err(why.into()),
        }
        Ok(true)
    }

    /// Sends it with somebody to pay for it, or as it is where nobody can.
    async fn send(&mut self, parent: &Parent<'_>, tip: BtcHeight) -> Result<Sent, RpcError> {
        if let Some(payer) = &mut self.payer {
            match payer.send(&self.bitcoin, parent, tip.0).await {
                Ok(sent) => return Ok(sent),
                Err(NoChild::Rpc(why)) => return Err(why),
                Err(NoChild::Compatible) => {}
                Err(why) => {
                    let txid = parent.transaction.compute_txid();
                    self.meters.unpaid.inc();
                    tracing::warn!(%txid, %why, "nothing is paid for a slashing");
                    self.stranded.push(format!("nothing is paid for {txid}: {why}"));
                }
            }
        }
        self.bitcoin.send_raw_transaction(parent.transaction).await.map(|_| Sent::Alone)
    }
}
