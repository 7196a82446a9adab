//! The unbonding transaction: an early exit, agreed on before the coins are locked. Source: docs/protocol.md, section 2.4.

use super::{CannotBuild, Coin};
use crate::outputs::Output;
use crate::params::P2TR_DUST;
use crate::scripts::StakeKeys;
use crate::units::RelativeBlocks;
use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{Amount, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};

/// The one transaction that leaves `stake` early: version 2, one input, one output of the stake less the exact fee, final
/// sequence, no locktime. Anything else is not the stake's unbonding transaction, so checking is comparing.
pub fn build(
    stake: Coin,
    keys: &StakeKeys,
    unbonding_time: RelativeBlocks,
    fee: Amount,
) -> Result<Transaction, CannotBuild> {
    build_to(stake, Output::unbonding(keys, unbonding_time).script_pubkey(), fee)
}

/// The same, given the script of the unbonding output.
pub(crate) fn build_to(
    stake: Coin,
    script_pubkey: ScriptBuf,
    fee: Amount,
) -> Result<Transaction, CannotBuild> {
    let value = stake.value.checked_sub(fee).unwrap_or(Amount::ZERO);
    let least = Amount::from_sat(P2TR_DUST);
    if value < least {
        return Err(CannotBuild::TooSmall { what: "the unbonding output", left: value, least });
    }
    Ok(presigned(stake, vec![TxOut { value, script_pubkey }]))
}

/// A transaction that is signed before its input exists: nothing in it can be changed afterwards.
pub(super) fn presigned(stake: Coin, output: Vec<TxOut>) -> Transaction {
    let input = TxIn {
        previous_output: stake.outpoint,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::MAX,
        witness: Witness::new(),
    };
    Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input: vec![input], output }
}
