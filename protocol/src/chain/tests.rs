//! Chains mined here under rules with periods of eight blocks, two seconds apart, and real headers of Bitcoin.

mod accepting;
mod base;
mod forks;
mod retargets;

use super::*;
use bitcoin::block::Version;
use bitcoin::hashes::Hash as _;
use bitcoin::{Target, TxMerkleNode};

/// About 128 hashes a block.
const LIMIT: u32 = 0x2001_ffff;
const QUARTER: u32 = 0x1f7f_ffc0;
const INTERVAL: usize = 8;
const TIMESPAN_S: u32 = 16;

fn rules() -> HeaderRules {
    HeaderRules::private(CompactTarget::from_consensus(LIMIT), INTERVAL as u32, 2).unwrap()
}

/// Searches a nonce with which the header meets its target, or just does not.
fn search(mut header: Header, meets: bool) -> Header {
    header.nonce = (0..).find(|nonce| is_met(&Header { nonce: *nonce, ..header }) == meets).unwrap();
    header
}

fn is_met(header: &Header) -> bool {
    header.target().is_met_by(header.block_hash())
}

/// A header that meets its target; `salt` makes it differ from its siblings.
fn mined(prev_blockhash: BlockHash, bits: CompactTarget, time: u32, salt: u64) -> Header {
    let mut root = [0; 32];
    root[..8].copy_from_slice(&salt.to_be_bytes());
    let merkle_root = TxMerkleNode::from_byte_array(root);
    search(Header { version: Version::TWO, prev_blockhash, merkle_root, time, bits, nonce: 0 }, true)
}

/// Headers from height zero on, mined by rules written down a second time, as plainly as can be.
#[derive(Clone)]
struct Branch(Vec<Header>);

impl Branch {
    fn genesis() -> Self {
        Self(vec![mined(BlockHash::all_zeros(), CompactTarget::from_consensus(LIMIT), 1_000_000, 0)])
    }

    /// A first period as fast as the median time allows, and the block that opens the second, four times harder.
    fn quick() -> Self {
        let mut branch = Self::genesis();
        branch.grow(&[1, 1, 1, 1, 0, 0, 0, 1], 1);
        assert_eq!(branch.0[8].bits, CompactTarget::from_consensus(QUARTER));
        branch
    }

    /// A header whose time is `gap_s` after the one below.
    fn next(&self, gap_s: u32, salt: u64) -> Header {
        let last = self.0.last().unwrap();
        mined(last.block_hash(), self.required(), last.time + gap_s, salt)
    }

    fn grow(&mut self, gaps_s: &[u32], salt: u64) -> &mut Self {
        for gap_s in gaps_s {
            self.0.push(self.next(*gap_s, salt));
        }
        self
    }

    fn required(&self) -> CompactTarget {
        let last = self.0.last().unwrap();
        if !self.0.len().is_multiple_of(INTERVAL) {
            return last.bits;
        }
        let took_s = last.time.saturating_sub(self.0[self.0.len() - INTERVAL].time);
        let took_s = took_s.clamp(TIMESPAN_S / 4, TIMESPAN_S * 4);
        let target = scaled(last.target(), took_s, TIMESPAN_S);
        target.min(Target::from_compact(CompactTarget::from_consensus(LIMIT))).to_compact_lossy()
    }

    fn median_s(&self) -> u32 {
        let mut times: Vec<_> = self.0.iter().rev().take(11).map(|header| header.time).collect();
        times.sort();
        times[times.len() / 2]
    }

    /// A light client that knows the genesis block only.
    fn client(&self) -> HeaderChain {
        HeaderChain::new(rules(), BtcHeight(0), &self.0[..1]).unwrap()
    }

    /// A light client that followed this branch.
    fn followed(&self) -> HeaderChain {
        let mut chain = self.client();
        for batch in self.0[1..].chunks(MAX_BATCH) {
            chain.accept(batch).unwrap();
        }
        chain
    }
}

/// `target * by / over` by schoolbook arithmetic on bytes.
fn scaled(target: Target, by: u32, over: u32) -> Target {
    let mut digits = target.to_be_bytes().map(u64::from);
    let mut carry = 0;
    for digit in digits.iter_mut().rev() {
        let product = *digit * u64::from(by) + carry;
        (*digit, carry) = (product % 256, product / 256);
    }
    assert_eq!(carry, 0, "the rules leave room for the product");
    let mut rest = 0;
    for digit in &mut digits {
        let dividend = rest * 256 + *digit;
        (*digit, rest) = (dividend / u64::from(over), dividend % u64::from(over));
    }
    Target::from_be_bytes(digits.map(|digit| digit as u8))
}
