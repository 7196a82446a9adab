//! The message log on disk: blocks, what they changed, and the votes of the tally.
//!
//! One SQLite file, one writer; readers have a connection of their own, so that a long answer holds no block up. A block
//! and its events land in one transaction with full synchronisation: when [`Store::append`] returns, the block survives a
//! power cut. Nothing is ever updated.

use crate::daemon::backup::{Backup, BackupError};
use crate::daemon::database::{DatabaseError, Kind};
use crate::ledger::Event;
use palisade_protocol::block::Block;
use palisade_protocol::checkpoint::CheckpointShare;
use palisade_protocol::codec::{DecodeError, Wire as _};
use palisade_protocol::context::Context;
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::units::{Epoch, Height};
use rusqlite::{Connection, ErrorCode, OptionalExtension as _, Transaction, params};
use std::ops::Range;
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The format of a log, of a hub or of a replica: its tables, the bytes of blocks, messages, votes and shares in them, the events,
/// and the state whose roots the blocks carry (docs/protocol.md, sections 5.5, 6.1, 8.1 and 8.2). Whoever changes one of
/// these raises it, and the tests of the log in `docs/vectors` remind of it.
pub const FORMAT: i32 = 3;

/// A log's file in the data directory of its daemon.
pub const FILE: &str = "log.sqlite";

const LOG: Kind = Kind {
    name: "message log",
    id: b"PalL",
    format: FORMAT,
    tables: TABLES,
    remedy: "A daemon that follows a hub (a hub with `follow` too) can do without: move the file away, and a reporter's mark.sqlite \
             beside it too, and the log is fetched again. A hub's own log is the only one: keep it, and run the build that wrote it",
};

/// What stands in the file. Columns hold canonical bytes (docs/protocol.md); numbers are for finding them.
const TABLES: &str = "
-- Hub blocks, without gaps from height 0.
CREATE TABLE block (
    height INTEGER PRIMARY KEY,
    bytes  BLOB NOT NULL
) STRICT;
-- What each block changed, in order; seq is the cursor of the event stream.
CREATE TABLE event (
    seq    INTEGER PRIMARY KEY AUTOINCREMENT,
    height INTEGER NOT NULL REFERENCES block (height),
    json   TEXT NOT NULL
) STRICT;
-- Good votes, also losing and late ones: of a voter at a height the first, and a second one, which is evidence.
CREATE TABLE vote (
    context BLOB NOT NULL CHECK (length(context) = 32),
    height  INTEGER NOT NULL,
    voter   BLOB NOT NULL CHECK (length(voter) = 32),
    second  INTEGER NOT NULL CHECK (second IN (0, 1)),
    bytes   BLOB NOT NULL,
    PRIMARY KEY (context, height, voter, second)
) STRICT, WITHOUT ROWID;
-- So that nobody need look through all votes for them.
CREATE INDEX second_vote ON vote (context, height, voter) WHERE second = 1;
-- Good shares of checkpoints.
CREATE TABLE share (
    epoch  INTEGER NOT NULL,
    signer BLOB NOT NULL CHECK (length(signer) = 32),
    bytes  BLOB NOT NULL,
    PRIMARY KEY (epoch, signer)
) STRICT, WITHOUT ROWID;
-- Digests of the batch in each block, in the order of the batch's tree.
CREATE TABLE digest (
    height INTEGER NOT NULL REFERENCES block (height),
    place  INTEGER NOT NULL,
    digest BLOB NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (height, place)
) STRICT, WITHOUT ROWID;
CREATE INDEX digest_place ON digest (digest, height, place);
";

/// Second votes, each with the first. CROSS JOIN keeps SQLite from beginning with the first ones, which are many.
const DOUBLE_VOTES: &str = "
    SELECT one.bytes, other.bytes FROM vote AS other
    CROSS JOIN vote AS one USING (context, height, voter)
    WHERE other.second = 1 AND one.second = 0";

/// Most bytes of a page of several blocks: what is answered at once, and read by others at once, stays small.
const PAGE_BYTES: usize = 1 << 20;

