//! How a stake of the holder's stands: facts that follow from the book and the own copy of the hub's log. No words, no node.

use crate::record::StakeRecord;
use bitcoin::Txid;
use palisade_hub::ledger::Ledger;
use palisade_hub::ledger::stake::{Spend, Stake};
use palisade_hub::ledger::state::StakeState;
use palisade_protocol::params::Params;
use palisade_protocol::registration::{check_amount, check_lock};
use palisade_protocol::stake::{Contract, Presigned};
use palisade_protocol::transactions::CannotBuild;
use palisade_protocol::units::BtcHeight;

/// Blocks that a broadcast transaction is given before its registration would lapse.
const LAPSE_MARGIN: u32 = 6;

/// What the log knows of a stake: by its coins, because the record may be older than the registration. One that lapsed counts
/// only under its own name: it may have been registered anew.
pub fn known<'a>(record: &StakeRecord, ledger: &'a Ledger) -> Option<&'a Stake> {
    let there = ledger.stakes().at_outpoint(&record.outpoint).map(|(_, stake)| stake);
    let named = record.id.and_then(|id| ledger.stakes().find(&id)).map(|(_, stake)| stake);
    there.filter(|stake| !stake.lapsed || record.id.is_none()).or(named)
}

/// Whether a stake was not sent and never will be.
pub fn is_over(record: &StakeRecord, stake: Option<&Stake>) -> bool {
    let ended = |stake: &Stake| matches!(stake.state, StakeState::Rejected | StakeState::Lapsed);
    !record.broadcast && stake.is_some_and(ended)
}

/// Whether no block holds a stake and one still may, as far as the log says.
pub fn is_under_way(record: &StakeRecord, stake: Option<&Stake>) -> bool {
    stake.is_none_or(|stake| stake.included.is_none()) && !is_over(record, stake)
}

/// A stake and its exits as these parameters want them.
pub fn agreed_under(contract: &Contract, params: &Params) -> Result<(Contract, Presigned), CannotBuild> {
    let contract = Contract { unbonding_time: params.unbonding_time(), ..contract.clone() };
    contract.presign(params).map(|presigned| (contract, presigned))
}

/// Why a stake that lapsed cannot be registered anew, were it in the block of a height; nothing if it can. Source:
/// docs/protocol.md, section 5.5.
pub fn never_anew(stake: &Stake, height: u32, ledger: &Ledger) -> Option<&'static str> {
    let params = ledger.params_at(BtcHeight(height)).1;
    let contract = &stake.contract;
    let same_exits = agreed_under(contract, params).is_ok_and(|(_, now)| now == stake.presigned);
    let in_bounds =
        check_lock(contract.lock, params).is_ok() && check_amount(contract.coin.value, params).is_ok();
    if !same_exits || !in_bounds || contract.keys.committee() != params.committee() {
        return Some("the rules for new stakes are not those that it was agreed on under any more");
    }
    if stake.exposed {
        return Some("the key of a provider that it names is out");
    }
    (!stake.former.is_empty()).then_some("it names former providers, as only an expansion does")
}

/// Last height of Bitcoin at which a stake that was not sent can still be; none if it never lapses, or has.
pub fn resumable_until(stake: &Stake) -> Option<u32> {
    let last = stake.lapses_at.0.saturating_sub(LAPSE_MARGIN + 1);
    Some(last).filter(|_| !stake.ever_included && !stake.lapsed)
}

/// The stake that a stake expands, and how it was spent, if it was and not by that expansion: then that can never confirm.
pub fn displaced<'a>(record: &StakeRecord, ledger: &'a Ledger) -> Option<(&'a Stake, Spend)> {
    let (_, old) = ledger.stakes().find(&record.expands?)?;
    let spend = old.spend.filter(|spend| spend.txid != record.outpoint.txid)?;
    Some((old, spend))
}

/// Whether a transaction is the early exit of a stake.
pub fn is_exit(record: &StakeRecord, txid: &Txid) -> bool {
    record.presigned.as_ref().is_some_and(|own| own.unbonding.compute_txid() == *txid)
}

/// Whether a transaction slashes a stake, or what its early exit has left.
pub fn is_slashing(record: &StakeRecord, txid: &Txid) -> bool {
    let slashings = record.presigned.iter().flat_map(|own| [&own.slashing, &own.unbonding_slashing]);
    slashings.into_iter().any(|slashing| slashing.compute_txid() == *txid)
}

/// The stake of the holder's that a transaction makes.
pub fn made_by<'a>(txid: &Txid, book: &'a [StakeRecord]) -> Option<&'a StakeRecord> {
    book.iter().find(|other| other.outpoint.txid == *txid)
}

/// Whether a transaction that moves a stake's coins was agreed on with the committee: its early exit, an expansion, a
/// slashing. No withdrawal takes its place.
pub fn is_agreed(record: &StakeRecord, txid: &Txid, book: &[StakeRecord]) -> bool {
    is_exit(record, txid) || is_slashing(record, txid) || made_by(txid, book).is_some()
}
