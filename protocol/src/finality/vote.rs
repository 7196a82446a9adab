//! Votes: an EOTS signature over a block of a chain, by the one nonce that its height has.
//! Source: docs/protocol.md, section 7.3.

use super::commitment::is_committed;
use super::set::Member;
use crate::codec::Wire as _;
use crate::context::{Context, Terms};
use crate::eots::{self, EotsSignature, PublicNonce};
use crate::hash::Hash32;
use crate::keys::ProviderKey;
use crate::units::Height;

/// What a vote is for. Nothing else is ever signed with a nonce.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ballot {
    /// The chain's vote context.
    pub context: Context,
    /// Height of the block.
    pub height: Height,
    /// Its hash.
    pub block: Hash32,
}

crate::wire!(Ballot { context, height, block });

impl Ballot {
    /// The EOTS message: `context || height || block hash`.
    pub fn message(&self) -> Vec<u8> {
        self.to_bytes()
    }
}

/// A provider's vote, with the path of its nonce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vote {
    /// What for.
    pub ballot: Ballot,
    /// Whose.
    pub key: ProviderKey,
    /// The height's nonce.
    pub nonce: PublicNonce,
    /// The signature.
    pub signature: EotsSignature,
    /// From the nonce's leaf up to the root that the set names.
    pub path: Vec<Hash32>,
}

crate::wire!(Vote { ballot, key, nonce, signature, path });

/// Why a vote does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadVote {
    /// No votes are given at the height.
    #[error("height {0} is not voted on")]
    NotVoted(Height),
    /// The nonce is not the one committed to.
    #[error("the nonce is not the one that the set's root fixes for this height")]
    Nonce,
    /// The signature is not the key's.
    #[error("the EOTS signature does not verify")]
    Signature,
}

impl Vote {
    /// Judges the vote of a set's member: first what is cheap.
    pub fn verify(&self, member: &Member, terms: &Terms) -> Result<(), BadVote> {
        if !terms.is_voted(self.ballot.height) {
            return Err(BadVote::NotVoted(self.ballot.height));
        }
        if !is_committed(&member.nonce_root, terms, self.ballot.height, &self.nonce, &self.path) {
            return Err(BadVote::Nonce);
        }
        eots::verify(&self.key.point(), &self.nonce, &self.ballot.message(), &self.signature)
            .map_err(|_| BadVote::Signature)
    }
}
