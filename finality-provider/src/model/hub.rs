//! The hub's side: which root each epoch's set names, and which blocks are final.

use super::keys::Seed;
use super::{Block, FIRST, LAST, SEEDS, Vote};

/// Sets of this epoch and the next are fixed; later ones take commitments.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Hub {
    /// The epoch of the hub's newest block. The chain opens in the first one.
    epoch: u8,
    roots: [Option<Seed>; LAST as usize + 1],
    /// Roots that were ever committed to, by epoch: none comes back.
    known: [[bool; SEEDS as usize]; LAST as usize + 1],
    pub(super) certified: [Option<Block>; LAST as usize + 1],
}

impl Hub {
    /// The set of the first epoch is fixed, and names the root of the first seed.
    pub(super) fn new() -> Self {
        let none = [None; LAST as usize + 1];
        let mut hub = Self { epoch: FIRST - 1, roots: none, known: Default::default(), certified: [None; _] };
        hub.roots[usize::from(FIRST)] = Some(0);
        hub
    }

    /// The height that waits for a certificate: each epoch has one.
    pub(super) fn awaited(&self) -> u8 {
        self.epoch.max(FIRST)
    }

    /// The seed whose root the set of an epoch names.
    pub(super) fn root(&self, epoch: u8) -> Option<Seed> {
        self.roots[usize::from(epoch)]
    }

    /// Whether a vote was given under the root that its epoch's set names.
    pub(super) fn names(&self, vote: &Vote) -> bool {
        vote.height <= self.epoch + 1 && self.root(vote.height) == Some(vote.root)
    }

    pub(super) fn certified(&self, height: u8) -> Option<Block> {
        self.certified[usize::from(height)]
    }

    /// The lowest epoch without a set.
    pub(super) fn open_epoch(&self) -> Option<u8> {
        Some(self.epoch + 2).filter(|epoch| *epoch <= LAST)
    }

    /// The epoch of now.
    pub(super) fn epoch(&self) -> u8 {
        self.epoch
    }

    /// A commitment comes. It may come too late, and a root that was replaced is refused.
    pub(super) fn take_root(&mut self, epoch: u8, seed: Seed) {
        let known = &mut self.known[usize::from(epoch)][usize::from(seed)];
        if epoch >= self.epoch + 2 && !std::mem::replace(known, true) {
            self.roots[usize::from(epoch)] = Some(seed);
        }
    }

    /// The next epoch begins, once the others have made a block of this one final, and the set after it is fixed.
    pub(super) fn go_on(&mut self, block: Block) {
        if self.epoch >= FIRST {
            self.certified[usize::from(self.epoch)] = Some(block);
        }
        self.epoch += 1;
    }
}
