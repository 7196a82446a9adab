//! Where a chain's irreversible blocks are read.
//!
//! What a source calls irreversible is voted on, so a source belongs to the operator as the Bitcoin node does. Its parent
//! links are checked: a vote is for a descendant of what is final and of what was voted for before. Where several nodes are named
//! for a chain, all must show the block ([`Agreeing`]).
//!
//! The development chain ([`DevChain`]) speaks HTTP and JSON, hashes in lowercase hex:
//!
//! * `GET tip`: the newest irreversible block, `{"height": 15, "hash": "…", "parent": "…"}`.
//! * `GET blocks/15`: the irreversible block at a height, in the same form; status 404 if there is none yet.
//! * `GET blocks?from=15&limit=200`: a list of the irreversible blocks from a height on, fewer where there are no more. A node
//!   that has no such door (status 404) is asked for one block after the other.
//!
//! The block at height 0 is the genesis block; its parent is not looked at.

mod agreeing;

pub use agreeing::Agreeing;

use palisade_protocol::hash::Hash32;
use palisade_protocol::units::Height;
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use std::future::Future;
use std::time::Duration;

/// Longest answer that is read, in bytes.
const MAX_ANSWER: usize = 64 << 10;
/// Most blocks that are read, and held, at a time.
const SPAN: u64 = 200;

/// An irreversible block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub struct ChainBlock {
    /// Its height.
    pub height: Height,
    /// Its hash.
    pub hash: Hash32,
    /// Hash of the block before it.
    pub parent: Hash32,
}

/// Why a source gives no block to vote for.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// No connection, or no answer.
    #[error("the chain's node at {url}: {why}")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What happened.
        why: String,
    },
    /// The answer is not what was asked for.
    #[error("the chain's node answers nonsense: {0}")]
    Malformed(String),
    /// A block that must be there is not.
    #[error("the chain's node has no block at height {0}")]
    Missing(Height),
    /// The parent of a block is not the block before it.
    #[error("block {height} has parent {parent}, the block before it is {before}")]
    BrokenLink {
        /// The block's height.
        height: Height,
        /// The parent that it names.
        parent: Hash32,
        /// The block before it.
        before: Hash32,
    },
    /// Two nodes show different blocks.
    #[error(
        "the chain's nodes disagree at height {height}: {one}, {other}; one of them lies, or is of another chain"
    )]
    Disagree {
        /// The height.
        height: Height,
        /// The first node, and its block.
        one: String,
        /// The other, and its block.
        other: String,
    },
    /// The chain is not the one that was voted on.
    #[error(
        "the chain's node has block {found} at height {height}, where {wanted} is final or was voted for"
    )]
    OtherBranch {
        /// The height.
        height: Height,
        /// The block there.
        found: Hash32,
        /// The block that should be there.
        wanted: Hash32,
    },
}

/// What a block must descend from to deserve a vote.
#[derive(Debug, Clone, Copy)]
pub struct Ancestors {
    /// The chain's first block.
    pub genesis: Hash32,
    /// The newest final block below.
    pub certified: Option<(Height, Hash32)>,
    /// The key's last vote.
    pub last: Option<(Height, Hash32)>,
}

/// A chain's irreversible blocks.
pub trait ChainSource: Send + Sync {
    /// The newest one.
    fn tip(&self) -> impl Future<Output = Result<ChainBlock, SourceError>> + Send;

    /// The one at a height, if there is one yet.
    fn block(&self, height: Height) -> impl Future<Output = Result<Option<ChainBlock>, SourceError>> + Send;

    /// Those from one height up to another, in order; fewer where there are no more.
    fn blocks(
        &self,
        first: Height,
        last: Height,
    ) -> impl Future<Output = Result<Vec<ChainBlock>, SourceError>> + Send {
        one_by_one(self, first, last)
    }

    /// Refuses another chain than the one registered with the hub.
    fn check_genesis(&self, wanted: Hash32) -> impl Future<Output = Result<(), SourceError>> + Send {
        async move {
            let found = self.block(Height(0)).await?.ok_or(SourceError::Missing(Height(0)))?.hash;
            match found == wanted {
                true => Ok(()),
                false => Err(SourceError::OtherBranch { height: Height(0), found, wanted }),
            }
        }
    }

    /// The block at a height, if it descends from all that it must.
    fn votable(
        &self,
        height: Height,
        ancestors: &Ancestors,
    ) -> impl Future<Output = Result<Hash32, SourceError>> + Send {
        async move {
            let known: Vec<_> = ancestors.certified.into_iter().chain(ancestors.last).collect();
            // Nothing yet: then the chain's own beginning.
            if known.is_empty() {
                self.check_genesis(ancestors.genesis).await?;
            }
            self.descendant(height, &known).await
        }
    }

