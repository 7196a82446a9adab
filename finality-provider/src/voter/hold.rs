//! Certificates before the log has them: put together from the votes that the hub shows, each judged here.
//!
//! A hub's block takes certificates of many heights, and the log has them a block later. So a chain with a backlog is not bound
//! to one height a hub block: what a vote needs is the certificate of the height before, wherever that is written.

use super::Voter;
use super::ballots::Held;
use palisade_hub::client::HubError;
use palisade_protocol::context::ChainId;
use palisade_protocol::finality::tally::Tally;
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::units::Height;
use std::time::Duration;

/// Pause between two looks at the votes of a height.
const PAUSE: Duration = Duration::from_millis(25);

impl Voter {
    /// Looks so many times for the certificate of a height that the log does not have yet. Says whether it is held now.
    pub(super) async fn hold(&self, chain: &ChainId, height: Height, looks: u32) -> bool {
        for look in 0..looks {
            if look > 0 {
                tokio::time::sleep(PAUSE).await;
            }
            match self.look_for_certificate(chain, height).await {
                Ok(None) => {}
                Ok(Some(held)) => {
                    self.moment().held.insert(chain.clone(), held);
                    return true;
                }
                Err(why) => {
                    tracing::debug!(%chain, height = height.0, %why, "no votes from the hub");
                    return false;
                }
            }
        }
        false
    }

    async fn look_for_certificate(&self, chain: &ChainId, height: Height) -> Result<Option<Held>, HubError> {
        let tally = self.with_ledger(|ledger| {
            let known = ledger.chain(chain)?;
            let fixed = known.sets.get(&known.terms.epoch_of(height))?;
            Some((known.vote, Tally::new(fixed.set.clone(), known.terms)))
        });
        let Some((context, mut tally)) = tally else { return Ok(None) };
        let votes = self.hub.votes(chain.as_str(), height).await?;
        // What does not verify under the set counts for nothing, whoever shows it.
        let is_here = |vote: &Vote| vote.ballot.context == context && vote.ballot.height == height;
        votes.into_iter().filter(is_here).for_each(|vote| drop(tally.add(vote)));
        let ballots: Vec<_> = tally.votes_at(height).map(|vote| vote.ballot).collect();
        let certified = ballots.into_iter().find(|ballot| tally.certificate(*ballot).is_some());
        let held = certified.map(|ballot| Held { context, height, block: ballot.block });
        // Of chain zero's blocks the own log has one at each height.
        Ok(held.filter(|held| {
            !chain.is_zero() || self.own_block(height).is_ok_and(|own| own == Some(held.block))
        }))
    }
}
