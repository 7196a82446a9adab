//! Parameters: numbers that governance sets, in versions, each valid from a Bitcoin height on.
//!
//! A version is judged as a whole when it is made: no admissible stake under it can be unslashable, unable to unbond, or
//! able to leave before it can be slashed. Source: docs/protocol.md, section 2.5.

use crate::codec::{DecodeError, Reader, Wire};
use crate::keys::CovenantKey;
use crate::scripts::{BadKeys, Committee};
use crate::units::{BasisPoints, BtcHeight, RelativeBlocks};
use bitcoin::{Amount, Script, ScriptBuf, WitnessVersion};
use serde::{Deserialize, Serialize};

/// Which shape pre-signed transactions have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// Version 2, the outputs that Babylon's tools build.
    Compatible,
    /// Version 3 with a pay-to-anchor output, so that anybody can pay for one to be mined ([`bump`](crate::transactions::bump)).
    Bumpable,
}

/// One version of the parameters, as governance writes it. [`Params`] is the checked form.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParamsDocument {
    /// First Bitcoin height at which the version is in force.
    pub from_height: BtcHeight,
    /// Depth at which a stake gains power.
    pub k: u32,
    /// Depth at which an anchor is final.
    pub w: u32,
    /// Keys of the covenant committee.
    pub covenant: Vec<CovenantKey>,
    /// How many of them must sign.
    pub quorum: u8,
    /// How long coins wait after an early exit.
    pub unbonding_blocks: RelativeBlocks,
    /// Exact fee of the unbonding transaction, in sat.
    pub unbonding_fee_sat: u64,
    /// Part of a stake that equivocation burns.
    pub slash_rate_bp: BasisPoints,
    /// Where the slashed coins go: a script, hex.
    pub slash_script: ScriptBuf,
    /// Least fee of a slashing transaction, in sat.
    pub min_slash_fee_sat: u64,
    /// Smallest stake, in sat.
    pub min_stake_sat: u64,
    /// Largest stake, in sat.
    pub max_stake_sat: u64,
    /// Shortest staking time.
    pub min_lock_blocks: RelativeBlocks,
    /// Longest staking time.
    pub max_lock_blocks: RelativeBlocks,
    /// Bitcoin blocks after which a stake that never appeared lapses.
    pub lapse_blocks: u32,
    /// Bitcoin blocks for which a set may sign after it was fixed.
    pub set_lifetime_blocks: u32,
    /// Safety margin in the unbonding time.
    pub margin_blocks: u32,
    /// Shape of pre-signed transactions.
    pub profile: Profile,
}

/// Why a version of the parameters is refused as a whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadParams {
    /// The committee cannot be one.
    #[error("committee: {0}")]
    Committee(#[from] BadKeys),
    /// Two numbers contradict one another.
    #[error("{rule}: {left} against {right}")]
    Contradiction {
        /// The rule, with the names of both sides.
        rule: &'static str,
        /// The left side's value.
        left: u64,
        /// The right side's value.
        right: u64,
    },
    /// The slashing output is a kind that nodes do not relay.
    #[error(
        "slash_script is neither an OP_RETURN of at most 83 bytes that only pushes data nor a segwit output"
    )]
    SlashScript,
}

/// A version of the parameters that holds together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Params {
    document: ParamsDocument,
    committee: Committee,
}

impl Params {
    /// Checks the version as a whole.
    pub fn new(document: ParamsDocument) -> Result<Self, BadParams> {
        let committee = Committee::new(document.covenant.clone(), document.quorum)?;
        let p = &document;
        let u = u64::from(p.unbonding_blocks.get());
        let (k, w) = (u64::from(p.k), u64::from(p.w));
        // A hub that hides an exit from voters can have sets fixed for one lifetime; the last of them signs for another.
        let window = k
            .saturating_add(2 * u64::from(p.set_lifetime_blocks))
            .saturating_add(w)
            .saturating_add(u64::from(p.margin_blocks));
        at_least("k >= 1", k, 1)?;
        at_least("w >= k", w, k)?;
        at_least("lapse_blocks > k", p.lapse_blocks.into(), k.saturating_add(1))?;
        at_least("set_lifetime_blocks >= 1", p.set_lifetime_blocks.into(), 1)?;
        at_least("unbonding_blocks >= k + 2 * set_lifetime_blocks + w + margin_blocks", u, window)?;
        let shortest = p.min_lock_blocks.get().into();
        at_least("min_lock_blocks > unbonding_blocks + k", shortest, u.saturating_add(k).saturating_add(1))?;
        at_least("max_lock_blocks >= min_lock_blocks", p.max_lock_blocks.get().into(), shortest)?;
        at_least("max_stake_sat >= min_stake_sat", p.max_stake_sat, p.min_stake_sat)?;
        at_least("21,000,000 BTC >= max_stake_sat", Amount::MAX_MONEY.to_sat(), p.max_stake_sat)?;
        let params = Self { committee, document };
        params.check_smallest_stake()?;
        Ok(params)
    }

