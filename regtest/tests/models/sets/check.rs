//! What must hold of each hub block, written from the design and not from the code.

use super::State;
use super::world::{LIFETIME, NAMES};
use palisade_hub::ledger::Ledger;
use palisade_hub::ledger::chains::{Chain, FixedSet};
use palisade_hub::ledger::stake::SpendKind;
use palisade_hub::ledger::state::StakeState;
use palisade_protocol::finality::set::Member;
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::units::{BtcHeight, Epoch};
use palisade_world::provider_key;
use std::collections::BTreeMap;

type Broken = Option<&'static str>;

fn fails(holds: bool, what: &'static str) -> Broken {
    (!holds).then_some(what)
}

fn zero(ledger: &Ledger) -> &Chain {
    &ledger.chains()[0]
}

/// Power as the states of the stakes say.
fn power_of(ledger: &Ledger) -> BTreeMap<ProviderKey, u64> {
    let mut power = BTreeMap::new();
    for stake in ledger.stakes().iter() {
        let sat = stake.contract.coin.value.to_sat();
        let successor = match stake.spend.map(|spend| spend.kind) {
            Some(SpendKind::Expansion(new)) => ledger.stakes().get(new),
            _ => None,
        };
        let keeps = |key: &&ProviderKey| match (stake.state, successor) {
            (StakeState::Active, _) => true,
            (StakeState::Expanded, Some(new)) => {
                stake.activated
                    && !stake.exposed
                    && new.state == StakeState::Verified
                    && new.providers.contains(key)
            }
            _ => false,
        };
        stake.providers.iter().filter(keeps).for_each(|key| *power.entry(*key).or_default() += sat);
    }
    power
}

/// Power is what the states say, and while the breaker is tripped nobody gains any.
pub(super) fn power(before: &State, after: &State) -> Broken {
    let own = |state: &State, place: usize| {
        let ledger = &state.world.ledger;
        ledger.providers().get(&provider_key(NAMES[place])).expect("registered").power.to_sat()
    };
    let has = |state: &State, place: usize| own(state, place) + state.given[place];
    let said = power_of(&after.world.ledger);
    let mut all = 0..NAMES.len();
    let is_said = |place| own(after, place) == said.get(&provider_key(NAMES[place])).copied().unwrap_or(0);
    let still = before.is_tripped() && after.is_tripped();
    fails(all.clone().all(is_said), "power is what the states say").or_else(|| {
        let gained = all.any(|place| has(after, place) > has(before, place));
        fails(!still || !gained, "a tripped breaker gives no power")
    })
}

/// Who had less than a third of a set has less than half of the next one that is chosen by what it kept, and so no quorum, unless
/// governance has decided. What others bring later is for everybody to see.
pub(super) fn share(before: &State, after: &State, decided: bool) -> Broken {
    let newest = |state: &State| state.zero().newest().map(|(epoch, fixed)| (epoch, fixed.clone()));
    let (Some((old_epoch, old)), Some((epoch, new))) = (newest(before), newest(after)) else { return None };
    if old_epoch == epoch || new.carried_over || decided {
        return None;
    }
    let power = |fixed: &FixedSet, place: usize| {
        fixed.set.find(&provider_key(NAMES[place])).map_or(0, |(_, own)| own.power.to_sat())
    };
    let total = |fixed: &FixedSet| fixed.set.header().total.to_sat();
    let holds = (1..1 << NAMES.len()).all(|some: u32| {
        let some = (0..NAMES.len()).filter(|place| some & 1 << place != 0);
        let had: u64 = some.clone().map(|place| power(&old, place)).sum();
        let kept: u64 = some.map(|place| power(&old, place).min(power(&new, place))).sum();
        3 * had >= total(&old) || 2 * kept < total(&new)
    });
    fails(holds, "who had less than a third of a set has less than half of the next")
}

