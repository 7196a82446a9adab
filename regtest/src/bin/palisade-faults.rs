//! Kills, failing disks and stopped clocks, at points that seeds draw, in a network of real processes. See
//! docs/operations/faults.md.

use clap::Parser;
use palisade_hub::daemon::exit::{self, Failure, Format};
use palisade_hub::daemon::shutdown::{self, Shutdown};
use palisade_regtest::faults::run;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Disturb a network of real processes at points that seeds draw, and show that nothing is missing afterwards.
#[derive(Parser)]
struct Cli {
    /// How many seeds.
    #[arg(long, default_value_t = 10, value_name = "N")]
    seeds: u64,
    /// The first of them; drawn by default.
    #[arg(long, value_name = "SEED")]
    from: Option<u64>,
    /// One seed again.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
    seed: Option<u64>,
    /// Count the points of each daemon in an undisturbed story instead.
    #[arg(long, conflicts_with_all = ["seeds", "from", "seed"])]
    count: bool,
    /// Where networks run, and where those of failing seeds are kept.
    #[arg(long, default_value = "target/faults", value_name = "DIR")]
    dir: PathBuf,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = shutdown::run(|shutdown| run(cli, shutdown)).map_err(Failure::failed);
    exit::finish(done.and_then(|done| done), Format::Text)
}

fn say(text: &str) {
    // Whether anybody reads it does not decide what was done.
    let _ = writeln!(std::io::stdout(), "{text}");
}

async fn run(cli: Cli, shutdown: Shutdown) -> Result<(), Failure> {
    tokio::select! {
        done = disturb(&cli) => done,
        () = shutdown.requested() => Err(Failure::failed("interrupted: everything that was started is stopped")),
    }
}

async fn disturb(cli: &Cli) -> Result<(), Failure> {
    if cli.count {
        for (part, call, all, most) in run::count(&cli.dir).await? {
            say(&format!("{:<9} {call:<10} {all:>6} {most:>6}", part.kind()));
        }
        return Ok(());
    }
    let points = run::points()?;
    let first = cli.seed.or(cli.from).unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let seeds = if cli.seed.is_some() { 1 } else { cli.seeds };
    let mut failed = Vec::new();
    for seed in (0..seeds).map(|more| first.wrapping_add(more)) {
        let verdict = run::seed(seed, &points, &cli.dir).await?;
        say(&verdict.to_string());
        failed.extend(verdict.result.is_err().then_some(seed));
    }
    if failed.is_empty() { Ok(()) } else { Err(Failure::failed(format!("seeds that failed: {failed:?}"))) }
}
