//! Which Bitcoin network a process works on, and the sentence without which it is never mainnet.

use std::fmt;
use std::str::FromStr;

use clap::Args;
use serde::{Deserialize, Serialize};
use toml::Value;

use super::exit::Failure;
use super::template::{NoSuchKey, Template};

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

/// The network that a key or a configuration is made for: flags of every command that makes one.
#[derive(Debug, Clone, Args)]
pub struct NetworkArgs {
    /// Bitcoin network.
    #[arg(long, default_value = "regtest")]
    pub network: Network,
    /// Consent to mainnet.
    #[command(flatten)]
    pub consent: ConsentArgs,
}

impl NetworkArgs {
    /// The network, if it is [permitted](Network::permitted). Asked before anything is made.
    pub fn permitted(&self) -> Result<bitcoin::Network, Failure> {
        self.consent.permitted(self.network)
    }

    /// Both in the place of the default's `network`.
    pub fn fill(&self, own: Template) -> Result<Template, NoSuchKey> {
        self.consent.fill(self.network, own)
    }
}

/// The consent alone, where a genesis document says which network it is.
#[derive(Debug, Clone, Default, Args)]
pub struct ConsentArgs {
    /// Consent to mainnet, in the words that the refusal names.
    #[arg(long)]
    pub mainnet: Option<String>,
}

impl ConsentArgs {
    /// The network, if it is [permitted](Network::permitted). Asked before anything is made.
    pub fn permitted(&self, network: Network) -> Result<bitcoin::Network, Failure> {
        let consent = self.mainnet.clone().map(MainnetConsent::try_from).transpose();
        let consent = consent.map_err(|why| Failure::usage(format_args!("--mainnet {why}")))?;
        network.permitted(consent).map_err(|why| {
            Failure::usage(why)
                .hint(format_args!("on the command line: --mainnet \"{}\"", MainnetConsent::SENTENCE))
        })
    }

    /// Network and consent in the place of the default's `network`.
    pub fn fill(&self, network: Network, own: Template) -> Result<Template, NoSuchKey> {
        let network = Value::String(network.to_string());
        let consent = self.mainnet.clone().map(|sentence| ("mainnet", Value::String(sentence)));
        own.replace("network", &std::iter::once(("network", network)).chain(consent).collect::<Vec<_>>())
    }
}

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
    fn a_command_that_makes_a_key_takes_mainnet_in_these_words_only_and_writes_them_down() {
        let args = |network: &str, mainnet: Option<&str>| NetworkArgs {
            network: network.parse().unwrap(),
            consent: ConsentArgs { mainnet: mainnet.map(str::to_owned) },
        };
        let sentence = MainnetConsent::SENTENCE;
        for (network, mainnet, taken) in [
            ("regtest", None, true),
            ("bitcoin", None, false),
            ("bitcoin", Some("yes"), false),
            ("regtest", Some("yes"), false),
            ("bitcoin", Some(sentence), true),
        ] {
            let judged = args(network, mainnet).permitted();
            assert_eq!(judged.is_ok(), taken, "{network} {mainnet:?}");
            if let Err(why) = judged {
                assert!(why.to_string().contains(sentence) && why.exit() as u8 == 2, "{why}");
            }
        }
        let filled = |own: NetworkArgs| own.fill(Template::new("network = \"regtest\"\n")).unwrap().finish();
        assert_eq!(filled(args("signet", None)), "network = \"signet\"\n");
        let mainnet = format!("network = \"bitcoin\"\nmainnet = \"{sentence}\"\n");
        assert_eq!(filled(args("bitcoin", Some(sentence))), mainnet);
    }
}