/// What was fixed stays, a chain that is open never lacks the next set, and each new one is what the rules say.
pub(super) fn sets(before: &Ledger, closing: &Ledger, after: &Ledger) -> Broken {
    let all = |ledger: &Ledger| -> Vec<(Epoch, Hash32)> {
        let sets = zero(ledger).eras().flatten();
        sets.map(|(epoch, fixed)| (*epoch, fixed.set.hash())).collect()
    };
    let (old, new) = (all(before), all(after));
    if !new.starts_with(&old) {
        return Some("a fixed set stays as it is");
    }
    let chain = zero(after);
    let closed = chain.terms.epoch_of(closing.next_height());
    let is_first = chain.terms.first_height(closed) == closing.next_height();
    let is_open = zero(closing).newest().is_some();
    let found = chain.sets.get(&closed.next());
    if is_first && is_open && found.is_none() {
        return Some("the first block of an epoch fixes the next set");
    }
    if new.len() == old.len() {
        return None;
    }
    if !is_first || new.len() > old.len() + 1 {
        return Some("only the first block of an epoch fixes a set, and one");
    }
    let Some(fixed) = found else { return Some("it is the next epoch's set") };
    match zero(closing).newest() {
        Some((_, last)) if fixed.carried_over => carried_over(last, fixed, closing, after, closed.next()),
        last => chosen(last.map(|(_, last)| last), fixed, closing, closed.next()),
    }
}

fn root(closing: &Ledger, key: &ProviderKey, epoch: Epoch) -> Option<Hash32> {
    closing.providers().get(key)?.roots.get(&epoch).copied()
}

/// Same keys, powers and expiry; each root as it is now, or none.
fn carried_over(last: &FixedSet, new: &FixedSet, closing: &Ledger, after: &Ledger, epoch: Epoch) -> Broken {
    let expected: Vec<Member> = last
        .set
        .members()
        .iter()
        .map(|own| Member { nonce_root: root(closing, &own.key, epoch).unwrap_or(Hash32::ZERO), ..*own })
        .collect();
    fails(after.breaker().is_some(), "a set is carried over only while the breaker is tripped")
        .or_else(|| {
            fails(new.set.members() == expected, "a carried-over set has the members of the one before")
        })
        .or_else(|| {
            fails(new.set.header().expiry == last.set.header().expiry, "a carried-over set lives no longer")
        })
}

/// Whoever has power, is not out and has a root, with the power of now; never two thirds of the set before or less, unless
/// governance accepted that.
fn chosen(last: Option<&FixedSet>, new: &FixedSet, closing: &Ledger, epoch: Epoch) -> Broken {
    let power = power_of(closing);
    let is_out = |key: &ProviderKey| closing.providers().is_exposed(key);
    let expected = power.iter().filter(|(key, _)| !is_out(key));
    let expected: Vec<_> =
        expected.filter_map(|(key, sat)| Some((*key, *sat, root(closing, key, epoch)?))).collect();
    let members = new.set.members().iter().map(|own| (own.key, own.power.to_sat(), own.nonce_root));
    let total = new.set.header().total.to_sat();
    let accepted = zero(closing).accepted.is_some_and(|least| total >= least.to_sat());
    let strong = last.is_none_or(|last| 3 * total > 2 * last.set.header().total.to_sat());
    let expiry = BtcHeight(closing.btc_height().0 + LIFETIME);
    fails(closing.breaker().is_none(), "while the breaker is tripped no set is chosen")
        .or_else(|| fails(members.eq(expected), "a set is the eligible power of its moment"))
        .or_else(|| fails(strong || accepted, "a set holds more than two thirds of the one before"))
        .or_else(|| fails(new.set.header().expiry == expiry, "a set lives as long as the parameters say"))
}

/// A key that is out is in no set that is chosen after.
pub(super) fn nobody_is_out(state: &State, closing: &Ledger, after: &Ledger) -> Broken {
    let newest = |ledger: &Ledger| zero(ledger).newest().map(|(epoch, _)| epoch);
    let (_, fixed) = zero(after).newest().filter(|(epoch, _)| Some(*epoch) != newest(closing))?;
    let named = (0..NAMES.len()).filter(|place| fixed.set.find(&provider_key(NAMES[*place])).is_some());
    let clean = named.into_iter().all(|place| !state.out[place]);
    fails(fixed.carried_over || clean, "no key that is out is in a new set")
}
