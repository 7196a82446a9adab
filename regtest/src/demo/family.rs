//! What `up` started, found again after its process is gone.
//!
//! The process that keeps the network up begins a process group of its own, named by its number, and all that it starts stay in
//! it, also when it is killed. They have its environment, too: so a number that is somebody else's by now is not taken for ours.

use anyhow::ensure;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// How long they may take to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Processes that were started for the network in a directory.
#[derive(Debug)]
pub struct Family {
    dir: PathBuf,
    head: u32,
}

impl Family {
    /// That of the process with this number.
    pub fn new(dir: &Path, head: u32) -> Self {
        Self { dir: dir.to_owned(), head }
    }

    /// The process that keeps the network up, if it runs.
    pub fn head(&self) -> Option<u32> {
        let line = std::fs::read_to_string(format!("/proc/{}/cmdline", self.head)).ok()?;
        line.contains("keep-up").then_some(self.head).filter(|head| self.is_ours(*head))
    }

    /// All that run.
    pub fn members(&self) -> anyhow::Result<Vec<u32>> {
        let mut found = Vec::new();
        for entry in std::fs::read_dir("/proc")? {
            let number = entry?.file_name().to_str().and_then(|name| name.parse().ok());
            found.extend(number.filter(|number| group(*number) == Some(self.head) && self.is_ours(*number)));
        }
        Ok(found)
    }

    /// Whether a process was started with this network's directory in its environment.
    fn is_ours(&self, process: u32) -> bool {
        // A process can end while it is looked at, and of somebody else's nothing is told.
        let environment = std::fs::read(format!("/proc/{process}/environ")).unwrap_or_default();
        let wanted = [b"DEMO_DIR=", self.dir.as_os_str().as_bytes()].concat();
        environment.split(|byte| *byte == 0).any(|variable| variable == wanted)
    }

    /// Asks the process that keeps the network up to stop all of it, or where that is gone those that are left, and waits until
    /// none runs.
    pub async fn stop(&self) -> anyhow::Result<()> {
        let began = Instant::now();
        let asked = self.head().map_or_else(|| self.members(), |head| Ok(vec![head]))?;
        signal("-TERM", &asked).await?;
        let mut left = self.members()?;
        while !left.is_empty() {
            ensure!(began.elapsed() < PATIENCE, "these processes do not stop: {left:?}");
            tokio::time::sleep(Duration::from_millis(100)).await;
            if self.head().is_none() {
                // What it could not stop any more.
                let orphans: Vec<u32> = left.into_iter().filter(|process| !asked.contains(process)).collect();
                signal("-TERM", &orphans).await?;
            }
            left = self.members()?;
        }
        Ok(())
    }
}

/// Sends a signal to processes, some of which may have ended.
async fn signal(name: &str, processes: &[u32]) -> anyhow::Result<()> {
    if processes.is_empty() {
        return Ok(());
    }
    let mut kill = tokio::process::Command::from(Command::new("kill"));
    kill.arg(name).args(processes.iter().map(u32::to_string));
    kill.stderr(Stdio::null()).status().await?;
    Ok(())
}

/// The group of a process.
fn group(process: u32) -> Option<u32> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // Its name stands in brackets and may hold anything; then come its state, its parent and its group.
    stat.rsplit_once(')')?.1.split_whitespace().nth(2)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::wait_for;
    use std::os::unix::process::CommandExt as _;
    use std::process::Child;

    /// A process in a group of its own that starts another, as `keep-up` does.
    fn start(dir: &Path) -> Child {
        let mut shell = Command::new("sh");
        shell.args(["-c", "sleep 600 & wait"]).env("DEMO_DIR", dir).process_group(0).spawn().unwrap()
    }

    #[tokio::test]
    async fn those_whose_parent_was_killed_are_found_and_stopped_and_nobody_elses() {
        let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let mut head = start(dir.path());
        let family = Family::new(dir.path(), head.id());
        let both = || Ok(family.members()?.len() == 2);
        wait_for("the other runs", both, || Ok(())).await.unwrap();
        head.kill().unwrap();
        head.wait().unwrap();
        assert_eq!(family.members().unwrap().len(), 1, "it outlives its parent");
        assert!(Family::new(other.path(), head.id()).members().unwrap().is_empty(), "another directory");
        assert!(Family::new(dir.path(), std::process::id()).members().unwrap().is_empty(), "another group");
        family.stop().await.unwrap();
        assert!(family.members().unwrap().is_empty());
    }
}
