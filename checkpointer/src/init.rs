//! Writing a configuration.

use crate::config;
use anyhow::{Context as _, ensure};
use clap::Args;
use palisade_hub::daemon::config as files;
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
}

/// What `init` made.
#[derive(Debug, serde::Serialize)]
pub struct Made {
    /// The hub's id. Compare it with what the hub's operator publishes.
    pub hub: String,
    /// The configuration.
    pub config: PathBuf,
}

impl std::fmt::Display for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "hub {}", self.hub)?;
        writeln!(f, "configuration: {}", self.config.display())?;
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
        let written = config::DEFAULT
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
            .replace(
                "# address_file = \"watch.address\"",
                &format!("address_file = {}", at(&dir.join("watch.address"))),
            );
        let config = dir.join("checkpointer.toml");
        ensure!(files::write_default(&config, &written)?, "{} exists", config.display());
        Ok(Made { hub: genesis.id().to_string(), config })
    }
}
