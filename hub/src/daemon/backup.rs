//! Copies of a daemon's files, made while it works.
//!
//! SQLite copies a database itself (`VACUUM INTO`): the file is the database as it stood at one moment, whoever writes
//! meanwhile, and everything in it was read and checked. The configuration comes last, whole or not at all, when all else is on
//! disk: a directory without it is no backup. One that is not finished is cleared away.
//!
//! Promises: files are 0600, nothing that is there is touched, the lock of the data directory is not asked for.
//!
//! Not here: which files a daemon has, what they are worth when they are old, and one moment for two databases. Who has two
//! copies the one that rests on the other first.

use super::database::{DatabaseError, Kind};
use super::exit::Failure;
use super::{bounded, private_file};
use rusqlite::Connection;
use serde::Serialize;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// Longest file that is copied byte for byte: keys, documents, and wallets, which grow with Bitcoin.
const MAX_FILE: usize = 64 << 20;

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is something at its place.
    #[error("{} is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// The system refused.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// A file that is longer than any that is copied.
    #[error("{} has more than {MAX_FILE} bytes", .0.display())]
    TooLong(PathBuf),
    /// The database or its copy cannot be opened.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// SQLite could not copy.
    #[error("{}: {cause}", file.display())]
    Sqlite {
        /// The database.
        file: PathBuf,
        /// What it said.
        cause: rusqlite::Error,
    },
    /// What was copied is not sound.
    #[error("{}: its copy is not sound: {verdict}", file.display())]
    Damaged {
        /// The database.
        file: PathBuf,
        /// What SQLite said of the copy.
        verdict: String,
    },
    /// The configuration is no TOML.
    #[error("the configuration cannot be copied: {0}")]
    Config(#[from] toml::de::Error),
}

impl From<BackupError> for Failure {
    fn from(why: BackupError) -> Self {
        match why {
            BackupError::NotEmpty(_) => Self::usage(&why).hint("nothing was changed; name another --to"),
            _ => Self::failed(&why),
        }
    }
}

/// A file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct SavedFile {
    /// Its place in the backup's directory.
    pub name: String,
    /// How long it is.
    pub bytes: u64,
}

/// A whole backup, on disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Saved {
    /// Where it is.
    pub directory: PathBuf,
    /// What is in it, in the order in which it was copied.
    pub files: Vec<SavedFile>,
}

impl Saved {
    /// How long all files are together.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// A backup that is being made.
#[derive(Debug)]
pub struct Backup {
    directory: PathBuf,
    /// Directories that were made, outermost first.
    made: Vec<PathBuf>,
    files: Vec<String>,
    finished: bool,
}

impl Backup {
    /// Begins one in a directory, which is made (0700) if it is not there and else must be empty.
    pub fn begin(directory: &Path) -> Result<Self, BackupError> {
        let directory = std::path::absolute(directory).map_err(at(directory))?;
        let mut backup = Self { directory, made: Vec::new(), files: Vec::new(), finished: false };
        let directory = backup.directory.clone();
        if directory.symlink_metadata().is_err() {
            backup.make(directory)?;
        } else if fs::read_dir(&directory).map_err(at(&directory))?.next().is_some() {
            return Err(BackupError::NotEmpty(directory));
        }
        Ok(backup)
    }

    /// Copies a database that may be in use to a place in the directory; gives the copy, to be read.
    pub fn database(&mut self, kind: &Kind, from: &Path, name: &str) -> Result<Connection, BackupError> {
        let source = kind.open_to_read(from)?;
        let to = self.claim(name)?;
        // SQLite takes an empty file for none: this one is ours alone from the beginning.
        private_file::create(&to, b"").map_err(at(&to))?;
        let sqlite = |cause| BackupError::Sqlite { file: from.to_owned(), cause };
        let text = to.to_str().ok_or(io::ErrorKind::InvalidFilename.into()).map_err(at(&to))?;
        source.execute("VACUUM INTO ?1", [text]).map_err(sqlite)?;
        File::open(&to).and_then(|file| file.sync_all()).map_err(at(&to))?;
        let copy = kind.open_to_read(&to)?;
        let verdict: String =
            copy.query_row("PRAGMA integrity_check(1)", [], |row| row.get(0)).map_err(sqlite)?;
        if verdict != "ok" {
            return Err(BackupError::Damaged { file: from.to_owned(), verdict });
        }
        Ok(copy)
    }

    /// Copies a file that is only ever replaced as a whole, such as a key, or only appended to by whoever cuts off what a crash left
    /// half written, to a place in the directory.
    pub fn file(&mut self, from: &Path, name: &str) -> Result<(), BackupError> {
        let bytes = bounded::read(from, MAX_FILE).map_err(at(from))?;
        let bytes = bytes.ok_or_else(|| BackupError::TooLong(from.to_owned()))?;
        self.write(name, &bytes)
    }

