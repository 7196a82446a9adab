//! The hub's tally: votes of the sets that the ledger has fixed, on disk before they count.
//!
//! Votes never enter the log. What does is what follows from them: certificates and evidence, which any replica checks.
//! Source: docs/protocol.md, section 7.3.

use crate::ledger::Ledger;
use crate::ledger::chains::{Chain, FixedSet};
use crate::store::{Store, StoreError};
use palisade_protocol::context::Context;
use palisade_protocol::finality::certificate::Certificate;
use palisade_protocol::finality::evidence::Evidence;
use palisade_protocol::finality::tally::{GoodVote, Tally, VoteRefused};
use palisade_protocol::finality::vote::{Ballot, Vote};
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::units::{BtcHeight, Epoch};
use rayon::prelude::*;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Tallies of a chain that are held in memory: of so many of its newest epochs, and of so many from the height on that it waits for.
const KEPT_EPOCHS: usize = 3;

/// Most certificates of one chain in a block: after an outage there are many, and each is checked by whoever replays the block.
const CERTIFICATES: usize = 32;

/// Why a vote is not counted.
#[derive(Debug, thiserror::Error)]
pub enum VoteError {
    /// No chain has that context.
    #[error("no registered chain has this vote context")]
    UnknownChain,
    /// No set votes in that epoch.
    #[error("no set is fixed for epoch {0} of this chain")]
    NoSet(Epoch),
    /// The set's time is over.
    #[error("the set expired at Bitcoin height {0}")]
    Expired(BtcHeight),
    /// The voter's key is out: whoever has it can sign anything.
    #[error("the key {0} is out: its votes count no more")]
    Exposed(ProviderKey),
    /// The breaker is tripped, or the chain waits for governance.
    #[error("votes on this chain pause until governance resumes")]
    Paused,
    /// The tally refuses it.
    #[error(transparent)]
    Refused(#[from] VoteRefused),
    /// The vote cannot be kept.
    #[error(transparent)]
    Store(#[from] Arc<StoreError>),
}

impl VoteError {
    /// The rule's name, for programs.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::UnknownChain => "unknown-chain",
            Self::NoSet(_) => "unknown-set",
            Self::Expired(_) => "set-expired",
            Self::Exposed(_) => "exposed",
            Self::Paused => "breaker",
            Self::Refused(VoteRefused::Equivocation(_)) => "equivocation",
            Self::Refused(_) => "vote",
            Self::Store(_) => "storage",
        }
    }

    /// Whether the same vote can count later.
    pub fn can_be_retried(&self) -> bool {
        match self {
            Self::UnknownChain | Self::NoSet(_) | Self::Paused | Self::Store(_) => true,
            Self::Expired(_) | Self::Exposed(_) | Self::Refused(_) => false,
        }
    }
}

/// Tallies by chain and epoch, and what has come of them that no block holds yet.
#[derive(Debug, Default)]
pub struct VoteBook {
    tallies: BTreeMap<(Context, Epoch), Tally>,
    /// Heights at which a vote came since the last block.
    fresh: BTreeSet<Ballot>,
    evidence: Vec<Evidence>,
    /// Whether what was kept before the start of this process has been concluded from.
    recovered: bool,
}

/// A vote that is good in itself. One that comes too late does not count; beside another of its voter it is still evidence.
#[derive(Debug)]
pub struct Judged {
    good: GoodVote,
    late: Option<VoteError>,
}

impl Judged {
    /// The vote.
    pub fn vote(&self) -> &Vote {
        self.good.vote()
    }
}

/// Judges votes by themselves, on all cores.
pub fn judge(votes: Vec<Vote>, ledger: &Ledger) -> Vec<Result<Judged, VoteError>> {
    votes.into_par_iter().map(|vote| judge_one(vote, ledger)).collect()
}

fn judge_one(vote: Vote, ledger: &Ledger) -> Result<Judged, VoteError> {
    let (chain, fixed) = set_of(&vote.ballot, ledger)?;
    if ledger.providers().is_exposed(&vote.key) {
        return Err(VoteError::Exposed(vote.key));
    }
    let good = GoodVote::judge(vote, &fixed.set, &chain.terms)?;
    Ok(Judged { good, late: late(chain, fixed, ledger) })
}

/// Why votes under a set count no more, or not now.
fn late(chain: &Chain, fixed: &FixedSet, ledger: &Ledger) -> Option<VoteError> {
    let expiry = fixed.set.header().expiry;
    if ledger.btc_height() > expiry {
        return Some(VoteError::Expired(expiry));
    }
    (!ledger.may_vote(chain)).then_some(VoteError::Paused)
}

