//! The voter's configuration file.

use super::source::{Agreeing, DevChain};
use anyhow::Context as _;
use palisade_hub::bitcoind::{Auth, BitcoinRpc};
use palisade_hub::daemon::config::{Invalid, Validate};
use palisade_hub::daemon::endpoint::{self, HubConfig, ListenAddr};
use palisade_hub::daemon::network::{MainnetConsent, Network};
use palisade_hub::daemon::node::{BitcoinAuth, BitcoinConfig};
use palisade_protocol::context::ChainId;
use reqwest::Url;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The commented default file, as `init` writes it.
pub const DEFAULT: &str = include_str!("../../voter.default.toml");

/// See `voter.default.toml` for what each key means.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoterConfig {
    /// Bitcoin network.
    pub network: Network,
    /// Consent to mainnet.
    pub mainnet: Option<MainnetConsent>,
    /// Where the log's copy and the journal live.
    pub data_dir: PathBuf,
    /// The genesis document.
    pub genesis_file: PathBuf,
    /// The signer's socket.
    pub signer_socket: PathBuf,
    /// Epochs for which nonces are committed in advance.
    pub epochs_ahead: u64,
    /// Key of the coins that back registrations.
    pub funding_key_file: PathBuf,
    /// Password of that key.
    pub password_file: Option<PathBuf>,
    /// The hub.
    pub hub: HubConfig,
    /// The own Bitcoin node.
    pub bitcoin: BitcoinConfig,
    /// Where health, metrics and status are served.
    pub listen: ListenAddr,
    /// Where other chains are read. Of several for one chain all must show a block that is voted for.
    #[serde(default)]
    pub sources: Vec<SourceConfig>,
}

/// Where a chain's irreversible blocks are read.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct SourceConfig {
    /// The chain.
    pub chain: ChainId,
    /// Its node.
    #[serde(deserialize_with = "http_url", serialize_with = "as_text")]
    pub url: Url,
}

fn as_text<S: Serializer>(url: &Url, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(url)
}

fn http_url<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Url, D::Error> {
    endpoint::http_url(&String::deserialize(deserializer)?).map_err(D::Error::custom)
}

impl Validate for VoterConfig {
    fn network(&self) -> Network {
        self.network
    }

    fn mainnet_consent(&self) -> Option<MainnetConsent> {
        self.mainnet
    }

    fn validate(&self) -> Result<(), Invalid> {
        if self.epochs_ahead == 0 {
            return Err(Invalid::new("epochs_ahead", "must be at least 1"));
        }
        for (index, source) in self.sources.iter().enumerate() {
            if source.chain.is_zero() {
                return Err(Invalid::new("sources.chain", "chain zero is the hub itself"));
            }
            if self.sources.iter().take(index).any(|other| other == source) {
                let twice = format!("{} is named twice for chain {}", source.url, source.chain);
                return Err(Invalid::new("sources.url", twice));
            }
        }
        Ok(())
    }
}

impl VoterConfig {
    /// The chains that have nodes.
    pub(super) fn chains(&self) -> BTreeSet<ChainId> {
        self.sources.iter().map(|source| source.chain.clone()).collect()
    }

    /// Clients of the nodes of each chain.
    pub(super) fn nodes(&self) -> BTreeMap<ChainId, Agreeing<DevChain>> {
        let mut nodes = BTreeMap::new();
        for SourceConfig { chain, url } in &self.sources {
            let (name, node) = (url.to_string(), DevChain::new(url.clone()));
            match nodes.entry(chain.clone()) {
                Entry::Vacant(new) => drop(new.insert(Agreeing::new(name, node))),
                Entry::Occupied(mut known) => known.get_mut().push(name, node),
            }
        }
        nodes
    }

    /// A client of the own Bitcoin node.
    pub fn bitcoin_rpc(&self) -> anyhow::Result<BitcoinRpc> {
        let auth = match self.bitcoin.auth() {
            BitcoinAuth::Cookie(path) => Auth::Cookie(path.clone()),
            BitcoinAuth::User { .. } => {
                let credentials = self.bitcoin.auth().credentials()?;
                let password = credentials.password.expose().to_owned();
                Auth::UserPass { user: credentials.user, password }
            }
        };
        BitcoinRpc::new(self.bitcoin.rpc_url().as_str(), auth).context("the own Bitcoin node")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_hub::daemon::config::parse;
    use std::path::Path;

    fn read(text: &str) -> Result<VoterConfig, String> {
        parse(Path::new("voter.default.toml"), text).map_err(|why| why.to_string())
    }

    #[test]
    fn the_default_file_is_a_configuration() {
        let config = read(DEFAULT).unwrap();
        assert_eq!(config.network.bitcoin(), bitcoin::Network::Regtest);
        assert!(config.sources.is_empty() && config.epochs_ahead == 336);
    }

    #[test]
    fn unknown_keys_mainnet_and_contradictions_are_refused() {
        let refused = |text: String, part: &str| {
            let why = read(&text).unwrap_err();
            assert!(why.contains(part), "{why}");
        };
        let source =
            |chain: &str| format!("\n[[sources]]\nchain = \"{chain}\"\nurl = \"http://127.0.0.1:1\"\n");
        refused(format!("unsafe_vote = true\n{DEFAULT}"), "unsafe_vote");
        refused(DEFAULT.replace("\"regtest\"", "\"bitcoin\""), "mainnet needs a second key");
        refused(DEFAULT.replace("epochs_ahead = 336", "epochs_ahead = 0"), "epochs_ahead");
        refused(format!("{DEFAULT}{}", source("zero")), "chain zero is the hub itself");
        let twice = "http://127.0.0.1:1/ is named twice for chain dev";
        refused(format!("{DEFAULT}{}{}", source("dev"), source("dev")), twice);
        assert_eq!(read(&format!("{DEFAULT}{}", source("dev"))).unwrap().sources.len(), 1);
        let other = source("dev").replace(":1\"", ":2\"");
        assert_eq!(read(&format!("{DEFAULT}{}{other}", source("dev"))).unwrap().sources.len(), 2);
    }
}
