//! The solo engine: one process makes the blocks.
//!
//! One block per interval, empty or not, so messages cannot speed the clock up. Messages and votes are judged before a block takes
//! them, so what is sent cannot hold the clock up either. A block is on disk before anybody hears of it, here and, where the hub
//! has followers, at one of them ([`crate::handing`]): answers and readers come after. Source: docs/protocol.md, section 8.1.

use crate::checkpoints::{self, ShareError};
use crate::ledger::{Event, Ledger, Rejected};
use crate::mempool::{Candidate, Mempool};
use crate::queue::{Bounds, Full, Queue, Waiting};
use crate::replica::{self, ReplicaError};
use crate::store::{Store, StoreError};
use crate::timestamps::{self, MAX_DIGESTS};
use crate::votes::{self, Judged, VoteBook, VoteError};
use bitcoin::secp256k1::{Keypair, Message as Digest, SECP256K1};
use palisade_protocol::block::{Block, HubHeader, MessageBytes};
use palisade_protocol::checkpoint::CheckpointShare;
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::units::Height;
use std::collections::BTreeSet;
use std::convert::Infallible;
use std::num::NonZero;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use tokio::sync::{mpsc, oneshot, watch};

/// Most messages of a block.
const BLOCK: Bounds = Bounds { items: 2_000, bytes: 16 << 20 };
/// Most messages that wait for a block.
const WAITING: Bounds = Bounds { items: 10_000, bytes: 64 << 20 };
/// Messages that a thread judges before it is asked again how many threads there should be.
const ROUND: usize = 64;
/// Most digests of a block's batch.
const BATCH: Bounds = Bounds { items: MAX_DIGESTS, bytes: usize::MAX };
/// Most digests that wait for a block's batch.
const WAITING_DIGESTS: Bounds = Bounds { items: 8 * MAX_DIGESTS, bytes: usize::MAX };
/// Most votes that are judged at once: what comes meanwhile is next.
const VOTES: Bounds = Bounds { items: 250, bytes: usize::MAX };
/// How many times as many may be judged before they are kept.
const JUDGED: usize = 16;
/// Most votes that wait.
const WAITING_VOTES: Bounds = Bounds { items: 10_000, bytes: 64 << 20 };
/// Most shares of checkpoints that wait: each costs a pairing.
const WAITING_SHARES: Bounds = Bounds { items: 500, bytes: usize::MAX };
const ONE: Bounds = Bounds { items: 1, bytes: usize::MAX };

/// What became of a message: where it is, or why not.
pub type Answer = Result<(Hash32, Height), Rejected>;

/// A block that was made, is on disk, and was not shown to anybody.
#[derive(Debug)]
pub struct Made {
    /// The block.
    pub block: Block,
    events: Vec<Event>,
    answers: Vec<(Candidate, Answer)>,
    stamped: Vec<Waiting<Hash32, Height>>,
}

type VoteAnswer = Result<(), VoteError>;
type VoteDoor = oneshot::Sender<VoteAnswer>;
type ShareAnswer = Result<(), ShareError>;

/// Works whenever something came, always in one thread: who looks from outside at what it does to the disk sees one order.
async fn at_one_desk<F: Future<Output = ()>>(
    came: impl Fn() -> F,
    work: impl Fn() + Clone + Send + 'static,
) -> Infallible {
    loop {
        let ((order, mut orders), work) = (mpsc::channel(1), work.clone());
        let desk = tokio::task::spawn_blocking(move || {
            while let Some(()) = orders.blocking_recv() {
                work();
            }
        });
        loop {
            came().await;
            if order.send(()).await.is_err() {
                break;
            }
        }
        if let Err(why) = desk.await {
            tracing::error!(%why, "what came was not judged to its end");
        }
    }
}

fn reply(door: VoteDoor, answer: VoteAnswer) {
    // Whoever hung up sends the vote again.
    let _ = door.send(answer);
}

