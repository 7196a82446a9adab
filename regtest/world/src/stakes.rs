//! Providers and stakes of a world: registered, signed by the committee, mined, and spent.

use crate::{
    COVENANT, World, address, bls_secret, keys::x_only, pair, provider_key, schnorr, secret, transaction,
};
use bitcoin::{Amount, OutPoint, Transaction, TxOut};
use palisade_hub::ledger::Rejected;
use palisade_hub::ledger::stake::Stake;
use palisade_hub::ledger::state::StakeState;
use palisade_protocol::adaptor;
use palisade_protocol::backing::Backing;
use palisade_protocol::bip322;
use palisade_protocol::context::{ChainId, Purpose};
use palisade_protocol::covenant::{self, CovenantAnswer, Refusal, StakeSignatures, Verdict};
use palisade_protocol::hash::Hash32;
use palisade_protocol::inclusion::InclusionProof;
use palisade_protocol::keys::{ProviderKey, StakerKey};
use palisade_protocol::message::{ExpansionConsent, Message, OutputSpent, StakeIncluded};
use palisade_protocol::outputs::Output;
use palisade_protocol::provider::{BlsRegistration, ProviderRegistration};
use palisade_protocol::registration::{
    ConfirmedStake, Judged, RegistrationProof, StakeRegistration, intent_message,
};
use palisade_protocol::scripts::StakeKeys;
use palisade_protocol::stake::{Contract, Sighashes, StakeId};
use palisade_protocol::transactions::{Coin, witness};
use palisade_protocol::units::RelativeBlocks;

/// What a stake is to be.
#[derive(Debug, Clone)]
pub struct Wish<'a> {
    /// Name of the holder's key.
    pub holder: &'a str,
    /// How much.
    pub sat: u64,
    /// Names of the providers' keys.
    pub providers: &'a [&'a str],
    /// How long.
    pub lock: u16,
}

impl World {
    /// Registers a named provider key for a chain.
    pub fn register_provider(&mut self, chain: &ChainId, name: &str) -> ProviderKey {
        let message = self.provider_registration(chain, name);
        self.send(&message).expect("a good registration");
        provider_key(name)
    }

    /// The message that registers a named provider key for a chain, with a new coin behind it.
    pub fn provider_registration(&mut self, chain: &ChainId, name: &str) -> Message {
        let (_, _, proof) = self.fund(name, 10_000);
        let key = provider_key(name);
        let text = ProviderRegistration::text(&self.ledger.genesis().id(), chain, &key);
        let witness =
            bip322::sign_p2tr_key_path(&secret(name), text.as_bytes(), &[7; 32]).expect("a signature");
        let backing = Backing { proof, vout: 0, witness };
        let bls = chain.is_zero().then(|| {
            let secret = bls_secret(name);
            BlsRegistration { key: secret.public_key(), possession: secret.prove_possession() }
        });
        let context = self.identity(chain).context(Purpose::Registration);
        let message = ProviderRegistration::message(&context, &key, name, bls.as_ref(), backing.outpoint());
        let signature = schnorr(name, &message);
        let (chain, operator) = (chain.clone(), name.to_owned());
        Message::Provider(Box::new(ProviderRegistration { chain, key, operator, bls, backing, signature }))
    }

    /// Registers a stake before it is broadcast. Gives its id and the staking transaction.
    pub fn register_stake(&mut self, wish: &Wish<'_>) -> (StakeId, Transaction) {
        let registration = self.registration(wish);
        let tx = registration.staking_tx.clone();
        let id = self.send(&Message::Stake(Box::new(registration))).expect("a good registration");
        (StakeId(id), tx)
    }

    /// A registration of a stake that is not broadcast yet.
    pub fn registration(&mut self, wish: &Wish<'_>) -> StakeRegistration {
        self.compose(wish, None, &[])
    }

    /// A registration that expands a stake into the wish, with named providers that keep their keys in it without power.
    pub fn expansion(&mut self, old: &StakeId, wish: &Wish<'_>, former: &[&str]) -> StakeRegistration {
        self.compose(wish, Some(*old), former)
    }

    /// An expansion whose transaction has these inputs in place of the old stake's output and the backing output.
    pub fn expansion_with(
        &mut self,
        old: &StakeId,
        wish: &Wish<'_>,
        inputs: impl FnOnce([OutPoint; 2]) -> Vec<OutPoint>,
    ) -> StakeRegistration {
        let (funding, _, proof) = self.fund(wish.holder, wish.sat + 1_000);
        let inputs = inputs([self.stake(old).contract.coin.outpoint, funding]);
        self.draft_with(wish, Some(*old), &[], (funding, proof), inputs).0
    }

