//! What holds in every history (design, section 10): power is what the states say, states are what the facts say, a
//! refused message changes nothing, a log gives the same roots to everybody, also to a hub that ended in the middle of it, and
//! whoever hears the events knows the states.

mod crash;
mod events;
mod reorgs;

use crate::edits::{Edit, edit};
use crate::refusals::{self, raw};
use palisade_hub::ledger::Ledger;
use palisade_protocol::block::{Block, MessageBytes};
use palisade_protocol::message::Message;
use palisade_world::World;
use palisade_world::player::seen::{Case, Seen};
use palisade_world::player::{Act, Player};
use proptest::prelude::*;
use proptest::sample::Index;
use proptest::strategy::ValueTree as _;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};
use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::LazyLock;

/// Histories of the fixed seed.
const HISTORIES: usize = 48;

fn act() -> impl Strategy<Value = Act> {
    let stake = 0..8usize;
    prop_oneof![
        4 => (0..6usize, 0..3usize, prop::bool::weighted(0.3))
            .prop_map(|(choice, lock, confirmed)| Act::Register { choice, lock, confirmed }),
        4 => (0..6usize).prop_map(|choice| Act::Stake { choice }),
        1 => stake.clone().prop_map(|stake| Act::Again { stake }),
        4 => (stake.clone(), 0..6usize, prop::bool::weighted(0.8))
            .prop_map(|(stake, choice, signed)| Act::Expand { stake, choice, signed }),
        1 => (stake.clone(), 0..6usize).prop_map(|(stake, choice)| Act::Forget { stake, choice }),
        1 => (stake.clone(), 0..5usize).prop_map(|(stake, member)| Act::Sign { stake, member }),
        5 => stake.clone().prop_map(|stake| Act::Quorum { stake }),
        2 => (stake.clone(), 0..5usize).prop_map(|(stake, member)| Act::Refuse { stake, member }),
        7 => (stake.clone(), prop::bool::weighted(0.8))
            .prop_map(|(stake, told)| Act::Broadcast { stake, told }),
        6 => (stake.clone(), 0..7usize, prop::bool::weighted(0.8))
            .prop_map(|(stake, how, told)| Act::Spend { stake, how, told }),
        1 => stake.clone().prop_map(|stake| Act::Tell { stake }),
        3 => Just(Act::TellAll),
        1 => (0..5usize, any::<bool>())
            .prop_map(|(name, votes)| if votes { Act::Equivocate { name } } else { Act::Leak { name } }),
        7 => (1..9u32).prop_map(|blocks| Act::Mine { blocks }),
        1 => (30..250u32).prop_map(|blocks| Act::Mine { blocks }),
        4 => (1..7u32, 0..3usize).prop_map(|(depth, keep)| Act::Reorg { depth, keep }),
        1 => (7..18u32, 0..3usize).prop_map(|(depth, keep)| Act::Reorg { depth, keep }),
        1 => (0..18u32, 0..3usize, 20..60u32)
            .prop_map(|(depth, keep, more)| Act::Overtake { depth, keep, more }),
        2 => prop::bool::weighted(0.8).prop_map(|told| Act::Anchor { told }),
        3 => (0..5usize).prop_map(|accept| Act::Resume { accept }),
        3 => (1..22u64).prop_map(|blocks| Act::Close { blocks }),
        // To the same place of the next epoch.
        6 => Just(Act::Close { blocks: 20 }),
        6 => (1..6u64).prop_map(|blocks| Act::Certify { blocks }),
        4 => (prop::bool::weighted(0.3), 0..5usize).prop_map(|(leak, accept)| Act::Wane { leak, accept }),
        1 => (stake, 0..5usize).prop_map(|(stake, other)| Act::Nonsense { stake, other }),
    ]
}

/// So many acts, where nothing is yet, where both chains have sets and the next block fixes one, or where a provider is forgotten.
fn history(acts: Range<usize>) -> impl Strategy<Value = Vec<Act>> {
    let stakes = [3, 4, 5].map(|choice| Act::Stake { choice });
    let with_sets = [&stakes[..], &[Act::Close { blocks: 40 }, Act::Certify { blocks: 2 }]].concat();
    let begun = prop_oneof![
        2 => Just(Vec::new()),
        2 => Just(with_sets),
        1 => Just(forgotten(0).to_vec()),
    ];
    (begun, prop::collection::vec(act(), acts)).prop_map(|(begun, acts)| [begun, acts].concat())
}

/// The key gets out of a provider whom the next stake, of this number, was moved away from and then names no more, while the old
/// stake's power still counts.
fn forgotten(stake: usize) -> [Act; 8] {
    [
        Act::Stake { choice: 3 },
        Act::Expand { stake, choice: 4, signed: true },
        Act::Broadcast { stake: stake + 1, told: true },
        Act::Mine { blocks: 250 },
        Act::Forget { stake: stake + 1, choice: 4 },
        Act::Broadcast { stake: stake + 2, told: true },
        Act::Mine { blocks: 1 },
        Act::Leak { name: 0 },
    ]
}

