//! Messages that wait for a block: bounded, judged as they come, and taken by a block once they are found good.
//!
//! Kinds of messages take turns by what it costs to judge them, so a flood of one kind keeps the others waiting for as long as a
//! single message takes. In a kind the first come are the first judged; a connection has one request at a time, so that a sender's
//! share is that of its connections.

use crate::engine::Answer;
use crate::ledger::{Proven, Rejected};
use crate::queue::{Bounds, Full};
use palisade_protocol::block::MessageBytes;
use palisade_protocol::hash::Hash32;
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};

/// What it costs to judge the dearest message of a kind, in checks of one signature. The numbers are the kinds' in
/// docs/protocol.md, section 5.1.
const COSTS: [(u8, u64); 8] = [
    // Two thousand headers; a proof of possession; three signatures and many scripts; two for each of eight providers.
    (1, 20),
    (2, 20),
    (3, 6),
    (4, 17),
    // Sixty votes; two of them; an aggregate of sixty keys; sixteen governors, or thirty-two when they hand over.
    (9, 60),
    (10, 3),
    (11, 30),
    (13, 32),
];
/// Bytes whose hashing costs as much as a check of a signature.
const HASHED: u64 = 32_768;

/// What it costs to judge a message.
fn cost(message: &MessageBytes) -> u64 {
    let bytes = message.as_slice();
    let of_kind = COSTS.iter().find(|(kind, _)| bytes.first() == Some(kind));
    of_kind.map_or(1, |(_, cost)| *cost) + bytes.len() as u64 / HASHED
}

/// A message that was found good.
#[derive(Debug)]
pub struct Candidate {
    /// The message.
    pub message: MessageBytes,
    /// What need not be checked again.
    pub proven: Proven,
    doors: Vec<oneshot::Sender<Answer>>,
}

impl Candidate {
    /// Answers all who sent it.
    pub fn answer(self, answer: &Answer) {
        reply(self.doors, answer);
    }
}

fn reply(doors: Vec<oneshot::Sender<Answer>>, answer: &Answer) {
    for door in doors {
        // Whoever hung up can find the message in the log.
        let _ = door.send(answer.clone());
    }
}

/// Messages that wait.
#[derive(Debug)]
pub struct Mempool {
    most: Bounds,
    pool: Mutex<Pool>,
    came: Notify,
}

#[derive(Debug, Default)]
struct Pool {
    /// By the order in which they came.
    waiting: BTreeMap<u64, Waiting>,
    by_id: BTreeMap<Hash32, u64>,
    /// Those that nobody judges yet, by kind.
    lanes: BTreeMap<u8, Lane>,
    /// Where the lane stood whose turn was last.
    turn: u64,
    next: u64,
    doors: usize,
    bytes: usize,
}

#[derive(Debug)]
struct Waiting {
    id: Hash32,
    message: Arc<MessageBytes>,
    proven: Option<Proven>,
    doors: Vec<oneshot::Sender<Answer>>,
}

/// Messages of one kind, and the cost of those that were judged: the lane that has had least is next.
#[derive(Debug, Default)]
struct Lane {
    line: VecDeque<u64>,
    spent: u64,
}

impl Mempool {
    /// An empty one that never holds more than `most`.
    pub fn new(most: Bounds) -> Self {
        Self { most, pool: Mutex::default(), came: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Pool> {
        // Nothing below leaves the pool half changed.
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a message in. The answer comes when it is refused, or in a block that is on disk. One that waits already waits once.
    pub fn put(&self, message: MessageBytes) -> Result<oneshot::Receiver<Answer>, Full> {
        let (id, size) = (message.id(), message.as_slice().len());
        let mut pool = self.lock();
        let known = pool.by_id.get(&id).copied();
        let more = if known.is_some() { 0 } else { size };
        if pool.doors >= self.most.items || pool.bytes + more > self.most.bytes {
            return Err(Full);
        }
        let (door, answer) = oneshot::channel();
        pool.doors += 1;
        pool.bytes += more;
        match known.and_then(|ticket| pool.waiting.get_mut(&ticket)) {
            Some(waiting) => waiting.doors.push(door),
            None => pool.line_up(Waiting { id, message: Arc::new(message), proven: None, doors: vec![door] }),
        }
        drop(pool);
        self.came.notify_one();
        Ok(answer)
    }

    /// The message that is to be judged next, with its ticket. Whoever takes it settles it.
    pub fn next_to_judge(&self) -> Option<(u64, Arc<MessageBytes>)> {
        let pool = &mut *self.lock();
        let lanes = pool.lanes.values_mut().filter(|lane| !lane.line.is_empty());
        let lane = lanes.min_by_key(|lane| lane.spent)?;
        let ticket = lane.line.pop_front()?;
        let message = &pool.waiting.get(&ticket)?.message;
        pool.turn = lane.spent;
        lane.spent += cost(message);
        Some((ticket, message.clone()))
    }

    /// How many are to be judged.
    pub fn to_judge(&self) -> usize {
        self.lock().lanes.values().map(|lane| lane.line.len()).sum()
    }

    /// What came of judging: a good message goes on waiting, a bad one is answered.
    pub fn settle(&self, ticket: u64, judged: Result<Proven, Rejected>) {
        let mut pool = self.lock();
        match judged {
            Ok(proven) => {
                if let Some(waiting) = pool.waiting.get_mut(&ticket) {
                    waiting.proven = Some(proven);
                }
            }
            Err(why) => {
                let refused = pool.remove(ticket);
                drop(pool);
                reply(refused.map(|refused| refused.doors).unwrap_or_default(), &Err(why));
            }
        }
    }

    /// Takes the first ones that were found good, no more than `most`.
    pub fn take(&self, most: Bounds) -> Vec<Candidate> {
        let mut pool = self.lock();
        let mut bytes = 0;
        let good = pool.waiting.iter().filter(|(_, waiting)| waiting.proven.is_some());
        let fits = good.take(most.items).take_while(|(_, waiting)| {
            bytes += waiting.message.as_slice().len();
            bytes <= most.bytes
        });
        let tickets: Vec<u64> = fits.map(|(ticket, _)| *ticket).collect();
        let taken = tickets.into_iter().filter_map(|ticket| {
            let Waiting { message, proven, doors, .. } = pool.remove(ticket)?;
            Some(Candidate { message: Arc::unwrap_or_clone(message), proven: proven?, doors })
        });
        taken.collect()
    }

    /// Returns when something has been put in since the last call.
    pub async fn came(&self) {
        self.came.notified().await;
    }
}

impl Pool {
    fn line_up(&mut self, waiting: Waiting) {
        let ticket = self.next;
        self.next += 1;
        let kind = waiting.message.as_slice().first().copied().unwrap_or_default();
        let lane = self.lanes.entry(kind).or_default();
        if lane.line.is_empty() {
            // Whoever did not come has saved nothing up.
            lane.spent = lane.spent.max(self.turn);
        }
        lane.line.push_back(ticket);
        self.by_id.insert(waiting.id, ticket);
        self.waiting.insert(ticket, waiting);
    }

    fn remove(&mut self, ticket: u64) -> Option<Waiting> {
        let removed = self.waiting.remove(&ticket)?;
        self.by_id.remove(&removed.id);
        self.doors -= removed.doors.len();
        self.bytes -= removed.message.as_slice().len();
        Some(removed)
    }
}

#[cfg(test)]
mod tests;