/// Why the log cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened.
    #[error(transparent)]
    File(#[from] DatabaseError),
    /// SQLite.
    #[error("message log: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// The file holds bytes that are no block.
    #[error("message log holds bytes that are no block: {0}")]
    Corrupt(#[from] DecodeError),
    /// The blocks give no state any more, though they did before.
    #[error("message log was valid and is not any more: {0}")]
    Changed(String),
    /// A block that is not the next one.
    #[error(
        "block {found} cannot be kept in the message log, whose next block is {next}: an earlier one could not be kept"
    )]
    Gap {
        /// Its height.
        found: Height,
        /// The height that is next.
        next: Height,
    },
    /// An event that is no JSON.
    #[error("message log holds an event that is no JSON: {0}")]
    Event(#[from] serde_json::Error),
}

impl StoreError {
    /// Whether the disk is full or fails: what is in the file may be as it was.
    pub fn is_of_the_disk(&self) -> bool {
        let cause = match self {
            Self::File(DatabaseError::Sqlite { cause, .. }) | Self::Sqlite(cause) => cause,
            Self::File(DatabaseError::NotMade { .. }) => return true,
            _ => return false,
        };
        matches!(cause.sqlite_error_code(), Some(ErrorCode::DiskFull | ErrorCode::SystemIoFailure))
    }
}

