//! Governance: m of n keys that the genesis names. They change future parameters, register chains and resume after the
//! breaker. They can never move coins. Source: docs/protocol.md, section 8.4.

use crate::codec::{DecodeError, Reader, Wire};
use crate::context::{ChainId, Context, Terms};
use crate::hash::{Hash32, tagged};
use crate::keys::GovernanceKey;
use crate::params::ParamsDocument;
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
    /// Other governance keys. Reserved: refused until it is built.
    RotateKeys(Reserved),
    /// A new trust root for a chain that lost its set. Reserved: refused until it is built.
    RecoveryRoot(Reserved),
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
}

crate::wire!(NewChain { id, genesis, terms });

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

/// An action that has a number and no meaning yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reserved;

impl Wire for Reserved {
    fn encode(&self, _: &mut Vec<u8>) {}

    fn decode(_: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self)
    }
}

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
    #[error("{found} signatures, {quorum} are needed")]
    NoQuorum {
        /// Good ones.
        found: usize,
        /// How many are needed.
        quorum: u8,
    },
}

impl GovernanceMessage {
    /// Whether a quorum of `keys` agrees.
    pub fn verify(&self, keys: &[GovernanceKey], quorum: u8, context: &Context) -> Result<(), BadGovernance> {
        let ordered = self.signatures.is_sorted_by(|a, b| a.key < b.key);
        if !ordered || !self.signatures.iter().all(|signer| keys.contains(&signer.key)) {
            return Err(BadGovernance::Signers);
        }
        if self.signatures.len() < usize::from(quorum) {
            return Err(BadGovernance::NoQuorum { found: self.signatures.len(), quorum });
        }
        let message = message(context, self.sequence, &self.action);
        self.signatures.iter().try_for_each(|signer| {
            signer.key.verify(&message, &signer.signature).map_err(|_| BadGovernance::Signature(signer.key))
        })
    }
}
