//! Making a member: its key and its configuration.

use crate::config::DEFAULT;
use crate::run::KEY_PURPOSE;
use anyhow::ensure;
use bitcoin::Amount;
use clap::Args;
use palisade_hub::daemon::amount::possible;
use palisade_hub::daemon::config as files;
use palisade_hub::daemon::endpoint::{NotHttp, http_url};
use palisade_hub::daemon::exit::Failure;
use palisade_hub::daemon::keyfile::{self, KdfCost, KeyLabel};
use palisade_hub::daemon::keygen::new_key;
use palisade_hub::daemon::network::NetworkArgs;
use palisade_hub::daemon::password::PasswordSource;
use palisade_hub::daemon::private_file::{self, Exists};
use palisade_hub::daemon::template::Template;
use rand::rngs::OsRng;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use toml::Value;

/// What a new member needs to know.
#[derive(Debug, Args)]
pub struct Init {
    /// Directory for the key and the configuration.
    #[arg(long, default_value = ".")]
    dir: PathBuf,
    /// Which Bitcoin network.
    #[command(flatten)]
    network: NetworkArgs,
    /// The hub.
    #[arg(long, default_value = "http://127.0.0.1:8200", value_parser = url_text)]
    hub: String,
    /// Where the genesis document will be; it names this member's key, so it can be made later.
    #[arg(long, default_value = "genesis.json")]
    genesis: PathBuf,
    /// Where health and metrics are served.
    #[arg(long, default_value = "127.0.0.1:8240")]
    listen: SocketAddr,
    /// Largest stake that is signed, like "10 BTC"; by default 10 BTC on mainnet and 1,000 BTC elsewhere.
    #[arg(long, value_name = "AMOUNT", value_parser = amount)]
    max_stake: Option<Amount>,
    /// Most that is signed in a window of 144 Bitcoin blocks; by default 100 BTC on mainnet and 10,000 BTC elsewhere.
    #[arg(long, value_name = "AMOUNT", value_parser = amount)]
    max_window: Option<Amount>,
    /// File with the password for the new key.
    #[arg(long)]
    password_file: Option<PathBuf>,
}

/// What `init` made.
#[derive(Debug, serde::Serialize)]
pub struct Made {
    /// The member's public key, for the genesis document.
    pub key: String,
    /// The configuration.
    pub config: PathBuf,
    /// Largest stake that the member will sign, in sat.
    pub max_stake_sat: u64,
    /// Most that it will sign in a window of Bitcoin blocks, in sat.
    pub max_window_sat: u64,
}

impl std::fmt::Display for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "covenant key  {}", self.key)?;
        writeln!(f, "configuration {}", self.config.display())?;
        let [stake, window] = [self.max_stake_sat, self.max_window_sat].map(Amount::from_sat);
        writeln!(
            f,
            "limits        signs stakes of up to {stake}, and {window} in all in a window of Bitcoin blocks: see [policy]"
        )?;
        write!(
            f,
            "next: give the key to whoever writes the parameters, then `palisade-covenant run --config {}`",
            self.config.display()
        )
    }
}

impl Init {
    /// Makes the files, all or none. None that exists is touched.
    pub fn run(&self) -> Result<Made, Failure> {
        let network = self.network.permitted()?;
        Ok(self.make(network)?)
    }

    fn make(&self, network: bitcoin::Network) -> anyhow::Result<Made> {
        let dir = std::path::absolute(&self.dir)?;
        // A key without a configuration would be in the way of the next try.
        let [key_file, config] = ["covenant.key.json", "covenant.toml"].map(|name| dir.join(name));
        private_file::check_free([&key_file, &config].map(PathBuf::as_path))?;
        let [max_stake_sat, max_window_sat] = self.limits(network).map(Amount::to_sat);
        let own = self.config_text(&dir, max_stake_sat, max_window_sat)?;
        let (secret, key) = new_key()?;
        let password =
            PasswordSource::usual(self.password_file.clone()).read_new("Password for the new key: ")?;
        let label = KeyLabel::new(KEY_PURPOSE, &key.to_string())?;
        let cost = KdfCost::for_network(network);
        private_file::create_dir(&dir)?;
        keyfile::create(&key_file, &label, &secret, &password, cost, &mut OsRng)?;
        ensure!(files::write_default(&config, &own)?, Exists(config));
        Ok(Made { key: key.to_string(), config, max_stake_sat, max_window_sat })
    }

    /// Most for a stake and for a window: as asked, else what the network's coins are worth.
    fn limits(&self, network: bitcoin::Network) -> [Amount; 2] {
        let [stake, window] = match network {
            bitcoin::Network::Bitcoin => [10, 100],
            _ => [1_000, 10_000],
        };
        let usual = |asked: Option<Amount>, btc| asked.unwrap_or(Amount::from_int_btc(btc));
        [usual(self.max_stake, stake), usual(self.max_window, window)]
    }