/// A number as SQLite has it; what is beyond its largest is beyond everything that is kept.
fn number(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// An open log.
#[derive(Debug)]
pub struct Store {
    /// Sees what was committed, and can change nothing. Closed before the writer: only the last one that may write makes one
    /// file of the log when it closes.
    reader: Mutex<Connection>,
    writer: Mutex<Connection>,
}

impl Store {
    /// Opens or creates the log.
    pub fn open(path: &Path) -> Result<Self, StoreError> {
        let (writer, reader) = (LOG.open(path)?, LOG.open_to_read(path)?);
        Ok(Self { writer: Mutex::new(writer), reader: Mutex::new(reader) })
    }

    /// Copies the log at a path into a backup, whoever works on it. Gives the number of its blocks and the height of the newest.
    pub fn save(path: &Path, backup: &mut Backup, name: &str) -> Result<(u64, Option<Height>), BackupError> {
        let copy = backup.database(&LOG, path, name)?;
        let found = copy.query_row("SELECT count(*), max(height) FROM block", [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, Option<i64>>(1)?))
        });
        let (blocks, newest) = found.map_err(|cause| BackupError::Sqlite { file: path.to_owned(), cause })?;
        Ok((blocks.unsigned_abs(), newest.map(|height| Height(height.unsigned_abs()))))
    }

    fn write(&self) -> MutexGuard<'_, Connection> {
        // A panic elsewhere cannot leave a transaction half done: SQLite rolls it back.
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> MutexGuard<'_, Connection> {
        self.reader.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds the next block with its events, and with the digests of its batch where the block was made here.
    pub fn append(&self, block: &Block, events: &[Event], digests: &[Hash32]) -> Result<(), StoreError> {
        let mut connection = self.write();
        let transaction = connection.transaction()?;
        insert_block(&transaction, block, events)?;
        insert_digests(&transaction, number(block.header.height.0), digests)?;
        Ok(transaction.commit()?)
    }

    /// Adds the next blocks, each with its events: all or none of them, and the disk is waited for once.
    pub fn append_all(&self, blocks: &[Block], events: &[Vec<Event>]) -> Result<(), StoreError> {
        let mut connection = self.write();
        let transaction = connection.transaction()?;
        blocks
            .iter()
            .zip(events)
            .try_for_each(|(block, events)| insert_block(&transaction, block, events))?;
        Ok(transaction.commit()?)
    }

    /// Keeps the digests of the batch in a block that was made elsewhere. The caller has checked that they are.
    pub fn keep_digests(&self, height: Height, digests: &[Hash32]) -> Result<(), StoreError> {
        let mut connection = self.write();
        let transaction = connection.transaction()?;
        insert_digests(&transaction, number(height.0), digests)?;
        Ok(transaction.commit()?)
    }

    /// Blocks from a height on, at most `limit`; fewer when they are large, but never none while there is one.
    pub fn blocks(&self, from: Height, limit: u32) -> Result<Vec<Block>, StoreError> {
        self.block_bytes(from, limit)?.iter().map(|bytes| Ok(Block::from_bytes(bytes)?)).collect()
    }

    /// The bytes of the same.
    pub fn block_bytes(&self, from: Height, limit: u32) -> Result<Vec<Vec<u8>>, StoreError> {
        let connection = self.read();
        let mut statement = connection
            .prepare_cached("SELECT bytes FROM block WHERE height >= ?1 ORDER BY height LIMIT ?2")?;
        let mut rows = statement.query(params![number(from.0), limit])?;
        let (mut blocks, mut size) = (Vec::new(), 0);
        while let Some(row) = rows.next()? {
            let bytes = row.get_ref(0)?.as_blob().map_err(rusqlite::Error::from)?;
            size += bytes.len();
            if size > PAGE_BYTES && !blocks.is_empty() {
                break;
            }
            blocks.push(bytes.to_vec());
        }
        Ok(blocks)
    }

    /// Height of the newest block.
    pub fn tip(&self) -> Result<Option<Height>, StoreError> {
        let height: Option<i64> =
            self.read().query_row("SELECT max(height) FROM block", [], |row| row.get(0))?;
        Ok(height.map(|height| Height(height as u64)))
    }

    /// Events behind a cursor, at most `limit`, each with the cursor to go on from.
    pub fn events(
        &self,
        after: u64,
        limit: u32,
    ) -> Result<Vec<(u64, Height, serde_json::Value)>, StoreError> {
        let connection = self.read();
        let mut statement = connection
            .prepare_cached("SELECT seq, height, json FROM event WHERE seq > ?1 ORDER BY seq LIMIT ?2")?;
        let rows = statement.query_map(params![number(after), limit], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?, row.get::<_, String>(2)?))
        })?;
        rows.map(|row| {
            let (seq, height, json) = row?;
            Ok((seq as u64, Height(height as u64), serde_json::from_str(&json)?))
        })
        .collect()
    }

    /// Keeps votes in one transaction; keeping one again does nothing. Gives for each, in order, the first vote of its voter at its
    /// height if that is for another block. Of those one is kept: two votes give the key away, and whoever has that can make any
    /// number.
    pub fn keep_votes<'a>(
        &self,
        votes: impl IntoIterator<Item = &'a Vote>,
    ) -> Result<Vec<Option<Vote>>, StoreError> {
        let mut connection = self.write();
        let transaction = connection.transaction()?;
        let firsts: Result<_, _> = votes.into_iter().map(|vote| keep_vote(&transaction, vote)).collect();
        let firsts = firsts?;
        transaction.commit()?;
        Ok(firsts)
    }

    /// Votes of a chain from a height on, at most `limit`.
    pub fn votes(&self, context: &Context, from: Height, limit: u32) -> Result<Vec<Vote>, StoreError> {
        self.votes_of("height >= ?2 ORDER BY height LIMIT ?3", params![context.0, number(from.0), limit])
    }

    /// All votes of a chain at the heights of a range.
    pub fn votes_between(&self, context: &Context, heights: Range<Height>) -> Result<Vec<Vote>, StoreError> {
        let (first, end) = (number(heights.start.0), number(heights.end.0));
        self.votes_of("height >= ?2 AND height < ?3 ORDER BY height", params![context.0, first, end])
    }

    fn votes_of(&self, rest: &str, params: impl rusqlite::Params) -> Result<Vec<Vote>, StoreError> {
        let connection = self.read();
        let mut statement =
            connection.prepare_cached(&format!("SELECT bytes FROM vote WHERE context = ?1 AND {rest}"))?;
        let rows = statement.query_map(params, |row| row.get::<_, Vec<u8>>(0))?;
        rows.map(|bytes| Ok(Vote::from_bytes(&bytes?)?)).collect()
    }

    /// The votes that are kept of a vote's voter at its height.
    pub fn votes_by(&self, vote: &Vote) -> Result<Vec<Vote>, StoreError> {
        let (context, height) = (vote.ballot.context.0, number(vote.ballot.height.0));
        self.votes_of("height = ?2 AND voter = ?3", params![context, height, vote.key.to_bytes()])
    }

    /// For each voter at each height where two votes are kept, those two. What it costs does not depend on the other votes.
    pub fn double_votes(&self) -> Result<Vec<(Vote, Vote)>, StoreError> {
        let connection = self.read();
        let mut statement = connection.prepare(DOUBLE_VOTES)?;
        let rows =
            statement.query_map([], |row| Ok((row.get::<_, Vec<u8>>(0)?, row.get::<_, Vec<u8>>(1)?)))?;
        rows.map(|row| {
            let (one, other) = row?;
            Ok((Vote::from_bytes(&one)?, Vote::from_bytes(&other)?))
        })
        .collect()
    }

    /// Keeps a share of a checkpoint; says whether it is the signer's first of the epoch.
    pub fn keep_share(&self, share: &CheckpointShare) -> Result<bool, StoreError> {
        let added = self
            .write()
            .prepare_cached("INSERT OR IGNORE INTO share (epoch, signer, bytes) VALUES (?1, ?2, ?3)")?
            .execute(params![number(share.epoch.0), share.key.to_bytes(), share.to_bytes()])?;
        Ok(added == 1)
    }

    /// Whether a member's share of an epoch's checkpoint is kept.
    pub fn has_share(&self, epoch: Epoch, signer: &ProviderKey) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM share WHERE epoch = ?1 AND signer = ?2";
        let found = self.read().query_row(sql, params![number(epoch.0), signer.to_bytes()], |_| Ok(()));
        Ok(found.optional()?.is_some())
    }

    /// Shares of an epoch's checkpoint.
    pub fn shares(&self, epoch: Epoch) -> Result<Vec<CheckpointShare>, StoreError> {
        let connection = self.read();
        let mut statement =
            connection.prepare_cached("SELECT bytes FROM share WHERE epoch = ?1 ORDER BY signer")?;
        let rows = statement.query_map(params![number(epoch.0)], |row| row.get::<_, Vec<u8>>(0))?;
        rows.map(|bytes| Ok(CheckpointShare::from_bytes(&bytes?)?)).collect()
    }

    /// Where a digest was recorded first: the block, and its place in that block's batch.
    pub fn find_digest(&self, digest: &Hash32) -> Result<Option<(Height, usize)>, StoreError> {
        let sql = "SELECT height, place FROM digest WHERE digest = ?1 ORDER BY height, place LIMIT 1";
        let found = self.read().query_row(sql, params![digest.0], |row| {
            Ok((Height(row.get::<_, i64>(0)? as u64), row.get::<_, i64>(1)? as usize))
        });
        Ok(found.optional()?)
    }

    /// The digests of a block's batch, in order.
    pub fn digests(&self, height: Height) -> Result<Vec<Hash32>, StoreError> {
        let connection = self.read();
        let sql = "SELECT digest FROM digest WHERE height = ?1 ORDER BY place";
        let mut statement = connection.prepare_cached(sql)?;
        let rows = statement.query_map(params![number(height.0)], |row| row.get::<_, [u8; 32]>(0))?;
        rows.map(|digest| Ok(Hash32(digest?))).collect()
    }

    /// Whether the file is sound, as SQLite sees it.
    pub fn check(&self) -> Result<Option<String>, StoreError> {
        let verdict: Option<String> =
            self.read().query_row("PRAGMA quick_check(1)", [], |row| row.get(0)).optional()?;
        Ok(verdict.filter(|verdict| verdict != "ok"))
    }
}

