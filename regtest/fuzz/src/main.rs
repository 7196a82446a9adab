//! `palisade-fuzz`: all targets under libFuzzer for a time, or one input again. See docs/fuzzing.md; `make fuzz` builds what it runs.

use anyhow::{Context as _, ensure};
use clap::Parser;
use palisade_fuzz::runner::{Report, Runner, replay};
use palisade_fuzz::{Target, all, prove};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

/// Hostile bytes for every decoder and every endpoint.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    /// The program that runs one target under libFuzzer.
    #[arg(long, required_unless_present = "replay")]
    program: Option<PathBuf>,
    /// Where inputs and crashes lie.
    #[arg(long, default_value = "target/fuzz")]
    dir: PathBuf,
    /// Time for all targets together, in seconds.
    #[arg(long, default_value_t = 1_800)]
    seconds: u64,
    /// Targets that run at a time.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Only targets whose names begin so.
    #[arg(long, default_value = "")]
    only: String,
    /// Runs the input in this file again, in this build, and nothing else.
    #[arg(long, conflicts_with_all = ["program", "only"])]
    replay: Option<PathBuf>,
}

/// The longest that the target which breaks on purpose is looked at.
const SELF_TEST: Duration = Duration::from_secs(60);

fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    if let Some(file) = &cli.replay {
        let (name, outcome) = replay(file)?;
        println!("{name}: {outcome:?}");
        return Ok(ExitCode::SUCCESS);
    }
    let begins = |target: &Target| target.name.starts_with(&cli.only);
    let targets: Vec<Target> = all().into_iter().filter(begins).collect();
    ensure!(!targets.is_empty(), "no target's name begins with `{}`", cli.only);
    let program = cli.program.clone().context("--program is wanted")?;
    let jobs = cli.jobs.clamp(1, targets.len());
    let turns = u64::try_from(targets.len().div_ceil(jobs))?;
    let each = Duration::from_secs((cli.seconds / turns).max(1));
    let runner = Runner { program, dir: cli.dir, each, jobs };
    finds_what_is_broken(&runner)?;
    let started = Instant::now();
    println!("{:<28} {:>6} {:>12} {:>8} {:>8}", "target", "seeds", "executions", "edges", "corpus");
    let reports = runner.run(&targets, show)?;
    let executions: u64 = reports.iter().map(|report| report.said.executions).sum();
    println!("{executions} executions of {} targets in {} s", reports.len(), started.elapsed().as_secs());
    let broken: Vec<&Report> = reports.iter().filter(|report| report.crash.is_some()).collect();
    for Report { name, crash, .. } in &broken {
        let file = crash.as_deref().unwrap_or(&runner.dir).display();
        println!("{name} BROKE; again: make fuzz REPLAY={file}");
    }
    Ok(if broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn show(Report { name, seeds, said, .. }: &Report) {
    println!("{name:<28} {seeds:>6} {:>12} {:>8} {:>8}", said.executions, said.edges, said.corpus);
}

/// Whoever does not find the crash in the target that is broken on purpose would find no other.
fn finds_what_is_broken(runner: &Runner) -> anyhow::Result<()> {
    let Runner { program, dir, .. } = runner;
    let runner = Runner { program: program.clone(), dir: dir.clone(), each: SELF_TEST, jobs: 1 };
    let reports = runner.run(&[prove::BROKEN], |_| ())?;
    let crash = reports.iter().find_map(|report| report.crash.as_ref());
    let crash = crash.context("a target that breaks on purpose was not found to be broken")?;
    ensure!(std::fs::read(crash)?.starts_with(b"storm"), "{} is not what breaks it", crash.display());
    Ok(std::fs::remove_file(crash)?)
}
