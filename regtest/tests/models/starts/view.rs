//! What the rules can still tell of a state.

use super::super::sets::view::{StakeView, stake_view};
use super::State;
use super::world::NAMES;
use palisade_protocol::units::Epoch;
use palisade_world::provider_key;

/// A provider: power, roots by epoch from now on, whether it is there, whether its key is out and the ledger knows.
type ProviderView = (u64, Vec<u64>, [bool; 3]);
/// A set: epoch from now on, members' power, blocks left, whether it has made its block final.
type SetView = (u64, Vec<u64>, Option<u32>, bool);
/// Whether breaker, chain and variant wait; the blocks and faults that are left, and what did not hold.
type Outside = ([bool; 3], [u8; 2], Option<&'static str>);
pub(super) type View = (Vec<ProviderView>, Vec<StakeView>, Vec<SetView>, [Option<u64>; 4], Outside);

/// With the providers and their stakes in this order.
pub(super) fn view(state: &State, order: [usize; NAMES.len()]) -> View {
    let (ledger, own) = (&state.world.ledger, state.chain());
    let now = ledger.first_open_epoch(own.id());
    let since = |epoch: Epoch| now.0.wrapping_sub(epoch.0);
    let providers = order.iter().map(|place| provider_view(state, *place, now)).collect();
    let stakes: Vec<_> =
        ledger.stakes().iter().map(|stake| stake_view(stake, ledger.btc_height().0)).collect();
    let stakes = order.iter().map(|place| stakes[*place]).collect();
    let heights = [
        own.last_final().map(|(height, _)| now.0.wrapping_sub(height.0)),
        own.opened_at.map(since),
        own.wanted_set.map(since),
        own.accepted.map(bitcoin::Amount::to_sat),
    ];
    let waits = [ledger.breaker().is_some(), own.paused, state.shut];
    let outside = (waits, [state.blocks, state.faults], state.broken);
    (providers, stakes, sets(state, order, now), heights, outside)
}

fn provider_view(state: &State, place: usize, now: Epoch) -> ProviderView {
    let own = state.world.ledger.providers().get(&provider_key(NAMES[place])).expect("registered");
    let roots = own.roots.keys().map(|epoch| epoch.0.wrapping_sub(now.0)).collect();
    (own.power.to_sat(), roots, [state.here[place], state.out[place], own.exposed_at.is_some()])
}

/// The newest set, and those before it that have not made their block final.
fn sets(state: &State, order: [usize; NAMES.len()], now: Epoch) -> Vec<SetView> {
    let own = state.chain();
    let is_final = |epoch: &Epoch| own.certified.contains_key(&own.terms.first_height(*epoch));
    let newest = own.newest().map(|(epoch, _)| epoch);
    let counts = |epoch: &Epoch| Some(*epoch) == newest || !is_final(epoch);
    let sets = own.sets.iter().filter(|(epoch, _)| counts(epoch)).map(|(epoch, fixed)| {
        let power = |place: &usize| {
            fixed.set.find(&provider_key(NAMES[*place])).map_or(0, |(_, own)| own.power.to_sat())
        };
        let left = fixed.set.header().expiry.0.checked_sub(state.world.ledger.btc_height().0);
        (now.0.wrapping_sub(epoch.0), order.iter().map(power).collect(), left, is_final(epoch))
    });
    sets.collect()
}
