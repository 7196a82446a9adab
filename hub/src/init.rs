//! Making a hub: its key, its genesis document and its configuration.

use crate::config;
use crate::daemon::bounded;
use crate::daemon::config as files;
use crate::daemon::exit::Failure;
use crate::daemon::keyfile::{self, KdfCost, KeyLabel};
use crate::daemon::keygen::new_key;
use crate::daemon::network::NetworkArgs;
use crate::daemon::password::PasswordSource;
use crate::daemon::private_file::{self, Exists};
use crate::daemon::template::{NoSuchKey, Template};
use crate::run::KEY_PURPOSE;
use anyhow::{Context as _, bail, ensure};
use clap::Args;
use palisade_protocol::context::Terms;
use palisade_protocol::genesis::{Genesis, GenesisDocument, HeaderHex, Magic};
use palisade_protocol::keys::{CovenantKey, GovernanceKey, HubKey};
use palisade_protocol::params::{ParamsDocument, Profile};
use palisade_protocol::units::{BasisPoints, BtcHeight, RelativeBlocks};
use rand::rngs::OsRng;
use std::path::{Path, PathBuf};

/// What a new hub needs to know.
#[derive(Debug, Args)]
pub struct Init {
    /// Directory for the key, the genesis document and the configuration.
    #[arg(long, default_value = ".")]
    pub dir: PathBuf,
    /// Which Bitcoin network.
    #[command(flatten)]
    pub network: NetworkArgs,
    /// Public key of a covenant member; once for each.
    #[arg(long = "covenant", required = true)]
    pub covenant: Vec<CovenantKey>,
    /// Covenant signatures that a spend needs; a majority by default.
    #[arg(long)]
    pub quorum: Option<u8>,
    /// Public key of a governance member; once for each.
    #[arg(long = "governance", required = true)]
    pub governance: Vec<GovernanceKey>,
    /// Governance signatures that a decision needs; a majority by default.
    #[arg(long)]
    pub governance_quorum: Option<u8>,
    /// Where the API is served.
    #[arg(long, default_value = "127.0.0.1:8200")]
    pub listen: std::net::SocketAddr,
    /// Power at which chain zero opens, in sat.
    #[arg(long, default_value_t = 1_000_000)]
    pub minimum_power: u64,
    /// A file of `ParamsDocument` JSON instead of the network's defaults.
    #[arg(long)]
    pub params: Option<PathBuf>,
    /// Early exits and slashings that somebody can pay more for when fees rise (profile `bumpable`), instead of those that other
    /// software for such stakes builds.
    #[arg(long, conflicts_with = "params")]
    pub bumpable: bool,
    /// A file with the base headers, hex, one a line, oldest first; regtest begins at its genesis block without.
    #[arg(long, requires = "base_height")]
    pub base_headers: Option<PathBuf>,
    /// Height of the last base header.
    #[arg(long)]
    pub base_height: Option<u32>,
    /// File with the password for the hub's new key.
    #[arg(long)]
    pub password_file: Option<PathBuf>,
}

/// What `init` made.
#[derive(Debug, serde::Serialize)]
pub struct Made {
    /// The hub's id.
    pub hub: String,
    /// The configuration.
    pub config: PathBuf,
    /// The genesis document.
    pub genesis: PathBuf,
}

