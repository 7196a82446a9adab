//! The voter's own search of its node's blocks for spends of stakes.
//!
//! A stake's output has no key path: its internal key is the one that nobody knows, and a spend shows that key in its
//! control block. So every spend of any stake, registered or not yet, is found by looking at witnesses alone.

use super::journal::{Journal, JournalError};
use bitcoin::{Block, OutPoint, Witness};
use palisade_hub::bitcoind::{BitcoinRpc, RpcError};
use palisade_protocol::outputs::NUMS;
use palisade_protocol::units::BtcHeight;
use std::collections::BTreeSet;

/// Most blocks that one pass searches, so that a long search stops when it is told to.
const PASS: u32 = 200;

/// Why the search does not go on.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The own node.
    #[error(transparent)]
    Bitcoin(#[from] RpcError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
}

/// Outputs that a block spends by a script path of a tree without a key path.
pub fn script_spends(block: &Block) -> BTreeSet<OutPoint> {
    let inputs = block.txdata.iter().flat_map(|tx| &tx.input);
    inputs.filter(|input| shows_nums_key(&input.witness)).map(|input| input.previous_output).collect()
}

/// BIP-341: the last element is the control block (an annex, which begins with 0x50, may follow it): one byte, the
/// internal key, and up to 128 hashes.
fn shows_nums_key(witness: &Witness) -> bool {
    let has_annex =
        witness.len() >= 2 && witness.last().is_some_and(|element| element.first() == Some(&0x50));
    let control = if has_annex { witness.second_to_last() } else { witness.last() };
    control.is_some_and(|control| {
        control.len() >= 33
            && (control.len() - 33).is_multiple_of(32)
            && control.get(1..33) == Some(&NUMS[..])
    })
}

/// Searches the node's best chain from above `base` up to `target`. Says how far it came.
pub async fn search(
    bitcoin: &BitcoinRpc,
    journal: &Journal,
    base: BtcHeight,
    target: BtcHeight,
) -> Result<BtcHeight, ScanError> {
    let mut at = base;
    // Blocks that the node no longer has are searched anew from the fork on.
    while let Some((height, hash)) = journal.searched()? {
        if bitcoin.block_hash(height.0).await? == Some(hash) {
            at = height;
            break;
        }
        journal.unsearch(height)?;
    }
    for _ in 0..PASS {
        if at >= target {
            break;
        }
        let next = at.next();
        let Some(hash) = bitcoin.block_hash(next.0).await? else { break };
        let Some(block) = bitcoin.block(hash).await? else { break };
        let parent = journal.searched()?.map(|(_, hash)| hash);
        if parent.is_some_and(|parent| parent != block.header.prev_blockhash) {
            // The chain moved between two questions: the next pass finds the fork.
            break;
        }
        journal.note_searched(next, hash, &script_spends(&block))?;
        at = next;
    }
    Ok(at)
}
