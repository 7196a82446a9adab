//! Judging the newest hub header before voting up to it (docs/protocol.md, section 7.6). Pure.
//!
//! That its root reproduces is settled before: a header whose root does not never becomes part of the own ledger.

use bitcoin::{BlockHash, OutPoint};
use palisade_hub::ledger::Ledger;
use palisade_hub::ledger::stakes::{Stakes, Watched};
use palisade_hub::ledger::state::StakeState;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::units::{BtcHeight, Epoch, Height};

/// What the voter knows by itself.
#[derive(Debug)]
pub struct Facts<'a> {
    /// The own node's block at the depth at which facts count, if it has one at that height.
    pub deep_block: Option<BlockHash>,
    /// The height up to which the own node's blocks were searched for spends.
    pub searched: BtcHeight,
    /// Outputs that these blocks spend, up to the depth at which facts count.
    pub spends: &'a [OutPoint],
    /// The voter's own key for chain zero.
    pub key: ProviderKey,
    /// The hub's height when the commitment to the newest set's epoch was first sent.
    pub commitment_sent: Option<Height>,
}

/// Why the newest header deserves no vote.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotJudged {
    /// Nothing to judge: a first start, or a hub that has made no block.
    #[error("the own copy of the hub's log is empty yet")]
    NoHeader,
    /// The log went on while Bitcoin was asked: the newer header is judged next.
    #[error("a newer header came meanwhile")]
    Moved,
    /// The own node is behind the hub: nobody can tell yet.
    #[error("the own Bitcoin node has no block at height {0} yet")]
    NodeBehind(BtcHeight),
    /// The hub follows another chain of Bitcoin.
    #[error("the hub's Bitcoin has block {hub} at height {height}, the own node {own}")]
    OtherBitcoin {
        /// The height.
        height: BtcHeight,
        /// The hub's block.
        hub: BlockHash,
        /// The own node's.
        own: BlockHash,
    },
    /// A stake is spent, and the ledger does not say so.
    #[error("output {0} of a stake was spent at a depth at which it counts, and the ledger does not know")]
    MissingSpend(OutPoint),
    /// The own commitment was kept out of the set.
    #[error(
        "this key has power, its nonces for epoch {epoch} were sent at hub height {sent}, and the set fixed at {fixed} leaves it out"
    )]
    KeptOut {
        /// The epoch.
        epoch: Epoch,
        /// When the commitment was sent.
        sent: Height,
        /// When the set was fixed.
        fixed: Height,
    },
}

/// Height up to which facts of Bitcoin must be in the ledger: k below the tip that its newest header names.
pub fn deep_height(ledger: &Ledger) -> BtcHeight {
    let tip = ledger.btc_height();
    tip.minus(ledger.params_at(tip).1.k()).max(ledger.bitcoin().base())
}

/// Judges the newest header.
pub fn judge(ledger: &Ledger, facts: &Facts<'_>) -> Result<(), NotJudged> {
    let height = deep_height(ledger);
    let own = facts.deep_block.ok_or(NotJudged::NodeBehind(height))?;
    if let Some(hub) = ledger.bitcoin().hash_at(height)
        && hub != own
    {
        return Err(NotJudged::OtherBitcoin { height, hub, own });
    }
    if facts.searched < height {
        return Err(NotJudged::NodeBehind(facts.searched.next()));
    }
    match facts.spends.iter().find(|spend| is_unknown(ledger.stakes(), spend)) {
        Some(spend) => Err(NotJudged::MissingSpend(*spend)),
        None => check_own_place(ledger, facts),
    }
}

/// Whether the output is one that the ledger counts on, and that it takes for unspent. What can give no power any more may leave
/// unsaid: else whoever has such a stake could keep all from voting by telling half of its story.
fn is_unknown(stakes: &Stakes, outpoint: &OutPoint) -> bool {
    let (Some(Watched::Staking(index)) | Some(Watched::Unbonding(index))) = stakes.watched(outpoint) else {
        return false;
    };
    let Some(stake) = stakes.get(index) else { return false };
    if matches!(stake.state, StakeState::Lapsed | StakeState::Withdrawable) {
        return false;
    }
    match stakes.watched(outpoint) {
        Some(Watched::Staking(_)) => stake.included.is_some() && stake.spend.is_none(),
        _ => stake.unbonded_at().is_some() && stake.unbonding_spend.is_none(),
    }
}

/// A hub that leaves a commitment out of the log leaves its key out of the set. A whole epoch is time enough to take it.
fn check_own_place(ledger: &Ledger, facts: &Facts<'_>) -> Result<(), NotJudged> {
    let Some(zero) = ledger.chains().first() else { return Ok(()) };
    let (Some((epoch, fixed)), Some(sent)) = (zero.newest(), facts.commitment_sent) else { return Ok(()) };
    let left_out = fixed.left_out.iter().any(|(key, why)| *key == facts.key && why.contains("nonce root"));
    let in_time = sent.plus(zero.terms.epoch_length) <= fixed.hub_height;
    if left_out && in_time && !fixed.carried_over {
        return Err(NotJudged::KeptOut { epoch, sent, fixed: fixed.hub_height });
    }
    Ok(())
}

#[cfg(test)]
mod tests;
