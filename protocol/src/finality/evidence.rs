//! Evidence: what shows that a provider's key is out. The key itself, or two votes at one height that share a nonce.
//! Source: docs/protocol.md, section 7.5.

use super::vote::{Ballot, Vote};
use crate::curve::KeyPair;
use crate::eots::{self, EotsSignature, PublicNonce};
use crate::keys::ProviderKey;

/// Two messages signed with one nonce.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Equivocation {
    /// Whose key.
    pub key: ProviderKey,
    /// The nonce used twice.
    pub nonce: PublicNonce,
    /// One ballot and its signature.
    pub first: SignedBallot,
    /// Another ballot and its signature.
    pub second: SignedBallot,
}

crate::wire!(Equivocation { key, nonce, first, second });

/// A ballot with an EOTS signature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SignedBallot {
    /// What was voted for.
    pub ballot: Ballot,
    /// The signature.
    pub signature: EotsSignature,
}

crate::wire!(SignedBallot { ballot, signature });

/// A secret key, out in the open.
#[derive(Clone, PartialEq, Eq)]
pub struct LeakedKey {
    /// Whose key.
    pub key: ProviderKey,
    /// The scalar whose point has that x coordinate.
    pub secret: [u8; 32],
}

crate::wire!(LeakedKey { key, secret });

impl std::fmt::Debug for LeakedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LeakedKey({})", self.key)
    }
}

/// Whatever gives a key away.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Evidence {
    /// Two votes.
    Equivocation(Box<Equivocation>),
    /// The key: from a leak, or from an adaptor signature and what it was decrypted to.
    Key(LeakedKey),
}

crate::wire_enum!(Evidence { 0 => Equivocation, 1 => Key });

/// Evidence from which no key follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the evidence does not give the key {0} away")]
pub struct NoEvidence(pub ProviderKey);

impl Evidence {
    /// Two votes that share key and nonce and differ; `None` if they do not.
    pub fn from_votes(first: &Vote, second: &Vote) -> Option<Self> {
        let same_nonce = first.key == second.key && first.nonce == second.nonce;
        let sides = |vote: &Vote| SignedBallot { ballot: vote.ballot, signature: vote.signature };
        (same_nonce && first.ballot != second.ballot).then(|| {
            Self::Equivocation(Box::new(Equivocation {
                key: first.key,
                nonce: first.nonce,
                first: sides(first),
                second: sides(second),
            }))
        })
    }

    /// Whose key it is about.
    pub fn key(&self) -> ProviderKey {
        match self {
            Self::Equivocation(equivocation) => equivocation.key,
            Self::Key(leaked) => leaked.key,
        }
    }

    /// The secret key, proven: its point is the provider's key.
    pub fn secret(&self) -> Result<KeyPair, NoEvidence> {
        let no = |key: &ProviderKey| NoEvidence(*key);
        match self {
            Self::Equivocation(equivocation) => {
                let Equivocation { key, nonce, first, second } = &**equivocation;
                let first = (&first.ballot.message()[..], &first.signature);
                let second = (&second.ballot.message()[..], &second.signature);
                eots::extract(&key.point(), nonce, first, second).map_err(|_| no(key))
            }
            Self::Key(LeakedKey { key, secret }) => {
                let pair = KeyPair::from_secret_bytes(secret).map_err(|_| no(key))?;
                if pair.public() == key.point() { Ok(pair) } else { Err(no(key)) }
            }
        }
    }
}