    /// Writes the configuration, and says what is saved: when this returns, all of it survives a power cut.
    pub fn finish(mut self, config_name: &str, config: &str) -> Result<Saved, BackupError> {
        for made in self.made.iter().rev() {
            let above = made.parent().unwrap_or(made);
            [made, above].into_iter().try_for_each(sync_directory)?;
        }
        let config_path = self.claim(config_name)?;
        private_file::replace(&config_path, config.as_bytes()).map_err(at(&config_path))?;
        let files = self.files.iter().map(|name| {
            let path = self.directory.join(name);
            let bytes = path.metadata().map_err(at(&path))?.len();
            Ok(SavedFile { name: name.clone(), bytes })
        });
        let files = files.collect::<Result<_, BackupError>>()?;
        self.finished = true;
        Ok(Saved { directory: self.directory.clone(), files })
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> Result<(), BackupError> {
        let path = self.claim(name)?;
        private_file::create(&path, bytes).map_err(at(&path))
    }

    /// The path of a name. From now on it is ours to clear away.
    fn claim(&mut self, name: &str) -> Result<PathBuf, BackupError> {
        let path = self.directory.join(name);
        if let Some(parent) = path.parent().filter(|parent| parent.symlink_metadata().is_err()) {
            self.make(parent.to_owned())?;
        }
        self.files.push(name.to_owned());
        Ok(path)
    }

    fn make(&mut self, directory: PathBuf) -> Result<(), BackupError> {
        private_file::create_dir(&directory).map_err(at(&directory))?;
        self.made.push(directory);
        Ok(())
    }
}

impl Drop for Backup {
    fn drop(&mut self) {
        if self.finished {
            return;
        }
        // What cannot be cleared away is without a configuration, and so no backup.
        for name in &self.files {
            let _ = fs::remove_file(self.directory.join(name));
        }
        for made in self.made.iter().rev() {
            let _ = fs::remove_dir(made);
        }
    }
}

/// The text of a configuration with other paths in the place of its own; all else stays as its owner wrote it. Keys are named
/// with dots between tables, and those of a list of tables by their place in it, from 0; one that the text does not have stays
/// away.
pub fn with_paths(config: &str, paths: &[(&str, &str)]) -> Result<String, BackupError> {
    let table = DeTable::parse(config)?;
    let places = paths.iter().filter_map(|(key, path)| {
        Some((find(table.get_ref(), key)?.span(), toml::Value::from(*path).to_string()))
    });
    let mut places: Vec<_> = places.collect();
    // From the end, so that what is in front keeps its place.
    places.sort_by_key(|(span, _)| std::cmp::Reverse(span.start));
    let mut text = config.to_owned();
    places.into_iter().for_each(|(span, path)| text.replace_range(span, &path));
    Ok(text)
}

/// A path that a configuration is to name wherever it is read, for what stays where it is.
pub fn absolute(path: &Path) -> Result<String, BackupError> {
    std::path::absolute(path).map(|path| path.display().to_string()).map_err(at(path))
}

fn find<'a, 'b>(table: &'a DeTable<'b>, key: &str) -> Option<&'a Spanned<DeValue<'b>>> {
    let mut parts = key.split('.');
    let mut found = table.get(parts.next()?)?;
    for part in parts {
        found = match found.get_ref() {
            DeValue::Table(table) => table.get(part)?,
            DeValue::Array(array) => array.get(part.parse::<usize>().ok()?)?,
            _ => return None,
        };
    }
    Some(found)
}

fn at(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |cause| BackupError::Io { path, cause }
}

fn sync_directory(path: &Path) -> Result<(), BackupError> {
    File::open(path).and_then(|directory| directory.sync_all()).map_err(at(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::atomic::{AtomicBool, Ordering};

    const KIND: Kind = Kind {
        name: "list",
        id: b"PalT",
        format: 3,
        tables: "CREATE TABLE one (two INTEGER PRIMARY KEY) STRICT;",
        remedy: "Begin anew.",
    };

    fn mode(path: &Path) -> u32 {
        path.metadata().unwrap().permissions().mode() & 0o777
    }

    #[test]
    fn a_database_in_use_is_copied_as_it_stood_at_one_moment() {
        let dir = tempfile::tempdir().unwrap();
        let (from, stop) = (dir.path().join("list.sqlite"), AtomicBool::new(false));
        let mut writer = KIND.open(&from).unwrap();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // Two rows at a time, without gaps.
                for first in (0..).step_by(2).take_while(|_| !stop.load(Ordering::Relaxed)) {
                    let both = writer.transaction().unwrap();
                    for two in [first, first + 1] {
                        both.execute("INSERT INTO one VALUES (?1)", [two]).unwrap();
                    }
                    both.commit().unwrap();
                }
            });
            let mut last = 0;
            for copy in 0..5 {
                let to = dir.path().join(format!("copy-{copy}"));
                let mut backup = Backup::begin(&to).unwrap();
                let rows = backup.database(&KIND, &from, "data/list.sqlite").unwrap();
                let (count, top): (i64, Option<i64>) = rows
                    .query_row("SELECT count(*), max(two) FROM one", [], |row| Ok((row.get(0)?, row.get(1)?)))
                    .unwrap();
                assert!(
                    count % 2 == 0 && top.is_none_or(|top| top + 1 == count) && count >= last,
                    "{count} {top:?}"
                );
                last = count;
                drop(rows);
                let saved = backup.finish("list.toml", "a = 1\n").unwrap();
                let names: Vec<&str> = saved.files.iter().map(|file| file.name.as_str()).collect();
                assert_eq!(names, ["data/list.sqlite", "list.toml"]);
                assert_eq!(fs::read_dir(to.join("data")).unwrap().count(), 1, "nothing lies beside the copy");
                assert!(KIND.open(&to.join("data/list.sqlite")).is_ok());
                let modes = [mode(&to), mode(&to.join("data")), mode(&to.join("data/list.sqlite"))];
                assert_eq!(modes, [0o700, 0o700, 0o600]);
            }
            stop.store(true, Ordering::Relaxed);
        });
    }

