//! The member's configuration file.

use crate::judge::Policy;
use palisade_hub::daemon::config::{Invalid, Validate};
use palisade_hub::daemon::endpoint::{HubConfig, ListenAddr};
use palisade_hub::daemon::network::{MainnetConsent, Network};
use serde::Deserialize;
use std::path::PathBuf;

/// The commented default file, as `init` writes it.
pub const DEFAULT: &str = include_str!("../covenant.default.toml");

/// See `covenant.default.toml` for what each key means.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Bitcoin network.
    pub network: Network,
    /// Consent to mainnet.
    pub mainnet: Option<MainnetConsent>,
    /// Own log and audit log.
    pub data_dir: PathBuf,
    /// The hub's genesis document.
    pub genesis_file: PathBuf,
    /// The member's key.
    pub key_file: PathBuf,
    /// The key file's password.
    pub password_file: Option<PathBuf>,
    /// The hub.
    pub hub: HubConfig,
    /// Health and metrics.
    pub listen: ListenAddr,
    /// What is signed.
    pub policy: Policy,
}

impl Validate for Config {
    fn network(&self) -> Network {
        self.network
    }

    fn mainnet_consent(&self) -> Option<MainnetConsent> {
        self.mainnet
    }

    fn validate(&self) -> Result<(), Invalid> {
        match self.policy.window_blocks {
            0 => Err(Invalid::new("policy.window_blocks", "must be at least 1")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_hub::daemon::config::parse;
    use std::path::Path;

    #[test]
    fn the_default_file_is_a_configuration_and_an_unknown_key_is_refused() {
        let config: Config = parse(Path::new("covenant.default.toml"), DEFAULT).unwrap();
        assert_eq!(config.policy.window_blocks, 144);
        let typo = DEFAULT.replace("max_stake_sat", "max_steak_sat");
        assert!(parse::<Config>(Path::new("x"), &typo).unwrap_err().to_string().contains("max_steak_sat"));
    }
}
