//! What is under way: each anchor transaction and the ones that replaced it, on disk before they are on the wire.

use crate::shell::FileError;
use bitcoin::consensus::encode::{deserialize, serialize};
use bitcoin::{Amount, Transaction, Txid};
use palisade_hub::daemon::backup::{Backup, BackupError};
use palisade_hub::daemon::database::Kind;
use palisade_protocol::units::Epoch;
use rusqlite::{Connection, params};
use std::path::Path;

const FILE: Kind = Kind {
    name: "record of anchor transactions",
    id: b"PalF",
    format: 1,
    tables: TABLES,
    remedy: "It says which transactions are under way: let the build that wrote it see them confirmed. After that the file can be moved away",
};

const TABLES: &str = "
-- Transactions that were sent or are about to be. Those of one flight spend a common coin: one of them at most confirms.
-- over: 1 once one is deep in Bitcoin, or its coin is gone.
CREATE TABLE flight (
    id   INTEGER PRIMARY KEY,
    over INTEGER NOT NULL DEFAULT 0 CHECK (over IN (0, 1))
) STRICT;
CREATE TABLE version (
    flight INTEGER NOT NULL REFERENCES flight (id),
    number INTEGER NOT NULL,
    epoch  INTEGER NOT NULL,
    fee    INTEGER NOT NULL, -- sat
    height INTEGER NOT NULL, -- Bitcoin's when it was made
    bytes  BLOB NOT NULL,
    PRIMARY KEY (flight, number)
) STRICT, WITHOUT ROWID;
";

/// One transaction of a flight.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Version {
    /// The epoch that it anchors.
    pub epoch: Epoch,
    /// What it pays.
    pub fee: Amount,
    /// Bitcoin's height when it was made.
    pub height: u32,
    /// Signed.
    pub transaction: Transaction,
}

impl Version {
    /// Its name.
    pub fn txid(&self) -> Txid {
        self.transaction.compute_txid()
    }
}

/// A transaction and those that replaced it, oldest first. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Flight {
    /// Its number on disk.
    pub id: i64,
    /// The transactions.
    pub versions: Vec<Version>,
}

/// The flights on disk.
#[derive(Debug)]
pub struct Flights(Connection);

impl Flights {
    /// Opens or creates the file.
    pub fn open(path: &Path) -> Result<Self, FileError> {
        Ok(Self(FILE.open(path)?))
    }

    /// Copies the file at a path into a backup, whoever works on it.
    pub fn save(path: &Path, backup: &mut Backup, name: &str) -> Result<(), BackupError> {
        backup.database(&FILE, path, name).map(drop)
    }

    /// All that are not over, oldest first.
    pub fn open_ones(&self) -> Result<Vec<Flight>, FileError> {
        let mut statement = self.0.prepare_cached(
            "SELECT flight, epoch, fee, height, bytes FROM version JOIN flight ON flight.id = flight \
             WHERE over = 0 ORDER BY flight, number",
        )?;
        let rows = statement.query_map([], |row| {
            Ok((row.get(0)?, row.get::<_, i64>(1)?, row.get::<_, i64>(2)?, row.get(3)?, row.get(4)?))
        })?;
        let mut flights: Vec<Flight> = Vec::new();
        for row in rows {
            let (id, epoch, fee, height, bytes): (i64, i64, i64, u32, Vec<u8>) = row?;
            let transaction = deserialize(&bytes).map_err(|_| FileError::Corrupt("transaction"))?;
            let (epoch, fee) = (Epoch(epoch as u64), Amount::from_sat(fee as u64));
            let version = Version { epoch, fee, height, transaction };
            match flights.last_mut().filter(|flight| flight.id == id) {
                Some(flight) => flight.versions.push(version),
                None => flights.push(Flight { id, versions: vec![version] }),
            }
        }
        Ok(flights)
    }

    /// Records a version, of a new flight or of one that is open; on return it survives a power cut.
    pub fn record(&mut self, flight: Option<i64>, version: &Version) -> Result<(), FileError> {
        let transaction = self.0.transaction()?;
        let id = match flight {
            Some(id) => id,
            None => {
                transaction.execute("INSERT INTO flight DEFAULT VALUES", [])?;
                transaction.last_insert_rowid()
            }
        };
        transaction.execute(
            "INSERT INTO version (flight, number, epoch, fee, height, bytes) \
             VALUES (?1, (SELECT count(*) FROM version WHERE flight = ?1), ?2, ?3, ?4, ?5)",
            params![
                id,
                version.epoch.0 as i64,
                version.fee.to_sat() as i64,
                version.height,
                serialize(&version.transaction)
            ],
        )?;
        Ok(transaction.commit()?)
    }

    /// A flight needs no more attention.
    pub fn end(&self, id: i64) -> Result<(), FileError> {
        self.0.execute("UPDATE flight SET over = 1 WHERE id = ?1", params![id])?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::absolute::LockTime;

    #[test]
    fn every_version_of_an_open_flight_is_there_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("flights.sqlite");
        let version = |epoch: u64, fee: u64| Version {
            epoch: Epoch(epoch),
            fee: Amount::from_sat(fee),
            height: 7,
            transaction: Transaction {
                version: bitcoin::transaction::Version::TWO,
                lock_time: LockTime::from_consensus(epoch as u32),
                input: vec![bitcoin::TxIn::default()],
                output: vec![],
            },
        };
        Flights::open(&path).unwrap().record(None, &version(3, 100)).unwrap();
        Flights::open(&path).unwrap().record(Some(1), &version(4, 200)).unwrap();
        Flights::open(&path).unwrap().record(None, &version(5, 300)).unwrap();
        let first = Flight { id: 1, versions: vec![version(3, 100), version(4, 200)] };
        let second = Flight { id: 2, versions: vec![version(5, 300)] };
        let flights = Flights::open(&path).unwrap();
        assert_eq!(flights.open_ones().unwrap(), [first, second.clone()]);
        flights.end(1).unwrap();
        assert_eq!(Flights::open(&path).unwrap().open_ones().unwrap(), [second]);
    }
}
