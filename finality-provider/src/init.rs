//! Making a finality provider: its keys and its two configurations; and giving it another chain.

use crate::keys;
use crate::signer::config::{self as signer_config, ChainConfig, SignerConfig};
use crate::voter::config::{self as voter_config, SourceConfig, VoterConfig};
use anyhow::{Context as _, ensure};
use clap::Args;
use palisade_hub::daemon::config as files;
use palisade_hub::daemon::genesis::read_genesis;
use palisade_hub::daemon::network::Network;
use palisade_hub::daemon::node_args::NodeArgs;
use palisade_hub::daemon::password::PasswordSource;
use palisade_hub::daemon::private_file;
use palisade_hub::daemon::template::Template;
use palisade_protocol::context::ChainId;
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::ProviderKey;
use reqwest::Url;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// What a new finality provider needs to know.
#[derive(Debug, Args)]
pub struct Init {
    /// Directory for keys, configurations and data.
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
    /// The hub's genesis document.
    #[arg(long)]
    pub genesis: PathBuf,
    /// Where the hub's API is.
    #[arg(long, default_value = "http://127.0.0.1:8200")]
    pub hub: Url,
    /// The own bitcoind.
    #[command(flatten)]
    pub node: NodeArgs,
    /// The signer's socket, at most 107 bytes; in the directory by default. Its directory must be 0700.
    #[arg(long)]
    pub socket: Option<PathBuf>,
    /// Where the voter serves health, metrics and status.
    #[arg(long, default_value = "127.0.0.1:8220")]
    pub listen: SocketAddr,
    /// Where the signer serves health and metrics.
    #[arg(long, default_value = "127.0.0.1:8221")]
    pub signer_listen: SocketAddr,
    /// File with the password for the new keys.
    #[arg(long)]
    pub password_file: Option<PathBuf>,
}

/// What `init` made.
#[derive(Debug, Serialize)]
pub struct Made {
    /// The hub's id. Compare it with what the hub's operator publishes.
    pub hub: Hash32,
    /// The key for chain zero.
    pub key: ProviderKey,
    /// The BLS key, hex.
    pub bls: String,
    /// Where coins to back registrations are to be sent.
    pub funding_address: String,
    /// The signer's configuration.
    pub signer_config: PathBuf,
    /// The voter's configuration.
    pub config: PathBuf,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "hub              {}", self.hub)?;
        writeln!(f, "key, chain zero  {}", self.key)?;
        writeln!(f, "BLS key          {}", self.bls)?;
        writeln!(f, "funding address  {}", self.funding_address)?;
        writeln!(f, "next:")?;
        writeln!(f, "  send one coin for each chain to the funding address")?;
        writeln!(f, "  palisade-finality-provider signer --config {}", self.signer_config.display())?;
        writeln!(
            f,
            "  palisade-finality-provider register --chain zero --operator \"YOUR NAME\" --config {}",
            self.config.display()
        )?;
        write!(f, "  palisade-finality-provider run --config {}", self.config.display())
    }
}

impl Init {
    /// Makes the files. None that exists is touched.
    pub fn run(&self) -> anyhow::Result<Made> {
        let genesis = read_genesis(&self.genesis)?;
        let network = genesis.network();
        private_file::create_dir(&self.dir)?;
        let dir = self.dir.canonicalize()?;
        let (signer_config, config) = (dir.join("signer.toml"), dir.join("voter.toml"));
        for path in [&signer_config, &config] {
            ensure!(!path.exists(), "{} exists", path.display());
        }
        let password =
            PasswordSource::usual(self.password_file.clone()).read_new("Password for the new keys: ")?;
        let keys = dir.join("keys");
        private_file::create_dir(&keys)?;
        let zero = ChainId::zero();
        let key = keys::create_provider(&keys.join("zero.json"), &zero, &password, network)?;
        let bls = keys::create_bls(&keys.join("bls.json"), &password, network)?;
        let address = keys::create_funding(&keys.join("funding.json"), &password, network)?;
        files::write_default(&signer_config, &self.signer_text(&dir, network.into())?)?;
        files::write_default(&config, &self.voter_text(&dir, network.into())?)?;
        Ok(Made {
            hub: genesis.id(),
            key,
            bls: hex::encode(bls.to_bytes()),
            funding_address: address.to_string(),
            signer_config,
            config,
        })
    }

