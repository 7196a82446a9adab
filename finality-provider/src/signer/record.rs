//! The record: what the signer has signed, written before any signature leaves, and the seed of its nonces.
//!
//! One SQLite file with full synchronisation, one writer. A row is a permission already spent: never updated, never
//! deleted. The seed is born with the file and stands nowhere else. A record that was lost, damaged, copied from a
//! backup or rolled back is therefore put aside, and a new one is born with a new seed: the epochs that the old seed
//! committed to are not voted in, and later ones are. That is safe whatever happened to the old file.
//!
//! How it is noticed: a second file, the mark, holds a hash of all rows and the time at which the kernel says that the record's
//! file changed last. No copy and no restore keeps that time. A kill in the middle of a claim, or a chmod, changes it too; then a
//! sound record is put aside, which costs some epochs and no safety. What is put in the place of a record while the signer
//! runs may get its time into the mark, but holds other rows.
//!
//! What cannot be noticed: a copy of the whole disk below the file system, such as a snapshot of a virtual machine or a volume.

pub(crate) mod mark;
pub(crate) mod trust;

use super::rules;
use mark::{Changed, Mark, MarkFile};
use palisade_hub::daemon::database::{DatabaseError, Kind};
use palisade_protocol::codec::{DecodeError, Wire as _};
use palisade_protocol::context::Context;
use palisade_protocol::hash::{Hash32, tagged};
use palisade_protocol::nonce::NonceSeed;
use palisade_protocol::units::{Epoch, Height};
use rusqlite::{Connection, OptionalExtension as _, TransactionBehavior, params};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;
use trust::{Contents, Distrust, Files, Start, check_contents};

/// A record of another format is not put aside as a damaged one is: the build that wrote it can go on with it. (One that was
/// restored or copied besides is put aside before anybody looks at its format.)
const RECORD: Kind = Kind {
    name: "signer's record",
    id: b"PalR",
    format: 1,
    tables: TABLES,
    remedy: "Never delete or replace it: it keeps the keys from signing twice. Run the build that wrote it",
};

/// Heights and epochs are SQLite integers, which are signed. `key` is the public key, x-only or BLS.
const TABLES: &str = "
-- One row: the seed of all nonces.
CREATE TABLE birth (
    one      INTEGER PRIMARY KEY CHECK (one = 1),
    seed     BLOB    NOT NULL CHECK (length(seed) = 32)
) STRICT;
-- Roots committed to, each computed from the seed before the commitment was signed.
CREATE TABLE nonce_root (
    key      BLOB    NOT NULL,
    context  BLOB    NOT NULL CHECK (length(context) = 32),
    epoch    INTEGER NOT NULL,
    digest   BLOB    NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (key, context, epoch)
) STRICT, WITHOUT ROWID;
-- Blocks voted for.
CREATE TABLE vote (
    key      BLOB    NOT NULL,
    context  BLOB    NOT NULL CHECK (length(context) = 32),
    height   INTEGER NOT NULL,
    digest   BLOB    NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (key, context, height)
) STRICT, WITHOUT ROWID;
-- Headers signed as an epoch's checkpoint.
CREATE TABLE checkpoint (
    key      BLOB    NOT NULL,
    context  BLOB    NOT NULL CHECK (length(context) = 32),
    epoch    INTEGER NOT NULL,
    digest   BLOB    NOT NULL CHECK (length(digest) = 32),
    PRIMARY KEY (key, context, epoch)
) STRICT, WITHOUT ROWID;
";

