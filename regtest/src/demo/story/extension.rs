//! Step 4.3: a holder takes a stake into a larger one in one step. Its power is never interrupted.

use super::exits::{SMALL_SAT, one_signature_short};
use super::power::each;
use super::{Stake, Story, outpoint_txid};
use crate::demo::network::string;
use crate::demo::tell::btc;
use anyhow::ensure;
use bitcoin::Txid;

/// Whose keys the stake names.
const OPERATOR: usize = 3;

impl Story {
    /// One extends without leaving: half a small stake becomes a whole one.
    pub(super) async fn one_extends_without_leaving(&mut self) -> anyhow::Result<()> {
        let mut step = self.begin("4.3").await?;
        let index = self.new_stake("hugo", OPERATOR, SMALL_SAT / 2, "2000 blocks").await?;
        let old = self.stakes[index].clone();
        step.refs.push(format!("stakes/{index}"));
        let before = self.power(OPERATOR).await?.sats;

        let add = format!("{} sat", SMALL_SAT - old.sat);
        let complete = old.holder.signed(&["extend", "--yes", "--print", "--add", &add, &old.id]).await?;
        step.refs
            .push(self.refuse(&one_signature_short(&complete)?, "unbonding", "one signature short").await?);
        let (new, txid) = self.broadcast_extension(&old, &complete.compute_txid()).await?;
        step.txs.push(txid);
        step.refs.push(format!("stakes/{}", self.stakes.len() - 1));

        self.mine(1, "the expansion confirms").await?;
        self.network.until_state(&old.id, "EXPANDED").await?;
        let expanded = self.power(OPERATOR).await?.sats;
        self.mine(5, "up to one block before depth k").await?;
        let view = self.network.until_state(&new.id, "VERIFIED").await?;
        let almost = self.power(OPERATOR).await?.sats;
        ensure!(view["included"].is_object(), "the new stake is not known to be on Bitcoin: {view}");
        ensure!(
            expanded == before && almost == before,
            "power was {before:?} sat, then {expanded:?}, then {almost:?}"
        );
        self.tell.line(format!("the old stake is expanded; its {} count on until depth k", btc(old.sat)));
        self.mine(1, "depth k").await?;
        self.network.until_state(&new.id, "ACTIVE").await?;
        let after = self.power(OPERATOR).await?.sats;
        let wanted: Vec<u64> = before.iter().map(|sat| sat + new.sat - old.sat).collect();
        ensure!(after == wanted, "power is {after:?} sat at depth k instead of {wanted:?}");
        self.tell.line(format!("power of both keys: {} before, {} at depth k", each(&before), each(&after)));
        self.done(step, "A holder extends without leaving; power is not interrupted").await
    }

    /// Broadcasts what was prepared.
    async fn broadcast_extension(&mut self, old: &Stake, prepared: &Txid) -> anyhow::Result<(Stake, Txid)> {
        let locked = old.holder.run(&["stake", "--yes", "--resume", &prepared.to_string()]).await?;
        let txid = outpoint_txid(&string(&locked, "outpoint")?)?;
        ensure!(txid == *prepared, "{txid} was broadcast instead of {prepared}");
        let new = Stake { id: string(&locked, "id")?, holder: old.holder.clone(), sat: SMALL_SAT };
        ensure!(locked["amount_sat"] == new.sat, "the new stake holds {}", locked["amount_sat"]);
        self.report.tx(txid, "expand", Some(&new.id), Some("unbonding"));
        self.tell.line(format!(
            "{} takes the stake of {} into one of {} in {txid}",
            old.holder.name,
            btc(old.sat),
            btc(new.sat)
        ));
        self.stakes.push(new.clone());
        Ok((new, txid))
    }
}
