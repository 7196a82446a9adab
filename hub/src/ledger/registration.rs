//! Registrations of providers and stakes, and the committee's answers. Source: docs/protocol.md, sections 5.4 to 5.6.

use super::judging::Under;
use super::providers::Provider;
use super::stake::{Expansion, Stake, has_matured, matures};
use super::state::StakeState;
use super::{Event, Ledger, Rejected};
use bitcoin::{Amount, OutPoint};
use palisade_protocol::context::ChainId;
use palisade_protocol::covenant::{CovenantAnswer, Verdict};
use palisade_protocol::hash::Hash32;
use palisade_protocol::provider::ProviderRegistration;
use palisade_protocol::registration::{self, RegistrationProof, StakeRegistration, intent_message};
use palisade_protocol::stake::StakeId;
use palisade_protocol::units::{BtcHeight, RelativeBlocks};
use std::collections::{BTreeMap, BTreeSet};

/// What judging a stake's registration finds.
pub(super) struct JudgedStake {
    /// The version of the parameters that it is judged by.
    pub(super) params: usize,
    /// The height that it is judged at: of the stake's block, or now.
    since: BtcHeight,
    /// The stake that it makes.
    pub(super) judged: registration::Judged,
    /// The stake that it expands.
    expands: Option<usize>,
}

impl Ledger {
    pub(super) fn judge_provider(
        &self,
        registration: &ProviderRegistration,
        known: Option<&Under>,
    ) -> Result<(), Rejected> {
        let ProviderRegistration { chain, key, backing, .. } = registration;
        let context = self.chain(chain).ok_or_else(|| Rejected::UnknownChain(chain.clone()))?.registration;
        if self.providers.get(key).is_some() {
            return Err(Rejected::Repeated("the key is registered"));
        }
        self.check_backing_is_free(&backing.outpoint())?;
        let place = self.place_of(backing.proof.block_hash)?;
        let header = self.bitcoin.header_at(place.height).ok_or(Rejected::UnknownBlock(place.block))?;
        if known.is_none() {
            backing.verify(header, &ProviderRegistration::text(&self.genesis.id(), chain, key))?;
            registration.verify(&context)?;
        }
        Ok(())
    }

    pub(super) fn apply_provider(
        &mut self,
        registration: &ProviderRegistration,
        known: Option<&Under>,
    ) -> Result<(), Rejected> {
        self.judge_provider(registration, known)?;
        let ProviderRegistration { chain, key, operator, bls, backing, .. } = registration;
        self.providers.insert(Provider {
            key: *key,
            chain: chain.clone(),
            operator: operator.clone(),
            bls: bls.as_ref().map(|bls| bls.key),
            backing: backing.outpoint(),
            exposed_at: None,
            power: Amount::ZERO,
            roots: BTreeMap::new(),
            replaced: BTreeMap::new(),
        });
        self.events.push(Event::Provider { key: *key, chain: chain.clone() });
        Ok(())
    }

    fn check_backing_is_free(&self, outpoint: &OutPoint) -> Result<(), Rejected> {
        let used = self.providers.is_backing(outpoint) || self.stakes.backed_by(outpoint).is_some();
        if used { Err(Rejected::BackingUsed(*outpoint)) } else { Ok(()) }
    }

    pub(super) fn judge_stake(
        &self,
        registration: &StakeRegistration,
        known: Option<&Under>,
    ) -> Result<JudgedStake, Rejected> {
        let chains = self.check_providers(registration)?;
        self.check_outpoint(registration)?;
        let tip = self.btc_height();
        let since = match &registration.proof {
            RegistrationProof::Funding(backing) => {
                self.check_backing_is_free(&backing.outpoint())?;
                tip
            }
            RegistrationProof::Confirmed(confirmed) => {
                let height = self.prove(&confirmed.inclusion)?.height;
                check_not_matured(height, registration.lock, tip)?;
                height
            }
        };
        let params = self.params_at(since).0;
        let version = self.params.get(params).ok_or(Rejected::Decision("no parameters are in force"))?;
        let known = match known {
            Some(Under::Params(by, judged)) if *by == params => Some(judged),
            _ => None,
        };
        let judged = known.map_or_else(|| registration.judge(version), |judged| Ok((**judged).clone()))?;
        self.check_intent(registration, &chains, known.is_some())?;
        let expands = match &registration.expands {
            Some(old) => Some(self.check_expansion(registration, old, &judged.contract)?),
            None if !registration.former.is_empty() => {
                return Err(Rejected::Expansion("only an expansion names former providers"));
            }
            None => None,
        };
        Ok(JudgedStake { params, since, judged, expands })
    }