    /// The block at a height, after every link down to the lowest of `known` was checked and all of `known` lie on the way.
    fn descendant(
        &self,
        height: Height,
        known: &[(Height, Hash32)],
    ) -> impl Future<Output = Result<Hash32, SourceError>> + Send {
        async move {
            let lowest = known.iter().map(|(height, _)| *height).min().unwrap_or(height).min(height);
            let (mut end, mut above) = (height, None);
            let mut top = None;
            loop {
                let first = lowest.max(end.minus(SPAN - 1));
                let span = self.blocks(first, end).await?;
                check_whole(&span, first, end)?;
                for block in span.iter().rev() {
                    check_link(block, above)?;
                    check_known(block, known)?;
                    above = Some(*block);
                    top = top.or(above);
                }
                match top {
                    Some(top) if first == lowest => return Ok(top.hash),
                    _ => end = first.minus(1),
                }
            }
        }
    }
}

async fn one_by_one<S: ChainSource + ?Sized>(
    source: &S,
    first: Height,
    last: Height,
) -> Result<Vec<ChainBlock>, SourceError> {
    let mut found = Vec::new();
    for height in first.0..=last.0 {
        match source.block(Height(height)).await? {
            Some(block) => found.push(block),
            None => break,
        }
    }
    Ok(found)
}

/// Refuses a span that has gaps, or lacks its end.
fn check_whole(span: &[ChainBlock], first: Height, last: Height) -> Result<(), SourceError> {
    let mut found = span.iter().map(|block| block.height);
    match (first.0..=last.0).map(Height).find(|height| found.next() != Some(*height)) {
        Some(lacking) => Err(SourceError::Missing(lacking)),
        None => Ok(()),
    }
}

/// Refuses a block that the one above it does not name as its parent.
fn check_link(block: &ChainBlock, above: Option<ChainBlock>) -> Result<(), SourceError> {
    match above {
        Some(ChainBlock { height, parent, .. }) if parent != block.hash => {
            Err(SourceError::BrokenLink { height, parent, before: block.hash })
        }
        _ => Ok(()),
    }
}

/// Refuses a block where another one is known.
fn check_known(block: &ChainBlock, known: &[(Height, Hash32)]) -> Result<(), SourceError> {
    let ChainBlock { height, hash: found, .. } = *block;
    match known.iter().find(|(at, wanted)| *at == height && *wanted != found) {
        Some((_, wanted)) => Err(SourceError::OtherBranch { height, found, wanted: *wanted }),
        None => Ok(()),
    }
}

/// The development chain's node.
#[derive(Debug)]
pub struct DevChain {
    base: Url,
    http: Client,
}

impl DevChain {
    /// A client of the node at `base`, which ends in `/`. Nothing is sent yet.
    pub fn new(base: Url) -> Self {
        let http = Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(20))
            .no_proxy()
            .build()
            .unwrap_or_default();
        Self { base, http }
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Option<T>, SourceError> {
        let unreachable = |why: reqwest::Error| SourceError::Unreachable {
            url: self.base.to_string(),
            why: why.to_string(),
        };
        let malformed = |why: &dyn std::fmt::Display| SourceError::Malformed(why.to_string());
        let url = self.base.join(path).map_err(|why| malformed(&why))?;
        let mut answer = self.http.get(url).send().await.map_err(unreachable)?;
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(unreachable)? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(malformed(&format!("more than {MAX_ANSWER} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        match answer.status() {
            StatusCode::OK => serde_json::from_slice(&body).map(Some).map_err(|why| malformed(&why)),
            StatusCode::NOT_FOUND => Ok(None),
            status => Err(malformed(&format!("status {status}"))),
        }
    }
}

impl ChainSource for DevChain {
    async fn tip(&self) -> Result<ChainBlock, SourceError> {
        self.get("tip").await?.ok_or(SourceError::Missing(Height(0)))
    }

    async fn block(&self, height: Height) -> Result<Option<ChainBlock>, SourceError> {
        let found: Option<ChainBlock> = self.get(&format!("blocks/{height}")).await?;
        match found {
            Some(block) if block.height != height => {
                Err(SourceError::Malformed(format!("block {} for height {height}", block.height)))
            }
            found => Ok(found),
        }
    }

    async fn blocks(&self, first: Height, last: Height) -> Result<Vec<ChainBlock>, SourceError> {
        let count = last.0.saturating_sub(first.0).saturating_add(1);
        let found: Option<Vec<ChainBlock>> = match count {
            1 => None,
            _ => self.get(&format!("blocks?from={first}&limit={count}")).await?,
        };
        match found {
            None => one_by_one(self, first, last).await,
            Some(blocks) if blocks.len() as u64 > count => {
                Err(SourceError::Malformed(format!("{} blocks where {count} were asked for", blocks.len())))
            }
            Some(blocks) => Ok(blocks),
        }
    }
}

#[cfg(test)]
mod tests;
