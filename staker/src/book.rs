//! The holder's book of stakes: one private JSON file, replaced as a whole and durable before anybody acts on it.

use crate::record::{BadRecord, StakeRecord};
use bitcoin::OutPoint;
use palisade_hub::daemon::exit::Failure;
use palisade_hub::daemon::private_file::{self, ReadRefused};
use palisade_protocol::stake::StakeId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Longest book: thousands of stakes.
const MAX_BYTES: usize = 64 << 20;

/// Why the book cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// Its file is not there, although every wallet is made with one.
    #[error("the book of stakes {} is missing: which stakes this wallet has is not known here", path.display())]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("book of stakes {}: {cause}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: ReadRefused,
    },
    /// It cannot be written.
    #[error("book of stakes {}: {cause}", path.display())]
    Unwritable {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// It is not a book.
    #[error("book of stakes {}: {cause}", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: serde_json::Error,
    },
    /// One of its records contradicts itself.
    #[error(transparent)]
    Record(#[from] BadRecord),
}

#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Content {
    next_key: u32,
    stakes: Vec<StakeRecord>,
    /// Places of the stakes that the last backup made here, or one that was read since, has with all that leaving them needs.
    #[serde(default)]
    backed_up: BTreeSet<OutPoint>,
}

/// The book.
#[derive(Debug)]
pub struct Book {
    path: PathBuf,
    content: Content,
}

impl Book {
    /// Makes an empty book. One that exists is opened.
    pub fn create(path: &Path) -> Result<Self, BookError> {
        let mut book = Self::open_or_blank(path)?;
        book.adopt(Vec::new(), 0)?;
        Ok(book)
    }

    /// Opens the book, or one without stakes, which is on disk with its first change, where the file is missing. Only for
    /// whoever finds out which stakes there are.
    pub fn open_or_blank(path: &Path) -> Result<Self, BookError> {
        match Self::open(path) {
            Err(BookError::Missing { path }) => Ok(Self { path, content: Content::default() }),
            opened => opened,
        }
    }

    /// Opens the book. Every record is checked.
    pub fn open(path: &Path) -> Result<Self, BookError> {
        let path = path.to_owned();
        // A link to nothing is in the way like any other file that is no book: it is not followed, and not replaced.
        if fs::symlink_metadata(&path).is_err_and(|why| why.kind() == io::ErrorKind::NotFound) {
            return Err(BookError::Missing { path });
        }
        let bytes = private_file::read(&path, MAX_BYTES)
            .map_err(|cause| BookError::Unreadable { path: path.clone(), cause })?;
        let content: Content = serde_json::from_slice(&bytes)
            .map_err(|cause| BookError::Malformed { path: path.clone(), cause })?;
        for record in &content.stakes {
            record.contract()?;
        }
        Ok(Self { path, content })
    }

    /// The stakes, oldest first.
    pub fn stakes(&self) -> &[StakeRecord] {
        &self.content.stakes
    }

    /// The number that [`Book::take_key`] gives next.
    pub fn next_key(&self) -> u32 {
        self.content.next_key
    }

    /// Adds stakes that were found elsewhere, except those that are here already; keys below `next_key` are not given any
    /// more. Gives the stakes that are new.
    pub fn adopt(&mut self, found: Vec<StakeRecord>, next_key: u32) -> Result<Vec<StakeRecord>, BookError> {
        let mut new = Vec::new();
        for record in found {
            match self.content.stakes.iter_mut().find(|own| own.outpoint == record.outpoint) {
                // The log knows more of a stake than a record from before it was registered.
                Some(own) if own.id.is_none() && record.id.is_some() => {
                    self.content.backed_up.remove(&record.outpoint);
                    let broadcast = own.broadcast || record.broadcast;
                    *own = StakeRecord { broadcast, ..record };
                }
                Some(_) => {}
                None => {
                    new.push(record.clone());
                    self.content.stakes.push(record);
                }
            }
        }
        let used = self.stakes().iter().map(|record| record.key_index.saturating_add(1)).max();
        self.content.next_key = self.content.next_key.max(next_key).max(used.unwrap_or(0));
        self.save()?;
        Ok(new)
    }

