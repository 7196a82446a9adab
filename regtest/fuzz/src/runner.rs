//! Runs targets under libFuzzer, some at a time, and says what each did.

mod log;

use crate::{Outcome, Target, prove};
use anyhow::{Context as _, bail, ensure};
use log::Said;
use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tempfile::TempDir;

/// Memory that a target may use, its own world included.
const MEMORY_MB: usize = 1_024;
/// Time that one input may take: a key file may ask for seconds of Argon2 on a machine that is not busy.
const INPUT_TIME_S: u64 = 60;

/// How to run.
#[derive(Debug)]
pub struct Runner {
    /// The program that runs one target under libFuzzer.
    pub program: PathBuf,
    /// Where seeds, what was found, and crashes lie.
    pub dir: PathBuf,
    /// The time for each target.
    pub each: Duration,
    /// Targets at a time.
    pub jobs: usize,
}

/// What a target did.
#[derive(Debug)]
pub struct Report {
    /// The target.
    pub name: &'static str,
    /// Seeds, all of which were accepted.
    pub seeds: usize,
    /// What libFuzzer said.
    pub said: Said,
    /// The input that broke it, if one did.
    pub crash: Option<PathBuf>,
}

impl Runner {
    /// Runs all of these. Stops with the first that breaks.
    pub fn run(&self, targets: &[Target], tell: impl Fn(&Report) + Sync) -> anyhow::Result<Vec<Report>> {
        let waiting = Mutex::new(targets.iter().collect::<VecDeque<_>>());
        let reports = Mutex::new(Vec::new());
        let next = || waiting.lock().unwrap_or_else(PoisonError::into_inner).pop_front();
        let work = || -> anyhow::Result<()> {
            while let Some(target) = next() {
                let report = self.run_one(target).with_context(|| target.name)?;
                tell(&report);
                if report.crash.is_some() {
                    waiting.lock().unwrap_or_else(PoisonError::into_inner).clear();
                }
                reports.lock().unwrap_or_else(PoisonError::into_inner).push(report);
            }
            Ok(())
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..self.jobs).map(|_| scope.spawn(work)).collect();
            workers.into_iter().try_for_each(|worker| worker.join().expect("a worker does not panic"))
        })?;
        Ok(reports.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    fn run_one(&self, target: &Target) -> anyhow::Result<Report> {
        let corpus = prove::corpus(target)?;
        let dir = self.dir.join(target.name);
        let (seeds, found) = (dir.join("seeds"), dir.join("found"));
        clear(&seeds)?;
        fs::create_dir_all(&found)?;
        for (number, seed) in corpus.iter().enumerate() {
            fs::write(seeds.join(number.to_string()), seed)?;
        }
        let longest = corpus.iter().map(Vec::len).max().unwrap_or(0);
        let text = self.fuzz(target, &dir, &[&found, &seeds], longest)?;
        let said = Said::read(&text);
        let crash = said.artifact.clone();
        ensure!(crash.is_some() || said.ended, "libFuzzer ended early, see {}", dir.join("log").display());
        Ok(Report { name: target.name, seeds: corpus.len(), said, crash })
    }

    /// Gives what libFuzzer says.
    fn fuzz(&self, target: &Target, dir: &Path, corpora: &[&Path], longest: usize) -> anyhow::Result<String> {
        let log = dir.join("log");
        let output = fs::File::create(&log)?;
        // libFuzzer ends without clearing anything away: this does.
        let temporary = temporary()?;
        let status = Command::new(&self.program)
            .env("PALISADE_FUZZ_TARGET", target.name)
            .env("PALISADE_FUZZ_SEEDS", dir.join("seeds"))
            .env("TMPDIR", temporary.path())
            .arg(format!("-max_total_time={}", self.each.as_secs().max(1)))
            .arg(format!("-max_len={}", (2 * longest).max(4_096)))
            .arg(format!("-rss_limit_mb={MEMORY_MB}"))
            .arg(format!("-timeout={INPUT_TIME_S}"))
            .arg(format!("-artifact_prefix={}/", dir.display()))
            .args(["-print_final_stats=1", "-reload=0", "-close_fd_mask=1"])
            .args(corpora)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(output)
            .status()
            .with_context(|| format!("{} does not start", self.program.display()))?;
        let text = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
        if !status.success() && Said::read(&text).artifact.is_none() {
            bail!("{status}, and no input is blamed: see {}", log.display());
        }
        Ok(text)
    }
}

/// A place for a target's files: in memory where the system has one, for none is worth a disk's time.
fn temporary() -> std::io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }
}

fn clear(dir: &Path) -> anyhow::Result<()> {
    if dir.exists() {
        fs::remove_dir_all(dir)?;
    }
    Ok(fs::create_dir_all(dir)?)
}

/// Runs the input in a file again; the directory that holds it names the target.
pub fn replay(file: &Path) -> anyhow::Result<(&'static str, Outcome)> {
    let file = file.canonicalize().with_context(|| file.display().to_string())?;
    let names = file.ancestors().filter_map(|path| path.file_name()?.to_str());
    let target = names.skip(1).find_map(crate::find);
    let target =
        target.with_context(|| format!("no directory above {} is named as a target", file.display()))?;
    Ok((target.name, (target.run)(&fs::read(&file)?)))
}
