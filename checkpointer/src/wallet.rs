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
use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fmt;
use std::path::Path;

/// The wallet's file in the process's directory.
pub(crate) const FILE: &str = "wallet.jsonl";
/// Blocks within which what is paid for should confirm.
const FEE_TARGET: u16 = 2;
/// Most coins that pay for one transaction: more make a child longer than nodes take (`palisade_protocol::transactions::bump::MAX_CHILD`).
const MOST_COINS: usize = 15;
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
        let file = data_dir.join(FILE);
        if !file.exists() {
            tracing::warn!(file = %file.display(), "the wallet's file is missing: it is made again from the seed");
        }
        let purse = Purse::create(&file, &keys, network)?;
        purse.check_keys(&keys).with_context(|| file.display().to_string())?;
        Ok(Self { purse, keys })
    }
}

/// What confirms within the next blocks, as the node sees it, and what its mempool takes.
pub async fn price(node: &BitcoinRpc, ceiling: Amount) -> Result<Price, RpcError> {
    let FeeRates { estimate, least } = node.fee_rates(FEE_TARGET, FALLBACK_RATE).await?;
    Ok(Price { rate: estimate, least, ceiling })
}

/// What a wallet lacks to pay for what it may have to pay for at once, each transaction at the ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lack {
    /// How many transactions.
    pub transactions: u64,
    /// The ceiling of each.
    pub ceiling: Amount,
    /// For how many of them there are no coins.
    pub unpaid: u64,
    /// A coin that would be enough for one.
    pub coin: Amount,
}

impl fmt::Display for Lack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { transactions, ceiling, unpaid, coin } = self;
        match transactions {
            1 => f.write_str("its coins would not pay for one transaction")?,
            several => write!(f, "its coins would not pay for {several} transactions at once")?,
        }
        write!(f, " at the ceiling of {ceiling} (`max_fee_sat`): send ")?;
        match unpaid {
            1 => write!(f, "{coin} to it, in one payment"),
            several => write!(f, "{coin} to it {several} times, because each is paid from coins of its own"),
        }
    }
}

impl Wallet {
    /// What is missing for so many transactions at once, each of which pays the ceiling, weighs so much with one coin and leaves so
    /// much. Each needs coins of its own: its change is none until a block holds it.
    pub fn lack(&self, number: u64, ceiling: Amount, weight: Weight, left: Amount) -> Option<Lack> {
        let rate = FeeRate::from_sat_per_kwu(ceiling.to_sat().saturating_mul(1_000) / weight.to_wu().max(1));
        let coin = ceiling.checked_add(left).unwrap_or(Amount::MAX_MONEY);
        // The ceiling has the cost of one coin's input in it; that of the others is taken off their worth.
        let input = rate.fee_wu(INPUT).unwrap_or(Amount::ZERO);
        let coins = self.purse.coins(&BTreeSet::new());
        let worths = coins.iter().map(|coin| coin.worth(rate)).collect();
        let unpaid =
            number - paid_at_once(worths, coin.checked_sub(input).unwrap_or(Amount::ZERO)).min(number);
        Some(Lack { transactions: number, ceiling, unpaid, coin }).filter(|lack| lack.unpaid > 0)
    }
}

/// How many transactions coins of such worth pay for, largest first: small ones are put together.
fn paid_at_once(mut worths: Vec<Amount>, needed: Amount) -> u64 {
    worths.sort_unstable_by_key(|worth| Reverse(*worth));
    let (mut paid, mut together, mut held) = (0, 0, Amount::ZERO);
    for worth in worths {
        (together, held) = (together + 1, held + worth);
        if held >= needed {
            (paid, together, held) = (paid + 1, 0, Amount::ZERO);
        } else if together == MOST_COINS {
            break;
        }
    }
    paid
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wallet_lacks_a_coin_for_each_of_several_transactions_and_says_for_how_many() {
        let directory = tempfile::tempdir().unwrap();
        let keys = Keys::new(&Secret::new([7; 32]), Network::Regtest).unwrap();
        let purse = Purse::create(&directory.path().join(FILE), &keys, Network::Regtest).unwrap();
        let wallet = Wallet { purse, keys };
        let ceiling = Amount::from_sat(30_000);
        let lack =
            |number| wallet.lack(number, ceiling, Weight::from_wu(1_000), Amount::from_sat(90)).unwrap();
        assert_eq!((lack(1).coin, lack(1).unpaid, lack(3).unpaid), (Amount::from_sat(30_090), 1, 3));
        let (one, three) = (lack(1).to_string(), lack(3).to_string());
        assert!(one.contains("pay for one transaction at the ceiling"), "{one}");
        assert!(one.ends_with("send 0.00030090 BTC to it, in one payment"), "{one}");
        assert!(three.contains("pay for 3 transactions at once at the ceiling"), "{three}");
        assert!(three.contains("send 0.00030090 BTC to it 3 times"), "{three}");
        assert_eq!(wallet.lack(0, ceiling, Weight::from_wu(1_000), Amount::ZERO), None);
    }

    #[test]
    fn one_large_coin_pays_for_one_transaction_at_a_time_and_small_ones_for_one_together() {
        let check = |worths: &[u64], wanted: u64| {
            let found = worths.iter().copied().map(Amount::from_sat).collect();
            assert_eq!(paid_at_once(found, Amount::from_sat(100)), wanted, "{worths:?}");
        };
        check(&[], 0);
        check(&[99], 0);
        check(&[1_000_000], 1);
        check(&[100, 1_000_000], 2);
        check(&[30, 100, 30, 40], 2);
        check(&[60, 60, 60], 1);
        check(&[7; 15], 1);
        check(&[6; 100], 0);
    }
}