    pub(super) fn apply_stake(
        &mut self,
        registration: &StakeRegistration,
        known: Option<&Under>,
        id: Hash32,
        cause: &str,
    ) -> Result<(), Rejected> {
        let JudgedStake { params, since, judged, expands } = self.judge_stake(registration, known)?;
        let version = self.params.get(params).ok_or(Rejected::Decision("no parameters are in force"))?;
        let (k, lapse) = (version.k(), version.document().lapse_blocks);
        let exposed = judged.contract.keys.providers().iter().any(|key| self.providers.is_exposed(key));
        let (backing, shown, restored_at) = match &registration.proof {
            RegistrationProof::Funding(backing) => {
                (Some(backing.outpoint()), backing.output().map(|output| output.value), BtcHeight(0))
            }
            // Whoever reads Bitcoin for the hub has k blocks to say if its coins have left before anybody looked for them.
            RegistrationProof::Confirmed(_) => {
                (None, Some(judged.contract.coin.value), self.btc_height().plus(k))
            }
        };
        let stake = Stake {
            id: StakeId(id),
            contract: judged.contract,
            presigned: registration.presigned.clone(),
            sighashes: judged.sighashes,
            slashing_signatures: [registration.slashing_signature, registration.unbonding_slashing_signature],
            providers: registration.providers.clone(),
            former: registration.former.clone(),
            payout: registration.payout.clone(),
            params,
            k,
            lapses_at: since.plus(lapse),
            backing,
            shown: shown.unwrap_or(Amount::ZERO),
            expansion: expands.and_then(|_| expansion_of(registration)),
            expands,
            expansions: BTreeMap::new(),
            signatures: BTreeMap::new(),
            refusals: BTreeMap::new(),
            consents: BTreeMap::new(),
            included: None,
            ever_included: backing.is_none(),
            lapsed: false,
            anew: false,
            spend: None,
            unbonding_spend: None,
            restored_at,
            exposed,
            activated: false,
            state: StakeState::Pending,
            history: Vec::new(),
        };
        let now = self.now(cause);
        self.stakes.insert(stake, now, &mut self.providers);
        if let RegistrationProof::Confirmed(confirmed) = &registration.proof {
            let place = self.place_of(confirmed.inclusion.block_hash)?;
            self.book_transaction(&confirmed.inclusion.transaction, place, cause);
        }
        Ok(())
    }

    /// Exactly one provider of chain zero, at most one of each other chain, none whose key is out. Their chains, in order.
    fn check_providers(&self, registration: &StakeRegistration) -> Result<Vec<ChainId>, Rejected> {
        let mut chains = Vec::new();
        for key in registration.providers.iter() {
            let provider = self.providers.get(key).ok_or(Rejected::UnknownProvider(*key))?;
            if provider.exposed_at.is_some() {
                return Err(Rejected::Exposed(*key));
            }
            chains.push(provider.chain.clone());
        }
        let different: BTreeSet<_> = chains.iter().collect();
        let one_each = different.len() == chains.len() && chains.iter().any(ChainId::is_zero);
        if one_each { Ok(chains) } else { Err(Rejected::Chains) }
    }