impl std::fmt::Display for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(f, "hub {}", self.hub)?;
        writeln!(f, "genesis document: {}", self.genesis.display())?;
        writeln!(f, "configuration:    {}", self.config.display())?;
        write!(f, "next: palisade-hub run --config {}", self.config.display())
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
        let [key_file, genesis_file, config] =
            ["hub.key.json", "genesis.json", "hub.toml"].map(|name| dir.join(name));
        private_file::check_free([&key_file, &genesis_file, &config].map(PathBuf::as_path))?;
        let own = self.config_text(&dir)?;
        let (secret, hub_key) = new_key()?;
        let hub_key = HubKey::from(hub_key);
        let genesis = Genesis::new(self.document(network, hub_key)?)?;
        let password =
            PasswordSource::usual(self.password_file.clone()).read_new("Password for the hub's new key: ")?;
        let cost = KdfCost::for_network(network);
        let label = KeyLabel::new(KEY_PURPOSE, &hub_key.to_string())?;
        private_file::create_dir(&dir)?;
        keyfile::create(&key_file, &label, &secret, &password, cost, &mut OsRng)?;
        let text = serde_json::to_string_pretty(genesis.document())?;
        private_file::create(&genesis_file, text.as_bytes())
            .with_context(|| format!("cannot write {}", genesis_file.display()))?;
        ensure!(files::write_default(&config, &own)?, Exists(config));
        Ok(Made { hub: genesis.id().to_string(), config, genesis: genesis_file })
    }

    fn config_text(&self, dir: &Path) -> Result<String, NoSuchKey> {
        Ok(self
            .network
            .fill(Template::new(config::DEFAULT))?
            .path("data_dir", dir.join("hub-data"))?
            .path("genesis_file", dir.join("genesis.json"))?
            .path("key_file", dir.join("hub.key.json"))?
            .file("password_file", self.password_file.as_deref())?
            .text("listen.address", self.listen)?
            .path("listen.address_file", dir.join("hub.address"))?
            .finish())
    }

    fn document(&self, network: bitcoin::Network, hub_key: HubKey) -> anyhow::Result<GenesisDocument> {
        let (base_headers, base_height) = self.base(network)?;
        let quorum = self.quorum.unwrap_or_else(|| majority(self.covenant.len()));
        let mut params = match &self.params {
            Some(file) => serde_json::from_str(
                &bounded::read_text(file).with_context(|| format!("parameters {}", file.display()))?,
            )
            .with_context(|| format!("parameters {}", file.display()))?,
            None => default_params(network, self.covenant.clone(), quorum)?,
        };
        if self.bumpable {
            params.profile = Profile::Bumpable;
        }
        let regtest = network == bitcoin::Network::Regtest;
        let (epoch_length, interval) = if regtest { (20, 200) } else { (1_800, 2_000) };
        Ok(GenesisDocument {
            network_magic: Magic(network.magic().to_bytes()),
            base_headers,
            base_height,
            hub_key,
            governance: self.governance.clone(),
            governance_quorum: self.governance_quorum.unwrap_or_else(|| majority(self.governance.len())),
            zero: Terms { epoch_length, voted_every: 5, minimum_power_sat: self.minimum_power },
            nonce_roots_ahead: if regtest { 64 } else { 336 },
            block_interval_ms: interval,
            params,
        })
    }

    fn base(&self, network: bitcoin::Network) -> anyhow::Result<(Vec<HeaderHex>, BtcHeight)> {
        let Some(file) = &self.base_headers else {
            if network != bitcoin::Network::Regtest {
                bail!("--base-headers and --base-height are needed on {network}");
            }
            let header = bitcoin::constants::genesis_block(network).header;
            return Ok((vec![HeaderHex(header)], BtcHeight(0)));
        };
        Ok((read_base_headers(file)?, BtcHeight(self.base_height.unwrap_or(0))))
    }
}

/// Headers in hex, one a line.
pub fn read_base_headers(file: &Path) -> anyhow::Result<Vec<HeaderHex>> {
    let text = bounded::read_text(file).with_context(|| format!("base headers {}", file.display()))?;
    let headers = text.lines().filter(|line| !line.trim().is_empty()).map(|line| {
        let header = bitcoin::consensus::encode::deserialize_hex(line.trim());
        header.map(HeaderHex).with_context(|| format!("base headers {}", file.display()))
    });
    headers.collect()
}

