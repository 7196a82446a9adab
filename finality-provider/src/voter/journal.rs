//! What the voter did and saw, on disk: votes it cast, commitments it sent, and script spends in its node's blocks.
//!
//! Losing it loses no safety: the signer's record says what was signed, and the blocks can be read again.

use bitcoin::hashes::Hash as _;
use bitcoin::{BlockHash, OutPoint, Txid};
use palisade_hub::daemon::backup::{Backup, BackupError};
use palisade_hub::daemon::database::{DatabaseError, Kind};
use palisade_protocol::codec::{DecodeError, Wire as _};
use palisade_protocol::context::ChainId;
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::hash::Hash32;
use palisade_protocol::units::{BtcHeight, Epoch, Height};
use rusqlite::{Connection, OptionalExtension as _, params};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

const FILE: Kind = Kind {
    name: "voter's journal",
    id: b"PalJ",
    format: 1,
    tables: TABLES,
    remedy: "Move it away: what was signed stands in the signer's record, which must stay where it is, and Bitcoin's blocks are read \
             again",
};

const TABLES: &str = "
-- Votes that the signer gave, to be sent until they are certified.
CREATE TABLE vote (
    chain     TEXT    NOT NULL,
    height    INTEGER NOT NULL,
    block     BLOB    NOT NULL CHECK (length(block) = 32),
    bytes     BLOB    NOT NULL,
    PRIMARY KEY (chain, height)
) STRICT, WITHOUT ROWID;
-- Epochs for which a commitment was first sent to the hub, and the hub's height then.
CREATE TABLE sent (
    chain      TEXT    NOT NULL,
    epoch      INTEGER NOT NULL,
    hub_height INTEGER NOT NULL,
    PRIMARY KEY (chain, epoch)
) STRICT, WITHOUT ROWID;
-- Epochs whose checkpoint share the hub took.
CREATE TABLE checkpoint (
    epoch INTEGER PRIMARY KEY
) STRICT;
-- Blocks of the own node that were searched for spends, without gaps.
CREATE TABLE searched (
    height INTEGER PRIMARY KEY,
    hash   BLOB NOT NULL CHECK (length(hash) = 32)
) STRICT;
-- Outputs that these blocks spend by a script path without a key path: those of stakes are among them.
CREATE TABLE spend (
    txid   BLOB    NOT NULL CHECK (length(txid) = 32),
    vout   INTEGER NOT NULL,
    height INTEGER NOT NULL,
    PRIMARY KEY (txid, vout)
) STRICT, WITHOUT ROWID;
";