    /// An outpoint is registered once, unless that registration lapsed and the stake came to Bitcoin later. What was agreed on
    /// then can still be sent, so nothing else is agreed on: an exit that the newer registration does not know would look like a
    /// breach, and its output would be nobody's. And it must not have been sent.
    fn check_outpoint(&self, registration: &StakeRegistration) -> Result<(), Rejected> {
        let outpoint = registration.outpoint();
        let confirmed = matches!(registration.proof, RegistrationProof::Confirmed(_));
        match self.stakes.at_outpoint(&outpoint) {
            Some((_, stake)) if !(confirmed && stake.lapsed) => Err(Rejected::StakeExists(outpoint)),
            Some((_, stake)) if stake.presigned != registration.presigned => {
                Err(Rejected::AgreedBefore(outpoint))
            }
            Some((_, stake)) if stake.spend.is_some() => Err(Rejected::CoinsLeft(outpoint)),
            _ => Ok(()),
        }
    }

    /// Whether the intent is signed, by the owner of what backs the stake or of the stake itself; signatures that are `known` to
    /// be good are not checked again.
    fn check_intent(
        &self,
        registration: &StakeRegistration,
        chains: &[ChainId],
        known: bool,
    ) -> Result<(), Rejected> {
        let text = registration.intent(self.network(), &self.genesis.id(), chains);
        match &registration.proof {
            RegistrationProof::Funding(backing) => {
                let outpoint = backing.outpoint();
                if !registration.staking_tx.input.iter().any(|input| input.previous_output == outpoint) {
                    return Err(registration::StakeRefused::NotSpent.into());
                }
                let place = self.place_of(backing.proof.block_hash)?;
                let header =
                    self.bitcoin.header_at(place.height).ok_or(Rejected::UnknownBlock(place.block))?;
                if known { Ok(()) } else { Ok(backing.verify(header, &text)?) }
            }
            RegistrationProof::Confirmed(confirmed) => {
                if confirmed.inclusion.transaction.compute_txid() != registration.outpoint().txid {
                    return Err(Rejected::NotStaking);
                }
                if known {
                    return Ok(());
                }
                let message = intent_message(&self.contexts.intent, &text);
                let signed = registration.staker.verify(&message, &confirmed.signature);
                signed.map_err(|_| Rejected::Intent)
            }
        }
    }

    /// Gives the stake's place.
    pub(super) fn judge_answer(
        &self,
        answer: &CovenantAnswer,
        known: Option<&Under>,
    ) -> Result<usize, Rejected> {
        let (index, stake) = self.stakes.find(&answer.stake).ok_or(Rejected::UnknownStake(answer.stake))?;
        // A member that refused may sign later; one that signed has answered.
        let signed = stake.signatures.contains_key(&answer.member);
        let refused_again =
            stake.refusals.contains_key(&answer.member) && matches!(answer.verdict, Verdict::Refused(_));
        if signed || refused_again {
            return Err(Rejected::Repeated("the member has answered"));
        }
        if known.is_none() {
            answer.verify(&stake.contract, &stake.sighashes, &self.contexts.covenant)?;
        }
        Ok(index)
    }

    pub(super) fn apply_answer(
        &mut self,
        answer: &CovenantAnswer,
        known: Option<&Under>,
        cause: &str,
    ) -> Result<(), Rejected> {
        let index = self.judge_answer(answer, known)?;
        let now = self.now(cause);
        self.stakes.change(index, now, &mut self.providers, |stake| match &answer.verdict {
            Verdict::Signed(signatures) => {
                stake.refusals.remove(&answer.member);
                stake.signatures.insert(answer.member, (**signatures).clone());
            }
            Verdict::Refused(refusal) => {
                stake.refusals.insert(answer.member, refusal.reason.clone());
            }
        });
        Ok(())
    }
}

/// Refuses a stake in the block of a height that can be withdrawn already.
pub(super) fn check_not_matured(
    included: BtcHeight,
    lock: RelativeBlocks,
    tip: BtcHeight,
) -> Result<(), Rejected> {
    if has_matured(included, lock, tip) { Err(Rejected::Matured(matures(included, lock))) } else { Ok(()) }
}

/// The expanding transaction with the output that funds it, which is the one that backs the registration.
fn expansion_of(registration: &StakeRegistration) -> Option<Box<Expansion>> {
    let RegistrationProof::Funding(backing) = &registration.proof else { return None };
    let funding = backing.output()?.clone();
    Some(Box::new(Expansion { tx: registration.staking_tx.clone(), funding }))
}
