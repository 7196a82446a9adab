//! A small world in memory: a Bitcoin chain mined here, a ledger, and every key, for stories that need no process.
//!
//! Real blocks with real proof of work, real transactions and real signatures; only the network is missing. Each method is
//! one act of one party.

use crate::node::blocks;
use bitcoin::hashes::Hash as _;
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::secp256k1::{Keypair, Message as Digest, SECP256K1, SecretKey};
use bitcoin::{Amount, Block, BlockHash, OutPoint, ScriptBuf, Transaction, TxIn, TxOut};
use palisade_hub::init::default_params;
use palisade_hub::ledger::stake::Stake;
use palisade_hub::ledger::state::StakeState;
use palisade_hub::ledger::{Event, Ledger, Rejected};
use palisade_hub::timestamps;
use palisade_protocol::adaptor;
use palisade_protocol::anchor::Anchor;
use palisade_protocol::backing::Backing;
use palisade_protocol::bip322;
use palisade_protocol::block::{Block as HubBlock, HubHeader, MessageBytes};
use palisade_protocol::bls::BlsSecretKey;
use palisade_protocol::checkpoint::{self, CheckpointShare};
use palisade_protocol::context::{ChainId, ChainIdentity, Purpose, Terms};
use palisade_protocol::covenant::{self, CovenantAnswer, Refusal, StakeSignatures, Verdict};
use palisade_protocol::curve::KeyPair;
use palisade_protocol::eots::{self, SecretNonce};
use palisade_protocol::finality::certificate::Certificate;
use palisade_protocol::finality::commitment::{self, Commitment, nonce_tree};
use palisade_protocol::finality::vote::{Ballot, Vote};
use palisade_protocol::genesis::{Genesis, GenesisDocument, HeaderHex, Magic};
use palisade_protocol::governance::{self, Action, GovernanceMessage, GovernanceSignature};
use palisade_protocol::hash::{Hash32, sha256};
use palisade_protocol::inclusion::InclusionProof;
use palisade_protocol::keys::{CovenantKey, GovernanceKey, HubKey, ProviderKey, StakerKey};
use palisade_protocol::message::{ExpansionConsent, Headers, Message, OutputSpent, StakeIncluded};
use palisade_protocol::nonce::{self, NonceSeed};
use palisade_protocol::outputs::Output;
use palisade_protocol::provider::{BlsRegistration, ProviderRegistration};
use palisade_protocol::registration::{
    ConfirmedStake, Judged, RegistrationProof, StakeRegistration, intent_message,
};
use palisade_protocol::scripts::StakeKeys;
use palisade_protocol::stake::{Contract, Sighashes, StakeId};
use palisade_protocol::transactions::Coin;
use palisade_protocol::tree::Tree;
use palisade_protocol::units::{BtcHeight, Epoch, Height, RelativeBlocks};
use std::sync::Arc;

/// A secret named by a word: the same in every run.
pub fn secret(name: &str) -> SecretKey {
    SecretKey::from_slice(&sha256(&[name.as_bytes()]).0).expect("a hash is a scalar")
}

/// The pair of a named secret.
pub fn keypair(name: &str) -> Keypair {
    Keypair::from_secret_key(SECP256K1, &secret(name))
}

/// The pair of a named secret, for EOTS and adaptor signatures.
pub fn pair(name: &str) -> KeyPair {
    KeyPair::from_secret_bytes(&secret(name).secret_bytes()).expect("a scalar")
}

fn x_only(name: &str) -> bitcoin::XOnlyPublicKey {
    keypair(name).x_only_public_key().0
}

/// BIP-340 by a named key, with the randomness that libsecp256k1 derives.
pub fn schnorr(name: &str, message: &[u8; 32]) -> Signature {
    SECP256K1.sign_schnorr(&Digest::from_digest(*message), &keypair(name))
}

/// Committee members of the world.
pub const COVENANT: [&str; 5] = ["covenant 0", "covenant 1", "covenant 2", "covenant 3", "covenant 4"];
const GOVERNANCE: [&str; 3] = ["governance 0", "governance 1", "governance 2"];

/// A provider's key by name: the same name gives the same key.
pub fn provider_key(name: &str) -> ProviderKey {
    x_only(name).into()
}

