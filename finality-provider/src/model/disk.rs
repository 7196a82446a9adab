//! The signer's disk: what processes see, what a power cut leaves, and what an operator may do to the files.

use super::keys::{Keys, Seed};
use super::{Block, LAST};
use crate::signer::record::mark::{Changed, Mark};
use crate::signer::record::trust::Contents;
use palisade_protocol::hash::Hash32;

/// Rows of the record, by kind: each kind is a page that SQLite writes as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Rows {
    /// Epochs whose root is claimed.
    pub(super) roots: [bool; LAST as usize + 1],
    /// Blocks voted for.
    pub(super) votes: [Option<Block>; LAST as usize + 1],
}

impl Rows {
    pub(super) fn none() -> Self {
        Self { roots: [false; LAST as usize + 1], votes: [None; LAST as usize + 1] }
    }
}

/// The record's file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct RecordFile {
    pub(super) changed: Changed,
    pub(super) seed: Seed,
    pub(super) rows: Rows,
}

impl RecordFile {
    /// As the production code sums them up.
    pub(super) fn contents(&self, keys: &Keys) -> Contents {
        let mut contents = Contents::of(keys.name(self.seed));
        for height in 0..=LAST {
            let mut add = |table, digest| {
                contents = contents.with(table, &[], &Hash32::ZERO, height.into(), &digest);
            };
            if self.rows.roots[usize::from(height)] {
                add(0, keys.root(self.seed, height));
            }
            if let Some(block) = self.rows.votes[usize::from(height)] {
                add(1, block.hash(height));
            }
        }
        contents
    }
}

/// The mark's file: what it says of which rows, before they are summed up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum MarkFile {
    Torn,
    Whole(RecordFile),
}

impl MarkFile {
    pub(super) fn read(&self, keys: &Keys) -> Option<Mark> {
        match self {
            Self::Torn => None,
            Self::Whole(of) => Some(Mark { contents: of.contents(keys), changed: of.changed }),
        }
    }
}

/// The signer's data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Files {
    pub(super) record: Option<RecordFile>,
    pub(super) mark: Option<MarkFile>,
}

/// Which of the two files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Which {
    Record,
    Mark,
    Both,
}

impl Which {
    pub(super) const ALL: [Self; 3] = [Self::Record, Self::Mark, Self::Both];

    pub(super) fn record(self) -> bool {
        self != Self::Mark
    }

    pub(super) fn mark(self) -> bool {
        self != Self::Record
    }
}

/// What a power cut leaves of a file that was written and not synchronised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Left {
    New,
    Old,
    /// Half of each; of the mark only, for SQLite's journal undoes half a record.
    Torn,
}

const NEVER: Changed = Changed(0, 0);

/// A disk.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub(super) struct Disk {
    /// What processes see.
    pub(super) now: Files,
    /// What surely survives a power cut.
    pub(super) synced: Files,
    /// A copy of the files that somebody made, or the ones that the signer put aside.
    pub(super) copy: Option<Files>,
    /// The kernel's clock.
    clock: i64,
}

impl Disk {
    /// A time that no file has had.
    pub(super) fn tick(&mut self) -> Changed {
        self.clock += 1;
        Changed(self.clock, 0)
    }

    /// A new record, durable before it is used.
    pub(super) fn begin(&mut self, seed: Seed) -> RecordFile {
        let record = RecordFile { changed: self.tick(), seed, rows: Rows::none() };
        self.now = Files { record: Some(record), mark: Some(MarkFile::Whole(record)) };
        self.synced = self.now;
        record
    }

    pub(super) fn make_copy(&mut self) {
        // Whoever puts a copy back gives the record another time.
        let record = self.now.record.map(|record| RecordFile { changed: NEVER, ..record });
        self.copy = Some(Files { record, ..self.now });
    }

    pub(super) fn power_cut(&mut self, record: Left, mark: Left) {
        if record == Left::Old {
            self.now.record = self.synced.record;
        }
        match mark {
            Left::New => {}
            Left::Old => self.now.mark = self.synced.mark,
            Left::Torn => self.now.mark = Some(MarkFile::Torn),
        }
        self.synced = self.now;
    }

    /// Every different outcome of a power cut.
    pub(super) fn power_cuts(&self) -> impl Iterator<Item = (Left, Left)> {
        let records =
            if self.now.record == self.synced.record { &[Left::Old][..] } else { &[Left::New, Left::Old] };
        let whole = self.now.mark == self.synced.mark;
        let marks = if whole { &[Left::Old][..] } else { &[Left::New, Left::Old, Left::Torn] };
        records.iter().flat_map(move |record| marks.iter().map(move |mark| (*record, *mark)))
    }

    /// Files lose their names.
    pub(super) fn lose(&mut self, which: Which) {
        if which.record() {
            self.now.record = None;
        }
        if which.mark() {
            self.now.mark = None;
        }
        self.synced = self.now;
    }

    /// Puts copied files back. Whoever writes a file changes its time.
    pub(super) fn restore(&mut self, which: Which) {
        let Some(copy) = self.copy else { return };
        if which.record() {
            let changed = self.tick();
            self.now.record = copy.record.map(|record| RecordFile { changed, ..record });
        }
        if which.mark() {
            self.now.mark = copy.mark;
        }
        self.synced = self.now;
    }

    /// Times matter only as equal or different: numbers them anew, so that equal disks are equal states.
    pub(super) fn renumber(&mut self) {
        let mut seen = vec![NEVER.0];
        let mut number = |changed: &mut Changed| {
            let place = seen.iter().position(|at| *at == changed.0).unwrap_or_else(|| {
                seen.push(changed.0);
                seen.len() - 1
            });
            changed.0 = place as i64;
        };
        for files in [Some(&mut self.now), Some(&mut self.synced), self.copy.as_mut()].into_iter().flatten() {
            if let Some(record) = &mut files.record {
                number(&mut record.changed);
            }
            if let Some(MarkFile::Whole(mark)) = &mut files.mark {
                number(&mut mark.changed);
            }
        }
        self.clock = seen.len() as i64 - 1;
    }
}
