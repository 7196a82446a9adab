use super::*;
use stateright::{Checker, HasDiscoveries};
use std::time::Instant;

fn operator(callers: Callers, faults: u8, seeds: u8) -> Operator {
    Operator { keys: Keys::new(), callers, without: None, faults, seeds, byte_copy: false }
}

/// `PALISADE_MODEL_FAULTS` adds faults: one makes minutes of it.
fn more_faults(operator: Operator) -> Operator {
    let more = std::env::var("PALISADE_MODEL_FAULTS").map_or(0, |text| text.parse::<u8>().unwrap());
    Operator { faults: operator.faults + more, ..operator }
}

/// Tries all states, and says how many.
fn run(operator: Operator, until: HasDiscoveries) -> impl Checker<Operator> {
    let started = Instant::now();
    let Operator { callers, without, faults, seeds, byte_copy, .. } = operator;
    let checker = operator.checker().threads(2).finish_when(until).spawn_bfs().join();
    println!(
        "{callers:?}, {faults} faults, {seeds} records, without {without:?}, byte copy {byte_copy}: \
         {} states, {} different, depth {}, in {:.1} s",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        started.elapsed().as_secs_f32()
    );
    checker
}

/// These hold in every state, and what should be possible is.
fn holds(operator: Operator, always: &[&'static str], possible: &[&'static str]) {
    let checker = run(operator, HasDiscoveries::AnyOf(always.iter().copied().collect()));
    for property in always {
        checker.assert_no_discovery(property);
    }
    for property in possible {
        checker.assert_any_discovery(property);
    }
}

const OF_VOTERS: [&str; 4] = [ONE_NONCE, ONE_MESSAGE, ONE_COUNTS, DESCENDS];

/// The model without a check breaks a property, so that both the check and the model are worth something.
fn breaks(without: Check, callers: Callers, faults: u8, property: &'static str) {
    let operator = Operator { without: Some(without), ..operator(callers, faults, SEEDS) };
    let checker = run(operator, HasDiscoveries::AnyOf([property].into()));
    let path = checker.assert_any_discovery(property).into_actions();
    println!("    {property}: {path:?}");
}

#[test]
fn two_voters_before_lying_sources_get_no_height_signed_twice_through_any_crash() {
    holds(more_faults(operator(Callers::Voters(2), 0, 3)), &OF_VOTERS, &[A_VOTE]);
}

/// That there is a way, and not that it is taken, nor how soon: that `voter::tests::returns` shows.
#[test]
fn no_lost_restored_or_second_record_signs_a_height_again_and_there_is_a_way_for_a_new_one_to_vote() {
    holds(more_faults(operator(Callers::Voters(1), 1, 2)), &OF_VOTERS, &[A_VOTE, RETURNS]);
}

#[test]
fn whoever_has_the_socket_gets_no_nonce_used_twice_whatever_root_is_named() {
    holds(operator(Callers::Anyone, 0, 2), &[ONE_NONCE, ONE_COUNTS], &[A_VOTE]);
}

/// The signer believes its caller on what the set names. Who lies gets a message that verifies under no set.
#[test]
fn whoever_has_the_socket_and_a_lost_record_gets_two_messages_of_a_height_and_no_key_by_them() {
    let checker = run(operator(Callers::Anyone, 0, 2), HasDiscoveries::AnyOf([ONE_MESSAGE].into()));
    println!("    {ONE_MESSAGE}: {:?}", checker.assert_any_discovery(ONE_MESSAGE).into_actions());
}

#[test]
fn without_any_one_of_the_checks_a_counterexample_is_found() {
    use Callers::Voters;
    for (without, callers, faults, property) in [
        (Check::RecordFirst, Voters(1), 0, ONE_NONCE),
        (Check::SyncFirst, Voters(1), 0, ONE_NONCE),
        (Check::OneMessage, Voters(2), 0, ONE_NONCE),
        (Check::FreshSeed, Voters(1), 1, ONE_NONCE),
        (Check::OwnRoot, Voters(1), 1, ONE_MESSAGE),
        (Check::Lock, Voters(2), 0, ONE_NONCE),
        (Check::Mark, Voters(1), 1, ONE_NONCE),
        (Check::Contents, Voters(1), 1, ONE_NONCE),
        (Check::Ancestors, Voters(1), 0, DESCENDS),
    ] {
        breaks(without, callers, faults, property);
    }
}

#[test]
fn a_byte_copy_of_a_running_disk_is_what_software_cannot_prevent() {
    let operator = Operator { byte_copy: true, ..operator(Callers::Voters(1), 1, SEEDS) };
    let checker = run(operator, HasDiscoveries::AnyOf([ONE_NONCE].into()));
    println!("    {ONE_NONCE}: {:?}", checker.assert_any_discovery(ONE_NONCE).into_actions());
}
