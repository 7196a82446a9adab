//! Bitcoin's headers: a light client that follows the branch with the most work.
//!
//! [`HeaderChain`] starts from trusted headers and accepts batches of new ones. Each header's link, target, proof of
//! work and median time are checked as Bitcoin Core checks them, so the best branch costs what Bitcoin's costs. A batch
//! that does not win changes nothing and is not kept: a reorganisation arrives as one batch that runs from the fork to
//! a tip with more work. Nobody can therefore fill the memory, or a log of what was accepted, with losing branches.
//! The price: a branch that is not ahead after [`MAX_BATCH`] headers cannot be followed, two weeks deep on Bitcoin.
//!
//! The same headers in the same order give the same chain on every machine. There is no clock here: the bound on
//! times in the future depends on who looks, so shells apply [`check_not_from_future`] before they pass headers on.
//!
//! Not checked, because headers alone do not show it: transactions, and the signatures of signet's challenge. Versions
//! (BIP 34, 65 and 66 refuse old ones from some heights on) are left out as well: who can outwork Bitcoin on an old
//! version can do it on a new one, and the heights would be one more fact to get wrong.
//! Source: docs/protocol.md, section 4.1.

mod accept;
mod rules;
#[cfg(test)]
mod tests;

pub use accept::{Accepted, FromFuture, HeaderRefused, MAX_BATCH, MAX_FUTURE_S, check_not_from_future};
pub use rules::{HeaderRules, RulesRefused};

use crate::units::BtcHeight;
use bitcoin::block::Header;
use bitcoin::{BlockHash, CompactTarget, Work};
use std::collections::BTreeMap;

/// Blocks whose median time a new block's time must exceed.
const MEDIAN_SPAN: u32 = 11;

/// A block of the best chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// Its height.
    pub height: BtcHeight,
    /// Its hash.
    pub hash: BlockHash,
}

/// A header with what is derived from it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Block {
    header: Header,
    hash: BlockHash,
    /// Work of all headers from the first one held up to this one.
    total_work: Work,
}

impl Block {
    fn new(header: Header, hash: BlockHash, below: Option<&Block>) -> Self {
        #[allow(
            clippy::arithmetic_side_effects,
            reason = "each header's hash meets its target, so a sum of 2^256 takes 2^256 hashes to make"
        )]
        let total_work = below.map_or(header.work(), |block| block.total_work + header.work());
        Self { header, hash, total_work }
    }
}

/// The best chain above trusted headers. Every cost is proportional to the headers handed in or dropped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeaderChain {
    rules: HeaderRules,
    /// Height of `blocks[0]`.
    first: BtcHeight,
    /// The newest trusted block: never dropped, and no branch forks off below it.
    base: BtcHeight,
    /// From `first` to the tip; never empty.
    blocks: Vec<Block>,
    heights: BTreeMap<BlockHash, BtcHeight>,
    tip: Tip,
    /// Work of all of `blocks`.
    total_work: Work,
}

/// Why headers cannot be the trusted beginning of a chain.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BaseRefused {
    /// The median time of the first new header needs exactly these.
    #[error("a base at height {height} takes the {wanted} headers that end at it, found {found}")]
    WrongCount {
        /// Height of the base.
        height: BtcHeight,
        /// Headers handed in.
        found: usize,
        /// Headers needed: eleven, or all from the genesis block on.
        wanted: u32,
    },
    /// The first retarget needs the time of the first block of its period.
    #[error("the base at height {height} is not the first block of a period of {interval}")]
    NotAtRetarget {
        /// Height of the base.
        height: BtcHeight,
        /// Blocks from one retarget to the next.
        interval: u32,
    },
    /// A header does not name the one before it.
    #[error("header {index} of the base does not link to the one before it")]
    NotLinked {
        /// Its place, from zero.
        index: usize,
    },
    /// A target is not written in canonical form, or is easier than the network's limit.
    #[error("header {index} of the base has the impossible target {:#010x}", bits.to_consensus())]
    BadTarget {
        /// Its place, from zero.
        index: usize,
        /// The target it states.
        bits: CompactTarget,
    },
    /// A header's hash is above its target.
    #[error("header {index} of the base does not meet its own target")]
    InsufficientWork {
        /// Its place, from zero.
        index: usize,
    },
}

