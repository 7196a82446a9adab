//! The wallet's memory on disk: one JSON change set a line, only ever appended.
//!
//! A line counts once its end is there: what a crash cut off is removed when the file is opened again. It holds no
//! secret and nothing that the node could not tell again; it is private because it shows what is owned.

use bdk_wallet::ChangeSet;
use bdk_wallet::chain::Merge as _;
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
}

impl Journal {
    /// Opens the file, making it if it is missing, and gives all that was recorded, if anything was.
    pub fn open(path: &Path) -> Result<(Self, Option<ChangeSet>), JournalError> {
        let failed = |cause| JournalError::Io { path: path.to_owned(), cause };
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(path).map_err(failed)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text).map_err(failed)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        file.set_len(whole as u64).and_then(|()| file.seek(SeekFrom::End(0))).map_err(failed)?;
        let mut sum: Option<ChangeSet> = None;
        for (index, line) in text[..whole].split(|byte| *byte == b'\n').enumerate() {
            if line.is_empty() {
                continue;
            }
            let change: ChangeSet = serde_json::from_slice(line)
                .map_err(|cause| JournalError::Malformed { path: path.to_owned(), line: index + 1, cause })?;
            match &mut sum {
                None => sum = Some(change),
                Some(sum) => sum.merge(change),
            }
        }
        Ok((Self { path: path.to_owned(), file }, sum))
    }

    /// Adds a change set; it is on disk when this returns.
    pub fn append(&mut self, change: &ChangeSet) -> Result<(), JournalError> {
        let failed = |cause| JournalError::Io { path: self.path.clone(), cause };
        let mut line = serde_json::to_vec(change).map_err(|cause| failed(cause.into()))?;
        line.push(b'\n');
        self.file.write_all(&line).and_then(|()| self.file.sync_data()).map_err(failed)
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
    fn a_line_that_is_no_change_set_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wallet.jsonl");
        Journal::open(&path).unwrap().0.append(&change(Network::Regtest)).unwrap();
        let mut text = std::fs::read(&path).unwrap();
        text.extend_from_slice(b"nonsense\n");
        std::fs::write(&path, text).unwrap();
        assert!(matches!(Journal::open(&path), Err(JournalError::Malformed { line: 2, .. })));
    }
}