/// Why the record cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// The file cannot be opened.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// SQLite.
    #[error("record: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// A file.
    #[error("record {}: {cause}", path.display())]
    Io {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// No randomness for a seed.
    #[error("no randomness for a new seed: {0}")]
    Randomness(#[from] rand::Error),
    /// A row that is not what was written.
    #[error("record holds a row that is not a hash: {0}")]
    Row(#[from] DecodeError),
    /// The height or epoch is larger than the record can hold.
    #[error("{0} is too large")]
    Range(u64),
}

/// What is claimed for one key, context and number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Claim {
    /// It is new, and durable now.
    Fresh,
    /// The same was claimed before.
    Repeat,
    /// Something else was claimed before.
    Taken(Hash32),
}

/// How the record came to be open.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// It was there and is sound.
    Existing,
    /// There was none.
    New,
    /// The one that was there cannot be trusted and lies aside.
    PutAside {
        /// What is wrong with it.
        why: String,
        /// Where it is now.
        to: PathBuf,
    },
}

/// An open record.
#[derive(Debug)]
pub struct Record {
    connection: Connection,
    seed: NonceSeed,
    contents: Contents,
    mark: MarkFile,
}

/// Which claims are asked for.
#[derive(Debug, Clone, Copy)]
enum Table {
    NonceRoot = 0,
    Vote = 1,
    Checkpoint = 2,
}

impl Table {
    fn insert(self) -> &'static str {
        match self {
            Self::NonceRoot => "INSERT INTO nonce_root (key, context, epoch, digest) VALUES (?1, ?2, ?3, ?4)",
            Self::Vote => "INSERT INTO vote (key, context, height, digest) VALUES (?1, ?2, ?3, ?4)",
            Self::Checkpoint => {
                "INSERT INTO checkpoint (key, context, epoch, digest) VALUES (?1, ?2, ?3, ?4)"
            }
        }
    }

    fn select(self) -> &'static str {
        match self {
            Self::NonceRoot => "SELECT digest FROM nonce_root WHERE key = ?1 AND context = ?2 AND epoch = ?3",
            Self::Vote => "SELECT digest FROM vote WHERE key = ?1 AND context = ?2 AND height = ?3",
            Self::Checkpoint => {
                "SELECT digest FROM checkpoint WHERE key = ?1 AND context = ?2 AND epoch = ?3"
            }
        }
    }
}

impl Record {
    /// Opens the record in `dir`, or begins a new one. The caller holds the directory's lock.
    pub fn open(dir: &Path) -> Result<(Self, Origin), RecordError> {
        let path = dir.join("record.sqlite");
        let mark = dir.join("record.mark");
        let files = Files { record: Changed::of(&path)?, has_mark: mark.exists(), mark: Mark::read(&mark)? };
        let distrust = match files.judge() {
            Ok(Start::Birth) => return Ok((Self::give_birth(&path, &mark)?, Origin::New)),
            Ok(Start::Open(marked)) => match Self::open_existing(&path, &mark, &marked)? {
                Ok(record) => return Ok((record, Origin::Existing)),
                Err(distrust) => distrust,
            },
            Err(distrust) => distrust,
        };
        let (why, to) = (distrust.to_string(), put_aside(dir)?);
        Ok((Self::give_birth(&path, &mark)?, Origin::PutAside { why, to }))
    }

    /// The inner error says why the record is not to be trusted; the outer one that nobody can tell now.
    fn open_existing(
        path: &Path,
        mark_path: &Path,
        marked: &Mark,
    ) -> Result<Result<Self, Distrust>, RecordError> {
        let connection = match connect(path) {
            Err(DatabaseError::Sqlite { cause, .. }) if is_damage(&cause) => {
                return Ok(Err(Distrust::Damaged(cause.to_string())));
            }
            other => other?,
        };
        let found = match read_birth(&connection) {
            Err(why) if is_damage(&why) => return Ok(Err(Distrust::Damaged(why.to_string()))),
            other => other?,
        };
        let Some((seed, contents)) = found else { return Ok(Err(Distrust::NoSeed)) };
        if let Err(distrust) = check_contents(contents, marked) {
            return Ok(Err(distrust));
        }
        let mark = MarkFile::open(path, mark_path)?;
        Ok(Ok(Self { connection, seed, contents, mark }))
    }

