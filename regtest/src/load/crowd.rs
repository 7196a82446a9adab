//! Honest parties: voters that vote on every block that is due, and holders that register stakes, at a steady rate. They measure how
//! long they wait.

use super::figures::Times;
use super::scene::{Scene, VOTED_EVERY, VOTERS};
use palisade_hub::client::HubClient;
use palisade_protocol::context::ChainId;
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::units::Height;
use palisade_world::World;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// Pause before something is sent again.
const AGAIN: Duration = Duration::from_millis(20);
/// Longest wait for a block.
const WAIT: Duration = Duration::from_secs(5);

/// What honest parties waited for.
#[derive(Debug, Clone, Serialize)]
pub struct Waits {
    /// From a vote's first sending to the answer that it counts.
    pub votes: Times,
    /// From a block to the block with its certificate.
    pub certificates: Times,
    /// From a registration's first sending to the answer that it is in a block.
    pub registrations: Times,
    /// From a block to the next.
    pub blocks: Times,
}

/// Samples of one phase.
#[derive(Debug, Default)]
struct Samples {
    votes: Vec<Duration>,
    certificates: Vec<Duration>,
    registrations: Vec<Duration>,
    blocks: Vec<Duration>,
}

/// What is known of the hub's blocks.
#[derive(Debug, Default)]
struct Known {
    /// Blocks by height, and when they came.
    blocks: BTreeMap<Height, (Hash32, Instant)>,
    /// Heights with a certificate in the log.
    certified: BTreeSet<Height>,
}

#[derive(Debug)]
struct Shared {
    hub: HubClient,
    world: World,
    samples: Mutex<Samples>,
    known: Mutex<Known>,
    height: watch::Sender<Height>,
    /// Votes that the hub said it has counted.
    counted: Mutex<Vec<Vote>>,
    /// Ids of registrations that the hub said are in a block.
    registered: Mutex<BTreeSet<Hash32>>,
    /// What was refused for good, or is still being sent.
    troubles: Mutex<BTreeSet<String>>,
}

fn lock<T>(what: &Mutex<T>) -> MutexGuard<'_, T> {
    what.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Honest parties at work; they stop when this is dropped.
#[derive(Debug)]
pub struct Crowd {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

impl Crowd {
    /// Begins to vote, and to register a stake at each interval.
    pub fn begin(hub: &HubClient, scene: Scene, every: Duration) -> Self {
        let Scene { world, registrations } = scene;
        let start = world.ledger.tip().map_or(Height(0), |(height, _)| height);
        let final_now = world.ledger.chains()[0].certified.keys().copied().collect();
        let shared = Arc::new(Shared {
            hub: hub.clone(),
            world,
            samples: Mutex::default(),
            known: Mutex::new(Known { blocks: BTreeMap::new(), certified: final_now }),
            height: watch::Sender::new(start),
            counted: Mutex::default(),
            registered: Mutex::default(),
            troubles: Mutex::default(),
        });
        let mut tasks = vec![tokio::spawn(follow(shared.clone(), start))];
        tasks.extend(VOTERS.map(|name| tokio::spawn(vote(shared.clone(), name))));
        tasks.push(tokio::spawn(register(shared.clone(), registrations, every)));
        Self { shared, tasks }
    }

    /// What was measured since the last time this was asked.
    pub fn waits(&self) -> Waits {
        let Samples { votes, certificates, registrations, blocks } =
            std::mem::take(&mut *lock(&self.shared.samples));
        Waits {
            votes: Times::of(votes),
            certificates: Times::of(certificates),
            registrations: Times::of(registrations),
            blocks: Times::of(blocks),
        }
    }

    /// Height of the newest block that was seen.
    pub fn height(&self) -> Height {
        *self.shared.height.borrow()
    }

    /// Whether all voted heights up to this one are certified.
    pub fn has_certified(&self, height: Height) -> bool {
        let known = lock(&self.shared.known);
        let voted = known.blocks.range(..=height).filter(|(height, _)| height.0 % VOTED_EVERY == 0);
        voted.map(|(height, _)| height).all(|height| known.certified.contains(height))
    }

    /// Votes that the hub said it has counted.
    pub fn counted(&self) -> Vec<Vote> {
        lock(&self.shared.counted).clone()
    }

    /// Ids of the registrations that the hub said are in a block.
    pub fn registered(&self) -> BTreeSet<Hash32> {
        lock(&self.shared.registered).clone()
    }

    /// What was refused for good.
    pub fn troubles(&self) -> BTreeSet<String> {
        lock(&self.shared.troubles).clone()
    }
}

/// Reads blocks as they come.
async fn follow(shared: Arc<Shared>, start: Height) {
    let mut next = start;
    let mut last: Option<Instant> = None;
    loop {
        let Ok(page) = shared.hub.blocks(next, WAIT).await else {
            tokio::time::sleep(AGAIN).await;
            continue;
        };
        let now = Instant::now();
        for block in page {
            let height = block.header.height;
            next = height.plus(1);
            let mut known = lock(&shared.known);
            known.blocks.insert(height, (block.header.hash(), now));
            let mut samples = lock(&shared.samples);
            samples.blocks.extend(last.replace(now).map(|last| now - last));
            for message in block.messages {
                let Ok(Message::Certificate(own)) = message.decode() else { continue };
                known.certified.insert(own.ballot.height);
                samples
                    .certificates
                    .extend(known.blocks.get(&own.ballot.height).map(|(_, then)| now - *then));
            }
            drop((known, samples));
            shared.height.send_replace(height);
        }
    }
}

/// Votes on each block that is due, in order, as soon as the one before has its certificate.
async fn vote(shared: Arc<Shared>, name: &'static str) {
    let mut heights = shared.height.subscribe();
    let mut next: Option<Height> = None;
    loop {
        let due = {
            let known = lock(&shared.known);
            let wanted = next.or_else(|| known.certified.last().map(|last| last.plus(VOTED_EVERY)));
            wanted
                .filter(|height| known.certified.contains(&height.minus(VOTED_EVERY)))
                .and_then(|height| known.blocks.get(&height).map(|(hash, _)| (height, *hash)))
        };
        let Some((height, hash)) = due else {
            let _ = heights.changed().await;
            continue;
        };
        let vote = shared.world.vote(&ChainId::zero(), name, height, hash);
        let began = Instant::now();
        while let Err(why) = shared.hub.vote(&vote).await {
            if !why.can_be_retried() {
                lock(&shared.troubles).insert(format!("the vote of {name} on {height}: {why}"));
                return;
            }
            tokio::time::sleep(AGAIN).await;
        }
        lock(&shared.samples).votes.push(began.elapsed());
        lock(&shared.counted).push(vote);
        next = Some(height.plus(VOTED_EVERY));
    }
}

/// Registers stakes, one at each interval, whether or not the one before is in a block.
async fn register(shared: Arc<Shared>, registrations: Vec<Message>, every: Duration) {
    let mut ticks = tokio::time::interval(every);
    let mut flying = tokio::task::JoinSet::new();
    for message in registrations {
        ticks.tick().await;
        let shared = shared.clone();
        flying.spawn(async move {
            let began = Instant::now();
            loop {
                match shared.hub.submit(&message).await {
                    Ok(receipt) => {
                        lock(&shared.samples).registrations.push(began.elapsed());
                        lock(&shared.registered).insert(receipt.id);
                        return;
                    }
                    Err(why) if why.can_be_retried() => tokio::time::sleep(AGAIN).await,
                    Err(why) => {
                        lock(&shared.troubles).insert(format!("a registration: {why}"));
                        return;
                    }
                }
            }
        });
    }
    flying.join_all().await;
}
