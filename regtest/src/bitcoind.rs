//! Which bitcoind to run. The rules are those of `bitcoind/provision.sh`, which is asked; it builds nothing here.

use std::path::PathBuf;
use std::process::Command;
use std::sync::OnceLock;

const PROVISION: &str = include_str!("../bitcoind/provision.sh");

/// There is no bitcoind that could be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct NoBitcoind {
    reason: String,
}

/// Path of a bitcoind of version 30.0 or later: `$BITCOIND`, else the one on PATH, else the one that `make build`
/// has built. Found once per process.
pub fn bitcoind_path() -> Result<PathBuf, NoBitcoind> {
    static FOUND: OnceLock<Result<PathBuf, NoBitcoind>> = OnceLock::new();
    FOUND.get_or_init(find).clone()
}

fn find() -> Result<PathBuf, NoBitcoind> {
    let answer = Command::new("bash")
        .args(["-c", PROVISION, "provision.sh", "--find"])
        .output()
        .map_err(|e| NoBitcoind { reason: format!("bash is needed to look for bitcoind: {e}") })?;
    if answer.status.success() {
        Ok(PathBuf::from(String::from_utf8_lossy(&answer.stdout).trim_end()))
    } else {
        Err(NoBitcoind { reason: String::from_utf8_lossy(&answer.stderr).trim().to_owned() })
    }
}
