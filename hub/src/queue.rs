//! What waits for its turn: bounded, first come, first served, each with the door that its answer goes to.

use std::collections::VecDeque;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};

/// The queue is full: try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("too much is waiting already: try again in a moment")]
pub struct Full;

/// So many items, and so many bytes of them.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Items.
    pub items: usize,
    /// Bytes of all of them.
    pub bytes: usize,
}

/// One that waits.
#[derive(Debug)]
pub struct Waiting<T, A> {
    /// What.
    pub item: T,
    bytes: usize,
    answer: oneshot::Sender<A>,
}

impl<T, A> Waiting<T, A> {
    /// Parts the item from the door of its answer.
    pub fn split(self) -> (T, oneshot::Sender<A>) {
        (self.item, self.answer)
    }
}

/// A queue of items `T` that are answered with `A`.
#[derive(Debug)]
pub struct Queue<T, A> {
    most: Bounds,
    line: Mutex<Line<T, A>>,
    came: Notify,
}

#[derive(Debug)]
struct Line<T, A> {
    items: VecDeque<Waiting<T, A>>,
    bytes: usize,
}

impl<T, A> Queue<T, A> {
    /// An empty queue that never holds more than `most`.
    pub fn new(most: Bounds) -> Self {
        Self { most, line: Mutex::new(Line { items: VecDeque::new(), bytes: 0 }), came: Notify::new() }
    }

    fn lock(&self) -> MutexGuard<'_, Line<T, A>> {
        // Nothing below leaves the line half changed.
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts an item of so many bytes at the end. The answer comes when its turn was.
    pub fn put(&self, item: T, bytes: usize) -> Result<oneshot::Receiver<A>, Full> {
        let mut line = self.lock();
        if line.items.len() >= self.most.items || line.bytes + bytes > self.most.bytes {
            return Err(Full);
        }
        let (answer, receiver) = oneshot::channel();
        line.bytes += bytes;
        line.items.push_back(Waiting { item, bytes, answer });
        drop(line);
        self.came.notify_one();
        Ok(receiver)
    }

    /// Takes the first ones, no more than `most`.
    pub fn take(&self, most: Bounds) -> Vec<Waiting<T, A>> {
        let mut line = self.lock();
        let mut bytes = 0;
        let fits = line.items.iter().take(most.items).take_while(|next| {
            bytes += next.bytes;
            bytes <= most.bytes
        });
        let count = fits.count();
        let taken: Vec<_> = line.items.drain(..count).collect();
        line.bytes -= taken.iter().map(|next| next.bytes).sum::<usize>();
        taken
    }

    /// Returns when something has been put in since the last call.
    pub async fn came(&self) {
        self.came.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SMALL: Bounds = Bounds { items: 3, bytes: 10 };

    #[test]
    fn the_first_come_first_and_only_what_fits_is_taken() {
        let queue: Queue<u8, ()> = Queue::new(SMALL);
        let _doors: Vec<_> = [(1, 4), (2, 4), (3, 1)].map(|(item, bytes)| queue.put(item, bytes)).into();
        let items = |most| queue.take(most).into_iter().map(|next| next.item).collect::<Vec<_>>();
        assert_eq!(items(Bounds { items: 9, bytes: 7 }), [1]);
        assert_eq!(items(Bounds { items: 1, bytes: 9 }), [2]);
        assert_eq!(items(SMALL), [3]);
        assert_eq!(items(SMALL), [0; 0]);
    }

    #[test]
    fn a_full_queue_refuses_by_count_and_by_bytes_and_takes_again_what_fits() {
        let queue: Queue<u8, ()> = Queue::new(SMALL);
        let _one = queue.put(1, 8).unwrap();
        assert_eq!(queue.put(2, 3).err(), Some(Full));
        let _doors = [queue.put(2, 1).unwrap(), queue.put(3, 1).unwrap()];
        assert_eq!(queue.put(4, 0).err(), Some(Full));
        assert_eq!(queue.take(SMALL).len(), 3);
        queue.put(4, 10).unwrap();
    }
}
