//! What a network demands of a header's target. Source: docs/protocol.md, section 4.1.

use bitcoin::consensus::Params;
use bitcoin::{CompactTarget, Network, Target};

/// The numbers that header checks depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeaderRules {
    /// Easiest target allowed.
    limit: Target,
    /// None where the target never changes.
    retarget: Option<Retarget>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Retarget {
    /// Blocks from one change of the target to the next.
    interval: u32,
    /// Seconds that a period is meant to take.
    timespan_s: u32,
}

/// Why there are no such rules.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RulesRefused {
    /// Testnets let a block have the easiest target twenty minutes after the one before it. That rule is not built:
    /// with it, work says too little to follow a chain by.
    #[error("headers of {0} are not supported")]
    UnsupportedNetwork(Network),
    /// A target that is zero, not in canonical form, or too close to 2^256 for the arithmetic of a retarget.
    #[error("{:#010x} cannot be the easiest target of rules with these periods", .0.to_consensus())]
    BadLimit(CompactTarget),
    /// Fewer than two blocks or four seconds, or more seconds than fit.
    #[error("a period of {interval} blocks, {spacing_s} s apart, is too short or too long")]
    BadPeriod {
        /// Blocks in a period.
        interval: u32,
        /// Seconds from block to block.
        spacing_s: u32,
    },
}

impl HeaderRules {
    /// Retargeting every 2,016 blocks, ten minutes apart.
    const TWO_WEEKS: Option<Retarget> = Some(Retarget { interval: 2_016, timespan_s: 1_209_600 });

    /// Bitcoin itself.
    pub fn mainnet() -> Self {
        Self { limit: Target::MAX_ATTAINABLE_MAINNET, retarget: Self::TWO_WEEKS }
    }

    /// The default signet's proof of work only. Its blocks are worth trust for the signatures inside them, which
    /// headers do not show: whoever spends the little work can fork this chain, so it is for tests with no value.
    pub fn signet() -> Self {
        Self { limit: Target::MAX_ATTAINABLE_SIGNET, retarget: Self::TWO_WEEKS }
    }

    /// The easiest target for ever.
    pub fn regtest() -> Self {
        Self { limit: Target::MAX_ATTAINABLE_REGTEST, retarget: None }
    }

    /// The rules of a network; the testnets with their twenty-minute exception are refused.
    pub fn for_network(network: Network) -> Result<Self, RulesRefused> {
        match network {
            Network::Bitcoin => Ok(Self::mainnet()),
            Network::Signet => Ok(Self::signet()),
            Network::Regtest => Ok(Self::regtest()),
            other => Err(RulesRefused::UnsupportedNetwork(other)),
        }
    }

    /// Rules of a private network: periods of `interval` blocks, meant to be `spacing_s` seconds apart.
    pub fn private(limit: CompactTarget, interval: u32, spacing_s: u32) -> Result<Self, RulesRefused> {
        let timespan_s = interval
            .checked_mul(spacing_s)
            .filter(|timespan_s| interval >= 2 && *timespan_s >= 4 && timespan_s.checked_mul(4).is_some())
            .ok_or(RulesRefused::BadPeriod { interval, spacing_s })?;
        let target = Target::from_compact(limit);
        // The largest product of a retarget, limit * 4 * timespan, must fit 256 bits.
        let longest_s = timespan_s.saturating_mul(4);
        let fits = leading_zeros(target).saturating_add(longest_s.leading_zeros()) >= u32::BITS;
        if target == Target::ZERO || target.to_compact_lossy() != limit || !fits {
            return Err(RulesRefused::BadLimit(limit));
        }
        Ok(Self { limit: target, retarget: Some(Retarget { interval, timespan_s }) })
    }

    /// Blocks from one change of the target to the next; none where it never changes.
    pub fn interval(&self) -> Option<u32> {
        self.retarget.map(|retarget| retarget.interval)
    }

    /// Whether a header may state `bits` at all: canonical, and not easier than the limit.
    pub(super) fn allows(&self, bits: CompactTarget) -> bool {
        let target = Target::from_compact(bits);
        target != Target::ZERO && target <= self.limit && target.to_compact_lossy() == bits
    }

    /// How many blocks below `height` the first block of the period before it lies, if the target changes at `height`.
    pub(super) fn period_before(&self, height: u32) -> Option<u32> {
        self.interval().filter(|interval| height.is_multiple_of(*interval))
    }

    /// The target of the period after one whose blocks had `bits`, whose first block had the time `first_s` and whose
    /// last one `last_s`. As in Bitcoin Core, a period of n blocks is measured by the n - 1 gaps between them.
    pub(super) fn next_target(&self, bits: CompactTarget, first_s: u32, last_s: u32) -> CompactTarget {
        let Some(Retarget { timespan_s, .. }) = self.retarget else { return bits };
        let mut params = Params::MAINNET.clone();
        params.max_attainable_target = self.limit;
        params.pow_target_timespan = u64::from(timespan_s);
        // A negative span counts as the shortest, like every one below a quarter of the timespan.
        let took_s = u64::from(last_s.saturating_sub(first_s));
        CompactTarget::from_next_work_required(bits, took_s, &params)
    }
}

fn leading_zeros(target: Target) -> u32 {
    let bytes = target.to_be_bytes();
    let zeros: u32 = bytes.iter().take_while(|byte| **byte == 0).map(|_| u8::BITS).sum();
    let next = bytes.iter().find(|byte| **byte != 0).map_or(0, |byte| byte.leading_zeros());
    zeros.saturating_add(next)
}