    fn compose(&mut self, wish: &Wish<'_>, expands: Option<StakeId>, former: &[&str]) -> StakeRegistration {
        let (funding, _, proof) = self.fund(wish.holder, wish.sat + 1_000);
        self.draft(wish, expands, former, (funding, proof)).0
    }

    /// A registration backed by a coin that the holder has, and what judging it will find.
    pub fn registration_with(
        &self,
        wish: &Wish<'_>,
        coin: (OutPoint, InclusionProof),
    ) -> (StakeRegistration, Judged) {
        self.draft(wish, None, &[], coin)
    }

    fn draft(
        &self,
        wish: &Wish<'_>,
        expands: Option<StakeId>,
        former: &[&str],
        coin: (OutPoint, InclusionProof),
    ) -> (StakeRegistration, Judged) {
        let old = expands.map(|old| self.stake(&old).contract.coin.outpoint);
        let inputs = old.into_iter().chain([coin.0]).collect();
        self.draft_with(wish, expands, former, coin, inputs)
    }

    fn draft_with(
        &self,
        wish: &Wish<'_>,
        expands: Option<StakeId>,
        former: &[&str],
        (funding, proof): (OutPoint, InclusionProof),
        inputs: Vec<OutPoint>,
    ) -> (StakeRegistration, Judged) {
        let params = self.ledger.params_at(self.ledger.btc_height()).1.clone();
        let sorted = |names: &[&str]| {
            let mut keys: Vec<ProviderKey> = names.iter().map(|name| provider_key(name)).collect();
            keys.sort_unstable();
            keys
        };
        let (providers, former) = (sorted(wish.providers), sorted(former));
        let staker = StakerKey::from(x_only(wish.holder));
        let named = [providers.clone(), former.clone()].concat();
        let keys = StakeKeys::new(staker, named, params.committee().clone()).expect("good keys");
        let lock = RelativeBlocks::new(wish.lock).expect("a lock");
        let value = Amount::from_sat(wish.sat);
        let output = TxOut { value, script_pubkey: Output::staking(&keys, lock).script_pubkey() };
        let staking_tx = transaction(inputs, vec![output]);
        let coin = Coin { outpoint: OutPoint { txid: staking_tx.compute_txid(), vout: 0 }, value };
        let contract = Contract { coin, keys, lock, unbonding_time: params.unbonding_time() };
        let presigned = contract.presign(&params).expect("a large enough stake");
        let sighashes = contract.sighashes(&presigned).expect("matching outputs");
        let witness = bitcoin::Witness::new();
        let mut registration = StakeRegistration {
            staking_tx,
            vout: 0,
            staker,
            providers: providers.clone(),
            former,
            lock,
            presigned,
            slashing_signature: schnorr(wish.holder, &sighashes.slashing),
            unbonding_slashing_signature: schnorr(wish.holder, &sighashes.unbonding_slashing),
            payout: address(wish.holder),
            expands,
            proof: RegistrationProof::Funding(Backing { proof: proof.clone(), vout: funding.vout, witness }),
        };
        let text = self.intent(&registration);
        let witness =
            bip322::sign_p2tr_key_path(&secret(wish.holder), text.as_bytes(), &[7; 32]).expect("signs");
        registration.proof = RegistrationProof::Funding(Backing { proof, vout: funding.vout, witness });
        (registration, Judged { contract, sighashes })
    }

    /// The text that a registration's holder signs.
    fn intent(&self, registration: &StakeRegistration) -> String {
        let chain =
            |key| self.ledger.providers().get(key).map_or_else(ChainId::zero, |found| found.chain.clone());
        let chains: Vec<ChainId> = registration.providers.iter().map(chain).collect();
        registration.intent(self.ledger.network(), &self.ledger.genesis().id(), &chains)
    }

    /// Makes a registration one of a stake that is in the chain already.
    pub fn confirmed(&self, holder: &str, mut registration: StakeRegistration) -> StakeRegistration {
        let message = intent_message(&self.ledger.contexts().intent, &self.intent(&registration));
        let (inclusion, signature) = (self.proof(&registration.staking_tx), schnorr(holder, &message));
        registration.proof = RegistrationProof::Confirmed(ConfirmedStake { inclusion, signature });
        registration
    }

    /// Consent of a committee member to an expansion.
    pub fn consent(&self, member: &str, new: &StakeId) -> Result<Message, Rejected> {
        let signature = schnorr(member, &self.ledger.expansion_sighash(new)?);
        Ok(Message::Consent(ExpansionConsent { stake: *new, member: x_only(member).into(), signature }))
    }

