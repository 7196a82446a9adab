//! Making a wallet: its seed, its configuration, its first address.

use crate::book::Book;
use crate::config;
use crate::keys::{KEY_PURPOSE, Keys};
use crate::purse::Purse;
use crate::session::{BOOK_FILE, connect};
use bitcoin::Network as BitcoinNetwork;
use clap::Args;
use palisade_hub::daemon::config as files;
use palisade_hub::daemon::exit::Failure;
use palisade_hub::daemon::genesis::read_genesis_for;
use palisade_hub::daemon::keyfile::{self, KdfCost, KeyLabel};
use palisade_hub::daemon::lock::DirLock;
use palisade_hub::daemon::network::NetworkArgs;
use palisade_hub::daemon::node_args::NodeArgs;
use palisade_hub::daemon::password::PasswordSource;
use palisade_hub::daemon::private_file;
use palisade_hub::daemon::secret::Secret;
use palisade_hub::daemon::template::{NoSuchKey, Template};
use rand::rngs::OsRng;
use std::fmt;
use std::path::{Path, PathBuf};

/// What a new wallet needs to know.
#[derive(Debug, Args)]
pub struct Init {
    /// Directory for the seed, the configuration and the wallet's data.
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
    /// Which Bitcoin network.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// Address of the hub.
    #[arg(long, default_value = "http://127.0.0.1:8200")]
    pub hub: String,
    /// The hub's genesis document.
    #[arg(long, default_value = "genesis.json")]
    pub genesis: PathBuf,
    /// The Bitcoin node.
    #[command(flatten)]
    pub node: NodeArgs,
    /// File with the password for the new seed.
    #[arg(long)]
    pub password_file: Option<PathBuf>,
}

/// What `init` made.
#[derive(Debug, serde::Serialize)]
pub struct Made {
    /// The hub that the wallet will listen to.
    pub hub: String,
    /// The configuration.
    pub config: PathBuf,
    /// The encrypted seed.
    pub key_file: PathBuf,
    /// Where to send coins.
    pub address: String,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "hub {}", self.hub)?;
        writeln!(f, "configuration: {}", self.config.display())?;
        writeln!(
            f,
            "seed:          {} (encrypted; nobody can restore it without its password)",
            self.key_file.display()
        )?;
        writeln!(f, "send coins to: {}", self.address)?;
        write!(f, "next: palisade-staker providers --config '{}'", self.config.display())
    }
}

impl Init {
    /// Makes the files. None that exists is touched.
    pub async fn run(&self) -> Result<Made, Failure> {
        let network = self.network.permitted()?;
        let genesis = read_genesis_for(self.network.network, &self.genesis)
            .map_err(|why| Failure::usage(format_args!("{why:#}")))?;
        let unwritable =
            |why: std::io::Error| Failure::failed(format_args!("cannot use {}: {why}", self.dir.display()));
        let dir = std::path::absolute(&self.dir).map_err(unwritable)?;
        let config_file = dir.join("staker.toml");
        let key_file = dir.join("staker.key.json");
        private_file::check_free([&config_file, &key_file].map(PathBuf::as_path))?;
        let text = self.config_text(&dir)?;
        let config: config::Config = files::parse(&config_file, &text).map_err(Failure::usage)?;
        let node = connect(&config.bitcoin)?;
        let keys = self.make_seed(&config.key_file, network)?;
        let _lock = DirLock::acquire(&config.data_dir).map_err(Failure::failed)?;
        Book::create(&config.data_dir.join(BOOK_FILE))?;
        let mut purse = Purse::create(&config.data_dir.join("wallet.jsonl"), &keys, network)?;
        if node.tip().await.is_ok() {
            // Without a node now, all blocks are read later.
            purse.begin_at_tip(&node).await?;
        }
        let address = purse.address()?.to_string();
        files::write_default(&config_file, &text).map_err(Failure::failed)?;
        Ok(Made { hub: genesis.id().to_string(), config: config_file, key_file: config.key_file, address })
    }

    fn make_seed(&self, path: &Path, network: BitcoinNetwork) -> Result<Keys, Failure> {
        let source = PasswordSource::usual(self.password_file.clone());
        let password = source.read_new("Password for the new wallet: ")?;
        if let Some(dir) = path.parent() {
            private_file::create_dir(dir).map_err(Failure::failed)?;
        }
        let seed = Secret::random(&mut OsRng).map_err(Failure::failed)?;
        let keys = Keys::new(&seed, network)?;
        let label = KeyLabel::new(KEY_PURPOSE, &keys.public_id()).map_err(Failure::failed)?;
        let cost = KdfCost::for_network(network);
        keyfile::create(path, &label, &seed, &password, cost, &mut OsRng).map_err(Failure::failed)?;
        Ok(keys)
    }

    fn config_text(&self, dir: &Path) -> Result<String, Failure> {
        let genesis = self.genesis.canonicalize().map_err(Failure::usage)?;
        let own = self.node.fill(Template::new(config::DEFAULT))?;
        let fill = || {
            let own = own
                .path("data_dir", dir.join("staker-data"))?
                .path("genesis_file", genesis)?
                .path("key_file", dir.join("staker.key.json"))?
                .file("password_file", self.password_file.as_deref())?
                .text("hub.url", &self.hub)?;
            Ok(self.network.fill(own)?.finish())
        };
        fill().map_err(|why: NoSuchKey| Failure::failed(why))
    }
}
