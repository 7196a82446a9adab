//! `strace`, by which calls are counted, held, made to fail, or be the last.
//!
//! The tracer is the grandchild (`-D`): the process that the harness started is the daemon itself, and the tracer ends with it.
//! An injected signal needs a tracer without `--seccomp-bpf`: with it strace 6.1 does not deliver the signal, and says nothing.

use super::points::CALLS;
use crate::process::binary;
use anyhow::{Context as _, ensure};
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::path::Path;
use std::process::Command;

/// How long a call is held after it was made: until the harness has seen it and killed the process.
const HELD_US: u32 = 30_000_000;

/// What happens at a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Injection {
    /// The process is killed before the call is made.
    KillBefore,
    /// The call is made, and its thread does not go on.
    Hold,
    /// The call is not made and gives this error; so do all that follow, if it lasts.
    Fail {
        /// ENOSPC, EIO.
        errno: &'static str,
        /// Whether it lasts.
        lasting: bool,
    },
    /// The process is stopped as by a clock that stands still (SIGSTOP).
    Stop,
}

impl Injection {
    /// The words by which strace says in its log that it has happened.
    pub fn mark(self) -> &'static str {
        match self {
            Self::KillBefore => "+++ killed by SIGKILL +++",
            Self::Hold => "(DELAYED)",
            Self::Fail { .. } => "(INJECTED)",
            Self::Stop => "--- SIGSTOP {",
        }
    }

    fn expression(self, call: &str, nth: u32) -> String {
        match self {
            Self::KillBefore => format!("inject={call}:signal=SIGKILL:when={nth}"),
            Self::Hold => format!("inject={call}:delay_exit={HELD_US}:when={nth}"),
            Self::Fail { errno, lasting } => {
                let more = if lasting { "+" } else { "" };
                format!("inject={call}:error={errno}:when={nth}{more}")
            }
            Self::Stop => format!("inject={call}:signal=SIGSTOP:when={nth}"),
        }
    }
}

/// The command before a program's own that counts its calls.
pub fn counting(log: &Path) -> Vec<OsString> {
    let mut words = command(log);
    words.insert(1, "--seccomp-bpf".into());
    words
}

/// The command before a program's own that injects something at the nth call that one of its threads makes.
pub fn injecting(log: &Path, call: &str, nth: u32, what: Injection) -> Vec<OsString> {
    let mut words = command(log);
    words.extend(["-e".into(), what.expression(call, nth).into()]);
    words
}

fn command(log: &Path) -> Vec<OsString> {
    let trace = format!("trace={}", CALLS.join(","));
    let flags = ["strace", "-D", "-f", "-y", "-s", "0", "-e", &trace, "-o"];
    flags.iter().map(OsString::from).chain([log.as_os_str().to_owned()]).collect()
}

/// Fails where processes may not be traced: then there is nothing that this harness could show.
pub fn check() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let log = dir.path().join("log");
    let words = injecting(&log, "write", 1, Injection::KillBefore);
    let tried = Command::new(&words[0]).args(&words[1..]).args(["sh", "-c", "echo not killed"]).output();
    let tried = tried.context("strace cannot be run: `make deps` installs it")?;
    let said = String::from_utf8_lossy(&tried.stderr);
    let killed = std::os::unix::process::ExitStatusExt::signal(&tried.status) == Some(9);
    ensure!(
        killed,
        "strace cannot trace and kill a process here, so faults cannot be injected; allow ptrace (kernel.yama.ptrace_scope \
         below 2; in a container the capability SYS_PTRACE): {}",
        said.trim()
    );
    sees_files(&log)
}

/// Fails where a tracer is not shown which files our programs write: they hide them from other programs of their user.
fn sees_files(log: &Path) -> anyhow::Result<()> {
    let words = counting(log);
    Command::new(&words[0]).args(&words[1..]).arg(binary("palisade-hub")?).arg("--version").output()?;
    let seen = std::fs::read_to_string(log)?.lines().any(|line| line.contains("write(1<"));
    ensure!(
        seen,
        "strace is not shown the files of our programs, so no write can be torn: be root, have the capability SYS_PTRACE, or run \
         this in a user namespace (`unshare --map-root-user`)"
    );
    Ok(())
}

/// A line of strace's log that begins a call: the thread, the call, and what follows its bracket.
pub fn begun(line: &str) -> Option<(&str, &str, &str)> {
    let (thread, rest) = line.split_once(' ')?;
    let (call, rest) = rest.trim_start().split_once('(')?;
    CALLS.contains(&call).then_some((thread, call, rest))
}

/// How often the busiest thread made each call: an injection at the nth call comes in the first thread that makes n of them.
pub fn count(log: &Path) -> anyhow::Result<BTreeMap<String, (u32, u32)>> {
    let text = std::fs::read_to_string(log).with_context(|| log.display().to_string())?;
    let mut threads: BTreeMap<(&str, &str), u32> = BTreeMap::new();
    for (thread, call, _) in text.lines().filter_map(begun) {
        *threads.entry((call, thread)).or_default() += 1;
    }
    let mut counts: BTreeMap<String, (u32, u32)> = BTreeMap::new();
    for ((call, _), count) in threads {
        let (all, most) = counts.entry(call.to_owned()).or_default();
        (*all, *most) = (*all + count, count.max(*most));
    }
    Ok(counts)
}
