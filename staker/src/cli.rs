//! The command line.

use crate::backup::{self, Backup, contents};
use crate::coins;
use crate::extend::Extend;
use crate::funds;
use crate::init::Init;
use crate::providers;
use crate::recover::Recover;
use crate::session::Session;
use crate::stake::Stake;
use crate::status;
use crate::unbond::Unbond;
use crate::withdraw::{self, Source, Terms};
use clap::{ArgGroup, Args, Parser, Subcommand};
use palisade_hub::daemon::ask::go_on;
use palisade_hub::daemon::exit::{Failure, Format};
use palisade_hub::daemon::node_args::{LOGIN, NodeArgs};
use std::path::{Path, PathBuf};

/// Stake bitcoin from your own wallet, keep the keys, leave when you like.
#[derive(Debug, Parser)]
#[command(name = "palisade-staker", version)]
pub struct Cli {
    /// Print results as JSON.
    #[arg(long, global = true)]
    json: bool,
    /// Configuration file.
    #[arg(long, global = true, default_value = "staker.toml")]
    config: PathBuf,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make a wallet: its seed, its configuration, its first address.
    Init(Init),
    /// Show an address to send coins to.
    Address,
    /// Show what the wallet holds beside its stakes.
    Balance,
    /// List the finality providers that one can choose.
    Providers,
    /// Lock coins behind finality providers.
    Stake(Stake),
    /// Show the stakes and what comes next.
    Status {
        /// One stake: the beginning of its id.
        stake: Option<String>,
    },
    /// Leave a stake early.
    Unbond(Unbond),
    /// Take coins whose timelock is over.
    Withdraw(Withdraw),
    /// Take a stake into a larger or longer one, without leaving.
    Extend(Extend),
    /// Write one file that is enough to withdraw all stakes.
    Backup {
        /// The new file.
        file: PathBuf,
    },
    /// Find the stakes of this wallet's keys again: in the hub's log, and in a backup.
    Recover(Recover),
}

/// How to withdraw: clap's own line would not say what a backup needs.
const WITHDRAW_USAGE: &str = "palisade-staker withdraw [OPTIONS] <STAKE>
       palisade-staker withdraw --backup <FILE> <--cookie <FILE>|--bitcoin-user <USER>> [OPTIONS]
       palisade-staker withdraw --backup <FILE> <--cookie <FILE>|--bitcoin-user <USER>> --stake <STAKE> --to <ADDRESS> [OPTIONS]";

/// What to withdraw, and from what.
#[derive(Debug, Args)]
#[command(override_usage = WITHDRAW_USAGE, mut_group(LOGIN, |login: ArgGroup| login.required(false)))]
pub struct Withdraw {
    /// The stake: the beginning of its id.
    #[arg(required_unless_present_any = ["backup", "stake_flag"])]
    stake: Option<String>,
    /// The same, as a flag.
    #[arg(long = "stake", conflicts_with = "stake", value_name = "STAKE")]
    stake_flag: Option<String>,
    #[command(flatten)]
    terms: Terms,
    /// Work from a backup file: no configuration, no hub, no database. Without a stake, list those in it.
    #[arg(long, value_name = "FILE", requires = LOGIN)]
    backup: Option<PathBuf>,
    /// With a backup: the Bitcoin node.
    #[command(flatten)]
    node: NodeArgs,
    /// With a backup: file with the wallet's password.
    #[arg(long, requires = "backup", value_name = "FILE")]
    password_file: Option<PathBuf>,
}

impl Cli {
    /// The form that results, and failures, are asked in.
    pub fn format(&self) -> Format {
        Format::from_flag(self.json)
    }
}

