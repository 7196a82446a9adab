//! What must hold of each block, written from the design and not from the code.

use super::rule::{self, Opening};
use super::world::{LIFETIME, MINIMUM, NAMES};
use super::{State, chain};
use palisade_hub::ledger::Ledger;
use palisade_hub::ledger::chains::FixedSet;
use palisade_protocol::finality::set::Member;
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::units::{BtcHeight, Epoch, Height};
use palisade_world::provider_key;

type Broken = Option<&'static str>;

pub(super) const IN_ORDER: &str = "no height becomes final below one that is final";

fn fails(holds: bool, what: &'static str) -> Broken {
    (!holds).then_some(what)
}

/// Sets that there are stay as they are, those that come are of later epochs, and a chain that waits for governance gets none.
pub(super) fn sets(before: &Ledger, closing: &Ledger, after: &Ledger) -> Broken {
    let all = |ledger: &Ledger| -> Vec<(Epoch, Hash32)> {
        chain(ledger).sets.iter().map(|(epoch, fixed)| (*epoch, fixed.set.hash())).collect()
    };
    let (old, new) = (all(before), all(after));
    let waits = closing.breaker().is_some() || chain(closing).paused;
    let expiry = BtcHeight(closing.btc_height().0 + LIFETIME);
    let lives = |epoch| chain(after).sets[epoch].set.header().expiry == expiry;
    fails(new.starts_with(&old), "a fixed set stays as it is, and one that comes is of a later epoch")
        .or_else(|| fails(new.len() <= old.len() + 1, "a block fixes one set of a chain at most"))
        .or_else(|| fails(!waits || new.len() == old.len(), "a chain that waits for governance gets no set"))
        .or_else(|| {
            let all_live = new[old.len()..].iter().all(|(epoch, _)| lives(epoch));
            fails(all_live, "a set lives as long as the parameters say")
        })
}

/// Final blocks stay, those that come lie above them, under sets that have not expired and while the chain does not wait.
pub(super) fn finals(before: &Ledger, closing: &Ledger) -> Broken {
    let all = |ledger: &Ledger| -> Vec<_> { chain(ledger).certified.clone().into_iter().collect() };
    let (old, new) = (all(before), all(closing));
    let live = |height: &Height| !is_over(closing, &chain(closing).sets[&Epoch(height.0)]);
    let waits = closing.breaker().is_some() || chain(closing).paused;
    fails(new.starts_with(&old), IN_ORDER)
        .or_else(|| {
            let all_live = new[old.len()..].iter().all(|(height, _)| live(height));
            fails(all_live, "no block becomes final under a set that has expired")
        })
        .or_else(|| fails(!waits || new.len() == old.len(), "no block becomes final while a chain waits"))
}

/// A set that follows one which can still sign: of the epoch behind the newest final block, and never two thirds or less of the set
/// before, unless governance accepted that.
pub(super) fn continued(closing: &Ledger, after: &Ledger) -> Broken {
    let (own, (epoch, fixed)) = (chain(closing), chain(after).newest()?);
    if own.sets.contains_key(&epoch) || rule::opened(closing, after).is_some() {
        return None;
    }
    let (_, last) = own.newest().expect("the first set starts the chain");
    let [total, before] = [fixed, last].map(|fixed| fixed.set.header().total.to_sat());
    let accepted = own.accepted.is_some_and(|least| total >= least.to_sat());
    let follows = own.last_final().is_some_and(|(height, _)| epoch.0 == height.0 + 1);
    fails(!is_over(closing, last), "no set follows one that has expired")
        .or_else(|| fails(follows, "a set follows the first final block of an epoch"))
        .or_else(|| fails(3 * total > 2 * before || accepted, "a set holds more than two thirds of the last"))
        .or_else(|| members(closing, epoch, fixed.set.members()))
}

fn is_over(ledger: &Ledger, fixed: &FixedSet) -> bool {
    ledger.btc_height() > fixed.set.header().expiry
}

/// Whoever has power, is not out and has a root, with the power of now.
fn members(closing: &Ledger, epoch: Epoch, found: &[Member]) -> Broken {
    let own = |name: &&str| closing.providers().get(&provider_key(name)).expect("registered");
    let eligible = NAMES.iter().map(own).filter(|own| own.roots.contains_key(&epoch));
    let mut eligible: Vec<_> =
        eligible.map(|own| (own.key, rule::held_by(closing, &own.key))).filter(|own| own.1 > 0).collect();
    eligible.sort_unstable();
    let found = found.iter().map(|own| (own.key, own.power.to_sat()));
    fails(found.eq(eligible), "a set is the eligible power of its moment")
}

/// A chain starts with what governance asked for, and again when nobody can sign under what there was, by no few of those who were
/// in it last; never with a key that is out, nor while it waits for governance.
pub(super) fn opening(closing: &Ledger, opening: &Opening, next: &State) -> Broken {
    let last = chain(closing).newest();
    let total: u64 = opening.members.iter().map(|own| own.power.to_sat()).sum();
    let is_out = |place: &usize| {
        next.out[*place] && opening.members.iter().any(|own| own.key == provider_key(NAMES[*place]))
    };
    let waits = closing.breaker().is_some() || chain(closing).paused;
    fails(last.is_some() || total >= MINIMUM, "nobody starts a chain with less than governance asked for")
        .or_else(|| fails(!waits, "a chain that waits for governance does not start"))
        .or_else(|| {
            let over = last.is_none_or(|(epoch, last)| is_over(closing, last) && opening.epoch > epoch);
            fails(over, "a chain starts again when no set of it can sign any more, at a later epoch")
        })
        .or_else(|| fails(!(0..NAMES.len()).any(|place| is_out(&place)), "no key that is out starts a chain"))
        .or_else(|| members(closing, opening.epoch, &opening.members))
        .or_else(|| share(closing, last?.1, opening, total))
}

/// Who has less than a third of what the last members hold now has less than half of the set that starts again, and so no quorum, but
/// for what others bring, which is for everybody to see.
fn share(closing: &Ledger, last: &FixedSet, opening: &Opening, total: u64) -> Broken {
    let held = rule::held(closing, last);
    let keys: Vec<ProviderKey> = last.set.members().iter().map(|own| own.key).collect();
    let in_it = |key: &&ProviderKey| opening.members.iter().any(|own| own.key == **key);
    let holds = (1..1u32 << keys.len()).all(|some| {
        let some = (0..keys.len()).filter(|place| some & 1 << place != 0).map(|place| &keys[place]);
        let had: u64 = some.clone().map(|key| rule::held_by(closing, key)).sum();
        let kept: u64 = some.filter(in_it).map(|key| rule::held_by(closing, key)).sum();
        3 * had >= held || 2 * kept < total
    });
    fails(
        holds,
        "who has less than a third of what the last members hold has less than half of what starts again",
    )
}
