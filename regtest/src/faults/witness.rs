//! A witness: somebody who reads all that the network shows while it is disturbed, and against whom it is held afterwards.

use bitcoin::{Transaction, Txid};
use palisade_hub::bitcoind::BitcoinRpc;
use palisade_hub::client::HubClient;
use palisade_protocol::block::Block;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::units::Height;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::task::JoinHandle;

/// Time between two looks.
const LOOK_AGAIN: Duration = Duration::from_millis(50);
/// Votes are asked for from so many heights below the newest one that was seen.
const LOOK_BACK: u64 = 20;

/// What was seen.
#[derive(Debug, Default, Clone)]
pub struct Seen {
    /// Hub blocks, by height, as they were first shown.
    pub blocks: BTreeMap<Height, Block>,
    /// Votes that the hub has shown, by their bytes.
    pub votes: BTreeMap<Vec<u8>, Vote>,
    /// Bitcoin transactions that waited in the mempool.
    pub transactions: BTreeMap<Txid, Transaction>,
    /// Two blocks that were shown at one height.
    pub changed: Vec<Height>,
}

/// The witness. It stops looking when this is dropped.
#[derive(Debug)]
pub struct Witness {
    seen: Arc<Mutex<Seen>>,
    looking: Vec<JoinHandle<()>>,
}

impl Witness {
    /// Begins to look. Whoever does not answer is asked again.
    pub fn begin(hub: &HubClient, node: BitcoinRpc, chains: &[&str]) -> Self {
        let seen: Arc<Mutex<Seen>> = Arc::default();
        let mut looking = vec![
            tokio::spawn(read_blocks(hub.clone(), seen.clone())),
            tokio::spawn(read_mempool(node, seen.clone())),
        ];
        let votes = |chain: &&str| tokio::spawn(read_votes(hub.clone(), (*chain).to_owned(), seen.clone()));
        looking.extend(chains.iter().map(votes));
        Self { seen, looking }
    }

    /// What was seen so far.
    pub fn seen(&self) -> Seen {
        locked(&self.seen, |seen| seen.clone())
    }
}

impl Drop for Witness {
    fn drop(&mut self) {
        self.looking.iter().for_each(JoinHandle::abort);
    }
}

fn locked<T>(seen: &Mutex<Seen>, what: impl FnOnce(&mut Seen) -> T) -> T {
    what(&mut seen.lock().unwrap_or_else(PoisonError::into_inner))
}

async fn read_blocks(hub: HubClient, seen: Arc<Mutex<Seen>>) {
    loop {
        let next = locked(&seen, |seen| seen.blocks.last_key_value().map_or(Height(0), |(last, _)| *last));
        // The last one is read again: it must not have changed.
        let Ok(page) = hub.blocks(next, Duration::ZERO).await else {
            tokio::time::sleep(LOOK_AGAIN).await;
            continue;
        };
        locked(&seen, |seen| {
            for block in page {
                let height = block.header.height;
                if *seen.blocks.entry(height).or_insert_with(|| block.clone()) != block {
                    seen.changed.push(height);
                }
            }
        });
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn read_votes(hub: HubClient, chain: String, seen: Arc<Mutex<Seen>>) {
    let mut newest = 0;
    loop {
        let from = Height(u64::saturating_sub(newest, LOOK_BACK));
        for vote in hub.votes(&chain, from).await.unwrap_or_default() {
            newest = newest.max(vote.ballot.height.0);
            locked(&seen, |seen| seen.votes.insert(vote.to_bytes(), vote));
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}

async fn read_mempool(node: BitcoinRpc, seen: Arc<Mutex<Seen>>) {
    loop {
        let waiting: Vec<Txid> = node.call("getrawmempool", json!([])).await.unwrap_or_default();
        for txid in waiting {
            if locked(&seen, |seen| seen.transactions.contains_key(&txid)) {
                continue;
            }
            if let Ok(Some(found)) = node.raw_transaction(txid).await {
                locked(&seen, |seen| seen.transactions.insert(txid, found.transaction));
            }
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    }
}
