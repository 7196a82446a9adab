//! A holder with one stake, made as the wallet makes it, and the files that the wallet writes.

use crate::process::PASSWORD;
use crate::{scratch, texts};
use bitcoin::secp256k1::{Keypair, SECP256K1};
use bitcoin::{Address, Amount, Network, OutPoint, ScriptBuf, TxOut};
use palisade_hub::daemon::keyfile::{self, KdfCost, KeyLabel};
use palisade_hub::daemon::password::Password;
use palisade_hub::daemon::secret::Secret;
use palisade_protocol::context::ChainId;
use palisade_protocol::keys::CovenantKey;
use palisade_protocol::outputs::Output;
use palisade_protocol::scripts::StakeKeys;
use palisade_protocol::stake::Contract;
use palisade_protocol::transactions::Coin;
use palisade_protocol::units::RelativeBlocks;
use palisade_staker::book::Book;
use palisade_staker::finish::bytes_of;
use palisade_staker::journal::Journal;
use palisade_staker::keys::{Branch, KEY_PURPOSE, Keys, staker_key};
use palisade_staker::record::{Origin, StakeRecord};
use palisade_staker::register::{self, BackingCoin, Terms};
use palisade_world::{COVENANT, World, keypair, provider_key, schnorr, transaction};
use rand::rngs::OsRng;
use std::sync::LazyLock;

const SEED: [u8; 32] = [7; 32];

fn keys() -> &'static Keys {
    static KEYS: LazyLock<Keys> =
        LazyLock::new(|| Keys::new(&Secret::new(SEED), Network::Regtest).expect("keys"));
    &KEYS
}

pub(super) fn key() -> Keypair {
    static KEY: LazyLock<Keypair> = LazyLock::new(|| *keys().staking(0).expect("a key"));
    *KEY
}

/// Where the holder's coins come from and go to.
pub(super) fn script() -> ScriptBuf {
    static SCRIPT: LazyLock<ScriptBuf> = LazyLock::new(|| {
        let secret = keys().coin_key(Branch::Receive, 0).expect("a key");
        ScriptBuf::new_p2tr(SECP256K1, secret.x_only_public_key(SECP256K1).0, None)
    });
    SCRIPT.clone()
}

pub(super) fn address() -> String {
    Address::from_script(&script(), Network::Regtest).expect("an address").to_string()
}

pub(super) fn provider() -> String {
    provider_key("anna").to_string()
}

/// A stake with the signatures of a quorum.
fn record() -> (World, StakeRecord) {
    let mut world = World::new(1_000_000);
    world.mine(1);
    world.register_provider(&ChainId::zero(), "anna");
    let paid = world.pay(TxOut { value: Amount::from_sat(501_000), script_pubkey: script() });
    world.mine(1);
    let funding = OutPoint { txid: paid.compute_txid(), vout: 0 };
    let params = world.ledger.params_at(world.ledger.btc_height()).1;
    let chosen = register::choose(&world.ledger, &[provider_key("anna")]).expect("a provider");
    let stake_keys = StakeKeys::new(staker_key(&key()), chosen.keys.clone(), params.committee().clone());
    let stake_keys = stake_keys.expect("good keys");
    let (lock, value) = (RelativeBlocks::new(300).expect("a lock"), Amount::from_sat(500_000));
    let output = TxOut { value, script_pubkey: Output::staking(&stake_keys, lock).script_pubkey() };
    let staking_tx = transaction(vec![funding], vec![output]);
    let coin = Coin { outpoint: OutPoint { txid: staking_tx.compute_txid(), vout: 0 }, value };
    let contract = Contract { coin, keys: stake_keys, lock, unbonding_time: params.unbonding_time() };
    let presigned = contract.presign(params).expect("a large enough stake");
    let (staking_tx, presigned, payout) = (&staking_tx, &presigned, &script());
    let (contract, chosen) = (&contract, &chosen);
    let terms = Terms { staking_tx, contract, presigned, chosen, former: &[], payout, expands: None };
    let secret = keys().coin_key(Branch::Receive, 0).expect("a key");
    let backing = BackingCoin { proof: world.proof(&paid), vout: 0, secret: &secret };
    let (registration, id) = register::before(&terms, &key(), backing, &world.ledger).expect("good terms");
    let origin = Origin { key_index: 0, staking_tx, providers: &chosen.keys, former: &[], expands: None };
    let mut record = StakeRecord::new(contract, origin);
    (record.id, record.presigned) = (Some(id), Some(presigned.clone().into()));
    record.registration = Some(bytes_of(registration));
    let unbonding = contract.sighashes(presigned).expect("matching outputs").unbonding;
    for name in &COVENANT[..3] {
        let member = CovenantKey::from(keypair(name).x_only_public_key().0);
        record.keep(member, schnorr(name, &unbonding));
    }
    (world, record)
}

/// The book, as the wallet writes it.
pub(super) fn book() -> Vec<u8> {
    scratch::written("book.json", |path| {
        let mut book = Book::create(path).expect("a book");
        book.take_key().expect("a place");
        book.put(record().1).expect("a place");
        book.note_backup().expect("a place");
    })
}

/// A backup: the parts that the wallet puts together, with the names that it gives them.
pub(super) fn backup() -> Vec<u8> {
    let (world, record) = record();
    let key_file = scratch::written("key", |path| {
        let label = KeyLabel::new(KEY_PURPOSE, &keys().public_id()).expect("a label");
        let password = Password::new(PASSWORD.to_owned()).expect("a password");
        keyfile::create(path, &label, &Secret::new(SEED), &password, KdfCost::Regtest, &mut OsRng)
            .expect("a key file");
    });
    let key_file: serde_json::Value = serde_json::from_slice(&key_file).expect("JSON");
    texts::json(&serde_json::json!({
        "format": "palisade-backup",
        "version": 1,
        "genesis": world.ledger.genesis().document(),
        "network": "regtest",
        "key_file": key_file,
        "stakes": [record],
    }))
}

/// The wallet's memory after its first blocks.
pub(super) fn journal() -> Vec<u8> {
    let [receive, change] = keys().descriptors().expect("descriptors");
    let mut wallet =
        bdk_wallet::Wallet::create(receive, change).network(Network::Regtest).create_wallet_no_persist();
    let wallet = wallet.as_mut().expect("a wallet");
    wallet.reveal_next_address(bdk_wallet::KeychainKind::External);
    let first = wallet.take_staged().expect("something new");
    scratch::written("wallet.jsonl", |path| {
        let (mut journal, _) = Journal::open(path).expect("a file");
        journal.append(&first).expect("a place");
        wallet.reveal_next_address(bdk_wallet::KeychainKind::External);
        journal.append(&wallet.take_staged().expect("something new")).expect("a place");
    })
}