    fn config_text(&self, dir: &Path, max_stake: u64, max_window: u64) -> anyhow::Result<String> {
        let limit = |sat: u64| Ok::<_, anyhow::Error>(Value::Integer(sat.try_into()?));
        Ok(self
            .network
            .fill(Template::new(DEFAULT))?
            .path("data_dir", dir.join("covenant-data"))?
            .file("genesis_file", Some(&self.genesis))?
            .path("key_file", dir.join("covenant.key.json"))?
            .file("password_file", self.password_file.as_deref())?
            .text("hub.url", &self.hub)?
            .replace("policy.max_stake_sat", &[("max_stake_sat", limit(max_stake)?)])?
            .replace("policy.max_window_sat", &[("max_window_sat", limit(max_window)?)])?
            .text("listen.address", self.listen)?
            .path("listen.address_file", dir.join("covenant.address"))?
            .finish())
    }
}

fn url_text(text: &str) -> Result<String, NotHttp> {
    http_url(text).map(String::from)
}

/// An amount with its unit, of no more than all bitcoin.
fn amount(text: &str) -> Result<Amount, String> {
    possible(text.parse().map_err(|why| format!("{why}: write for example \"10 BTC\""))?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use clap::Parser;
    use palisade_hub::daemon::network::MainnetConsent;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        init: Init,
    }

    #[test]
    fn the_limits_are_the_networks_unless_asked_and_stand_in_the_configuration() {
        let asked = ["--max-stake", "0.5 BTC", "--max-window", "50000000 sat"];
        for (network, more, stake, window) in [
            (bitcoin::Network::Regtest, &[][..], 100_000_000_000, 1_000_000_000_000),
            (bitcoin::Network::Signet, &[], 100_000_000_000, 1_000_000_000_000),
            (bitcoin::Network::Bitcoin, &[], 1_000_000_000, 10_000_000_000),
            (bitcoin::Network::Bitcoin, &asked, 50_000_000, 50_000_000),
        ] {
            let args = [&["init", "--mainnet", MainnetConsent::SENTENCE], more].concat();
            let mut init = Cli::try_parse_from(args).unwrap_or_else(|why| panic!("{why}")).init;
            init.network.network = network.into();
            assert_eq!(init.limits(network).map(Amount::to_sat), [stake, window], "{network}");
            let text = init.config_text(Path::new("/member"), stake, window).unwrap();
            let config: Config = files::parse(Path::new("covenant.toml"), &text).unwrap();
            assert_eq!((config.policy.max_stake_sat, config.policy.max_window_sat), (stake, window));
            assert_eq!(config.listen.address().port(), 8240);
        }
        for bad in ["10", "-1 BTC", "21000001 BTC", "ten BTC"] {
            assert!(Cli::try_parse_from(["init", "--max-stake", bad]).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_cannot_be_made_whole_leaves_no_key_behind() {
        let dir = tempfile::tempdir().unwrap();
        let [member, password] = ["member", "password"].map(|name| dir.path().join(name));
        std::fs::write(&password, "a password of some length").unwrap();
        std::fs::set_permissions(&password, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
        let cli = |hub: &str| {
            let [dir, password] = [&member, &password].map(|path| path.display().to_string());
            Cli::try_parse_from(["init", "--dir", &dir, "--hub", hub, "--password-file", &password])
        };
        for hub in ["foo", "ftp://127.0.0.1:8200", ""] {
            assert!(cli(hub).is_err(), "{hub}");
        }
        let run = || cli("http://127.0.0.1:8200").unwrap_or_else(|why| panic!("{why}")).init.run();
        let mut mainnet = cli("http://127.0.0.1:8200").unwrap_or_else(|why| panic!("{why}")).init;
        mainnet.network.network = bitcoin::Network::Bitcoin.into();
        let why = mainnet.run().unwrap_err().to_string();
        assert!(why.contains("mainnet needs a second key") && !member.exists(), "{why}");
        mainnet.network.consent.mainnet = Some(MainnetConsent::SENTENCE.to_owned());
        mainnet.password_file = Some(dir.path().join("nowhere"));
        let why = mainnet.run().unwrap_err().to_string();
        assert!(why.contains("password file") && !member.exists(), "{why}");
        std::fs::create_dir(&member).unwrap();
        let config = member.join("covenant.toml");
        for name in ["covenant.toml", "covenant.key.json"] {
            std::fs::write(member.join(name), "mine").unwrap();
            let why = run().unwrap_err().to_string();
            assert!(
                why.ends_with(&format!("{name} exists\nhint: nothing was changed; name another --dir")),
                "{why}"
            );
            assert_eq!(std::fs::read_dir(&member).unwrap().count(), 1);
            std::fs::remove_file(member.join(name)).unwrap();
        }
        let said = run().unwrap().to_string();
        assert!(said.contains("stakes of up to 1000 BTC, and 10000 BTC in all"), "{said}");
        assert!(std::fs::read_to_string(&config).unwrap().contains("\"http://127.0.0.1:8200/\""));
    }
}
