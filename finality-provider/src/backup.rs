//! `backup`: what signer and voter need to go on elsewhere, copied while they work.
//!
//! The signer's record and its seed are in no backup: an old record would forget votes, and a seed that is known in two places
//! gives nonces to both. A restored signer begins a new record, and is in a set again within two epochs.

use crate::signer::config::SignerConfig;
use crate::voter::config::VoterConfig;
use crate::voter::journal::Journal;
use crate::voter::refusal;
use anyhow::Context as _;
use clap::Subcommand;
use palisade_hub::daemon::backup::{Backup as Making, absolute, with_paths};
use palisade_hub::daemon::backup_report::{BackupReport, start};
use palisade_hub::daemon::bounded;
use palisade_hub::daemon::config as files;
use palisade_hub::daemon::exit::Failure;
use std::path::{Path, PathBuf};

/// Which of the two is copied, and where to.
#[derive(Debug, Subcommand)]
pub enum Backup {
    /// Keys and configuration of the signer. What it has signed is in no backup: a restored one begins anew, with other nonces.
    Signer {
        /// The signer's configuration.
        #[arg(long, default_value = "signer.toml")]
        config: PathBuf,
        /// A directory for the backup, which is made and else must be empty.
        #[arg(long)]
        to: PathBuf,
    },
    /// Journal, refusals, key of the backing coins and configuration of the voter.
    Voter {
        /// The voter's configuration.
        #[arg(long, default_value = "voter.toml")]
        config: PathBuf,
        /// A directory for the backup, which is made and else must be empty.
        #[arg(long)]
        to: PathBuf,
    },
}

impl Backup {
    /// Makes it, or leaves nothing behind.
    pub fn run(&self) -> Result<BackupReport, Failure> {
        match self {
            Self::Signer { config, to } => signer(config, to),
            Self::Voter { config, to } => voter(config, to),
        }
    }
}

fn signer(config_file: &Path, to: &Path) -> Result<BackupReport, Failure> {
    let config: SignerConfig = files::load(config_file).map_err(Failure::usage)?;
    let chains = config.chains.iter().enumerate().map(|(place, chain)| {
        (format!("chains.{place}.key_file"), &chain.key_file, format!("keys/chain-{}.json", chain.id))
    });
    let chains: Vec<_> = chains.collect();
    // Both sides of the socket name it, so it stays where it is.
    let socket = absolute(&config.socket)?;
    let mut paths = vec![
        ("data_dir", "signer-data"),
        ("genesis_file", "genesis.json"),
        ("zero_key_file", "keys/zero.json"),
        ("bls_key_file", "keys/bls.json"),
        ("listen.address_file", "signer.address"),
        ("socket", &socket),
    ];
    paths.extend(chains.iter().map(|(key, _, name)| (key.as_str(), name.as_str())));
    let text = with_paths(&bounded::read_text(config_file).map_err(Failure::failed)?, &paths)?;
    let mut backup = Making::begin(to)?;
    backup.file(&config.genesis_file, "genesis.json")?;
    backup.file(&config.zero_key_file, "keys/zero.json")?;
    backup.file(&config.bls_key_file, "keys/bls.json")?;
    for (_, from, name) in &chains {
        backup.file(from, name)?;
    }
    Ok(BackupReport {
        saved: backup.finish("signer.toml", &text)?,
        left_out: vec![
            "the record of what was signed, and its seed: a restored signer begins a new one, sits the epochs out that the old one \
             committed to, and is in a set again within two epochs",
            "the password: without it the key files are worth nothing",
        ],
        restore: vec![
            "switch the old signer off for good: two of them on one key can sign twice".to_owned(),
            "put the password where `password_file` says".to_owned(),
            start("palisade-finality-provider signer"),
        ],
    })
}

fn voter(config_file: &Path, to: &Path) -> Result<BackupReport, Failure> {
    let config: VoterConfig = files::load(config_file).map_err(Failure::usage)?;
    let socket = absolute(&config.signer_socket)?;
    let paths = [
        ("data_dir", "voter-data"),
        ("genesis_file", "genesis.json"),
        ("funding_key_file", "keys/funding.json"),
        ("listen.address_file", "voter.address"),
        ("signer_socket", &socket),
    ];
    let text = with_paths(&bounded::read_text(config_file).map_err(Failure::failed)?, &paths)?;
    let mut backup = Making::begin(to)?;
    backup.file(&config.genesis_file, "genesis.json")?;
    backup.file(&config.funding_key_file, "keys/funding.json")?;
    let refusals = config.data_dir.join("refusals");
    for refusal in refusal::files(&refusals).with_context(|| refusals.display().to_string())? {
        let name = refusal.file_name().unwrap_or_default().to_string_lossy().into_owned();
        backup.file(&refusal, &format!("voter-data/refusals/{name}"))?;
    }
    let journal = config.data_dir.join("journal.sqlite");
    // A voter that never ran has none.
    if journal.exists() {
        Journal::save(&journal, &mut backup, "voter-data/journal.sqlite")?;
    }
    Ok(BackupReport {
        saved: backup.finish("voter.toml", &text)?,
        left_out: vec![
            "the signer's keys: they have a backup of their own (`backup signer`)",
            "the copy of the hub's log: it is fetched again",
            "the password of the key of the backing coins",
        ],
        restore: vec![
            "restore or start the signer, whose socket stays where it was".to_owned(),
            start("palisade-finality-provider run"),
        ],
    })
}
