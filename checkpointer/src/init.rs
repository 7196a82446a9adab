//! Writing a configuration.

use crate::anchor::wallet::Wallet;
use crate::config;
use anyhow::{Context as _, ensure};
use clap::Args;
use palisade_hub::daemon::config as files;
use palisade_hub::daemon::password::PasswordSource;
use palisade_hub::run::read_genesis;
use std::path::{Path, PathBuf};

/// What a new checkpointer needs to know.
#[derive(Debug, Args)]
pub struct Init {
    /// Directory for the configuration and the data.
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
    /// The hub's genesis document.
    #[arg(long)]
    pub genesis: PathBuf,
    /// Where the hub's API is.
    #[arg(long, default_value = "http://127.0.0.1:8200")]
    pub hub: String,
    /// Where our bitcoind's RPC is.
    #[arg(long, default_value = "http://127.0.0.1:18443")]
    pub bitcoin: String,
    /// The file with its RPC credentials.
    #[arg(long)]
    pub cookie: PathBuf,
    /// File with the password for the seed of the wallet that pays for anchors.
    #[arg(long)]
    pub password_file: Option<PathBuf>,
}

/// What `init` made.
#[derive(Debug, serde::Serialize)]
pub struct Made {
    /// The hub's id. Compare it with what the hub's operator publishes.
    pub hub: String,
    /// The configuration.
    pub config: PathBuf,
    /// Where to send coins that pay for anchors.
    pub address: String,
}

impl std::fmt::Display for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "hub {}", self.hub)?;
        writeln!(f, "configuration: {}", self.config.display())?;
        writeln!(f, "send coins that pay for anchors to: {}", self.address)?;
        write!(f, "next: palisade-checkpointer report --config {}", self.config.display())
    }
}

impl Init {
    /// Writes the configuration, unless there is one.
    pub fn run(&self) -> anyhow::Result<Made> {
        let genesis = read_genesis(&self.genesis)?;
        std::fs::create_dir_all(&self.dir).with_context(|| format!("directory {}", self.dir.display()))?;
        let dir = self.dir.canonicalize()?;
        let at = |path: &Path| toml::Value::String(path.display().to_string()).to_string();
        let text = |text: &str| toml::Value::String(text.to_owned()).to_string();
        let network = palisade_hub::daemon::network::Network::from(genesis.network()).to_string();
        let mut written = config::DEFAULT
            .replacen("network = \"regtest\"", &format!("network = {}", text(&network)), 1)
            .replace("\"genesis.json\"", &at(&self.genesis.canonicalize()?))
            .replace("\"http://127.0.0.1:8200\"", &text(&self.hub))
            .replace("\"http://127.0.0.1:18443\"", &text(&self.bitcoin))
            .replace("\"bitcoind.cookie\"", &at(&std::path::absolute(&self.cookie)?))
            .replace("\"report-data\"", &at(&dir.join("report-data")))
            .replace("\"watch-data\"", &at(&dir.join("watch-data")))
            .replace(
                "# address_file = \"report.address\"",
                &format!("address_file = {}", at(&dir.join("report.address"))),
            )
            .replace("\"anchor-data\"", &at(&dir.join("anchor-data")))
            .replace("\"anchor.key.json\"", &at(&dir.join("anchor.key.json")))
            .replace(
                "# address_file = \"watch.address\"",
                &format!("address_file = {}", at(&dir.join("watch.address"))),
            )
            .replace(
                "# address_file = \"anchor.address\"",
                &format!("address_file = {}", at(&dir.join("anchor.address"))),
            );
        if let Some(file) = &self.password_file {
            let line = format!("password_file = {}", at(&std::path::absolute(file)?));
            written = written.replace("# password_file = \"password\"", &line);
        }
        let config = dir.join("checkpointer.toml");
        ensure!(!config.exists(), "{} exists", config.display());
        let source = PasswordSource::usual(self.password_file.clone());
        let password = source.read_new("Password for the wallet that pays for anchors: ")?;
        let (key_file, data_dir) = (dir.join("anchor.key.json"), dir.join("anchor-data"));
        let address = Wallet::create(&key_file, &data_dir, genesis.network(), &password)?.to_string();
        ensure!(files::write_default(&config, &written)?, "{} exists", config.display());
        Ok(Made { hub: genesis.id().to_string(), config, address })
    }
}