impl VoteBook {
    /// Whether exactly this vote was counted before, so that it needs no judging. Where its epoch's tally is not held any more,
    /// the disk says so: anybody can send votes again that the hub has shown.
    pub fn has(&self, vote: &Vote, ledger: &Ledger, store: &Store) -> bool {
        let Ok((chain, fixed)) = set_of(&vote.ballot, ledger) else { return false };
        match self.tallies.get(&(vote.ballot.context, fixed.set.header().epoch)) {
            Some(tally) => tally.has(vote),
            None if is_held(chain, fixed.set.header().epoch) || late(chain, fixed, ledger).is_some() => false,
            None => store.votes_by(vote).is_ok_and(|kept| kept.contains(vote)),
        }
    }

    /// Makes what these votes are counted in. It comes before they are kept, since it reads what was kept before.
    pub fn expect(&mut self, votes: &[Judged], ledger: &Ledger, store: &Store) -> Result<(), StoreError> {
        let in_time = votes.iter().filter(|judged| judged.late.is_none());
        in_time
            .map(|judged| &judged.vote().ballot)
            .try_for_each(|ballot| self.open_tally(ballot, ledger, store))
    }

    /// Counts votes that are on disk, in their order: those in time that are the first of their voters at their heights. `firsts`
    /// are the others' first votes, as the disk has them, whether those counted or came too late: with them they are evidence.
    pub fn count(
        &mut self,
        votes: Vec<Judged>,
        firsts: Vec<Option<Vote>>,
        ledger: &Ledger,
        store: &Store,
    ) -> Result<Vec<Result<(), VoteError>>, StoreError> {
        // A tally may have been dropped while its votes were written.
        self.expect(&votes, ledger, store)?;
        let counted = votes.into_iter().zip(firsts).map(|(Judged { good, late }, first)| {
            let twice = first.and_then(|first| Evidence::from_votes(&first, good.vote()));
            match (twice, late) {
                (Some(evidence), _) => Err(self.give_out(evidence)),
                (None, Some(why)) => Err(why),
                (None, None) => self.count_one(good, ledger),
            }
        });
        Ok(counted.collect())
    }

    /// Two votes at one height: the next block holds them.
    fn give_out(&mut self, evidence: Evidence) -> VoteError {
        self.evidence.push(evidence.clone());
        VoteRefused::Equivocation(Box::new(evidence)).into()
    }

    /// Makes the tally of a vote's epoch if there is none.
    fn open_tally(&mut self, ballot: &Ballot, ledger: &Ledger, store: &Store) -> Result<(), StoreError> {
        // What has lost its set since it was judged is refused when it is counted.
        let Ok((chain, fixed)) = set_of(ballot, ledger) else { return Ok(()) };
        if is_settled(ballot, chain) {
            return Ok(());
        }
        self.open(chain, fixed, store)
    }

    /// Makes a set's tally if there is none, from what was kept before a restart. Any of that may lack its certificate: who
    /// was told that a vote counts need not send it again.
    fn open(&mut self, chain: &Chain, fixed: &FixedSet, store: &Store) -> Result<(), StoreError> {
        let epoch = fixed.set.header().epoch;
        let place = (chain.vote, epoch);
        if self.tallies.contains_key(&place) {
            return Ok(());
        }
        let mut tally = Tally::new(fixed.set.clone(), chain.terms);
        let (first, end) = (chain.terms.first_height(epoch), chain.terms.first_height(epoch.next()));
        let kept = store.votes_between(&chain.vote, first..end)?.into_par_iter();
        let good: Vec<_> =
            kept.filter_map(|vote| GoodVote::judge(vote, &fixed.set, &chain.terms).ok()).collect();
        for good in good {
            let ballot = good.vote().ballot;
            // A second vote at its height is evidence, which `recover` sees to.
            if tally.count(good).is_ok() {
                self.fresh.insert(ballot);
            }
        }
        self.tallies.insert(place, tally);
        Ok(())
    }

    /// Concludes, once, from what was kept before a restart: a process can end between a vote and the block after it.
    fn recover(&mut self, ledger: &Ledger, store: &Store) -> Result<(), StoreError> {
        if std::mem::replace(&mut self.recovered, true) {
            return Ok(());
        }
        let mut twice = store.double_votes()?;
        twice.retain(|(vote, _)| !ledger.providers().is_exposed(&vote.key));
        self.evidence.extend(twice.iter().filter_map(|(first, second)| Evidence::from_votes(first, second)));
        Ok(())
    }

