//! How our daemons open their databases. Every file says what it is and in which format; one that says anything else is
//! refused before a byte of it is changed.
//!
//! Not here: reading an earlier format. A build reads the one that it writes, and the refusal says what to do.

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};
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
    /// It is to be read, and nothing was ever written.
    #[error("{}: it is empty, and so no {wanted}", file.display())]
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
    /// Opens or creates a file. A commit is on disk when it returns, and one cut short by a crash never was.
    pub fn open(&self, file: &Path) -> Result<Connection, DatabaseError> {
        let mut connection = self.connect(file)?;
        let prepare = |connection: &mut Connection| {
            if is_blank(connection)? {
                let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
                self.lay_out(&transaction)?;
                transaction.commit()?;
            }
            connection.pragma_update(None, "journal_mode", "WAL")?;
            connection.pragma_update(None, "synchronous", "FULL")?;
            connection.pragma_update(None, "foreign_keys", true)
        };
        prepare(&mut connection).map_err(in_file(file))?;
        Ok(connection)
    }

    /// Opens a file that exists, to read it.
    pub fn open_to_read(&self, file: &Path) -> Result<Connection, DatabaseError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let connection = Connection::open_with_flags(file, flags).map_err(in_file(file))?;
        if is_blank(&connection).map_err(in_file(file))? {
            return Err(DatabaseError::Empty { file: file.to_owned(), wanted: self.name });
        }
        self.check(&connection, file)?;
        Ok(connection)
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
    fn a_new_file_says_what_it_is_and_so_does_one_that_a_crash_left_empty() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("empty"), []).unwrap();
        for name in ["new", "empty"] {
            let file = dir.path().join(name);
            assert!(KIND.open_to_read(&file).is_err());
            for _ in 0..2 {
                let connection = KIND.open(&file).unwrap();
                assert_eq!(said(&connection).unwrap(), (i32::from_be_bytes(*b"PalT"), 3));
                assert!(connection.execute("INSERT INTO one VALUES (1)", []).is_ok());
            }
            assert!(KIND.open_to_read(&file).is_ok());
        }
    }

    #[test]
    fn tables_that_cannot_be_made_leave_no_format() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        let torn = Kind { tables: "CREATE TABLE one (two); CREATE TABLE one (two);", ..KIND };
        assert!(torn.open(&file).is_err());
        assert!(is_blank(&Connection::open(&file).unwrap()).unwrap());
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
        std::fs::copy(&file, &copy).unwrap();
        std::fs::copy(dir.path().join("file-wal"), &log).unwrap();
        let before = [&copy, &log].map(|path| std::fs::read(path).unwrap());
        assert!(matches!(KIND.open(&copy), Err(DatabaseError::OtherFormat { found: 2, wanted: 3, .. })));
        assert!([&copy, &log].map(|path| std::fs::read(path).unwrap()) == before);
    }

    #[test]
    fn junk_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        std::fs::write(&file, [7; 5_000]).unwrap();
        let why = KIND.open(&file).unwrap_err().to_string();
        assert!(why.contains("file: file is not a database"), "{why}");
    }
}
