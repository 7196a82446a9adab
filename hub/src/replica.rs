//! A replica: a daemon's own copy of the log and of the state that follows from it.
//!
//! Every block is replayed, so every signature and proof in it is checked and every root reproduced, before it is kept.
//! What a daemon decides, it decides on this state, whatever the hub's API shows. Source: docs/protocol.md, section 8.1.

use crate::client::{HubClient, HubError};
use crate::daemon::health::Health;
use crate::daemon::serve::STARTING;
use crate::ledger::{BadBlock, Event, Ledger};
use crate::store::{self, Store, StoreError};
use palisade_protocol::block::Block;
use palisade_protocol::genesis::Genesis;
use palisade_protocol::hash::Hash32;
use palisade_protocol::units::Height;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Blocks of the own log that are replayed at a time.
const PAGE: u32 = 500;

/// Blocks that a replica takes and keeps at once.
pub const AT_ONCE: usize = 50;

/// Why a replica cannot follow.
#[derive(Debug, thiserror::Error)]
pub enum ReplicaError {
    /// The hub gives no answer that can be used.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// The hub's block is wrong: it lies, or it runs other rules.
    #[error("the hub's log is not valid: {0}")]
    Invalid(#[from] BadBlock),
    /// The own log.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The own log cannot be replayed.
    #[error("{}: {cause}", file.display())]
    Unusable {
        /// Where it is.
        file: PathBuf,
        /// Why.
        cause: Box<ReplicaError>,
    },
}

impl ReplicaError {
    /// Whether trying again can help. A log that is not valid stays so.
    pub fn can_be_retried(&self) -> bool {
        match self {
            Self::Hub(why) => why.can_be_retried(),
            Self::Invalid(_) | Self::Store(_) | Self::Unusable { .. } => false,
        }
    }

    /// Whether the disk is full or fails: the own log may be as good as it was.
    pub fn is_of_the_disk(&self) -> bool {
        match self {
            Self::Hub(_) | Self::Invalid(_) => false,
            Self::Store(why) => why.is_of_the_disk(),
            Self::Unusable { cause, .. } => cause.is_of_the_disk(),
        }
    }
}

/// The own log and the ledger that follows from it.
#[derive(Debug)]
pub struct Replica {
    ledger: Ledger,
    store: Store,
}

impl Replica {
    /// Opens the log in `directory` (created if it is missing) and replays it.
    pub fn open(directory: &Path, genesis: Arc<Genesis>) -> Result<Self, ReplicaError> {
        Self::open_and_tell(directory, genesis, |_, _| ())
    }

    /// The same for a process that serves `/health` meanwhile, in a thread of its own: says there how far it is.
    pub async fn open_in_sight(
        directory: &Path,
        genesis: Arc<Genesis>,
        health: &Health,
    ) -> Result<Self, ReplicaError> {
        let (started, id) = (Instant::now(), genesis.id());
        let (directory, health) = (directory.to_owned(), health.clone());
        let open = move || {
            Self::open_and_tell(&directory, genesis, |done, all| {
                health.degrade(STARTING, progress(done, all))
            })
        };
        let replica: Self = match tokio::task::spawn_blocking(open).await {
            Ok(opened) => opened?,
            Err(why) => match why.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                // The process ends: nobody waits for it any more.
                Err(_) => std::future::pending().await,
            },
        };
        let height = replica.ledger.tip().map(|(height, _)| height.0);
        tracing::info!(hub = %id, height, ms = started.elapsed().as_millis() as u64, "log replayed");
        Ok(replica)
    }

    /// Opens the log and tells, now and then, how many of how many blocks are replayed.
    fn open_and_tell(
        directory: &Path,
        genesis: Arc<Genesis>,
        tell: impl FnMut(u64, u64),
    ) -> Result<Self, ReplicaError> {
        let file = directory.join(store::FILE);
        let store = Store::open(&file)?;
        match replay_telling(&store, genesis, tell) {
            Ok(ledger) => Ok(Self { ledger, store }),
            Err(cause) => Err(ReplicaError::Unusable { file, cause: Box::new(cause) }),
        }
    }

    /// The state after the newest block.
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The state and the log, for a hub that goes on from there.
    pub fn into_parts(self) -> (Ledger, Store) {
        (self.ledger, self.store)
    }

    /// The own log.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Asks the hub for blocks and replays them; waits up to `wait` if there is none yet. Gives the new blocks' events.
    ///
    /// On an invalid block the state before it stays: nothing that the block says is ever seen.
    pub async fn follow(
        &mut self,
        hub: &HubClient,
        wait: Duration,
    ) -> Result<Vec<(Height, Event)>, ReplicaError> {
        let blocks = hub.blocks(self.ledger.next_height(), wait).await?;
        let mut events = Vec::new();
        for blocks in blocks.chunks(AT_ONCE) {
            let (taken, refused) = self.take_all(blocks);
            for (block, own) in blocks.iter().zip(taken) {
                events.extend(own.into_iter().map(|event| (block.header.height, event)));
            }
            refused.map_or(Ok(()), Err)?;
        }
        Ok(events)
    }