    fn give_birth(path: &Path, mark_path: &Path) -> Result<Self, RecordError> {
        let io = |cause| RecordError::Io { path: path.to_owned(), cause };
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
        let seed = NonceSeed::from_bytes(*crate::keys::random_bytes(&mut rand::rngs::OsRng)?);
        let mut connection = connect(path)?;
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
        RECORD.lay_out(&transaction)?;
        transaction.execute("INSERT INTO birth (one, seed) VALUES (1, ?1)", params![seed.as_bytes()])?;
        transaction.commit()?;
        let mark = MarkFile::open(path, mark_path)?;
        let contents = Contents::of(name(&seed));
        mark.write(contents)?;
        if let Some(dir) = path.parent() {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)?;
        }
        Ok(Self { connection, seed, contents, mark })
    }

    /// The seed of all nonces.
    pub fn seed(&self) -> &NonceSeed {
        &self.seed
    }

    /// Names this record without telling its seed: another record has another name.
    pub fn id(&self) -> Hash32 {
        name(&self.seed)
    }

    /// Claims the root of an epoch's nonces.
    pub fn claim_root(
        &mut self,
        key: &[u8],
        context: &Context,
        epoch: Epoch,
        root: Hash32,
    ) -> Result<Claim, RecordError> {
        self.claim(Table::NonceRoot, key, context, epoch.0, root)
    }

    /// Claims a height for a block.
    pub fn claim_vote(
        &mut self,
        key: &[u8],
        context: &Context,
        height: Height,
        block: Hash32,
    ) -> Result<Claim, RecordError> {
        self.claim(Table::Vote, key, context, height.0, block)
    }

    /// Claims an epoch's checkpoint for a header.
    pub fn claim_checkpoint(
        &mut self,
        key: &[u8],
        context: &Context,
        epoch: Epoch,
        header: Hash32,
    ) -> Result<Claim, RecordError> {
        self.claim(Table::Checkpoint, key, context, epoch.0, header)
    }

    /// The root committed to for an epoch.
    pub fn root(&self, key: &[u8], context: &Context, epoch: Epoch) -> Result<Option<Hash32>, RecordError> {
        find(&self.connection, Table::NonceRoot, key, context, to_integer(epoch.0)?)
    }

    /// The highest height voted at, and the block.
    pub fn last_vote(&self, key: &[u8], context: &Context) -> Result<Option<(Height, Hash32)>, RecordError> {
        let sql =
            "SELECT height, digest FROM vote WHERE key = ?1 AND context = ?2 ORDER BY height DESC LIMIT 1";
        let row = self
            .connection
            .prepare_cached(sql)?
            .query_row(params![key, context.0], |row| Ok((row.get::<_, i64>(0)?, row.get::<_, Vec<u8>>(1)?)));
        let Some((height, block)) = row.optional()? else { return Ok(None) };
        Ok(Some((Height(u64::try_from(height).unwrap_or(0)), Hash32::from_bytes(&block)?)))
    }

    /// One exclusive transaction, durable when it returns: what is claimed stays claimed.
    fn claim(
        &mut self,
        table: Table,
        key: &[u8],
        context: &Context,
        number: u64,
        digest: Hash32,
    ) -> Result<Claim, RecordError> {
        let number = to_integer(number)?;
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Exclusive)?;
        let claim = rules::claim(find(&transaction, table, key, context, number)?, digest);
        if claim != Claim::Fresh {
            return Ok(claim);
        }
        let row = params![key, context.0, number, digest.0];
        transaction.prepare_cached(table.insert())?.execute(row)?;
        transaction.commit()?;
        self.contents = self.contents.with(table as u8, key, context, number, &digest);
        self.mark.write(self.contents)?;
        Ok(claim)
    }
}

