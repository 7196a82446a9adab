//! A member at work: what the ledger wants of it, and its answers, each on disk before anybody sees it.

use crate::audit::{Act, Audit, AuditError, Record};
use crate::judge::{NotSigned, Policy, judge};
use crate::sign::Signer;
use crate::window::{Wait, Weight, Window};
use palisade_hub::ledger::Ledger;
use palisade_hub::ledger::stake::Stake;
use palisade_hub::ledger::state::StakeState;
use palisade_protocol::codec::{DecodeError, Wire as _};
use palisade_protocol::covenant::{BadAnswer, CovenantAnswer, MAX_REASON, Verdict};
use palisade_protocol::keys::CovenantKey;
use palisade_protocol::message::{ExpansionConsent, Message};
use palisade_protocol::stake::StakeId;

/// The reason of an entry that stands for an answer from before a restore.
const FROM_LOG: &str = "from the hub's log, after a restore";

/// Why a member cannot answer.
#[derive(Debug, thiserror::Error)]
pub enum CannotAnswer {
    /// The audit log cannot be read or written: nothing may leave.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The audit log's chain is whole, but an entry holds no message.
    #[error("audit log: the answer about stake {stake} is no message: {why}")]
    NoMessage {
        /// About which stake.
        stake: StakeId,
        /// What is wrong with its bytes.
        why: DecodeError,
    },
    /// The entry is not by this key: the audit log is another member's, or of a key that was replaced.
    #[error(
        "audit log: the answer about stake {stake} is not by our key {own}{}: give each key its own data directory",
        found.map(|found| format!(" but by {found}")).unwrap_or_default()
    )]
    OtherKey {
        /// About which stake.
        stake: StakeId,
        /// Whose answer it is, if it is one about this stake.
        found: Option<CovenantKey>,
        /// Our key.
        own: CovenantKey,
    },
    /// The own signatures do not verify: a fault of this machine. They are thrown away.
    #[error("own signatures on stake {stake} do not verify: {why}")]
    OwnSignatures {
        /// On which stake.
        stake: StakeId,
        /// Which signature.
        why: BadAnswer,
    },
}

/// What the log lacks of a member about a stake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Signatures or a refusal.
    Answer,
    /// Consent to the expansion that the stake is.
    Consent,
}

/// What a member says about a stake now.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::large_enum_variant, reason = "it lives until it is sent, and most are messages")]
pub enum Answer {
    /// Nothing is wanted of it, or it says nothing to that.
    None,
    /// This; it is in the audit log.
    Given(Act, Message),
    /// Later, when there is room.
    Waits(Wait),
}

/// A member: its key, its policy, and what it did so far.
#[derive(Debug)]
pub struct Member {
    signer: Signer,
    policy: Policy,
    audit: Audit,
}

impl Member {
    /// A member over its audit log.
    pub fn new(signer: Signer, policy: Policy, audit: Audit) -> Self {
        Self { signer, policy, audit }
    }

    /// Its key.
    pub fn key(&self) -> CovenantKey {
        self.signer.member()
    }

    /// What the log lacks of this member. A stake that has its quorum is answered too: another member may be missing when
    /// the stake is expanded or slashed.
    pub fn wanted(&self, stake: &Stake) -> Option<Wanted> {
        let member = self.key();
        stake.contract.keys.committee().index_of(&member)?;
        let signed = stake.signatures.contains_key(&member);
        match stake.state {
            StakeState::Pending | StakeState::Verified
                if !signed && !stake.refusals.contains_key(&member) =>
            {
                Some(Wanted::Answer)
            }
            StakeState::Verified
                if signed && stake.expansion.is_some() && !stake.consents.contains_key(&member) =>
            {
                Some(Wanted::Consent)
            }
            _ => None,
        }
    }

