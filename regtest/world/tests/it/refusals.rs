//! Every rule by which the ledger refuses a message, each broken alone: beside the refused message stands the one that is
//! accepted, which differs in nothing else, or the world in which the same message is accepted.

mod bitcoin_facts;
mod finality;
pub(super) mod governance;
mod registrations;

use palisade_hub::ledger::Rejected;
use palisade_protocol::block::MessageBytes;
use palisade_protocol::chain::HeaderRefused;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::message::{Headers, Message};
use palisade_protocol::units::Epoch;
use palisade_world::World;
use palisade_world::anchored::world;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

/// Four operators on two chains, final blocks, and Bitcoin deep above everything.
static WORLD: LazyLock<World> = LazyLock::new(|| {
    let mut world = world(85);
    world.mine(10);
    world
});

/// What is accepted and where, and what is refused and where.
pub(super) struct Pair {
    accepted: (World, MessageBytes),
    refused: (World, MessageBytes),
}

/// A rule's name and how it is broken.
pub(super) type Row = (&'static str, fn(World) -> Pair);

/// The good message beside a broken one, in one world.
fn beside(world: World, good: &Message, broken: &Message) -> Pair {
    let (good, broken) = (MessageBytes::of(good), MessageBytes::of(broken));
    Pair { accepted: (world.clone(), good), refused: (world, broken) }
}

/// One message before and after something has happened.
fn too_late(world: World, message: &Message, happens: impl FnOnce(&mut World)) -> Pair {
    let (mut after, message) = (world.clone(), MessageBytes::of(message));
    happens(&mut after);
    Pair { accepted: (world, message.clone()), refused: (after, message) }
}

/// One message before and after that on which it depends.
fn too_early(world: World, message: &Message, happens: impl FnOnce(&mut World)) -> Pair {
    let Pair { accepted, refused } = too_late(world, message, happens);
    Pair { accepted: refused, refused: accepted }
}

/// Gives a world the blocks that another has more, and nothing else of it.
fn catch_up(world: &mut World, ahead: &World) {
    let headers = ahead.chain[world.chain.len()..].iter().map(|block| block.header).collect();
    world.chain.clone_from(&ahead.chain);
    world.send(&Message::Headers(Headers { headers })).expect("a longer chain");
}

/// Sends what must be refused, and sees to it that nothing changes.
fn refusal(world: &mut World, message: MessageBytes) -> Rejected {
    let mut before = world.ledger.clone();
    let judged = world.ledger.judge(&message);
    let why = world.send_bytes(message).expect_err("it must be refused");
    // What is decided by governance is judged when it is done.
    let waits = judged.is_ok() && matches!(why.rule(), "decision" | "params" | "repeated" | "unknown-chain");
    assert!(waits || judged.is_err_and(|judged| judged == why), "{why} was not found before");
    assert_eq!(before.finish_block(), world.ledger.clone().finish_block(), "{why}");
    assert_eq!(before.tree().root(), {
        let mut after = world.ledger.clone();
        after.finish_block();
        after.tree().root()
    });
    why
}

pub(super) fn rows() -> impl Iterator<Item = &'static Row> {
    let parts = [registrations::ROWS, bitcoin_facts::ROWS, finality::ROWS, governance::ROWS];
    parts.into_iter().flatten()
}

/// A row's good message, and the world that takes it.
pub(super) fn accepted((_, make): &Row) -> (World, MessageBytes) {
    make(WORLD.clone()).accepted
}

/// The rules of section 5.2 of the specification, each with what it says of the same bytes: whether they may be accepted later.
fn specified() -> BTreeMap<&'static str, &'static str> {
    let page = include_str!("../../../../docs/protocol.md");
    let section = page.split("## 5.2 Refusals").nth(1).and_then(|rest| rest.split("## 5.3").next());
    let lines = section.expect("section 5.2").lines().filter(|line| line.starts_with("| `"));
    let mut rules = BTreeMap::new();
    for line in lines {
        let cells: Vec<_> = line.split('|').map(str::trim).collect();
        let names = cells[1].split(',').map(|name| name.trim().trim_matches('`'));
        // One for all, or one for each.
        let again = cells[3].split(';').map(str::trim).cycle();
        rules.extend(names.zip(again));
    }
    rules
}

fn check(rows: &[Row]) {
    let rules = specified();
    for (place, (rule, make)) in rows.iter().enumerate() {
        let Pair { accepted: (mut world, good), refused: (mut elsewhere, broken) } = make(WORLD.clone());
        let why = refusal(&mut elsewhere, broken);
        assert_eq!(why.rule(), *rule, "row {place}: {why}");
        let again = match &why {
            Rejected::Headers(why) => {
                matches!(why, HeaderRefused::UnknownPrevious(_) | HeaderRefused::NotMoreWork { .. })
            }
            Rejected::Sequence { found, next } => found > next,
            _ => rules[rule] == "yes",
        };
        assert_eq!(why.can_be_retried(), again, "row {place}: {why}");
        let answer = world.send_bytes(good.clone());
        assert!(answer.is_ok(), "row {place}, {rule}: {answer:?}");
        // No message counts twice.
        refusal(&mut world, good);
    }
}

#[test]
fn registrations_are_refused_for_each_reason_alone() {
    check(registrations::ROWS);
}

#[test]
fn facts_from_bitcoin_are_refused_for_each_reason_alone() {
    check(bitcoin_facts::ROWS);
}

#[test]
fn messages_of_finality_are_refused_for_each_reason_alone() {
    check(finality::ROWS);
}

#[test]
fn decisions_and_batches_are_refused_for_each_reason_alone() {
    check(governance::ROWS);
}

#[test]
fn every_rule_of_the_specification_has_a_row() {
    let names: BTreeSet<_> = specified().into_keys().collect();
    let provoked: BTreeSet<_> = rows().map(|(rule, _)| *rule).collect();
    assert!(names.len() >= 35, "{names:?}");
    assert_eq!(provoked, names);
}

#[test]
fn a_decision_may_be_sent_again_while_its_turn_is_to_come_and_not_when_it_has_passed() {
    for (found, again) in [(6, true), (5, false), (4, false)] {
        assert_eq!(Rejected::Sequence { found, next: 5 }.can_be_retried(), again, "{found}");
    }
}

#[test]
fn a_refused_commitment_names_the_epochs_that_are_open() {
    let refused = |last| Rejected::Epoch { found: Epoch(2), first: Epoch(3), last }.to_string();
    assert_eq!(refused(Epoch(9)), "commitments are open for epochs 3 to 9, not 2");
    assert_eq!(refused(Epoch(u64::MAX)), "commitments are open for epochs 3 on, not 2");
}

#[test]
fn bytes_that_are_no_message_are_refused_by_name() {
    let spoils: [fn(&mut Vec<u8>); 3] =
        [|bytes| bytes.push(0), |bytes| bytes.truncate(2), |bytes| bytes[0] = 14];
    for spoil in spoils {
        let mut world = WORLD.clone();
        let mut bytes = Message::Headers(Headers { headers: Vec::new() }).to_bytes();
        spoil(&mut bytes);
        let why = refusal(&mut world, raw(&bytes));
        assert_eq!(why.rule(), "encoding", "{why}");
    }
}

/// Bytes as a block of the log carries them, whatever they say.
pub(super) fn raw(bytes: &[u8]) -> MessageBytes {
    let length = u32::try_from(bytes.len()).expect("short bytes");
    MessageBytes::from_bytes(&[&length.to_be_bytes(), bytes].concat()).expect("short bytes")
}
