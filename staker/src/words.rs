//! What is going on with a stake and what comes next, in words: the same from every command.

use crate::record::StakeRecord;
use crate::when::Calendar;
use bitcoin::Txid;
use palisade_hub::ledger::Ledger;
use palisade_hub::ledger::stake::{Spend, SpendKind, Stake};
use palisade_hub::ledger::state::StakeState;

/// What words are found from.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The own copy of the hub's log.
    pub ledger: &'a Ledger,
    /// The holder's stakes.
    pub book: &'a [StakeRecord],
    /// How blocks become times.
    pub calendar: Calendar,
}

/// What the log knows of a stake: by its name, or by its coins where the record is older than the registration.
pub fn known<'a>(record: &StakeRecord, ledger: &'a Ledger) -> Option<&'a Stake> {
    let stakes = ledger.stakes();
    let named = record.id.and_then(|id| stakes.find(&id));
    named.or_else(|| stakes.at_outpoint(&record.outpoint)).map(|(_, stake)| stake)
}

/// What a transaction without confirmation does that moves a stake's coins.
pub fn moves(record: &StakeRecord, txid: &Txid, book: &[StakeRecord], calendar: Calendar) -> String {
    if is_exit(record, txid) {
        let wait = calendar.blocks(record.unbonding_time.get().into());
        return format!(
            "the early exit is sent and waits for its first confirmation: {txid}; {wait} after that the coins can be withdrawn"
        );
    }
    let new = book.iter().find(|other| other.outpoint.txid == *txid);
    let what = match new {
        Some(new) => format!("the expansion into stake {}", new.name()),
        None => "a transaction that moves its coins".to_owned(),
    };
    format!("{what} is sent and waits for its first confirmation: {txid}")
}

fn is_exit(record: &StakeRecord, txid: &Txid) -> bool {
    record.presigned.as_ref().is_some_and(|own| own.unbonding.compute_txid() == *txid)
}

/// Whether a transaction that moves a stake's coins is its early exit or an expansion: no withdrawal takes its place.
pub fn is_own(record: &StakeRecord, txid: &Txid, book: &[StakeRecord]) -> bool {
    is_exit(record, txid) || book.iter().any(|other| other.outpoint.txid == *txid)
}

/// What moved a stake's coins for good, if the log says so.
pub fn ended(stake: &Stake, ledger: &Ledger) -> Option<String> {
    let by = |spend: Spend| format!("by {} in block {}", spend.txid, spend.place.height);
    let spend = stake.unbonding_spend.or(stake.spend)?;
    match spend.kind {
        SpendKind::Withdrawal => Some(format!("withdrawn {}; nothing is left to do", by(spend))),
        SpendKind::Expansion(new) => {
            let name = ledger.stakes().get(new).map_or_else(String::new, |new| format!(" {}", new.id));
            Some(format!("went into stake{name}, which expands it, {}", by(spend)))
        }
        SpendKind::Breach => Some(format!(
            "moved by the committee into something that nobody registered, {}: ALARM",
            by(spend)
        )),
        SpendKind::Unbonding | SpendKind::Slashing => None,
    }
}

/// What comes next for a stake in the ledger.
pub fn next(stake: &Stake, broadcast: bool, view: View<'_>) -> String {
    let tip = view.ledger.btc_height().0;
    let when = |height: u32| view.calendar.height(height, tip);
    let quorum = stake.contract.keys.committee().quorum();
    let matures = stake.withdrawable_at().map_or(0, |height| height.0);
    match stake.state {
        StakeState::Pending if broadcast && stake.included.is_none() => format!(
            "handed to Bitcoin; waits for its first block, and for the committee: {} of {quorum} have signed",
            stake.signatures.len()
        ),
        StakeState::Pending => {
            format!("waits for the committee: {} of {quorum} have signed", stake.signatures.len())
        }
        StakeState::Verified => match stake.deep_at() {
            Some(deep) => {
                format!("in block {}; gains power at {}", deep.0.saturating_sub(stake.k), when(deep.0))
            }
            None if broadcast => format!(
                "handed to Bitcoin; waits for its first block, and gains power {} after that",
                view.calendar.blocks(stake.k)
            ),
            None => format!("the committee has signed, nothing is locked yet: `stake --resume {}`", stake.id),
        },
        StakeState::Active => format!(
            "active; has power until {}; can be withdrawn from {}; `unbond` leaves early",
            when(stake.ends_at().map_or(0, |height| height.0)),
            when(matures)
        ),
        StakeState::Ending => format!("has no power any more; can be withdrawn from {}", when(matures)),
        StakeState::Unbonding => {
            let left =
                stake.spend.map_or_else(String::new, |spend| format!(" in block {}", spend.place.height));
            format!("left early{left}; can be withdrawn from {}", when(matures))
        }
        StakeState::Exposed => format!(
            "the key of a provider is out: part of it will be slashed; what is left can be withdrawn later, otherwise from {}",
            when(matures)
        ),
        StakeState::Withdrawable => format!("can be withdrawn now: `withdraw {}`", stake.id),
        StakeState::Withdrawn | StakeState::Expanded | StakeState::Breached => {
            ended(stake, view.ledger).unwrap_or_default()
        }
        StakeState::Slashed => {
            format!("slashed; the rest can be withdrawn from {}: `withdraw {}`", when(matures), stake.id)
        }
        StakeState::Rejected if stake.included.is_some() => {
            format!("the committee refused it; can be withdrawn from {}", when(matures))
        }
        StakeState::Rejected => {
            let reasons: Vec<&str> = stake.refusals.values().map(String::as_str).collect();
            format!("the committee refused it ({}); nothing is locked", reasons.join("; "))
        }
        StakeState::Lapsed if stake.included.is_some() => {
            format!("came too late to count; can be withdrawn from {}", when(matures))
        }
        StakeState::Lapsed if broadcast => format!(
            "handed to Bitcoin, and not in a block in time to count; if one holds it, it can be withdrawn {} later",
            view.calendar.blocks(stake.contract.lock.get().into())
        ),
        StakeState::Lapsed => "was never sent; nothing is locked".to_owned(),
    }
}

/// The same for a stake that the log does not have.
pub fn unregistered(record: &StakeRecord, calendar: Calendar) -> String {
    let name = record.name();
    match record.broadcast {
        true => format!(
            "handed to Bitcoin, not in the hub's log: `stake --resume {name}`; withdrawable {} after its block in any case",
            calendar.blocks(record.lock.get().into())
        ),
        false => format!("prepared, nothing is locked: `stake --resume {name}`"),
    }
}
