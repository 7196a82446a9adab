use super::super::{breaks, holds, more};
use super::*;

fn sets(blocks: u8, faults: u8) -> Sets {
    Sets { without: None, blocks, faults }
}

#[test]
fn each_set_is_what_the_rules_say_and_there_is_always_a_way_to_the_next_final_block() {
    let model = sets(4 + more(), 2);
    holds("sets", model, &[SOUND, GOES_ON, COMES_BACK], &[TRIPPED, LOST, CARRIED]);
}

#[test]
fn a_single_fault_anywhere_in_five_epochs_leaves_sets_sound_and_a_way_on() {
    holds(
        "sets, one fault",
        sets(10 + 2 * more(), 1),
        &[SOUND, GOES_ON, COMES_BACK],
        &[TRIPPED, LOST, CARRIED],
    );
}

#[test]
fn without_any_one_of_the_checks_a_counterexample_is_found() {
    for (without, blocks, faults, property) in [
        (Check::Evidence, 4, 1, SOUND),
        (Check::CommitWhileTripped, 8, 1, GOES_ON),
        (Check::Resume, 4, 1, COMES_BACK),
        (Check::Recovery, 4, 2, COMES_BACK),
    ] {
        let model = Sets { without: Some(without), ..sets(blocks, faults) };
        breaks(&format!("sets without {without:?}"), model, property);
    }
}
