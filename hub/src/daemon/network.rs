//! Which Bitcoin network a process works on, and the sentence without which it is never mainnet.

use std::fmt;
use std::str::FromStr;

use bitcoin::BlockHash;
use bitcoin::blockdata::constants::genesis_block;
use serde::{Deserialize, Serialize};

/// A Bitcoin network, written `bitcoin`, `testnet`, `testnet4`, `signet` or `regtest`.
///
/// Reading one from a configuration does not yet permit it: [`config::load`](super::config::load) asks
/// [`permitted`](Self::permitted).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(bitcoin::Network);

/// The operator's word that mainnet is meant: the configuration key `mainnet` with exactly [`Self::SENTENCE`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct MainnetConsent(());

/// Why a network was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NetworkRefused {
    /// No such network.
    #[error("`{found}` is no network; known are `bitcoin`, `testnet`, `testnet4`, `signet` and `regtest`")]
    Unknown {
        /// What was written.
        found: String,
    },
    /// Mainnet without the sentence.
    #[error("mainnet needs a second key: mainnet = \"{}\"", MainnetConsent::SENTENCE)]
    MainnetNotMeant,
    /// Not the sentence, not to the letter.
    #[error("must read exactly \"{}\"", MainnetConsent::SENTENCE)]
    NotTheSentence,
    /// A node, hub or genesis document belongs to another network.
    #[error(
        "configured for {configured}, whose first block is {expected}, but found a chain that begins with {found}"
    )]
    OtherChain {
        /// The network of the configuration.
        configured: Network,
        /// The first block of that network.
        expected: BlockHash,
        /// The first block of the chain that was found.
        found: BlockHash,
    },
}

impl Network {
    /// The network itself.
    pub fn bitcoin(self) -> bitcoin::Network {
        self.0
    }

    /// Whether a process may run on this network: every test network, and mainnet with consent.
    pub fn permitted(self, consent: Option<MainnetConsent>) -> Result<bitcoin::Network, NetworkRefused> {
        match (self.0, consent) {
            (bitcoin::Network::Bitcoin, None) => Err(NetworkRefused::MainnetNotMeant),
            (network, _) => Ok(network),
        }
    }

    /// Refuses a chain whose block 0 is not this network's. Every daemon asks this at start, of its node and its hub.
    pub fn require_genesis(self, found: BlockHash) -> Result<(), NetworkRefused> {
        let expected = genesis_block(self.0).block_hash();
        if found == expected {
            Ok(())
        } else {
            Err(NetworkRefused::OtherChain { configured: self, expected, found })
        }
    }
}

impl From<bitcoin::Network> for Network {
    fn from(network: bitcoin::Network) -> Self {
        Self(network)
    }
}

impl FromStr for Network {
    type Err = NetworkRefused;

    fn from_str(text: &str) -> Result<Self, NetworkRefused> {
        text.parse().map(Self).map_err(|_| NetworkRefused::Unknown { found: text.to_owned() })
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkRefused;

    fn try_from(text: String) -> Result<Self, NetworkRefused> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> String {
        network.to_string()
    }
}

impl fmt::Display for Network {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl MainnetConsent {
    /// The words that permit mainnet, to the letter.
    pub const SENTENCE: &str = "I understand that this is experimental software and that coins can be lost";
}

impl TryFrom<String> for MainnetConsent {
    type Error = NetworkRefused;

    fn try_from(text: String) -> Result<Self, NetworkRefused> {
        if text == Self::SENTENCE { Ok(Self(())) } else { Err(NetworkRefused::NotTheSentence) }
    }
}

impl From<MainnetConsent> for String {
    fn from(_: MainnetConsent) -> String {
        MainnetConsent::SENTENCE.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn consent(text: &str) -> Result<MainnetConsent, NetworkRefused> {
        text.to_owned().try_into()
    }

    #[test]
    fn mainnet_needs_the_sentence_and_no_other_network_does() {
        let said =
            consent("I understand that this is experimental software and that coins can be lost").unwrap();
        for name in ["bitcoin", "testnet", "testnet4", "signet", "regtest"] {
            let network: Network = name.parse().unwrap();
            assert_eq!(network.to_string(), name);
            assert_eq!(network.permitted(Some(said)), Ok(network.bitcoin()), "{name}");
            assert_eq!(network.permitted(None).is_ok(), name != "bitcoin", "{name}");
        }
    }

    #[test]
    fn other_words_are_no_consent() {
        let with_a_stop = format!("{}.", MainnetConsent::SENTENCE);
        for words in ["", "yes", "true", &MainnetConsent::SENTENCE.to_uppercase(), &with_a_stop] {
            assert_eq!(consent(words), Err(NetworkRefused::NotTheSentence), "{words}");
        }
    }

    #[test]
    fn other_spellings_are_no_network() {
        for name in ["", "mainnet", "main", "Bitcoin", "regtest ", "testnet3"] {
            assert_eq!(name.parse::<Network>(), Err(NetworkRefused::Unknown { found: name.to_owned() }));
        }
    }

    #[test]
    fn a_chain_of_another_network_is_refused() {
        let names = ["bitcoin", "testnet", "testnet4", "signet", "regtest"];
        for configured in names {
            for found in names {
                let configured: Network = configured.parse().unwrap();
                let other: Network = found.parse().unwrap();
                let genesis = genesis_block(other.bitcoin()).block_hash();
                assert_eq!(
                    configured.require_genesis(genesis).is_ok(),
                    configured == other,
                    "{configured} {found}"
                );
            }
        }
    }
}
