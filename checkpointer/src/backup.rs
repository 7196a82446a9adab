//! `backup`: what the checkpointer's processes need to go on elsewhere, copied while they work.
//!
//! The watcher keeps its copy of the hub's log, because it slashes with the hub gone; its book comes first, which rests on the log.
//! The reporter needs nothing: what the hub lacks is told, whatever was told before.

use crate::anchor::FLIGHTS_FILE;
use crate::anchor::flight::Flights;
use crate::config::{Config, WalletConfig};
use crate::wallet;
use crate::watch::BOOK_FILE;
use crate::watch::book::Book;
use clap::Args;
use palisade_hub::daemon::backup::{self, BackupError, with_paths};
use palisade_hub::daemon::backup_report::{BackupReport, start};
use palisade_hub::daemon::bounded;
use palisade_hub::daemon::config as files;
use palisade_hub::daemon::exit::Failure;
use palisade_hub::store::{self, Store};
use std::path::{Path, PathBuf};

/// What is copied, and where to.
#[derive(Debug, Args)]
pub struct Backup {
    /// Configuration file.
    #[arg(long, default_value = "checkpointer.toml")]
    config: PathBuf,
    /// A directory for the backup, which is made and else must be empty.
    #[arg(long)]
    to: PathBuf,
}

impl Backup {
    /// Makes it, or leaves nothing behind.
    pub fn run(&self) -> Result<BackupReport, Failure> {
        let config: Config = files::load(&self.config).map_err(Failure::usage)?;
        let text = bounded::read_text(&self.config).map_err(Failure::failed)?;
        let text = with_paths(&text, &PATHS)?;
        let mut backup = backup::Backup::begin(&self.to)?;
        backup.file(&config.genesis_file, "genesis.json")?;
        let mut restore = vec!["put the passwords where `password_file` says".to_owned()];
        if config.report.is_some() {
            restore.push(start("palisade-checkpointer report"));
        }
        if let Some(watch) = &config.watch {
            save_watch(&mut backup, &watch.process.data_dir, watch.wallet.as_ref())?;
            restore.push(start("palisade-checkpointer watch"));
        }
        if let Some(anchor) = &config.anchor {
            save_anchor(&mut backup, &anchor.process.data_dir, &anchor.wallet)?;
            restore
                .insert(0, "switch the old anchorer off for good, or both spend the same coins".to_owned());
            restore.push(start("palisade-checkpointer anchor"));
        }
        Ok(BackupReport {
            saved: backup.finish("checkpointer.toml", &text)?,
            left_out: vec![
                "the passwords: without them the wallets' keys are worth nothing",
                "the reporter's mark, and copies of the hub's log but the watcher's: all is told and fetched again",
            ],
            restore,
        })
    }
}

/// Where everything is in a backup, seen from its directory.
const PATHS: [(&str, &str); 9] = [
    ("genesis_file", "genesis.json"),
    ("report.data_dir", "report-data"),
    ("report.listen.address_file", "report.address"),
    ("watch.data_dir", "watch-data"),
    ("watch.wallet.key_file", "watch.key.json"),
    ("watch.listen.address_file", "watch.address"),
    ("anchor.data_dir", "anchor-data"),
    ("anchor.wallet.key_file", "anchor.key.json"),
    ("anchor.listen.address_file", "anchor.address"),
];

/// A process that never ran has no files but its wallet's.
fn save_watch(
    backup: &mut backup::Backup,
    data_dir: &Path,
    wallet: Option<&WalletConfig>,
) -> Result<(), BackupError> {
    let (book, log) = (data_dir.join(BOOK_FILE), data_dir.join(store::FILE));
    if book.exists() {
        Book::save(&book, backup, &format!("watch-data/{BOOK_FILE}"))?;
    }
    if log.exists() {
        Store::save(&log, backup, &format!("watch-data/{}", store::FILE))?;
    }
    wallet.map_or(Ok(()), |wallet| save_wallet(backup, data_dir, wallet, "watch"))
}

fn save_anchor(
    backup: &mut backup::Backup,
    data_dir: &Path,
    wallet: &WalletConfig,
) -> Result<(), BackupError> {
    let flights = data_dir.join(FLIGHTS_FILE);
    // The wallet knows each change address before a transaction under way pays to it: so it is copied after them.
    if flights.exists() {
        Flights::save(&flights, backup, &format!("anchor-data/{FLIGHTS_FILE}"))?;
    }
    save_wallet(backup, data_dir, wallet, "anchor")
}

fn save_wallet(
    backup: &mut backup::Backup,
    data_dir: &Path,
    wallet: &WalletConfig,
    name: &str,
) -> Result<(), BackupError> {
    backup.file(&data_dir.join(wallet::FILE), &format!("{name}-data/{}", wallet::FILE))?;
    backup.file(&wallet.key_file, &format!("{name}.key.json"))
}
