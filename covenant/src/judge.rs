//! Judging a stake: what the rules say is computed anew, what the member's own policy says comes on top. Pure.

use crate::window::{Wait, Weight, Window};
use bitcoin::Amount;
use palisade_hub::ledger::Ledger;
use palisade_hub::ledger::stake::Stake;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::stake::{BadPresigned, Sighashes};
use palisade_protocol::units::RelativeBlocks;
use serde::{Deserialize, Serialize};

/// What a member signs, beyond the rules.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Largest stake, in sat.
    pub max_stake_sat: u64,
    /// Most in a window of Bitcoin blocks, in sat.
    pub max_window_sat: u64,
    /// Length of the window.
    pub window_blocks: u32,
    /// Providers whose stakes are refused.
    pub denied_providers: Vec<ProviderKey>,
    /// The only providers whose stakes are signed; without it, all that are not denied.
    pub allowed_providers: Option<Vec<ProviderKey>>,
}

/// Why a member refuses. The text goes on the record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refuse {
    /// The parameters of the stake are unknown.
    #[error("the stake's version of the parameters is unknown")]
    Params,
    /// The committee is not the one of those parameters.
    #[error("the stake's committee is not that of its parameters")]
    Committee,
    /// The unbonding time is not the one of those parameters.
    #[error("the unbonding time is {found} blocks, the parameters say {wanted}")]
    UnbondingTime {
        /// What the stake says.
        found: RelativeBlocks,
        /// What the parameters say.
        wanted: RelativeBlocks,
    },
    /// A presigned transaction breaks a rule.
    #[error(transparent)]
    Presigned(#[from] BadPresigned),
    /// Too large for this member.
    #[error("policy: the stake of {found} is above this member's limit of {limit}")]
    TooLarge {
        /// The stake.
        found: Amount,
        /// The limit.
        limit: Amount,
    },
    /// No window would ever hold it.
    #[error("policy: {found} are more than the {limit} that this member signs in {blocks} blocks{}", Weight::advice(*shown))]
    NeverFits {
        /// What the stake brings.
        found: Amount,
        /// Whether most of it was shown to exist.
        shown: bool,
        /// The limit for such stakes.
        limit: Amount,
        /// The window.
        blocks: u32,
    },
    /// A provider is denied.
    #[error("policy: finality provider {0} is denied by this member")]
    Denied(ProviderKey),
    /// A provider is not on the list.
    #[error("policy: finality provider {0} is not among those that this member allows")]
    NotAllowed(ProviderKey),
}

/// Why a stake is not signed now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSigned {
    /// It never is, as things stand: the refusal goes on the record.
    #[error(transparent)]
    Refused(#[from] Refuse),
    /// It is judged again when the window has moved on.
    #[error(transparent)]
    Waits(#[from] Wait),
}

/// Judges a stake. What comes back is what the member computed itself, and all that it signs.
pub fn judge(
    ledger: &Ledger,
    stake: &Stake,
    policy: &Policy,
    window: &Window,
) -> Result<Sighashes, NotSigned> {
    let weight = Weight::of(ledger, stake);
    check_policy(policy, stake, weight)?;
    let sighashes = check_rules(ledger, stake)?;
    window.check(policy, weight)?;
    Ok(sighashes)
}

fn check_rules(ledger: &Ledger, stake: &Stake) -> Result<Sighashes, Refuse> {
    let params = ledger.params().get(stake.params).ok_or(Refuse::Params)?;
    let contract = &stake.contract;
    if contract.keys.committee() != params.committee() {
        return Err(Refuse::Committee);
    }
    let (found, wanted) = (contract.unbonding_time, params.unbonding_time());
    if found != wanted {
        return Err(Refuse::UnbondingTime { found, wanted });
    }
    Ok(contract.check(&contract.outputs(), &stake.presigned, params)?)
}

fn check_policy(policy: &Policy, stake: &Stake, weight: Weight) -> Result<(), Refuse> {
    let found = stake.contract.coin.value;
    let limit = Amount::from_sat(policy.max_stake_sat);
    if found > limit {
        return Err(Refuse::TooLarge { found, limit });
    }
    if let Some(denied) = stake.named().find(|key| policy.denied_providers.contains(key)) {
        return Err(Refuse::Denied(*denied));
    }
    if let Some(allowed) = &policy.allowed_providers
        && let Some(other) = stake.named().find(|key| !allowed.contains(key))
    {
        return Err(Refuse::NotAllowed(*other));
    }
    let Weight { new: found, shown } = weight;
    let limit = weight.limit(policy);
    if found > limit {
        return Err(Refuse::NeverFits { found, shown, limit, blocks: policy.window_blocks });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
