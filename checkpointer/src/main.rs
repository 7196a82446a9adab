//! The checkpointer's command line.

use clap::{Parser, Subcommand};
use palisade_checkpointer::{init, report};
use palisade_hub::daemon::exit::{self, Failure, Format};
use palisade_hub::daemon::{log, shutdown};
use std::path::PathBuf;
use std::process::ExitCode;

/// Reports Bitcoin to the hub.
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
}

fn main() -> ExitCode {
    exit::finish(carry_out(Cli::parse()))
}

fn carry_out(cli: Cli) -> Result<(), Failure> {
    match cli.command {
        Command::Init(init) => Format::from_flag(cli.json).print(&init.run()?),
        Command::Report { config } => {
            log::init().map_err(Failure::failed)?;
            let ended = shutdown::run(|shutdown| async move { report::run(&config, shutdown).await });
            Ok(ended.map_err(Failure::failed)??)
        }
    }
}
