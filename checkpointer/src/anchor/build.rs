//! Making anchor transactions, and what one must pay to replace another.

use super::flight::Version;
use crate::wallet::Wallet;
use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version as TxVersion;
use bitcoin::{Amount, FeeRate, OutPoint, Sequence, Transaction, TxIn, TxOut, Weight, Witness};
use palisade_protocol::anchor::{Anchor, MAX_ANCHOR_TRANSACTION};
use palisade_staker::bump::{INCREMENTAL_RELAY, Price, step};
use palisade_staker::purse::{PurseError, sign_all};
use std::collections::BTreeSet;

/// Rates that are tried until the replacement pays enough.
const TRIES: usize = 20;
/// An anchor with one coin and no change.
pub const ANCHOR: Weight = Weight::from_vb_unchecked(175);

/// What a fee can be more than its rate says, because its parts are rounded up one by one.
const ROUNDED: Amount = Amount::from_sat(4);
/// What an output for change adds.
const CHANGE: Weight = Weight::from_vb_unchecked(43);

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

/// What a new transaction goes by.
pub struct Terms<'a> {
    /// What is paid.
    pub price: Price,
    /// What it replaces.
    pub old: Option<&'a Version>,
    /// Coins that other transactions in the mempool spend.
    pub taken: &'a BTreeSet<OutPoint>,
    /// Bitcoin's height.
    pub height: u32,
}

/// A new transaction that carries the anchor, or one that replaces another. Where the price is above the ceiling it pays what the
/// ceiling allows.
pub fn build(wallet: &mut Wallet, anchor: &Anchor, terms: &Terms<'_>) -> Result<Version, CannotBuild> {
    let (price, old) = (terms.price, terms.old);
    let wanted = old.map_or(price.rate, |old| price.rate.max(raised(old)));
    // The rate at which nothing but the smallest transaction pays the ceiling; other ones only less.
    let mut most = rate_of(price.ceiling.checked_sub(ROUNDED).unwrap_or(Amount::ZERO), smallest(anchor));
    let mut rate = wanted.min(most);
    for _ in 0..TRIES {
        let version = at(wallet, anchor, rate.max(price.least), terms)?;
        let least = old.map_or(Amount::ZERO, |old| least(old, &version));
        if rate < price.least || least > price.ceiling {
            let wanted = version.fee.max(least);
            return Err(CannotBuild::Ceiling { wanted, ceiling: price.ceiling });
        }
        if version.fee > price.ceiling {
            most = within(price.ceiling, rate, &version);
            rate = most;
        } else if version.fee < least && rate < most {
            rate = step(rate).min(most);
        } else if version.fee < least {
            return Err(CannotBuild::Ceiling { wanted: least, ceiling: price.ceiling });
        } else {
            return Ok(version);
        }
    }
    Err(PurseError::Build("no rate makes it pay more than what it replaces".to_owned()).into())
}

/// One at a rate. All that replace one another spend its first coin.
fn at(
    wallet: &mut Wallet,
    anchor: &Anchor,
    rate: FeeRate,
    terms: &Terms<'_>,
) -> Result<Version, CannotBuild> {
    let common: Vec<OutPoint> = terms.old.into_iter().filter_map(|old| inputs(old).next()).collect();
    let mut funded = wallet.purse.fund(&output(anchor), rate, terms.taken, &common)?;
    for input in &mut funded.transaction.input {
        input.sequence = Sequence::ENABLE_RBF_NO_LOCKTIME;
    }
    let transaction = sign_all(&funded, &wallet.keys)?;
    let length = transaction.base_size();
    if length > MAX_ANCHOR_TRANSACTION {
        return Err(CannotBuild::TooLong(length));
    }
    Ok(Version { epoch: anchor.epoch, fee: funded.fee, height: terms.height, transaction })
}

fn output(anchor: &Anchor) -> TxOut {
    TxOut { value: Amount::ZERO, script_pubkey: anchor.script() }
}

/// Weight of the smallest transaction that carries an anchor, as coins are chosen for it ([`INPUT`]): one coin, and no change.
///
/// [`INPUT`]: palisade_staker::purse::INPUT
fn smallest(anchor: &Anchor) -> u64 {
    let witness = Witness::from_slice(&[[0; 65]]);
    let transaction = Transaction {
        version: TxVersion::TWO,
        lock_time: LockTime::ZERO,
        input: vec![TxIn { witness, ..TxIn::default() }],
        output: vec![output(anchor)],
    };
    transaction.weight().to_wu()
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
    step(rate_of(old.fee, old.transaction.weight().to_wu()))
}

fn rate_of(fee: Amount, weight: u64) -> FeeRate {
    FeeRate::from_sat_per_kwu(fee.to_sat().saturating_mul(1_000) / weight.max(1))
}

/// A lower rate than the one at which a transaction pays more than the ceiling. What too little change would bring back is fee, so
/// such a transaction pays the ceiling only at a rate at which it has change.
fn within(ceiling: Amount, rate: FeeRate, version: &Version) -> FeeRate {
    let transaction = &version.transaction;
    let change = if transaction.output.len() > 1 { Weight::ZERO } else { CHANGE };
    let sat = rate.to_sat_per_kwu();
    let scaled = sat.saturating_mul(ceiling.to_sat()) / version.fee.to_sat().max(1);
    let lower = FeeRate::from_sat_per_kwu(scaled.min(sat.saturating_sub(1)));
    lower.min(rate_of(ceiling, (transaction.weight() + change).to_wu()))
}
