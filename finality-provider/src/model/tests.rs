use super::*;
use stateright::{Checker, HasDiscoveries};
use std::time::Instant;

fn operator(callers: Callers, faults: u8) -> Operator {
    Operator { keys: Keys::new(), callers, without: None, faults, byte_copy: false }
}

/// Faults of the whole model: more take minutes, and are for `make nightly`.
fn faults(usual: u8) -> u8 {
    std::env::var("PALISADE_MODEL_FAULTS").map_or(usual, |text| text.parse().unwrap())
}

/// Tries all states. Every property must hold, and what should be possible must be.
fn holds(name: &str, operator: Operator, possible: &[&'static str]) {
    let started = Instant::now();
    let faults = operator.faults;
    let checker = operator.checker().threads(2).spawn_bfs().join();
    println!(
        "{name}, {faults} faults: {} states, {} different, depth {}, in {:.1} s",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        started.elapsed().as_secs_f32()
    );
    for property in [ONE_NONCE, ONE_MESSAGE, DESCENDS] {
        checker.assert_no_discovery(property);
    }
    for property in possible {
        checker.assert_any_discovery(property);
    }
}

#[test]
fn two_voters_before_lying_sources_get_no_height_signed_twice() {
    holds("voters", operator(Callers::Voters, faults(1)), &[A_VOTE, RETURNS]);
}
