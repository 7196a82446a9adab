//! `palisade-hub backup`: everything that a hub needs to begin anew elsewhere, but the password of its key.
//!
//! A copy of a log is old as soon as it is made. What came later a hub learns from its followers ([`crate::learning`]).

use crate::config::Config;
use crate::daemon::backup::{Backup, Saved, absolute, with_paths};
use crate::daemon::bounded;
use crate::daemon::config as files;
use crate::daemon::exit::Failure;
use crate::store::{self, Store};
use palisade_protocol::units::Height;
use std::fmt;
use std::path::Path;

/// Names in the backup. The configuration in it names them so, and works in the directory that holds them.
const CONFIG: &str = "hub.toml";
const DATA: &str = "hub-data";
const LOG: &str = "hub-data/log.sqlite";
const GENESIS: &str = "genesis.json";
const KEY: &str = "hub.key.json";

/// A backup of a hub.
#[derive(Debug, serde::Serialize)]
pub struct HubBackup {
    /// What is on disk.
    #[serde(flatten)]
    saved: Saved,
    /// How many blocks of the log.
    blocks: u64,
    /// Height of the newest of them.
    height: Option<Height>,
    /// How long everything is.
    bytes: u64,
    /// Whether a hub that is started from this alone would sign headers again that are signed already.
    forgets: bool,
}

impl fmt::Display for HubBackup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (directory, files) = (self.saved.directory.display(), self.saved.files.len());
        match self.height {
            Some(height) => write!(f, "saved {} blocks, the newest at height {height}", self.blocks)?,
            None => write!(f, "saved a log without blocks")?,
        }
        writeln!(
            f,
            ", and what the hub is started with: {files} files, {} bytes in {directory}",
            self.bytes
        )?;
        writeln!(f, "not in it: the password of the key")?;
        if self.forgets {
            writeln!(
                f,
                "WARNING: the configuration names no `followers`. A hub that makes blocks and is started from this copy signs every \
                 height above it a second time. Name at least one first (docs/operations/lost-hub.md)"
            )?;
        }
        write!(
            f,
            "restore: stop the old hub for good, then cd {directory} && palisade-hub run --config {CONFIG}"
        )
    }
}

/// Copies the files of the hub with this configuration, which may be running, into a directory.
pub fn run(config_file: &Path, to: &Path) -> Result<HubBackup, Failure> {
    let config: Config = files::load(config_file).map_err(anyhow::Error::from)?;
    let text = bounded::read_text(config_file).map_err(Failure::failed)?;
    let mut paths = vec![
        ("data_dir", DATA),
        ("genesis_file", GENESIS),
        ("key_file", KEY),
        ("listen.address_file", "hub.address"),
    ];
    // It stays where it is, from wherever the configuration is read.
    let password = config.password_file.as_deref().map(absolute).transpose()?;
    paths.extend(password.as_deref().map(|path| ("password_file", path)));
    let text = with_paths(&text, &paths)?;

    let mut backup = Backup::begin(to)?;
    let (blocks, height) = Store::save(&config.data_dir.join(store::FILE), &mut backup, LOG)?;
    backup.file(&config.genesis_file, GENESIS)?;
    if let Some(key) = &config.key_file {
        backup.file(key, KEY)?;
    }
    let saved = backup.finish(CONFIG, &text)?;
    let forgets = config.follow.is_none() && config.followers().is_empty();
    Ok(HubBackup { bytes: saved.bytes(), saved, blocks, height, forgets })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::tests::genesis;
    use crate::replica::Replica;

    #[test]
    fn a_backup_is_a_hub_without_its_password_and_the_lock_is_in_nobodys_way() {
        let dir = tempfile::tempdir().unwrap();
        let genesis = genesis(dir.path());
        let _held = crate::daemon::lock::DirLock::acquire(&dir.path().join("hub/hub-data")).unwrap();
        let _open = Replica::open(&dir.path().join("hub/hub-data"), genesis).unwrap();
        let to = dir.path().join("copy");
        let made = run(&dir.path().join("hub/hub.toml"), &to).unwrap();
        let said = made.to_string();
        for part in [
            "a log without blocks",
            "not in it: the password",
            "WARNING",
            "palisade-hub run --config hub.toml",
        ] {
            assert!(said.contains(part), "{said}");
        }
        let names: Vec<&str> = made.saved.files.iter().map(|file| file.name.as_str()).collect();
        assert_eq!(names, [LOG, GENESIS, KEY, CONFIG]);
        let config: Config = files::load(&to.join(CONFIG)).unwrap();
        assert_eq!((config.data_dir, config.genesis_file), (DATA.into(), GENESIS.into()));
        assert_eq!(config.key_file, Some(KEY.into()));
        assert_eq!(config.password_file, Some(dir.path().join("password")));
        let again = run(&dir.path().join("hub/hub.toml"), &to).unwrap_err();
        assert_eq!(again.exit() as u8, 2);
        let why = run(&dir.path().join("nowhere.toml"), &dir.path().join("none")).unwrap_err();
        assert!(why.exit() as u8 == 2 && !dir.path().join("none").exists());
    }
}
