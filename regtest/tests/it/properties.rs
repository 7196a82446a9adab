//! What holds in every history (design, section 10): power is what the states say, states are what the facts say, a
//! refused message changes nothing, and a log gives the same roots to everybody, also to a hub that ended in the middle of it.

mod crash;
mod model;
mod player;

use player::{Act, Player};
use proptest::prelude::*;
use proptest::sample::Index;

fn act() -> impl Strategy<Value = Act> {
    let stake = 0..8usize;
    prop_oneof![
        4 => (0..6usize, 0..3usize, prop::bool::weighted(0.3))
            .prop_map(|(choice, lock, confirmed)| Act::Register { choice, lock, confirmed }),
        1 => stake.clone().prop_map(|stake| Act::Again { stake }),
        4 => (stake.clone(), 0..6usize, prop::bool::weighted(0.8))
            .prop_map(|(stake, choice, signed)| Act::Expand { stake, choice, signed }),
        1 => (stake.clone(), 0..5usize).prop_map(|(stake, member)| Act::Sign { stake, member }),
        5 => stake.clone().prop_map(|stake| Act::Quorum { stake }),
        2 => (stake.clone(), 0..5usize).prop_map(|(stake, member)| Act::Refuse { stake, member }),
        7 => (stake.clone(), prop::bool::weighted(0.8))
            .prop_map(|(stake, told)| Act::Broadcast { stake, told }),
        4 => (stake.clone(), 0..7usize, prop::bool::weighted(0.8))
            .prop_map(|(stake, how, told)| Act::Spend { stake, how, told }),
        1 => stake.clone().prop_map(|stake| Act::Tell { stake }),
        3 => Just(Act::TellAll),
        1 => (0..40usize).prop_filter("seldom", |name| *name < 5).prop_map(|name| Act::Leak { name }),
        7 => (1..9u32).prop_map(|blocks| Act::Mine { blocks }),
        1 => (30..150u32).prop_map(|blocks| Act::Mine { blocks }),
        4 => (1..7u32, 0..3usize).prop_map(|(depth, keep)| Act::Reorg { depth, keep }),
        1 => (7..10u32, 0..3usize).prop_map(|(depth, keep)| Act::Reorg { depth, keep }),
        2 => any::<bool>().prop_map(|accept| Act::Resume { accept }),
        3 => (1..22u64).prop_map(|blocks| Act::Close { blocks }),
        1 => (stake, 0..5usize).prop_map(|(stake, other)| Act::Nonsense { stake, other }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(24),
        max_shrink_iters: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn power_is_what_the_states_say_and_states_are_what_the_facts_say(
        acts in prop::collection::vec(act(), 20..60),
        crashes in prop::collection::vec(any::<(Index, Index)>(), 0..3),
    ) {
        let mut player = Player::new();
        acts.iter().for_each(|act| player.play(act));
        player.check_replay();
        crash::check_crashes(&player.world, &crashes);
    }
}
