//! The finality provider's command line.

use clap::{Parser, Subcommand};
use palisade_finality_provider::add_chain::AddChain;
use palisade_finality_provider::backup::Backup;
use palisade_finality_provider::init::Init;
use palisade_finality_provider::register::Register;
use palisade_finality_provider::{signer, status, voter};
use palisade_hub::daemon::command_line;
use palisade_hub::daemon::exit::{self, Failure, Format};
use palisade_hub::daemon::{log, shutdown};
use std::path::PathBuf;
use std::process::ExitCode;

/// Votes on chains' blocks: a voter that decides, and a signer that signs each height once.
#[derive(Parser)]
#[command(name = "palisade-finality-provider", version)]
struct Cli {
    /// Print results as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make keys and configurations.
    Init(Init),
    /// Make a key for another chain, and add the chain to both configurations.
    AddChain(AddChain),
    /// Run the signer.
    Signer {
        /// The signer's configuration.
        #[arg(long, default_value = "signer.toml")]
        config: PathBuf,
    },
    /// Run the voter.
    Run {
        /// The voter's configuration.
        #[arg(long, default_value = "voter.toml")]
        config: PathBuf,
    },
    /// Copy what signer or voter need into a directory that can be started from, also while they run.
    #[command(subcommand)]
    Backup(Backup),
    /// Register a key with the hub. The signer must be running.
    Register(Register),
    /// Ask the running voter how it stands: votes, misses, sets, epochs committed.
    Status {
        /// The voter's configuration.
        #[arg(long, default_value = "voter.toml")]
        config: PathBuf,
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
    let format = Format::from_flag(cli.json);
    match cli.command {
        Command::Init(init) => format.print(&init.run()?),
        Command::AddChain(add) => format.print(&until_stopped(add.run())?),
        Command::Backup(backup) => format.print(&backup.run()?),
        Command::Signer { config } => {
            log::init().map_err(Failure::failed)?;
            let ended = shutdown::run(|shutdown| async move { signer::run::run(&config, shutdown).await });
            Ok(ended.map_err(Failure::failed)??)
        }
        Command::Run { config } => {
            log::init().map_err(Failure::failed)?;
            let ended = shutdown::run(|shutdown| async move { voter::run::run(&config, shutdown).await });
            Ok(ended.map_err(Failure::failed)??)
        }
        Command::Register(register) => format.print(&until_stopped(register.run())?),
        Command::Status { config } => {
            let done = shutdown::run(|_| async move { status::status(&config).await });
            format.print(&done.map_err(Failure::failed)??)
        }
    }
}

/// A command that can be interrupted at once, wherever it waits.
fn until_stopped<T>(work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let done = shutdown::run(|stop| async move {
        tokio::select! {
            done = work => done,
            () = stop.requested() => Err(Failure::not_now("stopped")),
        }
    });
    done.map_err(Failure::failed)?
}
