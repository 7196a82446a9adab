use super::super::{breaks, holds, more};
use super::*;

fn starts(open: bool, blocks: u8, faults: u8) -> Starts {
    Starts { without: None, open, blocks, faults }
}

const ALWAYS: &[&str] = &[SOUND, COMES_BACK];

#[test]
fn a_chain_is_started_by_those_who_may_and_has_a_set_an_epoch_whoever_comes_and_goes() {
    holds("starts, not open", starts(false, 5 + more(), 1), ALWAYS, &[STARTED, TOO_FEW]);
}

#[test]
fn a_chain_whose_set_has_expired_is_started_again_by_more_than_two_thirds_of_what_is_left_and_by_nobody_else()
{
    let possible = [AGAIN, BACK, TOO_FEW, PAUSED, TRIPPED];
    holds("starts, open", starts(true, 5 + more(), 2), ALWAYS, &possible);
}

#[test]
fn a_single_fault_anywhere_leaves_a_chain_a_way_back_each_time_that_its_set_expires() {
    holds("starts, one fault", starts(true, 9 + 2 * more(), 1), ALWAYS, &[AGAIN, BACK]);
}

#[test]
fn without_any_one_of_the_checks_a_counterexample_is_found() {
    let waits = "a chain that waits for governance does not start";
    for (without, open, blocks, faults, broken) in [
        (Check::Minimum, false, 2, 0, "nobody starts a chain with less than governance asked for"),
        (
            Check::TwoThirds,
            true,
            4,
            2,
            "who has less than a third of what the last members hold has less than half of what starts again",
        ),
        (
            Check::Expired,
            true,
            4,
            1,
            "a chain starts again when no set of it can sign any more, at a later epoch",
        ),
        (Check::Tripped, true, 4, 1, waits),
        (Check::Paused, true, 4, 1, waits),
        (Check::OldSets, true, 5, 1, check::IN_ORDER),
        (Check::Evidence, false, 5, 1, "no key that is out starts a chain"),
    ] {
        let model = Starts { without: Some(without), ..starts(open, blocks, faults) };
        assert_eq!(breaks(&format!("starts without {without:?}"), model, SOUND).broken, Some(broken));
    }
}

#[test]
fn without_what_brings_a_chain_back_a_counterexample_is_found() {
    for without in [Check::HeldNow, Check::Resume] {
        let model = Starts { without: Some(without), ..starts(true, 5, 1) };
        breaks(&format!("starts without {without:?}"), model, COMES_BACK);
    }
}
