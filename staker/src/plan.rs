//! What a stake means: shown before coins are locked, and with every fact for scripts after.

use crate::finish;
use crate::providers::Named;
use crate::record::StakeRecord;
use crate::session::Session;
use crate::spare;
use crate::stake::show_script;
use crate::when::Calendar;
use crate::words;
use bitcoin::amount::serde::as_sat;
use bitcoin::{Amount, OutPoint};
use palisade_hub::daemon::exit::Failure;
use palisade_hub::ledger::stake::Stake as Known;
use palisade_hub::ledger::state::StakeState;
use palisade_protocol::stake::{Presigned, StakeId};
use serde::Serialize;
use std::fmt;

/// What a stake means.
#[derive(Debug, Clone, Serialize)]
pub struct Plan {
    /// How much is locked.
    #[serde(rename = "amount_sat", with = "as_sat")]
    pub amount: Amount,
    /// For how many blocks.
    pub lock_blocks: u32,
    /// What its transaction pays to miners; missing where the coins that it spends are not known any more.
    #[serde(rename = "fee_sat", with = "as_sat::opt")]
    pub fee: Option<Amount>,
    /// What its transaction brings back to the wallet.
    #[serde(rename = "change_sat", with = "as_sat")]
    pub change: Amount,
    /// Height of the block that holds it; of the next block while none does, and then all heights below are later by as many
    /// blocks as it comes later.
    pub counted_from: u32,
    /// What the wallet then has to pay for an early exit when fees are high; missing where nothing can be added to what is agreed on.
    #[serde(rename = "spare_sat", with = "as_sat::opt", skip_serializing_if = "Option::is_none")]
    pub spare: Option<Amount>,
    /// Whether a block holds it.
    pub included: bool,
    /// Confirmations that it needs until it has power.
    pub k: u32,
    /// Bitcoin height at which it gains power.
    pub active_at: u32,
    /// Bitcoin height at which it loses power.
    pub ends_at: u32,
    /// Height of the first block that may hold a withdrawal.
    pub withdraw_at: u32,
    /// What leaving early costs.
    #[serde(rename = "unbonding_fee_sat", with = "as_sat")]
    pub unbonding_fee: Amount,
    /// And for how many blocks the coins wait then.
    pub unbonding_blocks: u32,
    /// What is burned if a provider is caught.
    #[serde(rename = "slashed_sat", with = "as_sat")]
    pub slashed: Amount,
    /// What miners get of it.
    #[serde(rename = "slashing_fee_sat", with = "as_sat")]
    pub slashing_fee: Amount,
    /// Providers with power.
    pub providers: Vec<Named>,
    /// Providers that stay named without power.
    pub former: Vec<Named>,
    /// Where rewards go; missing until that is registered.
    pub payout: Option<String>,
    /// It is broadcast before the committee has signed.
    pub confirmed_first: bool,
    /// What keeps every stake from gaining power now.
    pub breaker: Option<String>,
    /// For an expansion, what it takes up.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expansion: Option<Expansion>,
    /// Height of Bitcoin.
    #[serde(skip)]
    pub tip: u32,
    /// How blocks are shown.
    #[serde(skip)]
    pub calendar: Calendar,
}

/// What an expansion takes up.
#[derive(Debug, Clone, Serialize)]
pub struct Expansion {
    /// The stake.
    pub stake: StakeId,
    /// How much that holds.
    #[serde(rename = "amount_sat", with = "as_sat")]
    pub amount: Amount,
    /// Height of the first block that may hold a withdrawal of it.
    pub withdraw_at: Option<u32>,
    /// Whether it has power now.
    pub active: bool,
    /// Providers that keep the power of the old amount between the expansion's block and the new stake's power.
    pub keep: Vec<Named>,
    /// Providers that lose their power with the expansion's block.
    pub lose: Vec<Named>,
}