    /// The smallest stake must be slashable and withdrawable both as a stake and after unbonding, without dust.
    fn check_smallest_stake(&self) -> Result<(), BadParams> {
        let p = &self.document;
        let slash_dust = slash_dust(p.slash_script.as_script()).ok_or(BadParams::SlashScript)?;
        let bump = p.profile.bump_value().to_sat();
        at_least("unbonding_fee_sat >= fee at 1 sat/vB", p.unbonding_fee_sat, MIN_PRESIGNED_FEE)?;
        at_least("min_slash_fee_sat >= fee at 1 sat/vB", p.min_slash_fee_sat, MIN_PRESIGNED_FEE)?;
        let unbonded = p.min_stake_sat.saturating_sub(p.unbonding_fee_sat).saturating_sub(bump);
        at_least("what the smallest stake unbonds to > 0", unbonded, 1)?;
        let slashed = self.slashing_floor(Amount::from_sat(unbonded)).to_sat();
        at_least("slashed part of the smallest stake is not dust", slashed, slash_dust.max(1))?;
        let change = unbonded
            .saturating_sub(self.slashing_amount(Amount::from_sat(unbonded)).to_sat())
            .saturating_sub(p.min_slash_fee_sat)
            .saturating_sub(bump);
        at_least("change of the smallest slashed stake is not dust", change, P2TR_DUST)
    }

    /// The version as governance wrote it.
    pub fn document(&self) -> &ParamsDocument {
        &self.document
    }

    /// The committee.
    pub fn committee(&self) -> &Committee {
        &self.committee
    }

    /// First Bitcoin height at which the version is in force.
    pub fn from_height(&self) -> BtcHeight {
        self.document.from_height
    }

    /// Depth at which a stake gains power.
    pub fn k(&self) -> u32 {
        self.document.k
    }

    /// How long coins wait after an early exit.
    pub fn unbonding_time(&self) -> RelativeBlocks {
        self.document.unbonding_blocks
    }

    /// Exact fee of the unbonding transaction.
    pub fn unbonding_fee(&self) -> Amount {
        Amount::from_sat(self.document.unbonding_fee_sat)
    }

    /// Least fee of a slashing transaction.
    pub fn min_slash_fee(&self) -> Amount {
        Amount::from_sat(self.document.min_slash_fee_sat)
    }

    /// Which shape presigned transactions have.
    pub fn profile(&self) -> Profile {
        self.document.profile
    }

    /// Where slashed coins go.
    pub fn slash_script(&self) -> &ScriptBuf {
        &self.document.slash_script
    }

    /// What we burn of an amount: `(amount * rate + 5000) / 10000`, half up as wallets round.
    pub fn slashing_amount(&self, of: Amount) -> Amount {
        self.portion(of, 5_000)
    }

    /// Least that a slashing transaction must burn: rounded down, because at ties a wallet's float may be one sat lower.
    pub fn slashing_floor(&self, of: Amount) -> Amount {
        self.portion(of, 0)
    }

    fn portion(&self, of: Amount, round: u128) -> Amount {
        let rate = u128::from(self.document.slash_rate_bp.get());
        let scaled = u128::from(of.to_sat()).saturating_mul(rate).saturating_add(round) / 10_000;
        // A rate below one keeps the result below the amount, so the conversion never saturates.
        Amount::from_sat(u64::try_from(scaled).unwrap_or(u64::MAX))
    }
}

/// Lowest value of a taproot output that nodes relay at the default dust rate.
pub const P2TR_DUST: u64 = 330;
/// The pre-signed transactions have at most 811 vbytes (20 of 20 members, 8 providers), 824 with a pay-to-anchor output; the floor
/// keeps them relayable.
pub(crate) const MIN_PRESIGNED_FEE: u64 = 830;
/// First byte of the script of an output that nobody can spend.
const OP_RETURN: u8 = 0x6a;

/// Least value of an output to a slashing script: nothing where it is an OP_RETURN. `None` where nodes relay no such output: other
/// scripts, data that is not pushed, and programs of version 0 with another length than those two that it has.
fn slash_dust(script: &Script) -> Option<u64> {
    if let [OP_RETURN, data @ ..] = script.as_bytes() {
        return (script.len() <= 83 && Script::from_bytes(data).is_push_only()).then_some(0);
    }
    let is_relayed = match script.witness_version()? {
        WitnessVersion::V0 => script.is_p2wpkh() || script.is_p2wsh(),
        _ => true,
    };
    is_relayed.then(|| script.minimal_non_dust().to_sat())
}

fn at_least(rule: &'static str, left: u64, right: u64) -> Result<(), BadParams> {
    if left >= right { Ok(()) } else { Err(BadParams::Contradiction { rule, left, right }) }
}

impl Wire for Profile {
    fn encode(&self, out: &mut Vec<u8>) {
        out.push(match self {
            Self::Compatible => 0,
            Self::Bumpable => 1,
        });
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        match u8::decode(reader)? {
            0 => Ok(Self::Compatible),
            1 => Ok(Self::Bumpable),
            tag => Err(DecodeError::UnknownVariant { what: "profile", tag }),
        }
    }
}

crate::wire!(ParamsDocument {
    from_height,
    k,
    w,
    covenant,
    quorum,
    unbonding_blocks,
    unbonding_fee_sat,
    slash_rate_bp,
    slash_script,
    min_slash_fee_sat,
    min_stake_sat,
    max_stake_sat,
    min_lock_blocks,
    max_lock_blocks,
    lapse_blocks,
    set_lifetime_blocks,
    margin_blocks,
    profile,
});

/// The version in force at a Bitcoin height: the last whose first height is not above it.
pub fn in_force(versions: &[Params], at: BtcHeight) -> Option<(usize, &Params)> {
    versions.iter().enumerate().rev().find(|(_, version)| version.from_height() <= at)
}

#[cfg(test)]
pub(crate) mod tests;