fn connect(path: &Path) -> Result<Connection, DatabaseError> {
    let connection = RECORD.connect(path)?;
    let hold = || {
        // Nobody else has any business here: whoever holds the file will not let go of it.
        connection.busy_timeout(Duration::ZERO)?;
        connection.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        // One file, and a journal whose end is synchronised too: a claim that was answered survives a power cut.
        connection.pragma_update(None, "journal_mode", "TRUNCATE")?;
        connection.pragma_update(None, "synchronous", "FULL")
    };
    hold().map_err(|cause| DatabaseError::Sqlite { file: path.to_owned(), cause })?;
    Ok(connection)
}

/// All rows, with the numbers of [`Table`].
const ALL_ROWS: &str = "SELECT 0, key, context, epoch, digest FROM nonce_root
    UNION ALL SELECT 1, key, context, height, digest FROM vote
    UNION ALL SELECT 2, key, context, epoch, digest FROM checkpoint";

/// The seed, and what the record holds.
fn read_birth(connection: &Connection) -> Result<Option<(NonceSeed, Contents)>, rusqlite::Error> {
    let verdict: String = connection.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0))?;
    if verdict != "ok" {
        let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
        return Err(rusqlite::Error::SqliteFailure(code, Some(verdict)));
    }
    let seed = connection.query_row("SELECT seed FROM birth", [], |row| row.get(0)).optional()?;
    let Some(seed) = seed.map(NonceSeed::from_bytes) else { return Ok(None) };
    let mut statement = connection.prepare(ALL_ROWS)?;
    let mut rows = statement.query([])?;
    let mut contents = Contents::of(name(&seed));
    while let Some(row) = rows.next()? {
        let (context, digest) = (Hash32(row.get(2)?), Hash32(row.get(4)?));
        let key: Vec<u8> = row.get(1)?;
        contents = contents.with(row.get(0)?, &key, &context, row.get(3)?, &digest);
    }
    Ok(Some((seed, contents)))
}

/// Whether the file itself is to blame, rather than a full disk or a lock.
fn is_damage(why: &rusqlite::Error) -> bool {
    match why {
        rusqlite::Error::SqliteFailure(code, _) => matches!(
            code.code,
            // The plain error code stands for a table or column that is not there.
            rusqlite::ErrorCode::DatabaseCorrupt
                | rusqlite::ErrorCode::NotADatabase
                | rusqlite::ErrorCode::Unknown
        ),
        rusqlite::Error::SqlInputError { .. }
        | rusqlite::Error::InvalidColumnType(..)
        | rusqlite::Error::FromSqlConversionFailure(..) => true,
        _ => false,
    }
}

/// Moves all files of the record into a new directory beside them.
fn put_aside(dir: &Path) -> Result<PathBuf, RecordError> {
    let io = |cause| RecordError::Io { path: dir.to_owned(), cause };
    let free = (1u32..).map(|n| dir.join(format!("record.aside.{n}"))).find(|path| !path.exists());
    let to = free.unwrap_or_else(|| dir.join("record.aside"));
    std::fs::create_dir(&to).map_err(io)?;
    for name in ["record.sqlite", "record.sqlite-journal", "record.mark"] {
        match std::fs::rename(dir.join(name), to.join(name)) {
            Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(io(why)),
            _ => {}
        }
    }
    File::open(dir).and_then(|dir| dir.sync_all()).map_err(io)?;
    Ok(to)
}

fn find(
    connection: &Connection,
    table: Table,
    key: &[u8],
    context: &Context,
    number: i64,
) -> Result<Option<Hash32>, RecordError> {
    let mut statement = connection.prepare_cached(table.select())?;
    let row = statement.query_row(params![key, context.0, number], |row| row.get::<_, Vec<u8>>(0));
    Ok(row.optional()?.map(|digest| Hash32::from_bytes(&digest)).transpose()?)
}

/// Names a record without telling its seed.
pub(crate) fn name(seed: &NonceSeed) -> Hash32 {
    tagged("palisade/1/record", &[seed.as_bytes()])
}

fn to_integer(number: u64) -> Result<i64, RecordError> {
    i64::try_from(number).map_err(|_| RecordError::Range(number))
}

#[cfg(test)]
mod tests;
