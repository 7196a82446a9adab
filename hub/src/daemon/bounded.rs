//! Files that a person names: never more is read of them than they may have, and nothing that could wait for ever, as pipes do,
//! is read or written.

use super::private_file;
use std::fs::{self, File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, fchown};
use std::path::Path;

/// Longest text that a person hands to a command as a file.
const MAX_TEXT: usize = 1 << 20;

/// Opens a file to read it. What is no file, and so may never end, is refused.
pub fn open(path: &Path) -> io::Result<File> {
    check(&path.metadata()?)?;
    File::open(path)
}

/// The bytes of a file; `None` if it has more than `limit`. What is no file is refused.
pub fn read(path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    open(path)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= limit).then_some(bytes))
}

/// The text in a file that a person hands to a command: at most a megabyte.
pub fn read_text(path: &Path) -> io::Result<String> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let bytes = read(path, MAX_TEXT)?.ok_or_else(|| invalid(format!("it has more than {MAX_TEXT} bytes")))?;
    String::from_utf8(bytes).map_err(|why| invalid(why.to_string()))
}

/// Writes a file, in the place of one that may be there.
pub fn write(path: &Path, bytes: &[u8]) -> io::Result<()> {
    check_place(path)?;
    fs::write(path, bytes)
}

/// Refuses a place where something is that `write` would refuse, for who has several files to write.
pub fn check_place(path: &Path) -> io::Result<()> {
    match path.metadata() {
        Ok(found) => check(&found),
        Err(why) if why.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(why) => Err(why),
    }
}

/// Gives a file that is there other content: whoever reads it, at any moment or after a crash, finds the old content or the new
/// one, whole. Owner and mode stay, and a link still leads to it. It is on disk as `NAME.new` before it takes its place.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let path = path.canonicalize()?;
    let old = path.metadata()?;
    check(&old)?;
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let new = path.with_file_name(name);
    private_file::put(&new, &path, bytes, |file| {
        fchown(file, Some(old.uid()), Some(old.gid()))?;
        file.set_permissions(old.permissions())?;
        file.sync_all()
    })
}

/// Refuses what is no file.
pub(super) fn check(found: &Metadata) -> io::Result<()> {
    let is_file = found.is_file().then_some(());
    is_file.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"))
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::PermissionsExt as _;
    use std::process::Command;

    #[test]
    fn what_may_never_end_is_neither_read_nor_written() {
        let dir = tempfile::tempdir().unwrap();
        let pipe = dir.path().join("pipe");
        assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
        for path in ["/dev/zero".as_ref(), "/dev".as_ref(), pipe.as_path()] {
            let why = super::read_text(path).unwrap_err().to_string();
            assert_eq!(why, "it is not a file", "{}", path.display());
            let why = super::write(path, b"bytes").unwrap_err().to_string();
            assert_eq!(why, "it is not a file", "{}", path.display());
        }
        let file = dir.path().join("file");
        for bytes in ["first", "then"] {
            super::write(&file, bytes.as_bytes()).unwrap();
            assert_eq!(super::read_text(&file).unwrap(), bytes);
        }
    }

    #[test]
    fn a_replaced_file_keeps_its_mode_and_its_links_and_leaves_nothing_beside_it() {
        let dir = tempfile::tempdir().unwrap();
        let (file, link) = (dir.path().join("a.new"), dir.path().join("link"));
        std::os::unix::fs::symlink(&file, &link).unwrap();
        assert!(super::replace(&file, b"bytes").is_err(), "nothing is there");
        std::fs::write(&file, "old").unwrap();
        for mode in [0o640, 0o400] {
            std::fs::set_permissions(&file, Permissions::from_mode(mode)).unwrap();
            for path in [&file, &link] {
                std::fs::write(dir.path().join("a.new.new"), "what a crash left").unwrap();
                super::replace(path, path.as_os_str().as_encoded_bytes()).unwrap();
                assert_eq!(std::fs::read(&file).unwrap(), path.as_os_str().as_encoded_bytes());
                assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, mode);
                assert!(link.is_symlink() && std::fs::read_dir(dir.path()).unwrap().count() == 2);
            }
        }
        assert!(super::replace(dir.path(), b"bytes").is_err());
    }

    #[test]
    fn a_file_is_read_up_to_its_limit_and_not_a_byte_further() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, [7; 10]).unwrap();
        for limit in [10, 11] {
            assert_eq!(super::read(&path, limit).unwrap(), Some(vec![7; 10]));
        }
        assert_eq!(super::read(&path, 9).unwrap(), None);
        assert!(super::read(dir.path(), 9).is_err());
    }
}
