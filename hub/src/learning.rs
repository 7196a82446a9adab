//! What a hub that makes blocks does before it makes the first: it learns what its followers hold above its own log.
//!
//! A log that was lost, cut, or taken from a backup would have it sign a second header at heights that others know. So each
//! start asks every follower that the operator names. What they have is replayed and kept, and until all have answered no
//! block is made. Blocks are signed: a follower can hide some, and cannot make one up. Source: docs/protocol.md, section 8.1.
//!
//! Not here: who the followers are. A block that none of them has cannot be learned.

use crate::client::{HubClient, HubError};
use crate::daemon::health::Health;
use crate::daemon::shutdown::Shutdown;
use crate::engine::Hub;
use crate::ledger::BadBlock;
use crate::replica::ReplicaError;
use crate::store::StoreError;
use palisade_protocol::block::{Block, HubHeader};
use palisade_protocol::context::Context;
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::HubKey;
use palisade_protocol::units::Height;
use serde_json::Value;
use std::sync::Arc;
use std::time::Duration;

/// The followers' part of `/health`.
pub const PART: &str = "followers";
/// Until those that gave no answer are asked again.
const PAUSE: Duration = Duration::from_secs(1);

/// Why no block can be made.
#[derive(Debug, thiserror::Error)]
enum Held {
    /// No answer that says anything: asked again it may give one.
    #[error("{follower} gives no answer ({why})")]
    Silent { follower: String, why: String },
    /// Somebody has signed two headers at a height with the hub's key.
    #[error(
        "ALARM: two headers are signed at height {height}: {own} in the own log, {theirs} at {follower}. No block is made: find out which \
         one others hold (docs/operations/lost-hub.md)"
    )]
    Second { follower: String, height: Height, own: Hash32, theirs: Hash32 },
    /// It has another hub's log, or lies.
    #[error(
        "{follower} shows another block at height {height}, which this hub has not signed: {theirs}, and not {own}. No block is made: \
         correct `followers` and start again"
    )]
    Foreign { follower: String, height: Height, own: Hash32, theirs: Hash32 },
    /// It shows what cannot follow on the own log.
    #[error(
        "{follower} shows blocks that are not valid: {why}. No block is made: correct `followers` and start again"
    )]
    Invalid { follower: String, why: BadBlock },
    /// It shows a block in the place of another.
    #[error(
        "{follower} shows block {found} when asked for {asked}. No block is made: correct `followers` and start again"
    )]
    Misplaced { follower: String, asked: Height, found: Height },
    /// The own log.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Asks all followers until each has answered in one round, and takes the blocks that they have above the own log. Says whether
/// blocks may be made; if not, the stop was requested.
pub async fn learn(
    followers: &[HubClient],
    hub: &Arc<Hub>,
    health: &Health,
    shutdown: &Shutdown,
) -> Result<bool, StoreError> {
    if followers.is_empty() {
        tracing::warn!(
            "no `followers` are named: if the log is ever lost or rolled back, blocks are signed twice"
        );
        return Ok(true);
    }
    health.degrade(PART, "they have not been asked yet: no block is made before they have answered");
    loop {
        let asked = tokio::select! {
            asked = ask_all(followers, hub) => asked,
            () = shutdown.requested() => return Ok(false),
        };
        let pause = match asked {
            Ok(silent) if silent.is_empty() => {
                health.recover(PART);
                return Ok(true);
            }
            Ok(silent) => {
                let said = waiting(&silent);
                tracing::warn!(%said, "no block is made");
                health.degrade(PART, said);
                Some(PAUSE)
            }
            Err(Held::Store(why)) => return Err(why),
            Err(why) => {
                tracing::error!(%why, "no block is made");
                health.degrade(PART, why);
                None
            }
        };
        tokio::select! {
            () = rest(pause) => {}
            () = shutdown.requested() => return Ok(false),
        }
    }
}

/// What is wrong for good is not asked again: a process that makes no block does no harm.
async fn rest(pause: Option<Duration>) {
    match pause {
        Some(pause) => tokio::time::sleep(pause).await,
        None => std::future::pending().await,
    }
}

