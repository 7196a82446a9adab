//! Decisions of governance. Source: docs/protocol.md, section 8.4.

use super::chains::Chain;
use super::judging::Under;
use super::{Event, Ledger, Rejected};
use palisade_protocol::governance::{Action, GovernanceMessage, NewChain, Recovery, Resume};
use palisade_protocol::params::{Params, ParamsDocument};

impl Ledger {
    /// Judges who has decided. What is decided is judged when it is done, for nobody else can make the ledger look at it.
    pub(super) fn judge_governance(
        &self,
        decision: &GovernanceMessage,
        known: Option<&Under>,
    ) -> Result<(), Rejected> {
        if decision.sequence != self.decisions {
            return Err(Rejected::Sequence { found: decision.sequence, next: self.decisions });
        }
        // Each decision takes the next number, so those who govern at that number are always the same.
        if known.is_none() {
            decision.verify(&self.governors, &self.contexts.governance)?;
        }
        Ok(())
    }

    pub(super) fn apply_governance(
        &mut self,
        decision: &GovernanceMessage,
        known: Option<&Under>,
        cause: &str,
    ) -> Result<(), Rejected> {
        self.judge_governance(decision, known)?;
        match &decision.action {
            Action::RegisterChain(chain) => self.register_chain(chain)?,
            Action::SetParams(params) => self.set_params(params)?,
            Action::Resume(resume) => self.resume(resume, cause)?,
            Action::RotateKeys(new) => self.governors = new.clone(),
            Action::RecoveryRoot(recovery) => self.recover(recovery)?,
        }
        self.decisions = self.decisions.saturating_add(1);
        Ok(())
    }

    fn register_chain(&mut self, new: &NewChain) -> Result<(), Rejected> {
        if self.chain(&new.id).is_some() {
            return Err(Rejected::Repeated("a chain of that name was registered"));
        }
        new.terms.check().map_err(Rejected::Decision)?;
        let identity = self.identity(new.id.clone(), new.genesis);
        self.chains.push(Chain::new(identity, new.terms, (new.first_epoch, self.next_height())));
        self.events.push(Event::Chain { id: new.id.clone() });
        Ok(())
    }

    /// A version of the parameters comes into force at a later height than any that is known.
    fn set_params(&mut self, document: &ParamsDocument) -> Result<(), Rejected> {
        let params = Params::new(document.clone())?;
        if params.from_height() <= self.btc_height() {
            return Err(Rejected::Decision("parameters are set for heights above the tip"));
        }
        if self.params.last().is_some_and(|last| params.from_height() <= last.from_height()) {
            return Err(Rejected::Decision("parameters are set for heights above those of the last version"));
        }
        self.add_params(params);
        Ok(())
    }

    /// Chain zero starts again from its last final block, once no set can make another block final.
    fn recover(&mut self, recovery: &Recovery) -> Result<(), Rejected> {
        let tip = self.btc_height();
        let zero = self.chains.first_mut().filter(|zero| *zero.id() == recovery.chain);
        let zero = zero.ok_or(Rejected::Decision("only chain zero starts again by a recovery root"))?;
        if !zero.is_lost(tip) {
            return Err(Rejected::Decision("the set of the next voted block of chain zero has not expired"));
        }
        let next = zero.recovery().filter(|next| next.incarnation == recovery.incarnation);
        let next = next.ok_or(Rejected::Decision("it is not the next incarnation"))?;
        if next.last_final != recovery.last_final {
            return Err(Rejected::Decision("another block is the last final one of chain zero"));
        }
        zero.restart(recovery.incarnation);
        self.providers.drop_all_roots(&recovery.chain);
        self.events
            .push(Event::Recovered { chain: recovery.chain.clone(), incarnation: recovery.incarnation });
        Ok(())
    }

    fn resume(&mut self, resume: &Resume, cause: &str) -> Result<(), Rejected> {
        if self.breaker.is_none() && !self.chains.iter().any(|chain| chain.paused) {
            return Err(Rejected::Decision("nothing is tripped or paused"));
        }
        if let Some(unknown) = resume.accepted.iter().find(|accepted| self.chain(&accepted.chain).is_none()) {
            return Err(Rejected::UnknownChain(unknown.chain.clone()));
        }
        self.breaker = None;
        for chain in &mut self.chains {
            let accepted = resume.accepted.iter().find(|accepted| accepted.chain == *chain.id());
            chain.accepted = accepted.map(|accepted| accepted.power);
            chain.paused = false;
            chain.changed = true;
        }
        let now = self.now(cause);
        self.stakes.release(now, &mut self.providers);
        self.events.push(Event::Resumed);
        Ok(())
    }
}
