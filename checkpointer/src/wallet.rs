//! The wallet of a process that pays: the holder's wallet software with a seed of its own, which nothing else uses.

use crate::config::WalletConfig;
use anyhow::Context as _;
use bitcoin::{Address, Amount, FeeRate, Network, Weight};
use palisade_hub::bitcoind::{BitcoinRpc, FeeRates, RpcError};
use palisade_hub::daemon::keyfile::{self, KdfCost, KeyLabel};
use palisade_hub::daemon::password::{Password, PasswordSource};
use palisade_hub::daemon::private_file;
use palisade_hub::daemon::secret::Secret;
use palisade_staker::bump::Price;
use palisade_staker::keys::Keys;
use palisade_staker::purse::{INPUT, Purse};
use rand::rngs::OsRng;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

/// The wallet's file in the process's directory.
pub(crate) const FILE: &str = "wallet.jsonl";
/// Blocks within which what is paid for should confirm.
const FEE_TARGET: u16 = 2;
/// What is paid while the node cannot say, as on regtest.
const FALLBACK_RATE: FeeRate = FeeRate::from_sat_per_vb_u32(2);

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
        let seed = Secret::random(&mut OsRng)?;
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

/// What confirms within the next blocks, as the node sees it, and what its mempool takes.
pub async fn price(node: &BitcoinRpc, ceiling: Amount) -> Result<Price, RpcError> {
    let FeeRates { estimate, least } = node.fee_rates(FEE_TARGET, FALLBACK_RATE).await?;
    Ok(Price { rate: estimate, least, ceiling })
}

/// What a wallet lacks to pay for what it may have to pay for at once, each transaction at the ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "its coins would not pay for {transactions} at the ceiling of {ceiling} (`max_fee_sat`): send {missing} more to it, in one payment"
)]
pub struct Lack {
    /// How many.
    pub transactions: Several,
    /// The ceiling of each.
    pub ceiling: Amount,
    /// A coin that would be enough.
    pub missing: Amount,
}

/// A number of transactions, in words.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Several(pub u64);

impl fmt::Display for Several {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            1 => f.write_str("one transaction"),
            several => write!(f, "{several} transactions"),
        }
    }
}

impl Wallet {
    /// What is missing for so many transactions at the ceiling, each of which weighs so much with one coin and leaves so much.
    pub fn lack(&self, number: u64, ceiling: Amount, weight: Weight, left: Amount) -> Option<Lack> {
        let rate = FeeRate::from_sat_per_kwu(ceiling.to_sat().saturating_mul(1_000) / weight.to_wu().max(1));
        let coins = self.purse.coins(&BTreeSet::new());
        let worth: Amount = coins.iter().map(|coin| coin.worth(rate)).sum();
        // A fee has the cost of one coin's input in it; that of the others is taken off their worth.
        let all = |one: Amount| one.checked_mul(number).unwrap_or(Amount::MAX_MONEY);
        let needed = all(ceiling.checked_add(left).unwrap_or(Amount::MAX_MONEY));
        let inputs = all(rate.fee_wu(INPUT).unwrap_or(Amount::ZERO));
        let missing = needed.checked_sub(worth).filter(|missing| *missing > inputs)?;
        Some(Lack { transactions: Several(number), ceiling, missing })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wallet_lacks_as_many_times_as_much_for_several_transactions_and_says_for_how_many() {
        let directory = tempfile::tempdir().unwrap();
        let keys = Keys::new(&Secret::new([7; 32]), Network::Regtest).unwrap();
        let purse = Purse::create(&directory.path().join(FILE), &keys, Network::Regtest).unwrap();
        let wallet = Wallet { purse, keys };
        let ceiling = Amount::from_sat(30_000);
        let lack =
            |number| wallet.lack(number, ceiling, Weight::from_wu(1_000), Amount::from_sat(90)).unwrap();
        assert_eq!(lack(1).missing, Amount::from_sat(30_090));
        assert_eq!(lack(3).missing, Amount::from_sat(3 * 30_090));
        assert!(lack(1).to_string().contains("pay for one transaction at the ceiling"));
        assert!(lack(3).to_string().contains("pay for 3 transactions at the ceiling"));
        assert_eq!(wallet.lack(0, ceiling, Weight::from_wu(1_000), Amount::ZERO), None);
    }
}