    #[test]
    fn a_directory_that_holds_something_is_left_as_it_is() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("mine"), "mine").unwrap();
        let why = Backup::begin(dir.path()).unwrap_err();
        assert!(matches!(&why, BackupError::NotEmpty(_)), "{why}");
        assert_eq!(Failure::from(why).exit() as u8, 2);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        assert!(Backup::begin(&dir.path().join("mine")).is_err());
    }

    #[test]
    fn what_is_not_finished_is_cleared_away_and_a_directory_that_was_there_stays() {
        let dir = tempfile::tempdir().unwrap();
        let (own, there) = (dir.path().join("new"), dir.path().join("there"));
        fs::create_dir(&there).unwrap();
        fs::write(dir.path().join("key"), "key").unwrap();
        for to in [&own, &there] {
            let mut backup = Backup::begin(to).unwrap();
            backup.file(&dir.path().join("key"), "deep/key").unwrap();
            assert!(to.join("deep/key").exists());
            assert!(backup.file(&dir.path().join("nowhere"), "other").is_err());
        }
        assert!(!own.exists() && fs::read_dir(&there).unwrap().count() == 0);
    }

    #[test]
    fn a_damaged_database_gives_no_backup() {
        let dir = tempfile::tempdir().unwrap();
        let from = dir.path().join("list.sqlite");
        let writer = KIND.open(&from).unwrap();
        let fill = "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 9000) INSERT INTO one SELECT i FROM n";
        writer.execute(fill, []).unwrap();
        drop(writer);
        let mut bytes = fs::read(&from).unwrap();
        let half = bytes.len() / 2;
        bytes[half..half + 4096].fill(0xee);
        fs::write(&from, bytes).unwrap();
        let mut backup = Backup::begin(&dir.path().join("copy")).unwrap();
        let why = backup.database(&KIND, &from, "list.sqlite").unwrap_err();
        assert!(why.to_string().contains("list.sqlite"), "{why}");
        drop(backup);
        assert!(!dir.path().join("copy").exists());
    }

    #[test]
    fn paths_of_a_configuration_change_and_nothing_else_does() {
        let text = "# data_dir = 'no'\ndata_dir='/a b' # where\nnetwork = \"regtest\"\n[listen]\naddress_file = \"x\"\n[[c]]\nk = 1\n[[c]]\nk = 'z'\n";
        let changed = with_paths(
            text,
            &[
                ("data_dir", "data"),
                ("listen.address_file", "a"),
                ("key_file", "k"),
                ("c.1.k", "y"),
                ("c.2.k", "y"),
            ],
        );
        let wanted = "# data_dir = 'no'\ndata_dir=\"data\" # where\nnetwork = \"regtest\"\n[listen]\naddress_file = \"a\"\n[[c]]\nk = 1\n[[c]]\nk = \"y\"\n";
        assert_eq!(changed.unwrap(), wanted);
        assert!(with_paths("=", &[]).is_err());
    }
}
