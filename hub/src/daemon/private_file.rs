//! Files that only their owner may read: created 0600, whole or not at all where they are replaced, refused when others could have read them. And
//! directories that only their owner may enter.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Why a private file was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadRefused {
    /// The system refused.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// A directory, pipe or device: reading it could block for ever.
    #[error("is not a regular file")]
    NotAFile,
    /// Group or others may read or change it; `mode` is its permission bits.
    #[error("is open to other users (mode {mode:04o}); it must be 0600")]
    OpenToOthers {
        /// The permission bits found.
        mode: u32,
    },
    /// More bytes than such a file can have.
    #[error("is longer than {limit} bytes")]
    TooLong {
        /// The most bytes accepted.
        limit: usize,
    },
}

/// Creates the directory `path` and those above it with mode 0700. One that exists stays as it is.
pub fn create_dir(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)
}

/// A file that `init` would make is there: its directory has been made before, or is another program's.
#[derive(Debug, thiserror::Error)]
#[error("{} exists", .0.display())]
pub struct Exists(pub PathBuf);

/// Refuses a place where one of these files is: what is made together is made whole or not begun.
pub fn check_free<'a>(paths: impl IntoIterator<Item = &'a Path>) -> Result<(), Exists> {
    match paths.into_iter().find(|path| path.symlink_metadata().is_ok()) {
        Some(path) => Err(Exists(path.to_owned())),
        None => Ok(()),
    }
}

/// Creates `path` with mode 0600 and these bytes, and makes both the file and its directory entry durable.
///
/// An existing file is never touched: that is the error [`io::ErrorKind::AlreadyExists`]. A write that fails half way
/// removes what it began; a crash may leave a short file, which its reader must refuse.
pub fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    let written = write_durably(file, path, bytes);
    if written.is_err() {
        // The first failure is the one to report: a leftover is refused by the next `create`, never overwritten.
        let _ = fs::remove_file(path);
    }
    written
}

fn write_durably(mut file: File, path: &Path, bytes: &[u8]) -> io::Result<()> {
    file.write_all(bytes)?;
    file.sync_all()?;
    sync_directory_of(path)
}

/// Makes a file's entry in its directory durable.
pub(super) fn sync_directory_of(path: &Path) -> io::Result<()> {
    let directory = match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    };
    File::open(directory)?.sync_all()
}

/// Puts a file with these bytes in the place of one that may be there: whoever reads it, at any moment or after a crash, finds
/// the old content or the new one, whole. It is on disk as `path` with the extension `new` before it takes its place.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    put(&path.with_extension("new"), path, bytes, |_| Ok(()))
}

/// Writes these bytes as `new`, whatever a crash left there, prepares that file, and lets it take the place of `path`.
pub(super) fn put(
    new: &Path,
    path: &Path,
    bytes: &[u8],
    prepare: impl FnOnce(&File) -> io::Result<()>,
) -> io::Result<()> {
    match fs::remove_file(new) {
        Err(why) if why.kind() != io::ErrorKind::NotFound => return Err(why),
        _ => {}
    }
    create(new, bytes)?;
    let file = File::open(new)?;
    let made = prepare(&file).and_then(|()| fs::rename(new, path));
    if made.is_err() {
        // The first failure is the one to report.
        let _ = fs::remove_file(new);
    }
    made?;
    sync_directory_of(path)
}

/// Refuses a file that others could have read or changed, and gives its length.
pub fn check(file: &File) -> Result<u64, ReadRefused> {
    let found = file.metadata()?;
    let mode = found.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(ReadRefused::OpenToOthers { mode });
    }
    Ok(found.len())
}

/// Reads a file of at most `limit` bytes that nobody but its owner can open. The bytes are wiped when dropped.
pub fn read(path: &Path, limit: usize) -> Result<Zeroizing<Vec<u8>>, ReadRefused> {
    // Asked before opening, because opening a pipe waits for its other end.
    if !fs::metadata(path)?.is_file() {
        return Err(ReadRefused::NotAFile);
    }
    let file = File::open(path)?;
    let length = usize::try_from(check(&file)?).unwrap_or(usize::MAX);
    if length > limit {
        return Err(ReadRefused::TooLong { limit });
    }
    // Room for all of it from the start: a vector that grows leaves unwiped copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.saturating_add(64)));
    file.take(length as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() != length {
        return Err(io::Error::other("it changed while it was read").into());
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn a_new_file_is_private_and_reads_back() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("with a space");
        create(&path, b"bytes").unwrap();
        assert_eq!(mode(&path), 0o600);
        assert_eq!(read(&path, 5).unwrap().as_slice(), b"bytes");
    }

    #[test]
    fn an_existing_file_is_never_touched() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("key");
        create(&path, b"first").unwrap();
        assert_eq!(create(&path, b"second").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(&path).unwrap(), b"first");
    }

    #[test]
    fn a_replaced_file_is_private_and_what_a_crash_left_beside_it_is_in_nobodys_way() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("book.json");
        for (content, left) in [(b"first", false), (b"other", true)] {
            if left {
                fs::write(dir.path().join("book.new"), b"oth").unwrap();
            }
            replace(&path, content).unwrap();
            assert_eq!((read(&path, 5).unwrap().as_slice(), mode(&path)), (content.as_slice(), 0o600));
            assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        }
    }

    #[test]
    fn a_dangling_link_is_not_followed_when_creating() {
        let dir = TempDir::new().unwrap();
        let (link, target) = (dir.path().join("link"), dir.path().join("target"));
        std::os::unix::fs::symlink(&target, &link).unwrap();
        assert_eq!(create(&link, b"secret").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert!(!target.exists());
    }

    #[test]
    fn a_file_that_others_can_open_is_refused() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("key");
        create(&path, b"bytes").unwrap();
        for open in [0o640, 0o604, 0o620, 0o601, 0o777] {
            fs::set_permissions(&path, fs::Permissions::from_mode(open)).unwrap();
            assert!(
                matches!(read(&path, 5), Err(ReadRefused::OpenToOthers { mode }) if mode == open),
                "{open:o}"
            );
        }
        fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
        assert!(read(&path, 5).is_ok());
    }

    #[test]
    fn a_long_file_a_directory_and_a_missing_file_are_refused() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("key");
        assert!(matches!(read(&path, 4), Err(ReadRefused::Io(e)) if e.kind() == io::ErrorKind::NotFound));
        create(&path, b"bytes").unwrap();
        assert!(matches!(read(&path, 4), Err(ReadRefused::TooLong { limit: 4 })));
        assert!(matches!(read(dir.path(), 4), Err(ReadRefused::NotAFile)));
    }
}
