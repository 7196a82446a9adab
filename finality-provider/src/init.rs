//! Making a finality provider: its keys and its two configurations.

use crate::keys;
use crate::signer::config::{self as signer_config, SignerConfig};
use crate::voter::config::{self as voter_config, VoterConfig};
use clap::Args;
use palisade_hub::daemon::config as files;
use palisade_hub::daemon::endpoint::http_url;
use palisade_hub::daemon::exit::Failure;
use palisade_hub::daemon::genesis::read_genesis;
use palisade_hub::daemon::network::{ConsentArgs, Network};
use palisade_hub::daemon::node_args::NodeArgs;
use palisade_hub::daemon::password::PasswordSource;
use palisade_hub::daemon::private_file;
use palisade_hub::daemon::template::Template;
use palisade_protocol::context::ChainId;
use palisade_protocol::genesis::Genesis;
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::ProviderKey;
use reqwest::Url;
use serde::Serialize;
use std::fmt;
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
    #[arg(long, default_value = "http://127.0.0.1:8200", value_parser = http_url)]
    pub hub: Url,
    /// The own bitcoind.
    #[command(flatten)]
    pub node: NodeArgs,
    /// Consent to mainnet.
    #[command(flatten)]
    pub consent: ConsentArgs,
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
    pub fn run(&self) -> Result<Made, Failure> {
        let genesis = read_genesis(&self.genesis).map_err(anyhow::Error::from)?;
        self.consent.permitted(genesis.network().into())?;
        Ok(self.make(&genesis)?)
    }

    fn make(&self, genesis: &Genesis) -> anyhow::Result<Made> {
        let network = genesis.network();
        let dir = std::path::absolute(&self.dir)?;
        let [signer_config, config, zero_file, bls_file, funding_file] =
            ["signer.toml", "voter.toml", "keys/zero.json", "keys/bls.json", "keys/funding.json"]
                .map(|name| dir.join(name));
        private_file::check_free(
            [&signer_config, &config, &zero_file, &bls_file, &funding_file].map(PathBuf::as_path),
        )?;
        let (signer, voter) =
            (self.signer_text(&dir, network.into())?, self.voter_text(&dir, network.into())?);
        let password =
            PasswordSource::usual(self.password_file.clone()).read_new("Password for the new keys: ")?;
        private_file::create_dir(&dir.join("keys"))?;
        let zero = ChainId::zero();
        let key = keys::create_provider(&zero_file, &zero, &password, network)?;
        let bls = keys::create_bls(&bls_file, &password, network)?;
        let address = keys::create_funding(&funding_file, &password, network)?;
        files::write_default(&signer_config, &signer)?;
        files::write_default(&config, &voter)?;
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
        Ok(self
            .consent
            .fill(network, Template::new(default))?
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

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use palisade_protocol::genesis::GenesisDocument;
    use palisade_world::World;

    /// A new provider in a directory, of the hub with this genesis document.
    pub(crate) fn init(dir: &Path, genesis: &GenesisDocument) -> Init {
        let file = dir.join("the hub's genesis.json");
        std::fs::write(&file, serde_json::to_string(genesis).unwrap()).unwrap();
        std::fs::write(dir.join("password"), "correct horse\n").unwrap();
        std::fs::set_permissions(dir.join("password"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
            .unwrap();
        Init {
            dir: dir.join("a provider"),
            genesis: file,
            hub: "http://127.0.0.1:1".parse().unwrap(),
            node: NodeArgs {
                url: "http://127.0.0.1:2".to_owned(),
                cookie: Some(dir.join(".cookie")),
                user: None,
                user_password: None,
            },
            consent: ConsentArgs::default(),
            socket: None,
            listen: "127.0.0.1:0".parse().unwrap(),
            signer_listen: "127.0.0.1:0".parse().unwrap(),
            password_file: Some(dir.join("password")),
        }
    }

    #[test]
    fn what_init_writes_can_be_read_and_is_never_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        let mut init = init(dir.path(), World::new(1_000).ledger.genesis().document());
        let password = init.password_file.replace(dir.path().join("nowhere"));
        init.run().unwrap_err();
        assert!(!init.dir.exists(), "nothing is left of what was refused");
        init.password_file = password;
        let left = init.dir.join("keys/bls.json");
        private_file::create_dir(&init.dir.join("keys")).unwrap();
        std::fs::write(&left, "mine").unwrap();
        let why = init.run().unwrap_err().to_string();
        assert!(why.contains("bls.json exists\nhint: nothing was changed; name another --dir"), "{why}");
        assert_eq!(std::fs::read_dir(init.dir.join("keys")).unwrap().count(), 1);
        std::fs::remove_file(&left).unwrap();
        let made = init.run().unwrap();
        assert!(made.funding_address.starts_with("bcrt1p"));
        let signer: SignerConfig = files::load(&made.signer_config).unwrap();
        assert!(signer.listen.is_some() && signer.chains.is_empty());
        let voter: VoterConfig = files::load(&made.config).unwrap();
        assert_eq!(voter.signer_socket, signer.socket);
        let why = init.run().unwrap_err().to_string();
        assert!(why.contains("exists"), "{why}");
    }
}
