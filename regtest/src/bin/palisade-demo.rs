//! `make demo`: the whole story on a real bitcoind. `make up`, `make down`: the network left running.

use clap::{Parser, Subcommand};
use palisade_hub::daemon::exit::{self, Failure, Format};
use palisade_hub::daemon::shutdown::{self, Shutdown};
use palisade_regtest::demo::{report, story, up};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Palisade on a real regtest bitcoind. `DEMO_DIR` says where; without it, below `target`.
#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Subcommand)]
enum Command {
    /// Start the network and leave it running.
    Up,
    /// Stop what `up` started.
    Down,
    /// Replay the log of a report with this build.
    Replay {
        /// The report.
        report: PathBuf,
    },
    /// What `up` runs in the background.
    #[command(hide = true)]
    KeepUp,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = shutdown::run(|shutdown| run(cli, shutdown)).map_err(Failure::failed);
    exit::finish(done.and_then(|done| done), Format::Text)
}

async fn run(cli: Cli, shutdown: Shutdown) -> Result<(), Failure> {
    match cli.command {
        None => demo(&directory("demo", true)?, shutdown).await,
        Some(Command::Up) => say(&up::up(&directory("up", false)?, shutdown).await?),
        Some(Command::Down) => say(&up::down(&directory("up", false)?).await?),
        Some(Command::Replay { report }) => say(&report::replay(&report)?),
        Some(Command::KeepUp) => Ok(up::keep_up(&directory("up", false)?, shutdown).await?),
    }
}

fn say(text: &str) -> Result<(), Failure> {
    // Whether anybody reads it does not decide what was done.
    let _ = writeln!(std::io::stdout(), "{text}");
    Ok(())
}

async fn demo(dir: &Path, shutdown: Shutdown) -> Result<(), Failure> {
    // Dropping the story on SIGINT drops every process that it started.
    let report = tokio::select! {
        report = story::tell_all(dir) => report?,
        () = shutdown.requested() => return Err(Failure::failed("interrupted: everything that was started is stopped")),
    };
    say(&format!("check it with: make report REPORT='{0}'\nreport: {0}", report.display()))
}

/// `DEMO_DIR`, or a directory under `target`, for the demo a new one.
fn directory(name: &str, new: bool) -> Result<PathBuf, Failure> {
    let dir = match std::env::var_os("DEMO_DIR") {
        Some(dir) => PathBuf::from(dir),
        None if new => {
            let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
            PathBuf::from(format!(
                "target/{name}/{}-{}",
                now.map_err(Failure::failed)?.as_secs(),
                std::process::id()
            ))
        }
        None => PathBuf::from("target").join(name),
    };
    std::fs::create_dir_all(&dir).map_err(Failure::failed)?;
    dir.canonicalize().map_err(Failure::failed)
}
