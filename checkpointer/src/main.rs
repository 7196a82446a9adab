//! The checkpointer's command line.

use clap::{Parser, Subcommand};
use palisade_checkpointer::backup::Backup;
use palisade_checkpointer::{anchor, headers, init, prove, report, verify, watch};
use palisade_hub::daemon::command_line;
use palisade_hub::daemon::exit::{self, Failure, Format};
use palisade_hub::daemon::{log, shutdown};
use std::path::PathBuf;
use std::process::ExitCode;

/// Reports Bitcoin to the hub, anchors the hub in Bitcoin, watches for keys that are out and slashes, verifies proofs.
#[derive(Parser)]
#[command(name = "palisade-checkpointer", version)]
struct Cli {
    /// Print results as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Write a configuration.
    Init(init::Init),
    /// Tell the hub what happens on Bitcoin: headers, inclusions and spends of stakes.
    Report {
        /// Configuration file.
        #[arg(long, default_value = "checkpointer.toml")]
        config: PathBuf,
    },
    /// Slash every stake whose provider's key is out, with or without the hub.
    Watch {
        /// Configuration file.
        #[arg(long, default_value = "checkpointer.toml")]
        config: PathBuf,
        /// A file with an evidence message in hex, for when the hub is gone; can be given several times.
        #[arg(long)]
        evidence: Vec<PathBuf>,
    },
    /// Put the hub's state on Bitcoin, signed by the set of each epoch.
    Anchor {
        /// Configuration file.
        #[arg(long, default_value = "checkpointer.toml")]
        config: PathBuf,
    },
    /// Copy what the three processes need into a directory that they can be started from, also while they run.
    Backup(Backup),
    /// Get the files that prove a chain's block final and anchored: `block.proof`, `bitcoin.headers`, `hub.root`.
    Prove(prove::Prove),
    /// Write fresh Bitcoin headers for a proof, from your own node and without the hub.
    Headers(headers::Headers),
    /// Verify a proof from files alone. Exit code 0 if it holds, 1 if it breaks a rule, which is named; also if its
    /// anchor is only not deep enough in these headers yet, and then it says when it will be.
    Verify(verify::Verify),
}

fn main() -> ExitCode {
    let cli: Cli = match command_line::parse() {
        Ok(cli) => cli,
        Err(code) => return code,
    };
    let format = Format::from_flag(cli.json);
    exit::finish(carry_out(cli), format)
}

fn carry_out(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Init(init) => Format::from_flag(cli.json).print(&init.run()?),
        Command::Report { config } => {
            log::init().map_err(Failure::failed)?;
            let ended = shutdown::run(|shutdown| async move { report::run(&config, shutdown).await });
            Ok(ended.map_err(Failure::failed)??)
        }
        Command::Watch { config, evidence } => {
            log::init().map_err(Failure::failed)?;
            let work = |shutdown| async move { watch::run(&config, &evidence, shutdown).await };
            let ended = shutdown::run(work);
            Ok(ended.map_err(Failure::failed)??)
        }
        Command::Anchor { config } => {
            log::init().map_err(Failure::failed)?;
            let ended = shutdown::run(|shutdown| async move { anchor::run(&config, shutdown).await });
            Ok(ended.map_err(Failure::failed)??)
        }
        Command::Backup(backup) => Format::from_flag(cli.json).print(&backup.run()?),
        Command::Prove(prove) => {
            let made = shutdown::run(|_| async move { prove.run().await });
            Format::from_flag(cli.json).print(&made.map_err(Failure::failed)??)
        }
        Command::Headers(headers) => {
            let written = shutdown::run(|_| async move { headers.run().await });
            Format::from_flag(cli.json).print(&written.map_err(Failure::failed)??)
        }
        Command::Verify(verify) => Format::from_flag(cli.json).print(&verify.run()?),
    }
}
