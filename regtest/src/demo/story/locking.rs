//! Steps 1 and 2.1: operators register, holders lock coins, the committee signs, stakes become active at depth k.

use super::{K, Stake, Step, Story, outpoint_txid};
use crate::demo::holders::Holder;
use crate::demo::network::string;
use crate::demo::operators::{BACKING_SAT, Operator};
use crate::demo::tell::btc;
use anyhow::{Context as _, ensure};
use bitcoin::Txid;
use serde_json::Value;

/// Operators.
const OPERATORS: [&str; 4] = ["dora", "anna", "bert", "carl"];
/// Their shares of the power planned for step 1, in percent.
pub const SHARES: [u64; 4] = [20, 30, 25, 25];
/// Holders; the first broadcasts before registering, the others register first.
const HOLDERS: [&str; 4] = ["dave", "alice", "bob", "carol"];
/// What each holder's wallet gets.
const WALLET_SAT: u64 = 60_000_000;
/// Power planned for step 1.
pub const PLANNED_SAT: u64 = 100_000_000;

impl Story {
    pub(super) async fn operators_register(&mut self) -> anyhow::Result<()> {
        self.tell.chapter("1. Operators register, holders lock coins");
        let mut step = self.begin("1.1").await?;
        for name in OPERATORS {
            let (operator, backings) = Operator::new(&self.network, name, &self.chain).await?;
            for txid in &backings {
                self.tell.line(format!("{name} keeps {} for a registration in {txid}", btc(BACKING_SAT)));
            }
            backings.iter().for_each(|txid| self.report.tx(*txid, "fund", None, None));
            step.txs.extend(backings);
            self.operators.push(operator);
        }
        self.network.mine(1).await?;
        for index in 0..self.operators.len() {
            let chain = self.chain.clone();
            let operator = &mut self.operators[index];
            operator.start().await?;
            operator.register(&chain).await?;
            let (name, zero) = (operator.name.clone(), operator.zero.clone());
            self.tell.line(format!(
                "operator {name} registers {zero} for chain zero, and {} for chain {}",
                operator.other, chain.id
            ));
            step.refs.extend([format!("fps/{}", 2 * index), format!("fps/{}", 2 * index + 1)]);
        }
        self.done(step, "Four operators register a key for chain zero and one for the development chain")
            .await
    }

    /// Holders fund wallets and stake; most register before they broadcast, one after.
    pub(super) async fn stakes_are_locked(&mut self) -> anyhow::Result<()> {
        let mut step = self.begin("1.2").await?;
        let mut holders = Vec::new();
        for name in HOLDERS {
            let (holder, txid) = Holder::new(&self.network, name, btc(WALLET_SAT)).await?;
            self.tell.line(format!("{name} gets {} in {txid}", btc(WALLET_SAT)));
            self.report.tx(txid, "fund", None, None);
            step.txs.push(txid);
            holders.push(holder);
        }
        self.network.mine(1).await?;
        self.done(step, "Holders fund their wallets").await?;

        let mut step = self.begin("1.3").await?;
        for (index, holder) in holders.iter().enumerate() {
            let sat = PLANNED_SAT / 100 * self.shares[index];
            let txid = self.lock(holder, index, sat, "2000 blocks", index == 0).await?;
            step.txs.push(txid);
            step.refs.push(format!("stakes/{index}"));
        }
        self.done(step, "Four stakes are locked, three registered before broadcasting, one after").await
    }

    /// A holder locks coins behind both keys of an operator.
    pub(super) async fn lock(
        &mut self,
        holder: &Holder,
        operator: usize,
        sat: u64,
        lock: &str,
        after: bool,
    ) -> anyhow::Result<Txid> {
        let operator = &self.operators[operator];
        let (name, zero, other) = (operator.name.clone(), operator.zero.clone(), operator.other.clone());
        let amount = format!("{sat} sat");
        let mut args = vec![
            "stake",
            "--yes",
            "--amount",
            &amount,
            "--provider",
            &zero,
            "--provider",
            &other,
            "--lock",
            lock,
        ];
        if after {
            args.extend(["--confirmed", "--no-wait"]);
        }
        let locked = holder.run(&args).await?;
        let locked = if after { self.confirm_first(holder, locked).await? } else { locked };
        let id = string(&locked, "id")?;
        let txid = outpoint_txid(&string(&locked, "outpoint")?)?;
        self.tell.line(format!("{} locks {} behind {name} for {lock} in {txid}", holder.name, btc(sat)));
        self.report.tx(txid, "stake", Some(&id), None);
        self.stakes.push(Stake { id, holder: holder.clone(), sat });
        Ok(txid)
    }

