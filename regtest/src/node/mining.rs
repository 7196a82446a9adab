//! New blocks on the node: its own, and branches that compete with its own.

use std::collections::HashSet;
use std::time::{SystemTime, UNIX_EPOCH};

use bitcoin::block::Header;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Block, BlockHash, Transaction, Txid};
use palisade_hub::bitcoind::{RpcError, Tip};
use serde::Deserialize;
use serde_json::json;

use super::{Node, NodeError};
use palisade_world::World;
use palisade_world::blocks;

/// What a reorganisation did.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reorg {
    /// Height of the last block that both branches share.
    pub fork_height: u32,
    /// Tip before.
    pub old_tip: Tip,
    /// Tip after.
    pub new_tip: Tip,
    /// Transactions that the old branch held and the new one does not, coinbases left out. The node puts those
    /// that are still valid back into its mempool.
    pub removed: Vec<Txid>,
}

#[derive(Deserialize)]
struct Generated {
    hash: BlockHash,
}

impl Node {
    /// Mines `count` blocks to the harness's key, with what the mempool holds.
    pub async fn mine(&self, count: u32) -> Result<Vec<BlockHash>, NodeError> {
        let address = super::funding::address().to_string();
        Ok(self.rpc.call("generatetoaddress", json!([count, address])).await?)
    }

    /// Mines one block with these transactions in this order, from the mempool or not, and nothing else.
    pub async fn mine_block_with(&self, transactions: &[Transaction]) -> Result<BlockHash, NodeError> {
        let address = super::funding::address().to_string();
        let hex: Vec<String> = transactions.iter().map(serialize_hex).collect();
        let block: Generated = self.rpc.call("generateblock", json!([address, hex])).await?;
        Ok(block.hash)
    }

    /// Replaces the last `depth` blocks by a branch of `new_blocks`, the first of which holds the transactions
    /// `keep` in this order, and submits it to the node, which follows because the branch has more work.
    pub async fn reorg(&self, depth: u32, new_blocks: u32, keep: &[Transaction]) -> Result<Reorg, NodeError> {
        let old_tip = self.rpc.tip().await?;
        let fork_height = match old_tip.height.checked_sub(depth) {
            Some(height) if depth > 0 && new_blocks > depth => height,
            _ => return Err(NodeError::ImpossibleReorg { depth, new_blocks, tip: old_tip.height }),
        };
        let replaced = self.blocks_above(fork_height, old_tip.height).await?;
        let branch = self.branch(fork_height, new_blocks, keep).await?;
        let new_tip = self.submit(&branch).await?;
        Ok(Reorg { fork_height, old_tip, new_tip, removed: removed(&replaced, keep) })
    }

    /// Starts a node in a temporary directory whose best chain is the world's.
    pub async fn of(world: &World) -> Result<Self, NodeError> {
        let node = Self::temporary().await?;
        node.follow(world).await?;
        Ok(node)
    }

    /// Hands the node those blocks of the world that its best chain lacks. The world's chain must have more work.
    pub async fn follow(&self, world: &World) -> Result<Tip, NodeError> {
        let mut shared = self.rpc.tip().await?.height.min(world.btc_height());
        while self.rpc.block_hash(shared).await? != Some(world.block_hash(shared)) {
            shared -= 1; // the genesis block is everybody's
        }
        self.submit(&world.chain[shared as usize + 1..]).await
    }

    /// Hands the node blocks, the last of which is to be its tip.
    pub async fn submit(&self, blocks: &[Block]) -> Result<Tip, NodeError> {
        for block in blocks {
            self.rpc.submit_block(block).await?;
        }
        let tip = self.rpc.tip().await?;
        match blocks.last().map(Block::block_hash) {
            Some(wanted) if wanted != tip.hash => Err(NodeError::NotFollowed { wanted, found: tip.hash }),
            _ => Ok(tip),
        }
    }

    /// Builds blocks on top of the best chain's block at `fork_height`.
    async fn branch(
        &self,
        fork_height: u32,
        count: u32,
        transactions: &[Transaction],
    ) -> Result<Vec<Block>, NodeError> {
        let first = fork_height.saturating_sub(10);
        let mut headers: Vec<Header> = self.rpc.headers(first, fork_height - first + 1).await?;
        let mut blocks = Vec::new();
        for height in fork_height + 1..=fork_height + count {
            let Some(previous) = headers.last() else {
                return Err(RpcError::ChainMoved { method: "getblockheader" }.into());
            };
            let transactions = if blocks.is_empty() { transactions } else { &[] };
            let time = blocks::earliest_time(&headers).max(now_s());
            let payout = super::funding::address().script_pubkey();
            let block = blocks::build(previous, height, time, &payout, rand::random(), transactions);
            headers.push(block.header);
            blocks.push(block);
        }
        Ok(blocks)
    }

    async fn blocks_above(&self, height: u32, tip: u32) -> Result<Vec<Block>, NodeError> {
        let mut blocks = Vec::new();
        for header in self.rpc.headers(height + 1, tip - height).await? {
            blocks.extend(self.rpc.block(header.block_hash()).await?);
        }
        Ok(blocks)
    }
}

fn removed(replaced: &[Block], keep: &[Transaction]) -> Vec<Txid> {
    let kept: HashSet<Txid> = keep.iter().map(Transaction::compute_txid).collect();
    let transactions = replaced.iter().flat_map(|block| block.txdata.iter().skip(1));
    transactions.map(Transaction::compute_txid).filter(|txid| !kept.contains(txid)).collect()
}

fn now_s() -> u32 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u32::try_from(since.as_secs()).unwrap_or(u32::MAX)
}
