//! What the holder is shown before coins are locked, and after.

use crate::amount;
use crate::record::StakeRecord;
use crate::session::Session;
use crate::status::{Seen, describe};
use crate::when::Calendar;
use crate::words::View;
use bitcoin::Amount;
use palisade_hub::ledger::Ledger;
use palisade_hub::ledger::state::StakeState;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::params::Params;
use palisade_protocol::stake::Contract;
use serde::Serialize;
use std::fmt;

/// What staking would mean.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How much is locked.
    pub amount: Amount,
    /// Of it, what was locked before, for an expansion.
    pub already: Amount,
    /// What miners get, if that is known.
    pub fee: Option<Amount>,
    /// For how many blocks.
    pub lock: u32,
    /// Confirmations that it needs until it has power.
    pub k: u32,
    /// Height of Bitcoin's tip; the next block is taken for the stake's.
    pub tip: u32,
    /// How blocks are shown.
    pub calendar: Calendar,
    /// For an expansion: height at which the old stake could have been withdrawn.
    pub withdraw_before: Option<u32>,
    /// What leaving early costs.
    pub unbonding_fee: Amount,
    /// And how long it takes.
    pub unbonding_blocks: u32,
    /// What is burned if a provider is caught.
    pub slashed: Amount,
    /// What miners get of it at least.
    pub slashing_fee: Amount,
    /// One line for each provider.
    pub providers: Vec<String>,
    /// The same for those that stay named without power.
    pub former: Vec<String>,
    /// Where rewards go, if that is still to be decided.
    pub payout: Option<String>,
    /// Broadcast before the committee has signed.
    pub confirmed_first: bool,
}

impl Plan {
    /// What a contract means under the parameters, with the tip at a height.
    pub fn new(contract: &Contract, params: &Params, tip: u32, calendar: Calendar) -> Self {
        let (lock, unbonding) = (u32::from(contract.lock.get()), u32::from(contract.unbonding_time.get()));
        Self {
            amount: contract.coin.value,
            already: Amount::ZERO,
            fee: None,
            lock,
            k: params.k(),
            tip,
            calendar,
            withdraw_before: None,
            unbonding_fee: params.unbonding_fee(),
            unbonding_blocks: unbonding,
            slashed: params.slashing_amount(contract.coin.value),
            slashing_fee: params.min_slash_fee(),
            providers: Vec::new(),
            former: Vec::new(),
            payout: None,
            confirmed_first: false,
        }
    }

    /// Height of the first block that may hold a withdrawal.
    pub fn withdraw_at(&self) -> u32 {
        self.tip + 1 + self.lock
    }

    /// Bitcoin heights between which it has power.
    fn power(&self) -> [u32; 2] {
        [self.tip + 1 + self.k, self.withdraw_at().saturating_sub(self.unbonding_blocks)]
    }

    /// Names the providers as the ledger knows them.
    pub fn name_providers(&mut self, ledger: &Ledger, providers: &[ProviderKey], former: &[ProviderKey]) {
        let name = |key: &ProviderKey| match ledger.providers().get(key) {
            Some(known) => format!("{}: {} ({key})", known.chain, known.operator),
            None => key.to_string(),
        };
        self.providers = providers.iter().map(name).collect();
        self.former = former.iter().map(name).collect();
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "Lock {} for {}.", amount::show(self.amount), self.calendar.blocks(self.lock))?;
        let show = |height| self.calendar.height(height, self.tip);
        if self.already > Amount::ZERO {
            let added = self.amount.checked_sub(self.already).unwrap_or_default();
            writeln!(f, "  of it new:     {}", amount::show(added))?;
        }
        if let Some(fee) = self.fee {
            writeln!(f, "  fee:           {}", amount::show(fee))?;
        }
        let [gains, ends] = self.power();
        writeln!(
            f,
            "  power:         from {} on, {} after the stake's",
            show(gains),
            self.calendar.blocks(self.k)
        )?;
        writeln!(f, "  power until:   {}", show(ends))?;
        writeln!(f, "  withdraw:      from {}", show(self.withdraw_at()))?;
        if let Some(height) = self.withdraw_before {
            let change = if self.withdraw_at() < height { ": this is EARLIER" } else { "" };
            writeln!(f, "  until now:     from {}{change}", show(height))?;
        }
        let wait = self.calendar.blocks(self.unbonding_blocks);
        writeln!(
            f,
            "  leave early:   any time, for a fee of {}, then wait {wait}",
            amount::show(self.unbonding_fee),
        )?;
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
            "  risk:          if one of these providers signs two blocks at one height, {} are burned, {} go to miners, and the rest waits {}",
            amount::show(self.slashed),
            amount::show(self.slashing_fee),
            wait
        )?;
        if self.confirmed_first {
            writeln!(
                f,
                "  WARNING: it is locked before the committee has signed. Until a quorum has, nothing can leave before block {}.",
                self.withdraw_at()
            )?;
        }
        Ok(())
    }
}

