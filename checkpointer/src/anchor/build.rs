//! Making anchor transactions, and what one must pay to replace another.

use super::flight::Version;
use crate::wallet::Wallet;
use bitcoin::{Amount, FeeRate, OutPoint, Sequence, TxOut};
use palisade_protocol::anchor::{Anchor, MAX_ANCHOR_TRANSACTION};
use palisade_staker::bump::{INCREMENTAL_RELAY, step};
use palisade_staker::purse::{PurseError, sign_all};
use std::collections::BTreeSet;

/// Rates that are tried until the replacement pays enough.
const TRIES: usize = 20;

/// Why there is no transaction.
#[derive(Debug, thiserror::Error)]
pub enum CannotBuild {
    /// The wallet.
    #[error(transparent)]
    Purse(#[from] PurseError),
    /// The fee would be above the ceiling.
    #[error(
        "an anchor would cost {wanted} now, the ceiling is {ceiling}: raise `anchor.wallet.max_fee_sat`, or wait"
    )]
    Ceiling {
        /// What it would cost.
        wanted: Amount,
        /// What is allowed.
        ceiling: Amount,
    },
    /// Too many small coins.
    #[error(
        "the transaction would have {0} bytes, at most {MAX_ANCHOR_TRANSACTION} are allowed: join the wallet's small coins"
    )]
    TooLong(usize),
}

/// A new transaction that carries the anchor, or one that replaces `old`.
pub fn build(
    wallet: &mut Wallet,
    anchor: &Anchor,
    rate: FeeRate,
    old: Option<&Version>,
    ceiling: Amount,
    height: u32,
) -> Result<Version, CannotBuild> {
    let coins: Vec<OutPoint> = old.into_iter().flat_map(inputs).collect();
    let output = TxOut { value: Amount::ZERO, script_pubkey: anchor.script() };
    let mut rate = old.map_or(rate, |old| rate.max(raised(old)));
    for _ in 0..TRIES {
        let mut funded = wallet.purse.fund(&output, rate, &BTreeSet::new(), &coins)?;
        if funded.fee > ceiling {
            return Err(CannotBuild::Ceiling { wanted: funded.fee, ceiling });
        }
        for input in &mut funded.transaction.input {
            input.sequence = Sequence::ENABLE_RBF_NO_LOCKTIME;
        }
        let transaction = sign_all(&funded, &wallet.keys)?;
        let length = transaction.base_size();
        if length > MAX_ANCHOR_TRANSACTION {
            return Err(CannotBuild::TooLong(length));
        }
        let version = Version { epoch: anchor.epoch, fee: funded.fee, height, transaction };
        if old.is_none_or(|old| version.fee >= least(old, &version)) {
            return Ok(version);
        }
        rate = step(rate);
    }
    Err(PurseError::Build("no rate makes it pay more than what it replaces".to_owned()).into())
}

/// The coins that a transaction spends.
pub fn inputs(version: &Version) -> impl Iterator<Item = OutPoint> {
    version.transaction.input.iter().map(|input| input.previous_output)
}

/// What a transaction must pay to replace another (BIP 125, rules 3 and 4).
fn least(old: &Version, new: &Version) -> Amount {
    let own = INCREMENTAL_RELAY.fee_wu(new.transaction.weight()).unwrap_or(Amount::MAX);
    old.fee.checked_add(own).unwrap_or(Amount::MAX)
}

/// A step above the rate that a transaction pays.
fn raised(old: &Version) -> FeeRate {
    let weight = old.transaction.weight().to_wu().max(1);
    step(FeeRate::from_sat_per_kwu(old.fee.to_sat().saturating_mul(1_000).div_ceil(weight)))
}