/// Does what the command line says and prints the result.
pub async fn carry_out(cli: Cli) -> Result<(), Failure> {
    let format = cli.format();
    let open = || Session::open(&cli.config);
    match cli.command {
        Command::Recover(recover) => format.print(&recover.run(&cli.config).await?),
        Command::Init(init) => format.print(&init.run().await?),
        Command::Address => format.print(&funds::address(&mut open()?)?),
        Command::Balance => format.print(&funds::balance(&mut open()?).await?),
        Command::Providers => format.print(&providers::providers(&mut open()?).await?),
        Command::Stake(stake) => format.print(&stake.run(&mut open()?).await?),
        Command::Status { stake } => format.print(&status::status(&mut open()?, stake.as_deref()).await?),
        Command::Unbond(unbond) => format.print(&unbond.run(&mut open()?).await?),
        Command::Withdraw(withdraw) => match withdraw.listed()? {
            Some(file) => {
                format.print(&contents::list(&Backup::read(file)?, &withdraw.node.connect()?).await?)
            }
            None => format.print(&withdraw.run(&cli.config).await?),
        },
        Command::Extend(extend) => format.print(&extend.run(&mut open()?).await?),
        Command::Backup { file } => format.print(&backup::write(&mut open()?, &file)?),
    }
}

impl Withdraw {
    /// Withdraws, from the wallet that a configuration describes or from a backup.
    pub async fn run(&self, config: &Path) -> Result<withdraw::Withdrawal, Failure> {
        let name = self.name();
        if let Some(file) = &self.backup {
            let backup = Backup::read(file)?;
            let record = backup.stake(name.unwrap_or_default())?;
            let keys = &backup.keys(file, self.password_file.clone())?;
            let (node, network) = (self.node.connect()?, backup.network());
            let source = Source { keys, network, stakes: backup.stakes(), default: None, session: None };
            return withdraw::withdraw(&node, &record, &source, &self.terms).await;
        }
        if self.node.is_given() {
            return Err(Failure::usage("without --backup the Bitcoin node of the configuration is used"));
        }
        let mut session = Session::open(config)?;
        let record = session.book.find(name.unwrap_or_default())?;
        // Only where the node has no coins of it any more the hub is asked: its log knows what took them.
        let gone = coins::find(&session.node, &record).await?.is_none();
        if gone && let Err(why) = session.catch_up().await {
            go_on(&why, "going on with what is known");
        }
        let keys = &session.keys()?;
        let default = session.purse.address()?;
        let (network, stakes) = (session.network(), session.book.stakes());
        let source = Source { keys, network, stakes, default: Some(default), session: Some(&session) };
        withdraw::withdraw(&session.node, &record, &source, &self.terms).await
    }

    fn name(&self) -> Option<&str> {
        self.stake.as_deref().or(self.stake_flag.as_deref())
    }

    /// The backup whose stakes are only to be listed, because none is named. Whoever says how to withdraw wants more than a
    /// list, and must not take one for a withdrawal.
    fn listed(&self) -> Result<Option<&Path>, Failure> {
        let listed = self.backup.as_deref().filter(|_| self.name().is_none());
        if listed.is_some() && self.terms.is_given() {
            return Err(Failure::usage("no stake is named: nothing is withdrawn").hint(
                "--stake ID names one; `withdraw --backup FILE` without --to, --fee-rate, --print and --yes lists them",
            ));
        }
        Ok(listed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;
    use clap::error::{ContextKind, ContextValue};

    #[test]
    fn a_usage_line_names_every_flag_that_is_missed_without_it() {
        let mut checked = 0;
        for command in Cli::command().get_subcommands_mut() {
            let line = ["palisade-staker", command.get_name()];
            let Err(why) = Cli::try_parse_from(line) else { continue };
            let usage = command.render_usage().to_string();
            let Some(ContextValue::Strings(missing)) = why.get(ContextKind::InvalidArg) else {
                panic!("{why}");
            };
            for flag in missing {
                let name = flag.split([' ', '.']).next().unwrap();
                assert!(usage.contains(name), "{flag} is not in {usage}");
                checked += 1;
            }
        }
        // init, stake (two), unbond, withdraw, extend, backup.
        assert_eq!(checked, 7);
    }
}
