//! Messages that were recorded and are sent again: to the hub that took them, and to another one with everybody's same keys.

use palisade_protocol::block::MessageBytes;
use palisade_protocol::context::ChainId;
use palisade_protocol::finality::commitment::Commitment;
use palisade_protocol::governance::Action;
use palisade_protocol::hash::sha256;
use palisade_protocol::message::Message;
use palisade_protocol::units::{BtcHeight, Epoch, Height};
use palisade_world::anchored::{self, ZERO, dev, world_of};
use palisade_world::{COVENANT, Wish, World, leaked_key};
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Two hubs: their genesis documents differ in one number.
static OWN: LazyLock<World> = LazyLock::new(|| recorded(World::new(4_000_000)));
static OTHER: LazyLock<World> = LazyLock::new(|| recorded(World::new(3_999_999)));

/// A log with every kind of message but evidence and consents: a key that is out is out everywhere, and what a consent signs
/// is a Bitcoin transaction.
fn recorded(new: World) -> World {
    let mut world = world_of(new, 86);
    world.stamp(&[sha256(&[b"a digest"])]);
    let wish = Wish { holder: "bob", sat: 500_000, providers: &["anna"], lock: 300 };
    let (refused, _) = world.register_stake(&wish);
    let refusal = world.refusal(COVENANT[0], &refused, "too late");
    world.send(&refusal).unwrap();
    let certificate = world.certificate(&dev(), &anchored::DEV, Height(200), sha256(&[b"a block"]));
    world.send(&certificate).unwrap();
    let id = world.active_stake(&wish);
    let (outpoint, unbonding) = {
        let stake = world.stake(&id);
        (stake.contract.coin.outpoint, stake.presigned.unbonding.clone())
    };
    world.spend(&id, outpoint, &unbonding).unwrap();
    // Last, for it is where the two hubs' Bitcoin parts.
    anchored::anchor(&mut world, 3).unwrap();
    world.close();
    world
}

fn kind(message: &MessageBytes) -> String {
    let text = format!("{:?}", message.decode().unwrap());
    text.split('(').next().unwrap_or_default().to_owned()
}

#[test]
fn no_message_of_a_log_counts_again_at_its_end() {
    let mut world = OWN.clone();
    let (mut tried, mut undisturbed) = (BTreeSet::new(), world.ledger.clone());
    for message in world.log.iter().flat_map(|block| block.messages.clone()).collect::<Vec<_>>() {
        let answer = world.send_bytes(message.clone());
        assert!(answer.is_err(), "{} was taken twice", kind(&message));
        tried.insert(kind(&message));
    }
    let kinds = "Anchor Answer Batch Certificate Commitment Governance Headers Included Provider Spent Stake";
    assert_eq!(tried.iter().map(String::as_str).collect::<Vec<_>>().join(" "), kinds);
    assert_eq!(world.ledger.finish_block(), undisturbed.finish_block());
    assert_eq!(world.ledger.tree().root(), undisturbed.tree().root());
}

#[test]
fn a_log_whose_messages_were_judged_before_has_the_same_roots() {
    let mut ledger = World::new(4_000_000).ledger;
    for block in &OWN.log {
        for message in &block.messages {
            let proven = ledger.judge(message).unwrap();
            ledger.apply_proven(message, Some(&proven)).unwrap();
        }
        assert_eq!(ledger.finish_block().0, block.header);
    }
}

#[test]
fn what_was_found_of_one_message_says_nothing_of_another() {
    let mut world = world_of(World::new(4_000_000), 86);
    let Message::Commitment(good) = world.commitment(&ChainId::zero(), "anna", Epoch(30)) else {
        unreachable!("a commitment")
    };
    let bad = Message::Commitment(Commitment { root: sha256(&[b"another"]), ..good.clone() });
    let [good, bad] = [Message::Commitment(good), bad].map(|message| MessageBytes::of(&message));
    let proven = world.ledger.judge(&good).unwrap();
    assert_eq!(world.ledger.apply_proven(&bad, Some(&proven)).unwrap_err().rule(), "commitment");
    world.ledger.apply_proven(&good, Some(&proven)).unwrap();
    let [good, bad] = ["anna", "bert"].map(|name| MessageBytes::of(&leaked_key(name, "anna")));
    let proven = world.ledger.judge(&good).unwrap();
    assert_eq!(world.ledger.apply_proven(&bad, Some(&proven)).unwrap_err().rule(), "evidence");
    world.ledger.apply_proven(&good, Some(&proven)).unwrap();
}

