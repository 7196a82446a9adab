//! The hub's configuration file.

use crate::daemon::config::{Invalid, Validate};
use crate::daemon::endpoint::{HubConfig, ListenAddr};
use crate::daemon::network::{MainnetConsent, Network};

use serde::Deserialize;
use std::path::PathBuf;

/// The commented default file, as `init` writes it.
pub const DEFAULT: &str = include_str!("../hub.default.toml");

/// See `hub.default.toml` for what each key means.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Bitcoin network.
    pub network: Network,
    /// Consent to mainnet.
    pub mainnet: Option<MainnetConsent>,
    /// Where the log lives.
    pub data_dir: PathBuf,
    /// The genesis document.
    pub genesis_file: PathBuf,
    /// The key that signs blocks; only a follower has none.
    pub key_file: Option<PathBuf>,
    /// The key file's password.
    pub password_file: Option<PathBuf>,
    /// Another hub to follow.
    pub follow: Option<HubConfig>,
    /// Where the API is served.
    pub listen: ListenAddr,
}

impl Validate for Config {
    fn network(&self) -> Network {
        self.network
    }

    fn mainnet_consent(&self) -> Option<MainnetConsent> {
        self.mainnet
    }

    fn validate(&self) -> Result<(), Invalid> {
        match (&self.key_file, &self.follow) {
            (None, None) => Err(Invalid::new("key_file", "is missing: only a follower needs none")),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::daemon::config::parse;
    use std::path::Path;

    #[test]
    fn the_default_file_is_a_configuration() {
        let config: Config = parse(Path::new("hub.default.toml"), DEFAULT).unwrap();
        assert_eq!(config.network.bitcoin(), bitcoin::Network::Regtest);
        assert!(config.follow.is_none());
    }

    #[test]
    fn only_a_follower_has_no_key_and_an_unknown_key_or_mainnet_is_refused() {
        let read = |text: &str| parse::<Config>(Path::new("hub.toml"), text).map_err(|why| why.to_string());
        let keyless = DEFAULT.replace("key_file =", "# key_file =");
        assert!(read(&keyless).unwrap_err().contains("`key_file`: is missing"));
        let follower = format!("{keyless}\n[follow]\nurl = \"http://127.0.0.1:8200\"\n");
        assert!(read(&follower).unwrap().follow.is_some());
        assert!(read(&DEFAULT.replace("data_dir", "data_dri")).unwrap_err().contains("data_dri"));
        let mainnet = read(&DEFAULT.replace("\"regtest\"\n", "\"bitcoin\"\n")).unwrap_err();
        assert!(mainnet.contains("mainnet needs a second key"), "{mainnet}");
    }
}
