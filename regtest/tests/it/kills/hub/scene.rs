//! What is sent to a hub that is going to be killed, and the world that it fits.

use super::Post;
use palisade_hub::client::HubClient;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::{ChainId, Terms};
use palisade_protocol::governance::{Action, NewChain};
use palisade_protocol::hash::{Hash32, sha256};
use palisade_protocol::message::Message;
use palisade_protocol::units::{Epoch, Height};
use palisade_world::{Wish, World};
use std::collections::BTreeSet;

const ZERO: [&str; 4] = ["anna", "bert", "carl", "dora"];
/// Who votes on the other chain, with equal power.
pub const DEV: [&str; 4] = ["dev anna", "dev bert", "dev carl", "dev dora"];
const TERMS: Terms = Terms { epoch_length: 200, voted_every: 5, minimum_power_sat: 4_000_000 };
/// The epoch that is voted in, and in how many rounds things are sent.
const EPOCH: Epoch = Epoch(1);
const ROUNDS: u64 = 5;
/// So much of each kind is sent in a round: voted heights, stakes, providers, digests.
const SHARE: [u64; 4] = [4, 5, 2, 12];

/// The chain that is voted on.
pub fn dev() -> ChainId {
    "dev".parse().unwrap()
}

/// A height that is voted on: they are numbered from 0, lowest first.
pub fn voted_height(number: u64) -> Height {
    TERMS.first_height(EPOCH).plus(number * TERMS.voted_every)
}

/// A world with a set that votes, and coins for all that is going to be registered.
pub struct Scene {
    pub world: World,
}

impl Scene {
    pub fn new() -> Self {
        Self { world: world() }
    }

    /// What is sent, round by round.
    pub fn posts(&mut self) -> Vec<Vec<Post>> {
        (0..ROUNDS).map(|round| self.round(round)).collect()
    }

    fn round(&mut self, round: u64) -> Vec<Post> {
        let numbers = |kind: usize| round * SHARE[kind]..(round + 1) * SHARE[kind];
        let mut posts = Vec::new();
        for height in numbers(0).map(voted_height) {
            let vote =
                |name: &&str| self.world.vote(&dev(), name, height, sha256(&[&height.0.to_be_bytes()]));
            posts.extend(DEV.iter().map(vote).map(|vote| Post::Vote(Box::new(vote))));
        }
        for number in numbers(1) {
            let registration = self.world.registration(&wish(number));
            posts.push(Post::Message(Box::new(Message::Stake(Box::new(registration)))));
        }
        for number in numbers(2) {
            let registration = self.world.provider_registration(&ChainId::zero(), &newcomer(number));
            posts.push(Post::Message(Box::new(registration)));
        }
        posts.extend(numbers(3).map(|number| Post::Digest(sha256(&[b"digest", &number.to_be_bytes()]))));
        posts
    }
}

/// Bytes of all votes that the hub serves.
pub async fn served_votes(hub: &HubClient) -> BTreeSet<Vec<u8>> {
    let votes = hub.votes("dev", Height(0)).await.unwrap();
    assert!(votes.len() < 500, "all on one page");
    votes.iter().map(|vote| vote.to_bytes()).collect()
}

fn wish(number: u64) -> Wish<'static> {
    Wish { holder: "alice", sat: 20_000 + number, providers: &["anna"], lock: 300 }
}

fn newcomer(number: u64) -> String {
    format!("newcomer {number}")
}

fn world() -> World {
    let mut world = World::new(4_000_000);
    let coins = (0..ROUNDS * SHARE[1]).map(|number| world.fund("alice", wish(number).sat + 1_000));
    let mut coins: Vec<_> = coins.collect();
    coins.extend((0..ROUNDS * SHARE[2]).map(|number| world.fund(&newcomer(number), 10_000)));
    let chain = NewChain { id: dev(), genesis: Hash32([5; 32]), terms: TERMS, first_epoch: Epoch(0) };
    world.govern(Action::RegisterChain(chain)).unwrap();
    for (zero, other) in ZERO.into_iter().zip(DEV) {
        world.register_provider(&ChainId::zero(), zero);
        world.register_provider(&dev(), other);
        world.active_stake(&Wish { holder: "alice", sat: 1_000_000, providers: &[zero, other], lock: 2_000 });
    }
    for name in DEV {
        world.commit(&dev(), name, EPOCH.0..EPOCH.0 + 2);
    }
    world.close();
    assert!(world.ledger.chain(&dev()).unwrap().sets.contains_key(&EPOCH));
    world.coins = coins;
    world
}