#[test]
fn a_stake_that_was_judged_by_other_parameters_than_those_of_its_block_is_judged_again() {
    let mut world = world_of(World::new(4_000_000), 86);
    let wish = Wish { holder: "bob", sat: 500_000, providers: &["anna"], lock: 300 };
    let registration = MessageBytes::of(&Message::Stake(Box::new(world.registration(&wish))));
    let mut params = world.ledger.genesis().document().params.clone();
    (params.from_height, params.min_stake_sat) = (BtcHeight(world.btc_height() + 1), 600_000);
    world.govern(Action::SetParams(Box::new(params))).unwrap();
    let proven = world.ledger.judge(&registration).unwrap();
    let mut later = world.clone();
    later.mine(1);
    assert_eq!(later.ledger.apply_proven(&registration, Some(&proven)).unwrap_err().rule(), "stake");
    world.ledger.apply_proven(&registration, Some(&proven)).unwrap();
}

/// Two hubs on one Bitcoin, with the same keys of everybody and the same story. The other hub's message is tried at the very
/// place where the own one is taken: only Bitcoin's headers mean the same on both.
#[test]
fn nothing_that_was_signed_for_one_hub_counts_on_another_with_the_same_keys() {
    let (other, own) = (&*OTHER, &*OWN);
    assert_ne!(own.ledger.genesis().id(), other.ledger.genesis().id());
    let mut ledger = World::new(4_000_000).ledger;
    let mut refused = BTreeSet::new();
    assert_eq!(own.log.len(), other.log.len());
    for (own, foreign) in own.log.iter().zip(&other.log) {
        assert_eq!(own.messages.len(), foreign.messages.len());
        for (own, foreign) in own.messages.iter().zip(&foreign.messages) {
            assert_eq!(kind(own), kind(foreign));
            if kind(own) != "Headers" {
                let why = ledger.apply(foreign).expect_err("of another hub").rule();
                // Not for want of its block: that is on the Bitcoin of both.
                assert!(why != "unknown-block" || kind(own) == "Anchor", "{}", kind(foreign));
                refused.insert(kind(foreign));
            }
            ledger.apply(own).unwrap();
        }
        ledger.finish_block();
    }
    let kinds = "Anchor Answer Batch Certificate Commitment Governance Included Provider Spent Stake";
    assert_eq!(refused.iter().map(String::as_str).collect::<Vec<_>>().join(" "), kinds);
}

#[test]
fn votes_of_another_hub_have_no_chain_and_a_vote_counts_once() {
    let (other, own) = (&*OTHER, &*OWN);
    let block = sha256(&[b"a block"]);
    for name in ZERO {
        let [theirs, ours] = [other, own].map(|world| world.vote(&ChainId::zero(), name, Height(80), block));
        assert!(own.ledger.chain_of_votes(&ours.ballot.context).is_some());
        assert!(own.ledger.chain_of_votes(&theirs.ballot.context).is_none());
    }
    let vote = own.vote(&dev(), "dev anna", Height(205), block);
    let dir = tempfile::tempdir().unwrap();
    let hub = own.hub(dir.path());
    for _ in 0..3 {
        let answer = hub.vote(vote.clone()).unwrap();
        hub.count_waiting_votes();
        answer.blocking_recv().unwrap().unwrap();
    }
    assert_eq!(hub.store().votes(&vote.ballot.context, Height(0), 10).unwrap(), [vote]);
}

#[test]
fn a_share_of_another_hub_is_refused_and_an_own_one_counts_once() {
    let (other, own) = (&*OTHER, &*OWN);
    let dir = tempfile::tempdir().unwrap();
    let hub = own.hub(dir.path());
    let header = anchored::end_of(own, 3);
    let judged = |share| {
        let answer = hub.share(share).unwrap();
        hub.judge_waiting_shares();
        answer.blocking_recv().unwrap().map_err(|why| why.rule())
    };
    assert_eq!(judged(other.share("anna", Epoch(3), header)), Err("share"));
    let ours = own.share("anna", Epoch(3), header);
    assert_eq!([judged(ours.clone()), judged(ours)], [Ok(()), Err("repeated")]);
}
