//! The hub's side: which root each epoch's set names, and which blocks are final.

use super::keys::Seed;
use super::{Block, FIRST, LAST, SEEDS, Vote};

/// Sets of this epoch and the next are fixed; later ones take commitments.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) struct Hub {
    /// Its one height is waited for.
    pub(super) epoch: u8,
    roots: [Option<Seed>; LAST as usize + 1],
    /// Roots that were ever committed to, by epoch: none comes back.
    known: [[bool; SEEDS as usize]; LAST as usize + 1],
    pub(super) certified: [Option<Block>; LAST as usize + 1],
}

impl Hub {
    /// The first two epochs have sets, which name the roots of the first seed.
    pub(super) fn new() -> Self {
        let mut hub = Self {
            epoch: FIRST,
            roots: [None; LAST as usize + 1],
            known: Default::default(),
            certified: [None; LAST as usize + 1],
        };
        for epoch in [FIRST, FIRST + 1] {
            hub.roots[usize::from(epoch)] = Some(0);
        }
        hub
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

    /// A commitment comes. It may come too late, and a root that was replaced is refused.
    pub(super) fn take_root(&mut self, epoch: u8, seed: Seed) {
        let known = &mut self.known[usize::from(epoch)][usize::from(seed)];
        if epoch >= self.epoch + 2 && !std::mem::replace(known, true) {
            self.roots[usize::from(epoch)] = Some(seed);
        }
    }

    /// The others make a block final: the next epoch begins, and the set after it is fixed.
    pub(super) fn certify(&mut self, block: Block) {
        self.certified[usize::from(self.epoch)] = Some(block);
        self.epoch += 1;
    }
}
