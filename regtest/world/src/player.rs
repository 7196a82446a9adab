//! Plays a history against a world and a model, and compares them after every message.

mod anchors;
mod finality;
pub mod model;
pub mod seen;
pub mod sets;

use crate::{COVENANT, Wish, World, leaked_key, provider_key, transaction};
use anchors::Anchored;
use bitcoin::{OutPoint, Sequence, Transaction, TxOut, Txid};
use model::{Chain, K, Known, Model, Past, QUORUM};
use palisade_hub::ledger::{Ledger, Rejected};
use palisade_protocol::context::{ChainId, Terms};
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::message::{Message, OutputSpent, StakeIncluded};
use palisade_protocol::registration::{RegistrationProof, StakeRegistration};
use palisade_protocol::stake::StakeId;
use seen::{Case, Moment, Seen};
use sets::Sets;
use std::collections::BTreeSet;

const NAMES: [&str; 5] = ["anna", "bert", "carl", "dev anna", "dev bert"];
/// The sets of providers that a stake may be for.
const CHOICES: [&[&str]; 6] =
    [&["anna"], &["bert"], &["carl"], &["anna", "dev anna"], &["bert", "dev anna"], &["anna", "dev bert"]];
const LOCKS: [u16; 3] = [300, 330, 600];
const EPOCHS: u64 = 25;
const MINIMUM: u64 = 100_000;
/// The other chain, and the epochs for which each of its keys has nonces.
const DEV: &str = "dev";
const DEV_TERMS: Terms = Terms { epoch_length: 10, voted_every: 5, minimum_power_sat: MINIMUM };
const DEV_EPOCHS: [(&str, std::ops::Range<u64>); 2] = [("dev anna", 1..30), ("dev bert", 2..40)];

/// One act of somebody. `Forget` is an expansion that names none of those whom the stake named without power; `Overtake` is a reorganisation with so many blocks more, told in one batch: the hub was long without news.
#[derive(Debug, Clone)]
pub enum Act {
    Register { choice: usize, lock: usize, confirmed: bool },
    Stake { choice: usize },
    Again { stake: usize },
    Expand { stake: usize, choice: usize, signed: bool },
    Forget { stake: usize, choice: usize },
    Sign { stake: usize, member: usize },
    Quorum { stake: usize },
    Refuse { stake: usize, member: usize },
    Broadcast { stake: usize, told: bool },
    Spend { stake: usize, how: usize, told: bool },
    Tell { stake: usize },
    TellAll,
    Leak { name: usize },
    Equivocate { name: usize },
    Mine { blocks: u32 },
    Reorg { depth: u32, keep: usize },
    Overtake { depth: u32, keep: usize, more: u32 },
    Anchor { told: bool },
    Resume { accept: usize },
    Close { blocks: u64 },
    Certify { blocks: u64 },
    Wane { leak: bool, accept: usize },
    Nonsense { stake: usize, other: usize },
}

/// A transaction that spends an output of a stake, before it has a witness.
pub struct Spend<'a> {
    pub id: &'a StakeId,
    pub holder: &'a str,
    /// The provider whose key is out.
    pub leaked: Option<&'a str>,
    /// The stake into which it expands.
    pub new: Option<StakeId>,
    pub tx: &'a Transaction,
}

