//! The signer's configuration file.

use palisade_hub::daemon::config::{Invalid, Validate};
use palisade_hub::daemon::endpoint::ListenAddr;
use palisade_hub::daemon::network::{MainnetConsent, Network};
use palisade_protocol::context::{ChainId, ChainIdentity, Terms};
use palisade_protocol::genesis::Genesis;
use palisade_protocol::hash::Hash32;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The commented default file, as `init` writes it.
pub const DEFAULT: &str = include_str!("../../signer.default.toml");

/// See `signer.default.toml` for what each key means.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SignerConfig {
    /// Bitcoin network.
    pub network: Network,
    /// Consent to mainnet.
    pub mainnet: Option<MainnetConsent>,
    /// Where the record lives.
    pub data_dir: PathBuf,
    /// The genesis document.
    pub genesis_file: PathBuf,
    /// The socket that the voter connects to.
    pub socket: PathBuf,
    /// Password of the key files.
    pub password_file: Option<PathBuf>,
    /// Key for chain zero.
    pub zero_key_file: PathBuf,
    /// The incarnation of chain zero that the operator accepts: 0 unless governance recovered it.
    #[serde(default)]
    pub zero_incarnation: u32,
    /// Key for checkpoints.
    pub bls_key_file: PathBuf,
    /// Where health and metrics are served, if anywhere.
    pub listen: Option<ListenAddr>,
    /// Chains other than chain zero.
    #[serde(default)]
    pub chains: Vec<ChainConfig>,
}

/// A chain that the signer may sign on. All of it enters what is signed.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    /// Its name.
    pub id: ChainId,
    /// Hash of its genesis block.
    pub genesis: Hash32,
    /// Counts its restarts.
    #[serde(default)]
    pub incarnation: u32,
    /// Heights in an epoch.
    pub epoch_length: u64,
    /// Heights divisible by this are voted on.
    pub voted_every: u64,
    /// The key for it.
    pub key_file: PathBuf,
}

impl ChainConfig {
    /// The chain as signatures see it.
    pub fn identity(&self, genesis: &Genesis) -> ChainIdentity {
        let zero = genesis.zero();
        ChainIdentity { id: self.id.clone(), genesis: self.genesis, incarnation: self.incarnation, ..zero }
    }

    /// Whether it is the same chain with the same terms, whichever file has its key.
    pub fn has_terms_of(&self, other: &Self) -> bool {
        let of = |it: &Self| (it.genesis, it.incarnation, it.epoch_length, it.voted_every);
        self.id == other.id && of(self) == of(other)
    }

    /// Its terms, as far as a signer needs them: how much power opens a chain is not its business.
    pub fn terms(&self) -> Terms {
        Terms { epoch_length: self.epoch_length, voted_every: self.voted_every, minimum_power_sat: 1 }
    }
}

impl Validate for SignerConfig {
    fn network(&self) -> Network {
        self.network
    }

    fn mainnet_consent(&self) -> Option<MainnetConsent> {
        self.mainnet
    }

    fn validate(&self) -> Result<(), Invalid> {
        for (index, chain) in self.chains.iter().enumerate() {
            if chain.id.is_zero() {
                return Err(Invalid::new("chains.id", "chain zero is always there; it needs no table"));
            }
            if self.chains.iter().take(index).any(|other| other.id == chain.id) {
                return Err(Invalid::new("chains.id", format!("{} has two tables", chain.id)));
            }
            chain.terms().check().map_err(|rule| Invalid::new(format!("chains.{}", chain.id), rule))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_hub::daemon::config::parse;
    use std::path::Path;

    fn read(text: &str) -> Result<SignerConfig, String> {
        parse(Path::new("signer.default.toml"), text).map_err(|why| why.to_string())
    }

    #[test]
    fn the_default_file_is_a_configuration() {
        let config = read(DEFAULT).unwrap();
        assert_eq!(config.network.bitcoin(), bitcoin::Network::Regtest);
        assert!(config.chains.is_empty());
        assert_eq!(config.listen.unwrap().address().to_string(), "127.0.0.1:8221");
    }

    #[test]
    fn unknown_keys_mainnet_and_impossible_chains_are_refused() {
        let refused = |text: String, part: &str| {
            let why = read(&text).unwrap_err();
            assert!(why.contains(part), "{why}");
        };
        refused(format!("unsafe_sign = true\n{DEFAULT}"), "unsafe_sign");
        refused(DEFAULT.replace("\"regtest\"", "\"bitcoin\""), "mainnet needs a second key");
        let chain = |id: &str, every: u64| {
            let genesis = "11".repeat(32);
            format!(
                "{DEFAULT}\n[[chains]]\nid = \"{id}\"\ngenesis = \"{genesis}\"\nepoch_length = 50\n\
                 voted_every = {every}\nkey_file = \"k\"\n"
            )
        };
        refused(chain("zero", 5), "chain zero is always there");
        refused(chain("dev", 7), "multiple of voted_every");
        let again = chain("dev", 5).replace(DEFAULT, "");
        refused(format!("{}{again}", chain("dev", 5)), "dev has two tables");
        assert_eq!(read(&chain("dev", 5)).unwrap().chains[0].terms().voted_heights(), 10);
    }
}
