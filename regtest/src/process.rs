//! Shipped binaries as child processes: started with a user's flags, watched, and always stopped.

use anyhow::{Context as _, bail, ensure};
use palisade_hub::daemon::health::HealthReport;
use palisade_hub::daemon::serve::STARTING;
use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};

/// How long a daemon may take to come up or a tool to finish.
const PATIENCE: Duration = Duration::from_secs(60);

/// Where the shipped binaries are: beside the program that runs.
pub fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe()?;
    // A test program lives one folder deeper, in `deps`.
    let folders = own.ancestors().skip(1).take(2);
    let found = folders.map(|folder| folder.join(name)).find(|path| path.is_file());
    found.with_context(|| format!("{name} is not built: run `make build`"))
}

/// The same of another build profile.
fn binary_of_profile(profile: &str, name: &str) -> anyhow::Result<PathBuf> {
    let own = binary(name)?;
    let folder = own.parent().and_then(Path::parent).context("a target directory")?;
    let path = folder.join(profile).join(name);
    ensure!(path.is_file(), "{} is not built: run `make build`", path.display());
    Ok(path)
}

/// The profile that this program was not built in.
pub fn other_profile() -> &'static str {
    if cfg!(debug_assertions) { "release" } else { "debug" }
}

/// A daemon that runs. It is killed when this is dropped.
#[derive(Debug)]
pub struct Daemon {
    name: String,
    path: PathBuf,
    args: Vec<OsString>,
    /// Where it starts; where the test does if nothing else was said.
    dir: Option<PathBuf>,
    child: Child,
    log: PathBuf,
}

impl Daemon {
    /// Starts a binary; what it says goes into `log`.
    pub fn start<S: AsRef<OsStr>>(program: &str, args: &[S], log: &Path) -> anyhow::Result<Self> {
        Self::start_at(&binary(program)?, None, program, args, log)
    }

    /// Starts a binary of another build profile, which `make build` has built too.
    pub fn start_of_profile<S: AsRef<OsStr>>(
        profile: &str,
        program: &str,
        args: &[S],
        log: &Path,
    ) -> anyhow::Result<Self> {
        Self::start_at(&binary_of_profile(profile, program)?, None, program, args, log)
    }

    /// Starts a binary in a directory, from which its configuration's paths are meant.
    pub fn start_from<S: AsRef<OsStr>>(
        dir: &Path,
        program: &str,
        args: &[S],
        log: &Path,
    ) -> anyhow::Result<Self> {
        Self::start_at(&binary(program)?, Some(dir), program, args, log)
    }

    fn start_at<S: AsRef<OsStr>>(
        path: &Path,
        dir: Option<&Path>,
        program: &str,
        args: &[S],
        log: &Path,
    ) -> anyhow::Result<Self> {
        let args: Vec<OsString> = args.iter().map(|arg| arg.as_ref().to_owned()).collect();
        let child = spawn(&[], path, &args, dir, log)?;
        let (name, path, log) = (program.to_owned(), path.to_owned(), log.to_owned());
        Ok(Self { name, path, args, dir: dir.map(Path::to_owned), child, log })
    }

    /// Kills it at once (SIGKILL) and waits until it is gone: what it has not written by now is lost.
    pub async fn kill(&mut self) -> anyhow::Result<()> {
        ensure!(self.child.try_wait()?.is_none(), "{} had ended before it was killed", self.name);
        Ok(self.child.kill().await?)
    }

    /// Starts it again as it was started. `address` is where it writes the address it listens on: the old one goes.
    pub fn start_again(&mut self, address: Option<&Path>) -> anyhow::Result<()> {
        self.start_again_under(&[], address)
    }

    /// The same by another command, which is given the daemon's own as its last arguments and must become it: the process that
    /// is watched, killed and asked to stop is the daemon.
    pub fn start_again_under(&mut self, wrapper: &[OsString], address: Option<&Path>) -> anyhow::Result<()> {
        if let Some(stale) = address.filter(|file| file.exists()) {
            std::fs::remove_file(stale)?;
        }
        self.child = spawn(wrapper, &self.path, &self.args, self.dir.as_deref(), &self.log)?;
        Ok(())
    }

    /// Starts it again in a directory, with other arguments.
    pub fn start_in<S: AsRef<OsStr>>(&mut self, dir: &Path, args: &[S]) -> anyhow::Result<()> {
        self.args = args.iter().map(|arg| arg.as_ref().to_owned()).collect();
        self.dir = Some(dir.to_owned());
        self.start_again(None)
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Where it writes what it does.
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Its process id, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.child.id()
    }