impl Plan {
    /// What a stake of the book means: as it stands on Bitcoin, or as if the next block held it.
    pub fn of(session: &Session, record: &StakeRecord) -> Result<Self, Failure> {
        let ledger = session.ledger();
        let params = ledger.params_at(ledger.btc_height()).1;
        let (known, contract) = (session.known(record), record.contract()?);
        let presigned = match record.presigned() {
            Some(agreed) => agreed,
            None => contract.presign(params).map_err(Failure::failed)?,
        };
        let (unbonding_fee, slashed, slashing_fee) = costs(&presigned, contract.coin.value);
        let (lock, unbonding) = (contract.lock.get().into(), contract.unbonding_time.get().into());
        let tip = session.purse.height().max(ledger.btc_height().0);
        let included = known.and_then(|stake| stake.included).map(|place| place.height.0);
        let counted_from = included.unwrap_or(tip.saturating_add(1));
        let (k, deep_at) = (known.map_or(params.k(), |stake| stake.k), known.and_then(Known::deep_at));
        let old = record.expands.and_then(|id| ledger.stakes().find(&id)).map(|(_, old)| old);
        let withdraw_at = counted_from.saturating_add(lock);
        let registered = finish::registration_of(record);
        Ok(Self {
            amount: contract.coin.value,
            lock_blocks: lock,
            fee: fee(session, record, old),
            change: record.change(),
            spare: spare::is_of_use(&presigned).then(|| spare::left(session, Some(record))),
            counted_from,
            included: included.is_some(),
            k,
            active_at: deep_at.map_or(counted_from.saturating_add(k), |height| height.0),
            ends_at: withdraw_at.saturating_sub(unbonding),
            withdraw_at,
            unbonding_fee,
            unbonding_blocks: unbonding,
            slashed,
            slashing_fee,
            providers: Named::all(&record.providers, ledger),
            former: Named::all(&record.former, ledger),
            payout: registered.map(|own| show_script(&own.payout, session.network())),
            confirmed_first: record.registration.is_none(),
            breaker: words::breaker(ledger),
            expansion: old.map(|old| Expansion::of(session, old, record)),
            tip,
            calendar: Calendar::of(session.network()),
        })
    }
}

impl Expansion {
    fn of(session: &Session, old: &Known, new: &StakeRecord) -> Self {
        let (keep, lose): (Vec<_>, Vec<_>) =
            old.providers.iter().copied().partition(|key| new.providers.contains(key));
        Self {
            stake: old.id,
            amount: old.contract.coin.value,
            withdraw_at: old.matures_at().map(|height| height.0),
            active: old.state == StakeState::Active,
            keep: Named::all(&keep, session.ledger()),
            lose: Named::all(&lose, session.ledger()),
        }
    }
}

/// What leaving early costs, what a slashing burns, and what miners get of that.
fn costs(presigned: &Presigned, amount: Amount) -> (Amount, Amount, Amount) {
    let paid = |tx: &bitcoin::Transaction| tx.output.iter().map(|output| output.value).sum::<Amount>();
    let rest = |tx| amount.checked_sub(paid(tx)).unwrap_or_default();
    let slashed = presigned.slashing.output.first().map_or(Amount::ZERO, |output| output.value);
    (rest(&presigned.unbonding), slashed, rest(&presigned.slashing))
}