    fn count_one(&mut self, good: GoodVote, ledger: &Ledger) -> Result<(), VoteError> {
        let ballot = good.vote().ballot;
        let (chain, _) = set_of(&ballot, ledger)?;
        if is_settled(&ballot, chain) {
            return Ok(());
        }
        let epoch = chain.terms.epoch_of(ballot.height);
        let tally = self.tallies.get_mut(&(ballot.context, epoch)).ok_or(VoteError::NoSet(epoch))?;
        match tally.count(good) {
            Ok(()) => {
                self.fresh.insert(ballot);
                Ok(())
            }
            Err(evidence) => Err(self.give_out(*evidence)),
        }
    }

    /// What the next block should hold: evidence, and certificates of blocks that are not final yet, lowest first and of each chain
    /// no more than a block has room for.
    pub fn take_due(
        &mut self,
        ledger: &Ledger,
        store: &Store,
    ) -> Result<(Vec<Evidence>, Vec<Certificate>), StoreError> {
        self.recover(ledger, store)?;
        // Votes may have come, and their tallies have been dropped, long before it is their heights' turn.
        for chain in ledger.chains() {
            held(chain).try_for_each(|fixed| self.open(chain, fixed, store))?;
        }
        let final_at = |ballot: &Ballot| {
            let chain = ledger.chain_of_votes(&ballot.context);
            chain.is_none_or(|chain| chain.certified.contains_key(&ballot.height))
        };
        self.fresh.retain(|ballot| !final_at(ballot));
        let mut room = BTreeMap::new();
        let due = self.fresh.iter().filter_map(|ballot| {
            let chain = ledger.chain_of_votes(&ballot.context)?;
            let tally = self.tallies.get(&place_of(ballot, ledger)?)?;
            let room = room.entry(ballot.context).or_insert(CERTIFICATES);
            if *room == 0 || !ledger.may_vote(chain) {
                return None;
            }
            let certificate = tally.certificate(*ballot)?;
            *room -= 1;
            Some(certificate)
        });
        let due = due.collect();
        self.forget(ledger);
        Ok((std::mem::take(&mut self.evidence), due))
    }

    fn forget(&mut self, ledger: &Ledger) {
        self.tallies.retain(|(context, epoch), _| {
            ledger.chain_of_votes(context).is_some_and(|chain| is_held(chain, *epoch))
        });
        self.fresh
            .retain(|ballot| place_of(ballot, ledger).is_some_and(|place| self.tallies.contains_key(&place)));
    }
}

/// Whether an epoch is one of those whose tallies are held in memory.
fn is_held(chain: &Chain, epoch: Epoch) -> bool {
    held(chain).any(|fixed| fixed.set.header().epoch == epoch)
}

/// The sets whose tallies are held in memory.
fn held(chain: &Chain) -> impl Iterator<Item = &FixedSet> {
    let newest = chain.sets.values().rev().take(KEPT_EPOCHS);
    let awaited = chain.awaited().map(|height| chain.terms.epoch_of(height));
    let next = awaited.into_iter().flat_map(|epoch| chain.sets.range(epoch..).take(KEPT_EPOCHS));
    newest.chain(next.map(|(_, fixed)| fixed))
}

/// Whether nothing can follow any more from counting a vote: its height is final, and its epoch's tally is not held.
fn is_settled(ballot: &Ballot, chain: &Chain) -> bool {
    !is_held(chain, chain.terms.epoch_of(ballot.height)) && chain.certified.contains_key(&ballot.height)
}

/// Where a vote is counted.
fn place_of(ballot: &Ballot, ledger: &Ledger) -> Option<(Context, Epoch)> {
    let chain = ledger.chain_of_votes(&ballot.context)?;
    Some((ballot.context, chain.terms.epoch_of(ballot.height)))
}

/// The chain that a vote is for, and the set of its epoch.
fn set_of<'a>(ballot: &Ballot, ledger: &'a Ledger) -> Result<(&'a Chain, &'a FixedSet), VoteError> {
    let chain = ledger.chain_of_votes(&ballot.context).ok_or(VoteError::UnknownChain)?;
    let epoch = chain.terms.epoch_of(ballot.height);
    Ok((chain, chain.sets.get(&epoch).ok_or(VoteError::NoSet(epoch))?))
}
