//! `backup`: what a member needs to go on elsewhere, copied while it works.
//!
//! An audit log that is older than the hub's log lacks answers: the rate limit counts too little then, and a stake whose answer never
//! reached the hub is judged again. [`Member::adopt`](crate::member::Member::adopt) fills it from the hub's log, when its operator says
//! that this is a restored backup; nobody else can tell that from a stolen key.

use crate::audit::Audit;
use crate::config::Config;
use crate::run::AUDIT_FILE;
use clap::Args;
use palisade_hub::daemon::backup::{self, with_paths};
use palisade_hub::daemon::backup_report::{BackupReport, start};
use palisade_hub::daemon::bounded;
use palisade_hub::daemon::config as files;
use palisade_hub::daemon::exit::Failure;
use std::path::PathBuf;

/// What is copied, and where to.
#[derive(Debug, Args)]
pub struct Backup {
    /// Configuration file.
    #[arg(long, default_value = "covenant.toml")]
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
        let text = with_paths(
            &text,
            &[
                ("data_dir", "covenant-data"),
                ("genesis_file", "genesis.json"),
                ("key_file", "covenant.key.json"),
                ("listen.address_file", "covenant.address"),
            ],
        )?;
        let mut backup = backup::Backup::begin(&self.to)?;
        backup.file(&config.key_file, "covenant.key.json")?;
        backup.file(&config.genesis_file, "genesis.json")?;
        let audit = config.data_dir.join(AUDIT_FILE);
        // A member that never ran has none.
        if audit.exists() {
            let name = format!("covenant-data/{AUDIT_FILE}");
            Audit::save(&audit, &mut backup, &name).map_err(Failure::failed)?;
        }
        Ok(BackupReport {
            saved: backup.finish("covenant.toml", &text)?,
            left_out: vec![
                "the password: without it the key file is worth nothing",
                "the copy of the hub's log: it is fetched again",
            ],
            restore: vec![
                "switch the old member off for good".to_owned(),
                "put the password where `password_file` says".to_owned(),
                start("palisade-covenant run --restored"),
            ],
        })
    }
}
