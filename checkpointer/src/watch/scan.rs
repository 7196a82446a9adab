//! Reading Bitcoin for slashings by others: each gives the key away that slashes all other stakes of its provider.

use super::Watcher;
use super::book::Mark;
use super::recover::leaked_by;
use crate::shell::{FileError, PassError};
use bitcoin::{BlockHash, OutPoint, Txid};
use palisade_hub::bitcoind::Tip;
use palisade_hub::ledger::stake::{SpendKind, Stake};
use palisade_protocol::units::BtcHeight;

/// Stakes that are looked up in one pass, and blocks that are read: then it is the jobs' turn again.
const STAKES: usize = 500;
const BLOCKS: u32 = 50;
/// Spends in the mempool that are remembered as looked at.
const MAX_SEEN: usize = 100_000;

impl Watcher {
    /// Looks stakes up that were registered since the last look: their slashings may stand anywhere below.
    /// Says whether all are.
    pub(super) async fn look_back(&mut self, tip: Tip) -> Result<bool, PassError> {
        // In a new book blocks are read from here on, and all that is below is looked up.
        let fresh = Mark { stakes: 0, height: BtcHeight(tip.height), block: tip.hash };
        let mark = self.mark.unwrap_or(fresh);
        let stakes = self.ledger().stakes();
        let count = stakes.len().min(mark.stakes.saturating_add(STAKES));
        let all = count == stakes.len();
        let slashings = |stake: &Stake| {
            [&stake.presigned.slashing, &stake.presigned.unbonding_slashing].map(|tx| tx.compute_txid())
        };
        let txids: Vec<Txid> = stakes.iter().take(count).skip(mark.stakes).flat_map(slashings).collect();
        for txid in txids {
            self.look_at(txid, "an earlier slashing").await?;
        }
        self.move_mark(Mark { stakes: count, ..mark })?;
        Ok(all)
    }

    async fn look_at(&mut self, txid: Txid, source: &'static str) -> Result<(), PassError> {
        if let Some(found) = self.bitcoin.raw_transaction(txid).await? {
            for evidence in leaked_by(self.ledger(), &found.transaction) {
                self.learn(&evidence, source)?;
            }
        }
        Ok(())
    }

    fn move_mark(&mut self, mark: Mark) -> Result<(), FileError> {
        // Also after a start that finds no new block.
        self.meters.height.set(mark.height.0.into());
        if self.mark != Some(mark) {
            self.book.set_mark(&mark)?;
            self.mark = Some(mark);
        }
        Ok(())
    }

    /// Reads the blocks of our node's best chain that were not read, from the last one that still stands. Says whether all
    /// are.
    pub(super) async fn read_blocks(&mut self, tip: Tip) -> Result<bool, PassError> {
        let Some(mark) = self.mark else { return Ok(true) };
        let (standing, height, fork) = self.last_standing(mark).await?;
        let mut height = height;
        if fork != mark.block {
            match standing {
                Standing::Fork => {
                    tracing::info!(fork = %height, was = %mark.height, "Bitcoin was reorganised")
                }
                Standing::Unknown => tracing::warn!(
                    from = %height,
                    was = %mark.height,
                    "our Bitcoin node does not know the block that was read last: it is another node or began anew; all is read again"
                ),
            }
            self.reopen_jobs(height)?;
            self.move_mark(Mark { height, block: fork, ..mark })?;
        }
        let end = tip.height.min(height.plus(BLOCKS).0);
        while height.0 < end {
            height = height.next();
            // A chain that got shorter meanwhile is met in the next pass.
            let Some(hash) = self.bitcoin.block_hash(height.0).await? else { return Ok(true) };
            let Some(block) = self.bitcoin.block(hash).await? else { return Ok(true) };
            if self.mark.is_some_and(|mark| mark.block != block.header.prev_blockhash) {
                return Ok(true);
            }
            for evidence in
                block.txdata.iter().flat_map(|tx| leaked_by(self.ledger(), tx)).collect::<Vec<_>>()
            {
                self.learn(&evidence, "a slashing in a block")?;
            }
            self.move_mark(Mark { height, block: hash, ..mark })?;
        }
        Ok(end == tip.height)
    }

    /// The newest block at or below the mark that is on the best chain.
    async fn last_standing(&self, mark: Mark) -> Result<(Standing, BtcHeight, BlockHash), PassError> {
        let (mut height, mut hash) = (mark.height, mark.block);
        while self.bitcoin.block_hash(height.0).await? != Some(hash) {
            let base = self.ledger().bitcoin().base();
            let known = self.bitcoin.header(hash).await?.filter(|_| height > base);
            let Some(header) = known else {
                // Another node's data: all is read again, from where the hub began.
                let first = self.bitcoin.block_hash(base.0).await?;
                let missing = || PassError::Apart(format!("our node has no block at height {base} yet"));
                return Ok((Standing::Unknown, base, first.ok_or_else(missing)?));
            };
            (height, hash) = (height.minus(1), header.prev_blockhash);
        }
        Ok((Standing::Fork, height, hash))
    }

    /// Looks at what spends registered stakes in our node's mempool.
    pub(super) async fn read_mempool(&mut self) -> Result<(), PassError> {
        let unknown = |stake: &&Stake| !stake.named().all(|key| self.keys.contains_key(key));
        let outpoints: Vec<OutPoint> =
            self.ledger().stakes().iter().filter(unknown).flat_map(unspent_outputs).collect();
        let spends = self.bitcoin.spends_in_mempool(&outpoints).await?;
        for txid in spends.into_iter().flatten() {
            if !self.seen.contains(&txid) {
                self.look_at(txid, "a slashing in the mempool").await?;
                if self.seen.len() >= MAX_SEEN {
                    self.seen.pop_first();
                }
                self.seen.insert(txid);
            }
        }
        Ok(())
    }
}

/// How a block on the best chain was found below the mark.
enum Standing {
    /// The node knows the way down from the mark.
    Fork,
    /// It does not: nothing is known to be shared.
    Unknown,
}

/// Outputs of a stake of which the ledger knows no spend. It may be behind: the node knows better.
fn unspent_outputs(stake: &Stake) -> Vec<OutPoint> {
    let staking = stake.contract.coin.outpoint;
    let unbonding = OutPoint { txid: stake.presigned.unbonding.compute_txid(), vout: 0 };
    match (stake.spend.map(|spend| spend.kind), stake.unbonding_spend) {
        (None, _) => vec![staking, unbonding],
        (Some(SpendKind::Unbonding), None) => vec![unbonding],
        _ => Vec::new(),
    }
}
