//! Whether a record that lies in the data directory may be trusted. Pure.

use super::mark::{Changed, Mark};
use palisade_protocol::hash::Hash32;

/// What is seen of the files before anything opens them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Files {
    /// When the record's file changed last, if there is one.
    pub(crate) record: Option<Changed>,
    /// Whether there is a file for the mark.
    pub(crate) has_mark: bool,
    /// The mark, if it is whole.
    pub(crate) mark: Option<Mark>,
}

/// What an opened record holds.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Contents {
    /// Its name, which follows from its seed.
    pub(crate) record: Hash32,
    /// Its rows.
    pub(crate) rows: u64,
}

/// What to do with the files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Start {
    /// There are none: a record is born.
    Birth,
    /// Open the record and hold what it contains against this mark.
    Open(Mark),
}

/// Why a record is not trusted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Distrust {
    #[error("the record is missing")]
    Missing,
    #[error("its mark is missing or damaged")]
    NoMark,
    #[error("its file was restored, copied or changed behind the signer's back")]
    Changed,
    #[error("{0}")]
    Damaged(String),
    #[error("it has no seed")]
    NoSeed,
    #[error("it is not the record that was written last: another one was put in its place")]
    OtherRecord,
    #[error("it has {found} rows where {written} were written")]
    Rows { found: u64, written: u64 },
}

impl Files {
    /// Judged before SQLite looks at the file: it would undo a transaction that a kill left half done, and so change the file.
    pub(crate) fn judge(&self) -> Result<Start, Distrust> {
        match (self.record, self.mark) {
            (None, _) if !self.has_mark => Ok(Start::Birth),
            (None, _) => Err(Distrust::Missing),
            (Some(_), None) => Err(Distrust::NoMark),
            (Some(changed), Some(mark)) if changed == mark.changed => Ok(Start::Open(mark)),
            _ => Err(Distrust::Changed),
        }
    }
}

impl Contents {
    /// Whether this is what was written last. Rows are only added, so an older state of the same record has fewer.
    pub(crate) fn judge(&self, mark: &Mark) -> Result<(), Distrust> {
        if self.record != mark.record {
            return Err(Distrust::OtherRecord);
        }
        if self.rows != mark.rows {
            return Err(Distrust::Rows { found: self.rows, written: mark.rows });
        }
        Ok(())
    }
}