/// Why the journal cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum JournalError {
    /// The file cannot be opened.
    #[error(transparent)]
    File(#[from] DatabaseError),
    /// SQLite.
    #[error("journal: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A row that is not what was written.
    #[error("journal holds a row that cannot be read: {0}")]
    Row(#[from] DecodeError),
}

/// An open journal.
#[derive(Debug)]
pub struct Journal(Mutex<Connection>);

impl Journal {
    /// Opens or creates the journal.
    pub fn open(path: &Path) -> Result<Self, JournalError> {
        let connection = FILE.open(path)?;
        // The newest rows may be lost with the power: they can be had again.
        connection.pragma_update(None, "synchronous", "NORMAL")?;
        Ok(Self(Mutex::new(connection)))
    }

    /// Copies the journal at a path into a backup, whoever works on it.
    pub fn save(path: &Path, backup: &mut Backup, name: &str) -> Result<(), BackupError> {
        backup.database(&FILE, path, name).map(drop)
    }

    fn lock(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere leaves no transaction half done: SQLite rolls it back.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a vote.
    pub fn keep_vote(&self, chain: &ChainId, vote: &Vote) -> Result<(), JournalError> {
        let row = params![chain.as_str(), vote.ballot.height.0 as i64, vote.ballot.block.0, vote.to_bytes()];
        let sql = "INSERT OR REPLACE INTO vote (chain, height, block, bytes) VALUES (?1, ?2, ?3, ?4)";
        self.lock().prepare_cached(sql)?.execute(row)?;
        Ok(())
    }

    /// The vote at a height.
    pub fn vote(&self, chain: &ChainId, height: Height) -> Result<Option<Vote>, JournalError> {
        let sql = "SELECT bytes FROM vote WHERE chain = ?1 AND height = ?2";
        let connection = self.lock();
        let mut statement = connection.prepare_cached(sql)?;
        let row =
            statement.query_row(params![chain.as_str(), height.0 as i64], |row| row.get::<_, Vec<u8>>(0));
        Ok(row.optional()?.map(|bytes| Vote::from_bytes(&bytes)).transpose()?)
    }

    /// The vote at the greatest height.
    pub fn newest_vote(&self, chain: &ChainId) -> Result<Option<Vote>, JournalError> {
        let sql = "SELECT bytes FROM vote WHERE chain = ?1 ORDER BY height DESC LIMIT 1";
        let connection = self.lock();
        let mut statement = connection.prepare_cached(sql)?;
        let row = statement.query_row([chain.as_str()], |row| row.get::<_, Vec<u8>>(0));
        Ok(row.optional()?.map(|bytes| Vote::from_bytes(&bytes)).transpose()?)
    }

    /// The votes from a height on, at most `limit`.
    pub fn votes_from(&self, chain: &ChainId, height: Height, limit: u32) -> Result<Vec<Vote>, JournalError> {
        let sql = "SELECT bytes FROM vote WHERE chain = ?1 AND height >= ?2 ORDER BY height LIMIT ?3";
        let connection = self.lock();
        let mut statement = connection.prepare_cached(sql)?;
        let row = params![chain.as_str(), height.0 as i64, limit];
        let rows = statement.query_map(row, |row| row.get::<_, Vec<u8>>(0))?;
        rows.map(|bytes| Ok(Vote::from_bytes(&bytes?)?)).collect()
    }

    /// Heights voted at, and the blocks.
    pub fn voted(&self, chain: &ChainId) -> Result<BTreeMap<Height, Hash32>, JournalError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached("SELECT height, block FROM vote WHERE chain = ?1")?;
        let rows = statement.query_map([chain.as_str()], |row| {
            Ok((Height(row.get::<_, i64>(0)? as u64), Hash32(row.get::<_, [u8; 32]>(1)?)))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Notes that a commitment is being sent; the first time stands.
    pub fn note_sent(&self, chain: &ChainId, epoch: Epoch, at: Height) -> Result<(), JournalError> {
        let sql = "INSERT OR IGNORE INTO sent (chain, epoch, hub_height) VALUES (?1, ?2, ?3)";
        let row = params![chain.as_str(), epoch.0 as i64, at.0 as i64];
        self.lock().prepare_cached(sql)?.execute(row)?;
        Ok(())
    }

    /// The hub's height when a commitment was first sent.
    pub fn sent_at(&self, chain: &ChainId, epoch: Epoch) -> Result<Option<Height>, JournalError> {
        let sql = "SELECT hub_height FROM sent WHERE chain = ?1 AND epoch = ?2";
        let connection = self.lock();
        let mut statement = connection.prepare_cached(sql)?;
        let row = statement.query_row(params![chain.as_str(), epoch.0 as i64], |row| row.get::<_, i64>(0));
        Ok(row.optional()?.map(|height| Height(height as u64)))
    }

    /// Notes that the hub took the share of an epoch's checkpoint.
    pub fn note_checkpoint(&self, epoch: Epoch) -> Result<(), JournalError> {
        let sql = "INSERT OR IGNORE INTO checkpoint (epoch) VALUES (?1)";
        self.lock().execute(sql, [epoch.0 as i64])?;
        Ok(())
    }

    /// Whether the hub took the share of an epoch's checkpoint.
    pub fn has_checkpoint(&self, epoch: Epoch) -> Result<bool, JournalError> {
        let sql = "SELECT 1 FROM checkpoint WHERE epoch = ?1";
        Ok(self.lock().query_row(sql, [epoch.0 as i64], |_| Ok(())).optional()?.is_some())
    }

    /// The newest block that was searched.
    pub fn searched(&self) -> Result<Option<(BtcHeight, BlockHash)>, JournalError> {
        let sql = "SELECT height, hash FROM searched ORDER BY height DESC LIMIT 1";
        let row = self.lock().query_row(sql, [], |row| {
            let hash = BlockHash::from_byte_array(row.get::<_, [u8; 32]>(1)?);
            Ok((BtcHeight(row.get(0)?), hash))
        });
        Ok(row.optional()?)
    }

    /// Notes that the next block was searched, and what it spends.
    pub fn note_searched(
        &self,
        height: BtcHeight,
        hash: BlockHash,
        spends: &BTreeSet<OutPoint>,
    ) -> Result<(), JournalError> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        transaction
            .prepare_cached("INSERT INTO searched (height, hash) VALUES (?1, ?2)")?
            .execute(params![height.0, hash.to_byte_array()])?;
        for spend in spends {
            transaction
                .prepare_cached("INSERT OR REPLACE INTO spend (txid, vout, height) VALUES (?1, ?2, ?3)")?
                .execute(params![spend.txid.to_byte_array(), spend.vout, height.0])?;
        }
        Ok(transaction.commit()?)
    }

    /// Forgets the newest block that was searched: the node's chain no longer has it.
    pub fn unsearch(&self, height: BtcHeight) -> Result<(), JournalError> {
        let mut connection = self.lock();
        let transaction = connection.transaction()?;
        transaction.execute("DELETE FROM searched WHERE height >= ?1", [height.0])?;
        transaction.execute("DELETE FROM spend WHERE height >= ?1", [height.0])?;
        Ok(transaction.commit()?)
    }

    /// Outputs spent up to a height.
    pub fn spends(&self, up_to: BtcHeight) -> Result<Vec<OutPoint>, JournalError> {
        let connection = self.lock();
        let mut statement = connection.prepare_cached("SELECT txid, vout FROM spend WHERE height <= ?1")?;
        let rows = statement.query_map([up_to.0], |row| {
            Ok(OutPoint { txid: Txid::from_byte_array(row.get::<_, [u8; 32]>(0)?), vout: row.get(1)? })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}
