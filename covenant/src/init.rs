//! Making a member: its key and its configuration.

use crate::config::DEFAULT;
use crate::run::KEY_PURPOSE;
use anyhow::ensure;
use clap::Args;
use palisade_hub::daemon::config as files;
use palisade_hub::daemon::endpoint::{NotHttp, http_url};
use palisade_hub::daemon::exit::Failure;
use palisade_hub::daemon::keyfile::{self, KdfCost, KeyLabel};
use palisade_hub::daemon::network::NetworkArgs;
use palisade_hub::daemon::password::PasswordSource;
use palisade_hub::daemon::private_file;
use palisade_hub::daemon::secret::Secret;
use palisade_hub::daemon::template::{NoSuchKey, Template};
use palisade_protocol::curve::KeyPair;
use rand::RngCore as _;
use rand::rngs::OsRng;
use std::path::{Path, PathBuf};

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
}

impl std::fmt::Display for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "covenant key  {}", self.key)?;
        writeln!(f, "configuration {}", self.config.display())?;
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
        let own = self.config_text(&dir)?;
        let (secret, key) = new_key()?;
        let password =
            PasswordSource::usual(self.password_file.clone()).read_new("Password for the new key: ")?;
        let label = KeyLabel::new(KEY_PURPOSE, &key.to_string())?;
        let cost = KdfCost::for_network(network);
        private_file::create_dir(&dir)?;
        keyfile::create(&key_file, &label, &secret, &password, cost, &mut OsRng)?;
        ensure!(files::write_default(&config, &own)?, "{} exists", config.display());
        Ok(Made { key: key.to_string(), config })
    }

    fn config_text(&self, dir: &Path) -> Result<String, NoSuchKey> {
        Ok(self
            .network
            .fill(Template::new(DEFAULT))?
            .path("data_dir", dir.join("covenant-data"))?
            .file("genesis_file", Some(&self.genesis))?
            .path("key_file", dir.join("covenant.key.json"))?
            .file("password_file", self.password_file.as_deref())?
            .text("hub.url", &self.hub)?
            .path("listen.address_file", dir.join("covenant.address"))?
            .finish())
    }
}

fn url_text(text: &str) -> Result<String, NotHttp> {
    http_url(text).map(String::from)
}

/// A key from the operating system's randomness.
fn new_key() -> anyhow::Result<(Secret<[u8; 32]>, palisade_protocol::curve::XOnlyPublicKey)> {
    loop {
        let mut bytes = [0; 32];
        OsRng.try_fill_bytes(&mut bytes)?;
        // All but one in 2^128 candidates are keys.
        if let Ok(key) = KeyPair::from_secret_bytes(&bytes) {
            return Ok((Secret::new(bytes), key.public()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;
    use palisade_hub::daemon::network::MainnetConsent;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        init: Init,
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
        mainnet.network.mainnet = Some(MainnetConsent::SENTENCE.to_owned());
        mainnet.password_file = Some(dir.path().join("nowhere"));
        let why = mainnet.run().unwrap_err().to_string();
        assert!(why.contains("password file") && !member.exists(), "{why}");
        std::fs::create_dir(&member).unwrap();
        let config = member.join("covenant.toml");
        for name in ["covenant.toml", "covenant.key.json"] {
            std::fs::write(member.join(name), "mine").unwrap();
            let why = run().unwrap_err().to_string();
            assert!(why.ends_with(&format!("{name} exists")), "{why}");
            assert_eq!(std::fs::read_dir(&member).unwrap().count(), 1);
            std::fs::remove_file(member.join(name)).unwrap();
        }
        run().unwrap();
        assert!(std::fs::read_to_string(&config).unwrap().contains("\"http://127.0.0.1:8200/\""));
    }
}
