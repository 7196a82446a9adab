//! The wallet's memory on disk: one JSON change set a line, only ever appended.
//!
//! A line is on disk before the next one is begun. So a crash can cut off the last one or, where the power went, leave rubbish in its
//! place: that is removed when the file is opened again. It holds no secret and nothing that the node could not tell again; it is
//! private because it shows what is owned.

use bdk_wallet::ChangeSet;
use bdk_wallet::chain::Merge as _;
use palisade_hub::daemon::private_file::{self, ReadRefused};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _, Seek as _, SeekFrom, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

/// Why the wallet's memory cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The system refused.
    #[error("wallet file {}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// Others could have changed it, and with it the addresses that coins are sent to.
    #[error("wallet file {} {why}", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// Why it is not read.
        why: ReadRefused,
    },
    /// A line is no change set.
    #[error("wallet file {}, line {line}: {cause}; remove the file and the wallet reads the blocks again", path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        cause: serde_json::Error,
    },
}

/// An open journal.
#[derive(Debug)]
pub struct Journal {
    path: PathBuf,
    file: File,
    /// Bytes that hold whole change sets. What an append that failed has left comes behind them.
    whole: u64,
}

impl Journal {
    /// Opens the file, making it if it is missing, and gives all that was recorded, if anything was.
    pub fn open(path: &Path) -> Result<(Self, Option<ChangeSet>), JournalError> {
        let failed = |cause| JournalError::Io { path: path.to_owned(), cause };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(path).map_err(failed)?;
        private_file::check(&file).map_err(|why| JournalError::Open { path: path.to_owned(), why })?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed)?;
        let (whole, sum) = replay(path, &text)?;
        let mut journal = Self { path: path.to_owned(), file, whole: whole as u64 };
        journal.cut().map_err(failed)?;
        Ok((journal, sum))
    }

    /// To where the next change set goes.
    fn cut(&mut self) -> io::Result<()> {
        self.file.set_len(self.whole)?;
        self.file.seek(SeekFrom::Start(self.whole)).map(drop)
    }

    /// Adds a change set; it is on disk when this returns. One that could not be added in full leaves nothing of it to the next.
    pub fn append(&mut self, change: &ChangeSet) -> Result<(), JournalError> {
        self.write(change).map_err(|cause| JournalError::Io { path: self.path.clone(), cause })
    }

    fn write(&mut self, change: &ChangeSet) -> io::Result<()> {
        let mut line = serde_json::to_vec(change)?;
        line.push(b'\n');
        if self.file.stream_position()? != self.whole {
            self.cut()?;
        }
        self.file.write_all(&line)?;
        self.file.sync_data()?;
        self.whole += line.len() as u64;
        Ok(())
    }
}

/// How many bytes of a journal were written in full, and what they say.
fn replay(path: &Path, text: &[u8]) -> Result<(usize, Option<ChangeSet>), JournalError> {
    let (mut whole, mut sum, mut bad) = (0, None::<ChangeSet>, None);
    let lines = text.split_inclusive(|byte| *byte == b'\n').take_while(|line| line.ends_with(b"\n"));
    for (line, number) in lines.zip(1..) {
        match serde_json::from_slice(line) {
            Err(cause) => {
                bad.get_or_insert(JournalError::Malformed { path: path.to_owned(), line: number, cause });
            }
            Ok(change) => {
                // What a power cut has left comes last.
                if let Some(before) = bad {
                    return Err(before);
                }
                match &mut sum {
                    None => sum = Some(change),
                    Some(sum) => sum.merge(change),
                }
                whole += line.len();
            }
        }
    }
    // A file without a single change set is not ours to cut.
    match bad {
        Some(why) if sum.is_none() => Err(why),
        _ => Ok((whole, sum)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::Network;

    fn change(network: Network) -> ChangeSet {
        ChangeSet { network: Some(network), ..ChangeSet::default() }
    }

    #[test]
    fn what_was_appended_is_there_again_and_a_torn_line_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wallet.jsonl");
        let (mut journal, nothing) = Journal::open(&path).unwrap();
        assert!(nothing.is_none());
        journal.append(&change(Network::Regtest)).unwrap();
        drop(journal);
        let mut torn = std::fs::read(&path).unwrap();
        torn.extend_from_slice(b"{\"network\":\"bit");
        std::fs::write(&path, &torn).unwrap();
        let (mut journal, sum) = Journal::open(&path).unwrap();
        assert_eq!(sum.unwrap().network, Some(Network::Regtest));
        journal.append(&ChangeSet::default()).unwrap();
        assert!(Journal::open(&path).unwrap().1.is_some());
    }

    #[test]
    fn what_an_append_left_that_failed_half_way_is_no_part_of_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wallet.jsonl");
        let (mut journal, _) = Journal::open(&path).unwrap();
        for left in [&b""[..], b"{\"network\":\"bit", b"{\"network\":\"bitcoin\"}\n"] {
            // As a disk leaves it that is full before the end of the line, or that fails after it.
            journal.file.write_all(left).unwrap();
            journal.append(&change(Network::Regtest)).unwrap();
            assert_eq!(Journal::open(&path).unwrap().1.unwrap().network, Some(Network::Regtest));
        }
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 3);
    }

    #[test]
    fn rubbish_in_place_of_the_last_lines_is_cut_off_whatever_ends_of_lines_are_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wallet.jsonl");
        Journal::open(&path).unwrap().0.append(&change(Network::Regtest)).unwrap();
        let good = std::fs::read(&path).unwrap();
        for rubbish in [&b"\x13\n\xa5\xff\n"[..], b"\n", b"\n\n\0\0", b"{\"network\":\"\xa5\n\0"] {
            std::fs::write(&path, [&good, rubbish].concat()).unwrap();
            let (mut journal, sum) = Journal::open(&path).unwrap();
            assert_eq!(sum.unwrap().network, Some(Network::Regtest));
            assert_eq!(std::fs::read(&path).unwrap(), good);
            journal.append(&ChangeSet::default()).unwrap();
            assert!(Journal::open(&path).unwrap().1.is_some());
        }
    }

    #[test]
    fn a_line_before_others_that_is_no_change_set_is_named_and_a_file_without_one_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wallet.jsonl");
        Journal::open(&path).unwrap().0.append(&change(Network::Regtest)).unwrap();
        let good = std::fs::read(&path).unwrap();
        let amid = [&good[..], b"nonsense\n\n", &good].concat();
        for (text, at) in [(amid, 2), (b"nonsense\nmore\nand".to_vec(), 1)] {
            std::fs::write(&path, &text).unwrap();
            let refused = Journal::open(&path);
            assert!(
                matches!(refused, Err(JournalError::Malformed { line, .. }) if line == at),
                "{refused:?}"
            );
            assert_eq!(std::fs::read(&path).unwrap(), text);
        }
    }
}