/// Tells a ledger a message in edited bytes. Refused, the ledger stays as it is by itself, so whatever a refusal changed shows in
/// the roots that follow; taken, the ledger is set back.
fn tell_edited(ledger: &mut Ledger, message: &MessageBytes, edits: &[Edit]) {
    let mut bytes = message.as_slice().to_vec();
    edits.iter().for_each(|edit| edit.apply(&mut bytes));
    if bytes == message.as_slice() {
        return;
    }
    let before = ledger.clone();
    let told = ledger.apply(&raw(&bytes));
    match told {
        Err(why) => assert!(!why.rule().is_empty()),
        // A block that is nobody's parent yet has no signature, and on regtest half of all blocks have enough work.
        Ok(_) => {
            assert!(matches!(raw(&bytes).decode(), Ok(Message::Headers(_))), "{:02x?}", &bytes[..40]);
            *ledger = before;
        }
    }
}

/// Replays a log, telling each message in edited bytes first.
fn replay_among_edits(ledger: &mut Ledger, log: &[Block], edits: &[Vec<Edit>]) {
    let mut edits = edits.iter().cycle();
    for block in log {
        for message in &block.messages {
            tell_edited(ledger, message, edits.next().expect("a cycle"));
            ledger.apply(message).expect("a message of the log");
        }
        assert_eq!(ledger.finish_block().0, block.header);
    }
}

/// Messages of each of the thirteen kinds, each with a world that takes it.
fn of_every_kind() -> impl Iterator<Item = &'static [(World, MessageBytes)]> {
    type Accepted = Vec<(World, MessageBytes)>;
    static KINDS: LazyLock<BTreeMap<u8, Accepted>> = LazyLock::new(|| {
        let mut kinds: BTreeMap<u8, Accepted> = BTreeMap::new();
        for (world, message) in refusals::rows().map(refusals::accepted) {
            kinds.entry(message.as_slice()[0]).or_default().push((world, message));
        }
        assert!(kinds.keys().copied().eq(1..=13), "{:?}", kinds.keys());
        kinds
    });
    KINDS.values().map(Vec::as_slice)
}

/// A property says nothing of a case that no history comes to. These are the histories of a fixed seed, so that the answer is the
/// same each time; the properties themselves draw others each time.
#[test]
fn random_histories_come_to_each_case_that_they_are_to_judge() {
    let seed = TestRng::from_seed(RngAlgorithm::ChaCha, &[1; 32]);
    let mut runner = TestRunner::new_with_rng(ProptestConfig::default(), seed);
    let mut seen = Seen::default();
    for _ in 0..HISTORIES {
        let acts = history(20..60).new_tree(&mut runner).unwrap().current();
        let mut player = Player::with_sets();
        acts.iter().for_each(|act| player.play(act));
        seen.add(&player.seen);
    }
    println!("{:?}", seen.counts);
    assert_eq!(seen.lacks(&Case::ALL), []);
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
        acts in history(20..60),
        crashes in prop::collection::vec(any::<(Index, Index)>(), 0..3),
    ) {
        let mut player = Player::with_sets();
        acts.iter().for_each(|act| player.play(act));
        player.check_replay();
        crash::check_crashes(&player.world, &crashes);
    }

    #[test]
    fn events_tell_each_change_once_and_whoever_hears_nothing_else_knows_what_the_ledger_shows(
        acts in history(20..60),
    ) {
        let mut player = Player::with_sets();
        acts.iter().for_each(|act| player.play(act));
        player.world.close();
        events::check_events(&player.world);
    }

    #[test]
    fn edited_messages_of_a_log_are_refused_by_name_and_change_nothing(
        acts in history(10..30),
        edits in prop::collection::vec(prop::collection::vec(edit(), 1..3), 64),
    ) {
        let mut player = Player::with_sets();
        acts.iter().for_each(|act| player.play(act));
        player.world.close();
        let mut ledger = Ledger::new(player.world.ledger.genesis().clone());
        replay_among_edits(&mut ledger, &player.world.log, &edits);
    }

    #[test]
    fn an_edited_message_of_any_kind_is_refused_by_name_and_changes_nothing(
        rows in prop::collection::vec(any::<Index>(), 13),
        edits in prop::collection::vec(prop::collection::vec(edit(), 1..3), 16),
    ) {
        for (row, (world, message)) in rows.iter().zip(of_every_kind()).map(|(row, all)| (row, row.get(all))) {
            let (mut ledger, mut unharmed) = (world.ledger.clone(), world.ledger.clone());
            edits.iter().for_each(|edits| tell_edited(&mut ledger, message, edits));
            prop_assert!(ledger.apply(message).is_ok() && unharmed.apply(message).is_ok(), "{:?}", row);
            prop_assert_eq!(ledger.finish_block(), unharmed.finish_block());
        }
    }
}
