//! Expansions: a stake that becomes a larger or longer one without leaving. Source: docs/protocol.md, section 5.7.

use super::judging::Under;
use super::stake::Stake;
use super::state::StakeState;
use super::{Ledger, Rejected};
use bitcoin::TxOut;
use palisade_protocol::message::ExpansionConsent;
use palisade_protocol::outputs::Leaf;
use palisade_protocol::registration::{RegistrationProof, StakeRegistration};
use palisade_protocol::stake::{Contract, StakeId};
use palisade_protocol::transactions::sighash;
use std::collections::BTreeSet;

impl Stake {
    /// Whether a stake is in a state to be expanded, whatever it is to become.
    pub fn check_expandable(&self) -> Result<(), Rejected> {
        if !matches!(self.state, StakeState::Active | StakeState::Ending | StakeState::Verified) {
            return Err(Rejected::Expansion(
                "only a stake that is active, verified or ending can be expanded",
            ));
        }
        if self.included.is_none() {
            return Err(Rejected::Expansion("the old stake is not on Bitcoin"));
        }
        Ok(())
    }
}

impl Ledger {
    /// Checks that a registration expands a stake: same holder, same amount or more, no provider forgotten. Gives the old
    /// stake's place.
    pub(super) fn check_expansion(
        &self,
        registration: &StakeRegistration,
        old: &StakeId,
        new: &Contract,
    ) -> Result<usize, Rejected> {
        let refuse = |why| Err(Rejected::Expansion(why));
        let (index, stake) = self.stakes.find(old).ok_or(Rejected::UnknownStake(*old))?;
        let RegistrationProof::Funding(backing) = &registration.proof else {
            return refuse("an expansion is registered before it is broadcast");
        };
        stake.check_expandable()?;
        if new.keys.staker() != stake.contract.keys.staker() {
            return refuse("the holder must be the same");
        }
        if new.coin.value < stake.contract.coin.value {
            return refuse("the new stake must not be smaller");
        }
        if new.keys.committee() != stake.contract.keys.committee() {
            return refuse("the committee has changed: leave and stake again");
        }
        let inputs = &registration.staking_tx.input;
        if inputs.len() != 2
            || inputs.first().map(|input| input.previous_output) != Some(stake.contract.coin.outpoint)
        {
            return refuse("it must have two inputs, the first of them the old stake");
        }
        if inputs.get(1).map(|input| input.previous_output) != Some(backing.outpoint()) {
            return refuse("the second input must be the output that backs the registration");
        }
        let kept: BTreeSet<_> = new.keys.providers().iter().collect();
        if !stake.providers.iter().all(|key| kept.contains(key)) {
            return refuse("every provider with power in the old stake must be named");
        }
        // A provider that was replaced before may be dropped once an unbonding time has passed since: what it could
        // have signed while it had power can no longer be slashed anyway.
        let old_enough = stake.included.is_some_and(|place| {
            self.btc_height() >= place.height.plus(stake.contract.unbonding_time.get().into())
        });
        if !old_enough && !stake.former.iter().all(|key| kept.contains(key)) {
            return refuse("a replaced provider must stay named for one unbonding time");
        }
        let known: BTreeSet<_> = stake.providers.iter().chain(&stake.former).collect();
        if !registration.former.iter().all(|key| known.contains(key)) {
            return refuse("former providers must be providers of the old stake");
        }
        Ok(index)
    }

    /// Gives the stake's place.
    pub(super) fn judge_consent(
        &self,
        consent: &ExpansionConsent,
        known: Option<&Under>,
    ) -> Result<usize, Rejected> {
        let (index, stake) = self.stakes.find(&consent.stake).ok_or(Rejected::UnknownStake(consent.stake))?;
        if stake.consents.contains_key(&consent.member) {
            return Err(Rejected::Repeated("the member has consented"));
        }
        if !stake.has_quorum() {
            return Err(Rejected::Expansion("a quorum must have signed the new stake's slashing first"));
        }
        let sighash = self.expansion_sighash(&consent.stake)?;
        let member = consent.member;
        stake.contract.keys.committee().index_of(&member).ok_or(Rejected::Expansion("not a member"))?;
        if known.is_none() {
            let good = member.verify(&sighash, &consent.signature);
            good.map_err(|_| Rejected::Expansion("the consent's signature does not verify"))?;
        }
        Ok(index)
    }

    pub(super) fn apply_consent(
        &mut self,
        consent: &ExpansionConsent,
        known: Option<&Under>,
        cause: &str,
    ) -> Result<(), Rejected> {
        let index = self.judge_consent(consent, known)?;
        let now = self.now(cause);
        self.stakes.change(index, now, &mut self.providers, |stake| {
            stake.consents.insert(consent.member, consent.signature);
        });
        Ok(())
    }

    /// What a committee member signs so that the old stake may go into the new one: input 0 of the expansion.
    pub fn expansion_sighash(&self, new: &StakeId) -> Result<[u8; 32], Rejected> {
        let (_, stake) = self.stakes.find(new).ok_or(Rejected::UnknownStake(*new))?;
        let old = stake.expands.and_then(|old| self.stakes.get(old));
        let old = old.ok_or(Rejected::Expansion("the stake expands nothing"))?;
        let expansion = stake.expansion.as_ref().ok_or(Rejected::Expansion("the stake expands nothing"))?;
        let spent: [TxOut; 2] = [old.contract.txout(), expansion.funding.clone()];
        sighash(&expansion.tx, 0, &spent, &old.contract.output(), Leaf::Unbonding)
            .map_err(|_| Rejected::Expansion("the funding output does not match"))
    }
}
