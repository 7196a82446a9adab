//! The audit log: every judgement and every answer, on disk before it leaves, each entry bound to the one before.

use bitcoin::Amount;
use palisade_hub::daemon::backup::{Backup, BackupError};
use palisade_hub::daemon::database::{DatabaseError, Kind};
use palisade_protocol::codec::Wire as _;
use palisade_protocol::hash::{Hash32, tagged};
use palisade_protocol::message::Message;
use palisade_protocol::stake::StakeId;
use palisade_protocol::units::BtcHeight;
use rusqlite::{Connection, OptionalExtension as _, Row, params};
use serde::Serialize;
use std::path::{Path, PathBuf};

const LOG: Kind = Kind {
    name: "audit log",
    id: b"PalA",
    format: 1,
    tables: TABLES,
    remedy: "It is the only one, and the rate limit rests on it: keep it, and run the build that wrote it",
};

/// One table that is only ever appended to; the triggers make SQLite refuse anything else.
const TABLES: &str = "
CREATE TABLE entry (
    seq        INTEGER PRIMARY KEY,
    -- Hash over the entry before and everything in this one: a cut or altered log shows.
    hash       BLOB NOT NULL CHECK (length(hash) = 32),
    stake      BLOB NOT NULL CHECK (length(stake) = 32),
    -- signed, refused or consented
    act        TEXT NOT NULL CHECK (act IN ('signed', 'refused', 'consented')),
    -- Bitcoin's height, and the stake's amount in sat, for the rate limit
    btc_height INTEGER NOT NULL,
    sat        INTEGER NOT NULL,
    -- Why, where it is a refusal
    reason     TEXT NOT NULL,
    -- Canonical bytes of the message that answers
    message    BLOB NOT NULL,
    UNIQUE (stake, act)
) STRICT;
CREATE TRIGGER entry_keeps BEFORE UPDATE ON entry BEGIN SELECT RAISE(ABORT, 'append only'); END;
CREATE TRIGGER entry_stays BEFORE DELETE ON entry BEGIN SELECT RAISE(ABORT, 'append only'); END;
";

/// What a member did about a stake.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Act {
    /// Signed everything.
    Signed,
    /// Refused.
    Refused,
    /// Consented to an expansion.
    Consented,
}

impl Act {
    /// Its name, in the log and in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Signed => "signed",
            Self::Refused => "refused",
            Self::Consented => "consented",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        [Self::Signed, Self::Refused, Self::Consented].into_iter().find(|act| act.name() == name)
    }
}

/// An entry of the log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Entry {
    /// Its number, from 1.
    pub seq: i64,
    /// Its hash.
    pub hash: Hash32,
    /// Which stake.
    pub stake: StakeId,
    /// What was done.
    pub act: Act,
    /// Bitcoin's height then.
    pub btc_height: BtcHeight,
    /// The stake's amount.
    pub sat: u64,
    /// Why, where it is a refusal.
    pub reason: String,
    /// Canonical bytes of the answer.
    #[serde(serialize_with = "hex::serde::serialize")]
    pub message: Vec<u8>,
}

/// Why the log cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file cannot be opened.
    #[error(transparent)]
    File(#[from] DatabaseError),
    /// It cannot be copied.
    #[error(transparent)]
    Backup(#[from] BackupError),
    /// SQLite.
    #[error("audit log: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// There is no file, or what is there is none.
    #[error("audit log {}: it is not a file", .0.display())]
    NotAFile(PathBuf),
    /// Something was altered or cut out.
    #[error("audit log: entry {0} does not follow from the one before: the log was altered")]
    Broken(i64),
}

/// What is to be written.
#[derive(Debug)]
pub struct Record<'a> {
    /// Which stake.
    pub stake: StakeId,
    /// What is done.
    pub act: Act,
    /// Bitcoin's height.
    pub btc_height: BtcHeight,
    /// The stake's amount.
    pub amount: Amount,
    /// Why, where it is a refusal.
    pub reason: &'a str,
    /// The answer.
    pub message: &'a Message,
}

