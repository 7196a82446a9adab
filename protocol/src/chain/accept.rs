//! Accepting headers: all of a batch, or nothing. Source: docs/protocol.md, section 4.1.

use super::{Block, HeaderChain, Tip, median_time};
use crate::units::BtcHeight;
use bitcoin::block::Header;
use bitcoin::{BlockHash, CompactTarget, Work};

/// Most headers in one batch: what one answer of a Bitcoin node to `getheaders` holds.
pub const MAX_BATCH: usize = 2_000;

/// Seconds that a header's time may lie ahead of the clock of whoever looks (Bitcoin Core's bound).
pub const MAX_FUTURE_S: u32 = 7_200;

/// What an accepted batch changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Accepted {
    /// Blocks were added on top of the tip.
    Extended {
        /// The tip before.
        from: Tip,
        /// The tip now.
        to: Tip,
    },
    /// Another branch has more work.
    Reorganised {
        /// Height of the last block that both branches share.
        fork: BtcHeight,
        /// The tip before.
        old_tip: Tip,
        /// The tip now; possibly a lower one.
        new_tip: Tip,
        /// Blocks that are no longer on the best chain, lowest first, from `fork` + 1 on.
        disconnected: Vec<BlockHash>,
        /// Blocks that are on it instead, lowest first, from `fork` + 1 on.
        connected: Vec<BlockHash>,
    },
}

/// Why a batch changes nothing. Heights are those that a header would have.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderRefused {
    /// There is no header.
    #[error("the batch is empty")]
    Empty,
    /// The batch is too long to judge.
    #[error("the batch holds {0} headers, at most {MAX_BATCH} are allowed")]
    TooMany(usize),
    /// Each header must follow the one before it in the batch.
    #[error("header {index} of the batch does not link to the one before it")]
    NotLinked {
        /// Its place, from zero.
        index: usize,
    },
    /// The block below is on no chain that this light client follows.
    #[error("the block {0} below the first header is not on the best chain")]
    UnknownPrevious(BlockHash),
    /// The branch leaves the chain below its newest trusted block.
    #[error("the branch leaves the chain at height {fork}, below the trusted block at {base}")]
    BelowBase {
        /// Last block that the branch shares with the best chain.
        fork: BtcHeight,
        /// Newest trusted block.
        base: BtcHeight,
    },
    /// No block can follow.
    #[error("heights end at {0}")]
    HeightsEnd(BtcHeight),
    /// Not the target that the rules demand at this height.
    #[error("header at {height} states target {:#010x}, the rules demand {:#010x}", found.to_consensus(), required.to_consensus())]
    WrongTarget {
        /// The header's height.
        height: BtcHeight,
        /// The target it states.
        found: CompactTarget,
        /// The target demanded.
        required: CompactTarget,
    },
    /// The hash is above the target.
    #[error("header at {height} has the hash {hash}, which does not meet its target")]
    InsufficientWork {
        /// The header's height.
        height: BtcHeight,
        /// Its hash.
        hash: BlockHash,
    },
    /// A block's time must be above the median time of the eleven before it.
    #[error("header at {height} has time {time_s}, the median time before it is {median_s}")]
    TooOld {
        /// The header's height.
        height: BtcHeight,
        /// Its time, in seconds.
        time_s: u32,
        /// The median time that it must exceed.
        median_s: u32,
    },
    /// Every header is on the best chain already. Sending again changes nothing, so a sender may count this as success.
    #[error("all headers up to height {0} are known")]
    NothingNew(BtcHeight),
    /// A valid branch, not ahead: of equal work the first seen stays. May win later, with more headers on top.
    #[error("the branch from height {fork} has work {found}, the best chain has {best}")]
    NotMoreWork {
        /// Last block that the branch shares with the best chain.
        fork: BtcHeight,
        /// Work of the branch.
        found: Work,
        /// Work of the best chain.
        best: Work,
    },
}

impl HeaderRefused {
    /// Whether the same batch may be accepted later, when the best chain is another.
    pub fn can_be_retried(&self) -> bool {
        match self {
            Self::UnknownPrevious(_) | Self::NotMoreWork { .. } => true,
            Self::Empty
            | Self::TooMany(_)
            | Self::NotLinked { .. }
            | Self::BelowBase { .. }
            | Self::HeightsEnd(_)
            | Self::WrongTarget { .. }
            | Self::InsufficientWork { .. }
            | Self::TooOld { .. }
            | Self::NothingNew(_) => false,
        }
    }
}

/// New blocks on top of a block of the best chain.
struct Branch<'a> {
    chain: &'a HeaderChain,
    /// Last block shared with the best chain.
    fork: BtcHeight,
    blocks: Vec<Block>,
}

impl HeaderChain {
    /// Accepts a batch of headers, lowest first, that links to any block of the best chain from the base on and ends
    /// in a tip with more work. Headers that are known already may come first. A refused batch changes nothing.
    pub fn accept(&mut self, headers: &[Header]) -> Result<Accepted, HeaderRefused> {
        let (fork, blocks) = self.judge(headers)?;
        Ok(self.adopt(fork, blocks))
    }

    /// Whether a batch would be accepted now.
    pub fn check(&self, headers: &[Header]) -> Result<(), HeaderRefused> {
        self.judge(headers).map(drop)
    }