/// What became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Locked {
    /// Its id in the hub's log, once it has one.
    pub id: Option<String>,
    /// Where it is.
    pub outpoint: String,
    /// How much, in sat.
    pub amount_sat: u64,
    /// For how many blocks.
    pub lock_blocks: u16,
    /// Whether it was handed to Bitcoin.
    pub broadcast: bool,
    /// Its state in the own copy of the hub's log.
    pub state: Option<StakeState>,
    /// For an expansion, the stake that goes into it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expands: Option<String>,
    /// What comes next.
    pub next: String,
    /// The signed transaction, hex, where it was to be printed instead of sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
}

impl Locked {
    /// What the book and the ledger say of it.
    pub fn new(session: &Session, record: &StakeRecord) -> Self {
        let calendar = Calendar::of(session.network());
        let view = View { ledger: session.ledger(), book: session.book.stakes(), calendar };
        let told = describe(record, Seen::default(), view);
        Self {
            id: told.id,
            outpoint: told.outpoint,
            amount_sat: record.amount_sat,
            lock_blocks: record.lock.get(),
            broadcast: record.broadcast,
            state: told.state,
            expands: record.expands.map(|old| old.to_string()),
            next: told.next,
            raw: None,
        }
    }
}

impl fmt::Display for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.id.as_ref().unwrap_or(&self.outpoint);
        writeln!(f, "stake {name}")?;
        writeln!(f, "  at {}", self.outpoint)?;
        let state = self.state.map_or_else(String::new, |state| format!("{state}: "));
        match &self.expands {
            Some(old) if !self.broadcast => {
                writeln!(f, "  not sent: stake {old} stays as it is, with its power, until this one is sent")
            }
            _ => writeln!(f, "  {state}{}", self.next),
        }?;
        if !self.broadcast {
            writeln!(f, "  go on: palisade-staker stake --resume {name}")?;
        }
        self.raw.iter().try_for_each(|raw| writeln!(f, "  transaction: {raw}"))?;
        write!(f, "next: palisade-staker status {name}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::when::Moment;
    use bitcoin::Network;

    fn plan() -> Plan {
        Plan {
            amount: Amount::from_sat(50_000_000),
            already: Amount::ZERO,
            fee: Some(Amount::from_sat(308)),
            lock: 2_000,
            k: 6,
            tip: 111,
            calendar: Calendar::from(Moment(1_795_262_400), Network::Signet),
            withdraw_before: None,
            unbonding_fee: Amount::from_sat(2_000),
            unbonding_blocks: 144,
            slashed: Amount::from_sat(5_000_000),
            slashing_fee: Amount::from_sat(2_000),
            providers: vec!["zero: anna (02ab)".into()],
            former: Vec::new(),
            payout: Some("bcrt1p".into()),
            confirmed_first: false,
        }
    }

    #[test]
    fn the_holder_is_told_what_it_means_before_coins_are_locked() {
        let expected = "\
Lock 0.5 BTC (50,000,000 sat) for 2,000 blocks (about 14 days).
  fee:           0.00000308 BTC (308 sat)
  power:         from block 118, about 21 Nov 2026 on, 6 blocks (about 60 minutes) after the stake's
  power until:   block 1968, about 4 Dec 2026
  withdraw:      from block 2112, about 5 Dec 2026
  leave early:   any time, for a fee of 0.00002 BTC (2,000 sat), then wait 144 blocks (about 24 hours)
  power to:      zero: anna (02ab)
  rewards to:    bcrt1p
  risk:          if one of these providers signs two blocks at one height, 0.05 BTC (5,000,000 sat) are burned, 0.00002 BTC (2,000 sat) go to miners, and the rest waits 144 blocks (about 24 hours)
";
        assert_eq!(plan().to_string(), expected);
    }

    #[test]
    fn locking_before_the_committee_has_signed_is_warned_of() {
        assert!(!plan().to_string().contains("WARNING"));
        let text = Plan { confirmed_first: true, ..plan() }.to_string();
        assert!(text.contains("WARNING") && text.contains("nothing can leave before block 2112"), "{text}");
    }

    #[test]
    fn an_expansion_says_what_is_new() {
        let text = Plan { already: Amount::from_sat(40_000_000), ..plan() }.to_string();
        assert!(text.contains("of it new:     0.1 BTC (10,000,000 sat)"), "{text}");
        assert!(!text.contains("until now") && !text.contains("still named"), "{text}");
    }

    #[test]
    fn an_expansion_says_who_can_still_be_slashed_and_whether_the_lock_ends_earlier() {
        for (before, earlier) in [(2_111, false), (2_112, false), (2_113, true)] {
            let text =
                Plan { withdraw_before: Some(before), former: vec!["dev: bert (03cd)".into()], ..plan() }
                    .to_string();
            assert_eq!(text.contains("EARLIER"), earlier, "{text}");
            assert!(
                text.contains("still named:   dev: bert (03cd): no power, but it can still be slashed"),
                "{text}"
            );
        }
    }
}