    /// Fails if it has ended, with the end of its log.
    pub fn check(&mut self) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            let text = std::fs::read_to_string(&self.log).unwrap_or_default();
            let end: Vec<&str> = text.lines().rev().take(8).collect();
            let end: Vec<&str> = end.into_iter().rev().collect();
            bail!("{} ended with {status}; its log ends:\n{}", self.name, end.join("\n"));
        }
        Ok(())
    }

    /// Waits until it has written the address it listens on and its `/health` speaks of no start any more.
    pub async fn address(&mut self, file: &Path) -> anyhow::Result<String> {
        let address = self.listens(file).await?;
        let started = Instant::now();
        while is_starting(&address).await {
            self.check()?;
            ensure!(started.elapsed() < PATIENCE, "{} does not come to the end of its start", self.name);
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(address)
    }

    /// Waits until it has written the address it listens on: it may still be starting.
    pub async fn listens(&mut self, file: &Path) -> anyhow::Result<String> {
        let mut found = None;
        wait_for(
            &format!("{} listens", self.name),
            || {
                found = std::fs::read_to_string(file).ok().filter(|text| !text.trim().is_empty());
                Ok(found.is_some())
            },
            || self.check(),
        )
        .await?;
        Ok(found.unwrap_or_default().trim().to_owned())
    }

    /// Asks it to stop (SIGTERM) and waits; fails if that takes more than five seconds.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.end().await
    }

    /// The same, and it can be started again.
    pub async fn end(&mut self) -> anyhow::Result<()> {
        let Some(id) = self.child.id() else { return Ok(()) };
        let asked = Command::new("kill").arg("-TERM").arg(id.to_string()).status().await?;
        ensure!(asked.success(), "cannot signal {}", self.name);
        match tokio::time::timeout(Duration::from_secs(5), self.child.wait()).await {
            Ok(ended) => {
                let status = ended?;
                ensure!(status.success(), "{} ended with {status} when asked to stop", self.name);
                Ok(())
            }
            Err(_) => bail!("{} did not stop within five seconds", self.name),
        }
    }
}

/// Whether a process says that it is starting. One that says nothing of itself is not.
async fn is_starting(address: &str) -> bool {
    let http = reqwest::Client::builder().no_proxy().build().unwrap_or_default();
    let Ok(answer) = http.get(format!("http://{address}/health")).send().await else { return false };
    let Ok(report) = answer.json::<HealthReport>().await else { return false };
    report.reasons.iter().any(|reason| reason.starts_with(&format!("{STARTING}: ")))
}

/// A tool that ended without success.
#[derive(Debug, thiserror::Error)]
#[error("{program} failed with {status}: {said}")]
pub struct Failed {
    /// Which.
    pub program: String,
    /// How it ended.
    pub status: ExitStatus,
    /// What it wrote to its standard error.
    pub said: String,
}

fn spawn(
    wrapper: &[OsString],
    path: &Path,
    args: &[OsString],
    dir: Option<&Path>,
    log: &Path,
) -> anyhow::Result<Child> {
    let file = File::options().create(true).append(true).open(log)?;
    let own = [path.as_os_str().to_owned()];
    let mut words = wrapper.iter().chain(&own).chain(args);
    let mut command = Command::new(words.next().context("a program")?);
    command.args(words).stdin(Stdio::null()).stdout(file.try_clone()?).stderr(file).kill_on_drop(true);
    if let Some(dir) = dir {
        command.current_dir(dir);
    }
    command.spawn().with_context(|| format!("cannot start {}", path.display()))
}

/// Polls a condition until it holds; `check` can fail early, for example because a daemon ended.
pub async fn wait_for(
    what: &str,
    mut holds: impl FnMut() -> anyhow::Result<bool>,
    mut check: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let started = Instant::now();
    while !holds()? {
        check()?;
        ensure!(started.elapsed() < PATIENCE, "waited {} s in vain until {what}", PATIENCE.as_secs());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(())
}

/// Runs a tool to its end and gives its standard output; fails with what it said if it does.
pub async fn tool<S: AsRef<OsStr>>(program: &str, args: &[S]) -> anyhow::Result<String> {
    tool_at(&binary(program)?, program, args).await
}

/// The same with a tool of another build profile, which `make build` has built too.
pub async fn tool_of_profile<S: AsRef<OsStr>>(
    profile: &str,
    program: &str,
    args: &[S],
) -> anyhow::Result<String> {
    tool_at(&binary_of_profile(profile, program)?, program, args).await
}

async fn tool_at<S: AsRef<OsStr>>(path: &Path, program: &str, args: &[S]) -> anyhow::Result<String> {
    let output = Command::new(path).args(args).stdin(Stdio::null()).kill_on_drop(true).output();
    let output =
        tokio::time::timeout(PATIENCE, output).await.with_context(|| format!("{program} hangs"))??;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        return Err(Failed { program: program.to_owned(), status: output.status, said }.into());
    }
    Ok(String::from_utf8(output.stdout)?)
}

/// As [`tool`], with a JSON answer.
pub async fn json_tool<S: AsRef<OsStr>>(program: &str, args: &[S]) -> anyhow::Result<serde_json::Value> {
    let text = tool(program, args).await?;
    serde_json::from_str(&text).with_context(|| format!("{program} answered {text:?}"))
}

/// A number that a daemon shows in its metrics, given where it serves. None before it has one.
pub async fn metric(address: &str, name: &str) -> anyhow::Result<Option<u64>> {
    let metrics = reqwest::get(format!("http://{address}/metrics")).await?.text().await?;
    let number = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    Ok(number.map(str::parse).transpose()?)
}

/// The reasons that a daemon gives in `/health`, given where it serves. None while it does not answer.
pub async fn reasons_at(url: &str) -> Option<Vec<String>> {
    let told = reqwest::get(format!("{}/health", url.trim_end_matches('/'))).await.ok()?;
    let told: serde_json::Value = told.json().await.ok()?;
    let words = |reason: &serde_json::Value| reason.as_str().map(str::to_owned);
    told["reasons"].as_array()?.iter().map(words).collect()
}

/// The same, given the file with its address, which it writes anew when it starts again.
pub async fn reasons(address: &Path) -> Option<Vec<String>> {
    let address = std::fs::read_to_string(address).ok()?;
    reasons_at(&format!("http://{}", address.trim())).await
}
