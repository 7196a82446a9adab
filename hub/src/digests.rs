//! Digests of batches that another hub recorded. The log holds their root alone, and a file needs all of them.
//!
//! A hub asks others that may have them: a follower its leader, a hub that was rebuilt its followers. Only what gives the root
//! that stands in the own log is kept. Source: docs/protocol.md, section 9.3.

use crate::client::HubClient;
use crate::engine::Hub;
use crate::store::StoreError;
use crate::timestamps;
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::TimestampBatch;
use palisade_protocol::units::Height;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

/// Blocks of the own log that are looked at at a time.
const PAGE: u32 = 500;
/// Until a hub that gave no answer is asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Fetches what is missing, for the whole log and then for each new block, for as long as it is polled.
pub async fn follow(sources: &[HubClient], hub: &Arc<Hub>) -> Infallible {
    let (mut next, mut tips) = (Height(0), hub.tips());
    loop {
        tips.mark_unchanged();
        next = gather(sources, hub, next).await;
        if tips.changed().await.is_err() {
            return std::future::pending().await;
        }
    }
}

/// Fetches what is missing from a height to the end of the own log. Gives the height that is next.
pub async fn gather(sources: &[HubClient], hub: &Arc<Hub>, from: Height) -> Height {
    let mut next = from;
    while !sources.is_empty() {
        match gather_page(sources, hub, next).await {
            Ok(Some(height)) => next = height,
            Ok(None) => break,
            Err(why) => {
                tracing::warn!(%why, "digests of timestamps are not kept");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    next
}

/// One page of the own log. Gives the height to go on from, if there was a block.
async fn gather_page(
    sources: &[HubClient],
    hub: &Arc<Hub>,
    from: Height,
) -> Result<Option<Height>, StoreError> {
    let blocks = tokio::task::block_in_place(|| hub.store().blocks(from, PAGE))?;
    for batch in blocks.iter().filter_map(timestamps::batch_of) {
        if hub.store().digests(batch.height)?.is_empty() {
            match fetch(sources, &batch).await {
                Some(digests) => hub.store().keep_digests(batch.height, &digests)?,
                None => {
                    tracing::warn!(height = %batch.height, "nobody has the digests of this block's timestamps")
                }
            }
        }
    }
    Ok(blocks.last().map(|block| block.header.height.plus(1)))
}

/// The digests of a batch, from the first hub that has them. One that does not answer now is asked until it does.
async fn fetch(sources: &[HubClient], batch: &TimestampBatch) -> Option<Vec<Hash32>> {
    loop {
        let mut silent = false;
        for source in sources {
            match source.digests(batch.height).await {
                Ok(digests) if timestamps::is_batch_of(batch, &digests) => return Some(digests),
                Ok(_) => {
                    tracing::warn!(hub = %source.url(), height = %batch.height, "digests that do not give the batch's root")
                }
                Err(why) => silent |= why.can_be_retried(),
            }
        }
        if !silent {
            return None;
        }
        tokio::time::sleep(PAUSE).await;
    }
}
