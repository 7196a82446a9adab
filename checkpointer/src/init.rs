//! Writing a configuration.

use crate::config;
use crate::wallet::{Purpose, Wallet};
use anyhow::{Context as _, ensure};
use clap::Args;
use palisade_hub::daemon::config as files;
use palisade_hub::daemon::endpoint::http_url;
use palisade_hub::daemon::exit::Failure;
use palisade_hub::daemon::genesis::read_genesis;
use palisade_hub::daemon::network::{ConsentArgs, Network};
use palisade_hub::daemon::node_args::NodeArgs;
use palisade_hub::daemon::password::PasswordSource;
use palisade_hub::daemon::private_file::{self, Exists};
use palisade_hub::daemon::template::Template;
use palisade_protocol::genesis::Genesis;
use reqwest::Url;
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
    #[arg(long, default_value = "http://127.0.0.1:8200", value_parser = http_url)]
    pub hub: Url,
    /// The own bitcoind.
    #[command(flatten)]
    pub node: NodeArgs,
    /// Consent to mainnet.
    #[command(flatten)]
    pub consent: ConsentArgs,
    /// File with the password for the seeds of the wallets that pay for anchors and for slashings.
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
    /// Where to send coins that pay for slashings whose own fee is too low.
    pub watch_address: String,
}

impl std::fmt::Display for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "hub {}", self.hub)?;
        writeln!(f, "configuration: {}", self.config.display())?;
        writeln!(f, "send coins that pay for anchors to: {}", self.address)?;
        writeln!(f, "and for slashings in times of high fees to: {}", self.watch_address)?;
        write!(f, "next: palisade-checkpointer report --config {}", self.config.display())
    }
}

impl Init {
    /// Writes the configuration, unless there is one.
    pub fn run(&self) -> Result<Made, Failure> {
        let genesis = read_genesis(&self.genesis).map_err(anyhow::Error::from)?;
        self.consent.permitted(genesis.network().into())?;
        Ok(self.make(&genesis)?)
    }

    fn make(&self, genesis: &Genesis) -> anyhow::Result<Made> {
        let dir = std::path::absolute(&self.dir)?;
        let written = self.config_text(&dir, Network::from(genesis.network()))?;
        let own = ["anchor.key.json", "watch.key.json", "checkpointer.toml"].map(|name| dir.join(name));
        private_file::check_free(own.each_ref().map(PathBuf::as_path))?;
        let [anchor_key, watch_key, config] = own;
        let source = PasswordSource::usual(self.password_file.clone());
        let password = source.read_new("Password for the wallets that pay for anchors and slashings: ")?;
        private_file::create_dir(&dir).with_context(|| format!("directory {}", dir.display()))?;
        let wallet = |purpose, key_file, data| -> anyhow::Result<String> {
            Ok(Wallet::create(purpose, key_file, &dir.join(data), genesis.network(), &password)?.to_string())
        };
        let address = wallet(Purpose::Anchor, &anchor_key, "anchor-data")?;
        let watch_address = wallet(Purpose::Watch, &watch_key, "watch-data")?;
        ensure!(files::write_default(&config, &written)?, Exists(config));
        Ok(Made { hub: genesis.id().to_string(), config, address, watch_address })
    }

    fn config_text(&self, dir: &Path, network: Network) -> anyhow::Result<String> {
        Ok(self
            .node
            .fill(self.consent.fill(network, Template::new(config::DEFAULT))?)?
            .path("genesis_file", self.genesis.canonicalize()?)?
            .text("hub.url", &self.hub)?
            .path("report.data_dir", dir.join("report-data"))?
            .path("report.listen.address_file", dir.join("report.address"))?
            .path("watch.data_dir", dir.join("watch-data"))?
            .path("watch.wallet.key_file", dir.join("watch.key.json"))?
            .file("watch.wallet.password_file", self.password_file.as_deref())?
            .path("watch.listen.address_file", dir.join("watch.address"))?
            .path("anchor.data_dir", dir.join("anchor-data"))?
            .path("anchor.wallet.key_file", dir.join("anchor.key.json"))?
            .file("anchor.wallet.password_file", self.password_file.as_deref())?
            .path("anchor.listen.address_file", dir.join("anchor.address"))?
            .finish())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use clap::Parser;
    use palisade_hub::daemon::network::MainnetConsent;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        init: Init,
    }

    #[test]
    fn consent_to_mainnet_is_given_on_the_command_line_and_stands_in_the_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let genesis = dir.path().join("genesis.json");
        std::fs::write(&genesis, "{}").unwrap();
        let parsed = |more: &[&str]| {
            let genesis = genesis.display().to_string();
            let args = ["init", "--genesis", &genesis, "--bitcoin", "http://127.0.0.1:1", "--cookie", "c"];
            let init =
                Cli::try_parse_from([&args[..], more].concat()).unwrap_or_else(|why| panic!("{why}")).init;
            let written = init.config_text(dir.path(), bitcoin::Network::Bitcoin.into()).unwrap();
            files::parse::<Config>(Path::new("checkpointer.toml"), &written).map_err(|why| why.to_string())
        };
        assert!(parsed(&[]).unwrap_err().contains("mainnet needs a second key"));
        let own = parsed(&["--mainnet", MainnetConsent::SENTENCE]).unwrap();
        assert_eq!(own.mainnet, Some(MainnetConsent::SENTENCE.to_owned().try_into().unwrap()));
    }
}