/// The ledger of a hub, its log, and the messages that wait for the next block.
pub struct Hub {
    ledger: RwLock<Ledger>,
    store: Store,
    messages: Mempool,
    digests: Queue<Hash32, Height>,
    votes: Queue<Vote, VoteAnswer>,
    shares: Queue<CheckpointShare, ShareAnswer>,
    tally: Mutex<VoteBook>,
    /// Height and hash of the newest block that may be seen.
    shown: watch::Sender<Option<(Height, Hash32)>>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Hub")
    }
}

impl Hub {
    /// A hub over a ledger that was replayed from `store`.
    pub fn new(ledger: Ledger, store: Store) -> Arc<Self> {
        let shown = watch::Sender::new(ledger.tip());
        Arc::new(Self {
            ledger: RwLock::new(ledger),
            store,
            messages: Mempool::new(WAITING),
            digests: Queue::new(WAITING_DIGESTS),
            votes: Queue::new(WAITING_VOTES),
            shares: Queue::new(WAITING_SHARES),
            tally: Mutex::default(),
            shown,
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

    /// Tells the newest block that may be seen, its height and hash, whenever there is one.
    pub fn tips(&self) -> watch::Receiver<Option<(Height, Hash32)>> {
        self.shown.subscribe()
    }

    /// Height and hash of the newest block that may be seen.
    pub fn tip(&self) -> Option<(Height, Hash32)> {
        *self.shown.borrow()
    }

    /// Height of the newest block that may be seen.
    pub fn shown(&self) -> Option<Height> {
        self.tip().map(|(height, _)| height)
    }

    /// Where a digest is recorded, as far as that may be seen: the block, and the place in its batch.
    pub fn find_digest(&self, digest: &Hash32) -> Result<Option<(Height, usize)>, StoreError> {
        let found = self.store.find_digest(digest)?;
        Ok(found.filter(|(height, _)| Some(*height) <= self.shown()))
    }

    /// Before anybody looks: the newest block may be one that no follower was given any more. All below it were.
    pub fn hold_back_tip(&self) -> Result<(), StoreError> {
        let tip = self.ledger().tip();
        let Some((height, _)) = tip else { return Ok(()) };
        let below = height.0.checked_sub(1).map(Height);
        let newest = self.store.blocks(height, 1)?.pop();
        self.shown.send_replace(below.zip(newest.map(|block| block.header.previous)));
        Ok(())
    }

    /// Takes a message for the next block. The answer comes when it is refused, or when that block is on disk.
    pub fn submit(&self, bytes: MessageBytes) -> Result<oneshot::Receiver<Answer>, Full> {
        self.messages.put(bytes)
    }

    /// Judges what comes, messages, votes and shares, for as long as it is polled. Nothing else does.
    pub async fn judge(self: Arc<Self>) -> Infallible {
        let [messages, votes, shares] = [self.clone(), self.clone(), self.clone()];
        tokio::select! {
            never = at_one_desk(|| self.messages.came(), move || messages.judge_waiting_messages()) => match never {},
            never = at_one_desk(|| self.votes.came(), move || votes.count_waiting_votes()) => match never {},
            never = at_one_desk(|| self.shares.came(), move || shares.judge_waiting_shares()) => match never {},
        }
    }

    /// Judges the messages that wait, until none does. Half of the cores see to it, for whatever comes there must be some left for
    /// votes and blocks; and the ledger is looked at for one message at a time, so a block waits for no more than that.
    pub fn judge_waiting_messages(&self) {
        let judge = || {
            let next = || self.messages.next_to_judge();
            for (ticket, message) in std::iter::from_fn(next).take(ROUND) {
                let judged = self.ledger().judge(&message);
                self.messages.settle(ticket, judged);
            }
        };
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        loop {
            let waiting = self.messages.to_judge();
            if waiting == 0 {
                return;
            }
            std::thread::scope(|scope| {
                let helpers = waiting.min(cores / 2).saturating_sub(1);
                (0..helpers).for_each(|_| drop(scope.spawn(judge)));
                judge();
            });
        }
    }

    /// Queues a digest for the next block's batch; the answer, that block's height, comes when it is on disk.
    pub fn timestamp(&self, digest: Hash32) -> Result<oneshot::Receiver<Height>, Full> {
        self.digests.put(digest, digest.0.len())
    }

    /// Queues a vote to be judged and counted; the answer comes when a good one is on disk. What follows from it stands in
    /// the next block.
    pub fn vote(&self, vote: Vote) -> Result<oneshot::Receiver<VoteAnswer>, Full> {
        let size = size_of::<Vote>() + size_of_val(vote.path.as_slice());
        self.votes.put(vote, size)
    }

    /// Judges the votes that wait, keeps the good ones on disk and counts them, until none waits. While some are being written,
    /// the next are judged; all that are judged by then are written at once, for it is the disk's flush that takes time.
    pub fn count_waiting_votes(&self) {
        std::thread::scope(|scope| {
            let (judged, to_count) = sync_channel::<Vec<_>>(JUDGED);
            scope.spawn(move || {
                loop {
                    let waiting = self.votes.take(VOTES);
                    if waiting.is_empty() || judged.send(self.judge_votes(waiting)).is_err() {
                        return;
                    }
                }
            });
            while let Ok(first) = to_count.recv() {
                self.keep_and_count(first.into_iter().chain(to_count.try_iter().flatten()).collect());
            }
        });
    }

    /// Answers votes that were counted before, and those that are bad; gives the good ones, each with its answer's door.
    fn judge_votes(&self, waiting: Vec<Waiting<Vote, VoteAnswer>>) -> Vec<(Judged, VoteDoor)> {
        let ledger = self.ledger();
        let (known, new): (Vec<_>, Vec<_>) = {
            let tally = self.tally();
            waiting.into_iter().partition(|waiting| tally.has(&waiting.item, &ledger, &self.store))
        };
        for (_, door) in known.into_iter().map(Waiting::split) {
            reply(door, Ok(()));
        }
        let (votes, doors): (Vec<_>, Vec<_>) = new.into_iter().map(Waiting::split).unzip();
        let judged = votes::judge(votes, &ledger).into_iter().zip(doors);
        judged
            .filter_map(|(judged, door)| match judged {
                Ok(good) => Some((good, door)),
                Err(why) => {
                    reply(door, Err(why));
                    None
                }
            })
            .collect()
    }

    fn keep_and_count(&self, judged: Vec<(Judged, VoteDoor)>) {
        let (good, doors): (Vec<_>, Vec<_>) = judged.into_iter().unzip();
        let counted = self.keep(good).unwrap_or_else(|why| {
            let why = Arc::new(why);
            doors.iter().map(|_| Err(why.clone().into())).collect()
        });
        doors.into_iter().zip(counted).for_each(|(door, counted)| reply(door, counted));
    }

    /// Keeps good votes on disk, all at once, and then counts them; nobody waits for the tally while they are written. After an
    /// error, which is of the disk, those that are kept count when they are sent again, or after the next start.
    fn keep(&self, good: Vec<Judged>) -> Result<Vec<VoteAnswer>, StoreError> {
        {
            let ledger = self.ledger();
            self.tally().expect(&good, &ledger, &self.store)?;
        }
        let firsts = self.store.keep_votes(good.iter().map(Judged::vote))?;
        let ledger = self.ledger();
        self.tally().count(good, firsts, &ledger, &self.store)
    }

    fn tally(&self) -> MutexGuard<'_, VoteBook> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Queues a share of a checkpoint to be judged; the answer comes when a good one is on disk.
    pub fn share(&self, share: CheckpointShare) -> Result<oneshot::Receiver<ShareAnswer>, Full> {
        self.shares.put(share, size_of::<CheckpointShare>())
    }

    /// Judges the shares that wait, one by one, and keeps the good ones on disk. The ledger is free while a pairing is computed.
    pub fn judge_waiting_shares(&self) {
        while let Some(waiting) = self.shares.take(ONE).pop() {
            let (share, door) = waiting.split();
            let signer = checkpoints::signer(&share, &self.ledger(), &self.store);
            let kept = signer.and_then(|signer| checkpoints::keep(&share, &signer, &self.store));
            // Whoever hung up sends the share again.
            let _ = door.send(kept);
        }
    }

    /// Makes one block of what waits, and shows it.
    pub fn make_block(&self, key: &Keypair) -> Result<(HubHeader, Vec<Event>), StoreError> {
        let made = self.make_unseen(key)?;
        Ok((made.block.header, self.show(made)))
    }

    /// Makes one block of what waits, signs it and keeps it. On an error the state in memory is ahead of the disk: the process
    /// must end.
    pub fn make_unseen(&self, key: &Keypair) -> Result<Made, StoreError> {
        let mut answers = Vec::new();
        let mut messages = Vec::new();
        let candidates = self.messages.take(BLOCK);
        let mut ledger = self.ledger.write().unwrap_or_else(PoisonError::into_inner);
        let height = ledger.next_height();
        for candidate in candidates {
            let applied = ledger.apply_proven(&candidate.message, Some(&candidate.proven));
            if applied.is_ok() {
                messages.push(candidate.message.clone());
            }
            answers.push((candidate, applied.map(|id| (id, height))));
        }
        messages.extend(self.apply_due(&mut ledger)?);
        let stamped = self.digests.take(BATCH);
        // The same digest from several senders stands once.
        let digests: BTreeSet<Hash32> = stamped.iter().map(|waiting| waiting.item).collect();
        let digests: Vec<Hash32> = digests.into_iter().collect();
        messages.extend(apply_batch(&mut ledger, &digests, key));
        let (header, events) = ledger.finish_block();
        let message = HubHeader::signing_message(&ledger.contexts().hub, &header.hash());
        let signature = SECP256K1.sign_schnorr(&Digest::from_digest(message), key);
        let block = Block { header, signature, messages };
        self.store.append(&block, &events, &digests)?;
        Ok(Made { block, events, answers, stamped })
    }

    /// Lets everybody see a block, and answers those who have something in it. Gives what it changed.
    pub fn show(&self, made: Made) -> Vec<Event> {
        let height = made.block.header.height;
        self.show_up_to(&made.block.header);
        for (candidate, outcome) in made.answers {
            candidate.answer(&outcome);
        }
        for (_, answer) in made.stamped.into_iter().map(Waiting::split) {
            let _ = answer.send(height);
        }
        made.events
    }

    /// Applies what follows from the votes. A refusal is no error: the ledger has moved on, or pauses.
    fn apply_due(&self, ledger: &mut Ledger) -> Result<Vec<MessageBytes>, StoreError> {
        let mut votes = self.tally();
        let (evidence, certificates) = votes.take_due(ledger, &self.store)?;
        let evidence = evidence.into_iter().map(Message::Evidence);
        let certificates =
            certificates.into_iter().map(|certificate| Message::Certificate(Box::new(certificate)));
        let due = evidence.chain(certificates).map(|message| MessageBytes::of(&message));
        Ok(due.filter(|bytes| ledger.apply(bytes).is_ok()).collect())
    }

    /// Replays a block that another hub made, and keeps it. One that is kept already changes nothing: who follows is handed
    /// blocks while it asks for them. After a block that is refused, all is as before it.
    pub fn follow_block(&self, block: &Block) -> Result<(), ReplicaError> {
        let mut ledger = self.ledger.write().unwrap_or_else(PoisonError::into_inner);
        if block.header.height < ledger.next_height() && self.has(&block.header)? {
            return Ok(());
        }
        replica::take(&mut ledger, &self.store, block)?;
        // Before another is taken: what is shown never falls back.
        self.show_up_to(&block.header);
        Ok(())
    }

    /// Whether the log has the block with this header.
    pub fn has(&self, header: &HubHeader) -> Result<bool, StoreError> {
        let own = self.store.blocks(header.height, 1)?;
        Ok(own.first().is_some_and(|own| own.header == *header))
    }

    /// Lets everybody see the blocks up to this one.
    pub fn show_up_to(&self, header: &HubHeader) {
        self.shown.send_replace(Some((header.height, header.hash())));
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