    /// The fork and the valid new blocks on top of it, together more work than the best chain.
    fn judge(&self, headers: &[Header]) -> Result<(BtcHeight, Vec<Block>), HeaderRefused> {
        let hashes = linked(headers)?;
        let known = hashes.iter().take_while(|hash| self.height_of(hash).is_some()).count();
        let first = headers.get(known).ok_or(HeaderRefused::NothingNew(self.tip.height))?;
        let mut branch = self.branch_on(first.prev_blockhash)?;
        for (header, hash) in headers.iter().zip(hashes).skip(known) {
            branch.push(header, hash)?;
        }
        let Branch { fork, blocks, .. } = branch;
        let best = self.total_work;
        match blocks.last().map(|block| block.total_work) {
            Some(found) if found > best => Ok((fork, blocks)),
            found => Err(HeaderRefused::NotMoreWork { fork, found: found.unwrap_or(best), best }),
        }
    }

    fn branch_on(&self, previous: BlockHash) -> Result<Branch<'_>, HeaderRefused> {
        let fork = self.height_of(&previous).ok_or(HeaderRefused::UnknownPrevious(previous))?;
        if fork < self.base {
            return Err(HeaderRefused::BelowBase { fork, base: self.base });
        }
        Ok(Branch { chain: self, fork, blocks: Vec::new() })
    }

    /// Replaces what lies above `fork`.
    fn adopt(&mut self, fork: BtcHeight, blocks: Vec<Block>) -> Accepted {
        let old_tip = self.tip;
        let kept = usize::try_from(fork.plus(1).since(self.first)).unwrap_or(usize::MAX);
        let disconnected: Vec<_> = self.blocks.iter().skip(kept).map(|block| block.hash).collect();
        for hash in &disconnected {
            self.heights.remove(hash);
        }
        self.blocks.truncate(kept);
        for (height, block) in (fork.0..=u32::MAX).skip(1).map(BtcHeight).zip(&blocks) {
            self.heights.insert(block.hash, height);
            self.tip = Tip { height, hash: block.hash };
            self.total_work = block.total_work;
        }
        let connected = blocks.iter().map(|block| block.hash).collect();
        self.blocks.extend(blocks);
        let new_tip = self.tip;
        if disconnected.is_empty() {
            return Accepted::Extended { from: old_tip, to: new_tip };
        }
        Accepted::Reorganised { fork, old_tip, new_tip, disconnected, connected }
    }
}

/// The headers' hashes, if they are few enough and each one follows the one before it.
fn linked(headers: &[Header]) -> Result<Vec<BlockHash>, HeaderRefused> {
    if headers.len() > MAX_BATCH {
        return Err(HeaderRefused::TooMany(headers.len()));
    }
    let mut above = headers.first().ok_or(HeaderRefused::Empty)?.prev_blockhash;
    let mut hashes = Vec::with_capacity(headers.len());
    for (index, header) in headers.iter().enumerate() {
        if header.prev_blockhash != above {
            return Err(HeaderRefused::NotLinked { index });
        }
        above = header.block_hash();
        hashes.push(above);
    }
    Ok(hashes)
}

impl Branch<'_> {
    /// The block at `height` as this branch sees the chain.
    fn block_at(&self, height: BtcHeight) -> Option<&Block> {
        match height.0.checked_sub(self.fork.plus(1).0) {
            Some(index) => self.blocks.get(usize::try_from(index).ok()?),
            None => self.chain.block_at(height),
        }
    }

    /// Checks a header by every rule and puts it on top.
    fn push(&mut self, header: &Header, hash: BlockHash) -> Result<(), HeaderRefused> {
        let below = self.fork.plus(u32::try_from(self.blocks.len()).unwrap_or(u32::MAX));
        let height = below.0.checked_add(1).map(BtcHeight).ok_or(HeaderRefused::HeightsEnd(below))?;
        // The base stands on a period's first block with ten more below it, so nothing is ever missing above it.
        let missing = HeaderRefused::BelowBase { fork: self.fork, base: self.chain.base };
        let previous = self.block_at(below).ok_or(missing.clone())?;
        let required = self.required_target(height, &previous.header).ok_or(missing.clone())?;
        if header.bits != required {
            return Err(HeaderRefused::WrongTarget { height, found: header.bits, required });
        }
        if !header.target().is_met_by(hash) {
            return Err(HeaderRefused::InsufficientWork { height, hash });
        }
        let median_s = median_time(below, |height| self.block_at(height)).ok_or(missing)?;
        if header.time <= median_s {
            return Err(HeaderRefused::TooOld { height, time_s: header.time, median_s });
        }
        let block = Block::new(*header, hash, Some(previous));
        self.blocks.push(block);
        Ok(())
    }

    fn required_target(&self, height: BtcHeight, previous: &Header) -> Option<CompactTarget> {
        let rules = &self.chain.rules;
        let Some(interval) = rules.period_before(height.0) else { return Some(previous.bits) };
        let first = self.block_at(height.minus(interval))?;
        Some(rules.next_target(previous.bits, first.header.time, previous.time))
    }
}

/// A header's time is further ahead than Bitcoin's nodes accept. The same header may be fine later.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("header {hash} has time {time_s}, the latest acceptable now is {latest_s}")]
pub struct FromFuture {
    /// The header.
    pub hash: BlockHash,
    /// Its time, in seconds.
    pub time_s: u32,
    /// The latest time accepted now.
    pub latest_s: u32,
}

/// Refuses headers whose time is more than two hours after `now_s`, the caller's clock in UNIX seconds.
pub fn check_not_from_future(headers: &[Header], now_s: u32) -> Result<(), FromFuture> {
    let latest_s = now_s.saturating_add(MAX_FUTURE_S);
    match headers.iter().find(|header| header.time > latest_s) {
        Some(header) => Err(FromFuture { hash: header.block_hash(), time_s: header.time, latest_s }),
        None => Ok(()),
    }
}