    fn socket(&self, dir: &Path) -> anyhow::Result<PathBuf> {
        match &self.socket {
            Some(socket) => Ok(std::path::absolute(socket)?),
            None => Ok(dir.join("signer-socket").join("signer")),
        }
    }

    /// What both configurations share.
    fn shared(&self, default: &str, network: Network) -> anyhow::Result<Template> {
        Ok(Template::new(default)
            .text("network", network)?
            .path("genesis_file", self.genesis.canonicalize()?)?
            .file("password_file", self.password_file.as_deref())?)
    }

    fn signer_text(&self, dir: &Path, network: Network) -> anyhow::Result<String> {
        let text = self
            .shared(signer_config::DEFAULT, network)?
            .path("data_dir", dir.join("signer-data"))?
            .path("socket", self.socket(dir)?)?
            .path("zero_key_file", dir.join("keys/zero.json"))?
            .path("bls_key_file", dir.join("keys/bls.json"))?
            .text("listen.address", self.signer_listen)?
            .path("listen.address_file", dir.join("signer.address"))?
            .finish();
        let _: SignerConfig = files::parse(&dir.join("signer.toml"), &text)?;
        Ok(text)
    }

    fn voter_text(&self, dir: &Path, network: Network) -> anyhow::Result<String> {
        let text = self
            .node
            .fill(self.shared(voter_config::DEFAULT, network)?)?
            .path("data_dir", dir.join("voter-data"))?
            .path("signer_socket", self.socket(dir)?)?
            .path("funding_key_file", dir.join("keys/funding.json"))?
            .text("hub.url", &self.hub)?
            .text("listen.address", self.listen)?
            .path("listen.address_file", dir.join("voter.address"))?
            .finish();
        let _: VoterConfig = files::parse(&dir.join("voter.toml"), &text)?;
        Ok(text)
    }
}

/// A chain to vote on, as its registration with the hub says.
#[derive(Debug, Args)]
pub struct AddChain {
    /// Its name.
    #[arg(long)]
    pub id: ChainId,
    /// Hash of its genesis block.
    #[arg(long)]
    pub genesis_block: Hash32,
    /// Counts its restarts.
    #[arg(long, default_value_t = 0)]
    pub incarnation: u32,
    /// Heights in an epoch.
    #[arg(long)]
    pub epoch_length: u64,
    /// Every so many heights are voted on.
    #[arg(long)]
    pub voted_every: u64,
    /// Where its irreversible blocks are read.
    #[arg(long)]
    pub source: Url,
    /// The signer's configuration.
    #[arg(long, default_value = "signer.toml")]
    pub signer_config: PathBuf,
    /// The voter's configuration.
    #[arg(long, default_value = "voter.toml")]
    pub config: PathBuf,
}

/// A chain that was added.
#[derive(Debug, Serialize)]
pub struct Added {
    /// The chain.
    pub chain: ChainId,
    /// The new key for it.
    pub key: ProviderKey,
}

impl fmt::Display for Added {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "key, chain {}  {}", self.chain, self.key)?;
        write!(f, "next: start signer and voter again, then register --chain {}", self.chain)
    }
}

