//! The start rule (docs/protocol.md, section 7.2) as a variant has it, without a part of it. With all of its parts it must give what
//! the ledger does: each step compares the two.

use super::{Check, chain, demo};
use palisade_hub::ledger::Ledger;
use palisade_hub::ledger::chains::FixedSet;
use palisade_protocol::finality::set::Member;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::units::Epoch;

/// A set by which a chain starts, or starts again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Opening {
    pub(super) epoch: Epoch,
    pub(super) members: Vec<Member>,
}

/// What starts the chain at the end of a block, before which the ledger was this.
pub(super) fn opening(closing: &Ledger, without: Option<Check>) -> Option<Opening> {
    let (own, goes_without) = (chain(closing), |check| without == Some(check));
    let is_tripped = closing.breaker().is_some() && !goes_without(Check::Tripped);
    let waits = is_tripped || (own.paused && !goes_without(Check::Paused));
    let last = own.newest().map(|(_, fixed)| fixed);
    let is_over = |fixed: &FixedSet| closing.btc_height() > fixed.set.header().expiry;
    if waits || !(last.is_none_or(is_over) || goes_without(Check::Expired)) {
        return None;
    }
    let minimum = match last {
        None => own.terms.minimum_power_sat,
        Some(_) if goes_without(Check::TwoThirds) => 1,
        Some(last) if goes_without(Check::HeldNow) => 2 * last.set.header().total.to_sat() / 3 + 1,
        Some(last) => 2 * held(closing, last) / 3 + 1,
    };
    let powers = closing.providers().eligible_power(&demo());
    let later = powers.range(closing.first_open_epoch(&demo())..);
    let (epoch, _) = { later }.find(|(_, power)| power.to_sat() >= minimum)?;
    Some(Opening { epoch: *epoch, members: closing.providers().eligible(&demo(), *epoch) })
}

/// What the members of a set hold now, but for those whose keys are out.
pub(super) fn held(ledger: &Ledger, fixed: &FixedSet) -> u64 {
    fixed.set.members().iter().map(|member| held_by(ledger, &member.key)).sum()
}

pub(super) fn held_by(ledger: &Ledger, key: &ProviderKey) -> u64 {
    let own = ledger.providers().get(key).filter(|own| own.exposed_at.is_none());
    own.map_or(0, |own| own.power.to_sat())
}

/// What the ledger has started the chain with in this block.
pub(super) fn opened(closing: &Ledger, after: &Ledger) -> Option<Opening> {
    let (epoch, fixed) =
        chain(after).newest().filter(|(epoch, _)| !chain(closing).sets.contains_key(epoch))?;
    let opens = chain(after).opened_at == Some(epoch);
    opens.then(|| Opening { epoch, members: fixed.set.members().to_vec() })
}
