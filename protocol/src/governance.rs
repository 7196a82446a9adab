//! Governance: m of n keys that the genesis names. They change future parameters, register chains and resume after the
//! breaker. They can never move coins. Source: docs/protocol.md, section 8.4.

use crate::codec::{DecodeError, Reader, Wire};
use crate::context::{ChainId, Context, Terms};
use crate::hash::{Hash32, tagged};
use crate::keys::GovernanceKey;
use crate::params::ParamsDocument;
use crate::units::{Epoch, Height};
use bitcoin::Amount;
use bitcoin::secp256k1::schnorr::Signature;

/// What governance decides.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// A chain gets finality from now on.
    RegisterChain(NewChain),
    /// A version of the parameters for later Bitcoin heights.
    SetParams(Box<ParamsDocument>),
    /// Pending activations happen, and the breaker is reset.
    Resume(Resume),
    /// Other governance keys from now on; those agree too.
    RotateKeys(Governors),
    /// Chain zero, whose set expired before the next was shown, starts again under a new trust root.
    RecoveryRoot(Recovery),
}

crate::wire_enum!(Action { 0 => RegisterChain, 1 => SetParams, 2 => Resume, 3 => RotateKeys, 4 => RecoveryRoot });

/// A chain to be registered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewChain {
    /// Its name, never used before.
    pub id: ChainId,
    /// Hash of its genesis block.
    pub genesis: Hash32,
    /// Its terms.
    pub terms: Terms,
    /// The epoch that it is in. Nonces are committed for this one and later ones, and the first set is for one of those.
    pub first_epoch: Epoch,
}

crate::wire!(NewChain { id, genesis, terms, first_epoch });

/// Ends a trip of the breaker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    /// For each chain, the power that the next set must have at least to be exempt from the two-thirds rule.
    pub accepted: Vec<AcceptedPower>,
}

crate::wire!(Resume { accepted });

/// Power that governance accepts for a chain's next set.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AcceptedPower {
    /// The chain.
    pub chain: ChainId,
    /// At least this much.
    pub power: Amount,
}

crate::wire!(AcceptedPower { chain, power });

/// Most governance keys.
pub const MAX_GOVERNORS: usize = 16;

/// The keys that govern, and how many of them decide.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Governors {
    keys: Vec<GovernanceKey>,
    quorum: u8,
}

/// Keys that cannot govern.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a governance quorum of {quorum} of {members} different keys is impossible")]
pub struct BadGovernors {
    /// The quorum.
    pub quorum: u8,
    /// How many different keys.
    pub members: usize,
}

impl Governors {
    /// Keys in any order; one that is given twice counts once.
    pub fn new(mut keys: Vec<GovernanceKey>, quorum: u8) -> Result<Self, BadGovernors> {
        keys.sort_unstable();
        keys.dedup();
        let members = keys.len();
        if quorum == 0 || usize::from(quorum) > members || members > MAX_GOVERNORS {
            return Err(BadGovernors { quorum, members });
        }
        Ok(Self { keys, quorum })
    }

    /// The keys, ascending.
    pub fn keys(&self) -> &[GovernanceKey] {
        &self.keys
    }

    /// How many of them decide.
    pub fn quorum(&self) -> u8 {
        self.quorum
    }

    /// How many signatures of theirs a decision lacks.
    fn missing(&self, decision: &GovernanceMessage) -> usize {
        let found = decision.signatures.iter().filter(|signer| self.keys.contains(&signer.key)).count();
        usize::from(self.quorum).saturating_sub(found)
    }
}

impl Wire for Governors {
    fn encode(&self, out: &mut Vec<u8>) {
        self.keys.encode(out);
        self.quorum.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let keys = Vec::<GovernanceKey>::decode(reader)?;
        let ordered = keys.is_sorted_by(|a, b| a < b);
        let governors =
            Self::new(keys, u8::decode(reader)?).map_err(|_| DecodeError::Invalid("governors"))?;
        if ordered { Ok(governors) } else { Err(DecodeError::Invalid("order of governance keys")) }
    }
}

/// A new trust root for a chain.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recovery {
    /// The chain; only chain zero needs one.
    pub chain: ChainId,
    /// Its next incarnation.
    pub incarnation: u32,
    /// Its last final block, which stays final; none if it never had one.
    pub last_final: Option<FinalBlock>,
}