impl AddChain {
    /// Makes the key and adds the chain to both configurations.
    pub fn run(&self) -> anyhow::Result<Added> {
        let signer: SignerConfig = files::load(&self.signer_config)?;
        let genesis = read_genesis(&signer.genesis_file)?;
        let keys = signer.zero_key_file.parent().context("the key file has no directory")?;
        let key_file = keys.join(format!("{}.json", self.id));
        let chain = ChainConfig {
            id: self.id.clone(),
            genesis: self.genesis_block,
            incarnation: self.incarnation,
            epoch_length: self.epoch_length,
            voted_every: self.voted_every,
            key_file: key_file.clone(),
        };
        let to_signer = table("chains", chain)?;
        let to_voter = table("sources", SourceConfig { chain: self.id.clone(), url: self.source.clone() })?;
        // Both must be good before anything is made.
        ensure!(signer.chains.iter().all(|chain| chain.id != self.id), "the signer has chain {}", self.id);
        let _: SignerConfig = files::parse(&self.signer_config, &extended(&self.signer_config, &to_signer)?)?;
        let _: VoterConfig = files::parse(&self.config, &extended(&self.config, &to_voter)?)?;
        let password = PasswordSource::usual(signer.password_file.clone()).read("Password of the keys: ")?;
        // The one password must open all keys when the signer starts.
        keys::open_bls(&signer.bls_key_file, &password, genesis.network())?;
        let key = keys::create_provider(&key_file, &self.id, &password, genesis.network())?;
        append(&self.signer_config, &to_signer)?;
        append(&self.config, &to_voter)?;
        Ok(Added { chain: self.id.clone(), key })
    }
}

/// One more table of an array, to be appended to a configuration.
fn table(name: &str, item: impl Serialize) -> anyhow::Result<String> {
    Ok(format!("\n{}", toml::to_string(&BTreeMap::from([(name, [item])]))?))
}

fn extended(path: &Path, more: &str) -> anyhow::Result<String> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Ok(text + more)
}

fn append(path: &Path, more: &str) -> anyhow::Result<()> {
    let mut file = OpenOptions::new().append(true).open(path)?;
    file.write_all(more.as_bytes())?;
    Ok(file.sync_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_regtest::world::World;

    fn init(dir: &Path) -> Init {
        let genesis = dir.join("the hub's genesis.json");
        let document = World::new(1_000).ledger.genesis().document().clone();
        std::fs::write(&genesis, serde_json::to_string(&document).unwrap()).unwrap();
        std::fs::write(dir.join("password"), "correct horse\n").unwrap();
        std::fs::set_permissions(dir.join("password"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        Init {
            dir: dir.join("a provider"),
            genesis,
            hub: "http://127.0.0.1:1".parse().unwrap(),
            node: NodeArgs {
                url: "http://127.0.0.1:2".to_owned(),
                cookie: Some(dir.join(".cookie")),
                user: None,
                user_password: None,
            },
            socket: None,
            listen: "127.0.0.1:0".parse().unwrap(),
            signer_listen: "127.0.0.1:0".parse().unwrap(),
            password_file: Some(dir.join("password")),
        }
    }

    #[test]
    fn what_init_and_add_chain_write_can_be_read_and_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let init = init(dir.path());
        let made = init.run().unwrap();
        assert!(made.funding_address.starts_with("bcrt1p"));
        let signer: SignerConfig = files::load(&made.signer_config).unwrap();
        assert!(signer.listen.is_some() && signer.chains.is_empty());
        assert!(init.run().unwrap_err().to_string().contains("exists"));

        let add = |id: &str, epoch_length| AddChain {
            id: id.parse().unwrap(),
            genesis_block: Hash32([5; 32]),
            incarnation: 0,
            epoch_length,
            voted_every: 5,
            source: "http://127.0.0.1:3".parse().unwrap(),
            signer_config: made.signer_config.clone(),
            config: made.config.clone(),
        };
        let added = add("dev", 50).run().unwrap();
        let signer: SignerConfig = files::load(&made.signer_config).unwrap();
        let voter: VoterConfig = files::load(&made.config).unwrap();
        assert_eq!(voter.sources[0].chain.as_str(), "dev");
        assert_eq!(voter.signer_socket, signer.socket);
        let password = PasswordSource::File(dir.path().join("password")).read("").unwrap();
        let network = bitcoin::Network::Regtest;
        let opened = keys::open_provider(&signer.chains[0].key_file, &added.chain, &password, network);
        assert_eq!(ProviderKey::from(opened.unwrap().public()), added.key);

        for (again, part) in
            [(add("dev", 50), "has chain dev"), (add("other", 51), "multiple of voted_every")]
        {
            let why = again.run().unwrap_err().to_string();
            assert!(why.contains(part), "{why}");
        }
        assert_eq!(files::load::<SignerConfig>(&made.signer_config).unwrap().chains.len(), 1);
    }
}
