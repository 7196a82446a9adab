//! What a watcher must not forget: keys that are out, stakes to be slashed, and how far Bitcoin was read.
//!
//! The keys stand here in clear: whoever cares has them.

use super::job::Outcome;
use crate::shell::FileError;
use bitcoin::BlockHash;
use bitcoin::hashes::Hash as _;
use palisade_hub::daemon::backup::{Backup, BackupError};
use palisade_hub::daemon::database::Kind;
use palisade_protocol::curve::KeyPair;
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::stake::StakeId;
use palisade_protocol::units::BtcHeight;
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::BTreeMap;
use std::path::Path;

const FILE: Kind = Kind {
    name: "watcher's book",
    id: b"PalW",
    format: 1,
    tables: TABLES,
    remedy: "It holds keys that are out and stakes that are still to be slashed: keep it, and run the build that wrote it",
};

const TABLES: &str = "
-- One row: how far was read. Missing in a new file.
CREATE TABLE mark (
    only   INTEGER PRIMARY KEY CHECK (only = 0),
    stakes INTEGER NOT NULL CHECK (stakes >= 0),         -- in order of registration
    height INTEGER NOT NULL CHECK (height >= 0),         -- of a Bitcoin block
    block  BLOB    NOT NULL CHECK (length(block) = 32)   -- its hash, in Bitcoin's internal byte order
) STRICT;
-- Providers whose keys are out.
CREATE TABLE leaked (
    provider BLOB PRIMARY KEY CHECK (length(provider) = 32),
    secret   BLOB NOT NULL    CHECK (length(secret) = 32)
) STRICT;
-- Stakes to be slashed.
CREATE TABLE job (
    stake    BLOB PRIMARY KEY CHECK (length(stake) = 32),
    provider BLOB NOT NULL REFERENCES leaked (provider), -- whose key slashes it
    gone_at  INTEGER,                                    -- Bitcoin height at which the coins were first seen gone
    outcome  TEXT CHECK (outcome IN ('slashed', 'elsewhere')),
    ended_by INTEGER,                                    -- Bitcoin height of the fact that ended it
    CHECK ((outcome IS NULL) = (ended_by IS NULL))
) STRICT;
";

/// The first `stakes` stakes were looked up on Bitcoin, and every block up to `block` was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// How many stakes.
    pub stakes: usize,
    /// Height of the block.
    pub height: BtcHeight,
    /// The block.
    pub block: BlockHash,
}

/// A stake to be slashed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Job {
    /// Whose key slashes it.
    pub provider: ProviderKey,
    /// Height at which its coins were first seen gone elsewhere.
    pub gone_at: Option<BtcHeight>,
    /// How it ended, and the height of the fact that ended it.
    pub ended: Option<(Outcome, BtcHeight)>,
}

/// The open file.
#[derive(Debug)]
pub struct Book(Connection);

