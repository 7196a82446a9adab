//! How our daemons open their databases. Every file says what it is and in which format; one that says anything else is
//! refused before a byte of it is changed.
//!
//! Not here: reading an earlier format. A build reads the one that it writes, and the refusal says what to do.

use super::private_file::sync_directory_of;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A kind of file.
#[derive(Debug)]
pub struct Kind {
    /// What it is, for people.
    pub name: &'static str,
    /// SQLite's `application_id`: four letters that no other kind has.
    pub id: &'static [u8; 4],
    /// SQLite's `user_version`: raised whenever what stands in the file changes, or what is made of it.
    pub format: i32,
    /// SQL that makes the tables of a new file.
    pub tables: &'static str,
    /// What to do with a file of another format.
    pub remedy: &'static str,
}

/// Why a database cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// SQLite.
    #[error("{}: {cause}", file.display())]
    Sqlite {
        /// The file.
        file: PathBuf,
        /// What it said.
        cause: rusqlite::Error,
    },
    /// A new file cannot be made.
    #[error("{}: {cause}", file.display())]
    NotMade {
        /// The file.
        file: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// There is nothing in it, which no program leaves behind.
    #[error(
        "{}: it is empty, and so no {wanted}: what was in it is lost. Restore a backup of it, or move it away, to begin without",
        file.display()
    )]
    Empty {
        /// The file.
        file: PathBuf,
        /// What it should be.
        wanted: &'static str,
    },
    /// It is something else.
    #[error(
        "{}: it is no {wanted}, but a file of another kind or program (application_id {found:#010x}); it was not changed. Name \
        another file or directory, or move this one away", file.display()
    )]
    NotOurs {
        /// The file.
        file: PathBuf,
        /// What it should be.
        wanted: &'static str,
        /// SQLite's `application_id` of the file.
        found: i32,
    },
    /// Another build wrote it.
    #[error(
        "{}: this {name} has format {found}, this build has format {wanted}; it was not changed. {remedy}", file.display()
    )]
    OtherFormat {
        /// The file.
        file: PathBuf,
        /// What it is.
        name: &'static str,
        /// Its format; 0 if it is from before files said theirs.
        found: i32,
        /// The format of this build.
        wanted: i32,
        /// What to do.
        remedy: &'static str,
    },
}

impl Kind {
    /// Opens or creates a file. A commit is on disk when it returns, and one cut short by a crash never was. A file that is there
    /// and empty is refused: a new one has its tables before it has its name.
    pub fn open(&self, file: &Path) -> Result<Connection, DatabaseError> {
        if !file.exists() {
            self.create(file)?;
        }
        let connection = self.connect(file)?;
        if is_blank(&connection).map_err(in_file(file))? {
            return Err(self.empty(file));
        }
        let prepare = || {
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "foreign_keys", true)
        };
        prepare().map_err(in_file(file))?;
        Ok(connection)
    }

    /// Makes a file under a name that only this process uses, and gives it its own one when all of it is on disk.
    fn create(&self, file: &Path) -> Result<(), DatabaseError> {
        let new = file.with_extension(format!("{}.new", std::process::id()));
        // A process that was killed may have left these, and processes get the same numbers again.
        for left in ["new", "new-journal"] {
            let _ = fs::remove_file(file.with_extension(format!("{}.{left}", std::process::id())));
        }
        let make = || {
            let mut connection = Connection::open(&new)?;
            let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
            self.lay_out(&transaction)?;
            transaction.commit()?;
            connection.close().map_err(|(_, why)| why)
        };
        let made = make().map_err(in_file(file));
        // Not by renaming: that would take the place of a file which another process has made meanwhile.
        let named = made.and_then(|()| match fs::hard_link(&new, file) {
            Err(why) if why.kind() != io::ErrorKind::AlreadyExists => Err(not_made(file, why)),
            _ => Ok(()),
        });
        // What cannot be removed is in nobody's way.
        let _ = fs::remove_file(&new);
        named?;
        sync_directory_of(file).map_err(|why| not_made(file, why))
    }

    /// Opens a file that exists, to read it.
    pub fn open_to_read(&self, file: &Path) -> Result<Connection, DatabaseError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags).map_err(in_file(file))?;
        if is_blank(&connection).map_err(in_file(file))? {
            return Err(self.empty(file));
        }
        self.check(&connection, file)?;
        Ok(connection)
    }

    fn empty(&self, file: &Path) -> DatabaseError {
        DatabaseError::Empty { file: file.to_owned(), wanted: self.name }
    }

    /// Opens a file of this kind, or one without content, and changes nothing: for whoever has own wishes how it is written.
    pub fn connect(&self, file: &Path) -> Result<Connection, DatabaseError> {
        let connection = Connection::open(file).map_err(in_file(file))?;
        // What another build left beside the file belongs to it, and is not to be moved into it if it is refused.
        let leave_log = |on| connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, on);
        leave_log(true).map_err(in_file(file))?;
        if !is_blank(&connection).map_err(in_file(file))? {
            self.check(&connection, file)?;
        }
        leave_log(false).map_err(in_file(file))?;
        Ok(connection)
    }

    /// Makes the tables of a new file and writes down what it is, all in the caller's transaction.
    pub fn lay_out(&self, transaction: &Connection) -> rusqlite::Result<()> {
        transaction.pragma_update(None, "application_id", i32::from_be_bytes(*self.id))?;
        transaction.pragma_update(None, "user_version", self.format)?;
        transaction.execute_batch(self.tables)
    }

    fn check(&self, connection: &Connection, file: &Path) -> Result<(), DatabaseError> {
        let (id, format) = said(connection).map_err(in_file(file))?;
        let &Self { name, format: wanted, remedy, .. } = self;
        let file = file.to_owned();
        match id {
            // From before files said what they are.
            0 => Err(DatabaseError::OtherFormat { file, name, found: 0, wanted, remedy }),
            id if id != i32::from_be_bytes(*self.id) => {
                Err(DatabaseError::NotOurs { file, wanted: name, found: id })
            }
            _ if format != wanted => {
                Err(DatabaseError::OtherFormat { file, name, found: format, wanted, remedy })
            }
            _ => Ok(()),
        }
    }
}

