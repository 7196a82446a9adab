//! The hub's configuration file.

use crate::daemon::config::{Invalid, Validate};
use crate::daemon::endpoint::{HubConfig, HubUrl, ListenAddr};
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
    /// Hubs that follow this one, which makes no block before they have answered. Outside of regtest none must be said.
    pub followers: Option<Vec<HubUrl>>,
    /// Another hub to follow.
    pub follow: Option<HubConfig>,
    /// Where the API is served.
    pub listen: ListenAddr,
}

impl Config {
    /// The hubs that follow this one.
    pub fn followers(&self) -> &[HubUrl] {
        self.followers.as_deref().unwrap_or_default()
    }
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
            (Some(_), None)
                if self.followers.is_none() && self.network.bitcoin() != bitcoin::Network::Regtest =>
            {
                Err(Invalid::new(
                    "followers",
                    "is missing: name a hub on another machine that follows this one, or write `followers = []` and know that after a \
                 loss of the log blocks are signed twice",
                ))
            }
            (_, Some(_)) if !self.followers().is_empty() => {
                Err(Invalid::new("followers", "are asked by a hub that makes blocks: this one has `follow`"))
            }
            (_, Some(leader)) if leader.is(self.listen.address()) => {
                Err(Invalid::new("follow.url", "must not name this hub itself: it has what it has"))
            }
            _ if self.followers().iter().any(|follower| follower.is(self.listen.address())) => {
                Err(Invalid::new("followers", "must not name this hub itself: it knows what it knows"))
            }
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
        assert!(config.follow.is_none() && config.followers.is_none());
    }

    #[test]
    fn followers_are_other_hubs_and_only_for_a_hub_that_makes_blocks() {
        let named = |value: &str| {
            let text =
                DEFAULT.replace("# followers = [\"http://127.0.0.1:8201\"]", &format!("followers = {value}"));
            assert_ne!(text, DEFAULT);
            text
        };
        let read = |text: &str| parse::<Config>(Path::new("hub.toml"), text).map_err(|why| why.to_string());
        let two = read(&named("[\"http://127.0.0.1:8201\", \"https://hub.example/x\"]")).unwrap();
        let urls: Vec<&str> = two.followers().iter().map(|follower| follower.url().as_str()).collect();
        assert_eq!(urls, ["http://127.0.0.1:8201/", "https://hub.example/x/"]);
        let own = read(&named("[\"http://127.0.0.1:8200\"]")).unwrap_err();
        assert!(own.contains("`followers`: must not name this hub itself"), "{own}");
        let follower = named("[\"http://127.0.0.1:8201\"]") + "[follow]\nurl = \"http://127.0.0.1:8202\"\n";
        assert!(read(&follower).unwrap_err().contains("this one has `follow`"));
        let own = read(&format!("{DEFAULT}[follow]\nurl = \"http://localhost:8200\"\n")).unwrap_err();
        assert!(own.contains("`follow.url`: must not name this hub itself"), "{own}");
        let secret = read(&named("[\"http://me:hunter2@127.0.0.1\"]")).unwrap_err();
        assert!(secret.contains("must be an http") && !secret.contains("hunter2"), "{secret}");
    }

    #[test]
    fn outside_of_regtest_a_hub_that_makes_blocks_names_its_followers_or_says_that_it_has_none() {
        let read = |text: &str| parse::<Config>(Path::new("hub.toml"), text).map_err(|why| why.to_string());
        let signet = DEFAULT.replace("\"regtest\"\n", "\"signet\"\n");
        assert!(read(&signet).unwrap_err().contains("`followers`: is missing"));
        let said = |value: &str| {
            signet.replace("# followers = [\"http://127.0.0.1:8201\"]", &format!("followers = {value}"))
        };
        assert!(read(&said("[]")).unwrap().followers().is_empty());
        assert_eq!(read(&said("[\"http://127.0.0.1:8201\"]")).unwrap().followers().len(), 1);
        let follower = format!("{signet}\n[follow]\nurl = \"http://127.0.0.1:8201\"\n");
        assert!(read(&follower).unwrap().followers.is_none());
    }

    #[test]
    fn only_a_follower_has_no_key_and_an_unknown_key_or_mainnet_is_refused() {
        let read = |text: &str| parse::<Config>(Path::new("hub.toml"), text).map_err(|why| why.to_string());
        let keyless = DEFAULT.replace("key_file =", "# key_file =");
        assert!(read(&keyless).unwrap_err().contains("`key_file`: is missing"));
        let follower = format!("{keyless}\n[follow]\nurl = \"http://127.0.0.1:8201\"\n");
        assert!(read(&follower).unwrap().follow.is_some());
        assert!(read(&DEFAULT.replace("data_dir", "data_dri")).unwrap_err().contains("data_dri"));
        let mainnet = read(&DEFAULT.replace("\"regtest\"\n", "\"bitcoin\"\n")).unwrap_err();
        assert!(mainnet.contains("mainnet needs a second key"), "{mainnet}");
    }
}