/// Gives a spend its witness.
pub type Signs = fn(&World, &Spend<'_>) -> Transaction;

#[derive(Clone)]
struct Played {
    id: StakeId,
    holder: String,
    registration: StakeRegistration,
}

#[derive(Clone)]
pub struct Player {
    pub world: World,
    pub model: Model,
    pub seen: Seen,
    stakes: Vec<Played>,
    anchors: Vec<Anchored>,
    /// What is told is not in the newest block any more.
    late: bool,
    dev: Sets,
    set_total: Option<u64>,
    accepted: Option<u64>,
    /// Gives transactions their witnesses, where a node must take them too.
    pub signs: Option<Signs>,
}

impl Player {
    /// A world in which sets form.
    pub fn with_sets() -> Self {
        let mut player = Self::without_sets();
        let world = &mut player.world;
        for name in &NAMES[..3] {
            world.commit(&ChainId::zero(), name, 1..EPOCHS);
        }
        DEV_EPOCHS.into_iter().for_each(|(name, epochs)| world.commit(&DEV.parse().unwrap(), name, epochs));
        player.check();
        player
    }

    /// A world in which nobody has nonces, so that no set does ever form, however long its hub goes on.
    pub fn without_sets() -> Self {
        let mut world = World::new(MINIMUM);
        world.mine(12);
        let dev: ChainId = DEV.parse().unwrap();
        world.register_chain(&dev, DEV_TERMS);
        for name in NAMES {
            let chain = if name.starts_with("dev") { &dev } else { &ChainId::zero() };
            world.register_provider(chain, name);
        }
        let sets = Sets::new(DEV_TERMS.minimum_power_sat, DEV_TERMS.epoch_length, DEV_TERMS.voted_every);
        let (model, seen) = (Model::default(), Seen::default());
        let (stakes, anchors) = (Vec::new(), Vec::new());
        let (late, set_total, accepted, signs) = (false, None, None, None);
        Self { world, model, seen, stakes, anchors, late, dev: sets, set_total, accepted, signs }
    }

    pub fn play(&mut self, act: &Act) {
        match *act {
            Act::Register { choice, lock, confirmed } => self.register(choice, lock, confirmed),
            Act::Stake { choice } => self.stake(choice),
            Act::Mine { blocks } => {
                self.world.mine(blocks);
                self.check();
            }
            Act::Reorg { depth, keep } => self.reorg(depth, keep, 0),
            Act::Overtake { depth, keep, more } => self.reorg(depth, keep, more),
            Act::Anchor { told } => self.anchor(told),
            Act::Leak { name } => self.leak(NAMES[name % NAMES.len()]),
            Act::Equivocate { name } => self.equivocate(NAMES[name % NAMES.len()]),
            Act::Resume { accept } => self.resume(accept),
            Act::Close { blocks } => (0..blocks).for_each(|_| self.close()),
            Act::Certify { blocks } => (0..blocks).for_each(|_| self.certify()),
            Act::TellAll => {
                (0..self.stakes.len()).for_each(|i| self.tell_facts(i));
                self.tell_anchors();
            }
            _ if self.stakes.is_empty() => {}
            Act::Wane { leak, accept } => self.wane(leak, accept),
            Act::Again { stake } => self.again(stake % self.stakes.len()),
            Act::Expand { stake, choice, signed } => {
                self.expand(stake % self.stakes.len(), choice, signed, true);
            }
            Act::Forget { stake, choice } => self.expand(stake % self.stakes.len(), choice, true, false),
            Act::Sign { stake, member } => self.answer(stake % self.stakes.len(), member % 5, true),
            Act::Refuse { stake, member } => self.answer(stake % self.stakes.len(), member % 5, false),
            Act::Quorum { stake } => {
                (0..3).for_each(|member| self.answer(stake % self.stakes.len(), member, true))
            }
            Act::Broadcast { stake, told } => self.broadcast(stake % self.stakes.len(), told),
            Act::Spend { stake, how, told } => self.spend(stake % self.stakes.len(), how, told),
            Act::Tell { stake } => self.tell_facts(stake % self.stakes.len()),
            Act::Nonsense { stake, other } => self.nonsense(stake % self.stakes.len(), other),
        }
    }

    /// Sends a message; if it is refused, nothing may have changed, and else the root shows it.
    fn tell(&mut self, message: &Message) -> Result<Hash32, Rejected> {
        let mut before = self.world.ledger.clone();
        let answer = self.world.send(message);
        let mut after = self.world.ledger.clone();
        if answer.is_ok() {
            assert_ne!(before.finish_block().0.state_root, after.finish_block().0.state_root, "{message:?}");
        } else {
            assert_eq!(before.tree().root(), after.tree().root(), "{answer:?}");
            assert_eq!(before.finish_block().0, after.finish_block().0, "{answer:?}");
            assert_eq!(before.tree().root(), after.tree().root(), "{answer:?}");
        }
        answer
    }

    /// The ledger says what the model says.
    pub fn check(&mut self) {
        let chain = Chain::read(&self.world.chain);
        self.model.look(&chain);
        self.note(&chain);
        self.check_anchors(&chain);
        let ledger = &self.world.ledger;
        assert_eq!(ledger.breaker().is_some(), self.model.tripped, "breaker {:?}", ledger.breaker());
        for (i, known) in self.model.stakes.iter().enumerate() {
            let stake = ledger.stakes().get(i).expect("registered");
            assert_eq!(Some(stake.state), known.now.state, "stake {i}: {stake:#?} {known:#?}");
        }
        let power = self.model.power();
        for provider in ledger.providers().iter() {
            let expected = power.get(&provider.key).copied().unwrap_or(0);
            assert_eq!(provider.power.to_sat(), expected, "{} {:#?}", provider.operator, self.model.stakes);
        }
        let booked = (0..ledger.stakes().len()).flat_map(|i| ledger.stakes().contribution(i));
        assert_eq!(booked.map(|(_, amount)| amount.to_sat()).sum::<u64>(), power.values().sum::<u64>());
    }

    /// Counts what this moment came to.
    fn note(&mut self, chain: &Chain) {
        let chains = self.world.ledger.chains();
        let in_set = |key: &ProviderKey| {
            let is_zero = NAMES[..3].iter().any(|name| provider_key(name) == *key);
            let (_, fixed) = chains[usize::from(!is_zero)].newest()?;
            Some(fixed.set.find(key).is_some())
        };
        self.seen.look(&self.model, &Moment { tip: chain.tip(), late: self.late, in_set: &in_set });
    }

    fn register(&mut self, choice: usize, lock: usize, confirmed: bool) {
        let providers = CHOICES[choice % CHOICES.len()];
        let holder = format!("holder {}", self.stakes.len());
        let sat = 100_000 + 1_000 * self.stakes.len() as u64;
        let wish = Wish { holder: &holder, sat, providers, lock: LOCKS[lock % LOCKS.len()] };
        let mut registration = self.world.registration(&wish);
        self.check();
        if confirmed {
            self.world.mempool.push(registration.staking_tx.clone());
            self.world.mine(1);
            self.check();
            registration = self.world.confirmed(&holder, registration);
        }
        let exposed = providers.iter().any(|name| self.model.exposed.contains(&provider_key(name)));
        assert_eq!(self.send_registration(holder, registration).is_ok(), !exposed);
    }

    /// A stake to which nothing happens on its way to power.
    fn stake(&mut self, choice: usize) {
        let before = self.stakes.len();
        self.register(choice, 2, false);
        if self.stakes.len() > before {
            self.play(&Act::Quorum { stake: before });
            self.play(&Act::Broadcast { stake: before, told: true });
            self.play(&Act::Mine { blocks: K });
        }
    }

    /// A registration of the same stake once more, as one that is on Bitcoin: good only after a lapse.
    fn again(&mut self, i: usize) {
        let Played { holder, registration, .. } = &self.stakes[i];
        if self.height_of(&registration.staking_tx).is_none() || registration.expands.is_some() {
            return;
        }
        let (holder, registration) = (holder.clone(), self.world.confirmed(holder, registration.clone()));
        let _ = self.send_registration(holder, registration);
    }

    fn send_registration(&mut self, holder: String, registration: StakeRegistration) -> Result<(), Rejected> {
        let id = StakeId(self.tell(&Message::Stake(Box::new(registration.clone())))?);
        let tip = self.world.btc_height();
        let presigned = &registration.presigned;
        let confirmed = matches!(registration.proof, RegistrationProof::Confirmed(_));
        let outpoint = registration.outpoint();
        self.model.stakes.push(Known {
            value: registration.staking_tx.output[0].value.to_sat(),
            providers: registration.providers.clone(),
            former: registration.former.clone(),
            lock: registration.lock.get().into(),
            outpoint,
            unbonding: presigned.unbonding.compute_txid(),
            slashing: presigned.slashing.compute_txid(),
            unbonding_slashing: presigned.unbonding_slashing.compute_txid(),
            expands: registration
                .expands
                .and_then(|old| self.stakes.iter().rposition(|stake| stake.id == old)),
            lapses_at: (!confirmed).then_some(tip + 60),
            signed: BTreeSet::new(),
            refused: BTreeSet::new(),
            past: if confirmed { Past::confirmed(tip) } else { Past::default() },
            now: Default::default(),
        });
        if confirmed {
            self.note_proof(&registration.staking_tx);
        }
        self.stakes.push(Played { id, holder, registration });
        self.check();
        Ok(())
    }

    fn expand(&mut self, i: usize, choice: usize, signed: bool, remembers: bool) {
        let (id, holder) = (self.stakes[i].id, self.stakes[i].holder.clone());
        let providers = CHOICES[choice % CHOICES.len()];
        let old = &self.stakes[i].registration;
        let name_of = |key: &ProviderKey| NAMES.into_iter().find(|name| provider_key(name) == *key).unwrap();
        let former = old.former.iter().filter(|_| remembers);
        let named = old.providers.iter().chain(former).map(name_of);
        let former: Vec<_> = named.filter(|name| !providers.contains(name)).collect();
        let sat = old.staking_tx.output[0].value.to_sat() + 1_000 * (self.stakes.len() as u64);
        let wish = Wish { holder: &holder, sat, providers, lock: 600 };
        let registration = self.world.expansion(&id, &wish, &former);
        self.check();
        if self.send_registration(holder, registration).is_err() || !signed {
            return;
        }
        let new = self.stakes.len() - 1;
        (0..3).for_each(|member| self.answer(new, member, true));
        for member in &COVENANT[..3] {
            let consent = self.world.consent(member, &self.stakes[new].id).unwrap();
            self.tell(&consent).unwrap();
            self.check();
            assert!(self.tell(&consent).is_err());
        }
    }

    fn answer(&mut self, i: usize, member: usize, signs: bool) {
        let (id, name) = (self.stakes[i].id, COVENANT[member]);
        let message = match signs {
            true => self.world.answer(name, self.world.stake(&id)),
            false => self.world.refusal(name, &id, "no"),
        };
        if self.tell(&message).is_ok() {
            let known = &mut self.model.stakes[i];
            if signs {
                known.refused.remove(&member);
                let beyond = known.signed.len() >= QUORUM && !known.signed.contains(&member);
                known.signed.insert(member);
                self.seen.note_if(beyond, Case::BeyondQuorum);
            } else {
                known.refused.insert(member);
            }
        }
        self.check();
    }

    fn height_of(&self, tx: &Transaction) -> Option<u32> {
        Chain::read(&self.world.chain).at.get(&tx.compute_txid()).copied()
    }

    /// Mines a transaction if its inputs that are ours are there and unspent.
    fn mine_transaction(&mut self, tx: &Transaction) -> bool {
        let chain = Chain::read(&self.world.chain);
        let unspent = tx.input.iter().all(|input| !chain.spenders.contains_key(&input.previous_output));
        let ours = |outpoint: &OutPoint| {
            let made = |stake: &Played| stake.registration.outpoint() == *outpoint;
            self.stakes.iter().any(made)
        };
        let there = tx.input.iter().map(|input| input.previous_output).filter(ours);
        let there = there.into_iter().all(|outpoint| chain.at.contains_key(&outpoint.txid));
        if unspent && there {
            let tx = self.signs.map_or_else(|| tx.clone(), |signs| self.signed(tx, signs));
            self.world.mempool.push(tx);
            self.world.mine(1);
            self.check();
        }
        unspent && there
    }

    /// A transaction that spends an output of a stake, with the witness of that.
    fn signed(&self, tx: &Transaction, signs: Signs) -> Transaction {
        let spent: BTreeSet<Txid> = tx.input.iter().map(|input| input.previous_output.txid).collect();
        let of = |stake: &&Played| {
            let unbonding = stake.registration.presigned.unbonding.compute_txid();
            spent.contains(&stake.registration.outpoint().txid) || spent.contains(&unbonding)
        };
        let Some(Played { id, holder, .. }) = self.stakes.iter().find(of) else { return tx.clone() };
        let leaked = NAMES.into_iter().find(|name| self.model.exposed.contains(&provider_key(name)));
        let new = self.stakes.iter().find(|new| new.registration.outpoint().txid == tx.compute_txid());
        signs(&self.world, &Spend { id, holder, leaked, new: new.map(|new| new.id), tx })
    }

    fn broadcast(&mut self, i: usize, told: bool) {
        let tx = self.stakes[i].registration.staking_tx.clone();
        if self.mine_transaction(&tx) && told {
            self.tell_facts(i);
        }
    }

    fn spend(&mut self, i: usize, how: usize, told: bool) {
        let registration = &self.stakes[i].registration;
        let presigned = &registration.presigned;
        let (stake, unbonded) =
            (registration.outpoint(), OutPoint { txid: presigned.unbonding.compute_txid(), vout: 0 });
        let tip = self.world.btc_height();
        let aged = |from: &Transaction, lock: u16| {
            self.height_of(from).is_some_and(|height| tip + 1 >= height + u32::from(lock))
        };
        let lock = registration.lock.get();
        let tx = match how % 7 {
            0 | 1 => presigned.unbonding.clone(),
            2 => presigned.slashing.clone(),
            3 if aged(&registration.staking_tx, lock) => alone(stake, Sequence::from_height(lock)),
            4 if aged(&presigned.unbonding, 244) => alone(unbonded, Sequence::from_height(244)),
            5 if self.height_of(&presigned.unbonding).is_some() => presigned.unbonding_slashing.clone(),
            6 => alone(stake, Sequence::MAX),
            _ => return,
        };
        if self.mine_transaction(&tx) && told {
            self.tell_facts(i);
        }
    }

    /// Tells the ledger what the chain shows of a stake. What it knows it refuses.
    fn tell_facts(&mut self, i: usize) {
        let Played { id, registration, .. } = &self.stakes[i];
        let (id, staking, stake) = (*id, registration.staking_tx.clone(), registration.outpoint());
        let unbonded = OutPoint { txid: registration.presigned.unbonding.compute_txid(), vout: 0 };
        let chain = Chain::read(&self.world.chain);
        if chain.at.contains_key(&stake.txid) {
            let proof = self.world.proof(&staking);
            self.tell_proof(&staking, &Message::Included(StakeIncluded { stake: id, proof }));
        }
        for outpoint in [stake, unbonded] {
            if let Some(tx) = chain.spenders.get(&outpoint) {
                let proof = self.world.proof(tx);
                self.tell_proof(tx, &Message::Spent(OutputSpent { stake: id, outpoint, proof }));
            }
        }
    }

    fn tell_proof(&mut self, tx: &Transaction, message: &Message) {
        if self.tell(message).is_ok() {
            self.note_proof(tx);
            self.late = self.height_of(tx) != Some(self.world.btc_height());
        }
        self.check();
        self.late = false;
    }

    fn note_proof(&mut self, tx: &Transaction) {
        let block = self.world.block_hash(self.height_of(tx).expect("it was proven"));
        let tip = self.world.btc_height();
        self.model.prove(tx.compute_txid(), block, tip);
    }

    fn leak(&mut self, name: &str) {
        let news = self.model.exposed.insert(provider_key(name));
        assert_eq!(self.tell(&leaked_key(name, name)).is_ok(), news);
        self.check();
    }

    /// Replaces blocks. Coins of wallets are mined again; of stakes' transactions and of anchors all, the first half, or none.
    fn reorg(&mut self, depth: u32, keep: usize, more: u32) {
        let lost = self.world.chain[self.world.chain.len() - depth as usize..].iter();
        let lost: Vec<_> = lost.flat_map(|block| block.txdata[1..].to_vec()).collect();
        let (ours, mut kept): (Vec<_>, Vec<_>) = lost.iter().cloned().partition(|tx| self.may_go(tx, &lost));
        let count = [ours.len(), ours.len() / 2, 0][keep % 3];
        kept.extend(ours.into_iter().take(count));
        self.world.overtake(depth, &kept, depth + 1 + more).unwrap();
        self.seen.note_if(depth > K, Case::DeepReorg);
        let anchors = self.anchors_gone();
        self.seen.note_if(anchors, Case::AnchorLost);
        self.check();
    }

    /// Whether a transaction is a stake's, or an anchor whose change pays for nothing else that is lost.
    fn may_go(&self, tx: &Transaction, lost: &[Transaction]) -> bool {
        let txid = tx.compute_txid();
        let spends = |tx: &Transaction, of: &[Txid]| {
            tx.input.iter().any(|input| of.contains(&input.previous_output.txid))
        };
        let is_of = |stake: &Played| {
            let own = stake.registration.outpoint().txid;
            let unbonding = stake.registration.presigned.unbonding.compute_txid();
            own == txid || spends(tx, &[own, unbonding])
        };
        let is_anchor = self.anchors.iter().any(|made| made.tx.compute_txid() == txid);
        self.stakes.iter().any(is_of) || is_anchor && !lost.iter().any(|other| spends(other, &[txid]))
    }

    /// What must be refused.
    fn nonsense(&mut self, i: usize, other: usize) {
        let id = self.stakes[i].id;
        let funding = self.world.chain.iter().rev().find_map(|block| block.txdata.get(1)).cloned().unwrap();
        let own = self.stakes[i].registration.staking_tx.clone();
        if funding.compute_txid() != own.compute_txid() {
            let proof = self.world.proof(&funding);
            assert!(
                self.tell(&Message::Included(StakeIncluded { stake: id, proof: proof.clone() })).is_err()
            );
            let outpoint = OutPoint { txid: own.compute_txid(), vout: other as u32 };
            let spends = funding.input.iter().any(|input| input.previous_output == outpoint);
            if !spends {
                assert!(self.tell(&Message::Spent(OutputSpent { stake: id, outpoint, proof })).is_err());
            }
        }
        let registration = self.stakes[i].registration.clone();
        assert!(self.tell(&Message::Stake(Box::new(registration))).is_err());
        let mut answer = self.world.answer(COVENANT[other % 5], self.world.stake(&id));
        if let Message::Answer(answer) = &mut answer {
            answer.stake = StakeId(Hash32([9; 32]));
        }
        assert!(self.tell(&answer).is_err());
        self.check();
    }

    /// The log gives the same state to whoever replays it.
    pub fn check_replay(&mut self) {
        self.close();
        let mut replica = Ledger::new(self.world.ledger.genesis().clone());
        for block in &self.world.log {
            replica.replay(block).unwrap();
        }
        assert_eq!(replica.tree().root(), self.world.ledger.tree().root());
        for (own, other) in self.world.ledger.providers().iter().zip(replica.providers().iter()) {
            assert_eq!((own.key, own.power), (other.key, other.power));
        }
    }
}

/// A spend by the holder alone, or a theft.
fn alone(outpoint: OutPoint, sequence: Sequence) -> Transaction {
    let mut tx = transaction(vec![outpoint], vec![TxOut::minimal_non_dust(bitcoin::ScriptBuf::new())]);
    tx.input[0].sequence = sequence;
    tx
}
