//! The holder's keys, all from one seed of 32 random bytes.
//!
//! Coins of the wallet follow BIP 86 (`m/86'/COIN'/0'`), so any taproot wallet finds them. Each stake has a staking key of
//! its own, `m/20545'/COIN'/i'`: hardened, so that no key says anything about another. The seed is a BIP-32 seed.

use bitcoin::bip32::{ChildNumber, DerivationPath, Xpriv, Xpub};
use bitcoin::hex::DisplayHex as _;
use bitcoin::secp256k1::{Keypair, SECP256K1, SecretKey};
use bitcoin::{Network, NetworkKind};
use palisade_hub::daemon::secret::{Erased, Secret};
use palisade_protocol::keys::StakerKey;

/// Purpose of the key file.
pub const KEY_PURPOSE: &str = "staker";
/// Purpose of the staking keys' path: the letters PA.
const STAKING_PURPOSE: u32 = 0x5041;

/// How many staking keys a wallet can come to: one for each stake that was tried.
pub const STAKING_KEYS: u32 = 1 << 20;

/// Which of the wallet's two sequences of addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Branch {
    /// Given to others.
    Receive,
    /// For change.
    Change,
}

/// A seed and what follows from it. Wiped when dropped.
pub struct Keys {
    master: Erased<Xpriv>,
    network: Network,
}

/// A seed that gives no key: BIP 32 has seeds that must be thrown away, one in 2^127.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this seed gives no key: make another")]
pub struct NoKey;

impl Keys {
    /// The keys of a seed.
    pub fn new(seed: &Secret<[u8; 32]>, network: Network) -> Result<Self, NoKey> {
        let master = Erased::new(Xpriv::new_master(network, seed.expose()).map_err(|_| NoKey)?);
        Ok(Self { master, network })
    }

    /// Output descriptors of the wallet, without secrets: for receiving, and for change.
    pub fn descriptors(&self) -> Result<[String; 2], NoKey> {
        let account = self.derive(&[86, self.coin(), 0], &[])?;
        let origin = self.master.fingerprint(SECP256K1).to_bytes().to_lower_hex_string();
        let coin = self.coin();
        let xpub = Xpub::from_priv(SECP256K1, &account);
        Ok([0, 1].map(|branch| format!("tr([{origin}/86'/{coin}'/0']{xpub}/{branch}/*)")))
    }

    /// The internal key of one of the wallet's addresses.
    pub fn coin_key(&self, branch: Branch, index: u32) -> Result<Erased<SecretKey>, NoKey> {
        let branch = match branch {
            Branch::Receive => 0,
            Branch::Change => 1,
        };
        Ok(Erased::new(self.derive(&[86, self.coin(), 0], &[branch, index])?.private_key))
    }

    /// The staking key of this number.
    pub fn staking(&self, index: u32) -> Result<Erased<Keypair>, NoKey> {
        let derived = self.derive(&[STAKING_PURPOSE, self.coin(), index], &[])?;
        Ok(Erased::new(derived.to_keypair(SECP256K1)))
    }

    /// What names the seed in the clear part of its file: the fingerprint of its master key.
    pub fn public_id(&self) -> String {
        self.master.fingerprint(SECP256K1).to_string()
    }

    fn coin(&self) -> u32 {
        match NetworkKind::from(self.network) {
            NetworkKind::Main => 0,
            NetworkKind::Test => 1,
        }
    }

    fn derive(&self, hardened: &[u32], normal: &[u32]) -> Result<Erased<Xpriv>, NoKey> {
        let hardened = hardened.iter().map(|index| ChildNumber::from_hardened_idx(*index));
        let normal = normal.iter().map(|index| ChildNumber::from_normal_idx(*index));
        let path: DerivationPath =
            hardened.chain(normal).collect::<Result<Vec<_>, _>>().map_err(|_| NoKey)?.into();
        self.master.derive_priv(SECP256K1, &path).map(Erased::new).map_err(|_| NoKey)
    }
}

/// The public side of a staking key.
pub fn staker_key(pair: &Keypair) -> StakerKey {
    pair.x_only_public_key().0.into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    fn keys(network: Network) -> Keys {
        Keys::new(&Secret::new([7; 32]), network).unwrap()
    }

    #[test]
    fn every_stake_and_every_address_has_a_key_of_its_own() {
        let keys = keys(Network::Regtest);
        let staking = (0..50).map(|index| keys.staking(index).unwrap().secret_key());
        let coins = (0..50).flat_map(|index| {
            [Branch::Receive, Branch::Change].map(|branch| *keys.coin_key(branch, index).unwrap())
        });
        let all: BTreeSet<_> = staking.chain(coins).map(|key| key.secret_bytes()).collect();
        assert_eq!(all.len(), 150);
    }

    #[test]
    fn the_same_seed_gives_the_same_keys_and_another_network_gives_others() {
        let staking = |network| staker_key(&keys(network).staking(3).unwrap());
        assert_eq!(staking(Network::Regtest), staking(Network::Signet));
        assert_ne!(staking(Network::Regtest), staking(Network::Bitcoin));
        let [receive, change] = keys(Network::Bitcoin).descriptors().unwrap();
        assert!(receive.contains("/86'/0'/0']xpub") && receive.ends_with("/0/*)"), "{receive}");
        assert!(change.ends_with("/1/*)"), "{change}");
        assert!(keys(Network::Regtest).descriptors().unwrap()[0].contains("/86'/1'/0']tpub"));
    }

    #[test]
    fn a_number_that_cannot_be_hardened_is_no_key() {
        let keys = keys(Network::Regtest);
        assert!(keys.staking((1 << 31) - 1).is_ok());
        for number in [1 << 31, (1 << 31) + 1, u32::MAX] {
            assert_eq!(keys.staking(number).unwrap_err(), NoKey);
        }
    }
}