crate::wire!(Recovery { chain, incarnation, last_final });

/// A final block of a chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FinalBlock {
    /// Its height.
    pub height: Height,
    /// Its hash.
    pub hash: Hash32,
}

crate::wire!(FinalBlock { height, hash });

/// A decision with its signatures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GovernanceMessage {
    /// Decisions are numbered from 0 without gaps: none counts twice.
    pub sequence: u64,
    /// What is decided.
    pub action: Action,
    /// Who agrees, in ascending order of key.
    pub signatures: Vec<GovernanceSignature>,
}

crate::wire!(GovernanceMessage { sequence, action, signatures });

/// One member's agreement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GovernanceSignature {
    /// Who.
    pub key: GovernanceKey,
    /// BIP-340 over [`message`].
    pub signature: Signature,
}

crate::wire!(GovernanceSignature { key, signature });

/// What a decision's signatures sign; `context` is chain zero's governance context.
pub fn message(context: &Context, sequence: u64, action: &Action) -> [u8; 32] {
    tagged("palisade/1/governance", &[&context.0, &sequence.to_bytes(), &action.to_bytes()]).0
}

/// Why a decision does not count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadGovernance {
    /// Signers repeated, out of order or unknown.
    #[error("signers must be different governance keys in ascending order")]
    Signers,
    /// A signature is bad.
    #[error("signature of {0} does not verify")]
    Signature(GovernanceKey),
    /// Not enough.
    #[error("{missing} more signatures are needed")]
    NoQuorum {
        /// How many are missing: of those who govern, and of those who are to.
        missing: usize,
    },
}

impl GovernanceMessage {
    /// Whether a quorum agrees of those who govern; and, where others are to govern from then on, a quorum of these too, so that
    /// nobody hands governance to keys that nobody has.
    pub fn verify(&self, governors: &Governors, context: &Context) -> Result<(), BadGovernance> {
        match self.missing(governors) {
            0 => self.check_signatures(governors, context),
            missing => Err(BadGovernance::NoQuorum { missing }),
        }
    }

    /// How many signatures are missing.
    pub fn missing(&self, governors: &Governors) -> usize {
        let new = self.successors().map_or(0, |new| new.missing(self));
        governors.missing(self).saturating_add(new)
    }

    /// Whether every signature there is counts, however few they are.
    pub fn check_signatures(&self, governors: &Governors, context: &Context) -> Result<(), BadGovernance> {
        let ordered = self.signatures.is_sorted_by(|a, b| a.key < b.key);
        let may = |key: &GovernanceKey| {
            governors.keys.contains(key) || self.successors().is_some_and(|new| new.keys.contains(key))
        };
        if !ordered || !self.signatures.iter().all(|signer| may(&signer.key)) {
            return Err(BadGovernance::Signers);
        }
        let message = message(context, self.sequence, &self.action);
        self.signatures.iter().try_for_each(|signer| {
            signer.key.verify(&message, &signer.signature).map_err(|_| BadGovernance::Signature(signer.key))
        })
    }

    fn successors(&self) -> Option<&Governors> {
        match &self.action {
            Action::RotateKeys(new) => Some(new),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::curve::testing::key_pair;

    #[test]
    fn governors_have_one_encoding() {
        let mut keys = ["a", "b"].map(|name| GovernanceKey::from(key_pair(name).public()));
        keys.sort_unstable();
        let [a, b] = keys;
        let read = |keys: [GovernanceKey; 2], quorum: u8| {
            Governors::from_bytes(&[keys.to_vec().to_bytes(), vec![quorum]].concat())
        };
        for quorum in [1, 2] {
            let governors = read([a, b], quorum).unwrap();
            assert_eq!((governors.keys(), governors.quorum()), (&[a, b][..], quorum));
            assert_eq!(Ok(governors), Governors::new(vec![b, a, b], quorum));
        }
        for (keys, quorum) in [([b, a], 2), ([a, a], 1)] {
            assert_eq!(read(keys, quorum), Err(DecodeError::Invalid("order of governance keys")));
        }
        for quorum in [0, 3] {
            assert_eq!(read([a, b], quorum), Err(DecodeError::Invalid("governors")));
        }
    }
}
