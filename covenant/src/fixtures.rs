//! What the tests share: a small world with providers, and a member of its committee.

use crate::audit::Audit;
use crate::judge::Policy;
use crate::member::Member;
use crate::sign::Signer;
use bitcoin::TxIn;
use palisade_protocol::bip322;
use palisade_protocol::context::{ChainId, Terms};
use palisade_protocol::governance::{Action, NewChain};
use palisade_protocol::hash::Hash32;
use palisade_protocol::registration::{RegistrationProof, StakeRegistration};
use palisade_protocol::scripts::StakeKeys;
use palisade_protocol::stake::{Contract, StakeId};
use palisade_protocol::transactions::Coin;
use palisade_protocol::units::Epoch;
use palisade_world::{COVENANT, Wish, World, pair, secret};
use std::path::Path;

/// Names of the providers of chain zero and of another chain.
pub const PROVIDERS: [&str; 2] = ["anna", "dev anna"];

/// A world with two chains and a provider of each.
pub fn world() -> World {
    let mut world = World::new(1_000_000);
    world.mine(1);
    world.register_provider(&ChainId::zero(), PROVIDERS[0]);
    let id: ChainId = "dev".parse().unwrap();
    let terms = Terms { epoch_length: 50, voted_every: 5, minimum_power_sat: 150_000 };
    let chain = NewChain { id: id.clone(), genesis: Hash32([5; 32]), terms, first_epoch: Epoch(0) };
    world.govern(Action::RegisterChain(chain)).unwrap();
    world.register_provider(&id, PROVIDERS[1]);
    world
}

/// A stake of alice's.
pub fn wish<'a>(sat: u64, providers: &'a [&'a str]) -> Wish<'a> {
    Wish { holder: "alice", sat, providers, lock: 300 }
}

/// A policy that is against nothing.
pub fn anything() -> Policy {
    Policy {
        max_stake_sat: u64::MAX,
        max_window_sat: u64::MAX,
        window_blocks: 10,
        denied_providers: Vec::new(),
        allowed_providers: None,
    }
}

/// The committee's first member, with its audit log in `directory`.
pub fn member(directory: &Path, policy: Policy) -> Member {
    let audit = Audit::open(&directory.join("audit.sqlite")).unwrap();
    Member::new(Signer::new(pair(COVENANT[0])), policy, audit)
}

/// A registration that takes a stake into another one.
pub fn expansion(world: &mut World, old: &StakeId, wish: &Wish<'_>) -> StakeRegistration {
    let mut registration = world.registration(wish);
    let previous_output = world.stake(old).contract.coin.outpoint;
    let sequence = bitcoin::Sequence::MAX;
    registration.staking_tx.input.insert(0, TxIn { previous_output, sequence, ..TxIn::default() });
    registration.expands = Some(*old);
    let params = world.ledger.params_at(world.ledger.btc_height()).1;
    let (committee, unbonding_time) = (params.committee().clone(), params.unbonding_time());
    let keys = StakeKeys::new(registration.staker, registration.providers.clone(), committee).unwrap();
    let value = registration.staking_tx.output[0].value;
    let coin = Coin { outpoint: registration.outpoint(), value };
    let contract = Contract { coin, keys, lock: registration.lock, unbonding_time };
    registration.presigned = contract.presign(params).unwrap();
    sign_slashings(wish.holder, &contract, &mut registration);
    let chain = |key| world.ledger.providers().get(key).unwrap().chain.clone();
    let chains: Vec<ChainId> = registration.providers.iter().map(chain).collect();
    let text = registration.intent(world.ledger.network(), &world.ledger.genesis().id(), &chains);
    if let RegistrationProof::Funding(backing) = &mut registration.proof {
        let signed = bip322::sign_p2tr_key_path(&secret(wish.holder), text.as_bytes(), &[7; 32]);
        backing.witness = signed.unwrap();
    }
    registration
}

/// The holder signs the slashings as they now are, if they can be signed at all.
pub fn sign_slashings(holder: &str, contract: &Contract, registration: &mut StakeRegistration) {
    if let Ok(sighashes) = contract.sighashes(&registration.presigned) {
        let sign = |sighash| pair(holder).sign_bip340(sighash, &[3; 32]);
        registration.slashing_signature = sign(&sighashes.slashing);
        registration.unbonding_slashing_signature = sign(&sighashes.unbonding_slashing);
    }
}
