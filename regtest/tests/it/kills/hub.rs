//! A hub is killed while registrations, votes and digests come in from many at once.

mod scene;

use super::moments;
use palisade_hub::client::{HubClient, Receipt};
use palisade_hub::replica::Replica;
use palisade_protocol::block::{Block, MessageBytes};
use palisade_protocol::codec::Wire as _;
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::message::Message;
use palisade_protocol::units::Height;
use palisade_regtest::hub_process::HubProcess;
use palisade_regtest::in_time;
use palisade_world::provider_key;
use rand::Rng as _;
use rand::seq::SliceRandom as _;
use scene::{DEV, Scene, dev, served_votes, voted_height};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::task::JoinSet;

/// Something that is sent to the hub.
#[derive(Clone)]
pub enum Post {
    Message(Box<Message>),
    Vote(Box<Vote>),
    Digest(Hash32),
}

/// What the hub has answered for good.
enum Answer {
    Logged(Receipt),
    /// Refused: then it must be in the log, and the answer of the first time was lost.
    Known(Hash32),
    Counted(Box<Vote>),
    Stamped(Hash32, u64),
    /// A second vote at a height, which gives the key away; or one by a key that was given away.
    Exposed(ProviderKey),
}

/// Sends one thing. What comes back without an answer is to be sent again.
async fn send(hub: HubClient, post: Post) -> Result<Answer, Post> {
    let answer = match &post {
        Post::Message(message) => hub.submit(message).await.map(Answer::Logged),
        Post::Vote(vote) => hub.vote(vote).await.map(|()| Answer::Counted(vote.clone())),
        Post::Digest(digest) => return stamp(&hub, *digest).await.ok_or(post),
    };
    match (answer, &post) {
        (Ok(answer), _) => Ok(answer),
        (Err(why), _) if why.can_be_retried() => Err(post),
        (Err(_), Post::Message(message)) => Ok(Answer::Known(MessageBytes::of(message).id())),
        (Err(why), Post::Vote(vote)) if matches!(why.rule(), Some("equivocation" | "exposed")) => {
            Ok(Answer::Exposed(vote.key))
        }
        (Err(why), _) => panic!("{why}"),
    }
}

async fn stamp(hub: &HubClient, digest: Hash32) -> Option<Answer> {
    let url = hub.url().join("timestamps").unwrap();
    let answer = reqwest::Client::new().post(url).json(&json!({ "digest": digest })).send().await;
    let answer: Value = answer.ok()?.error_for_status().ok()?.json().await.ok()?;
    Some(Answer::Stamped(digest, answer["hub_height"].as_u64().unwrap()))
}

/// Everything that the hub shows as it makes it, from a height on, until it is gone.
async fn read_on(hub: HubClient, from: Height) -> Vec<Block> {
    let mut blocks = Vec::new();
    while let Ok(page) = hub.blocks(from.plus(blocks.len() as u64), Duration::from_secs(10)).await {
        blocks.extend(page);
    }
    blocks
}

/// What was seen of the hub so far, and must stay.
#[derive(Default)]
struct Seen {
    blocks: Vec<Block>,
    answers: Vec<Answer>,
}

impl Seen {
    /// Sends all at once, and kills the hub after so many answers. Gives what has no answer.
    async fn disturbed(&mut self, hub: &mut HubProcess, posts: Vec<Post>, kill_after: usize) -> Vec<Post> {
        let reader = tokio::spawn(read_on(hub.client.clone(), Height(self.blocks.len() as u64)));
        let (mut answered, mut unanswered) = (0, Vec::new());
        let mut sent: JoinSet<_> = posts.into_iter().map(|post| send(hub.client.clone(), post)).collect();
        while let Some(answer) = sent.join_next().await {
            match answer.unwrap() {
                Ok(answer) => self.answers.push(answer),
                Err(post) => {
                    unanswered.push(post);
                    continue;
                }
            }
            answered += 1;
            if answered == kill_after {
                hub.daemon.kill().await.unwrap();
            }
        }
        // On a busy machine some have no answer from a hub that lives, and are sent again like those that lost theirs.
        if answered < kill_after {
            hub.daemon.kill().await.unwrap();
        }
        self.blocks.extend(reader.await.unwrap());
        unanswered
    }

    /// A vote that the hub has said it counted: who cast it, and for which height.
    fn counted(&self) -> (&'static str, Height) {
        let name = |vote: &Vote| DEV.into_iter().find(|name| provider_key(name) == vote.key);
        let votes = self.answers.iter().filter_map(|answer| match answer {
            Answer::Counted(vote) => Some((name(vote)?, vote.ballot.height)),
            _ => None,
        });
        votes.min_by_key(|(_, height)| *height).expect("a vote that was counted")
    }

