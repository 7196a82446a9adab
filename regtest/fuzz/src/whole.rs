//! Databases of ours as whole files that were damaged: by a disk, by a copy that broke off, by another program.
//!
//! An input is a file. What is promised of any: it is read, or refused in words that name it; nothing more is read out of it than is
//! in it; and where a program can tell what it wrote from anything else, it does.

use crate::{Outcome, scratch};
use rusqlite::Connection;
use std::path::Path;

/// Its name, which refusals may use.
const NAME: &str = "whole.sqlite";
/// The smallest pages that SQLite has: on these a change reaches more of a small file.
const PAGE: u32 = 512;

/// A file as its program left it, and the same on small pages.
pub(crate) fn corpus(database: &[u8]) -> Vec<Vec<u8>> {
    let path = scratch::file("corpus.sqlite", database);
    let connection = Connection::open(&path).expect("a database");
    let small = format!("PRAGMA journal_mode = DELETE; PRAGMA page_size = {PAGE}; VACUUM;");
    connection.execute_batch(&small).expect("the same on small pages");
    drop(connection);
    vec![database.to_vec(), std::fs::read(path).expect("it was written")]
}

/// Has a program read the file in place of its own.
pub(crate) fn read(input: &[u8], read: impl FnOnce(&Path) -> anyhow::Result<()>) -> Outcome {
    let path = scratch::file(NAME, input);
    for left in ["-wal", "-shm", "-journal"] {
        let _ = std::fs::remove_file(path.with_file_name(format!("{NAME}{left}")));
    }
    let done = read(&path);
    if let Err(why) = &done {
        let said = why.to_string();
        let names = [NAME, "message log", "record", "journal", "audit log", "own database"];
        assert!(names.iter().any(|name| said.contains(name)), "a refusal that names nothing: {said}");
    }
    done.into()
}

/// Checks that so many rows can have been in a file: each takes some bytes.
pub(crate) fn fits(rows: usize, path: &Path) {
    let bytes = std::fs::metadata(path).map_or(0, |file| file.len());
    assert!(rows as u64 <= bytes, "{rows} rows of {bytes} bytes");
}

#[cfg(test)]
mod tests {
    use super::*;
    use anyhow::bail;

    #[test]
    #[should_panic(expected = "a refusal that names nothing: no")]
    fn a_refusal_must_name_what_it_is_about() {
        assert_eq!(read(b"junk", |path| bail!("{}: junk", path.display())), Outcome::Refused);
        read(b"junk", |_| bail!("no"));
    }

    #[test]
    #[should_panic(expected = "5 rows of 4 bytes")]
    fn no_more_rows_come_out_of_a_file_than_can_be_in_it() {
        let read_as = |rows| {
            read(b"junk", |path| {
                fits(rows, path);
                Ok(())
            })
        };
        assert_eq!(read_as(4), Outcome::Accepted);
        read_as(5);
    }
}
