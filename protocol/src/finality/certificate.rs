//! Certificates: votes of more than two thirds of a set for one block, with all that is needed to judge them from the
//! set's hash alone. Source: docs/protocol.md, section 7.4.

use super::set::{Member, Set, SetHeader};
use super::vote::{BadVote, Ballot, Vote};
use crate::context::Terms;
use crate::eots::{EotsSignature, PublicNonce};
use crate::hash::Hash32;
use crate::tree::{Tree, multi_root};
use bitcoin::Amount;

/// One vote inside a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voter {
    /// The member's place in the set.
    pub index: u16,
    /// The member.
    pub member: Member,
    /// Its nonce of the height.
    pub nonce: PublicNonce,
    /// Its signature.
    pub signature: EotsSignature,
    /// From the nonce up to the member's root.
    pub path: Vec<Hash32>,
}

crate::wire!(Voter { index, member, nonce, signature, path });

/// Proof that a block is final.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Certificate {
    /// The block.
    pub ballot: Ballot,
    /// The set that voted.
    pub set: SetHeader,
    /// Who voted, in ascending order of index.
    pub voters: Vec<Voter>,
    /// Nodes of the members tree that the voters' leaves lack.
    pub members_proof: Vec<Hash32>,
    /// Nodes of the nonces tree that the voters' roots lack.
    pub nonces_proof: Vec<Hash32>,
}

crate::wire!(Certificate { ballot, set, voters, members_proof, nonces_proof });

/// Why a certificate proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadCertificate {
    /// The set is another chain's, or another epoch's.
    #[error("the set votes in another chain or epoch")]
    WrongSet,
    /// A voter stands twice, or out of order.
    #[error("voters are not in ascending order of their places")]
    Order,
    /// The voters are not the set's members.
    #[error("the voters are not members of the set")]
    NotMembers,
    /// The nonce roots are not the set's.
    #[error("the nonce roots are not the set's")]
    NotRoots,
    /// A vote is bad.
    #[error("vote of member {index}: {why}")]
    Vote {
        /// Which member.
        index: u16,
        /// What is wrong.
        why: BadVote,
    },
    /// Not enough power.
    #[error("{power} of {total} voted, strictly more than two thirds are needed")]
    NoQuorum {
        /// Power that voted.
        power: Amount,
        /// The set's power.
        total: Amount,
    },
}

impl Certificate {
    /// Puts a certificate together from votes of members for one ballot; votes of others are left out. It is not judged.
    pub fn assemble<'a>(ballot: Ballot, set: &Set, votes: impl IntoIterator<Item = &'a Vote>) -> Self {
        let mut voters: Vec<Voter> = votes
            .into_iter()
            .filter(|vote| vote.ballot == ballot)
            .filter_map(|vote| {
                let (index, member) = set.find(&vote.key)?;
                Some(Voter {
                    index: u16::try_from(index).ok()?,
                    member: *member,
                    nonce: vote.nonce,
                    signature: vote.signature,
                    path: vote.path.clone(),
                })
            })
            .collect();
        voters.sort_unstable_by_key(|voter| voter.index);
        voters.dedup_by_key(|voter| voter.index);
        let places: Vec<usize> = voters.iter().map(|voter| voter.index.into()).collect();
        let members = Tree::from_leaves(set.members().iter().map(Member::leaf));
        let nonces = Tree::from_leaves(set.members().iter().map(Member::nonce_leaf));
        Self {
            ballot,
            set: *set.header(),
            voters,
            members_proof: members.multi_path(&places),
            nonces_proof: nonces.multi_path(&places),
        }
    }

    /// Judges the certificate under the set that it names. Whether that set is the chain's, and whether it had expired,
    /// is for the caller to say.
    pub fn verify(&self, terms: &Terms) -> Result<(), BadCertificate> {
        let in_epoch = terms.epoch_of(self.ballot.height) == self.set.epoch;
        if self.ballot.context != self.set.context || !in_epoch {
            return Err(BadCertificate::WrongSet);
        }
        if !self.voters.is_sorted_by(|a, b| a.index < b.index) {
            return Err(BadCertificate::Order);
        }
        self.check_membership()?;
        let power = self.voters.iter().map(|voter| voter.member.power).fold(Amount::ZERO, saturating_sum);
        if !self.set.is_quorum(power) {
            return Err(BadCertificate::NoQuorum { power, total: self.set.total });
        }
        self.voters.iter().try_for_each(|voter| {
            let why = |why| BadCertificate::Vote { index: voter.index, why };
            voter.vote(self.ballot).verify(&voter.member, terms).map_err(why)
        })
    }

    fn check_membership(&self) -> Result<(), BadCertificate> {
        let size = u64::from(self.set.count);
        let leaves = |leaf: fn(&Member) -> Hash32| -> Vec<(u64, Hash32)> {
            self.voters.iter().map(|voter| (voter.index.into(), leaf(&voter.member))).collect()
        };
        if multi_root(&leaves(Member::leaf), size, &self.members_proof) != Some(self.set.members_root) {
            return Err(BadCertificate::NotMembers);
        }
        if multi_root(&leaves(Member::nonce_leaf), size, &self.nonces_proof) != Some(self.set.nonces_root) {
            return Err(BadCertificate::NotRoots);
        }
        Ok(())
    }
}

impl Voter {
    /// The vote that stands here, on its own.
    pub fn vote(&self, ballot: Ballot) -> Vote {
        let (key, nonce, signature) = (self.member.key, self.nonce, self.signature);
        Vote { ballot, key, nonce, signature, path: self.path.clone() }
    }
}

fn saturating_sum(a: Amount, b: Amount) -> Amount {
    a.checked_add(b).unwrap_or(Amount::MAX)
}
