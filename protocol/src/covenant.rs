//! What a committee member answers to a registration: signatures on everything, or a refusal with its reason.
//! Source: docs/protocol.md, section 5.6.

use crate::adaptor::{self, AdaptorSignature};
use crate::codec::Wire as _;
use crate::context::Context;
use crate::curve::{KeyPair, Verifier};
use crate::hash::tagged;
use crate::keys::{CovenantKey, ProviderKey};
use crate::stake::{Contract, Sighashes, Slashable, StakeId};
use bitcoin::secp256k1::schnorr::Signature;

/// A member's answer about one stake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CovenantAnswer {
    /// Which stake.
    pub stake: StakeId,
    /// Who answers.
    pub member: CovenantKey,
    /// What.
    pub verdict: Verdict,
}

crate::wire!(CovenantAnswer { stake, member, verdict });

/// Yes with signatures, or no with a reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The stake keeps the rules.
    Signed(Box<StakeSignatures>),
    /// It does not, or a policy of the member is against it.
    Refused(Refusal),
}

crate::wire_enum!(Verdict { 0 => Signed, 1 => Refused });

impl<T: crate::codec::Wire> crate::codec::Wire for Box<T> {
    fn encode(&self, out: &mut Vec<u8>) {
        T::encode(self, out);
    }

    fn decode(reader: &mut crate::codec::Reader<'_>) -> Result<Self, crate::codec::DecodeError> {
        T::decode(reader).map(Box::new)
    }
}

/// A member's signatures on one stake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StakeSignatures {
    /// On the unbonding transaction.
    pub unbonding: Signature,
    /// On the stake's slashing, one for each named provider in script order, encrypted to its key.
    pub slashing: Vec<AdaptorSignature>,
    /// On the unbonding output's slashing, likewise.
    pub unbonding_slashing: Vec<AdaptorSignature>,
}

crate::wire!(StakeSignatures { unbonding, slashing, unbonding_slashing });

/// A refusal, on the record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Why, in words; at most [`MAX_REASON`] bytes.
    pub reason: String,
    /// BIP-340 by the member over [`refusal_message`].
    pub signature: Signature,
}

crate::wire!(Refusal { reason, signature });

/// Longest reason, in bytes.
pub const MAX_REASON: usize = 500;

/// What a refusal signs; `context` is chain zero's covenant context.
pub fn refusal_message(context: &Context, stake: &StakeId, reason: &str) -> [u8; 32] {
    tagged("palisade/1/refusal", &[&context.0, &stake.to_bytes(), reason.as_bytes()]).0
}

/// Why an answer does not count.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAnswer {
    /// The signer is no member of the stake's committee.
    #[error("{0} is not in the committee of this stake")]
    NotMember(CovenantKey),
    /// Not one adaptor signature for each provider.
    #[error(
        "{found} adaptor signatures for the {output:?} output, one for each of {wanted} providers is needed"
    )]
    Count {
        /// Of which output.
        output: Slashable,
        /// How many there are.
        found: usize,
        /// How many providers the stake names.
        wanted: usize,
    },
    /// The signature on the unbonding transaction is bad.
    #[error("the signature on the unbonding transaction does not verify")]
    Unbonding,
    /// An adaptor signature is bad.
    #[error("adaptor signature {index} for the {output:?} output does not verify")]
    Adaptor {
        /// Of which output.
        output: Slashable,
        /// Which provider, in script order.
        index: usize,
    },
    /// A refusal's signature is bad.
    #[error("the signature on the refusal does not verify")]
    Refusal,
    /// A refusal's reason is too long.
    #[error("the reason has {0} bytes, at most {MAX_REASON} are allowed")]
    ReasonTooLong(usize),
}

impl CovenantAnswer {
    /// Judges the answer about a stake.
    pub fn verify(
        &self,
        contract: &Contract,
        sighashes: &Sighashes,
        context: &Context,
    ) -> Result<(), BadAnswer> {
        self.verify_by(&self.member.point(), contract, sighashes, context)
    }

    /// The same of an answer that a member gives itself, by its own key: as strict, for less than half.
    pub fn verify_own(
        &self,
        key: &KeyPair,
        contract: &Contract,
        sighashes: &Sighashes,
        context: &Context,
    ) -> Result<(), BadAnswer> {
        if key.public() != self.member.point() {
            return Err(BadAnswer::NotMember(self.member));
        }
        self.verify_by(key, contract, sighashes, context)
    }

    fn verify_by(
        &self,
        signer: &impl Verifier,
        contract: &Contract,
        sighashes: &Sighashes,
        context: &Context,
    ) -> Result<(), BadAnswer> {
        contract.keys.committee().index_of(&self.member).ok_or(BadAnswer::NotMember(self.member))?;
        match &self.verdict {
            Verdict::Signed(signatures) => signatures.verify(signer, contract, sighashes),
            Verdict::Refused(refusal) => {
                if refusal.reason.len() > MAX_REASON {
                    return Err(BadAnswer::ReasonTooLong(refusal.reason.len()));
                }
                let message = refusal_message(context, &self.stake, &refusal.reason);
                signer.verify_bip340(&message, &refusal.signature).map_err(|_| BadAnswer::Refusal)
            }
        }
    }
}

impl StakeSignatures {
    fn verify(
        &self,
        signer: &impl Verifier,
        contract: &Contract,
        sighashes: &Sighashes,
    ) -> Result<(), BadAnswer> {
        let providers = contract.keys.providers();
        let lists = [
            (Slashable::Staking, &self.slashing, &sighashes.slashing),
            (Slashable::Unbonding, &self.unbonding_slashing, &sighashes.unbonding_slashing),
        ];
        for (output, list, _) in &lists {
            if list.len() != providers.len() {
                return Err(BadAnswer::Count { output: *output, found: list.len(), wanted: providers.len() });
            }
        }
        signer.verify_bip340(&sighashes.unbonding, &self.unbonding).map_err(|_| BadAnswer::Unbonding)?;
        // A point costs a square root: each is made once, for both lists.
        let points: Vec<_> = providers.iter().map(ProviderKey::point).collect();
        for (output, list, sighash) in lists {
            for (index, (signature, point)) in list.iter().zip(&points).enumerate() {
                adaptor::verify(signer, point, sighash, signature)
                    .map_err(|_| BadAnswer::Adaptor { output, index })?;
            }
        }
        Ok(())
    }
}
