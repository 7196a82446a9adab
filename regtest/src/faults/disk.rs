//! A small disk: a file system of its own in the place of a part's data directory, which the part fills itself. What it writes
//! then is taken in part, or not at all, as by any disk that is full.

use super::points::Part;
use crate::demo::story::Story;
use anyhow::{Context as _, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The words by which strace says that there was no room.
pub const MARK: &str = "= -1 ENOSPC (";
/// The size of a disk that has room, in bytes.
const LARGE: u64 = 256 << 20;

/// Where a part keeps its data.
pub fn data(part: Part, story: &Story) -> PathBuf {
    let name = if part == Part::Follower { "data".to_owned() } else { format!("{}-data", part.kind()) };
    part.log(story).with_file_name(name)
}

/// A directory that lies on a small disk.
#[derive(Debug)]
pub struct SmallDisk {
    dir: PathBuf,
    is_mounted: bool,
    has_room: bool,
}

impl SmallDisk {
    /// Moves a directory that nobody uses onto a disk that has room for so many pages more.
    pub fn with_room(dir: &Path, pages: u32) -> anyhow::Result<Self> {
        let before = dir.with_extension("before");
        std::fs::rename(dir, &before)?;
        std::fs::create_dir(dir)?;
        let options = format!("mode=0700,size={LARGE}");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(dir))?;
        let disk = Self { dir: dir.to_owned(), is_mounted: true, has_room: false };
        copy(&before, dir)?;
        std::fs::remove_dir_all(&before)?;
        let [page, all, free] = space(dir)?;
        disk.resize((all - free + u64::from(pages)) * page)?;
        Ok(disk)
    }

    /// Makes room, once.
    pub fn make_room(&mut self) -> anyhow::Result<()> {
        if !self.has_room {
            self.resize(LARGE)?;
            self.has_room = true;
        }
        Ok(())
    }

    /// Moves the directory back, when nobody uses it any more.
    pub fn put_back(&mut self) -> anyhow::Result<()> {
        if !self.is_mounted {
            return Ok(());
        }
        let after = self.dir.with_extension("after");
        std::fs::create_dir(&after)?;
        copy(&self.dir, &after)?;
        // Who was killed may not be gone yet.
        run(Command::new("umount").arg("--lazy").arg(&self.dir))?;
        self.is_mounted = false;
        std::fs::remove_dir(&self.dir)?;
        Ok(std::fs::rename(after, &self.dir)?)
    }

    fn resize(&self, bytes: u64) -> anyhow::Result<()> {
        // With its device named too `mount` reads no options anew: in a user namespace it could not give them back.
        let options = format!("remount,size={bytes}");
        run(Command::new("mount").args(["-t", "tmpfs", "-o", &options, "tmpfs"]).arg(&self.dir)).map(drop)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A seed that failed keeps its files, if that is possible.
        let _ = self.put_back();
    }
}

/// Fails where no file system may be mounted: no disk can be filled there.
pub fn check() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let data = dir.path().join("data");
    std::fs::create_dir(&data)?;
    let tried = SmallDisk::with_room(&data, 1).and_then(|mut disk| disk.put_back());
    tried.context("no file system may be mounted here, so no disk is filled: be root, or `unshare --map-root-user --mount`")
}

/// Copies a directory with all that is known of its files.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    run(Command::new("cp").args(["--archive", "--no-target-directory"]).args([from, to])).map(|_| ())
}

/// The size of a page, and how many there are and are free where a directory lies.
fn space(dir: &Path) -> anyhow::Result<[u64; 3]> {
    let said = run(Command::new("stat").args(["--file-system", "--format", "%S %b %f"]).arg(dir))?;
    let numbers: Vec<u64> = said.split_whitespace().map(str::parse).collect::<Result<_, _>>()?;
    numbers.try_into().ok().with_context(|| format!("three numbers in {said:?}"))
}

fn run(command: &mut Command) -> anyhow::Result<String> {
    let done = command.output()?;
    let said = String::from_utf8_lossy(&done.stderr);
    ensure!(done.status.success(), "{command:?}: {}", said.trim());
    Ok(String::from_utf8(done.stdout)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::{self, File};
    use std::io::{ErrorKind, Write as _};

    #[test]
    fn a_full_disk_takes_a_part_of_a_line_and_the_rest_once_there_is_room() {
        if let Err(why) = check() {
            // Elsewhere every seed says so.
            println!("{why:#}");
            return;
        }
        let home = tempfile::tempdir().unwrap();
        let (data, file) = (home.path().join("data"), home.path().join("data/file"));
        fs::create_dir(&data).unwrap();
        fs::write(&file, [1; 4_000]).unwrap();
        let mut disk = SmallDisk::with_room(&data, 2).unwrap();
        let mut log = File::options().append(true).open(&file).unwrap();
        assert_eq!(log.write_all(&[2; 100_000]).unwrap_err().kind(), ErrorKind::StorageFull);
        let [page, _, free] = space(&data).unwrap();
        let taken = fs::metadata(&file).unwrap().len();
        assert!(free == 0 && taken > 4_000 && taken % page == 0, "{taken} bytes");
        disk.make_room().unwrap();
        log.write_all(&[3; 100_000]).unwrap();
        disk.put_back().unwrap();
        let all = fs::read(&file).unwrap();
        assert_eq!((all.len() as u64, all[0], all.last()), (taken + 100_000, 1, Some(&3)));
        assert_eq!(fs::read_dir(home.path()).unwrap().count(), 1);
    }
}
