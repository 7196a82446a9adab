//! The unbonding transaction: an early exit, agreed on before the coins are locked. Source: docs/protocol.md, section 2.4.

use super::{CannotBuild, Coin};
use crate::outputs::Output;
use crate::params::{P2TR_DUST, Profile};
use crate::scripts::StakeKeys;
use crate::units::RelativeBlocks;
use bitcoin::absolute::LockTime;
use bitcoin::{Amount, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};

/// The one transaction that leaves `stake` early: the profile's version, one input, one output of the stake less the exact fee (and
/// the profile's own output), final sequence, no locktime. Anything else is not the stake's unbonding transaction, so checking is
/// comparing.
pub fn build(
    stake: Coin,
    keys: &StakeKeys,
    unbonding_time: RelativeBlocks,
    fee: Amount,
    profile: Profile,
) -> Result<Transaction, CannotBuild> {
    build_to(stake, Output::unbonding(keys, unbonding_time).script_pubkey(), fee, profile)
}

/// The same, given the script of the unbonding output.
pub(crate) fn build_to(
    stake: Coin,
    script_pubkey: ScriptBuf,
    fee: Amount,
    profile: Profile,
) -> Result<Transaction, CannotBuild> {
    let spent = fee.checked_add(profile.bump_value()).ok_or(CannotBuild::Overflow)?;
    let value = stake.value.checked_sub(spent).unwrap_or(Amount::ZERO);
    let least = Amount::from_sat(P2TR_DUST);
    if value < least {
        return Err(CannotBuild::TooSmall { what: "the unbonding output", left: value, least });
    }
    Ok(presigned(stake, vec![TxOut { value, script_pubkey }], profile))
}

/// A transaction that is signed before its input exists: nothing in it can be changed afterwards.
pub(super) fn presigned(stake: Coin, mut output: Vec<TxOut>, profile: Profile) -> Transaction {
    output.extend(profile.bump_output());
    let input = TxIn {
        previous_output: stake.outpoint,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::new(),
    };
    Transaction { version: profile.version(), lock_time: LockTime::ZERO, input: vec![input], output }
}
