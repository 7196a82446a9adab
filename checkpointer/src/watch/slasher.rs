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
use std::cmp::Reverse;
use std::time::{Duration, Instant};

/// Without a new block, jobs are looked at again after this time: nodes forget what waits for long.
const SEND_AGAIN: Duration = Duration::from_secs(30);

/// A job as our node shows its stake now.
struct Look {
    id: StakeId,
    job: Job,
    k: u32,
    view: View,
    /// Where its coins can leave: height of the first block in which they can, and how much.
    at_stake: Option<(BtcHeight, Amount)>,
}

impl Look {
    /// Those first whose coins can leave first, of these those with most.
    fn urgency(&self) -> (BtcHeight, Reverse<Amount>) {
        let (height, value) = self.at_stake.unwrap_or((BtcHeight(u32::MAX), Amount::ZERO));
        (height, Reverse(value))
    }
}

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
        let mut looks = Vec::with_capacity(open.len());
        for id in &open {
            looks.extend(self.look_at_job(id, BtcHeight(tip.height)).await?);
        }
        // The stakes of another log than ours cannot be slashed by us; they may still come.
        let mut stuck = (open.len() - looks.len()) as i64;
        // Where the coins of the wallet do not reach for all.
        looks.sort_by_key(Look::urgency);
        self.meters.unpaid.set(0);
        self.stranded.clear();
        for look in &looks {
            stuck += i64::from(!self.step_job(look, BtcHeight(tip.height)).await?);
        }
        self.stepped = Some((tip.hash, Instant::now()));
        let ended =
            |wanted| self.jobs.values().filter(move |job| job.ended.map(|(how, _)| how) == wanted).count();
        self.meters.stuck.set(stuck);
        self.meters.open.set(ended(None) as i64);
        self.meters.slashed.set(ended(Some(Outcome::Slashed)) as i64);
        Ok(())
    }

    /// One look at one job, if our log has its stake.
    async fn look_at_job(&self, id: &StakeId, tip: BtcHeight) -> Result<Option<Look>, PassError> {
        let found = self.jobs.get(id).copied().zip(self.ledger().stakes().find(id));
        let Some((job, (_, stake))) = found else { return Ok(None) };
        let view = self.view(stake, &job, tip).await?;
        let at_stake = match view {
            View::Unspent(output, since) => {
                Some((job::out_of_reach_at(output, since, tip, &stake.contract), value_of(stake, output)))
            }
            _ => None,
        };
        Ok(Some(Look { id: *id, job, k: stake.k, view, at_stake }))
    }

    /// Does what a look shows to be done. Says whether everything is there that its slashing needs.
    async fn step_job(&mut self, look: &Look, tip: BtcHeight) -> Result<bool, PassError> {
        let Look { id, job, k, view, .. } = *look;
        let step = job::step(view, tip, k);
        let gone_at = match view {
            View::Gone(height) => Some(height),
            _ => None,
        };
        let ended = match step {
            Step::Done(outcome, height) => Some((outcome, height)),
            Step::Send(_) | Step::Wait => None,
        };
        let ready = match step {
            Step::Send(output) => self.slash(&id, &job, output, tip).await?,
            Step::Wait | Step::Done(..) => true,
        };
        let now = Job { gone_at, ended, ..job };
        if now != job {
            self.book.keep_job(&id, &now)?;
            self.jobs.insert(id, now);
            if let Some((outcome, height)) = ended {
                tracing::info!(stake = %id, ?outcome, btc_height = %height, "a job has ended");
            }
        }
        Ok(ready)
    }

    /// What our node shows of a stake.
    async fn view(&self, stake: &Stake, job: &Job, tip: BtcHeight) -> Result<View, PassError> {
        let presigned = &stake.presigned;
        let staking = stake.contract.coin.outpoint;
        let unbonding = OutPoint { txid: presigned.unbonding.compute_txid(), vout: 0 };
        for (outpoint, output) in [(staking, Slashable::Staking), (unbonding, Slashable::Unbonding)] {
            if let Some(found) = self.bitcoin.tx_out(outpoint, false).await? {
                return Ok(View::Unspent(output, tip.next().minus(found.confirmations)));
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

    /// Reads new blocks into the wallet that pays.
    async fn fill_purse(&mut self) -> Result<(), RpcError> {
        let birthday = self.ledger().genesis().document().base_height.0;
        let Some(payer) = &mut self.payer else { return Ok(()) };
        let coins = payer.sync(&self.bitcoin, birthday).await?;
        self.meters.coins.set(i64::try_from(coins.to_sat()).unwrap_or(i64::MAX));
        if let Some(why) = payer.trouble() {
            tracing::warn!(why, "only coins that were known before can pay for slashings");
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
        let paid: Amount = tx.output.iter().map(|output| output.value).sum();
        let fee = value_of(stake, output).checked_sub(paid).unwrap_or(Amount::ZERO);
        let parent = Parent::presigned(&tx, fee);
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

fn value_of(stake: &Stake, output: Slashable) -> Amount {
    match output {
        Slashable::Staking => stake.contract.coin.value,
        Slashable::Unbonding => unbonding_coin(&stake.presigned.unbonding).value,
    }
}
