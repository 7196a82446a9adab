//! The solo engine: one process makes the blocks.
//!
//! One block per interval, empty or not, so messages cannot speed the clock up. A block is on disk before anybody hears
//! of it: answers, readers and followers come after.

use crate::checkpoints::{self, ShareError};
use crate::ledger::{Event, Ledger, Rejected};
use crate::store::{Store, StoreError};
use crate::timestamps::{self, MAX_DIGESTS};
use crate::votes::{VoteBook, VoteError};
use bitcoin::secp256k1::{Keypair, Message as Digest, SECP256K1};
use palisade_protocol::block::{Block, HubHeader, MessageBytes};
use palisade_protocol::checkpoint::CheckpointShare;
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::units::Height;
use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::{oneshot, watch};

/// Most messages in a block.
const MAX_MESSAGES: usize = 2_000;
/// Most bytes of messages in a block.
const MAX_BLOCK: usize = 16 << 20;
/// Most messages that wait for a block.
const MAX_WAITING: usize = 10_000;
/// Most bytes of messages that wait for a block.
const MAX_WAITING_BYTES: usize = 64 << 20;
/// Most digests that wait for a block's batch.
const MAX_WAITING_DIGESTS: usize = 8 * MAX_DIGESTS;

/// What became of a message: where it is, or why not.
pub type Answer = Result<(Hash32, Height), Rejected>;

/// The queue is full: try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too much is waiting for the next block: try again in a moment")]
pub struct Full;

struct Waiting {
    bytes: MessageBytes,
    answer: oneshot::Sender<Answer>,
}

/// A digest that waits for the next block's batch.
struct WaitingDigest {
    digest: Hash32,
    answer: oneshot::Sender<Height>,
}

/// The ledger of a hub, its log, and the messages that wait for the next block.
pub struct Hub {
    ledger: RwLock<Ledger>,
    store: Store,
    waiting: Mutex<VecDeque<Waiting>>,
    digests: Mutex<VecDeque<WaitingDigest>>,
    votes: Mutex<VoteBook>,
    height: watch::Sender<Option<Height>>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hub")
    }
}

impl Hub {
    /// A hub over a ledger that was replayed from `store`.
    pub fn new(ledger: Ledger, store: Store) -> Arc<Self> {
        let height = watch::Sender::new(ledger.tip().map(|(height, _)| height));
        Arc::new(Self {
            ledger: RwLock::new(ledger),
            store,
            waiting: Mutex::default(),
            digests: Mutex::default(),
            votes: Mutex::default(),
            height,
        })
    }

    /// The state after the newest block on disk.
    pub fn ledger(&self) -> RwLockReadGuard<'_, Ledger> {
        self.ledger.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// The log.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Tells the height of the newest block whenever there is one.
    pub fn heights(&self) -> watch::Receiver<Option<Height>> {
        self.height.subscribe()
    }

    /// Queues a message for the next block; the answer comes when that block is on disk.
    pub fn submit(&self, bytes: MessageBytes) -> Result<oneshot::Receiver<Answer>, Full> {
        let (sender, receiver) = oneshot::channel();
        self.queue(Waiting { bytes, answer: sender })?;
        Ok(receiver)
    }

    /// Judges a vote, keeps it on disk and counts it. What follows from it stands in the next block.
    pub fn vote(&self, vote: Vote) -> Result<(), VoteError> {
        let ledger = self.ledger();
        let mut votes = self.votes.lock().unwrap_or_else(PoisonError::into_inner);
        votes.add(vote, &ledger, &self.store)
    }

    /// Judges a share of a checkpoint and keeps it on disk.
    pub fn checkpoint(&self, share: &CheckpointShare) -> Result<(), ShareError> {
        checkpoints::add(share, &self.ledger(), &self.store)
    }

    /// Queues a digest for the next block's batch; the answer, that block's height, comes when it is on disk.
    pub fn timestamp(&self, digest: Hash32) -> Result<oneshot::Receiver<Height>, Full> {
        let (answer, receiver) = oneshot::channel();
        let mut queue = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        if queue.len() >= MAX_WAITING_DIGESTS {
            return Err(Full);
        }
        queue.push_back(WaitingDigest { digest, answer });
        Ok(receiver)
    }

    fn take_digests(&self) -> Vec<WaitingDigest> {
        let mut queue = self.digests.lock().unwrap_or_else(PoisonError::into_inner);
        let count = queue.len().min(MAX_DIGESTS);
        queue.drain(..count).collect()
    }

