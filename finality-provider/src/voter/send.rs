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

    /// Says of which chains the blocks cannot be read, or are not what they have to be.
    fn note_source(&self, chain: &ChainId, why: Option<&NoVote>) {
        let mut moment = self.moment();
        match why {
            Some(NoVote::Source(why)) => drop(moment.sources.insert(chain.clone(), why.to_string())),
            _ => drop(moment.sources.remove(chain)),
        }
        let said: Vec<String> =
            moment.sources.iter().map(|(chain, why)| format!("chain {chain}: {why}")).collect();
        self.ring_while("sources", &said);
    }

    /// Remembers why nothing was cast, and sends a vote again whose certificate does not come.
    pub(super) async fn note(&self, chain: &ChainId, outcome: Result<(), NoVote>) {
        self.note_source(chain, outcome.as_ref().err());
        let Err(why) = outcome else {
            self.moment().waiting.remove(chain);
            return;
        };
        let text = why.to_string();
        let before = self.moment().waiting.insert(chain.clone(), text.clone());
        match why {
            NoVote::NotDue(NotDue::Voted(height)) => return self.resend(chain, Some(height)).await,
            // Votes are cast under certificates that the log need not have yet. If the hub loses the votes behind one of those,
            // nothing is due and nothing becomes final.
            NoVote::NotDue(
                NotDue::NoSet(_) | NotDue::SetNotFinal { .. } | NotDue::NotMember(_) | NotDue::NoNonces(_),
            )
            | NoVote::NoBlock(_)
            | NoVote::Source(_) => self.resend(chain, None).await,
            _ => {}
        }
        if before.as_ref() != Some(&text) {
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

    /// Sends all votes again from the height on that the log waits for, or from one that this voter waits for.
    async fn resend(&self, chain: &ChainId, own: Option<Height>) {
        let known = self.with_ledger(|ledger| ledger.chain(chain).map(|known| (known.vote, known.awaited())));
        let Some((context, awaited)) = known else { return };
        let Some(first) = awaited.into_iter().chain(own).min() else { return };
        {
            let moment = self.moment();
            let is_recent = moment.sent.get(chain).is_some_and(|at| at.elapsed() < RESEND);
            if is_recent || moment.refusing.is_some() {
                return;
            }
        }
        let is_over = |height: Height| self.moment().untaken.is_passed_over(Door::Votes, chain, height.0);
        match (self.journal.votes_from(chain, first, MOST_VOTES), own) {
            // The journal is younger than the signer's record: the signer repeats its own votes.
            (Ok(votes), Some(own)) if votes.is_empty() && !is_over(own) => self.recast(chain, own).await,
            (Ok(votes), _) => {
                let counts = |vote: &&Vote| vote.ballot.context == context && !is_over(vote.ballot.height);
                for vote in votes.iter().filter(counts) {
                    self.send(chain, vote).await;
                }
            }
            (Err(why), _) => tracing::warn!(%chain, %why, "the journal cannot be read"),
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