/// Adds the next block to a transaction.
fn insert_block(transaction: &Transaction<'_>, block: &Block, events: &[Event]) -> Result<(), StoreError> {
    let height = number(block.header.height.0);
    let last: Option<i64> =
        transaction.prepare_cached("SELECT max(height) FROM block")?.query_row([], |row| row.get(0))?;
    if let Some(next) = last.map(|last| last.saturating_add(1)).filter(|next| *next != height) {
        return Err(StoreError::Gap { found: block.header.height, next: Height(next.unsigned_abs()) });
    }
    transaction
        .prepare_cached("INSERT INTO block (height, bytes) VALUES (?1, ?2)")?
        .execute(params![height, block.to_bytes()])?;
    for event in events {
        transaction
            .prepare_cached("INSERT INTO event (height, json) VALUES (?1, ?2)")?
            .execute(params![height, serde_json::to_string(event)?])?;
    }
    Ok(())
}

fn insert_digests(transaction: &Transaction<'_>, height: i64, digests: &[Hash32]) -> Result<(), StoreError> {
    for (place, digest) in (0i64..).zip(digests) {
        transaction
            .prepare_cached("INSERT INTO digest (height, place, digest) VALUES (?1, ?2, ?3)")?
            .execute(params![height, place, digest.0])?;
    }
    Ok(())
}

