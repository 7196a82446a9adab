//! What the rules can still tell of a state.

use super::State;
use super::world::{K, NAMES, TERMS};
use palisade_hub::ledger::stake::{SpendKind, Stake};
use palisade_protocol::hash::Hash32;
use palisade_world::provider_key;

/// A provider: power, roots by epoch from now on, whether the ledger knows that it is out, its last vote below the tip.
type ProviderView = (u64, Vec<u64>, bool, Option<u64>);
/// A stake: state, depth of its inclusion and of its spend, what that was, blocks until it is restored, whether it counts.
type StakeView = (u8, Option<u32>, Option<(u32, u8)>, u32, bool);
/// A set: epoch from now on, members' power with whether they have a root, blocks left, whether carried over and usable.
type SetView = (u64, Vec<(u64, bool)>, Option<u32>, bool, bool);
pub(super) type View = (Vec<ProviderView>, Vec<StakeView>, Vec<SetView>, [Option<u64>; 4], bool);

pub(super) fn view(state: &State) -> View {
    let (ledger, zero) = (&state.world.ledger, state.zero());
    let (next, tip) = (ledger.next_height(), ledger.btc_height());
    let now = TERMS.epoch_of(next);
    let provider = |(place, name): (usize, &&str)| {
        let own = ledger.providers().get(&provider_key(name)).expect("registered");
        let roots = own.roots.keys().map(|epoch| epoch.0.wrapping_sub(now.0)).collect();
        (own.power.to_sat(), roots, own.exposed_at.is_some(), state.voted[place].map(|own| next.0 - own))
    };
    let sets = zero.sets.range(state.awaited().map_or(now, |(_, epoch)| epoch)..);
    let sets = sets.map(|(epoch, fixed)| {
        let member = |name: &&str| {
            let found = fixed.set.find(&provider_key(name));
            found.map_or((0, false), |(_, own)| (own.power.to_sat(), own.nonce_root != Hash32::ZERO))
        };
        let left = fixed.set.header().expiry.0.checked_sub(tip.0);
        let usable = zero.last_final().is_some_and(|(height, _)| height >= fixed.hub_height);
        (epoch.0.wrapping_sub(now.0), NAMES.iter().map(member).collect(), left, fixed.carried_over, usable)
    });
    let heights = [
        zero.last_final().map(|(height, _)| next.0 - height.0),
        zero.opened_at.map(|epoch| now.0.wrapping_sub(epoch.0)),
        zero.accepted.map(bitcoin::Amount::to_sat),
        Some(next.0 % TERMS.epoch_length),
    ];
    let tripped = ledger.breaker().is_some();
    let providers = NAMES.iter().enumerate().map(provider).collect();
    let stakes = ledger.stakes().iter().map(|stake| stake_view(stake, tip.0)).collect();
    (providers, stakes, sets.collect(), heights, tripped)
}

/// What a stake's depth can still decide: rollbacks are one deeper than k.
fn stake_view(stake: &Stake, tip: u32) -> StakeView {
    let depth = |height: u32| (tip - height).min(2 * K + 2);
    let spend = stake.spend.map(|spend| {
        let kind = match spend.kind {
            SpendKind::Expansion(_) => 1,
            SpendKind::Unbonding => 2,
            _ => 3,
        };
        (depth(spend.place.height.0), kind)
    });
    let included = stake.included.map(|place| depth(place.height.0));
    (stake.state as u8, included, spend, stake.restored_at.0.saturating_sub(tip), stake.activated)
}
