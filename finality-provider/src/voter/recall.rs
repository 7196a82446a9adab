//! What the own keys have signed, as the hub remembers it, before the first vote of a start.
//!
//! A disk that was rolled back as a whole (a snapshot of a machine or a file system) brings back an old record whose marks fit, so the
//! signer cannot see that votes are missing. The hub holds every vote that it has counted: one under nonces of the signer's own seed
//! that the record lacks shows it, and nothing is signed any more.
//!
//! Not here: votes that never reached the hub, and a hub that hides some.

use super::Voter;
use super::cast::NoVote;
use crate::signer::request::{ChainKey, CommitRequest};
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::units::Height;

/// Its part of `/health`.
const PART: &str = "record";

impl Voter {
    /// Holds the signer's record against the own votes that the hub has, for each chain once, and again after the signer was away.
    /// Certified heights need no look: there nothing but the certified block is ever voted for.
    pub(super) async fn recall(&self, own: &ChainKey) -> Result<(), NoVote> {
        if self.moment().recalled.contains(&own.chain) {
            return Ok(());
        }
        let awaited = self.with_ledger(|ledger| ledger.chain(&own.chain)?.awaited());
        let Some(awaited) = awaited else { return Ok(()) };
        let votes = self.hub.all_votes(own.chain.as_str(), awaited).await?;
        let is_own = |vote: &&Vote| vote.key == own.key && vote.ballot.context == own.vote;
        // Asked after that: what was signed meanwhile stands in the record.
        let (now, _) = self.own_key(&own.chain).await?;
        for vote in votes.iter().filter(is_own) {
            let height = vote.ballot.height;
            let is_recorded = now.last.is_some_and(|last| height <= last.height);
            if !is_recorded && self.is_by_this_seed(own, height).await? {
                let why = NoVote::RolledBack { chain: own.chain.clone(), height };
                self.health.degrade(PART, &why);
                return Err(why);
            }
        }
        self.moment().recalled.insert(own.chain.clone());
        self.health.recover(PART);
        Ok(())
    }

    /// Whether the set of a height names nonces that the signer would use there now.
    async fn is_by_this_seed(&self, own: &ChainKey, height: Height) -> Result<bool, NoVote> {
        let Some(member) = self.member(own, height) else { return Ok(false) };
        let epoch = self.with_ledger(|ledger| Some(ledger.chain(&own.chain)?.terms.epoch_of(height)));
        let Some(epoch) = epoch else { return Ok(false) };
        let request = CommitRequest { chain: own.chain.clone(), epoch };
        Ok(self.signer.commit(request).await?.root == member.nonce_root)
    }
}
