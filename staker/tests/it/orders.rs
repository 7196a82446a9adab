//! Orders of a holder, and how a refusal of one is judged.

use crate::party::{Party, args, open};
use bitcoin::secp256k1::{Message as Digest, SECP256K1};
use bitcoin::{Address, Amount, Transaction};
use palisade_hub::daemon::exit::{Exit, Failure};
use palisade_hub::ledger::stake::Stake as Known;
use palisade_protocol::keys::CovenantKey;
use palisade_protocol::transactions::witness::{self, CovenantSignatures};
use palisade_staker::cli::Withdraw;
use palisade_staker::extend::Extend;
use palisade_staker::funds;
use palisade_staker::stake::Stake;
use palisade_staker::status::{StakeStatus, Status, status};
use palisade_staker::summary::Locked;
use palisade_staker::unbond::{Unbond, Unbonding as Left};
use palisade_world::{COVENANT, keypair, provider_key};
use serde_json::json;
use std::path::Path;

/// Leaves early.
pub async fn unbond(config: &Path, id: &str) -> Result<Left, Failure> {
    args::<Unbond>(&[id, "--yes"]).run(&mut open(config)).await
}

/// Takes a stake into another.
pub async fn extend(config: &Path, flags: &[&str]) -> Result<Locked, Failure> {
    args::<Extend>(flags).run(&mut open(config)).await
}

/// Goes on with what was begun.
pub async fn resume(config: &Path, id: &str) -> Result<Locked, Failure> {
    args::<Stake>(&["--resume", id, "--yes"]).run(&mut open(config)).await
}

/// How all stakes stand.
pub async fn all(config: &Path) -> Status {
    status(&mut open(config), None).await.unwrap()
}

/// How one stands.
pub async fn one(config: &Path, id: &str) -> StakeStatus {
    status(&mut open(config), Some(id)).await.unwrap().stakes.remove(0)
}

/// Stakes 0.005 BTC for 300 blocks with provider "anna".
pub async fn stake(config: &Path, more: &[&str]) -> Result<Locked, Failure> {
    let anna = provider_key("anna").to_string();
    let flags = ["--amount", "0.005 BTC", "--provider", &anna, "--lock", "300 blocks", "--yes"];
    let flags: Vec<&str> = flags.into_iter().chain(more.iter().copied()).collect();
    args::<Stake>(&flags).run(&mut open(config)).await
}

/// Takes out what can be taken; its transaction.
pub async fn withdraw(config: &Path, flags: &[&str]) -> Result<String, Failure> {
    Ok(args::<Withdraw>(flags).run(config).await?.txid)
}

/// Fails unless an order was refused with exactly this exit code and all these words.
pub fn check_refused<T>(outcome: Result<T, Failure>, exit: Exit, words: &[&str]) {
    let refused = outcome.err().expect("a refusal");
    let said = refused.to_string();
    assert!(words.iter().all(|part| said.contains(part)), "{words:?} in: {said}");
    assert_eq!(refused.exit(), exit, "{said}");
}

/// Fails unless programs are told which transaction it is about, and how deep it is, or that it waits.
pub fn check_told(refused: &Failure, txid: &str, depth: Option<u32>) {
    let said = refused.to_json();
    assert_eq!((&said["txid"], &said["depth"]), (&json!(txid), &json!(depth)), "{said}");
    assert_eq!(said["height"].is_null(), depth.is_none(), "{said}");
}

/// Sends one more coin to a wallet.
pub async fn fund(party: &Party, config: &Path, sat: u64) {
    let address: Address<_> = funds::address(&mut open(config)).unwrap().address.parse().unwrap();
    party.node.fund(&address.assume_checked(), Amount::from_sat(sat)).await.unwrap();
    party.mine(1).await;
}

/// The slashing of a stake, or of its unbonding output, signed by everybody whose key is known here.
pub fn slashing(stake: &Known, of_unbonding: bool) -> Transaction {
    let (mut tx, hash, output, own) = match of_unbonding {
        false => (
            stake.presigned.slashing.clone(),
            stake.sighashes.slashing,
            stake.contract.output(),
            stake.slashing_signatures[0],
        ),
        true => (
            stake.presigned.unbonding_slashing.clone(),
            stake.sighashes.unbonding_slashing,
            stake.contract.unbonding_output(),
            stake.slashing_signatures[1],
        ),
    };
    let sign = |name: &str| SECP256K1.sign_schnorr(&Digest::from_digest(hash), &keypair(name));
    let member = |name: &&str| (CovenantKey::from(keypair(name).x_only_public_key().0), sign(name));
    let covenant: CovenantSignatures = COVENANT[..3].iter().map(member).collect();
    let provider = (provider_key("anna"), &sign("anna"));
    let keys = &stake.contract.keys;
    tx.input[0].witness = witness::slashing(&output, keys, &own, provider, &covenant).unwrap();
    tx
}
