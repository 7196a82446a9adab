//! A short load on the shipped hub, and a small storm: what is asserted is what must be true however slow the machine is. The figures
//! are for `make load`.

use palisade_protocol::block::MessageBytes;
use palisade_regtest::load::plan::{Plan, Template};
use palisade_regtest::load::run::{self, Bounds, Options};
use palisade_regtest::load::{scene, storm};
use palisade_world::keypair;
use std::collections::BTreeSet;
use std::time::Duration;

#[tokio::test(flavor = "multi_thread")]
async fn under_a_flood_of_wrong_signatures_honest_votes_go_on_and_nothing_of_it_is_kept() {
    let time = Duration::from_secs(4);
    let outcome = run::run(&Options {
        time,
        rate: 1_000,
        connections: 64,
        plan: Plan::signatures,
        bounds: Bounds::default(),
    })
    .await
    .unwrap();
    assert!(outcome.failures.is_empty(), "{:?}", outcome.failures);
    let rules: Vec<&str> = outcome.sent.answers.keys().map(String::as_str).collect();
    for rule in ["backing", "provider", "stake", "vote"] {
        assert!(rules.contains(&rule), "no message was refused for {rule}: {rules:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn stakes_that_come_to_bitcoin_in_one_block_are_all_active_k_blocks_later_and_none_is_told_twice() {
    let weathered = storm::weather(200).await.unwrap();
    assert!(weathered.failures.is_empty(), "{:?}", weathered.failures);
}

/// The messages of a plan, altered as a flood alters them.
fn altered(kind: &[Template]) -> Vec<MessageBytes> {
    let made = kind.iter().take(20).zip(0..).map(|(template, number)| {
        let mut bytes = Vec::new();
        template.altered(number, &mut bytes);
        MessageBytes::unread(&bytes).unwrap()
    });
    made.collect()
}

#[test]
fn dear_messages_with_one_wrong_signature_are_answered_before_a_block_would_take_them() {
    let (scene, plan) = scene::set(0, Plan::dear);
    let (dir, mut rules) = (tempfile::tempdir().unwrap(), BTreeSet::new());
    let hub = scene.world.hub(dir.path());
    for kind in &plan.kinds {
        let doors: Vec<_> = altered(kind).into_iter().map(|bytes| hub.submit(bytes).unwrap()).collect();
        hub.judge_waiting_messages();
        rules.extend(doors.into_iter().map(|mut door| door.try_recv().unwrap().unwrap_err().rule()));
    }
    assert_eq!(
        rules.into_iter().collect::<Vec<_>>().join(" "),
        "answer certificate evidence headers provider"
    );
    let (header, _) = hub.make_block(&keypair("hub")).unwrap();
    assert!(hub.store().blocks(header.height, 1).unwrap()[0].messages.is_empty());
}

#[test]
fn the_dear_messages_are_good_but_for_what_is_altered() {
    let (mut scene, plan) = scene::set(0, Plan::dear);
    // Proofs of possession are bad as they are, and whoever sends these headers altered none of them rightly.
    let [certificates, _, answers, evidence, _] = &plan.kinds[..] else { panic!("five kinds") };
    for kind in [certificates, answers, evidence] {
        scene.world.send_bytes(MessageBytes::unread(&kind[0].bytes).unwrap()).unwrap();
    }
}