    /// Follows until the hub has nothing more.
    pub async fn catch_up(&mut self, hub: &HubClient) -> Result<(), ReplicaError> {
        loop {
            let before = self.ledger.next_height();
            self.follow(hub, Duration::ZERO).await?;
            if self.ledger.next_height() == before {
                return Ok(());
            }
        }
    }

    /// Replays one block and keeps it.
    pub fn take(&mut self, block: &Block) -> Result<Vec<Event>, ReplicaError> {
        take(&mut self.ledger, &self.store, block)
    }

    /// Replays blocks and keeps them together, which takes a fraction of the time: the disk is waited for once. Gives the events of
    /// those that were taken, and why the one behind them was not. Take [`AT_ONCE`] at most: nobody sees the ledger meanwhile.
    pub fn take_all(&mut self, blocks: &[Block]) -> (Vec<Vec<Event>>, Option<ReplicaError>) {
        let mut events = Vec::new();
        let mut refused = None;
        for block in blocks {
            match self.ledger.replay(block) {
                Ok(own) => events.push(own),
                Err(why) => {
                    refused = Some(ReplicaError::from(why));
                    break;
                }
            }
        }
        let good = blocks.get(..events.len()).unwrap_or_default();
        if let Err(why) = self.store.append_all(good, &events) {
            (events, refused) = (Vec::new(), Some(why.into()));
        }
        if refused.is_some()
            && let Err(why) =
                replay_log(&self.store, self.ledger.genesis().clone()).map(|kept| self.ledger = kept)
        {
            refused = Some(own_fault(why));
        }
        (events, refused)
    }
}

/// The state that follows from a hub's whole log, each block of which is shown once it is replayed: for tools that ask once
/// and keep no log. What a hub says besides its log is not believed here either.
pub async fn read_log(
    hub: &HubClient,
    genesis: Arc<Genesis>,
    mut see: impl FnMut(Block),
) -> Result<Ledger, ReplicaError> {
    let mut ledger = Ledger::new(genesis);
    loop {
        let blocks = hub.blocks(ledger.next_height(), Duration::ZERO).await?;
        if blocks.is_empty() {
            return Ok(ledger);
        }
        for block in blocks {
            ledger.replay(&block)?;
            see(block);
        }
    }
}

/// The block of a hub's log that holds a message, if one does.
pub async fn find_in_log(
    hub: &HubClient,
    genesis: Arc<Genesis>,
    message: Hash32,
) -> Result<Option<Height>, ReplicaError> {
    let mut found = None;
    let see = |block: Block| {
        let holds = block.messages.iter().any(|own| own.id() == message);
        found = found.or(holds.then_some(block.header.height));
    };
    read_log(hub, genesis, see).await?;
    Ok(found)
}

/// Replays a block that somebody else made on a ledger, and keeps it. A refused block may have changed the ledger, and one that
/// could not be kept has, so it begins anew from what was kept: rare, and the price of not copying the state at every block.
pub(crate) fn take(ledger: &mut Ledger, store: &Store, block: &Block) -> Result<Vec<Event>, ReplicaError> {
    let taken = match ledger.replay(block) {
        Ok(events) => store.append(block, &events, &[]).map(|()| events).map_err(ReplicaError::from),
        Err(why) => Err(why.into()),
    };
    if taken.is_err() {
        *ledger = replay_log(store, ledger.genesis().clone()).map_err(own_fault)?;
    }
    taken
}

/// How far a replay is, in words.
fn progress(done: u64, all: u64) -> String {
    format!("replaying the own log, {done} of {all} blocks are done")
}

/// That the own log was valid and is not any more is no fault of the hub's.
fn own_fault(why: ReplicaError) -> ReplicaError {
    match why {
        ReplicaError::Invalid(why) => StoreError::Changed(why.to_string()).into(),
        why => why,
    }
}

/// The state that follows from all blocks of a log.
fn replay_log(store: &Store, genesis: Arc<Genesis>) -> Result<Ledger, ReplicaError> {
    replay_telling(store, genesis, |_, _| ())
}

fn replay_telling(
    store: &Store,
    genesis: Arc<Genesis>,
    mut tell: impl FnMut(u64, u64),
) -> Result<Ledger, ReplicaError> {
    let mut ledger = Ledger::new(genesis);
    let all = store.tip()?.map_or(0, |tip| tip.0.saturating_add(1));
    loop {
        tell(ledger.next_height().0, all);
        let blocks = store.blocks(ledger.next_height(), PAGE)?;
        if blocks.is_empty() {
            return Ok(ledger);
        }
        for block in &blocks {
            ledger.replay(block)?;
        }
    }
}
