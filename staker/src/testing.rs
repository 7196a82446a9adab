//! A holder in the world in memory: our own registration of a stake, with our own keys.

use crate::exit;
use crate::keys::{Branch, Keys, staker_key};
use crate::record::{Origin, StakeRecord};
use crate::register::{self, BackingCoin, CannotRegister, Chosen, Terms};
use bitcoin::hashes::Hash as _;
use bitcoin::secp256k1::{Keypair, SECP256K1};
use bitcoin::{Amount, Network, OutPoint, ScriptBuf, Transaction, TxOut, Txid};
use palisade_hub::daemon::secret::Secret;
use palisade_protocol::context::ChainId;
use palisade_protocol::inclusion::InclusionProof;
use palisade_protocol::outputs::Output;
use palisade_protocol::registration::StakeRegistration;
use palisade_protocol::scripts::StakeKeys;
use palisade_protocol::stake::{Contract, Presigned};
use palisade_protocol::transactions::Coin;
use palisade_protocol::units::RelativeBlocks;
use palisade_world::{World, provider_key, transaction};

/// Blocks that the holder's stakes are locked for.
pub(crate) const LOCK: u16 = 300;

/// The holder's keys.
pub(crate) fn keys() -> Keys {
    Keys::new(&Secret::new([7; 32]), Network::Regtest).unwrap()
}

/// The holder's first staking key.
pub(crate) fn key() -> Keypair {
    *keys().staking(0).unwrap()
}

/// Where the holder's coins come from and go to.
pub(crate) fn script() -> ScriptBuf {
    let secret = keys().coin_key(Branch::Receive, 0).unwrap();
    ScriptBuf::new_p2tr(SECP256K1, secret.x_only_public_key(SECP256K1).0, None)
}

/// A world with the provider "anna".
pub(crate) fn world() -> World {
    let mut world = World::new(1_000_000);
    world.mine(1);
    world.register_provider(&ChainId::zero(), "anna");
    world
}

/// A confirmed coin of the holder's: its transaction, and the proof.
pub(crate) fn coin(world: &mut World, sat: u64) -> (OutPoint, InclusionProof) {
    let output = TxOut { value: Amount::from_sat(sat), script_pubkey: script() };
    let source = OutPoint { txid: Txid::from_byte_array([world.btc_height() as u8; 32]), vout: 3 };
    let tx = transaction(vec![source], vec![output]);
    world.mempool.push(tx.clone());
    world.mine(1);
    (OutPoint { txid: tx.compute_txid(), vout: 0 }, world.proof(&tx))
}

/// A stake of 500,000 sat as the wallet makes it: its record, and the transaction that makes it.
pub(crate) fn contract(world: &World, funding: OutPoint) -> (Contract, Transaction) {
    let params = world.ledger.params_at(world.ledger.btc_height()).1;
    let committee = params.committee().clone();
    let stake_keys = StakeKeys::new(staker_key(&key()), vec![provider_key("anna")], committee).unwrap();
    let lock = RelativeBlocks::new(LOCK).unwrap();
    let value = Amount::from_sat(500_000);
    let output = TxOut { value, script_pubkey: Output::staking(&stake_keys, lock).script_pubkey() };
    let tx = transaction(vec![funding], vec![output]);
    let coin = Coin { outpoint: OutPoint { txid: tx.compute_txid(), vout: 0 }, value };
    (Contract { coin, keys: stake_keys, lock, unbonding_time: params.unbonding_time() }, tx)
}

/// What is registered of a stake that expands none.
pub(crate) fn terms<'a>(
    (contract, staking_tx): (&'a Contract, &'a Transaction),
    presigned: &'a Presigned,
    chosen: &'a Chosen,
    payout: &'a ScriptBuf,
) -> Terms<'a> {
    Terms { staking_tx, contract, presigned, chosen, former: &[], payout, expands: None }
}

/// What the wallet would send to the hub, and keep.
pub(crate) fn registration(world: &mut World) -> Result<(StakeRegistration, StakeRecord), CannotRegister> {
    let (funding, proof) = coin(world, 501_000);
    let (contract, staking_tx) = contract(world, funding);
    let params = world.ledger.params_at(world.ledger.btc_height()).1;
    let presigned = contract.presign(params).unwrap();
    exit::prove(&contract, Some(&presigned), &key(), &script()).unwrap();
    let chosen = register::choose(&world.ledger, &[provider_key("anna")]).unwrap();
    let payout = script();
    let terms = terms((&contract, &staking_tx), &presigned, &chosen, &payout);
    let secret = keys().coin_key(Branch::Receive, 0).unwrap();
    let backing = BackingCoin { proof, vout: 0, secret: &secret };
    let (registration, id) = register::before(&terms, &key(), backing, &world.ledger)?;
    let origin =
        Origin { key_index: 0, staking_tx: &staking_tx, providers: &chosen.keys, former: &[], expands: None };
    let mut record = StakeRecord::new(&contract, origin);
    record.id = Some(id);
    record.presigned = Some(presigned.into());
    record.registration = Some(crate::finish::bytes_of(registration.clone()));
    Ok((registration, record))
}

/// Bitcoin Core's own interpreter runs input 0 of a transaction.
pub(crate) fn judge_by_core(tx: &Transaction, spent: &TxOut) {
    try_core(tx, spent).unwrap();
}

/// The same, for what it must refuse.
pub(crate) fn try_core(tx: &Transaction, spent: &TxOut) -> Result<(), bitcoinconsensus::Error> {
    let script = spent.script_pubkey.as_bytes();
    let utxo = bitcoinconsensus::Utxo {
        script_pubkey: script.as_ptr(),
        script_pubkey_len: script.len() as u32,
        value: spent.value.to_sat() as i64,
    };
    let all = bitcoinconsensus::VERIFY_ALL_PRE_TAPROOT | bitcoinconsensus::VERIFY_TAPROOT;
    let bytes = bitcoin::consensus::serialize(tx);
    bitcoinconsensus::verify_with_flags(script, spent.value.to_sat(), &bytes, Some(&[utxo]), 0, all)
}
