//! One process per data directory, and per other thing that only one may use.
//!
//! The lock is the kernel's: it ends with the process, however that ends, and needs no cleaning up.
//!
//! Not here: protection against a byte copy of the directory. Software cannot see that; the guides say so.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use super::private_file;

const LOCK_FILE: &str = "lock";

/// An exclusive hold on a data directory, until dropped.
#[derive(Debug)]
pub struct DirLock {
    dir: PathBuf,
    _lock: FileLock,
}

/// An exclusive hold on a file, and on what it stands for, until dropped.
#[derive(Debug)]
pub struct FileLock(File);

/// Why the data directory is not ours.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Another process works in it.
    #[error("{} is held by {}; stop it first, or use another place", file.display(), process(holder))]
    Held {
        /// The lock file.
        file: PathBuf,
        /// The process id that the holder wrote, if it could be read.
        holder: Option<u32>,
    },
    /// Group or others may write in it, and so replace what we trust.
    #[error("{} can be written by other users (mode {mode:04o}); chmod 700 it", dir.display())]
    OpenToOthers {
        /// The directory.
        dir: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The system refused.
    #[error("cannot use {}: {cause}", path.display())]
    Io {
        /// The directory or lock file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

fn process(holder: &Option<u32>) -> String {
    holder.map_or_else(|| "another process".to_owned(), |pid| format!("process {pid}"))
}

impl DirLock {
    /// Takes the directory `dir` for this process alone, creating it with mode 0700 if it is not there.
    pub fn acquire(dir: &Path) -> Result<Self, LockError> {
        let io_error = |path: &Path| {
            let path = path.to_owned();
            move |cause| LockError::Io { path, cause }
        };
        private_file::create_dir(dir).map_err(io_error(dir))?;
        let mode = dir.metadata().map_err(io_error(dir))?.permissions().mode() & 0o7777;
        if mode & 0o022 != 0 {
            return Err(LockError::OpenToOthers { dir: dir.to_owned(), mode });
        }
        Ok(Self { dir: dir.to_owned(), _lock: FileLock::acquire(&dir.join(LOCK_FILE))? })
    }

    /// The directory that is held.
    pub fn dir(&self) -> &Path {
        &self.dir
    }
}

impl FileLock {
    /// Takes the file for this process alone, creating it with mode 0600 if it is not there. It stays when the lock ends.
    pub fn acquire(path: &Path) -> Result<Self, LockError> {
        let failed = |cause| LockError::Io { path: path.to_owned(), cause };
        let mut options = OpenOptions::new();
        // Not truncated on opening: until the lock is ours, the content is the holder's.
        options.read(true).write(true).create(true).truncate(false).mode(0o600);
        let mut file = options.open(path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(LockError::Held { holder: read_pid(&file), file: path.to_owned() });
            }
            Err(TryLockError::Error(cause)) => return Err(failed(cause)),
        }
        file.set_len(0).and_then(|()| writeln!(file, "{}", std::process::id())).map_err(failed)?;
        Ok(Self(file))
    }
}

impl Drop for FileLock {
    fn drop(&mut self) {
        // Closing alone would not release it while a child process that is just being started has the file too.
        let _ = self.0.unlock();
    }
}

fn read_pid(file: &File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use tempfile::TempDir;

    use super::*;

    #[test]
    fn a_second_holder_is_refused_and_told_who_holds() {
        let dir = TempDir::new().unwrap();
        let held = DirLock::acquire(dir.path()).unwrap();
        let refused = DirLock::acquire(dir.path()).unwrap_err();
        assert!(matches!(&refused, LockError::Held { file, holder: Some(pid) }
            if *file == dir.path().join("lock") && *pid == std::process::id()));
        assert!(refused.to_string().contains(&format!("process {}", std::process::id())));
        drop(held);
        assert_eq!(DirLock::acquire(dir.path()).unwrap().dir(), dir.path());
    }

    #[test]
    fn what_was_let_go_is_free_though_a_child_process_still_has_the_file() {
        let dir = TempDir::new().unwrap();
        let held = DirLock::acquire(dir.path()).unwrap();
        // As between fork and exec: another descriptor of the same open file.
        let _inherited = held._lock.0.try_clone().unwrap();
        drop(held);
        DirLock::acquire(dir.path()).unwrap();
    }

    #[test]
    fn a_leftover_lock_file_holds_nothing() {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join("lock"), "4294967295 and a longer text than ours").unwrap();
        let _held = DirLock::acquire(dir.path()).unwrap();
        let content = fs::read_to_string(dir.path().join("lock")).unwrap();
        assert_eq!(content, format!("{}\n", std::process::id()));
    }

    #[test]
    fn of_many_at_once_exactly_one_gets_the_directory() {
        let dir = TempDir::new().unwrap();
        let results: Vec<_> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..10).map(|_| scope.spawn(|| DirLock::acquire(dir.path()))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(results.iter().filter(|result| result.is_ok()).count(), 1);
    }

    #[test]
    fn a_new_directory_is_private() {
        let dir = TempDir::new().unwrap();
        let deep = dir.path().join("a b/c");
        let _held = DirLock::acquire(&deep).unwrap();
        assert_eq!(fs::metadata(&deep).unwrap().permissions().mode() & 0o777, 0o700);
        assert_eq!(fs::metadata(deep.join("lock")).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn a_directory_that_others_can_write_is_refused() {
        let dir = TempDir::new().unwrap();
        for mode in [0o770, 0o702, 0o1777] {
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(mode)).unwrap();
            let refused = DirLock::acquire(dir.path()).unwrap_err();
            assert!(matches!(refused, LockError::OpenToOthers { mode: found, .. } if found == mode));
        }
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        assert!(DirLock::acquire(dir.path()).is_ok());
    }

    #[test]
    fn a_file_in_place_of_the_directory_is_an_error() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "").unwrap();
        assert!(matches!(DirLock::acquire(&path), Err(LockError::Io { .. })));
    }
}