impl Book {
    /// Opens or creates the file.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Ok(Self(FILE.open(path)?))
    }

    /// Copies the book at a path into a backup, whoever works on it.
    pub fn save(path: &Path, backup: &mut Backup, name: &str) -> Result<(), BackupError> {
        backup.database(&FILE, path, name).map(drop)
    }

    /// The mark, if one was ever written.
    pub fn mark(&self) -> Result<Option<Mark>, FileError> {
        let row = self
            .0
            .query_row("SELECT stakes, height, block FROM mark", [], |row| {
                Ok((row.get::<_, i64>(0)?, row.get::<_, u32>(1)?, row.get::<_, [u8; 32]>(2)?))
            })
            .optional()?;
        let Some((stakes, height, block)) = row else { return Ok(None) };
        let stakes = usize::try_from(stakes).map_err(|_| FileError::Corrupt("count of stakes"))?;
        Ok(Some(Mark { stakes, height: BtcHeight(height), block: BlockHash::from_byte_array(block) }))
    }

    /// Writes the mark.
    pub fn set_mark(&self, mark: &Mark) -> Result<(), FileError> {
        self.0.execute(
            "INSERT OR REPLACE INTO mark (only, stakes, height, block) VALUES (0, ?1, ?2, ?3)",
            params![mark.stakes as i64, mark.height.0, mark.block.to_byte_array()],
        )?;
        Ok(())
    }

    /// All keys that are out.
    pub fn leaked(&self) -> Result<BTreeMap<ProviderKey, KeyPair>, FileError> {
        let mut statement = self.0.prepare("SELECT provider, secret FROM leaked")?;
        let rows =
            statement.query_map([], |row| Ok((row.get::<_, [u8; 32]>(0)?, row.get::<_, [u8; 32]>(1)?)))?;
        rows.map(|row| {
            let (provider, secret) = row?;
            let secret = KeyPair::from_secret_bytes(&secret).map_err(|_| FileError::Corrupt("secret key"))?;
            Ok((provider_key(provider)?, secret))
        })
        .collect()
    }

    /// Keeps a key; on return it survives a power cut.
    pub fn keep_leaked(&self, leaked: &KeyPair) -> Result<(), FileError> {
        self.0.execute(
            "INSERT OR IGNORE INTO leaked (provider, secret) VALUES (?1, ?2)",
            params![leaked.public().serialize(), *leaked.secret_bytes()],
        )?;
        Ok(())
    }

    /// All jobs, ended ones too.
    pub fn jobs(&self) -> Result<BTreeMap<StakeId, Job>, FileError> {
        let mut statement = self.0.prepare("SELECT stake, provider, gone_at, outcome, ended_by FROM job")?;
        let rows = statement.query_map([], |row| {
            Ok((
                row.get::<_, [u8; 32]>(0)?,
                row.get::<_, [u8; 32]>(1)?,
                row.get::<_, Option<u32>>(2)?.map(BtcHeight),
                row.get::<_, Option<String>>(3)?,
                row.get::<_, Option<u32>>(4)?.map(BtcHeight),
            ))
        })?;
        rows.map(|row| {
            let (stake, provider, gone_at, outcome, ended_by) = row?;
            let outcome = match outcome.as_deref() {
                None => None,
                Some("slashed") => Some(Outcome::Slashed),
                Some("elsewhere") => Some(Outcome::Elsewhere),
                Some(_) => return Err(FileError::Corrupt("outcome of a job")),
            };
            let job = Job { provider: provider_key(provider)?, gone_at, ended: outcome.zip(ended_by) };
            Ok((StakeId(Hash32(stake)), job))
        })
        .collect()
    }

    /// Keeps a job as it is now; on return it survives a power cut. Its key is kept before.
    pub fn keep_job(&self, stake: &StakeId, job: &Job) -> Result<(), FileError> {
        let outcome = job.ended.map(|(outcome, _)| match outcome {
            Outcome::Slashed => "slashed",
            Outcome::Elsewhere => "elsewhere",
        });
        self.0.execute(
            "INSERT OR REPLACE INTO job (stake, provider, gone_at, outcome, ended_by) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![
                stake.0.0,
                job.provider.to_bytes(),
                job.gone_at.map(|height| height.0),
                outcome,
                job.ended.map(|(_, height)| height.0)
            ],
        )?;
        Ok(())
    }
}

fn provider_key(bytes: [u8; 32]) -> Result<ProviderKey, FileError> {
    ProviderKey::from_bytes(bytes).map_err(|_| FileError::Corrupt("provider key"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_world::{pair, provider_key};

    #[test]
    fn everything_kept_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let open = || Book::open(&dir.path().join("watch.sqlite")).unwrap();
        let (anna, leaked) = (provider_key("anna"), pair("anna"));
        let mark = Mark { stakes: 3, height: BtcHeight(9), block: BlockHash::from_byte_array([4; 32]) };
        let ids = [1, 2].map(|byte| StakeId(Hash32([byte; 32])));
        let open_job = Job { provider: anna, gone_at: Some(BtcHeight(7)), ended: None };
        let ended = Some((Outcome::Elsewhere, BtcHeight(7)));
        let jobs = [(ids[0], open_job), (ids[1], Job { ended, ..open_job })];
        assert_eq!((open().mark().unwrap(), open().jobs().unwrap()), (None, BTreeMap::new()));
        assert!(open().keep_job(&ids[0], &open_job).is_err(), "a job needs its key");
        open().keep_leaked(&leaked).unwrap();
        open().keep_leaked(&leaked).unwrap();
        open().set_mark(&Mark { stakes: 1, ..mark }).unwrap();
        open().set_mark(&mark).unwrap();
        jobs.iter().for_each(|(id, job)| open().keep_job(id, job).unwrap());
        assert_eq!(open().mark().unwrap(), Some(mark));
        assert_eq!(open().leaked().unwrap().keys().collect::<Vec<_>>(), [&anna]);
        assert_eq!(open().jobs().unwrap(), BTreeMap::from(jobs));
    }
}
