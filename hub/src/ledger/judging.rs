//! Judging a message without applying it: what is dear is checked once, outside the block that will hold it.
//!
//! Signatures, scripts and pairings need little of the state, and that little hardly ever changes. So they can be checked while
//! blocks are being made; a block then asks only what is cheap, by the state that it has come to.

use super::{Ledger, Rejected};
use palisade_protocol::block::MessageBytes;
use palisade_protocol::context::Context;
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::registration;

/// That the dear checks of a message were made, and what of the state they rest on.
#[derive(Debug, Clone, Default)]
pub struct Proven {
    id: Hash32,
    under: Under,
}

/// What of the state the checks of a message rest on. Where that is another by now, they are made again.
#[derive(Debug, Clone, Default)]
pub(super) enum Under {
    /// On nothing that changes: a block's header, a registered chain, key or stake, a set, the governors of a decision's number.
    #[default]
    Lasting,
    /// A context of a chain, which a recovery changes.
    Context(Context),
    /// A version of the parameters, and the stake that they make of a registration.
    Params(usize, Box<registration::Judged>),
}

impl Proven {
    /// What the checks rest on, if they were made of this message.
    pub(super) fn of(&self, id: Hash32) -> Option<&Under> {
        (self.id == id).then_some(&self.under)
    }
}

impl Ledger {
    /// Judges a message by the state of now, and changes nothing. What is refused here [`Ledger::apply`] would refuse; what is not
    /// can still be, when its turn comes.
    pub fn judge(&self, bytes: &MessageBytes) -> Result<Proven, Rejected> {
        let mut under = Under::Lasting;
        match &bytes.decode()? {
            Message::Headers(headers) => self.bitcoin.check(&headers.headers)?,
            Message::Provider(registration) => self.judge_provider(registration, None)?,
            Message::Stake(registration) => {
                let found = self.judge_stake(registration, None)?;
                under = Under::Params(found.params, Box::new(found.judged));
            }
            Message::Answer(answer) => self.judge_answer(answer, None).map(drop)?,
            Message::Consent(consent) => self.judge_consent(consent, None).map(drop)?,
            Message::Included(included) => self.judge_included(included).map(drop)?,
            Message::Spent(spent) => self.judge_spent(spent).map(drop)?,
            Message::Commitment(commitment) => {
                under = Under::Context(self.judge_commitment(commitment, None)?);
            }
            Message::Certificate(certificate) => self.judge_certificate(certificate, None).map(drop)?,
            Message::Evidence(evidence) => self.judge_evidence(evidence, None)?,
            Message::Governance(decision) => self.judge_governance(decision, None)?,
            Message::Anchor(proof) => self.judge_anchor_proof(proof, None).map(drop)?,
            Message::Batch(batch) => self.judge_batch(batch)?,
        }
        Ok(Proven { id: bytes.id(), under })
    }
}
