//! What the rules can still tell of a state.

use super::State;
use super::world::{K, NAMES, TERMS};
use palisade_hub::ledger::stake::{SpendKind, Stake};
use palisade_protocol::hash::Hash32;
use palisade_protocol::units::Epoch;
use palisade_world::provider_key;

/// A provider: power, roots by epoch from now on, whether the ledger knows that it is out, its last vote below the tip.
type ProviderView = (u64, Vec<u64>, bool, Option<u64>);
/// A stake: state, depth of its inclusion and of its spend, what that was, blocks until it is restored, whether it counts.
pub(crate) type StakeView = (u8, Option<u32>, Option<(u32, u8)>, u32, bool);
/// A set: epoch from now on, members' power with whether they have a root, blocks left, whether carried over and usable.
type SetView = (u64, Vec<(u64, bool)>, Option<u32>, bool, bool);
/// Who is away, mute, late or out; the blocks and faults that are left, and what did not hold.
type Outside = ([Vec<bool>; 4], [u8; 2], Option<&'static str>, Variant);
/// What only variants have: epochs without nonces, power that is given, and whether governance has decided.
type Variant = (Vec<(usize, u64)>, Vec<u64>, bool);
pub(super) type View = (Vec<ProviderView>, Vec<StakeView>, Vec<SetView>, [Option<u64>; 4], bool, Outside);

/// With the providers, and the stakes that they began with, in this order.
pub(super) fn view(state: &State, order: [usize; NAMES.len()]) -> View {
    let ledger = &state.world.ledger;
    let providers = order.iter().map(|place| provider_view(state, *place)).collect();
    let stakes: Vec<_> =
        ledger.stakes().iter().map(|stake| stake_view(stake, ledger.btc_height().0)).collect();
    let later = NAMES.len()..stakes.len();
    let stakes = order.into_iter().chain(later).map(|place| stakes[place]).collect();
    let ordered = |all: &[bool; NAMES.len()]| order.iter().map(|place| all[*place]).collect();
    let fates = [&state.away, &state.mute, &state.late, &state.out].map(ordered);
    let given = order.iter().map(|place| state.given[*place]).collect();
    let epochs =
        state.without_nonces.iter().map(|(place, epoch)| (*place, epoch.0.wrapping_sub(now(state).0)));
    let variant = (epochs.collect(), given, state.decided);
    let outside = (fates, [state.blocks, state.faults], state.broken, variant);
    (providers, stakes, sets(state, order), heights(state), ledger.breaker().is_some(), outside)
}

fn now(state: &State) -> Epoch {
    TERMS.epoch_of(state.world.ledger.next_height())
}

fn provider_view(state: &State, place: usize) -> ProviderView {
    let (ledger, now) = (&state.world.ledger, now(state));
    let own = ledger.providers().get(&provider_key(NAMES[place])).expect("registered");
    let roots = own.roots.keys().map(|epoch| epoch.0.wrapping_sub(now.0)).collect();
    let voted = state.voted[place].map(|own| ledger.next_height().0 - own);
    (own.power.to_sat(), roots, own.exposed_at.is_some(), voted)
}

fn sets(state: &State, order: [usize; NAMES.len()]) -> Vec<SetView> {
    let (zero, now) = (state.zero(), now(state));
    let sets = zero.sets.range(state.awaited().map_or(now, |(_, epoch)| epoch)..);
    let sets = sets.map(|(epoch, fixed)| {
        let member = |place: &usize| {
            let found = fixed.set.find(&provider_key(NAMES[*place]));
            found.map_or((0, false), |(_, own)| (own.power.to_sat(), own.nonce_root != Hash32::ZERO))
        };
        let left = fixed.set.header().expiry.0.checked_sub(state.world.ledger.btc_height().0);
        let usable = zero.last_final().is_some_and(|(height, _)| height >= fixed.hub_height);
        (epoch.0.wrapping_sub(now.0), order.iter().map(member).collect(), left, fixed.carried_over, usable)
    });
    sets.collect()
}

fn heights(state: &State) -> [Option<u64>; 4] {
    let (zero, next) = (state.zero(), state.world.ledger.next_height());
    [
        zero.last_final().map(|(height, _)| next.0 - height.0),
        zero.opened_at.map(|epoch| now(state).0.wrapping_sub(epoch.0)),
        zero.accepted.map(bitcoin::Amount::to_sat),
        Some(next.0 % TERMS.epoch_length),
    ]
}

/// What a stake's depth can still decide: rollbacks are one deeper than k.
pub(crate) fn stake_view(stake: &Stake, tip: u32) -> StakeView {
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
