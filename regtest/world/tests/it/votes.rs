//! Votes that a hub keeps, and those that it counts.

use palisade_hub::engine::Hub;
use palisade_hub::ledger::Ledger;
use palisade_hub::store::Store;
use palisade_hub::votes::VoteError;
use palisade_protocol::block::MessageBytes;
use palisade_protocol::context::ChainId;
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::governance::{Action, Resume};
use palisade_protocol::hash::Hash32;
use palisade_protocol::units::{Epoch, Height};
use palisade_world::anchored::{self, dev};
use palisade_world::{World, keypair, provider_key};
use std::sync::Arc;

#[test]
fn whoever_has_a_key_that_is_out_can_make_a_hub_keep_no_more_than_two_votes_at_a_height() {
    let mut world = World::new(1_000_000);
    world.mine(1);
    for name in ["anna", "bert"] {
        world.register_provider(&ChainId::zero(), name);
        world.commit(&ChainId::zero(), name, 1..4);
    }
    let vote = |name, height, block| world.vote(&ChainId::zero(), name, Height(height), Hash32([block; 32]));
    let flood: Vec<_> = (1..50).map(|block| vote("anna", 25, block)).collect();
    let others = [vote("anna", 30, 1), vote("bert", 25, 1)];
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("log.sqlite")).unwrap();
    // All at once, and one after the other.
    store.keep_votes(&flood[..25]).unwrap();
    flood[20..].iter().for_each(|vote| drop(store.keep_votes([vote]).unwrap()));
    store.keep_votes(&others).unwrap();
    store.keep_votes(&others).unwrap();
    let context = others[0].ballot.context;
    let kept = store.votes(&context, Height(0), 500).unwrap();
    let count = |name, height| {
        let key = vote(name, height, 1).key;
        kept.iter().filter(|vote| vote.key == key && vote.ballot.height == Height(height)).count()
    };
    assert_eq!((count("anna", 25), count("anna", 30), count("bert", 25), kept.len()), (2, 1, 1, 4));
    let [(first, second)] = store.double_votes().unwrap().try_into().unwrap();
    assert_eq!((first, second), (flood[0].clone(), flood[1].clone()));
}

#[test]
fn a_hub_that_ended_between_keeping_two_votes_and_comparing_them_gives_the_key_away_when_it_is_back() {
    let world = anchored::world(86);
    let vote = |name: &str, block| world.vote(&dev(), name, Height(200), Hash32([block; 32]));
    let kept = [vote("dev anna", 1), vote("dev bert", 1), vote("dev anna", 2)];
    let dir = tempfile::tempdir().unwrap();
    Store::open(&dir.path().join("log.sqlite")).unwrap().keep_votes(&kept).unwrap();
    let desk = Desk::over(world.ledger.clone(), dir);
    assert!(desk.gives_out("dev anna") && !desk.gives_out("dev bert"));
}

/// A hub that goes on with a world's ledger, without its doors.
struct Desk {
    hub: Arc<Hub>,
    _dir: tempfile::TempDir,
}

impl Desk {
    fn new(world: &World) -> Self {
        Self::over(world.ledger.clone(), tempfile::tempdir().unwrap())
    }

    /// With the votes that a directory's log holds.
    fn over(ledger: Ledger, dir: tempfile::TempDir) -> Self {
        let store = Store::open(&dir.path().join("log.sqlite")).unwrap();
        Self { hub: Hub::new(ledger, store), _dir: dir }
    }

    /// The next block holds these messages.
    fn take(&self, messages: &[MessageBytes]) {
        let taken: Vec<_> = messages.iter().map(|bytes| self.hub.submit(bytes.clone()).unwrap()).collect();
        self.hub.judge_waiting_messages();
        self.hub.make_block(&keypair("hub")).unwrap();
        for mut answer in taken {
            answer.try_recv().unwrap().unwrap();
        }
    }

    /// The rule that keeps a vote from counting, if one does.
    fn ask(&self, vote: &Vote) -> Option<&'static str> {
        let mut answer = self.hub.vote(vote.clone()).unwrap();
        self.hub.count_waiting_votes();
        answer.try_recv().unwrap().err().as_ref().map(VoteError::rule)
    }

    /// Whether the next block gives a key out.
    fn gives_out(&self, name: &str) -> bool {
        self.hub.make_block(&keypair("hub")).unwrap();
        self.hub.ledger().providers().get(&provider_key(name)).unwrap().exposed_at.is_some()
    }
}

#[test]
fn a_second_vote_gives_the_key_away_whatever_the_chain_is_in_and_a_key_that_is_out_votes_no_more() {
    type Change = fn(&mut World);
    let all_is_well: Change = |_| {};
    let the_set_expires: Change = |world| {
        let expiry = world.ledger.chain(&dev()).unwrap().sets[&Epoch(4)].set.header().expiry.0;
        world.mine(expiry + 1 - world.btc_height());
    };
    let the_breaker_trips: Change = |world| {
        world.reorg(7, &[]).unwrap();
    };
    for (change, rule) in
        [(all_is_well, None), (the_set_expires, Some("set-expired")), (the_breaker_trips, Some("breaker"))]
    {
        let mut world = anchored::world(86);
        let vote = |world: &World, name: &str, height: u64, block: u8| {
            world.vote(&dev(), name, Height(height), Hash32([block; 32]))
        };
        let [first, second, next, other] =
            [("dev anna", 200, 1), ("dev anna", 200, 2), ("dev anna", 205, 1), ("dev bert", 200, 1)]
                .map(|(name, height, block)| vote(&world, name, height, block));
        change(&mut world);
        let desk = Desk::new(&world);
        assert_eq!(desk.ask(&first), rule);
        assert_eq!(desk.ask(&first), rule, "the same vote again changes nothing");
        assert!(!desk.gives_out("dev anna"));
        assert_eq!(desk.ask(&second), Some("equivocation"));
        assert!(desk.gives_out("dev anna"));
        assert_eq!((desk.ask(&next), desk.ask(&other)), (Some("exposed"), rule));
        assert!(!desk.gives_out("dev bert"));
    }
}

#[test]
fn a_vote_that_paused_stands_against_one_for_another_block_after_governance_has_resumed() {
    let mut world = anchored::world(86);
    let vote = |name: &str, block: u8| world.vote(&dev(), name, Height(200), Hash32([block; 32]));
    let [other, paused, second] = [vote("dev bert", 1), vote("dev anna", 1), vote("dev anna", 2)];
    world.close();
    let (before, begun) = (world.ledger.clone(), world.log.len());
    world.reorg(7, &[]).unwrap();
    world.close();
    world.govern(Action::Resume(Resume { accepted: Vec::new() })).unwrap();
    world.close();
    let [trips, resumes] = [&world.log[begun], &world.log[begun + 1]].map(|block| &block.messages);
    let desk = Desk::over(before, tempfile::tempdir().unwrap());
    // The tally is in memory before votes pause, and knows nothing of what came meanwhile.
    assert_eq!(desk.ask(&other), None);
    desk.take(trips);
    assert_eq!(desk.ask(&paused), Some("breaker"));
    desk.take(resumes);
    assert_eq!(desk.ask(&second), Some("equivocation"));
    assert!(desk.gives_out("dev anna") && !desk.gives_out("dev bert"));
}