/// The table of the design: the demo's column for regtest, the mainnet-like one elsewhere.
pub fn default_params(
    network: bitcoin::Network,
    covenant: Vec<CovenantKey>,
    quorum: u8,
) -> anyhow::Result<ParamsDocument> {
    let regtest = network == bitcoin::Network::Regtest;
    let pick = |demo: u32, main: u32| if regtest { demo } else { main };
    let blocks = |demo: u16, main: u16| RelativeBlocks::new(if regtest { demo } else { main });
    Ok(ParamsDocument {
        from_height: BtcHeight(0),
        k: pick(6, 30),
        w: pick(20, 300),
        covenant,
        quorum,
        unbonding_blocks: blocks(244, 1_008)?,
        unbonding_fee_sat: if regtest { 2_000 } else { 32_000 },
        slash_rate_bp: BasisPoints::new(if regtest { 1_000 } else { 10 })?,
        slash_script: bitcoin::ScriptBuf::new_op_return(*b"palisade"),
        min_slash_fee_sat: if regtest { 2_000 } else { 100_000 },
        min_stake_sat: if regtest { 10_000 } else { 500_000 },
        max_stake_sat: 500_000_000_000,
        min_lock_blocks: blocks(300, 4_320)?,
        max_lock_blocks: blocks(65_535, 64_000)?,
        lapse_blocks: pick(60, 432),
        set_lifetime_blocks: pick(100, 264),
        margin_blocks: pick(18, 144),
        profile: Profile::Compatible,
    })
}

/// How many of so many members are more than half.
pub(crate) fn majority(members: usize) -> u8 {
    u8::try_from(members / 2 + 1).unwrap_or(u8::MAX)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::daemon::genesis::read_genesis;
    use crate::daemon::network::MainnetConsent;
    use bitcoin::secp256k1::{Keypair, SECP256K1};
    use clap::Parser;
    use std::os::unix::fs::PermissionsExt as _;
    use std::sync::Arc;

    #[derive(Parser)]
    struct Cli {
        #[command(flatten)]
        init: Init,
    }

    fn init(dir: &Path, more: &[&str]) -> Init {
        let password = dir.join("password");
        if !password.exists() {
            private_file::create(&password, b"a password of some length").unwrap();
        }
        let key = |byte| {
            let pair = Keypair::from_seckey_slice(SECP256K1, &[byte; 32]).unwrap();
            pair.x_only_public_key().0.to_string()
        };
        let (covenant, governance) = (key(1), key(2));
        let (dir, password) = (dir.join("hub").display().to_string(), password.display().to_string());
        let args = ["init", "--dir", &dir, "--covenant", &covenant, "--governance", &governance];
        let args = [&args[..], &["--password-file", &password], more].concat();
        Cli::try_parse_from(args).unwrap_or_else(|why| panic!("{why}")).init
    }

    /// The genesis document of a new hub in this directory.
    pub(crate) fn genesis(dir: &Path) -> Arc<Genesis> {
        read_genesis(&init(dir, &[]).run().unwrap().genesis).unwrap()
    }

    #[test]
    fn what_cannot_be_made_whole_leaves_nothing_behind() {
        let dir = tempfile::tempdir().unwrap();
        let hub = dir.path().join("hub");
        for (more, wanted) in [
            (&["--network", "bitcoin"][..], "mainnet needs a second key"),
            (&["--network", "signet", "--mainnet", "yes"], "--mainnet must read exactly"),
            (
                &["--network", "bitcoin", "--mainnet", MainnetConsent::SENTENCE],
                "--base-headers and --base-height",
            ),
        ] {
            let why = init(dir.path(), more).run().unwrap_err().to_string();
            assert!(why.contains(wanted), "{why}");
            assert!(!hub.exists(), "{why}");
        }
        let mut without = init(dir.path(), &[]);
        without.password_file = Some(dir.path().join("nowhere"));
        without.run().unwrap_err();
        assert!(!hub.exists());
        std::fs::create_dir(&hub).unwrap();
        for name in ["hub.toml", "genesis.json", "hub.key.json"] {
            std::fs::write(hub.join(name), "mine").unwrap();
            let why = init(dir.path(), &[]).run().unwrap_err().to_string();
            assert!(
                why.ends_with(&format!("{name} exists\nhint: nothing was changed; name another --dir")),
                "{why}"
            );
            assert_eq!(std::fs::read_dir(&hub).unwrap().count(), 1, "{name}");
            std::fs::remove_file(hub.join(name)).unwrap();
        }
        std::fs::remove_dir(&hub).unwrap();
        init(dir.path(), &[]).run().unwrap();
        assert_eq!(std::fs::read_dir(&hub).unwrap().count(), 3);
        assert_eq!(std::fs::metadata(&hub).unwrap().permissions().mode() & 0o777, 0o700);
    }
}
