use super::super::{breaks, holds, more};
use super::*;

fn sets(blocks: u8, faults: u8) -> Sets {
    Sets { without: None, blocks, faults, asked: Asked::default() }
}

/// All that is possible happens, and the premise of [`GOES_ON`] holds for so many last states, of which so many lack a voter.
fn hold_often(name: &str, model: Sets, least: [usize; 2]) {
    let asked = model.asked.clone();
    holds(name, model, &[SOUND, GOES_ON, COMES_BACK], &[PASSED, TRIPPED, LOST, CARRIED]);
    let [went_on, without_some, faulty] = asked.counts();
    println!(
        "    {went_on} go on, {without_some} of them without somebody; {faulty} have a set a third of which is faulty"
    );
    assert!(went_on >= least[0] && without_some >= least[1]);
}

#[test]
fn each_set_is_what_the_rules_say_and_there_is_always_a_way_to_the_next_final_block() {
    hold_often("sets", sets(4 + more(), 2), [500, 200]);
}

#[test]
fn a_single_fault_anywhere_in_five_epochs_leaves_sets_sound_and_a_way_on() {
    hold_often("sets, one fault", sets(10 + 2 * more(), 1), [100, 20]);
}

/// The state after these acts, one a block.
fn after(model: &Sets, acts: &[Act]) -> State {
    let begin = model.init_states().remove(0);
    acts.iter().fold(begin, |state, act| {
        assert!(model.can(&state, *act), "{act:?}");
        let next = model.step(&state, *act);
        assert_eq!(next.broken, None);
        next
    })
}

const ANNA: usize = 0;
const BERT: usize = 1;
const CARL: usize = 2;

/// Carl has a quarter. He goes, and then bert leaves with another: the next set still names carl, with a third.
#[test]
fn where_an_exit_lifts_the_faulty_share_to_a_third_finality_stops_until_that_set_expires_and_a_recovery_root()
{
    let model = sets(20, 10);
    let away = after(&model, &[Act::Away(CARL)]);
    assert!(away.is_sound_enough() && away.lacks_a_voter());
    assert_eq!(model.goes_on(&away), Ends::Final);

    let lifted = after(&model, &[Act::Away(CARL), Act::Exit(BERT)]);
    assert!(!lifted.is_sound_enough());
    assert_eq!(model.goes_on(&lifted), Ends::Faulty);
    assert!(lifted.world.ledger.breaker().is_none(), "three quarters are no shrinking set");
    let later = (0..20).fold(lifted, |state, _| model.step(&State { blocks: 1, ..state }, Act::GoOn));
    assert_eq!(
        model.goes_on(&later),
        Ends::Faulty,
        "later sets go without carl, but certificates come in order"
    );
    assert!(!model.can(&later, Act::Recover), "the set that has to vote has not expired");

    let expired = model.step(&State { blocks: 1, ..later }, Act::RunAhead);
    assert!(expired.is_lost());
    assert_eq!(model.goes_on(&expired), Ends::Faulty);
    let recovered = model.step(&State { blocks: 1, ..expired }, Act::Recover);
    assert_eq!(model.goes_on(&recovered), Ends::Final);
}

/// Who commits nonces is in every set. A recovery root helps only when he has less than a third, here by an exit.
#[test]
fn where_a_mute_member_has_a_third_of_what_is_left_a_recovery_root_does_not_help_until_it_leaves() {
    let model = sets(40, 10);
    let lifted = after(&model, &[Act::Mute(CARL), Act::Exit(BERT)]);
    assert_eq!(model.goes_on(&lifted), Ends::Faulty);
    assert_eq!(model.comes_back(&lifted), Ends::Faulty);
    let gone = model.step(&State { blocks: 1, ..lifted }, Act::Exit(CARL));
    assert_eq!(model.comes_back(&gone), Ends::Final);
}

/// Nobody is faulty any more, and still the carried-over set names anna, who has most, without nonces.
#[test]
fn where_nonces_of_a_third_come_too_late_the_carried_over_set_stops_until_a_recovery_root() {
    let model = sets(40, 10);
    let late = after(&model, &[Act::Away(ANNA), Act::GoOn, Act::GoOn, Act::GoOn, Act::Back(ANNA)]);
    // Until that set has to vote.
    let late = (0..6).fold(late, |state, _| model.step(&state, Act::GoOn));
    assert!(late.world.ledger.breaker().is_some());
    assert_eq!(model.goes_on(&late), Ends::Faulty);
    assert_eq!(model.comes_back(&late), Ends::Final);
}

#[test]
fn without_any_one_of_the_checks_a_counterexample_is_found() {
    for (without, blocks, faults, property) in [
        (Check::Evidence, 4, 1, SOUND),
        (Check::CommitWhileTripped, 8, 1, GOES_ON),
        (Check::Resume, 4, 1, COMES_BACK),
        (Check::Recovery, 4, 1, COMES_BACK),
    ] {
        let model = Sets { without: Some(without), ..sets(blocks, faults) };
        breaks(&format!("sets without {without:?}"), model, property);
    }
}

#[test]
fn without_any_one_of_the_rules_of_sets_a_counterexample_is_found() {
    for (without, blocks, faults, property, broken) in [
        (
            Check::TwoThirds,
            2,
            2,
            SOUND,
            Some("who had less than a third of a set has less than half of the next"),
        ),
        (Check::HeldPower, 3, 2, SOUND, Some("a tripped breaker gives no power")),
        (Check::Root, 8, 1, GOES_ON, None),
    ] {
        let model = Sets { without: Some(without), ..sets(blocks, faults) };
        assert_eq!(breaks(&format!("sets without {without:?}"), model, property).broken, broken);
    }
}
