//! The checkpointer's configuration file: what its processes share, and one table for each.

use palisade_hub::bitcoind::{Auth, BitcoinRpc};
use palisade_hub::daemon::config::{Invalid, Validate};
use palisade_hub::daemon::endpoint::{HubConfig, ListenAddr};
use palisade_hub::daemon::interval::Interval;
use palisade_hub::daemon::network::{MainnetConsent, Network};
use palisade_hub::daemon::node::{BitcoinAuth, BitcoinConfig};
use serde::Deserialize;
use std::path::PathBuf;

/// The commented default file, as `init` writes it.
pub const DEFAULT: &str = include_str!("../checkpointer.default.toml");

/// See `checkpointer.default.toml` for what each key means.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Bitcoin network.
    pub network: Network,
    /// Consent to mainnet.
    pub mainnet: Option<MainnetConsent>,
    /// The hub's genesis document.
    pub genesis_file: PathBuf,
    /// Where the hub is.
    pub hub: HubConfig,
    /// Our own Bitcoin node.
    pub bitcoin: BitcoinConfig,
    /// The process that reports.
    pub report: Option<Process>,
    /// The process that watches.
    pub watch: Option<WatchProcess>,
    /// The process that anchors.
    pub anchor: Option<AnchorProcess>,
}

/// What the process that watches has for itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchProcess {
    /// What all processes have.
    #[serde(flatten)]
    pub process: Process,
    /// Who pays for slashings whose own fee is too low; nobody without it.
    pub wallet: Option<WalletConfig>,
}

/// What the process that anchors has for itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnchorProcess {
    /// What all processes have.
    #[serde(flatten)]
    pub process: Process,
    /// Who pays.
    pub wallet: WalletConfig,
}

/// The wallet of a process that pays, and how it does.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WalletConfig {
    /// The seed.
    pub key_file: PathBuf,
    /// A file with the seed's password.
    pub password_file: Option<PathBuf>,
    /// Most that one transaction may cost, in sat.
    pub max_fee_sat: u64,
    /// Bitcoin blocks after which a transaction that is in none is replaced by one that pays more.
    pub bump_after_blocks: u32,
}

impl WalletConfig {
    fn check(&self, field: &'static str) -> Result<(), Invalid> {
        if self.bump_after_blocks == 0 { Err(Invalid::new(field, "must not be 0")) } else { Ok(()) }
    }
}

/// What each process has for itself.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Process {
    /// Where its files live.
    pub data_dir: PathBuf,
    /// Time between two looks.
    pub poll_interval_ms: Interval,
    /// Where health and metrics are served.
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
        let processes = [
            self.report.as_ref(),
            self.watch.as_ref().map(|watch| &watch.process),
            self.anchor.as_ref().map(|anchor| &anchor.process),
        ];
        let dirs = processes.map(|process| process.map(|process| &process.data_dir));
        for (place, field) in [(1, "watch.data_dir"), (2, "anchor.data_dir")] {
            if dirs[place].is_some() && dirs[..place].contains(&dirs[place]) {
                return Err(Invalid::new(field, "must not be that of another process"));
            }
        }
        let watch = self.watch.as_ref().and_then(|watch| watch.wallet.as_ref());
        let anchor = self.anchor.as_ref().map(|anchor| &anchor.wallet);
        watch.map_or(Ok(()), |wallet| wallet.check("watch.wallet.bump_after_blocks"))?;
        anchor.map_or(Ok(()), |wallet| wallet.check("anchor.wallet.bump_after_blocks"))
    }
}

/// A client of the configured Bitcoin node. Nothing is sent yet.
pub fn bitcoin_rpc(config: &BitcoinConfig) -> anyhow::Result<BitcoinRpc> {
    let auth = match config.auth() {
        BitcoinAuth::Cookie(path) => Auth::Cookie(path.clone()),
        BitcoinAuth::User { .. } => {
            let credentials = config.auth().credentials()?;
            Auth::UserPass { user: credentials.user, password: credentials.password.expose().to_owned() }
        }
    };
    Ok(BitcoinRpc::new(config.rpc_url().as_str(), auth)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_hub::daemon::config::parse;
    use std::path::Path;

    #[test]
    fn the_default_file_is_a_configuration() {
        let config: Config = parse(Path::new("checkpointer.default.toml"), DEFAULT).unwrap();
        assert_eq!(config.network.bitcoin(), bitcoin::Network::Regtest);
        assert!(config.report.is_some() && config.watch.is_some() && config.anchor.is_some());
    }

    #[test]
    fn an_unknown_key_and_mainnet_are_refused() {
        let refused = |text: &str| parse::<Config>(Path::new("x.toml"), text).unwrap_err().to_string();
        let unknown = refused(&DEFAULT.replacen("data_dir", "data_dri", 1));
        assert!(unknown.contains("data_dri"), "{unknown}");
        let mainnet = refused(&DEFAULT.replace("\"regtest\"\n", "\"bitcoin\"\n"));
        assert!(mainnet.contains("mainnet needs a second key"), "{mainnet}");
    }

    #[test]
    fn two_processes_never_share_a_directory() {
        for (name, field) in [("watch-data", "`watch.data_dir`"), ("anchor-data", "`anchor.data_dir`")] {
            let text = DEFAULT.replace(name, "report-data");
            let why = parse::<Config>(Path::new("x.toml"), &text).unwrap_err().to_string();
            assert!(why.contains(field), "{why}");
        }
    }
}
