//! The development chain: a proof-of-stake chain reduced to what finality needs, blocks that name their parents.
//!
//! The only simulated part of the demo. It makes a block an interval, keeps it on disk before it shows it, never forks and
//! never goes back; what it shows it calls irreversible.

use anyhow::{Context as _, ensure};
use axum::extract::{Path as UrlPath, Query, State};
use axum::routing::get;
use axum::{Json, Router};
use palisade_hub::daemon::api::{Api, ApiError};
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_protocol::hash::{Hash32, tagged};
use serde::{Deserialize, Serialize};
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::Path;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// A block, as the chain shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DevBlock {
    /// Its height.
    pub height: u64,
    /// Its hash.
    pub hash: Hash32,
    /// The hash of the block before it; zero in the genesis block.
    pub parent: Hash32,
}

/// The chain: every block hash, on disk and in memory.
#[derive(Debug)]
pub struct DevChain {
    hashes: RwLock<Vec<Hash32>>,
}

/// The hash of a block: of its height, its parent and the chain's name.
fn block_hash(name: &str, height: u64, parent: &Hash32) -> Hash32 {
    tagged("palisade/devchain/block", &[name.as_bytes(), &height.to_be_bytes(), &parent.0])
}

/// The hash of the genesis block of a chain of this name.
pub fn genesis(name: &str) -> Hash32 {
    block_hash(name, 0, &Hash32::ZERO)
}

/// The hash of a block that the chain never made: what a misbehaving provider would vote for at a height.
pub fn rival(name: &str, height: u64) -> Hash32 {
    block_hash(name, height, &Hash32([0xff; 32]))
}

impl DevChain {
    /// Opens the chain in a file of hashes, or begins it.
    pub fn open(file: &Path, name: &str) -> anyhow::Result<(Arc<Self>, File)> {
        let mut disk = OpenOptions::new().read(true).append(true).create(true).open(file)?;
        let mut bytes = Vec::new();
        disk.read_to_end(&mut bytes)?;
        // A kill can leave half a hash at the end: that block was never shown.
        let whole = bytes.len() / 32 * 32;
        disk.set_len(whole as u64)?;
        let mut hashes: Vec<Hash32> =
            bytes[..whole].chunks_exact(32).filter_map(|hash| hash.try_into().ok().map(Hash32)).collect();
        if hashes.is_empty() {
            hashes.push(genesis(name));
            disk.write_all(&hashes[0].0)?;
            disk.sync_data()?;
        }
        ensure!(hashes[0] == genesis(name), "{} holds another chain", file.display());
        Ok((Arc::new(Self { hashes: RwLock::new(hashes) }), disk))
    }

    fn read<T>(&self, look: impl FnOnce(&[Hash32]) -> T) -> T {
        look(&self.hashes.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The newest block.
    pub fn tip(&self) -> Option<DevBlock> {
        self.block(self.read(<[_]>::len).checked_sub(1)? as u64)
    }

    /// The block at a height.
    pub fn block(&self, height: u64) -> Option<DevBlock> {
        self.read(|hashes| {
            let at = usize::try_from(height).ok()?;
            let parent = at.checked_sub(1).and_then(|before| hashes.get(before)).copied();
            Some(DevBlock { height, hash: *hashes.get(at)?, parent: parent.unwrap_or(Hash32::ZERO) })
        })
    }

    /// Makes blocks until it is told to stop.
    pub async fn run(
        &self,
        name: &str,
        mut disk: File,
        every: Duration,
        shutdown: &Shutdown,
    ) -> anyhow::Result<()> {
        let mut ticks = tokio::time::interval(every);
        loop {
            tokio::select! {
                _ = ticks.tick() => {}
                () = shutdown.requested() => return Ok(()),
            }
            let tip = self.tip().context("a chain has a genesis block")?;
            let next = block_hash(name, tip.height + 1, &tip.hash);
            disk.write_all(&next.0)?;
            disk.sync_data()?;
            self.hashes.write().unwrap_or_else(PoisonError::into_inner).push(next);
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Range {
    from: u64,
    #[serde(default = "Range::most")]
    limit: u64,
}

impl Range {
    fn most() -> u64 {
        500
    }
}

/// `GET /tip`, `GET /blocks/{height}`, `GET /blocks?from=&limit=`.
pub fn router(chain: Arc<DevChain>) -> Router {
    Router::new()
        .route("/tip", get(tip))
        .route("/blocks", get(blocks))
        .route("/blocks/{height}", get(block))
        .with_state(chain)
}

fn none() -> ApiError {
    ApiError::new(axum::http::StatusCode::NOT_FOUND, "not-found", "there is no such block yet")
        .can_be_retried()
}

async fn tip(State(chain): State<Arc<DevChain>>) -> Result<Json<DevBlock>, ApiError> {
    chain.tip().map(Json).ok_or_else(none)
}

async fn block(
    State(chain): State<Arc<DevChain>>,
    Api(height): Api<UrlPath<u64>>,
) -> Result<Json<DevBlock>, ApiError> {
    chain.block(height.0).map(Json).ok_or_else(none)
}

async fn blocks(State(chain): State<Arc<DevChain>>, Api(range): Api<Query<Range>>) -> Json<Vec<DevBlock>> {
    let heights = range.from..range.from.saturating_add(range.limit.min(Range::most()));
    Json(heights.map_while(|height| chain.block(height)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_chain_goes_on_where_it_stopped_and_never_forks() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("blocks");
        let (chain, disk) = DevChain::open(&file, "dev").unwrap();
        assert_eq!(chain.tip().unwrap().hash, genesis("dev"));
        let shutdown = Shutdown::manual();
        let making = chain.run("dev", disk, Duration::from_millis(1), &shutdown);
        let waiting = async {
            while chain.tip().unwrap().height < 3 {
                tokio::task::yield_now().await;
            }
            shutdown.trigger();
        };
        let (made, ()) = tokio::join!(making, waiting);
        made.unwrap();
        let before = chain.tip().unwrap();
        OpenOptions::new().append(true).open(&file).unwrap().write_all(&[1, 2, 3]).unwrap();
        let (again, _) = DevChain::open(&file, "dev").unwrap();
        assert_eq!(again.tip().unwrap(), before);
        assert_eq!(again.block(2).unwrap().parent, again.block(1).unwrap().hash);
        assert!(DevChain::open(&file, "other").is_err());
    }
}