/// The log of one member.
#[derive(Debug)]
pub struct Audit(Connection);

impl Audit {
    /// Opens or creates the log, and checks all of it.
    pub fn open(path: &Path) -> Result<Self, AuditError> {
        let audit = Self(LOG.open(path)?);
        audit.entries()?;
        Ok(audit)
    }

    /// Opens a log that exists, for reading only; all of it is checked.
    pub fn read(path: &Path) -> Result<Self, AuditError> {
        // Opening a pipe would wait for its other end.
        if !path.is_file() {
            return Err(AuditError::NotAFile(path.to_owned()));
        }
        let audit = Self(LOG.open_to_read(path)?);
        audit.entries()?;
        Ok(audit)
    }

    /// Copies the log at a path into a backup, whoever works on it; all of the copy is checked.
    pub fn save(path: &Path, backup: &mut Backup, name: &str) -> Result<(), AuditError> {
        Self(backup.database(&LOG, path, name)?).entries().map(drop)
    }

    /// All entries, checked from the first to the last.
    pub fn entries(&self) -> Result<Vec<Entry>, AuditError> {
        let mut statement = self.0.prepare(
            "SELECT seq, hash, stake, act, btc_height, sat, reason, message FROM entry ORDER BY seq",
        )?;
        let entries: Vec<Entry> = statement.query_map([], read)?.collect::<Result<_, _>>()?;
        let mut previous = Hash32::ZERO;
        for (entry, number) in entries.iter().zip(1..) {
            if entry.seq != number || entry.hash != link(&previous, entry) {
                return Err(AuditError::Broken(number));
            }
            previous = entry.hash;
        }
        Ok(entries)
    }

    /// What was done about a stake: the canonical bytes of the answer, if there was one.
    pub fn answer(&self, stake: &StakeId, act: Act) -> Result<Option<Vec<u8>>, AuditError> {
        let mut statement =
            self.0.prepare_cached("SELECT message FROM entry WHERE stake = ?1 AND act = ?2")?;
        Ok(statement.query_row(params![stake.0.0, act.name()], |row| row.get(0)).optional()?)
    }