/// Bitcoin, a ledger on top of it, and everybody's keys.
#[derive(Debug, Clone)]
pub struct World {
    /// The best chain, from the genesis block on.
    pub chain: Vec<Block>,
    /// Transactions for the next block.
    pub mempool: Vec<Transaction>,
    /// The ledger.
    pub ledger: Ledger,
    /// The blocks of the log.
    pub log: Vec<HubBlock>,
    /// Coins that were made elsewhere, such as on a real node: [`World::fund`] takes these first.
    pub coins: Vec<(OutPoint, TxOut, InclusionProof)>,
    pending: Vec<MessageBytes>,
    salt: u64,
}

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
    /// A world whose chain zero opens at `minimum_power_sat`; three of [`COVENANT`] are a quorum.
    pub fn new(minimum_power_sat: u64) -> Self {
        Self::with_committee(minimum_power_sat, &COVENANT, 3)
    }

    /// A world with a committee of these names.
    pub fn with_committee(minimum_power_sat: u64, members: &[&str], quorum: u8) -> Self {
        Self::with(Terms { epoch_length: 20, voted_every: 5, minimum_power_sat }, members, quorum)
    }

    /// A world with these terms of chain zero, and a committee of these names.
    pub fn with(zero: Terms, members: &[&str], quorum: u8) -> Self {
        let block = bitcoin::constants::genesis_block(bitcoin::Network::Regtest);
        let covenant = members.iter().map(|name| CovenantKey::from(x_only(name))).collect();
        let document = GenesisDocument {
            network_magic: Magic(bitcoin::Network::Regtest.magic().to_bytes()),
            base_headers: vec![HeaderHex(block.header)],
            base_height: BtcHeight(0),
            hub_key: HubKey::from(x_only("hub")),
            governance: GOVERNANCE.map(|name| GovernanceKey::from(x_only(name))).to_vec(),
            governance_quorum: 2,
            zero,
            nonce_roots_ahead: 64,
            block_interval_ms: 200,
            params: default_params(bitcoin::Network::Regtest, covenant, quorum).expect("defaults"),
        };
        let genesis = Arc::new(Genesis::new(document).expect("a genesis"));
        let ledger = Ledger::new(genesis);
        Self {
            chain: vec![block],
            mempool: Vec::new(),
            ledger,
            log: Vec::new(),
            coins: Vec::new(),
            pending: Vec::new(),
            salt: 0,
        }
    }

    /// Bitcoin's height.
    pub fn btc_height(&self) -> u32 {
        u32::try_from(self.chain.len() - 1).expect("a short chain")
    }

    /// Mines blocks, the first with what waits, and tells the ledger.
    pub fn mine(&mut self, count: u32) {
        let from = self.chain.len();
        for _ in 0..count {
            let waiting = std::mem::take(&mut self.mempool);
            self.mine_on_top(&waiting);
        }
        let headers = self.chain[from..].iter().map(|block| block.header).collect();
        self.send(&Message::Headers(Headers { headers })).expect("a longer chain");
    }

    fn mine_on_top(&mut self, transactions: &[Transaction]) {
        let headers: Vec<_> = self.chain.iter().map(|block| block.header).collect();
        let parent = *headers.last().expect("a genesis block");
        self.salt += 1;
        let height = u32::try_from(self.chain.len()).expect("a short chain");
        let time = blocks::earliest_time(&headers);
        let script = ScriptBuf::new_p2wpkh(
            &bitcoin::CompressedPublicKey(secret("miner").public_key(SECP256K1)).wpubkey_hash(),
        );
        let salt = self.salt.to_be_bytes();
        self.chain.push(blocks::build(&parent, height, time, &script, salt, transactions));
    }

    /// Replaces the last `depth` blocks by `depth + 1` others that hold `keep`, and tells the ledger in one batch.
    pub fn reorg(&mut self, depth: u32, keep: &[Transaction]) -> Result<Hash32, Rejected> {
        let fork = self.chain.len() - depth as usize;
        self.chain.truncate(fork);
        self.mine_on_top(keep);
        (0..depth).for_each(|_| self.mine_on_top(&[]));
        let headers = self.chain[fork..].iter().map(|block| block.header).collect();
        self.send(&Message::Headers(Headers { headers }))
    }

    /// Applies a message to the block being made.
    pub fn send(&mut self, message: &Message) -> Result<Hash32, Rejected> {
        self.send_bytes(MessageBytes::of(message))
    }

    /// The same for a message's bytes.
    pub fn send_bytes(&mut self, bytes: MessageBytes) -> Result<Hash32, Rejected> {
        let id = self.ledger.apply(&bytes)?;
        self.pending.push(bytes);
        Ok(id)
    }

    /// Closes the block, signs it and adds it to the log.
    pub fn close(&mut self) -> (HubHeader, Vec<Event>) {
        let (header, events) = self.ledger.finish_block();
        let message = HubHeader::signing_message(&self.ledger.contexts().hub, &header.hash());
        let signature = schnorr("hub", &message);
        self.log.push(HubBlock { header, signature, messages: std::mem::take(&mut self.pending) });
        (header, events)
    }

    /// Closes blocks until the next one has this height.
    pub fn close_until(&mut self, height: u64) {
        while self.ledger.next_height() < Height(height) {
            self.close();
        }
    }

    /// Gives a key a confirmed coin on its BIP-86 address. Gives the coin's proof.
    pub fn fund(&mut self, name: &str, sat: u64) -> (OutPoint, TxOut, InclusionProof) {
        self.salt += 1;
        let script_pubkey = ScriptBuf::new_p2tr(SECP256K1, x_only(name), None);
        let output = TxOut { value: Amount::from_sat(sat), script_pubkey };
        if let Some(made) = self.coins.iter().position(|(_, coin, _)| *coin == output) {
            return self.coins.swap_remove(made);
        }
        let source =
            OutPoint { txid: bitcoin::Txid::from_byte_array(sha256(&[&self.salt.to_be_bytes()]).0), vout: 0 };
        let tx = transaction(vec![source], vec![output.clone()]);
        self.mempool.push(tx.clone());
        self.mine(1);
        (OutPoint { txid: tx.compute_txid(), vout: 0 }, output, self.proof(&tx))
    }

    /// Proof of a transaction that is in the chain.
    pub fn proof(&self, tx: &Transaction) -> InclusionProof {
        let txid = tx.compute_txid();
        let found = self.chain.iter().rev().find_map(|block| {
            let index = block.txdata.iter().position(|own| own.compute_txid() == txid)?;
            Some((block, u32::try_from(index).expect("a small block")))
        });
        let (block, index) = found.expect("the transaction is mined");
        InclusionProof::from_block(block, index).expect("a sound block")
    }

    /// The block of the best chain at a height.
    pub fn block_hash(&self, height: u32) -> BlockHash {
        self.chain[height as usize].block_hash()
    }

    /// A chain as signatures see it.
    pub fn identity(&self, chain: &ChainId) -> ChainIdentity {
        self.ledger.chain(chain).expect("a registered chain").identity.clone()
    }

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
        (funding, proof): (OutPoint, InclusionProof),
    ) -> (StakeRegistration, Judged) {
        let old = expands.map(|old| self.stake(&old).contract.coin.outpoint);
        let inputs = old.into_iter().chain([funding]).collect();
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
            payout: ScriptBuf::new_p2tr(SECP256K1, x_only(wish.holder), None),
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

    /// A stake by its id.
    pub fn stake(&self, id: &StakeId) -> &Stake {
        self.ledger.stakes().find(id).expect("a registered stake").1
    }

    /// A decision of two of the three governance members is made.
    pub fn govern(&mut self, action: Action) -> Result<Hash32, Rejected> {
        let decision = self.decision(action);
        self.send(&Message::Governance(decision))
    }

    /// The next decision, signed by two of the three governance members.
    pub fn decision(&self, action: Action) -> GovernanceMessage {
        let sequence = self.ledger.next_decision();
        let message = governance::message(&self.ledger.contexts().governance, sequence, &action);
        let mut signatures: Vec<_> = GOVERNANCE[..2]
            .iter()
            .map(|name| GovernanceSignature { key: x_only(name).into(), signature: schnorr(name, &message) })
            .collect();
        signatures.sort_unstable_by_key(|signature| signature.key);
        GovernanceMessage { sequence, action, signatures }
    }

    /// The nonces of a named provider for an epoch of a chain.
    pub fn nonces(&self, chain: &ChainId, name: &str, epoch: Epoch) -> (Vec<SecretNonce>, Tree) {
        let chain = self.ledger.chain(chain).expect("a registered chain");
        let (first, terms) = (chain.terms.first_height(epoch), chain.terms);
        let seed = NonceSeed::from_bytes(sha256(&[b"seed", name.as_bytes()]).0);
        let nonces: Vec<_> = (0..terms.voted_heights())
            .map(|i| nonce::derive(&pair(name), &seed, &chain.vote, first.plus(i * terms.voted_every)))
            .collect();
        let tree = nonce_tree(nonces.iter().map(SecretNonce::public));
        (nonces, tree)
    }

    /// The commitment of a named provider to an epoch of a chain.
    pub fn commitment(&self, chain: &ChainId, name: &str, epoch: Epoch) -> Message {
        let root = self.nonces(chain, name, epoch).1.root();
        let context = self.ledger.chain(chain).expect("a registered chain").commitment;
        let signature = schnorr(name, &commitment::message(&context, epoch, &root));
        Message::Commitment(Commitment { key: provider_key(name), epoch, root, signature })
    }

    /// Commits for a range of epochs.
    pub fn commit(&mut self, chain: &ChainId, name: &str, epochs: std::ops::Range<u64>) {
        for epoch in epochs {
            let commitment = self.commitment(chain, name, Epoch(epoch));
            self.send(&commitment).expect("a good commitment");
        }
    }

    /// The certificate of a block by the votes of these providers.
    pub fn certificate(&self, chain: &ChainId, names: &[&str], height: Height, block: Hash32) -> Message {
        let own = self.ledger.chain(chain).expect("a registered chain");
        let votes: Vec<Vote> = names.iter().map(|name| self.vote(chain, name, height, block)).collect();
        let ballot = Ballot { context: own.vote, height, block };
        let set = &own.sets[&own.terms.epoch_of(height)].set;
        Message::Certificate(Box::new(Certificate::assemble(ballot, set, &votes)))
    }

    /// Closes blocks up to a height of chain zero; each voted one of an epoch with a set is certified in the block after it.
    pub fn finalise_until(&mut self, names: &[&str], height: u64) {
        while self.ledger.next_height() < Height(height) {
            let (header, _) = self.close();
            let zero = &self.ledger.chains()[0];
            let has_set = zero.sets.contains_key(&zero.terms.epoch_of(header.height));
            if has_set && zero.terms.is_voted(header.height) {
                let certificate = self.certificate(&ChainId::zero(), names, header.height, header.hash());
                self.send(&certificate).expect("a good certificate");
            }
        }
    }

    /// A named provider's share of a header's checkpoint.
    pub fn share(&self, name: &str, epoch: Epoch, header: Hash32) -> CheckpointShare {
        let message = checkpoint::message(&self.ledger.contexts().checkpoint, epoch, &header);
        let signature = bls_secret(name).sign(&message);
        CheckpointShare { epoch, header, key: provider_key(name), signature }
    }

    /// The anchor of a header as the end of an epoch, signed by these providers.
    pub fn anchor(&self, names: &[&str], epoch: Epoch, header: Hash32) -> Anchor {
        let set = &self.ledger.chains()[0].sets[&epoch].set;
        let shares: Vec<_> = names.iter().map(|name| self.share(name, epoch, header)).collect();
        Anchor::assemble(set, header, &shares).expect("somebody signs")
    }

    /// Mines a transaction that carries an anchor, and gives it.
    pub fn mine_anchor(&mut self, anchor: &Anchor) -> Transaction {
        self.salt += 1;
        let txid = bitcoin::Txid::from_byte_array(sha256(&[b"coin", &self.salt.to_be_bytes()]).0);
        let output = TxOut { value: Amount::ZERO, script_pubkey: anchor.script() };
        let tx = transaction(vec![OutPoint { txid, vout: 0 }], vec![output]);
        self.mempool.push(tx.clone());
        self.mine(1);
        tx
    }

    /// Records digests in the block being made, as the hub does.
    pub fn stamp(&mut self, digests: &[Hash32]) {
        let (height, context) = (self.ledger.next_height(), self.ledger.contexts().hub);
        let batch = timestamps::batch(height, digests, &context, &keypair("hub"));
        self.send(&Message::Batch(batch)).expect("a good batch");
    }

    /// The vote of a named provider, honest or not.
    pub fn vote(&self, chain: &ChainId, name: &str, height: Height, block: Hash32) -> Vote {
        let own = self.ledger.chain(chain).expect("a registered chain");
        let (mut nonces, tree) = self.nonces(chain, name, own.terms.epoch_of(height));
        let index = usize::try_from(own.terms.nonce_index(height).expect("a voted height")).expect("few");
        let ballot = Ballot { context: own.vote, height, block };
        let secret = nonces.swap_remove(index);
        let nonce = secret.public();
        let signature = eots::sign(&pair(name), secret, &ballot.message());
        let path = tree.path(index).expect("a leaf");
        Vote { ballot, key: provider_key(name), nonce, signature, path }
    }
}

/// The BLS key of a named provider.
pub fn bls_secret(name: &str) -> BlsSecretKey {
    BlsSecretKey::from_key_material(&sha256(&[b"bls", name.as_bytes()]).0).expect("key material")
}

/// A version-2 transaction without witnesses and locktime.
pub fn transaction(inputs: Vec<OutPoint>, output: Vec<TxOut>) -> Transaction {
    let input =
        |previous_output| TxIn { previous_output, sequence: bitcoin::Sequence::MAX, ..TxIn::default() };
    Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: bitcoin::absolute::LockTime::ZERO,
        input: inputs.into_iter().map(input).collect(),
        output,
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
