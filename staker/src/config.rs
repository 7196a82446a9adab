//! The staker's configuration file.

use palisade_hub::daemon::config::{Invalid, Validate};
use palisade_hub::daemon::endpoint::HubConfig;
use palisade_hub::daemon::network::{MainnetConsent, Network};
use palisade_hub::daemon::node::BitcoinConfig;
use serde::Deserialize;
use std::path::PathBuf;

/// The commented default file, as `init` writes it.
pub const DEFAULT: &str = include_str!("../staker.default.toml");

/// See `staker.default.toml` for what each key means.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Bitcoin network.
    pub network: Network,
    /// Consent to mainnet.
    pub mainnet: Option<MainnetConsent>,
    /// Where the book, the wallet and the log are.
    pub data_dir: PathBuf,
    /// The genesis document of the hub.
    pub genesis_file: PathBuf,
    /// The encrypted seed.
    pub key_file: PathBuf,
    /// Its password.
    pub password_file: Option<PathBuf>,
    /// The hub.
    pub hub: HubConfig,
    /// The Bitcoin node.
    pub bitcoin: BitcoinConfig,
}

impl Validate for Config {
    fn network(&self) -> Network {
        self.network
    }

    fn mainnet_consent(&self) -> Option<MainnetConsent> {
        self.mainnet
    }

    fn validate(&self) -> Result<(), Invalid> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_hub::daemon::config::parse;
    use std::path::Path;

    fn read(text: &str) -> Result<Config, String> {
        parse(Path::new("staker.toml"), text).map_err(|why| why.to_string())
    }

    #[test]
    fn the_default_file_is_a_configuration() {
        let config = read(DEFAULT).unwrap();
        assert_eq!(config.network.bitcoin(), bitcoin::Network::Regtest);
    }

    #[test]
    fn unknown_keys_and_unasked_for_mainnet_are_refused() {
        let unknown = read(&DEFAULT.replace("data_dir =", "datadir =")).unwrap_err();
        assert!(unknown.contains("datadir"), "{unknown}");
        let mainnet = DEFAULT.replace("network = \"regtest\"", "network = \"bitcoin\"");
        let refused = read(&mainnet).unwrap_err();
        assert!(refused.contains(MainnetConsent::SENTENCE), "{refused}");
        let meant = format!("mainnet = \"{}\"\n{mainnet}", MainnetConsent::SENTENCE);
        assert_eq!(read(&meant).unwrap().network.bitcoin(), bitcoin::Network::Bitcoin);
    }
}