    /// Number of a staking key that no stake has; durable before it is given, so that it is given once.
    pub fn take_key(&mut self) -> Result<u32, BookError> {
        let key = self.content.next_key;
        self.content.next_key = key.saturating_add(1);
        self.save()?;
        Ok(key)
    }

    /// Writes a stake down, in place of an earlier record of the same outpoint.
    pub fn put(&mut self, record: StakeRecord) -> Result<(), BookError> {
        match self.content.stakes.iter_mut().find(|old| old.outpoint == record.outpoint) {
            Some(old) => {
                // A backup without the early exit does not have all that leaving needs.
                if old.presigned != record.presigned {
                    self.content.backed_up.remove(&record.outpoint);
                }
                *old = record;
            }
            None => self.content.stakes.push(record),
        }
        self.save()
    }

    /// Notes that a backup with all stakes of the book was made.
    pub fn note_backup(&mut self) -> Result<(), BookError> {
        self.content.backed_up = self.stakes().iter().map(|record| record.outpoint).collect();
        self.save()
    }

    /// Notes what a backup has that was read: of each stake of the book that it has with all that leaving needs.
    pub fn note_read(&mut self, backup: &[StakeRecord]) -> Result<(), BookError> {
        let whole = |own: &&StakeRecord| {
            backup.iter().any(|read| read.outpoint == own.outpoint && read.presigned == own.presigned)
        };
        let found: Vec<OutPoint> = self.stakes().iter().filter(whole).map(|own| own.outpoint).collect();
        self.content.backed_up.extend(found);
        self.save()
    }

    /// Whether the last backup that was made with this book, or one that was read since, has a stake and all that leaving it
    /// needs.
    pub fn is_backed_up(&self, record: &StakeRecord) -> bool {
        self.content.backed_up.contains(&record.outpoint)
    }

    /// Forgets a stake that was never handed to Bitcoin.
    pub fn forget(&mut self, outpoint: &OutPoint) -> Result<(), BookError> {
        self.content.stakes.retain(|record| record.outpoint != *outpoint || record.broadcast);
        self.save()
    }

    /// The stake that a name, or its beginning, names.
    pub fn find(&self, name: &str) -> Result<StakeRecord, Failure> {
        find(self.stakes(), name, "`palisade-staker status` lists them")
    }

    /// The stake with an id.
    pub fn of_id(&self, id: &StakeId) -> Option<&StakeRecord> {
        self.stakes().iter().find(|record| record.id == Some(*id))
    }

    /// Coins that staking transactions spend which Bitcoin may still include: not to be spent otherwise. `is_over` tells
    /// stakes that it never will.
    pub fn reserved(&self, is_over: impl Fn(&StakeRecord) -> bool) -> BTreeSet<OutPoint> {
        let open = self.stakes().iter().filter(|record| !is_over(record));
        open.flat_map(|record| record.staking_tx.input.iter().map(|input| input.previous_output)).collect()
    }

    fn save(&self) -> Result<(), BookError> {
        let unwritable = |cause| BookError::Unwritable { path: self.path.clone(), cause };
        let text = serde_json::to_vec_pretty(&self.content).map_err(|cause| unwritable(cause.into()))?;
        private_file::replace(&self.path, &text).map_err(unwritable)
    }
}

/// The one stake of a list that a name, or its beginning, names; the hint says how the list is shown. Nothing is no name, although
/// every id begins with it: a script's empty variable must not move the only stake.
pub fn find(stakes: &[StakeRecord], name: &str, how_to_list: &str) -> Result<StakeRecord, Failure> {
    if name.is_empty() {
        return Err(Failure::usage("the name of the stake is empty").hint(how_to_list));
    }
    let found: Vec<_> = stakes.iter().filter(|record| record.is_called(name)).collect();
    match found.as_slice() {
        [record] => Ok((*record).clone()),
        [] => Err(Failure::usage(format_args!("there is no stake `{name}` here")).hint(how_to_list)),
        _ => Err(Failure::usage(format_args!("`{name}` names {} stakes: write more of it", found.len()))),
    }
}

#[cfg(test)]
mod tests;