impl HeaderChain {
    /// A chain that begins with trusted `headers`, oldest first, the last of them at `height`.
    ///
    /// There must be eleven (or all from the genesis block on), because the median time needs them, and under rules
    /// that retarget the last one must open a retarget period: then every later check finds what it needs.
    pub fn new(rules: HeaderRules, height: BtcHeight, headers: &[Header]) -> Result<Self, BaseRefused> {
        let wanted = MEDIAN_SPAN.min(height.plus(1).0);
        if headers.len() as u64 != u64::from(wanted) {
            return Err(BaseRefused::WrongCount { height, found: headers.len(), wanted });
        }
        if let Some(interval) = rules.interval().filter(|interval| !height.0.is_multiple_of(*interval)) {
            return Err(BaseRefused::NotAtRetarget { height, interval });
        }
        let first = height.minus(wanted.saturating_sub(1));
        let blocks = trusted(&rules, headers)?;
        let heights = (first.0..=u32::MAX)
            .map(BtcHeight)
            .zip(&blocks)
            .map(|(height, block)| (block.hash, height))
            .collect();
        let last = blocks.last().ok_or(BaseRefused::WrongCount { height, found: 0, wanted })?;
        let (tip, total_work) = (Tip { height, hash: last.hash }, last.total_work);
        Ok(Self { rules, first, base: height, blocks, heights, tip, total_work })
    }

    /// Height of the newest trusted block.
    pub fn base(&self) -> BtcHeight {
        self.base
    }

    /// The newest block of the best chain.
    pub fn tip(&self) -> Tip {
        self.tip
    }

    /// The best chain's header at `height`; none above the tip or below the first trusted header.
    pub fn header_at(&self, height: BtcHeight) -> Option<&Header> {
        self.block_at(height).map(|block| &block.header)
    }

    /// The best chain's block hash at `height`; none above the tip or below the first trusted header.
    pub fn hash_at(&self, height: BtcHeight) -> Option<BlockHash> {
        self.block_at(height).map(|block| block.hash)
    }

    /// Height of a block of the best chain; none for any other block.
    pub fn height_of(&self, hash: &BlockHash) -> Option<BtcHeight> {
        self.heights.get(hash).copied()
    }

    /// Blocks on top of the one at `height`: tip height - height. None above the tip.
    pub fn depth_of(&self, height: BtcHeight) -> Option<u32> {
        self.tip.height.0.checked_sub(height.0)
    }

    /// Median of the times of the block at `height` and the ten before it, in seconds; of all down to the genesis
    /// block where there are fewer. None where the chain does not hold them.
    pub fn median_time_past(&self, height: BtcHeight) -> Option<u32> {
        median_time(height, |height| self.block_at(height))
    }

    /// Work of the best chain from the first trusted header on.
    pub fn total_work(&self) -> Work {
        self.total_work
    }

    fn block_at(&self, height: BtcHeight) -> Option<&Block> {
        let index = height.0.checked_sub(self.first.0)?;
        self.blocks.get(usize::try_from(index).ok()?)
    }
}

/// Checks what the trusted headers show by themselves.
fn trusted(rules: &HeaderRules, headers: &[Header]) -> Result<Vec<Block>, BaseRefused> {
    let mut blocks: Vec<Block> = Vec::new();
    for (index, header) in headers.iter().enumerate() {
        let below = blocks.last();
        if below.is_some_and(|below| below.hash != header.prev_blockhash) {
            return Err(BaseRefused::NotLinked { index });
        }
        if !rules.allows(header.bits) {
            return Err(BaseRefused::BadTarget { index, bits: header.bits });
        }
        let hash = header.block_hash();
        if !header.target().is_met_by(hash) {
            return Err(BaseRefused::InsufficientWork { index });
        }
        let block = Block::new(*header, hash, below);
        blocks.push(block);
    }
    Ok(blocks)
}

/// Median time of the block at `height` and those before it. None if `block_at` lacks one of them.
fn median_time<'a>(height: BtcHeight, block_at: impl Fn(BtcHeight) -> Option<&'a Block>) -> Option<u32> {
    let count = MEDIAN_SPAN.min(height.0.saturating_add(1));
    let mut times: Vec<u32> = (0..count)
        .map(|back| block_at(height.minus(back)).map(|block| block.header.time))
        .collect::<Option<_>>()?;
    times.sort_unstable();
    times.get(times.len() / 2).copied()
}
