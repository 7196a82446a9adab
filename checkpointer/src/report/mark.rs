//! How far everything is told: the one thing that a reporter remembers of its own.

use crate::shell::FileError;
use palisade_hub::daemon::database::Kind;
use palisade_protocol::units::BtcHeight;
use rusqlite::{Connection, OptionalExtension as _, params};
use std::path::Path;

const FILE: Kind = Kind {
    name: "reporter's mark",
    id: b"PalM",
    format: 1,
    tables: TABLES,
    remedy: "Move it away: everything is told again, and what the hub knows it takes as known",
};

const TABLES: &str = "
-- One row: how far everything is told. Missing in a new file.
CREATE TABLE mark (
    only   INTEGER PRIMARY KEY CHECK (only = 0),
    event  INTEGER NOT NULL CHECK (event >= 0),  -- seq in the event table of our log
    stakes INTEGER NOT NULL CHECK (stakes >= 0), -- in order of registration
    height INTEGER NOT NULL CHECK (height >= 0)  -- of a Bitcoin block
) STRICT;
";

/// Everything that the ledger's best chain shows below `height` about the first `stakes` stakes was in the ledger after
/// the event `event` of the log.
///
/// It needs no block hash: a rollback of the ledger's Bitcoin is an event, and names its fork.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// Cursor in our log's events: rollbacks up to it are taken into account.
    pub event: u64,
    /// How many stakes were looked up.
    pub stakes: usize,
    /// Lowest block that is not read.
    pub height: BtcHeight,
}

/// The mark on disk.
#[derive(Debug)]
pub struct MarkFile(Connection);

impl MarkFile {
    /// Opens or creates the file.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Ok(Self(FILE.open(path)?))
    }

    /// The mark, if one was ever written.
    pub fn read(&self) -> Result<Option<Mark>, FileError> {
        let row = self
            .0
            .query_row("SELECT event, stakes, height FROM mark", [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, u32>(2)?))
            })
            .optional()?;
        let Some((event, stakes, height)) = row else { return Ok(None) };
        let event = u64::try_from(event).map_err(|_| FileError::Corrupt("event cursor"))?;
        let stakes = usize::try_from(stakes).map_err(|_| FileError::Corrupt("count of stakes"))?;
        Ok(Some(Mark { event, stakes, height: BtcHeight(height) }))
    }

    /// Writes the mark; on return it survives a power cut.
    pub fn write(&self, mark: &Mark) -> Result<(), FileError> {
        self.0.execute(
            "INSERT OR REPLACE INTO mark (only, event, stakes, height) VALUES (0, ?1, ?2, ?3)",
            params![mark.event as i64, mark.stakes as i64, mark.height.0],
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_mark_written_is_read_back() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mark.sqlite");
        assert_eq!(MarkFile::open(&path).unwrap().read().unwrap(), None);
        for height in [7, 3] {
            let mark = Mark { event: 5, stakes: 2, height: BtcHeight(height) };
            MarkFile::open(&path).unwrap().write(&mark).unwrap();
            assert_eq!(MarkFile::open(&path).unwrap().read().unwrap(), Some(mark));
        }
    }
}
