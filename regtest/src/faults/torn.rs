//! What a power cut does to files: what was written and not yet made durable is there in part, or not, or as rubbish.
//!
//! Disks write sectors whole: of what was written over something older, the sectors before a drawn one are as written, and the
//! others rubbish. What was added to the end of a file may be missing from any byte on.

use super::strace;
use anyhow::Context as _;
use rand::Rng as _;
use rand::RngCore as _;
use rand::rngs::StdRng;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

/// Bytes that a disk writes whole.
const SECTOR: u64 = 512;

/// A write that was not followed by a sync.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Loose {
    /// Unknown where a file was only written on.
    offset: Option<u64>,
    length: u64,
}

/// Tears the files below a directory that were written and not made durable. Gives what was done to them.
pub fn tear(trace: &Path, below: &Path, dice: &mut StdRng) -> anyhow::Result<Vec<String>> {
    let text = std::fs::read_to_string(trace).with_context(|| trace.display().to_string())?;
    let torn = loose(&text, below).into_iter().map(|(path, writes)| tear_file(&path, &writes, below, dice));
    torn.filter_map(Result::transpose).collect()
}

/// Cuts a file within one of its loose writes, or makes rubbish of that and those after it.
fn tear_file(
    path: &Path,
    writes: &[Loose],
    below: &Path,
    dice: &mut StdRng,
) -> anyhow::Result<Option<String>> {
    let file = File::options().read(true).write(true).open(path)?;
    let size = file.metadata()?.len();
    let chosen = dice.gen_range(0..writes.len());
    let begins = |write: &Loose| write.offset.unwrap_or_else(|| size.saturating_sub(write.length));
    let within = dice.gen_range(0..writes[chosen].length.max(1));
    let (at, name) = (begins(&writes[chosen]) + within, path.strip_prefix(below)?.display().to_string());
    let is_last = begins(&writes[chosen]) + writes[chosen].length >= size && at < size;
    if is_last && dice.r#gen() {
        file.set_len(at)?;
        return Ok(Some(format!("{name} cut from {size} to {at} bytes")));
    }
    let mut rubbish = Vec::new();
    for (index, write) in writes[chosen..].iter().enumerate() {
        let from = if index == 0 { at.next_multiple_of(SECTOR) } else { begins(write) };
        let length = size.min(begins(write) + write.length).saturating_sub(from);
        let mut bytes = vec![0; usize::try_from(length)?];
        dice.fill_bytes(&mut bytes);
        file.write_all_at(&bytes, from)?;
        rubbish.extend((length > 0).then(|| format!("{from} to {}", from + length)));
    }
    Ok((!rubbish.is_empty())
        .then(|| format!("{name} of {size} bytes is rubbish from {}", rubbish.join(", "))))
}

/// The files that were written without a sync, and those writes.
fn loose(text: &str, below: &Path) -> BTreeMap<PathBuf, Vec<Loose>> {
    let mut files: BTreeMap<PathBuf, Vec<Loose>> = BTreeMap::new();
    let mut syncing: BTreeMap<&str, PathBuf> = BTreeMap::new();
    for line in text.lines() {
        if let Some((thread, call, rest)) = strace::begun(line) {
            // A call that the kill came before was not made.
            let Some(path) = named(rest).filter(|path| holds_data(path, below) && !rest.ends_with("= ?"))
            else {
                continue;
            };
            match call {
                "fsync" | "fdatasync" if rest.contains("unfinished") => drop(syncing.insert(thread, path)),
                "fsync" | "fdatasync" => drop(files.remove(&path)),
                "write" | "pwrite64" => files.entry(path).or_default().extend(written(call, rest)),
                _ => drop(files.remove(&path)),
            }
            continue;
        }
        let synced = line.split_once(' ').filter(|(_, rest)| rest.contains("sync resumed>"));
        if let Some(path) = synced.and_then(|(thread, _)| syncing.remove(thread)) {
            files.remove(&path);
        }
    }
    files.retain(|path, writes| !writes.is_empty() && path.is_file());
    files
}

/// What strace says of a write after its bracket: `5</the/file>, ""..., 4096, 32) = 4096`.
fn written(call: &str, rest: &str) -> Option<Loose> {
    let (_, numbers) = rest.split_once("\"\"...")?;
    let mut numbers = numbers.split([',', ')', ' ']).filter(|word| !word.is_empty()).map(str::parse::<u64>);
    let length = numbers.next()?.ok()?;
    let offset = if call == "pwrite64" { Some(numbers.next()?.ok()?) } else { None };
    Some(Loose { offset, length })
}

/// The file that a call's first argument is open on.
fn named(rest: &str) -> Option<PathBuf> {
    let (_, path) = rest.split_once('<')?;
    Some(path.split_once('>')?.0.into())
}

/// Whether a file holds what a daemon must not forget: no talk, no address, no shared memory, and not who has it locked.
fn holds_data(path: &Path, below: &Path) -> bool {
    let name = path.to_string_lossy();
    path.starts_with(below) && ![".log", ".address", "-shm", "/lock"].iter().any(|end| name.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::SeedableRng as _;

    /// What strace said, with `DIR` for the directory.
    const TRACE: &str = "\
7 pwrite64(5</DIR/a>, \"\"..., 1000, 0) = 1000
7 fsync(5</DIR/a>) = 0
8 pwrite64(6</DIR/b>, \"\"..., 700, 1024 <unfinished ...>
7 write(2</DIR/x.log>, \"\"..., 9) = 9
8 <... pwrite64 resumed>) = 700
7 pwrite64(5</DIR/d>, \"\"..., 600, 0) = 600
7 fsync(5</DIR/c> <unfinished ...>
7 <... fsync resumed>) = 0
8 fsync(6</DIR/b>) = ?
8 +++ killed by SIGKILL +++
";

    #[test]
    fn what_was_not_made_durable_is_torn_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let text = TRACE.replace("/DIR", &dir.path().display().to_string());
        let [a, b, d] = ["a", "b", "d"].map(|name| dir.path().join(name));
        let trace = dir.path().join("trace");
        std::fs::write(&trace, &text).unwrap();
        let mut torn = [0; 2];
        for seed in 0..50 {
            std::fs::write(&a, [1; 1000]).unwrap();
            std::fs::write(&b, [1; 1724]).unwrap();
            std::fs::write(&d, [1; 600]).unwrap();
            let said = tear(&trace, dir.path(), &mut StdRng::seed_from_u64(seed)).unwrap();
            assert_eq!(std::fs::read(&a).unwrap(), [1; 1000], "it was synced");
            let left = std::fs::read(&b).unwrap();
            assert_eq!(left[..1024], [1; 1024], "what stood before the write stays");
            let changed = [left != [1; 1724], std::fs::read(&d).unwrap() != [1; 600]];
            assert_eq!(changed.iter().filter(|changed| **changed).count(), said.len());
            changed.iter().zip(&mut torn).for_each(|(changed, torn)| *torn += usize::from(*changed));
        }
        assert!(torn.iter().all(|torn| *torn > 20), "{torn:?}");
        let synced = text.replace("fsync(6</", "fsync(7</").replace("b>) = ?", "b>) = 0");
        std::fs::write(&trace, synced.replace("/c> <unf", "/d> <unf")).unwrap();
        assert!(tear(&trace, dir.path(), &mut StdRng::seed_from_u64(1)).unwrap().is_empty());
    }
}
