//! Sending votes, and sending again those whose certificates do not come.

use super::ballots::{Due, NotDue};
use super::cast::{MOST_VOTES, NoVote};
use super::judge::NotJudged;
use super::verdict::Door;
use super::{NoKey, Voter};
use crate::signer::request::ChainKey;
use palisade_protocol::context::ChainId;
use palisade_protocol::finality::set::Member;
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::units::Height;
use std::time::{Duration, Instant};

/// A vote without a certificate is sent again after this: the hub may have lost it.
const RESEND: Duration = Duration::from_secs(2);

impl Voter {
    pub(super) async fn send(&self, chain: &ChainId, vote: &Vote) {
        self.moment().sent.insert(chain.clone(), Instant::now());
        let answer = self.hub.vote(vote).await;
        self.heard(Door::Votes, chain, vote.ballot.height.0, answer.as_ref().map(drop));
    }

    /// Remembers why nothing was cast, and sends a vote again whose certificate does not come.
    pub(super) async fn note(&self, chain: &ChainId, outcome: Result<(), NoVote>) {
        let Err(why) = outcome else {
            self.moment().waiting.remove(chain);
            return;
        };
        let text = why.to_string();
        let before = self.moment().waiting.insert(chain.clone(), text.clone());
        if let NoVote::NotDue(NotDue::Voted(height)) = why {
            self.resend(chain, height).await;
        } else if before.as_ref() != Some(&text) {
            match why {
                NoVote::NotDue(NotDue::OtherBranch { .. })
                | NoVote::RolledBack { .. }
                | NoVote::Refusing(_)
                | NoVote::Bad(_) => {
                    tracing::error!(%chain, why = text, "no vote");
                }
                // That the signer is away is said once for all chains.
                NoVote::Behind
                | NoVote::NoBlock(_)
                | NoVote::NotDue(_)
                | NoVote::Judge(NotJudged::Moved | NotJudged::NoHeader)
                | NoVote::Key(NoKey::Signer(_)) => {
                    tracing::debug!(%chain, why = text, "no vote")
                }
                _ => tracing::warn!(%chain, why = text, "no vote"),
            }
        }
    }

    async fn resend(&self, chain: &ChainId, height: Height) {
        {
            let moment = self.moment();
            let is_recent = moment.sent.get(chain).is_some_and(|at| at.elapsed() < RESEND);
            let is_over = moment.untaken.is_passed_over(Door::Votes, chain, height.0);
            if is_recent || is_over || moment.refusing.is_some() {
                return;
            }
        }
        match self.journal.votes_from(chain, height, MOST_VOTES) {
            // The journal is younger than the signer's record: the signer repeats its own votes.
            Ok(votes) if votes.is_empty() => self.recast(chain, height).await,
            Ok(votes) => {
                for vote in &votes {
                    self.send(chain, vote).await;
                }
            }
            Err(why) => tracing::warn!(%chain, %why, "the journal cannot be read"),
        }
    }

    /// Asks the signer for a vote that it gave before, which costs nothing and cannot be another one.
    async fn recast(&self, chain: &ChainId, height: Height) {
        let Ok((own, _)) = self.own_key(chain).await else { return };
        let Some(last) = own.last.filter(|last| last.height == height) else { return };
        let Some(member) = self.member(&own, height) else { return };
        if let Err(why) = self.cast(&own, &Due { height, member }, last.block).await {
            tracing::warn!(%chain, height = height.0, %why, "a vote was not repeated");
        }
    }

    /// The key's place in the set of a height.
    pub(super) fn member(&self, own: &ChainKey, height: Height) -> Option<Member> {
        self.with_ledger(|ledger| {
            let known = ledger.chain(&own.chain)?;
            let fixed = known.sets.get(&known.terms.epoch_of(height))?;
            Some(*fixed.set.find(&own.key)?.1)
        })
    }
}
