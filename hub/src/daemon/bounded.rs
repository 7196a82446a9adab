//! Reading files that somebody else wrote: never more of them than they may have.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

/// The bytes of a file; `None` if it has more than `limit`.
pub fn read(path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(limit as u64 + 1).read_to_end(&mut bytes)?;
    Ok((bytes.len() <= limit).then_some(bytes))
}

#[cfg(test)]
mod tests {
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
