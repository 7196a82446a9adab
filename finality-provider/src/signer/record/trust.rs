//! Whether a record that lies in the data directory may be trusted. Pure.

use super::mark::{Changed, Mark};
use palisade_protocol::context::Context;
use palisade_protocol::hash::{Hash32, tagged};

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

/// What a record holds: its name and all of its rows, in whatever order they were added.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Contents(pub(super) Hash32);

impl Contents {
    /// Of a record without rows.
    pub(crate) fn of(name: Hash32) -> Self {
        Self(name)
    }

    /// With one row more. A row is never there twice.
    pub(crate) fn with(self, table: u8, key: &[u8], context: &Context, number: i64, digest: &Hash32) -> Self {
        let row = tagged("palisade/1/row", &[&[table], &context.0, &number.to_be_bytes(), &digest.0, key]);
        Self(Hash32(std::array::from_fn(|at| self.0.0[at] ^ row.0[at])))
    }
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
    #[error(
        "it does not hold what was written last: another record, or an older state of it, was put in its place"
    )]
    OtherContents,
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

/// Whether an opened record holds what was written last.
pub(crate) fn check_contents(found: Contents, mark: &Mark) -> Result<(), Distrust> {
    if found == mark.contents { Ok(()) } else { Err(Distrust::OtherContents) }
}