    /// Who broadcasts first registers once the stake has a confirmation.
    async fn confirm_first(&mut self, holder: &Holder, locked: Value) -> anyhow::Result<Value> {
        self.network.mine(1).await?;
        holder.run(&["stake", "--yes", "--resume", &string(&locked, "outpoint")?]).await
    }

    /// The committee has signed; at depth k the stakes have power.
    pub(super) async fn stakes_become_active(&mut self) -> anyhow::Result<()> {
        self.tell.chapter("2. The committee signs, sets form, blocks become final");
        let step = self.begin("2.1").await?;
        self.mine(1, "the stakes confirm").await?;
        for stake in self.stakes.clone() {
            let view = self.network.until_state(&stake.id, "VERIFIED").await?;
            ensure!(
                view["signatures"].as_u64() >= view["quorum"].as_u64(),
                "a stake is verified without quorum"
            );
            let place = view["included"]["height"].as_u64();
            let place = place.map_or("of whose block the hub has not heard yet".to_owned(), |height| {
                format!("in block {height}")
            });
            self.tell.line(format!(
                "{}'s stake, {place}, has {} signatures of the committee, {} are needed: VERIFIED",
                stake.holder.name, view["signatures"], view["quorum"]
            ));
        }
        let almost = self.mine(K - 1, "up to one block before depth k").await?;
        for stake in self.stakes.clone() {
            let deep = self.deep_at(&stake).await?;
            // One is a block older than the others.
            if deep > almost {
                let early = self.network.stake(&stake.id).await?;
                ensure!(early["state"] == "VERIFIED", "a stake is {} before depth k", early["state"]);
                let name = &stake.holder.name;
                self.tell.line(format!(
                    "{name}'s stake has no power at height {almost}, depth {} of k = {K}",
                    K - 1
                ));
            }
        }
        self.mine(1, "depth k").await?;
        for stake in self.stakes.clone() {
            let view = self.network.until_state(&stake.id, "ACTIVE").await?;
            let steps = view["history"].as_array().context("a history")?;
            let active = steps.iter().find(|step| step["state"] == "ACTIVE").context("an activation")?;
            let (since, deep) = (&active["btc_height"], self.deep_at(&stake).await?);
            ensure!(*since == deep, "a stake is ACTIVE since height {since} instead of {deep}");
            let (name, sat) = (&stake.holder.name, btc(stake.sat));
            self.tell.line(format!("{name}'s {sat} are ACTIVE since height {since}, {K} above their block"));
        }
        let providers = self.network.view("providers").await?;
        for (operator, percent) in self.operators.iter().zip(self.shares) {
            for key in [&operator.zero, &operator.other] {
                let providers = providers["providers"].as_array().context("a list of providers")?;
                let own =
                    providers.iter().find(|provider| provider["key"] == **key).context("a registered key")?;
                let wanted = PLANNED_SAT / 100 * percent;
                ensure!(
                    own["sat"].as_u64() == Some(wanted),
                    "{key} has {} instead of {wanted} sat",
                    own["sat"]
                );
            }
        }
        let mut txs = Vec::new();
        for stake in &self.stakes {
            txs.push(outpoint_txid(&string(&self.network.stake(&stake.id).await?, "outpoint")?)?);
        }
        let refs = (0..self.stakes.len()).map(|index| format!("stakes/{index}")).collect();
        self.done(Step { refs, txs, ..step }, "At depth k = 6, and not before, all stakes have power").await
    }

    /// The height at which a stake is k deep, as soon as the hub knows its block.
    async fn deep_at(&mut self, stake: &Stake) -> anyhow::Result<u32> {
        let view = self.until_included(stake).await?;
        let height = view["included"]["height"].as_u64().context("a block")?;
        Ok(u32::try_from(height)? + K)
    }
}