    /// Compares what was seen with what the hub serves now, and lets a follower reproduce it.
    async fn check(&mut self, hub: &HubProcess, follower: &mut Replica) {
        follower.catch_up(&hub.client).await.unwrap();
        let log = follower.store().blocks(Height(0), u32::MAX).unwrap();
        assert!(log.starts_with(&self.blocks), "a block changed that was shown before");
        let mut served = hub.client.blocks(Height(0), Duration::ZERO).await.unwrap();
        served.truncate(log.len());
        assert_eq!(log, served, "the follower's own log, which it may have from before the kill");
        let mut ids = BTreeMap::new();
        for block in &log {
            for message in &block.messages {
                let twice = ids.insert(message.id(), block.header.height);
                assert_eq!(twice, None, "a message stands twice in the log");
            }
        }
        let votes = served_votes(&hub.client).await;
        for answer in &self.answers {
            match answer {
                Answer::Logged(receipt) => assert_eq!(ids.get(&receipt.id), Some(&receipt.height)),
                Answer::Known(id) => assert!(ids.contains_key(id)),
                Answer::Counted(vote) => assert!(votes.contains(&vote.to_bytes()), "a vote is lost"),
                Answer::Stamped(digest, height) => {
                    let path = format!("timestamps/{digest}");
                    let view: Value = hub.client.get_json(&path, &[]).await.unwrap();
                    assert_eq!(view["hub_height"].as_u64(), Some(*height));
                }
                Answer::Exposed(_) => {}
            }
        }
        self.blocks = log;
    }

    /// Waits until the log holds what follows from the votes, though nobody sends one again. Blocks become final in order:
    /// those above one whose votes were lost with the hub wait for it.
    async fn conclusions(&self, hub: &HubProcess, follower: &mut Replica) {
        let voted = self.answers.iter().filter_map(|answer| match answer {
            Answer::Counted(vote) => Some(vote.ballot.height),
            _ => None,
        });
        let mut voters: BTreeMap<Height, usize> = BTreeMap::new();
        voted.for_each(|height| *voters.entry(height).or_default() += 1);
        let quorum = |height: &Height| voters.get(height).is_some_and(|count| *count >= 3);
        let due: Vec<Height> = (0..).map(voted_height).take_while(quorum).collect();
        let exposed = self.answers.iter().filter_map(|answer| match answer {
            Answer::Exposed(key) => Some(key),
            _ => None,
        });
        let exposed: Vec<_> = exposed.collect();
        let there = async {
            loop {
                let ledger = follower.ledger();
                let certified = &ledger.chain(&dev()).unwrap().certified;
                let out = |key| ledger.providers().get(key).is_some_and(|own| own.exposed_at.is_some());
                if due.iter().all(|height| certified.contains_key(height))
                    && exposed.iter().all(|key| out(key))
                {
                    return;
                }
                follower.follow(&hub.client, Duration::from_secs(10)).await.unwrap();
            }
        };
        in_time("the conclusions from the votes", there).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_hub_keeps_what_it_accepted_and_concludes_what_follows_from_it() {
    let mut moments = moments();
    let mut scene = Scene::new();
    let mut hub = HubProcess::start(&scene.world).await;
    let own = tempfile::tempdir().unwrap();
    let mut follower = Replica::open(own.path(), scene.world.ledger.genesis().clone()).unwrap();
    let (mut seen, mut unanswered) = (Seen::default(), Vec::new());
    let mut rounds = scene.posts();
    for round in &mut rounds {
        let mut posts = [std::mem::take(&mut unanswered), std::mem::take(round)].concat();
        posts.shuffle(&mut moments);
        let kill_after = moments.gen_range(1..=posts.len());
        unanswered = seen.disturbed(&mut hub, posts, kill_after).await;
        hub.start_again().await;
        seen.check(&hub, &mut follower).await;
        seen.conclusions(&hub, &mut follower).await;
    }
    // A provider votes twice, and the hub is killed as soon as it says so: the block with the evidence is not made yet. The first
    // vote must be one that the hub has: what was sent may have lost its answer in every round.
    let (name, height) = seen.counted();
    let twice = scene.world.vote(&dev(), name, height, Hash32([9; 32]));
    let left = seen.disturbed(&mut hub, vec![Post::Vote(Box::new(twice))], 1).await;
    assert!(left.is_empty() && matches!(seen.answers.last(), Some(Answer::Exposed(_))));
    hub.start_again().await;
    seen.conclusions(&hub, &mut follower).await;
    for post in unanswered {
        seen.answers.push(send(hub.client.clone(), post).await.unwrap_or_else(|_| panic!("the hub is up")));
    }
    seen.check(&hub, &mut follower).await;
    let new = tempfile::tempdir().unwrap();
    let mut undisturbed = Replica::open(new.path(), scene.world.ledger.genesis().clone()).unwrap();
    seen.blocks.iter().for_each(|block| drop(undisturbed.take(block).unwrap()));
    assert_eq!(undisturbed.ledger().tree().root(), follower.ledger().tree().root());
    hub.daemon.check().unwrap();
}
