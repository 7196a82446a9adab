//! The holder's book of stakes: one private JSON file, replaced as a whole and durable before anybody acts on it.

use crate::record::{BadRecord, StakeRecord};
use bitcoin::OutPoint;
use palisade_hub::daemon::exit::Failure;
use palisade_hub::daemon::private_file::{self, ReadRefused};
use palisade_protocol::stake::StakeId;
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
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
        if !path.exists() {
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
    pub fn adopt(
        &mut self,
        found: Vec<StakeRecord>,
        next_key: u32,
    ) -> Result<Vec<StakeRecord>, BookError> {
        let mut new = Vec::new();
        for record in found {
            if self.stakes().iter().all(|own| own.outpoint != record.outpoint) {
                new.push(record.clone());
                self.content.stakes.push(record);
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
            Some(old) => *old = record,
            None => self.content.stakes.push(record),
        }
        self.save()
    }

    /// Forgets a stake that was never handed to Bitcoin.
    pub fn forget(&mut self, outpoint: &OutPoint) -> Result<(), BookError> {
        self.content.stakes.retain(|record| record.outpoint != *outpoint || record.broadcast);
        self.save()
    }

    /// The stake that a name, or its beginning, names.
    pub fn find(&self, name: &str) -> Result<StakeRecord, Failure> {
        find(self.stakes(), name)
    }

    /// The stake with an id.
    pub fn of_id(&self, id: &StakeId) -> Option<&StakeRecord> {
        self.stakes().iter().find(|record| record.id == Some(*id))
    }

    /// Coins that staking transactions spend which Bitcoin may still include: not to be spent otherwise. `is_over` tells
    /// stakes that will never be broadcast.
    pub fn reserved(&self, is_over: impl Fn(&StakeRecord) -> bool) -> BTreeSet<OutPoint> {
        let open = self.stakes().iter().filter(|record| record.broadcast || !is_over(record));
        open.flat_map(|record| record.staking_tx.input.iter().map(|input| input.previous_output)).collect()
    }

    fn save(&self) -> Result<(), BookError> {
        let unwritable = |cause| BookError::Unwritable { path: self.path.clone(), cause };
        let text = serde_json::to_vec_pretty(&self.content).map_err(|cause| unwritable(cause.into()))?;
        replace(&self.path, &text).map_err(unwritable)
    }
}

/// The one stake of a list that a name, or its beginning, names.
pub fn find(stakes: &[StakeRecord], name: &str) -> Result<StakeRecord, Failure> {
    let found: Vec<_> = stakes.iter().filter(|record| record.is_called(name)).collect();
    match found.as_slice() {
        [record] => Ok((*record).clone()),
        [] => Err(Failure::usage(format_args!("there is no stake `{name}` here"))
            .hint("`palisade-staker status` lists them")),
        _ => Err(Failure::usage(format_args!("`{name}` names {} stakes: write more of it", found.len()))),
    }
}

/// Replaces a private file: the new content is on disk under another name before it takes the old one's place.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let new = path.with_extension("new");
    match std::fs::remove_file(&new) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
        _ => {}
    }
    private_file::create(&new, bytes)?;
    std::fs::rename(&new, path)?;
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    std::fs::File::open(directory)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::{registration, world};
    use bitcoin::Amount;
    use std::os::unix::fs::PermissionsExt as _;

    fn record() -> StakeRecord {
        registration(&mut world()).unwrap().1
    }

    #[test]
    fn what_is_written_is_there_again_and_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stakes.json");
        let mut book = Book::create(&path).unwrap();
        let mut record = record();
        assert_eq!((book.take_key().unwrap(), book.take_key().unwrap()), (0, 1));
        book.put(record.clone()).unwrap();
        record.broadcast = true;
        book.put(record.clone()).unwrap();
        let book = Book::open(&path).unwrap();
        assert_eq!(book.stakes(), std::slice::from_ref(&record));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_number_of_a_key_is_given_once_whatever_happens_after() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stakes.json");
        Book::create(&path).unwrap();
        for expected in 0..3 {
            assert_eq!(Book::open(&path).unwrap().take_key().unwrap(), expected);
        }
    }

    #[test]
    fn a_book_that_is_missing_is_not_an_empty_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("stakes.json");
        assert!(matches!(Book::open(&path), Err(BookError::Missing { .. })));
        assert!(Book::open_or_blank(&path).unwrap().stakes().is_empty() && !path.exists());
        let mut book = Book::create(&path).unwrap();
        book.put(record()).unwrap();
        assert_eq!(Book::create(&path).unwrap().stakes().len(), 1);
    }

    #[test]
    fn stakes_found_elsewhere_are_added_once_and_their_keys_are_not_given_again() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = Book::create(&dir.path().join("stakes.json")).unwrap();
        let mine = StakeRecord { broadcast: true, ..record() };
        book.put(mine.clone()).unwrap();
        let other = OutPoint { vout: 7, ..mine.outpoint };
        let found = [record(), StakeRecord { key_index: 4, outpoint: other, ..record() }];
        assert_eq!(book.adopt(found.to_vec(), 3).unwrap(), found[1..]);
        assert_eq!((book.next_key(), &book.stakes()[0]), (5, &mine));
        assert_eq!(book.adopt(found.to_vec(), 9).unwrap(), []);
        assert_eq!(book.next_key(), 9);
    }

    #[test]
    fn a_stake_is_found_by_the_beginning_of_its_id_or_place() {
        let record = record();
        let stakes = [record.clone(), StakeRecord { id: None, ..record.clone() }];
        let id = record.id.unwrap().to_string();
        assert_eq!(find(&stakes, &id[..6]).unwrap(), record);
        assert!(find(&stakes, "nobody").unwrap_err().to_string().contains("there is no stake `nobody`"));
        let both = find(&stakes, &record.outpoint.to_string()).unwrap_err().to_string();
        assert!(both.contains("names 2 stakes"), "{both}");
    }

    #[test]
    fn a_stake_that_was_broadcast_is_never_forgotten() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = Book::create(&dir.path().join("stakes.json")).unwrap();
        let mut record = record();
        for (broadcast, left) in [(false, 0), (true, 1)] {
            record.broadcast = broadcast;
            book.put(record.clone()).unwrap();
            book.forget(&record.outpoint).unwrap();
            assert_eq!(book.stakes().len(), left);
        }
    }

    #[test]
    fn coins_of_stakes_under_way_are_reserved_until_they_are_over() {
        let dir = tempfile::tempdir().unwrap();
        let mut book = Book::create(&dir.path().join("stakes.json")).unwrap();
        let mut record = record();
        book.put(record.clone()).unwrap();
        let coin = record.staking_tx.input[0].previous_output;
        assert_eq!(book.reserved(|_| false), BTreeSet::from([coin]));
        assert_eq!(book.reserved(|_| true), BTreeSet::new());
        record.broadcast = true;
        book.put(record).unwrap();
        assert_eq!(book.reserved(|_| true), BTreeSet::from([coin]));
    }

    /// A way to damage a record.
    type Damage = fn(&mut StakeRecord);

    #[test]
    fn a_record_that_contradicts_itself_is_refused() {
        let damages: [(&str, Damage); 8] = [
            ("amount", |record| record.amount_sat += 1),
            ("lock", |record| record.lock = record.unbonding_time),
            ("provider", |record| record.providers.clear()),
            ("committee", |record| record.committee.truncate(4)),
            ("quorum", |record| record.quorum = 4),
            ("place", |record| record.outpoint.vout = 1),
            ("staking transaction", |record| record.staking_tx.output[0].value = Amount::from_sat(1)),
            ("presigned", |record| {
                let presigned = record.presigned.as_mut().unwrap();
                presigned.unbonding = presigned.slashing.clone();
            }),
        ];
        let dir = tempfile::tempdir().unwrap();
        for (what, damage) in damages {
            let mut record = record();
            assert!(record.contract().is_ok());
            damage(&mut record);
            let path = dir.path().join(what);
            Book::create(&path).unwrap().put(record).unwrap();
            assert!(matches!(Book::open(&path), Err(BookError::Record(_))), "{what}");
        }
    }
}