    /// A committee member's refusal of a stake.
    pub fn refusal(&self, member: &str, stake: &StakeId, reason: &str) -> Message {
        let message = covenant::refusal_message(&self.ledger.contexts().covenant, stake, reason);
        let refusal = Refusal { reason: reason.to_owned(), signature: schnorr(member, &message) };
        let verdict = Verdict::Refused(refusal);
        Message::Answer(CovenantAnswer { stake: *stake, member: x_only(member).into(), verdict })
    }

    /// A committee member's signatures on a stake.
    pub fn answer(&self, member: &str, stake: &Stake) -> Message {
        answer(member, &stake.id, &stake.contract, &stake.sighashes)
    }

    /// A quorum of the committee signs.
    pub fn sign_quorum(&mut self, id: &StakeId) {
        for member in &COVENANT[..3] {
            let answer = self.answer(member, self.stake(id));
            self.send(&answer).expect("a good answer");
        }
    }

    /// Mines the staking transaction and tells the ledger.
    pub fn include(&mut self, id: &StakeId, tx: &Transaction) {
        self.mempool.push(tx.clone());
        self.mine(1);
        let proof = self.proof(tx);
        self.send(&Message::Included(StakeIncluded { stake: *id, proof })).expect("a good proof");
    }

    /// Mines a transaction that spends an output of a stake and tells the ledger.
    pub fn spend(&mut self, id: &StakeId, outpoint: OutPoint, tx: &Transaction) -> Result<Hash32, Rejected> {
        self.mempool.push(tx.clone());
        self.mine(1);
        let proof = self.proof(tx);
        self.send(&Message::Spent(OutputSpent { stake: *id, outpoint, proof }))
    }

    /// From wish to power: registers, signs, mines, and waits for depth k.
    pub fn active_stake(&mut self, wish: &Wish<'_>) -> StakeId {
        let (id, tx) = self.register_stake(wish);
        self.sign_quorum(&id);
        self.include(&id, &tx);
        let k = self.stake(&id).k;
        self.mine(k);
        assert_eq!(self.stake(&id).state, StakeState::Active);
        id
    }

    /// Mines the transactions of signed stakes into one block, tells the ledger, and waits for depth k.
    pub fn bring_to_power(&mut self, stakes: &[(StakeId, Transaction)]) {
        self.mempool.extend(stakes.iter().map(|(_, tx)| tx.clone()));
        self.mine(1);
        for (id, tx) in stakes {
            let proof = self.proof(tx);
            self.send(&Message::Included(StakeIncluded { stake: *id, proof })).expect("a good proof");
        }
        let k = stakes.first().map_or(0, |(id, _)| self.stake(id).k);
        self.mine(k);
        assert!(stakes.iter().all(|(id, _)| self.stake(id).state == StakeState::Active));
    }

    /// A stake by its id.
    pub fn stake(&self, id: &StakeId) -> &Stake {
        self.ledger.stakes().find(id).expect("a registered stake").1
    }
}

/// A committee member's signatures on a stake with this contract.
pub fn answer(member: &str, stake: &StakeId, contract: &Contract, sighashes: &Sighashes) -> Message {
    let secret = pair(member);
    let adaptors = |sighash: &[u8; 32]| {
        let sign = |key: &ProviderKey| adaptor::sign(&secret, &key.point(), sighash, &[9; 32]);
        contract.keys.providers().iter().map(sign).collect::<Vec<_>>()
    };
    let signatures = StakeSignatures {
        unbonding: schnorr(member, &sighashes.unbonding),
        slashing: adaptors(&sighashes.slashing),
        unbonding_slashing: adaptors(&sighashes.unbonding_slashing),
    };
    Message::Answer(CovenantAnswer {
        stake: *stake,
        member: x_only(member).into(),
        verdict: Verdict::Signed(Box::new(signatures)),
    })
}

/// The unbonding transaction of a stake of a named holder, with the signatures of holder and committee.
pub fn unbonding(stake: &Stake, holder: &str) -> Transaction {
    let signature = schnorr(holder, &stake.sighashes.unbonding);
    let committee = stake.signatures.iter().map(|(member, own)| (*member, own.unbonding)).collect();
    let mut tx = stake.presigned.unbonding.clone();
    let (output, keys) = (stake.contract.output(), &stake.contract.keys);
    tx.input[0].witness = witness::unbonding(&output, keys, &signature, &committee).expect("a quorum");
    tx
}
