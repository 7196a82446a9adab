//! The covenant member's command line.

use bitcoin::Amount;
use clap::{Parser, Subcommand};
use palisade_covenant::audit::{Audit, Entry};
use palisade_covenant::backup::Backup;
use palisade_covenant::config::Config;
use palisade_covenant::init::Init;
use palisade_covenant::run;
use palisade_hub::daemon::command_line;
use palisade_hub::daemon::config as files;
use palisade_hub::daemon::exit::{self, Failure, Format};
use palisade_hub::daemon::{log, shutdown};
use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;

/// A member of the committee that co-signs early exits and slashings.
#[derive(Parser)]
#[command(name = "palisade-covenant", version)]
struct Cli {
    /// Print results as JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make a member: its key and its configuration.
    Init(Init),
    /// Judge and sign.
    Run {
        /// Configuration file.
        #[arg(long, default_value = "covenant.toml")]
        config: PathBuf,
        /// The files are a restored backup: answers of this key that the hub's log holds and the audit log lacks are written into
        /// it, and count for the limits of now. Say so once, and only then: else these answers mean that somebody else has the key.
        #[arg(long)]
        restored: bool,
    },
    /// Copy key, audit log and configuration into a directory that can be started from, also while the member runs.
    Backup(Backup),
    /// Check the audit log and print it.
    Audit {
        /// Configuration file.
        #[arg(long, default_value = "covenant.toml")]
        config: PathBuf,
    },
}

#[derive(serde::Serialize)]
struct Log(Vec<Entry>);

impl fmt::Display for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for entry in &self.0 {
            let what = run::describe(&entry.stake, entry.act);
            writeln!(
                f,
                "{:>5}  height {:>7}  {:>21}  {what} {}",
                entry.seq,
                entry.btc_height,
                Amount::from_sat(entry.sat).to_string(),
                entry.reason
            )?;
        }
        write!(f, "{} entries, each bound to the one before: the log is whole", self.0.len())
    }
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
        Command::Backup(backup) => format.print(&backup.run()?),
        Command::Run { config, restored } => {
            log::init().map_err(Failure::failed)?;
            let config: Config = files::load(&config).map_err(Failure::usage)?;
            let ended = shutdown::run(|shutdown| async move { run::run(&config, restored, shutdown).await });
            Ok(ended.map_err(Failure::failed)??)
        }
        Command::Audit { config } => {
            let config: Config = files::load(&config).map_err(Failure::usage)?;
            let path = config.data_dir.join(run::AUDIT_FILE);
            if !path.exists() {
                let message = format_args!("{} does not exist", path.display());
                return Err(Failure::not_now(message).hint("the member has not run yet"));
            }
            let entries = Audit::read(&path).and_then(|log| log.entries()).map_err(Failure::failed)?;
            format.print(&Log(entries))
        }
    }
}
