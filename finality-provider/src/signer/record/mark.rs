//! The mark: what the record's file should look like, in a file beside it.

use super::RecordError;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// When the kernel says that a file changed last (`st_ctime`): seconds and nanoseconds. No program can set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Changed(i64, i64);

impl Changed {
    pub(super) fn of(path: &Path) -> Result<Self, RecordError> {
        let metadata = std::fs::metadata(path).map_err(in_file(path))?;
        Ok(Self(metadata.ctime(), metadata.ctime_nsec()))
    }
}

/// What the mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    /// Rows in the record.
    pub(super) rows: u64,
    /// Its last change.
    pub(super) changed: Changed,
}

impl Mark {
    /// Nothing where there is no mark, or half a mark.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, RecordError> {
        let bytes = match std::fs::read(path) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => return Ok(None),
            read => read.map_err(in_file(path))?,
        };
        let words: Vec<[u8; 8]> = bytes.chunks(8).filter_map(|word| word.try_into().ok()).collect();
        Ok(match words.as_slice() {
            [rows, s, ns] if bytes.len() == 24 => Some(Self {
                rows: u64::from_be_bytes(*rows),
                changed: Changed(i64::from_be_bytes(*s), i64::from_be_bytes(*ns)),
            }),
            _ => None,
        })
    }
}

/// The open mark.
#[derive(Debug)]
pub(super) struct MarkFile {
    file: File,
    path: PathBuf,
    /// The record's file, held open: closing any handle of it would give up SQLite's lock.
    record: File,
    record_path: PathBuf,
}

impl MarkFile {
    pub(super) fn open(record_path: &Path, path: &Path) -> Result<Self, RecordError> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        Ok(Self {
            file: options.open(path).map_err(in_file(path))?,
            path: path.to_owned(),
            record: File::open(record_path).map_err(in_file(record_path))?,
            record_path: record_path.to_owned(),
        })
    }

    /// Marks the record as it is now, durably. SQLite has synchronised its content; its times need it too.
    pub(super) fn write(&self, rows: u64) -> Result<(), RecordError> {
        self.record.sync_all().map_err(in_file(&self.record_path))?;
        let Changed(s, ns) = Changed::of(&self.record_path)?;
        let bytes = [rows.to_be_bytes(), s.to_be_bytes(), ns.to_be_bytes()].concat();
        self.file.write_all_at(&bytes, 0).and_then(|()| self.file.sync_data()).map_err(in_file(&self.path))
    }
}

fn in_file(path: &Path) -> impl Fn(io::Error) -> RecordError {
    let path = path.to_owned();
    move |cause| RecordError::Io { path: path.clone(), cause }
}
