//! A clock that stands still: what a program asks for the time of day gets one answer for as long as it runs. Its timers go on, as
//! they do on a machine whose clock of the day has stopped.

use anyhow::{Context as _, ensure};
use std::ffi::OsString;
use std::path::PathBuf;
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// Where libfaketime is, below a directory for each architecture.
const LIBRARIES: &str = "/usr/lib";
const OWN: &str = "faketime/libfaketime.so.1";

/// The command before a program's own that stops its clock at the present second.
pub fn standing_still() -> anyhow::Result<Vec<OsString>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let words = at(now)?;
    let said =
        Command::new(&words[0]).args(&words[1..]).args(["sh", "-c", "sleep 1.1; date +%s"]).output()?;
    let said = String::from_utf8_lossy(&said.stdout).trim().to_owned();
    ensure!(said == now.to_string(), "a clock that was stopped at {now} shows {said}");
    Ok(words)
}

fn at(second: u64) -> anyhow::Result<Vec<OsString>> {
    let mut preload = OsString::from("LD_PRELOAD=");
    preload.push(library().context("libfaketime is missing: `make deps` installs it")?);
    let settings =
        ["FAKETIME_FMT=%s".into(), format!("FAKETIME={second}"), "FAKETIME_DONT_FAKE_MONOTONIC=1".into()];
    Ok([OsString::from("env"), preload].into_iter().chain(settings.map(OsString::from)).collect())
}

fn library() -> Option<PathBuf> {
    let all = std::fs::read_dir(LIBRARIES).ok()?.filter_map(Result::ok);
    all.map(|architecture| architecture.path().join(OWN)).find(|library| library.is_file())
}
