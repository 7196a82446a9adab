//! `make demo`: the whole story on a real bitcoind.

use palisade_hub::daemon::exit::{self, Failure};
use palisade_hub::daemon::shutdown::{self, Shutdown};
use palisade_regtest::demo::story;
use std::path::PathBuf;
use std::process::ExitCode;

fn main() -> ExitCode {
    let told = shutdown::run(run).map_err(Failure::failed);
    exit::finish(told.and_then(|told| told))
}

async fn run(shutdown: Shutdown) -> Result<(), Failure> {
    let dir = directory()?;
    // Dropping the story on SIGINT drops every process that it started.
    let report = tokio::select! {
        report = story::tell_all(&dir) => report?,
        () = shutdown.requested() => return Err(Failure::failed("interrupted: everything that was started is stopped")),
    };
    println!("report: {}", report.display());
    Ok(())
}

/// `DEMO_DIR`, or a new directory under `target/demo`.
fn directory() -> Result<PathBuf, Failure> {
    let dir = match std::env::var_os("DEMO_DIR") {
        Some(dir) => PathBuf::from(dir),
        None => {
            let now = std::time::SystemTime::now()
                .duration_since(std::time::UNIX_EPOCH)
                .map_err(Failure::failed)?;
            PathBuf::from(format!("target/demo/{}-{}", now.as_secs(), std::process::id()))
        }
    };
    std::fs::create_dir_all(&dir).map_err(Failure::failed)?;
    dir.canonicalize().map_err(Failure::failed)
}
