use super::super::{breaks, holds, more};
use super::*;
use palisade_protocol::params::Params;

fn model(without: Option<Check>) -> Slashing {
    Slashing { without, blocks: 13, rollbacks: 0, trips: 0, hides: true, earlier: false }
}

#[test]
fn no_slash_is_escaped_by_leaving_moving_or_waiting_and_none_of_it_need_be_told() {
    holds("slashing", model(None), &[STAYS, SLASHED], &[LIABLE, LATE, MOVED, FREE]);
}

#[test]
fn no_slash_is_escaped_when_bitcoin_loses_blocks() {
    let model = Slashing { blocks: 11 + 2 * u32::from(more()), rollbacks: 1 + more(), ..model(None) };
    holds("slashing, a rollback", model, &[STAYS, SLASHED], &[LIABLE, LATE, MOVED, FREE]);
}

#[test]
fn no_slash_is_escaped_while_the_breaker_is_tripped_and_sets_are_carried_over() {
    let model = Slashing { blocks: 11 + 2 * u32::from(more()), trips: 1, hides: false, ..model(None) };
    holds("slashing, tripped", model, &[STAYS, SLASHED], &[LIABLE, MOVED, CARRIED, FREE]);
}

#[test]
fn without_any_one_of_the_checks_a_counterexample_is_found() {
    for (without, property) in [
        (Check::Expiry, STAYS),
        (Check::Ending, STAYS),
        (Check::Judge, STAYS),
        (Check::Former, STAYS),
        (Check::UnbondingTime, STAYS),
        (Check::CarriedExpiry, STAYS),
        (Check::Quorum, SLASHED),
    ] {
        let carried = without == Check::CarriedExpiry;
        let model = Slashing { trips: carried.into(), hides: !carried, ..model(Some(without)) };
        breaks(&format!("slashing without {without:?}"), model, property);
    }
}

/// Open: a hub that hides an exit for some blocks and tells it then gets the sets final that it fixed meanwhile, for voters judge only
/// its newest header. Their time is over up to one D later than `U >= k + D + w + margin` covers.
#[test]
fn a_hub_that_hides_an_exit_and_then_tells_it_gets_sets_final_that_name_the_coins_for_too_long() {
    breaks("slashing, earlier sets", Slashing { earlier: true, ..model(None) }, STAYS);
}

/// The bound that the model needs is the one that parameters are refused for.
#[test]
fn parameters_with_one_block_of_unbonding_time_less_are_refused() {
    let mut document = start::start().ledger.genesis().document().params.clone();
    assert!(Params::new(document.clone()).is_ok());
    document.unbonding_blocks = start::blocks(start::UNBONDING - 1);
    assert!(Params::new(document).is_err());
}
