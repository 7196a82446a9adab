//! Nobody sees a block before a follower has it on disk: what is lost with the hub's machine was never shown.
//!
//! Each follower that the operator names is handed the newest block until it says that it keeps it. The next one is made when
//! one of them does. What a follower lacks below, it asks for itself. Source: docs/protocol.md, section 8.1.

use crate::client::{HubClient, HubError};
use crate::daemon::health::Health;
use crate::daemon::shutdown::Shutdown;
use crate::learning::PART;
use palisade_protocol::block::Block;
use palisade_protocol::units::Height;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The rule by which a follower refuses a block in whose place it has another.
pub const OTHER_BLOCK: &str = "other-block";
/// Until a follower that did not take a block is handed it again.
const PAUSE: Duration = Duration::from_millis(200);

/// The followers, and what they have.
#[derive(Debug)]
pub struct Handing {
    followers: Vec<HubClient>,
    health: Health,
    newest: watch::Sender<Option<Arc<Block>>>,
    /// The highest block that one of them has, of those that it was handed.
    held: watch::Sender<Option<Height>>,
    /// Why which of them lack the newest.
    lacking: Mutex<BTreeMap<usize, String>>,
}

impl Handing {
    /// Nothing is handed yet.
    pub fn new(followers: Vec<HubClient>, health: Health) -> Arc<Self> {
        let (newest, held) = (watch::Sender::new(None), watch::Sender::new(None));
        Arc::new(Self { followers, health, newest, held, lacking: Mutex::default() })
    }

    /// Hands out what there is, for as long as it is polled.
    pub async fn run(self: Arc<Self>) -> Infallible {
        let followers = 0..self.followers.len();
        let tasks: JoinSet<()> = followers.map(|index| self.clone().hand_to(index)).collect();
        tasks.join_all().await;
        // Nobody is named.
        std::future::pending().await
    }

    /// Waits until a follower has a block; where none is named for nobody. Says whether one has: if not, the stop was requested.
    pub async fn handed(&self, block: &Block, shutdown: &Shutdown) -> bool {
        if self.followers.is_empty() {
            return true;
        }
        let height = Some(block.header.height);
        self.newest.send_replace(Some(Arc::new(block.clone())));
        let mut held = self.held.subscribe();
        tokio::select! {
            // The sender lives as long as this does.
            held = held.wait_for(|held| *held >= height) => held.is_ok(),
            () = shutdown.requested() => false,
        }
    }

    async fn hand_to(self: Arc<Self>, index: usize) {
        let Some(follower) = self.followers.get(index) else { return };
        let mut newest = self.newest.subscribe();
        while let Ok(block) = newest.wait_for(Option::is_some).await.map(|block| block.clone()) {
            let Some(block) = block else { continue };
            match follower.hand(&block).await {
                Ok(()) => {
                    self.note(index, None);
                    let height = Some(block.header.height);
                    self.held.send_if_modified(|held| {
                        let is_higher = *held < height;
                        *held = height.max(*held);
                        is_higher
                    });
                    let _ = newest.changed().await;
                }
                Err(why) => {
                    self.note(index, Some(lacks(follower, &block, &why)));
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Says in `/health` which followers lack the newest block.
    fn note(&self, index: usize, why: Option<String>) {
        let mut lacking = self.lacking.lock().unwrap_or_else(PoisonError::into_inner);
        match why {
            Some(why) => drop(lacking.insert(index, why)),
            None => drop(lacking.remove(&index)),
        }
        if lacking.is_empty() {
            return self.health.recover(PART);
        }
        let all: Vec<&str> = lacking.values().map(String::as_str).collect();
        let all = all.join("; ");
        if lacking.len() < self.followers.len() {
            self.health.degrade(PART, format_args!("{all}. Blocks are made: another one keeps them"));
        } else {
            self.health.degrade(
                PART,
                format_args!("{all}: nobody sees it, and no other is made, before one of them keeps it"),
            );
        }
    }
}

fn lacks(follower: &HubClient, block: &Block, why: &HubError) -> String {
    let (url, height) = (follower.url(), block.header.height);
    match why {
        HubError::Refused { rule, .. } if rule == OTHER_BLOCK => format!(
            "ALARM: {url} has another block {height} that is signed with this hub's key (docs/operations/lost-hub.md)"
        ),
        HubError::Unreachable { why, .. } => format!("{url} gives no answer ({why}) to block {height}"),
        why => format!("{url} does not keep block {height} ({why})"),
    }
}
