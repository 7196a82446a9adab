//! A coin of the wallet, and what it is worth to a transaction.

use crate::keys::Branch;
use bdk_wallet::{KeychainKind, LocalOutput};
use bitcoin::{Amount, FeeRate, OutPoint, TxOut, Weight};

/// What an input that spends a coin of the wallet weighs, as coins are chosen: a byte of its witness more than is signed.
pub const INPUT: Weight = Weight::from_wu(231);

/// A coin of the wallet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnCoin {
    /// Where it is.
    pub outpoint: OutPoint,
    /// What it is.
    pub output: TxOut,
    /// Which key it belongs to.
    pub branch: Branch,
    /// And which of them.
    pub index: u32,
}

impl OwnCoin {
    /// What it brings to a transaction at a rate: nothing where its input costs as much as it holds.
    pub fn worth(&self, rate: FeeRate) -> Amount {
        let cost = rate.fee_wu(INPUT).unwrap_or(Amount::MAX);
        self.output.value.checked_sub(cost).unwrap_or(Amount::ZERO)
    }
}

pub(super) fn branch_of(keychain: KeychainKind) -> Branch {
    match keychain {
        KeychainKind::External => Branch::Receive,
        KeychainKind::Internal => Branch::Change,
    }
}

pub(super) fn own_coin(coin: LocalOutput) -> OwnCoin {
    let branch = branch_of(coin.keychain);
    OwnCoin { outpoint: coin.outpoint, output: coin.txout, branch, index: coin.derivation_index }
}