/// What a file says that it is, and its format.
fn said(connection: &Connection) -> rusqlite::Result<(i32, i32)> {
    let ask = |name| connection.pragma_query_value(None, name, |row| row.get(0));
    Ok((ask("application_id")?, ask("user_version")?))
}

/// Whether nothing was ever written.
fn is_blank(connection: &Connection) -> rusqlite::Result<bool> {
    let tables: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    Ok(tables == 0 && said(connection)? == (0, 0))
}

fn not_made(file: &Path, cause: io::Error) -> DatabaseError {
    DatabaseError::NotMade { file: file.to_owned(), cause }
}

fn in_file(file: &Path) -> impl Fn(rusqlite::Error) -> DatabaseError {
    move |cause| DatabaseError::Sqlite { file: file.to_owned(), cause }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KIND: Kind = Kind {
        name: "list",
        id: b"PalT",
        format: 3,
        tables: "CREATE TABLE one (two);",
        remedy: "Begin anew.",
    };

    #[test]
    fn a_new_file_says_what_it_is_whatever_a_killed_process_left_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("new.sqlite");
        assert!(KIND.open_to_read(&file).is_err());
        // As from a process with the same number that was killed.
        let left = dir.path().join(format!("new.{}.new", std::process::id()));
        KIND.lay_out(&Connection::open(&left).unwrap()).unwrap();
        for _ in 0..2 {
            let connection = KIND.open(&file).unwrap();
            assert_eq!(said(&connection).unwrap(), (i32::from_be_bytes(*b"PalT"), 3));
            assert!(connection.execute("INSERT INTO one VALUES (1)", []).is_ok());
        }
        assert!(KIND.open_to_read(&file).is_ok());
        assert!(!left.exists());
    }

    #[test]
    fn a_file_whose_content_is_gone_is_not_taken_for_a_new_one() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        KIND.open(&file).unwrap();
        fs::write(&file, []).unwrap();
        for why in [KIND.open(&file).unwrap_err(), KIND.open_to_read(&file).unwrap_err()] {
            assert!(matches!(why, DatabaseError::Empty { .. }), "{why}");
        }
        assert!(fs::read(&file).unwrap().is_empty());
    }

    #[test]
    fn where_two_begin_at_once_both_have_the_same_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        let first = KIND.open(&file).unwrap();
        first.execute("INSERT INTO one VALUES (7)", []).unwrap();
        // The other had seen that there is none.
        KIND.create(&file).unwrap();
        let found: i64 =
            KIND.open(&file).unwrap().query_row("SELECT two FROM one", [], |row| row.get(0)).unwrap();
        assert_eq!(found, 7);
    }

    #[test]
    fn tables_that_cannot_be_made_leave_no_format() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        let torn = Kind { tables: "CREATE TABLE one (two); CREATE TABLE one (two);", ..KIND };
        assert!(torn.open(&file).is_err());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
        assert!(KIND.open(&file).is_ok());
    }

    #[test]
    fn what_another_build_left_beside_the_file_stays_there() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        let other = Kind { format: 2, ..KIND };
        let writer = other.open(&file).unwrap();
        writer.execute("INSERT INTO one VALUES (1)", []).unwrap();
        // As after a kill: a copy of both files.
        let [copy, log] = ["copy", "copy-wal"].map(|name| dir.path().join(name));
        fs::copy(&file, &copy).unwrap();
        fs::copy(dir.path().join("file-wal"), &log).unwrap();
        let before = [&copy, &log].map(|path| fs::read(path).unwrap());
        assert!(matches!(KIND.open(&copy), Err(DatabaseError::OtherFormat { found: 2, wanted: 3, .. })));
        assert!([&copy, &log].map(|path| fs::read(path).unwrap()) == before);
    }

    #[test]
    fn junk_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        fs::write(&file, [7; 5_000]).unwrap();
        let why = KIND.open(&file).unwrap_err().to_string();
        assert!(why.contains("file: file is not a database"), "{why}");
    }
}
