//! The transactions of a stake: how each is built, and what another's must be to be accepted.
//!
//! Integer arithmetic only. Every signature is a BIP-340 signature over the BIP-341 sighash of a script path with
//! SIGHASH_DEFAULT. Shapes: docs/protocol.md, section 2.4.

pub mod bump;
pub mod slashing;
pub mod spend;
pub mod unbonding;
pub mod witness;

use crate::outputs::{Leaf, Output};
use bitcoin::hashes::Hash as _;
use bitcoin::sighash::{Prevouts, SighashCache, TapSighashType};
use bitcoin::{Amount, OutPoint, Transaction, TxOut};

/// Why a transaction cannot be built.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CannotBuild {
    /// The fee and the other outputs leave nothing, or dust.
    #[error("{what} would hold {left}, less than the {least} that nodes relay")]
    TooSmall {
        /// The output concerned.
        what: &'static str,
        /// What is left for it.
        left: Amount,
        /// The least that it may hold.
        least: Amount,
    },
    /// The amounts do not add up in 64 bits.
    #[error("amounts do not add up")]
    Overflow,
}

/// A sighash that could not be computed: the inputs and the outputs they spend do not match.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the outputs spent do not match the inputs")]
pub struct NoSighash;

/// What a signature of input `input` by `leaf` of `output` signs (BIP-341, BIP-342). `spent` are the outputs of all inputs.
pub fn sighash(
    tx: &Transaction,
    input: usize,
    spent: &[TxOut],
    output: &Output,
    leaf: Leaf,
) -> Result<[u8; 32], NoSighash> {
    let leaf_hash = output.leaf_hash(leaf).ok_or(NoSighash)?;
    // The hash of an input that does not exist could be computed, and would sign nothing.
    tx.input.get(input).ok_or(NoSighash)?;
    SighashCache::new(tx)
        .taproot_script_spend_signature_hash(input, &Prevouts::All(spent), leaf_hash, TapSighashType::Default)
        .map(|hash| hash.to_byte_array())
        .map_err(|_| NoSighash)
}

/// An output on Bitcoin: where it is and what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Coin {
    /// Where.
    pub outpoint: OutPoint,
    /// How much.
    pub value: Amount,
}

#[cfg(test)]
mod tests;
