//! Kills, failing disks and stopped clocks, at points that seeds draw, in a network of real processes. See
//! docs/operations/faults.md.

use clap::Parser;
use palisade_hub::daemon::exit::{self, Failure, Format};
use palisade_hub::daemon::shutdown::{self, Shutdown};
use palisade_regtest::faults::disk;
use palisade_regtest::faults::points::{Part, listed};
use palisade_regtest::faults::run::{self, Counted, Verdict};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Disturb a network of real processes at points that seeds draw, and show that nothing is missing afterwards.
#[derive(Parser)]
struct Cli {
    /// How many seeds. One that did not reach all its points does not count.
    #[arg(long, default_value_t = 10, value_name = "N")]
    seeds: usize,
    /// The first of them; drawn by default.
    #[arg(long, value_name = "SEED")]
    from: Option<u64>,
    /// How many at a time.
    #[arg(long, default_value_t = 2, value_name = "N")]
    jobs: usize,
    /// One seed again.
    #[arg(long, conflicts_with_all = ["seeds", "from", "count"])]
    seed: Option<u64>,
    /// Only count the points of each daemon in an undisturbed story.
    #[arg(long, conflicts_with_all = ["seeds", "from"])]
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
    if let Err(why) = disk::check() {
        say(&format!("{why:#}"));
    }
    if let Some(seed) = cli.seed {
        let points = run::points()?;
        say(&listed(&points));
        let verdict = run::seed(seed, &points, &cli.dir).await?;
        say(&verdict.to_string());
        return verdict.result.map(|_| ()).map_err(|_| Failure::failed(format!("seed {seed} failed")));
    }
    count(cli).await?;
    if cli.count {
        return Ok(());
    }
    let first = cli.from.unwrap_or_else(|| u64::from(rand::random::<u32>()));
    say(&format!("seeds from {first} on, {} at a time", cli.jobs));
    let tell = |verdict: &Verdict| say(&verdict.to_string());
    let failed = run::seeds(first, cli.seeds, cli.jobs.max(1), &cli.dir, tell).await?;
    if !failed.is_empty() {
        return Err(Failure::failed(format!("seeds that failed: {failed:?}"))
            .hint("their directories are kept; `palisade-faults --seed SEED` runs one again"));
    }
    say(&format!("{} seeds reached all their points, and nothing was missing afterwards", cli.seeds));
    Ok(())
}

/// Shows how many points each daemon has, before and after which it can be disturbed.
async fn count(cli: &Cli) -> Result<(), Failure> {
    let drawn = run::points()?;
    say("points in an undisturbed story, each before and after the call:");
    say(&format!(
        "{:<9} {:<10} {:>8} {:>15} {:>11}",
        "daemon", "call", "calls", "busiest thread", "drawn up to"
    ));
    let mut old = Vec::new();
    for Counted { part, call, calls, busiest } in run::count(&cli.dir).await? {
        let up_to = drawn.get(part.kind()).and_then(|own| own.get(&call)).copied().unwrap_or_default();
        say(&format!("{:<9} {call:<10} {calls:>8} {busiest:>15} {up_to:>11}", part.kind()));
        // What bitcoind writes of its own accord differs from run to run. Nobody draws from words for people. All else differs by a
        // tenth, and is more on a busy machine, where the story takes longer.
        let is_drawn = call != "write" && part != Part::Bitcoind && busiest >= 5;
        if is_drawn && 4 * up_to < 3 * busiest {
            old.push(format!("{} {call}", part.kind()));
        }
    }
    match old.is_empty() {
        true => Ok(()),
        false => Err(Failure::failed(format!(
            "the table of points is old, a quarter of these calls or more is never drawn: {}",
            old.join(", ")
        ))
        .hint("regtest/src/faults/points.json")),
    }
}
