//! The hub's command line.

use clap::{Parser, Subcommand};
use palisade_hub::backup;
use palisade_hub::daemon::command_line;
use palisade_hub::daemon::exit::{self, Failure, Format};
use palisade_hub::daemon::{log, shutdown};
use palisade_hub::governance::{self, Governance};
use palisade_hub::init::Init;
use palisade_hub::run;
use std::path::PathBuf;
use std::process::ExitCode;

/// The ledger of Palisade: who stakes what, which blocks are final.
#[derive(Parser)]
#[command(name = "palisade-hub", version)]
struct Cli {
    /// Print results as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a hub: its key, its genesis document, its configuration.
    Init(Init),
    /// Run the hub.
    Run {
        /// Configuration file.
        #[arg(long, default_value = "hub.toml")]
        config: PathBuf,
    },
    /// Copy everything that the hub needs but the password of its key, while it runs.
    Backup {
        /// Configuration file of the hub.
        #[arg(long, default_value = "hub.toml")]
        config: PathBuf,
        /// Directory for the copy: a new one, or an empty one.
        #[arg(long)]
        to: PathBuf,
    },
    /// Make, sign and submit decisions of governance.
    Governance {
        #[command(subcommand)]
        command: Governance,
    },
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
        Command::Run { config } => {
            log::init().map_err(Failure::failed)?;
            let ended = shutdown::run(|shutdown| async move { run::run(&config, shutdown).await });
            Ok(ended.map_err(Failure::failed)??)
        }
        Command::Backup { config, to } => Format::from_flag(cli.json).print(&backup::run(&config, &to)?),
        Command::Governance { command } => {
            let done = shutdown::run(|_| governance::run(command)).map_err(Failure::failed)??;
            Format::from_flag(cli.json).print(&done)?;
            done.check()
        }
    }
}
