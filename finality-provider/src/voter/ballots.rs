//! What a key should vote on next: the rules of docs/protocol.md, section 7, seen from one voter. Pure.

use crate::signer::request::LastVote;
use palisade_hub::ledger::Ledger;
use palisade_hub::ledger::chains::{Chain, FixedSet};
use palisade_protocol::context::Context;
use palisade_protocol::finality::set::Member;
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::units::{BtcHeight, Epoch, Height};

/// Who asks.
#[derive(Debug, Clone, Copy)]
pub struct Voting {
    /// The key.
    pub key: ProviderKey,
    /// Its highest vote so far.
    pub last: Option<LastVote>,
    /// Tip of the voter's own Bitcoin node.
    pub btc_tip: BtcHeight,
    /// The newest certificate that it holds besides those in the log.
    pub held: Option<Held>,
}

/// A certificate that a voter holds before the log does: it has put it together from votes that it judged itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The vote context of its chain.
    pub context: Context,
    /// The height that it makes final.
    pub height: Height,
    /// The block.
    pub block: Hash32,
}

/// A height to vote at. Which block, the chain says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The height.
    pub height: Height,
    /// The key's place in the set, with the root that the set names.
    pub member: Member,
}

/// Why there is nothing to vote on now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NotDue {
    /// The chain has no set.
    #[error("the chain is not open yet")]
    NotOpen,
    /// No set is fixed for the epoch of the next height.
    #[error("no set is fixed for epoch {0} yet")]
    NoSet(Epoch),
    /// The set's hub block is not final.
    #[error("the set of epoch {epoch} was fixed by hub block {fixed_by}, which is not final yet")]
    SetNotFinal {
        /// The epoch.
        epoch: Epoch,
        /// The hub block.
        fixed_by: Height,
    },
    /// The key is not in the set.
    #[error("the key is not a member of the set of epoch {0}")]
    NotMember(Epoch),
    /// A carried-over set names no root for the key.
    #[error("the set of epoch {0} names no nonces of the key")]
    NoNonces(Epoch),
    /// The set's time is over.
    #[error("the set of epoch {epoch} expired at Bitcoin height {expiry}")]
    Expired {
        /// The epoch.
        epoch: Epoch,
        /// Its last height.
        expiry: BtcHeight,
    },
    /// The key is out.
    #[error("the key is out: it gave itself away with two votes at one height, and votes no more")]
    Exposed,
    /// Votes on the chain pause.
    #[error("votes on this chain pause until governance resumes")]
    Paused,
    /// The vote is cast; its certificate is awaited.
    #[error("voted at height {0}; its certificate is not there yet")]
    Voted(Height),
    /// What became final is not what the key voted for. Nothing descends from both.
    #[error("block {certified} is final at height {height}, where this key voted for another one")]
    OtherBranch {
        /// The height.
        height: Height,
        /// The final block.
        certified: Hash32,
    },
}

/// What the ledger says of a chain, as far as a key's next vote depends on it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Standing {
    /// The key is out.
    pub(crate) exposed: bool,
    /// The height behind the newest certificate, once the chain is open, and its epoch.
    pub(crate) awaited: Option<(Height, Epoch)>,
    /// Votes count now.
    pub(crate) may_vote: bool,
    /// The final block at the height of the key's last vote.
    pub(crate) certified_at_last: Option<Hash32>,
    /// The set of the awaited height's epoch.
    pub(crate) set: Option<StandingSet>,
    /// Tip of the ledger's Bitcoin.
    pub(crate) btc_tip: BtcHeight,
}

/// A set, as one key sees it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StandingSet {
    /// The hub block that fixed it.
    pub(crate) fixed_by: Height,
    /// Whether that block is final, or need not be.
    pub(crate) is_final: bool,
    /// The key's place in it.
    pub(crate) member: Option<Member>,
    /// Last Bitcoin height at which it signs.
    pub(crate) expiry: BtcHeight,
}

/// What the key should vote on now.
pub fn due(ledger: &Ledger, chain: &Chain, voting: &Voting) -> Result<Due, NotDue> {
    standing(ledger, chain, voting).due(voting)
}

