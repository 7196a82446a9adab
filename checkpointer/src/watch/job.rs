//! One stake to be slashed: what our node shows of it, and what to do about it. Pure.
//!
//! Bitcoin alone decides (never the hub's word), and only what is in blocks: the mempool can change its mind. A job ends
//! when a slashing, or another spend, is deep enough; until then each look may undo the one before.

use palisade_protocol::stake::{Contract, Slashable};
use palisade_protocol::units::BtcHeight;

/// What our node's best chain shows of a stake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum View {
    /// This output is there and unspent, since the block at this height.
    Unspent(Slashable, BtcHeight),
    /// The slashing of this output stands in a block at this height.
    Slashed(Slashable, BtcHeight),
    /// The staking transaction stands in a block, and its coins went elsewhere; first seen so at this height.
    Gone(BtcHeight),
    /// The staking transaction stands in no block.
    Absent,
}

/// How a job ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A slashing is deep.
    Slashed,
    /// Another spend is deep: withdrawn, expanded, or released by the committee.
    Elsewhere,
}

/// What to do now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Send the slashing of this output, again if it was sent before: nodes forget.
    Send(Slashable),
    /// Look again when there are more blocks.
    Wait,
    /// The end, by a fact that stands at this height.
    Done(Outcome, BtcHeight),
}

/// What to do about a stake, of which a fact counts at depth `k`.
pub fn step(view: View, tip: BtcHeight, k: u32) -> Step {
    let deep = |height: BtcHeight| tip >= height.plus(k);
    match view {
        View::Unspent(output, _) => Step::Send(output),
        View::Slashed(_, height) if deep(height) => Step::Done(Outcome::Slashed, height),
        View::Gone(height) if deep(height) => Step::Done(Outcome::Elsewhere, height),
        View::Slashed(..) | View::Gone(_) | View::Absent => Step::Wait,
    }
}

/// Height of the first block that may take the coins of an unspent output out of reach: what is behind it, or an early exit that is in the
/// next block, has waited for as long as was agreed on.
pub fn out_of_reach_at(
    output: Slashable,
    since: BtcHeight,
    tip: BtcHeight,
    contract: &Contract,
) -> BtcHeight {
    let unbonding = contract.unbonding_time.get().into();
    match output {
        Slashable::Unbonding => since.plus(unbonding),
        Slashable::Staking => since.plus(contract.lock.get().into()).min(tip.next().plus(unbonding)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_ends_at_depth_k_and_not_before() {
        let check =
            |view, tip, wanted| assert_eq!(step(view, BtcHeight(tip), 6), wanted, "{view:?} at {tip}");
        let at = BtcHeight(100);
        for output in [Slashable::Staking, Slashable::Unbonding] {
            check(View::Unspent(output, at), 106, Step::Send(output));
            check(View::Slashed(output, at), 100, Step::Wait);
            check(View::Slashed(output, at), 105, Step::Wait);
            check(View::Slashed(output, at), 106, Step::Done(Outcome::Slashed, at));
        }
        check(View::Gone(at), 105, Step::Wait);
        check(View::Gone(at), 106, Step::Done(Outcome::Elsewhere, at));
        check(View::Absent, 10_000, Step::Wait);
    }
}
