//! Files for programs that read files.

use std::fs::OpenOptions;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A new directory.
pub(crate) fn dir() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

thread_local! {
    static FILES: TempDir = dir();
}

/// The path of a private file with these bytes; each call of a thread with this name replaces it.
pub(crate) fn file(name: &str, bytes: &[u8]) -> PathBuf {
    let path = FILES.with(|files| files.path().join(name));
    let mut options = OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&path);
    opened.and_then(|mut file| file.write_all(bytes)).expect("a file");
    path
}

/// What a program that makes its own files writes at a path in a new directory.
pub(crate) fn written(name: &str, write: impl FnOnce(&Path)) -> Vec<u8> {
    let dir = dir();
    let path = dir.path().join(name);
    write(&path);
    std::fs::read(path).expect("it was written")
}
