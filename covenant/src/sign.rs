//! Signing: the only place that touches the member's key.

use bitcoin::secp256k1::rand::{RngCore as _, rngs::OsRng};
use palisade_hub::ledger::Ledger;
use palisade_hub::ledger::stake::Stake;
use palisade_protocol::adaptor;
use palisade_protocol::covenant::{
    BadAnswer, CovenantAnswer, Refusal, StakeSignatures, Verdict, refusal_message,
};
use palisade_protocol::curve::KeyPair;
use palisade_protocol::keys::{CovenantKey, ProviderKey};
use palisade_protocol::message::{ExpansionConsent, Message};
use palisade_protocol::stake::{Sighashes, StakeId};

/// A member's key.
#[derive(Debug)]
pub struct Signer(KeyPair);

impl Signer {
    /// The signer of a key.
    pub fn new(key: KeyPair) -> Self {
        Self(key)
    }

    /// Its public key.
    pub fn member(&self) -> CovenantKey {
        self.0.public().into()
    }

    /// Signatures on everything that was agreed on for a stake. Verified before they are given out, so a fault while signing
    /// shows here and not at the hub.
    pub fn agree(&self, ledger: &Ledger, stake: &Stake, sighashes: &Sighashes) -> Result<Message, BadAnswer> {
        let providers: Vec<_> = stake.contract.keys.providers().iter().map(ProviderKey::point).collect();
        let adaptors = |sighash: &[u8; 32]| {
            let sign = |provider| adaptor::sign(&self.0, provider, sighash, &random());
            providers.iter().map(sign).collect()
        };
        let signatures = StakeSignatures {
            unbonding: self.0.sign_bip340(&sighashes.unbonding, &random()),
            slashing: adaptors(&sighashes.slashing),
            unbonding_slashing: adaptors(&sighashes.unbonding_slashing),
        };
        let verdict = Verdict::Signed(Box::new(signatures));
        let answer = CovenantAnswer { stake: stake.id, member: self.member(), verdict };
        answer.verify_own(&self.0, &stake.contract, sighashes, &ledger.contexts().covenant)?;
        Ok(Message::Answer(answer))
    }

    /// A refusal, on the record.
    pub fn refuse(&self, ledger: &Ledger, stake: &StakeId, reason: String) -> Message {
        let message = refusal_message(&ledger.contexts().covenant, stake, &reason);
        let signature = self.0.sign_bip340(&message, &random());
        let verdict = Verdict::Refused(Refusal { reason, signature });
        Message::Answer(CovenantAnswer { stake: *stake, member: self.member(), verdict })
    }

    /// Consent to an expansion, given what input 0 of it signs.
    pub fn consent(&self, stake: &StakeId, sighash: &[u8; 32]) -> Message {
        let signature = self.0.sign_bip340(sighash, &random());
        Message::Consent(ExpansionConsent { stake: *stake, member: self.member(), signature })
    }
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    OsRng.fill_bytes(&mut bytes);
    bytes
}
