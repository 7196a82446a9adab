//! Spends that the holder signs when the time has come: withdrawals, and expansions into a new stake.
//! Source: docs/protocol.md, section 2.4.

use super::{CannotBuild, Coin};
use crate::units::RelativeBlocks;
use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness};

/// A withdrawal by the timelock leaf: all of `coin` less `fee` to `destination`. The sequence is the leaf's lock (BIP 68),
/// so no node takes it a block early.
pub fn withdrawal(
    coin: Coin,
    lock: RelativeBlocks,
    destination: ScriptBuf,
    fee: Amount,
) -> Result<Transaction, CannotBuild> {
    let least = destination.minimal_non_dust();
    let value = coin.value.checked_sub(fee).unwrap_or(Amount::ZERO);
    if value < least {
        return Err(CannotBuild::TooSmall { what: "the withdrawn amount", left: value, least });
    }
    let input = input(coin.outpoint, Sequence::from_height(lock.get()));
    Ok(transaction(vec![input], vec![TxOut { value, script_pubkey: destination }]))
}

/// An expansion: input 0 spends the old stake by its unbonding leaf, input 1 a coin of the holder's wallet that pays the
/// fee and what is added. The new stake is output 0, change follows.
pub fn expansion(
    old_stake: OutPoint,
    funding: OutPoint,
    new_stake: TxOut,
    change: Option<TxOut>,
) -> Transaction {
    let inputs = vec![input(old_stake, Sequence::MAX), input(funding, Sequence::MAX)];
    transaction(inputs, [new_stake].into_iter().chain(change).collect())
}

fn input(previous_output: OutPoint, sequence: Sequence) -> TxIn {
    TxIn { previous_output, script_sig: ScriptBuf::new(), sequence, witness: Witness::new() }
}

fn transaction(input: Vec<TxIn>, output: Vec<TxOut>) -> Transaction {
    Transaction { version: Version::TWO, lock_time: LockTime::ZERO, input, output }
}
