//! `make load`: a hub under a flood of invalid messages. See docs/operations/load.md.

use anyhow::Context as _;
use clap::{Parser, Subcommand};
use palisade_hub::daemon::exit::{self, Failure, Format};
use palisade_hub::daemon::shutdown::{self, Shutdown};
use palisade_regtest::load::figures::Times;
use palisade_regtest::load::flood::{self, Orders};
use palisade_regtest::load::plan::Plan;
use palisade_regtest::load::run::{self, Bounds, Options, Outcome};
use palisade_regtest::load::storm;
use palisade_world::World;
use serde::Serialize;
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// Flood a hub with messages of which only the signature is wrong, and measure what honest parties wait for.
#[derive(Parser)]
struct Cli {
    /// Print what was measured as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measure a hub without and with a flood.
    Run {
        /// How long each of both is measured.
        #[arg(long, default_value_t = 60, value_name = "SECONDS", value_parser = clap::value_parser!(u64).range(1..=500))]
        seconds: u64,
        /// Messages a second.
        #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u32).range(1..))]
        rate: u32,
        /// Connections that they come over.
        #[arg(long, default_value_t = 256, value_parser = clap::value_parser!(u16).range(1..=4_096))]
        connections: u16,
        /// Messages that are dear to judge, at a tenth of the rate: certificates, proofs of possession, answers, evidence, headers.
        #[arg(long)]
        dear: bool,
        /// Least part of the messages that were due which must have been sent.
        #[arg(long, default_value_t = Bounds::default().sent_percent, value_name = "PERCENT", value_parser = clap::value_parser!(u32).range(1..=100))]
        sent: u32,
        /// Most times as long that a block may take to be final as without the flood, of nineteen blocks of twenty.
        #[arg(long, default_value_t = Bounds::default().times_as_long, value_name = "TIMES", value_parser = clap::value_parser!(u32).range(1..))]
        longer: u32,
        /// The same of a vote, until it counts. Not looked at by default.
        #[arg(long, value_name = "TIMES", value_parser = clap::value_parser!(u32).range(1..))]
        votes_longer: Option<u32>,
    },
    /// Many stakes come to Bitcoin in one block.
    Storm {
        /// How many.
        #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u16).range(1..=2_000))]
        stakes: u16,
    },
    /// What `run` starts in a process of its own: send a plan's messages.
    #[command(hide = true)]
    Flood {
        #[arg(long)]
        address: String,
        #[arg(long)]
        plan: PathBuf,
        #[arg(long)]
        rate: u32,
        #[arg(long)]
        connections: usize,
        #[arg(long)]
        ms: u64,
    },
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let format = Format::from_flag(cli.json);
    let done = match cli.command {
        Command::Flood { address, plan, rate, connections, ms } => {
            let orders = Orders { address, rate, connections, time: Duration::from_millis(ms) };
            send(orders, &plan).map_err(Failure::from)
        }
        Command::Storm { stakes } => shutdown::run(|shutdown| storm(stakes.into(), cli.json, shutdown))
            .map_err(Failure::failed)
            .and_then(|done| done),
        Command::Run { seconds, rate, connections, dear, sent, longer, votes_longer } => {
            let time = Duration::from_secs(seconds);
            let (plan, rate): (fn(&mut World) -> Plan, u32) =
                if dear { (Plan::dear, rate.div_ceil(10)) } else { (Plan::signatures, rate) };
            let bounds =
                Bounds { sent_percent: sent, times_as_long: longer, votes_times_as_long: votes_longer };
            let options = Options { time, rate, connections: connections.into(), plan, bounds };
            shutdown::run(|shutdown| measure(options, cli.json, shutdown))
                .map_err(Failure::failed)
                .and_then(|done| done)
        }
    };
    exit::finish(done, format)
}

/// One thread: the hub has the other core.
fn send(orders: Orders, plan: &std::path::Path) -> anyhow::Result<()> {
    let plan: Plan = serde_json::from_slice(&std::fs::read(plan)?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let sent = runtime.block_on(flood::flood(orders, plan))?;
    serde_json::to_writer(std::io::stdout(), &sent).context("standard output")
}

async fn measure(options: Options, json: bool, shutdown: Shutdown) -> Result<(), Failure> {
    let outcome = tokio::select! {
        outcome = run::run(&options) => outcome?,
        () = shutdown.requested() => return Err(Failure::failed("interrupted: everything that was started is stopped")),
    };
    show(&outcome, || table(&options, &outcome), &outcome.failures, json)
}

async fn storm(stakes: usize, json: bool, shutdown: Shutdown) -> Result<(), Failure> {
    let weathered = tokio::select! {
        weathered = storm::weather(stakes) => weathered?,
        () = shutdown.requested() => return Err(Failure::failed("interrupted: everything that was started is stopped")),
    };
    show(&weathered, || weathered.to_string(), &weathered.failures, json)
}

/// Prints what was measured, and fails with what must not be.
fn show(
    measured: &impl Serialize,
    words: impl FnOnce() -> String,
    failures: &[String],
    json: bool,
) -> Result<(), Failure> {
    let text = if json { serde_json::to_string(measured).map_err(Failure::failed)? } else { words() };
    // Whether anybody reads it does not decide what was found.
    let _ = writeln!(std::io::stdout(), "{text}");
    if failures.is_empty() { Ok(()) } else { Err(Failure::failed(failures.join("\n"))) }
}

fn table(options: &Options, outcome: &Outcome) -> String {
    let Outcome { quiet, flooded, sent, replayed, .. } = outcome;
    let mut text = format!(
        "{} s quiet, then {} s with {} messages a second: {:.0} written and {:.0} answered a second, {} cut off\n",
        options.time.as_secs_f64(),
        options.time.as_secs_f64(),
        options.rate,
        sent.written_each_second(),
        sent.answered_each_second(),
        sent.cut
    );
    for (rule, count) in &sent.answers {
        text.push_str(&format!("  answered {rule}: {count}\n"));
    }
    text.push_str(&format!(
        "\n{:<36}{:>26}{:>30}{:>20}\n",
        "ms: p50 / p95 / max", "quiet", "flooded", "times as long"
    ));
    let rows = [
        ("vote, until it counts", quiet.waits.votes, flooded.waits.votes),
        ("block, until it is final", quiet.waits.certificates, flooded.waits.certificates),
        ("registration, until it is in a block", quiet.waits.registrations, flooded.waits.registrations),
        ("time between blocks", quiet.waits.blocks, flooded.waits.blocks),
    ];
    for (what, quiet, flooded) in rows {
        let [p50, p95, max] = flooded.over(&quiet);
        text.push_str(&format!(
            "{what:<36}{:>26}{:>30}{p50:>8.1}{p95:>6.1}{max:>6.1}\n",
            times(quiet),
            times(flooded)
        ));
    }
    let (before, after) = (quiet.memory.peak, flooded.memory.peak);
    let ratio = after as f64 / before as f64;
    text.push_str(&format!(
        "{:<36}{before:>23} kB{after:>27} kB{ratio:>8.2}\n\n{replayed}",
        "peak memory of the hub"
    ));
    text
}

fn times(times: Times) -> String {
    format!("{:.1} / {:.1} / {:.1} ({})", times.p50, times.p95, times.max, times.count)
}