fn waiting(silent: &[String]) -> String {
    format!(
        "{}: no block is made until all have answered, because what they hold could be signed a second time. Who takes one out of \
         `followers` says that its log is gone for good",
        silent.join("; ")
    )
}

/// One round. Gives why those that have not answered have not.
async fn ask_all(followers: &[HubClient], hub: &Arc<Hub>) -> Result<Vec<String>, Held> {
    let mut silent = Vec::new();
    for follower in followers {
        match (Asking { follower, hub }).take_all().await {
            Err(why @ Held::Silent { .. }) => silent.push(why.to_string()),
            other => other?,
        }
    }
    Ok(silent)
}

/// What is shown at a height at which the own log has a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shown {
    Same,
    /// That log ends below.
    Nothing,
    /// A block of another height.
    Misplaced(Height),
    Other {
        hash: Hash32,
        /// Whether the hub's key has signed it.
        signed: bool,
    },
}

/// Compares what is shown with the own block.
fn judge(own: &HubHeader, shown: Option<&Block>, key: &HubKey, context: &Context) -> Shown {
    let Some(Block { header, signature, .. }) = shown else { return Shown::Nothing };
    let hash = header.hash();
    if header.height != own.height {
        return Shown::Misplaced(header.height);
    }
    if hash == own.hash() {
        return Shown::Same;
    }
    let signed = key.verify(&HubHeader::signing_message(context, &hash), signature).is_ok();
    Shown::Other { hash, signed }
}

/// One follower that is asked.
struct Asking<'a> {
    follower: &'a HubClient,
    hub: &'a Arc<Hub>,
}

