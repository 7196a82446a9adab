//! The directory that a run is given: nothing in it is replaced or removed that we did not make.

use anyhow::{Context as _, ensure};
use std::fs;
use std::path::Path;

/// Name of the file by which we know a directory that `up` made; only `up` writes it.
const MARK: &str = "made-by-make-up";
/// What it says.
const MARKED: &str =
    "`make up` made everything here. The next `make up` here removes it, `make down` leaves it.\n";

/// Refuses a directory that holds anything.
pub fn must_be_empty(dir: &Path) -> anyhow::Result<()> {
    ensure!(
        is_empty(dir)?,
        "{} is not empty, and nothing in it was touched: name a new or empty directory",
        dir.display()
    );
    Ok(())
}

/// Removes what an earlier network left, from a directory that has our mark, and nothing from any other. The directory has the
/// mark then.
pub fn begin_anew(dir: &Path) -> anyhow::Result<()> {
    let mark = dir.join(MARK);
    let marked = fs::read_to_string(&mark).is_ok_and(|text| text == MARKED);
    ensure!(
        marked || is_empty(dir)?,
        "{} is not empty and `make up` did not make what is in it; nothing was removed: name a new or empty directory with DEMO_DIR=DIR",
        dir.display()
    );
    // First: what we leave half removed must still be ours.
    fs::write(&mark, MARKED).with_context(|| format!("cannot write {}", mark.display()))?;
    for entry in fs::read_dir(dir)? {
        let path = entry?.path();
        if path == mark {
            continue;
        }
        // A link goes, what it leads to stays.
        let gone = if path.symlink_metadata()?.is_dir() {
            fs::remove_dir_all(&path)
        } else {
            fs::remove_file(&path)
        };
        gone.with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}

fn is_empty(dir: &Path) -> anyhow::Result<bool> {
    let mut entries = fs::read_dir(dir).with_context(|| format!("cannot read {}", dir.display()))?;
    Ok(entries.next().is_none())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_directory_of_somebody_elses_keeps_everything_whatever_its_files_are_called() {
        for name in ["pid", "up.log", "ready", MARK] {
            let dir = tempfile::tempdir().unwrap();
            fs::write(dir.path().join(name), "mine").unwrap();
            let why = begin_anew(dir.path()).unwrap_err().to_string();
            assert!(
                why.contains("nothing was removed") && why.contains("name a new or empty directory"),
                "{why}"
            );
            assert!(must_be_empty(dir.path()).is_err());
            assert_eq!(fs::read_to_string(dir.path().join(name)).unwrap(), "mine");
            assert_eq!(names(dir.path()), [name]);
        }
    }

    #[test]
    fn a_directory_of_ours_is_emptied_and_links_lead_nowhere() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        must_be_empty(dir.path()).unwrap();
        begin_anew(dir.path()).unwrap();
        fs::create_dir_all(dir.path().join("bitcoin/regtest")).unwrap();
        fs::write(dir.path().join("pid"), "1").unwrap();
        fs::write(other.path().join("kept"), "").unwrap();
        std::os::unix::fs::symlink(other.path(), dir.path().join("link")).unwrap();
        begin_anew(dir.path()).unwrap();
        assert_eq!(
            (names(dir.path()), names(other.path())),
            (vec![MARK.to_owned()], vec!["kept".to_owned()])
        );
    }
}
