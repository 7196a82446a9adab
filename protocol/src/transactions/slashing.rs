//! The slashing transactions: what equivocation costs, signed by the holder before the coins are locked.
//! Source: docs/protocol.md, section 2.4.

use super::unbonding::presigned;
use super::{CannotBuild, Coin};
use crate::params::{P2TR_DUST, Params, Profile};
use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{Amount, Script, ScriptBuf, Sequence, Transaction, TxOut};

/// Where the coins of a slashed output go.
#[derive(Debug, Clone)]
pub struct Split<'a> {
    /// What is burned.
    pub slashed: Amount,
    /// Where it goes.
    pub slash_script: &'a Script,
    /// What miners get.
    pub fee: Amount,
    /// Where the rest goes: to the holder after the unbonding time ([`Output::slashing_change`]).
    ///
    /// [`Output::slashing_change`]: crate::outputs::Output::slashing_change
    pub change_script: ScriptBuf,
    /// Which shape the transaction has.
    pub profile: Profile,
}

impl<'a> Split<'a> {
    /// What the parameters say of a stake or unbonding output of this value.
    pub fn of(value: Amount, change_script: ScriptBuf, params: &'a Params) -> Self {
        Self {
            slashed: params.slashing_amount(value),
            slash_script: params.slash_script(),
            fee: params.min_slash_fee(),
            change_script,
            profile: params.profile(),
        }
    }
}

/// The slashing transaction as we build it: the slashed part first, the rest to the holder under a timelock, then the profile's own
/// output.
pub fn build(coin: Coin, split: &Split<'_>) -> Result<Transaction, CannotBuild> {
    let least = dust_limit(split.slash_script);
    if split.slashed < least {
        return Err(CannotBuild::TooSmall { what: "the slashing output", left: split.slashed, least });
    }
    let spent =
        split.slashed.checked_add(split.fee).and_then(|sum| sum.checked_add(split.profile.bump_value()));
    let spent = spent.ok_or(CannotBuild::Overflow)?;
    let value = coin.value.checked_sub(spent).unwrap_or(Amount::ZERO);
    let least = Amount::from_sat(P2TR_DUST);
    if value < least {
        return Err(CannotBuild::TooSmall { what: "the change of the slashing", left: value, least });
    }
    let change = TxOut { value, script_pubkey: split.change_script.clone() };
    let burned = TxOut { value: split.slashed, script_pubkey: split.slash_script.to_owned() };
    Ok(presigned(coin, vec![burned, change], split.profile))
}

/// Nodes relay an OP_RETURN of any value, and other outputs from a value on that depends on their script.
fn dust_limit(script: &Script) -> Amount {
    if script.is_op_return() { Amount::ZERO } else { script.minimal_non_dust() }
}

/// Why a slashing transaction is not one that slashes `coin`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSlashing {
    /// The compatible profile takes versions 1 and 2, the bumpable one only version 3.
    #[error("version is {0}, which the {1:?} profile does not take")]
    Version(i32, Profile),
    /// A locktime delays a slashing.
    #[error("locktime must be 0")]
    Locktime,
    /// It spends other things, or something else.
    #[error("it must spend exactly {0}, with final sequence and empty scriptSig")]
    Input(bitcoin::OutPoint),
    /// Burned part, change, and the bumpable profile's own.
    #[error("it has {found} outputs, must have {wanted}")]
    OutputCount {
        /// How many it has.
        found: usize,
        /// How many the profile has.
        wanted: usize,
    },
    /// Nobody could pay for it to be mined.
    #[error("output 2 is not the profile's pay-to-anchor output")]
    BumpOutput,
    /// The burned part goes elsewhere.
    #[error("output 0 does not pay the slashing script")]
    SlashScript,
    /// Too little is burned.
    #[error("{found} is slashed, must be at least {least}")]
    SlashedTooLittle {
        /// What it burns.
        found: Amount,
        /// The least it must burn.
        least: Amount,
    },
    /// The change does not wait for the holder.
    #[error("output 1 does not pay the holder after the unbonding time")]
    ChangeScript,
    /// An output is dust.
    #[error("output {0} is dust")]
    Dust(usize),
    /// Too small a fee.
    #[error("fee is {found}, must be at least {least}")]
    Fee {
        /// What it pays.
        found: Amount,
        /// The least it must pay.
        least: Amount,
    },
}

/// Judges somebody's slashing transaction for `coin`, whose change must go to `change_script`. Values up to the rounding of wallets and higher fees are allowed.
pub fn check(
    tx: &Transaction,
    coin: Coin,
    change_script: &Script,
    params: &Params,
) -> Result<(), BadSlashing> {
    let profile = params.profile();
    let is_compatible = profile == Profile::Compatible && tx.version == Version::ONE;
    if tx.version != profile.version() && !is_compatible {
        return Err(BadSlashing::Version(tx.version.0, profile));
    }
    if tx.lock_time != LockTime::ZERO {
        return Err(BadSlashing::Locktime);
    }
    match tx.input.as_slice() {
        [input]
            if input.previous_output == coin.outpoint
                && input.sequence == Sequence::MAX
                && input.script_sig.is_empty()
                && input.witness.is_empty() => {}
        _ => return Err(BadSlashing::Input(coin.outpoint)),
    }
    let bump = profile.bump_output();
    let [burned, change, rest @ ..] = tx.output.as_slice() else {
        return Err(output_count(tx, profile));
    };
    if rest.len() != usize::from(bump.is_some()) {
        return Err(output_count(tx, profile));
    }
    if rest.first() != bump.as_ref() {
        return Err(BadSlashing::BumpOutput);
    }
    if burned.script_pubkey != *params.slash_script() {
        return Err(BadSlashing::SlashScript);
    }
    let least = params.slashing_floor(coin.value);
    if burned.value < least {
        return Err(BadSlashing::SlashedTooLittle { found: burned.value, least });
    }
    if change.script_pubkey != *change_script {
        return Err(BadSlashing::ChangeScript);
    }
    if burned.value < dust_limit(&burned.script_pubkey) {
        return Err(BadSlashing::Dust(0));
    }
    if change.value < Amount::from_sat(P2TR_DUST) {
        return Err(BadSlashing::Dust(1));
    }
    check_fee(coin.value, tx, params.min_slash_fee())
}

fn output_count(tx: &Transaction, profile: Profile) -> BadSlashing {
    let wanted = usize::from(profile.bump_output().is_some()).saturating_add(2);
    BadSlashing::OutputCount { found: tx.output.len(), wanted }
}

fn check_fee(value: Amount, tx: &Transaction, least: Amount) -> Result<(), BadSlashing> {
    let out = tx.output.iter().try_fold(Amount::ZERO, |sum, output| sum.checked_add(output.value));
    let found = out.and_then(|out| value.checked_sub(out)).unwrap_or(Amount::ZERO);
    if found < least { Err(BadSlashing::Fee { found, least }) } else { Ok(()) }
}