impl Asking<'_> {
    /// Compares the two logs as far as both go, and takes what the follower has above the own one.
    async fn take_all(&self) -> Result<(), Held> {
        let tip = self.hub.ledger().tip();
        if let Some((tip, _)) = tip {
            self.compare(tip).await?;
        }
        loop {
            let next = self.hub.ledger().next_height();
            let blocks = self.blocks(next).await?;
            let Some(last) = blocks.last() else { return Ok(()) };
            for block in &blocks {
                tokio::task::block_in_place(|| self.hub.follow_block(block))
                    .map_err(|why| self.not_taken(why))?;
            }
            tracing::info!(follower = %self.follower.url(), from = %next, to = %last.header.height, "took blocks of the own log back");
        }
    }

    /// Logs are chains: where they agree at a height, they agree below.
    async fn compare(&self, tip: Height) -> Result<(), Held> {
        let top = match self.shown_at(tip).await? {
            Shown::Same => return Ok(()),
            Shown::Nothing => match self.end().await? {
                None => return Ok(()),
                Some(end) if end < tip => end,
                Some(end) => {
                    return Err(
                        self.silent(format_args!("it says that it has block {end}, and shows none at {tip}"))
                    );
                }
            },
            _ => tip,
        };
        match self.shown_at(top).await? {
            Shown::Same => Ok(()),
            _ => Err(self.first_difference(top).await?),
        }
    }

    /// Where two logs that differ at a height begin to.
    async fn first_difference(&self, top: Height) -> Result<Held, Held> {
        let (mut low, mut high) = (0, top.0);
        while low < high {
            let middle = low.midpoint(high);
            match self.shown_at(Height(middle)).await? {
                Shown::Same => low = middle + 1,
                _ => high = middle,
            }
        }
        let (follower, height) = (self.name(), Height(low));
        let own = self.own(height)?.hash();
        Ok(match self.shown_at(height).await? {
            Shown::Other { hash: theirs, signed: true } => Held::Second { follower, height, own, theirs },
            Shown::Other { hash: theirs, signed: false } => Held::Foreign { follower, height, own, theirs },
            Shown::Misplaced(found) => Held::Misplaced { follower, asked: height, found },
            Shown::Same | Shown::Nothing => self.silent("it shows now one block and now another"),
        })
    }

    async fn shown_at(&self, height: Height) -> Result<Shown, Held> {
        let shown = self.blocks(height).await?;
        let own = self.own(height)?;
        let ledger = self.hub.ledger();
        let key = ledger.genesis().document().hub_key;
        Ok(judge(&own, shown.first(), &key, &ledger.contexts().hub))
    }

    fn own(&self, height: Height) -> Result<HubHeader, StoreError> {
        let block = self.hub.store().blocks(height, 1)?.pop();
        let block = block.filter(|block| block.header.height == height);
        Ok(block.ok_or_else(|| StoreError::Changed(format!("block {height} is missing")))?.header)
    }

    async fn blocks(&self, from: Height) -> Result<Vec<Block>, Held> {
        self.follower.blocks(from, Duration::ZERO).await.map_err(|why| self.no_answer(why))
    }

    /// Height of its newest block, as it says itself.
    async fn end(&self) -> Result<Option<Height>, Held> {
        let status: Value = self.follower.get_json("status", &[]).await.map_err(|why| self.no_answer(why))?;
        match &status["height"] {
            Value::Null if status.is_object() => Ok(None),
            height => height
                .as_u64()
                .map(|height| Some(Height(height)))
                .ok_or_else(|| self.silent("its status has no height")),
        }
    }

    fn not_taken(&self, why: ReplicaError) -> Held {
        match why {
            ReplicaError::Invalid(why) => Held::Invalid { follower: self.name(), why },
            ReplicaError::Store(why) => Held::Store(why),
            why => self.silent(why),
        }
    }

    fn no_answer(&self, why: HubError) -> Held {
        match why {
            HubError::Unreachable { why, .. } => self.silent(why),
            why => self.silent(why),
        }
    }

    fn silent(&self, why: impl ToString) -> Held {
        Held::Silent { follower: self.name(), why: why.to_string() }
    }

    fn name(&self) -> String {
        self.follower.url().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::tests::genesis;
    use crate::ledger::Ledger;
    use bitcoin::secp256k1::{Keypair, Message, SECP256K1};

    fn block(genesis_block: &Block, root: u8, height: u64, key: &Keypair, context: &Context) -> Block {
        let header =
            HubHeader { height: Height(height), state_root: Hash32([root; 32]), ..genesis_block.header };
        let message = HubHeader::signing_message(context, &header.hash());
        let signature = SECP256K1.sign_schnorr(&Message::from_digest(message), key);
        Block { header, signature, messages: Vec::new() }
    }

    #[test]
    fn only_a_header_that_the_hub_has_signed_is_a_second_one() {
        let dir = tempfile::tempdir().unwrap();
        let mut ledger = Ledger::new(genesis(dir.path()));
        let context = ledger.contexts().hub;
        let [hub, other] =
            [[5; 32], [6; 32]].map(|secret| Keypair::from_seckey_slice(SECP256K1, &secret).unwrap());
        let key = HubKey::from(hub.x_only_public_key().0);
        let (header, _) = ledger.finish_block();
        let first = Block {
            header,
            signature: SECP256K1.sign_schnorr(&Message::from_digest([0; 32]), &hub),
            messages: Vec::new(),
        };
        let own = block(&first, 1, 7, &hub, &context);
        let second = block(&first, 2, 7, &hub, &context);
        let foreign = block(&first, 2, 7, &other, &context);
        let above = block(&first, 1, 8, &hub, &context);
        let hash = second.header.hash();
        for (shown, wanted) in [
            (Some(&own), Shown::Same),
            (None, Shown::Nothing),
            (Some(&second), Shown::Other { hash, signed: true }),
            (Some(&foreign), Shown::Other { hash, signed: false }),
            (Some(&above), Shown::Misplaced(Height(8))),
        ] {
            assert_eq!(judge(&own.header, shown, &key, &context), wanted);
        }
        // A signature of another hub with the same key says nothing of this one.
        let other = tempfile::tempdir().unwrap();
        let elsewhere = Ledger::new(genesis(other.path())).contexts().hub;
        let elsewhere = block(&first, 2, 7, &hub, &elsewhere);
        assert_eq!(
            judge(&own.header, Some(&elsewhere), &key, &context),
            Shown::Other { hash, signed: false }
        );
    }
}
