//! The files that prove a block: what each should be, and how it is read. Never more is read of one than it may have, and of
//! headers never more at once than is judged.

use bitcoin::block::Header;
use palisade_hub::daemon::bounded;
use palisade_hub::daemon::exit::Failure;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::proof::{FinalityProof, MAX_PROOF};
use std::fmt::Display;
use std::fs::File;
use std::io::{self, BufReader, Read as _};
use std::path::{Path, PathBuf};

/// Bytes of a Bitcoin header.
const HEADER: usize = 80;
/// Most headers in a file: a proof's begin where its hub began, and Bitcoin makes so many in 38 years.
const MAX_HEADERS: u64 = 2_000_000;
/// Longest trust root.
pub(crate) const MAX_ROOT: usize = 1_024;

/// What a file should be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileKind {
    name: &'static str,
    form: &'static str,
}

/// A proof.
pub(crate) const PROOF: FileKind = FileKind {
    name: "proof",
    form: "the file `block.proof` that `prove` writes, or what the hub's door /proofs gives",
};
/// Bitcoin's headers.
pub(crate) const HEADERS: FileKind = FileKind {
    name: "file of headers",
    form: "raw Bitcoin headers, 80 bytes each, from the height that the proof names on: the file `bitcoin.headers` that `prove` and `headers` write",
};
/// A trust root.
pub(crate) const ROOT: FileKind = FileKind {
    name: "trust root",
    form: "the file `hub.root` that `prove` writes, or what the hub's door /root gives",
};

/// A rule that the files break.
pub(crate) fn does_not_hold(why: &dyn Display) -> Failure {
    Failure::failed(format_args!("the proof does not hold: {why}"))
}

/// A file that is not what it should be.
pub(crate) fn misfit(path: &Path, wanted: FileKind, why: &dyn Display) -> Failure {
    does_not_hold(&format_args!("{} is no {}: {why}", path.display(), wanted.name))
        .hint(format_args!("wanted is {}, {EXAMPLE}", wanted.form))
        .rule("encoding")
}

const EXAMPLE: &str =
    "as in: palisade-checkpointer verify block.proof --headers bitcoin.headers --root hub.root";

/// A file that is not there, or that the system does not give: nothing was judged.
fn unreadable(path: &Path, wanted: FileKind) -> impl Fn(io::Error) -> Failure {
    move |why| {
        Failure::failed(format_args!("cannot read the {} {}: {why}", wanted.name, path.display()))
            .hint(format_args!("wanted is {}, {EXAMPLE}", wanted.form))
            .rule("unreadable")
    }
}

/// Reads a file of at most `max` bytes.
pub(crate) fn read(path: &Path, wanted: FileKind, max: usize) -> Result<Vec<u8>, Failure> {
    let bytes = bounded::read(path, max).map_err(unreadable(path, wanted))?;
    bytes.ok_or_else(|| misfit(path, wanted, &format_args!("it has more than {max} bytes")))
}

/// Reads a proof.
pub(crate) fn read_proof(path: &Path) -> Result<FinalityProof, Failure> {
    let bytes = read(path, PROOF, MAX_PROOF)?;
    FinalityProof::parse(&bytes).map_err(|why| misfit(path, PROOF, &why))
}

/// A file of headers that is read while they are asked for. Whoever has asked for the last asks [`HeaderFile::check`] whether it
/// was.
#[derive(Debug)]
pub(crate) struct HeaderFile {
    path: PathBuf,
    bytes: BufReader<File>,
    left: u64,
    broken: Option<io::Error>,
}

impl HeaderFile {
    /// Opens a file whose length can be that of headers.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let open = || bounded::open(path).and_then(|file| Ok((file.metadata()?.len(), file)));
        let (length, file) = open().map_err(unreadable(path, HEADERS))?;
        let left = length / HEADER as u64;
        if length % HEADER as u64 != 0 {
            let why = format_args!("{length} bytes are no multiple of {HEADER}");
            return Err(misfit(path, HEADERS, &why));
        }
        if left > MAX_HEADERS {
            let why = format_args!("{left} headers are more than the {MAX_HEADERS} that are read");
            return Err(misfit(path, HEADERS, &why));
        }
        Ok(Self { path: path.to_owned(), bytes: BufReader::new(file), left, broken: None })
    }

    /// Whether the file gave all that was asked for.
    pub(crate) fn check(self) -> Result<(), Failure> {
        self.broken.map_or(Ok(()), |why| Err(unreadable(&self.path, HEADERS)(why)))
    }

    fn read(&mut self) -> io::Result<Header> {
        let mut bytes = [0; HEADER];
        self.bytes.read_exact(&mut bytes)?;
        Header::from_bytes(&bytes).map_err(io::Error::other)
    }
}

impl Iterator for HeaderFile {
    type Item = Header;

    fn next(&mut self) -> Option<Header> {
        self.left = self.left.checked_sub(1)?;
        self.read().map_err(|why| (self.left, self.broken) = (0, Some(why))).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Seek as _;

    fn sparse(path: &Path, headers: u64) {
        File::create(path).unwrap().set_len(headers * HEADER as u64).unwrap();
    }

    #[test]
    fn of_a_long_file_no_more_is_read_than_is_asked_for() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("headers");
        sparse(&path, MAX_HEADERS);
        let mut headers = HeaderFile::open(&path).unwrap();
        assert_eq!(headers.by_ref().take(11).count(), 11);
        assert!(headers.bytes.get_mut().stream_position().unwrap() < 100_000);
        headers.check().unwrap();
        sparse(&path, MAX_HEADERS + 1);
        let why = HeaderFile::open(&path).unwrap_err();
        assert!(why.to_string().contains("2000001 headers are more than"), "{why}");
        assert_eq!(why.to_json()["rule"], "encoding");
    }

    #[test]
    fn a_file_that_shrinks_while_it_is_read_is_not_taken_for_a_short_one() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("headers");
        sparse(&path, 1_000);
        let mut headers = HeaderFile::open(&path).unwrap();
        headers.next().unwrap();
        sparse(&path, 500);
        assert!(headers.by_ref().count() < 999);
        assert_eq!(headers.check().unwrap_err().to_json()["rule"], "unreadable");
    }
}
