//! The wallet of a process that pays: the holder's wallet software with a seed of its own, which nothing else uses.

use crate::config::WalletConfig;
use anyhow::Context as _;
use bitcoin::{Address, Network};
use palisade_hub::daemon::keyfile::{self, KdfCost, KeyLabel};
use palisade_hub::daemon::password::{Password, PasswordSource};
use palisade_hub::daemon::private_file;
use palisade_hub::daemon::secret::Secret;
use palisade_staker::keys::Keys;
use palisade_staker::purse::Purse;
use rand::RngCore as _;
use rand::rngs::OsRng;
use std::path::Path;

/// The wallet's file in the process's directory.
pub(crate) const FILE: &str = "wallet.jsonl";

/// What a wallet pays for; its key file says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Anchors.
    Anchor,
    /// Slashings whose own fee is too low.
    Watch,
}

impl Purpose {
    fn label(self) -> &'static str {
        match self {
            Self::Anchor => "anchor",
            Self::Watch => "watch",
        }
    }
}

/// Coins and the keys that spend them.
pub struct Wallet {
    /// The coins.
    pub purse: Purse,
    /// The keys.
    pub keys: Keys,
}

impl Wallet {
    /// Makes the seed's file and the wallet, and gives the address to pay to.
    pub fn create(
        purpose: Purpose,
        key_file: &Path,
        data_dir: &Path,
        network: Network,
        password: &Password,
    ) -> anyhow::Result<Address> {
        let mut seed = [0; 32];
        OsRng.fill_bytes(&mut seed);
        let seed = Secret::new(seed);
        let keys = Keys::new(&seed, network)?;
        let label = KeyLabel::new(purpose.label(), &keys.public_id())?;
        keyfile::create(key_file, &label, &seed, password, KdfCost::for_network(network), &mut OsRng)?;
        let made = private_file::create_dir(data_dir);
        made.with_context(|| format!("directory {}", data_dir.display()))?;
        Ok(Purse::create(&data_dir.join(FILE), &keys, network)?.address()?)
    }

    /// Opens both.
    pub fn open(
        purpose: Purpose,
        config: &WalletConfig,
        data_dir: &Path,
        network: Network,
    ) -> anyhow::Result<Self> {
        let source = PasswordSource::usual(config.password_file.clone());
        let password = source.read(&format!("Password of the {} wallet: ", purpose.label()))?;
        let weakest = KdfCost::for_network(network);
        let (_, seed) = keyfile::open::<32>(&config.key_file, purpose.label(), &password, weakest)?;
        let keys = Keys::new(&seed, network)?;
        let purse = Purse::open(&data_dir.join(FILE), network)?;
        Ok(Self { purse, keys })
    }
}