    fn queue(&self, waiting: Waiting) -> Result<(), Full> {
        let mut queue = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let bytes: usize = queue.iter().map(|own| own.bytes.as_slice().len()).sum();
        if queue.len() >= MAX_WAITING || bytes + waiting.bytes.as_slice().len() > MAX_WAITING_BYTES {
            return Err(Full);
        }
        queue.push_back(waiting);
        Ok(())
    }

    fn take_waiting(&self) -> Vec<Waiting> {
        let mut queue = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        let mut bytes = 0;
        let mut taken = Vec::new();
        while taken.len() < MAX_MESSAGES
            && let Some(next) = queue.front()
            && bytes + next.bytes.as_slice().len() <= MAX_BLOCK
        {
            bytes += next.bytes.as_slice().len();
            taken.extend(queue.pop_front());
        }
        taken
    }

    /// Makes one block of what waits, signs it, keeps it, and only then answers. On an error the state in memory is ahead
    /// of the disk: the process must end.
    pub fn make_block(&self, key: &Keypair) -> Result<(HubHeader, Vec<Event>), StoreError> {
        let mut answers = Vec::new();
        let mut messages = Vec::new();
        let mut ledger = self.ledger.write().unwrap_or_else(PoisonError::into_inner);
        let height = ledger.next_height();
        for Waiting { bytes, answer } in self.take_waiting() {
            let outcome = ledger.apply(&bytes).map(|id| (id, height));
            if outcome.is_ok() {
                messages.push(bytes);
            }
            answers.push((answer, outcome));
        }
        messages.extend(self.apply_due(&mut ledger));
        let stamped = self.take_digests();
        // The same digest from several senders stands once.
        let digests: BTreeSet<Hash32> = stamped.iter().map(|waiting| waiting.digest).collect();
        let digests: Vec<Hash32> = digests.into_iter().collect();
        messages.extend(apply_batch(&mut ledger, &digests, key));
        let (header, events) = ledger.finish_block();
        let message = HubHeader::signing_message(&ledger.contexts().hub, &header.hash());
        let signature = SECP256K1.sign_schnorr(&Digest::from_digest(message), key);
        self.store.append(&Block { header, signature, messages }, &events, &digests)?;
        drop(ledger);
        self.announce(header.height);
        for (answer, outcome) in answers {
            // Whoever hung up can find the message in the log.
            let _ = answer.send(outcome);
        }
        for waiting in stamped {
            let _ = waiting.answer.send(height);
        }
        Ok((header, events))
    }

    /// Applies what follows from the votes. A refusal is no error: the ledger has moved on, or pauses.
    fn apply_due(&self, ledger: &mut Ledger) -> Vec<MessageBytes> {
        let mut votes = self.votes.lock().unwrap_or_else(PoisonError::into_inner);
        let (evidence, certificates) = votes.take_due(ledger);
        let evidence = evidence.into_iter().map(Message::Evidence);
        let certificates =
            certificates.into_iter().map(|certificate| Message::Certificate(Box::new(certificate)));
        let due = evidence.chain(certificates).map(|message| MessageBytes::of(&message));
        due.filter(|bytes| ledger.apply(bytes).is_ok()).collect()
    }

    /// Replays a block that another hub made, and keeps it (follower).
    pub fn follow_block(&self, block: &Block) -> Result<(), FollowError> {
        let mut ledger = self.ledger.write().unwrap_or_else(PoisonError::into_inner);
        let events = ledger.replay(block)?;
        self.store.append(block, &events, &[])?;
        drop(ledger);
        self.announce(block.header.height);
        Ok(())
    }

    fn announce(&self, height: Height) {
        self.height.send_replace(Some(height));
    }
}

/// Applies the batch of the digests, if there are any. The hub's own batch is never refused.
fn apply_batch(ledger: &mut Ledger, digests: &[Hash32], key: &Keypair) -> Option<MessageBytes> {
    if digests.is_empty() {
        return None;
    }
    let batch = timestamps::batch(ledger.next_height(), digests, &ledger.contexts().hub, key);
    let bytes = MessageBytes::of(&Message::Batch(batch));
    ledger.apply(&bytes).is_ok().then_some(bytes)
}

/// Why a follower stops.
#[derive(Debug, thiserror::Error)]
pub enum FollowError {
    /// The block is not what its header claims.
    #[error(transparent)]
    Invalid(#[from] crate::ledger::BadBlock),
    /// The own log.
    #[error(transparent)]
    Store(#[from] StoreError),
}
