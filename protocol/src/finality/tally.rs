//! The tally: votes of one set, counted. Needs only the set and the votes, so it runs wherever a chain is busy.
//! Source: docs/protocol.md, section 7.3.

use super::certificate::Certificate;
use super::evidence::Evidence;
use super::set::Set;
use super::vote::{BadVote, Ballot, Vote};
use crate::context::Terms;
use crate::keys::ProviderKey;
use crate::units::Height;
use bitcoin::Amount;
use std::collections::BTreeMap;

/// Votes of the members of one set, by height and voter.
#[derive(Debug, Clone)]
pub struct Tally {
    set: Set,
    terms: Terms,
    votes: BTreeMap<Height, BTreeMap<ProviderKey, Vote>>,
}

/// A vote that keeps all rules of its set: what is left to ask is whether its member voted otherwise before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GoodVote(Vote);

impl GoodVote {
    /// Judges a vote by itself, whatever was counted: many can be judged at once.
    pub fn judge(vote: Vote, set: &Set, terms: &Terms) -> Result<Self, VoteRefused> {
        let header = set.header();
        let in_epoch = terms.epoch_of(vote.ballot.height) == header.epoch;
        if vote.ballot.context != header.context || !in_epoch {
            return Err(VoteRefused::WrongSet);
        }
        let (_, member) = set.find(&vote.key).ok_or(VoteRefused::NotMember(vote.key))?;
        vote.verify(member, terms)?;
        Ok(Self(vote))
    }

    /// The vote.
    pub fn vote(&self) -> &Vote {
        &self.0
    }
}

/// Why a vote is not counted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VoteRefused {
    /// The vote is for another chain or epoch.
    #[error("the vote is for another chain or epoch than the set's")]
    WrongSet,
    /// The voter is no member.
    #[error("{0} is not a member of the set")]
    NotMember(ProviderKey),
    /// The vote is bad in itself.
    #[error(transparent)]
    Bad(#[from] BadVote),
    /// The voter has voted for something else at this height, and has given its key away.
    #[error("{} has voted twice at one height: its key is out", .0.key())]
    Equivocation(Box<Evidence>),
}

impl Tally {
    /// No votes yet.
    pub fn new(set: Set, terms: Terms) -> Self {
        Self { set, terms, votes: BTreeMap::new() }
    }

    /// Judges a vote, and counts it. The first vote of a member at a height stands; another one is evidence against it.
    pub fn add(&mut self, vote: Vote) -> Result<(), VoteRefused> {
        if self.has(&vote) {
            return Ok(());
        }
        let good = GoodVote::judge(vote, &self.set, &self.terms)?;
        self.count(good).map_err(VoteRefused::Equivocation)
    }

    /// Whether exactly this vote was counted.
    pub fn has(&self, vote: &Vote) -> bool {
        self.vote_of(&vote.key, vote.ballot.height) == Some(vote)
    }

    /// Counts a vote that was judged under this tally's set. Another vote of its member at its height makes it evidence.
    pub fn count(&mut self, GoodVote(vote): GoodVote) -> Result<(), Box<Evidence>> {
        if self.has(&vote) {
            return Ok(());
        }
        let earlier = self.vote_of(&vote.key, vote.ballot.height);
        if let Some(evidence) = earlier.and_then(|earlier| Evidence::from_votes(earlier, &vote)) {
            return Err(Box::new(evidence));
        }
        self.votes.entry(vote.ballot.height).or_default().insert(vote.key, vote);
        Ok(())
    }

    fn vote_of(&self, voter: &ProviderKey, height: Height) -> Option<&Vote> {
        self.votes.get(&height)?.get(voter)
    }

    /// Power that voted for a block.
    pub fn power_for(&self, ballot: &Ballot) -> Amount {
        self.votes_for(ballot)
            .filter_map(|vote| Some(self.set.find(&vote.key)?.1.power))
            .fold(Amount::ZERO, |sum, power| sum.checked_add(power).unwrap_or(Amount::MAX))
    }

    /// The certificate of a block, once it has a quorum.
    pub fn certificate(&self, ballot: Ballot) -> Option<Certificate> {
        let enough = self.set.header().is_quorum(self.power_for(&ballot));
        enough.then(|| Certificate::assemble(ballot, &self.set, self.votes_for(&ballot)))
    }

    /// Votes at a height, whatever for.
    pub fn votes_at(&self, height: Height) -> impl Iterator<Item = &Vote> {
        self.votes.get(&height).into_iter().flat_map(BTreeMap::values)
    }

    fn votes_for(&self, ballot: &Ballot) -> impl Iterator<Item = &Vote> {
        self.votes_at(ballot.height).filter(move |vote| vote.ballot == *ballot)
    }
}