fn standing(ledger: &Ledger, chain: &Chain, voting: &Voting) -> Standing {
    // What it has not voted on it goes on from only where the log says so: its own vote ties the certificate to its branch.
    let ties = |held: &Held| voting.last.is_some_and(|last| last.height >= held.height);
    let held = voting.held.filter(|held| held.context == chain.vote && ties(held));
    let held = held.filter(|held| chain.awaited().is_some_and(|next| held.height >= next));
    let beyond = held.map(|held| held.height.plus(chain.terms.voted_every));
    let awaited = beyond.or(chain.awaited()).map(|height| (height, chain.terms.epoch_of(height)));
    let certified = |height: Height| {
        let held = held.filter(|held| held.height == height).map(|held| held.block);
        chain.certified.get(&height).copied().or(held)
    };
    let fixed = awaited.and_then(|(_, epoch)| Some((epoch, chain.sets.get(&epoch)?)));
    let set = fixed.map(|(epoch, fixed)| StandingSet {
        fixed_by: fixed.hub_height,
        is_final: is_final(ledger, chain, epoch, fixed),
        member: fixed.set.find(&voting.key).map(|(_, member)| *member),
        expiry: fixed.set.header().expiry,
    });
    Standing {
        exposed: ledger.providers().is_exposed(&voting.key),
        awaited,
        may_vote: ledger.may_vote(chain),
        certified_at_last: voting.last.and_then(|last| certified(last.height)),
        set,
        btc_tip: ledger.btc_height(),
    }
}

impl Standing {
    /// What the key should vote on now.
    pub(crate) fn due(&self, voting: &Voting) -> Result<Due, NotDue> {
        if self.exposed {
            return Err(NotDue::Exposed);
        }
        let (height, epoch) = self.awaited.ok_or(NotDue::NotOpen)?;
        if !self.may_vote {
            return Err(NotDue::Paused);
        }
        self.check_branch(voting)?;
        if voting.last.is_some_and(|last| last.height >= height) {
            return Err(NotDue::Voted(height));
        }
        let set = self.set.ok_or(NotDue::NoSet(epoch))?;
        if !set.is_final {
            return Err(NotDue::SetNotFinal { epoch, fixed_by: set.fixed_by });
        }
        let member = set.member.ok_or(NotDue::NotMember(epoch))?;
        if member.nonce_root == Hash32::ZERO {
            return Err(NotDue::NoNonces(epoch));
        }
        // The own node may know of blocks that the hub keeps back.
        if voting.btc_tip.max(self.btc_tip) > set.expiry {
            return Err(NotDue::Expired { epoch, expiry: set.expiry });
        }
        Ok(Due { height, member })
    }

    /// A key votes only for descendants of its own last vote.
    fn check_branch(&self, voting: &Voting) -> Result<(), NotDue> {
        match (voting.last, self.certified_at_last) {
            (Some(last), Some(certified)) if certified != last.block => {
                Err(NotDue::OtherBranch { height: last.height, certified })
            }
            _ => Ok(()),
        }
    }
}

/// Why nobody can vote on a chain for now, if all of its sets have expired.
pub fn expired(ledger: &Ledger, chain: &Chain) -> Option<String> {
    let (epoch, fixed) = chain.newest()?;
    let (expiry, now) = (fixed.set.header().expiry, ledger.btc_height());
    (now > expiry).then(|| {
        format!(
            "chain {}: its newest set, of epoch {epoch}, expired at Bitcoin height {expiry}, now {now}: nobody can vote until \
             a set is fixed anew, for which enough power needs nonces for a later epoch",
            chain.id()
        )
    })
}

/// A set is used once the hub block that fixed it is final. Chain zero's first set is the trust root: nothing older could
/// certify it.
fn is_final(ledger: &Ledger, chain: &Chain, epoch: Epoch, fixed: &FixedSet) -> bool {
    if chain.id().is_zero() && chain.opened_at == Some(epoch) {
        return true;
    }
    let zero = ledger.chains().first().and_then(Chain::last_final);
    zero.is_some_and(|(height, _)| height >= fixed.hub_height)
}

#[cfg(test)]
pub(super) mod tests;
