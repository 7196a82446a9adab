use super::super::{breaks, holds, more};
use super::*;
use palisade_protocol::params::Params;

fn model(without: Option<Check>) -> Slashing {
    Slashing { without, blocks: 15, rollbacks: 0, trips: 0 }
}

#[test]
fn no_slash_is_escaped_by_leaving_moving_or_waiting_and_none_of_it_need_be_told() {
    holds("slashing", model(None), &[STAYS, SLASHED], &[LIABLE, LATE, MOVED, FREE]);
}

#[test]
fn no_slash_is_escaped_when_bitcoin_loses_blocks() {
    let model = Slashing { blocks: 13 + 2 * u32::from(more()), rollbacks: 1 + more(), ..model(None) };
    holds("slashing, a rollback", model, &[STAYS, SLASHED], &[LIABLE, LATE, MOVED, FREE]);
}

#[test]
fn no_slash_is_escaped_while_the_breaker_is_tripped_and_sets_are_carried_over() {
    let model = Slashing { blocks: 13 + 2 * u32::from(more()), trips: 1, ..model(None) };
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
        let model = Slashing { trips: carried.into(), ..model(Some(without)) };
        breaks(&format!("slashing without {without:?}"), model, property);
    }
}

/// The bound that the model needs is the one that parameters are refused for.
#[test]
fn parameters_with_one_block_of_unbonding_time_less_are_refused() {
    let mut document = start::start().ledger.genesis().document().params.clone();
    assert!(Params::new(document.clone()).is_ok());
    document.unbonding_blocks = start::blocks(start::UNBONDING - 1);
    assert!(Params::new(document).is_err());
}