    /// Whether the log holds an answer of this key that is not the one of the audit log: that was cut, or the key is used
    /// elsewhere.
    pub fn is_strange(&self, stake: &Stake) -> Result<bool, CannotAnswer> {
        let member = self.key();
        let (signed, refused) = (stake.signatures.get(&member), stake.refusals.get(&member));
        let consented = stake.consents.get(&member);
        for (is_logged, act) in [
            (signed.is_some(), Act::Signed),
            (refused.is_some(), Act::Refused),
            (consented.is_some(), Act::Consented),
        ] {
            if !is_logged {
                continue;
            }
            let own = self.recorded(&stake.id, &[act])?.is_some_and(|(_, message)| match message {
                Message::Answer(CovenantAnswer { verdict: Verdict::Signed(own), .. }) => {
                    signed == Some(&*own)
                }
                Message::Answer(CovenantAnswer { verdict: Verdict::Refused(own), .. }) => {
                    refused == Some(&own.reason)
                }
                Message::Consent(own) => consented == Some(&own.signature),
                _ => false,
            });
            if !own {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// The answer that is wanted about a stake, if one is and can be given. It is in the audit log when this returns; one
    /// that was recorded before comes back the same, to the byte.
    pub fn answer(&mut self, ledger: &Ledger, stake: &Stake) -> Result<Answer, CannotAnswer> {
        let Some(wanted) = self.wanted(stake) else { return Ok(Answer::None) };
        let acts: &[Act] = match wanted {
            Wanted::Answer => &[Act::Signed, Act::Refused],
            Wanted::Consent => &[Act::Consented],
        };
        match (self.recorded(&stake.id, acts)?, wanted) {
            (Some((act, message)), _) => Ok(Answer::Given(act, message)),
            (None, Wanted::Answer) => self.judge(ledger, stake),
            (None, Wanted::Consent) => self.consent(ledger, stake),
        }
    }

    /// Takes answers of this key that the log holds and the audit log lacks into the audit log, for one that comes from a backup.
    /// They count for the rate limit as if they were given now.
    pub fn adopt(&mut self, ledger: &Ledger, stake: &Stake) -> Result<(), CannotAnswer> {
        let (id, member) = (stake.id, self.key());
        let signed = stake.signatures.get(&member).map(|own| {
            let verdict = Verdict::Signed(Box::new(own.clone()));
            (Act::Signed, Message::Answer(CovenantAnswer { stake: id, member, verdict }))
        });
        let refused = stake.refusals.get(&member);
        let refused = refused.map(|reason| (Act::Refused, self.signer.refuse(ledger, &id, reason.clone())));
        let consented = stake.consents.get(&member).map(|signature| {
            (Act::Consented, Message::Consent(ExpansionConsent { stake: id, member, signature: *signature }))
        });
        for (act, message) in [signed, refused, consented].into_iter().flatten() {
            if self.audit.answer(&id, act)?.is_none() {
                self.record(ledger, stake, act, FROM_LOG, &message)?;
            }
        }
        Ok(())
    }

    /// What the audit log holds about a stake. An entry of another key is none of ours: it would be sent as if it were.
    fn recorded(&self, stake: &StakeId, acts: &[Act]) -> Result<Option<(Act, Message)>, CannotAnswer> {
        for act in acts {
            if let Some(bytes) = self.audit.answer(stake, *act)? {
                let message = Message::from_bytes(&bytes)
                    .map_err(|why| CannotAnswer::NoMessage { stake: *stake, why })?;
                let (found, own) = (author(&message), self.key());
                if found != Some((*stake, own)) {
                    let found = found.map(|(_, member)| member);
                    return Err(CannotAnswer::OtherKey { stake: *stake, found, own });
                }
                return Ok(Some((*act, message)));
            }
        }
        Ok(None)
    }

    fn judge(&mut self, ledger: &Ledger, stake: &Stake) -> Result<Answer, CannotAnswer> {
        let window = self.window(ledger)?;
        let (act, message, reason) = match judge(ledger, stake, &self.policy, &window) {
            Ok(sighashes) => {
                let answer = self.signer.agree(ledger, stake, &sighashes);
                let answer = answer.map_err(|why| CannotAnswer::OwnSignatures { stake: stake.id, why })?;
                (Act::Signed, answer, String::new())
            }
            Err(NotSigned::Refused(why)) => {
                let reason = shortened(why.to_string());
                (Act::Refused, self.signer.refuse(ledger, &stake.id, reason.clone()), reason)
            }
            Err(NotSigned::Waits(why)) => return Ok(Answer::Waits(why)),
        };
        self.record(ledger, stake, act, &reason, &message)?;
        Ok(Answer::Given(act, message))
    }

    /// What was signed in the window that ends at Bitcoin's tip. A stake that this ledger does not have counts whole.
    fn window(&self, ledger: &Ledger) -> Result<Window, AuditError> {
        let others = self.policy.window_blocks.saturating_sub(1);
        let signed = self.audit.signed_since(ledger.btc_height().minus(others))?;
        Ok(Window::of(signed.into_iter().map(|(id, amount)| match ledger.stakes().find(&id) {
            Some((_, stake)) => Weight::of(ledger, stake),
            None => Weight { new: amount, shown: true },
        })))
    }

    /// Consents only to what it has signed the slashing of, with a quorum, and only while the old stake has not moved.
    fn consent(&mut self, ledger: &Ledger, stake: &Stake) -> Result<Answer, CannotAnswer> {
        let old = stake.expands.and_then(|old| ledger.stakes().get(old));
        let still_there = old.is_some_and(|old| old.included.is_some() && old.spend.is_none());
        if !still_there || !stake.has_quorum() {
            return Ok(Answer::None);
        }
        let Ok(sighash) = ledger.expansion_sighash(&stake.id) else { return Ok(Answer::None) };
        let message = self.signer.consent(&stake.id, &sighash);
        self.record(ledger, stake, Act::Consented, "", &message)?;
        Ok(Answer::Given(Act::Consented, message))
    }

    fn record(
        &mut self,
        ledger: &Ledger,
        stake: &Stake,
        act: Act,
        reason: &str,
        message: &Message,
    ) -> Result<(), CannotAnswer> {
        let (btc_height, amount) = (ledger.btc_height(), stake.contract.coin.value);
        self.audit.append(&Record { stake: stake.id, act, btc_height, amount, reason, message })?;
        tracing::info!(stake = %stake.id, sat = amount.to_sat(), ?act, reason, "judged");
        Ok(())
    }
}

/// About which stake an answer is, and whose it is.
fn author(message: &Message) -> Option<(StakeId, CovenantKey)> {
    match message {
        Message::Answer(answer) => Some((answer.stake, answer.member)),
        Message::Consent(consent) => Some((consent.stake, consent.member)),
        _ => None,
    }
}

/// A reason that fits on the record.
fn shortened(mut reason: String) -> String {
    reason.truncate(reason.floor_char_boundary(MAX_REASON));
    reason
}

#[cfg(test)]
mod tests;
