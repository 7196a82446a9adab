//! The mark: what the record's file should look like, in a file beside it.

use super::RecordError;
use super::trust::Contents;
use palisade_protocol::hash::Hash32;
use std::fs::{File, Metadata, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// When the kernel says that a file changed last (`st_ctime`): seconds and nanoseconds. No program can set it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Changed(pub(crate) i64, pub(crate) i64);

impl Changed {
    /// Nothing where there is no file.
    pub(super) fn of(path: &Path) -> Result<Option<Self>, RecordError> {
        match std::fs::metadata(path) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
            found => found.map(|metadata| Some(Self::from(&metadata))).map_err(in_file(path)),
        }
    }
}

impl From<&Metadata> for Changed {
    fn from(metadata: &Metadata) -> Self {
        Self(metadata.ctime(), metadata.ctime_nsec())
    }
}

/// What the mark says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Mark {
    /// What was written. Another record may lie in its place, or another state of it.
    pub(crate) contents: Contents,
    /// Its last change.
    pub(crate) changed: Changed,
}

/// Bytes of a mark: contents, seconds and nanoseconds.
const LENGTH: usize = 32 + 2 * 8;

impl Mark {
    /// Nothing where there is no mark, or half a mark.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, RecordError> {
        match std::fs::read(path) {
            Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(None),
            read => Ok(Self::from_bytes(&read.map_err(in_file(path))?)),
        }
    }

    fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (contents, numbers) = bytes.split_first_chunk::<32>()?;
        let numbers: Vec<[u8; 8]> = numbers.chunks(8).filter_map(|word| word.try_into().ok()).collect();
        match numbers.as_slice() {
            [s, ns] if bytes.len() == LENGTH => Some(Self {
                contents: Contents(Hash32(*contents)),
                changed: Changed(i64::from_be_bytes(*s), i64::from_be_bytes(*ns)),
            }),
            _ => None,
        }
    }

    fn to_bytes(self) -> Vec<u8> {
        let Changed(s, ns) = self.changed;
        [&self.contents.0.0[..], &s.to_be_bytes(), &ns.to_be_bytes()].concat()
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
    /// The times are those of the open file: another file may have its name by now.
    pub(super) fn write(&self, contents: Contents) -> Result<(), RecordError> {
        let synced = self.record.sync_all().and_then(|()| self.record.metadata());
        let changed = Changed::from(&synced.map_err(in_file(&self.record_path))?);
        let bytes = Mark { contents, changed }.to_bytes();
        self.file.write_all_at(&bytes, 0).and_then(|()| self.file.sync_data()).map_err(in_file(&self.path))
    }
}

fn in_file(path: &Path) -> impl Fn(io::Error) -> RecordError {
    let path = path.to_owned();
    move |cause| RecordError::Io { path: path.clone(), cause }
}
