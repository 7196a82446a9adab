//! Reading files that somebody else wrote: never more of them than they may have.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// Longest text that a person hands to a command as a file.
const MAX_TEXT: usize = 1 << 20;

/// The bytes of a file; `None` if it has more than `limit`. What is no file, and so may never end, is refused.
pub fn read(path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
    if !path.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file"));
    }
    let mut bytes = Vec::new();
    File::open(path)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= limit).then_some(bytes))
}

/// The text in a file that a person hands to a command: at most a megabyte.
pub fn read_text(path: &Path) -> io::Result<String> {
    let invalid = |why: String| io::Error::new(io::ErrorKind::InvalidData, why);
    let bytes = read(path, MAX_TEXT)?.ok_or_else(|| invalid(format!("it has more than {MAX_TEXT} bytes")))?;
    String::from_utf8(bytes).map_err(|why| invalid(why.to_string()))
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_may_never_end_is_not_read() {
        for path in ["/dev/zero", "/dev"] {
            let why = super::read_text(path.as_ref()).unwrap_err().to_string();
            assert_eq!(why, "it is not a file", "{path}");
        }
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