/// What a staking transaction pays to miners, while the coins that it spends are known.
fn fee(session: &Session, record: &StakeRecord, old: Option<&Known>) -> Option<Amount> {
    let coin_of_old = |outpoint: OutPoint| {
        old.map(|old| old.contract.coin).filter(|coin| coin.outpoint == outpoint).map(|coin| coin.value)
    };
    let spent = |outpoint: OutPoint| {
        let own = session.purse.coin(outpoint).ok().map(|coin| coin.output.value);
        own.or_else(|| coin_of_old(outpoint))
    };
    let inputs = record.staking_tx.input.iter().map(|input| spent(input.previous_output));
    let outputs: Amount = record.staking_tx.output.iter().map(|output| output.value).sum();
    inputs.sum::<Option<Amount>>().and_then(|paid| paid.checked_sub(outputs))
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let blocks = |count| self.calendar.blocks(count);
        writeln!(f, "Lock {} for {}.", self.amount, blocks(self.lock_blocks))?;
        self.tell_money(f)?;
        self.tell_times(f)?;
        let wait = blocks(self.unbonding_blocks);
        let when =
            if self.confirmed_first { "once a quorum of the committee has signed" } else { "any time" };
        writeln!(f, "  leave early:   {when}, for a fee of {}, then wait {wait}", self.unbonding_fee)?;
        for provider in &self.providers {
            writeln!(f, "  power to:      {provider}")?;
        }
        for provider in &self.former {
            writeln!(
                f,
                "  still named:   {provider}: no power, but it can still be slashed for what it has signed"
            )?;
        }
        if let Some(payout) = &self.payout {
            writeln!(f, "  rewards to:    {payout}")?;
        }
        writeln!(
            f,
            "  risk:          if one of these providers signs two blocks at one height, {} are burned, {} go to miners, and the rest waits {wait}",
            self.slashed, self.slashing_fee
        )?;
        if let Some(breaker) = &self.breaker {
            writeln!(f, "  WARNING: {breaker}")?;
        }
        if let Some(little) = self.spare.and_then(spare::warning) {
            writeln!(f, "  WARNING: {little}")?;
        }
        if self.confirmed_first {
            writeln!(
                f,
                "  WARNING: it is locked before the committee has signed. Until a quorum has, nothing can leave before block {}.",
                self.withdraw_at
            )?;
        }
        Ok(())
    }
}

impl Plan {
    fn tell_money(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(old) = &self.expansion {
            let added = self.amount.checked_sub(old.amount).unwrap_or_default();
            writeln!(f, "  of it new:     {added}")?;
        }
        if let Some(fee) = self.fee {
            writeln!(f, "  fee:           {fee}")?;
        }
        if self.change > Amount::ZERO {
            writeln!(
                f,
                "  change:        {} come back to the wallet with the same transaction",
                self.change
            )?;
        }
        Ok(())
    }

    fn tell_times(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let show = |height| self.calendar.height(height, self.tip);
        match self.included {
            true => writeln!(f, "  confirmed:     in block {}", self.counted_from)?,
            false => writeln!(
                f,
                "  if confirmed:  in the next block, {}; each block that it comes later moves the heights below by one",
                self.counted_from
            )?,
        }
        let (gains, depth) = (show(self.active_at), self.calendar.blocks(self.k));
        writeln!(f, "  power:         from {gains} on, {depth} after the stake's")?;
        if let Some(old) = self.expansion.as_ref().filter(|_| !self.included) {
            writeln!(f, "  until then:    {}", old.in_between(self.active_at))?;
        }
        writeln!(f, "  power until:   {}", show(self.ends_at))?;
        writeln!(f, "  withdraw:      from {}", show(self.withdraw_at))?;
        if let Some(height) = self.expansion.as_ref().and_then(|old| old.withdraw_at) {
            let change = if self.withdraw_at < height { ": this is EARLIER" } else { "" };
            writeln!(f, "  until now:     from {}{change}", show(height))?;
        }
        Ok(())
    }
}

impl Expansion {
    /// Who has power until the new stake has (docs/protocol.md, section 6.2).
    fn in_between(&self, active_at: u32) -> String {
        let list = |named: &[Named]| named.iter().map(Named::to_string).collect::<Vec<_>>().join(", ");
        if !self.active {
            return format!(
                "nobody has power by these coins, unless stake {} becomes ACTIVE before a block holds the expansion",
                self.stake
            );
        }
        let mut said = format!("stake {} keeps its power until a block holds the expansion; ", self.stake);
        said += &match self.keep.as_slice() {
            [] => format!("from then until block {active_at} nobody has power by these coins"),
            keep => {
                format!("from then until block {active_at} {} go on counting for {}", self.amount, list(keep))
            }
        };
        if !self.lose.is_empty() {
            said += &format!("; {} has none from that block on", list(&self.lose));
        }
        said
    }
}

#[cfg(test)]
mod tests;