    /// What was signed from a Bitcoin height on: which stakes, and their amounts.
    pub fn signed_since(&self, from: BtcHeight) -> Result<Vec<(StakeId, Amount)>, AuditError> {
        let mut statement = self
            .0
            .prepare_cached("SELECT stake, sat FROM entry WHERE act = 'signed' AND btc_height >= ?1")?;
        let rows = statement.query_map([from.0], |row| {
            Ok((StakeId(Hash32(row.get(0)?)), Amount::from_sat(row.get::<_, i64>(1)?.unsigned_abs())))
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Appends an entry. When this returns, it survives a power cut, and the answer may leave.
    pub fn append(&mut self, record: &Record<'_>) -> Result<(), AuditError> {
        let transaction = self.0.transaction()?;
        let last: Option<(i64, [u8; 32])> = transaction
            .query_row("SELECT seq, hash FROM entry ORDER BY seq DESC LIMIT 1", [], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        let (seq, previous) = last.map_or((1, Hash32::ZERO), |(seq, hash)| (seq + 1, Hash32(hash)));
        let mut entry = Entry {
            seq,
            hash: Hash32::ZERO,
            stake: record.stake,
            act: record.act,
            btc_height: record.btc_height,
            sat: record.amount.to_sat(),
            reason: record.reason.to_owned(),
            message: record.message.to_bytes(),
        };
        entry.hash = link(&previous, &entry);
        transaction.execute(
            "INSERT INTO entry (seq, hash, stake, act, btc_height, sat, reason, message) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                seq,
                entry.hash.0,
                entry.stake.0.0,
                entry.act.name(),
                entry.btc_height.0,
                entry.sat as i64,
                entry.reason,
                entry.message
            ],
        )?;
        Ok(transaction.commit()?)
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Entry> {
    let act: String = row.get(3)?;
    Ok(Entry {
        seq: row.get(0)?,
        hash: Hash32(row.get(1)?),
        stake: StakeId(Hash32(row.get(2)?)),
        act: Act::from_name(&act).ok_or(rusqlite::Error::InvalidQuery)?,
        btc_height: BtcHeight(row.get(4)?),
        sat: row.get::<_, i64>(5)?.unsigned_abs(),
        reason: row.get(6)?,
        message: row.get(7)?,
    })
}

fn link(previous: &Hash32, entry: &Entry) -> Hash32 {
    let numbers =
        [entry.seq.to_be_bytes(), i64::from(entry.btc_height.0).to_be_bytes(), entry.sat.to_be_bytes()]
            .concat();
    let (act, reason) = (entry.act.name().to_owned().to_bytes(), entry.reason.clone().to_bytes());
    tagged("palisade/1/audit", &[&previous.0, &numbers, &entry.stake.0.0, &act, &reason, &entry.message])
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_protocol::message::Headers;

    fn record(number: u8, message: &Message) -> Record<'_> {
        Record {
            stake: StakeId(Hash32([number; 32])),
            act: Act::Signed,
            btc_height: BtcHeight(number.into()),
            amount: Amount::from_sat(5),
            reason: "",
            message,
        }
    }

    #[test]
    fn an_altered_or_cut_log_shows() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.sqlite");
        let message = Message::Headers(Headers { headers: Vec::new() });
        let mut audit = Audit::open(&path).unwrap();
        for number in 1..=3 {
            audit.append(&record(number, &message)).unwrap();
        }
        assert!(audit.append(&record(3, &message)).is_err(), "one answer of a kind for a stake");
        assert_eq!(audit.entries().unwrap().len(), 3);
        assert_eq!(audit.signed_since(BtcHeight(2)).unwrap().len(), 2);
        for change in ["UPDATE entry SET sat = 6", "DELETE FROM entry WHERE seq = 2"] {
            assert!(audit.0.execute(change, []).is_err(), "{change}");
        }
        audit.0.execute_batch("DROP TRIGGER entry_keeps; DROP TRIGGER entry_stays").unwrap();
        audit.0.pragma_update(None, "ignore_check_constraints", true).unwrap();
        let altered = [
            "hash = zeroblob(32)",
            "stake = zeroblob(32)",
            "act = 'refused'",
            "btc_height = 9",
            "sat = 6",
            "reason = 'x'",
            "message = x'00'",
            "message = CAST(message || x'00' AS BLOB)",
        ];
        for change in altered {
            check(&audit, &path, &format!("UPDATE entry SET {change} WHERE seq = 2"), 2);
        }
        check(&audit, &path, "DELETE FROM entry WHERE seq = 2", 2);
        check(&audit, &path, "DELETE FROM entry WHERE seq = 1", 1);
        check(&audit, &path, "UPDATE entry SET seq = 4 WHERE seq = 3", 3);
        assert_eq!(Audit::read(&path).unwrap().entries().unwrap().len(), 3, "all was put back");
    }

    #[test]
    fn nobody_waits_for_the_other_end_of_a_pipe() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("audit.sqlite");
        assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        assert!(matches!(Audit::read(&pipe), Err(AuditError::NotAFile(found)) if found == pipe));
    }

    /// Makes a change, expects that opening shows the entry it broke, and takes it back.
    fn check(audit: &Audit, path: &Path, change: &str, broken: i64) {
        let saved = "CREATE TABLE saved AS SELECT * FROM entry";
        audit.0.execute_batch(&format!("{saved}; {change}")).unwrap();
        let opened = [Audit::open(path), Audit::read(path)];
        for opened in opened {
            assert!(matches!(opened, Err(AuditError::Broken(found)) if found == broken), "{change}");
        }
        audit
            .0
            .execute_batch("DELETE FROM entry; INSERT INTO entry SELECT * FROM saved; DROP TABLE saved")
            .unwrap();
    }
}