/// Keeps a vote if it is the first of its voter at its height, or for another block than the first and the second one. Gives the
/// first if it is for another block.
fn keep_vote(transaction: &Transaction<'_>, vote: &Vote) -> Result<Option<Vote>, StoreError> {
    let (context, height) = (vote.ballot.context.0, number(vote.ballot.height.0));
    let (voter, bytes) = (vote.key.to_bytes(), vote.to_bytes());
    let keep = |second: bool| {
        let sql =
            "INSERT OR IGNORE INTO vote (context, height, voter, second, bytes) VALUES (?1, ?2, ?3, ?4, ?5)";
        transaction.prepare_cached(sql)?.execute(params![context, height, voter, second, bytes])
    };
    if keep(false)? == 1 {
        return Ok(None);
    }
    let sql = "SELECT bytes FROM vote WHERE (context, height, voter, second) = (?1, ?2, ?3, 0)";
    let mut first = transaction.prepare_cached(sql)?;
    let first: Vec<u8> = first.query_row(params![context, height, voter], |row| row.get(0))?;
    let first = Vote::from_bytes(&first)?;
    if first.ballot == vote.ballot {
        return Ok(None);
    }
    keep(true)?;
    Ok(Some(first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hashes::Hash as _;
    use bitcoin::secp256k1::schnorr::Signature;
    use palisade_protocol::block::{HubHeader, MessageBytes};
    use palisade_protocol::curve::KeyPair;
    use palisade_protocol::eots::{EotsSignature, PublicNonce};
    use palisade_protocol::finality::vote::Ballot;
    use palisade_protocol::message::{Headers, Message};
    use palisade_protocol::units::BtcHeight;
    use std::collections::BTreeSet;

    fn block(height: u64, messages: usize) -> Block {
        let header = HubHeader {
            height: Height(height),
            previous: Hash32::ZERO,
            message_root: Hash32::ZERO,
            state_root: Hash32::ZERO,
            btc_tip: bitcoin::BlockHash::all_zeros(),
            btc_height: BtcHeight(0),
        };
        // 160 kB.
        let genesis = bitcoin::constants::genesis_block(bitcoin::Network::Regtest).header;
        let message = MessageBytes::of(&Message::Headers(Headers { headers: vec![genesis; 2_000] }));
        let signature = Signature::from_slice(&[1; 64]).unwrap();
        Block { header, signature, messages: vec![message; messages] }
    }

    #[test]
    fn a_page_ends_when_it_is_large_and_always_goes_on() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("log.sqlite")).unwrap();
        // Two as large as blocks get, and small ones.
        for (height, messages) in [(0, 100), (1, 100), (2, 0), (3, 0), (4, 3), (5, 3), (6, 1)] {
            store.append(&block(height, messages), &[], &[]).unwrap();
        }
        let page = |from| {
            let blocks = store.blocks(Height(from), 100).unwrap();
            blocks.iter().map(|block| block.header.height.0).collect::<Vec<_>>()
        };
        assert_eq!(page(0), [0]);
        assert_eq!(page(1), [1]);
        assert_eq!(page(2), [2, 3, 4, 5]);
        assert_eq!(page(6), [6]);
        assert!(page(7).is_empty());
        assert_eq!(store.blocks(Height(2), 2).unwrap().len(), 2);
    }

    #[test]
    fn a_full_disk_is_told_from_a_log_that_is_damaged_and_what_was_kept_stays() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("log.sqlite")).unwrap();
        store.append(&block(0, 0), &[], &[]).unwrap();
        store.write().pragma_update(None, "max_page_count", 30).unwrap();
        let why = store.append(&block(1, 100), &[], &[]).unwrap_err();
        assert!(why.is_of_the_disk(), "{why}");
        assert_eq!(store.tip().unwrap(), Some(Height(0)));
        let gap = store.append(&block(2, 0), &[], &[]).unwrap_err();
        assert!(!gap.is_of_the_disk() && !StoreError::Changed(String::new()).is_of_the_disk(), "{gap}");
        store.append(&block(1, 0), &[], &[]).unwrap();
    }

    #[test]
    fn votes_are_read_by_the_page_with_none_lost_where_a_page_ends_amid_a_height() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("log.sqlite")).unwrap();
        let context: Context = Hash32([1; 32]);
        let pair = |byte: u8| KeyPair::from_secret_bytes(&[byte; 32]).unwrap();
        let keys: Vec<ProviderKey> = (1..=5).map(|byte| pair(byte).public().into()).collect();
        let vote = |height, key: &ProviderKey| {
            let ballot = Ballot { context, height: Height(height), block: Hash32([2; 32]) };
            let (nonce, signature) =
                (PublicNonce::from_bytes([3; 32]), EotsSignature::from_bytes([7; 32]).unwrap());
            Vote { ballot, key: *key, nonce, path: Vec::new(), signature }
        };
        let all: Vec<Vote> =
            (0..20).flat_map(|height| keys.iter().map(move |key| vote(height, key))).collect();
        store.keep_votes(&all).unwrap();
        // A reader goes on at the height at which a page ended; more votes fit into a page than there are of a height.
        for limit in [6, 7, 99, 100, 101] {
            let (mut seen, mut from) = (BTreeSet::new(), Height(0));
            loop {
                let page = store.votes(&context, from, limit).unwrap();
                assert!(page.len() <= limit as usize);
                seen.extend(page.iter().map(|vote| (vote.ballot.height, vote.key)));
                let Some(last) = page.last().map(|vote| vote.ballot.height).filter(|last| *last > from)
                else {
                    break;
                };
                from = last;
            }
            assert_eq!(seen.len(), all.len(), "{limit}");
        }
    }

    #[test]
    fn double_votes_are_found_without_looking_through_the_votes() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("log.sqlite")).unwrap();
        let connection = store.read();
        let mut statement = connection.prepare(&format!("EXPLAIN QUERY PLAN {DOUBLE_VOTES}")).unwrap();
        let plan = statement.query_map([], |row| row.get::<_, String>(3)).unwrap();
        let plan: Vec<String> = plan.map(Result::unwrap).collect();
        let [seconds, firsts] = plan.as_slice() else { panic!("{plan:?}") };
        assert!(seconds.contains("USING INDEX second_vote") && firsts.starts_with("SEARCH "), "{plan:?}");
    }

    #[test]
    fn a_log_that_was_closed_is_one_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log.sqlite");
        Store::open(&path).unwrap().append(&block(0, 1), &[], &[]).unwrap();
        let copy = dir.path().join("copy.sqlite");
        std::fs::copy(&path, &copy).unwrap();
        assert_eq!(Store::open(&copy).unwrap().blocks(Height(0), 9).unwrap(), [block(0, 1)]);
    }
}
