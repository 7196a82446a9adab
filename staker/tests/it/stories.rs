//! Stories of a holder.

use crate::party::{Party, args, open};
use palisade_hub::daemon::exit::Exit;
use palisade_hub::ledger::state::StakeState::*;
use palisade_regtest::world::provider_key;
use palisade_staker::cli::Withdraw;
use palisade_staker::extend::Extend;
use palisade_staker::stake::Stake;
use palisade_staker::summary::Locked;
use palisade_staker::unbond::Unbond;
use palisade_staker::{backup, funds, status};
use std::path::Path;

/// Stakes 0.005 BTC for 200 blocks with provider "anna".
async fn stake(config: &Path, more: &[&str]) -> Result<Locked, palisade_hub::daemon::exit::Failure> {
    let anna = provider_key("anna").to_string();
    let flags = ["--amount", "0.005 BTC", "--provider", &anna, "--lock", "200 blocks", "--yes"];
    let flags: Vec<&str> = flags.into_iter().chain(more.iter().copied()).collect();
    args::<Stake>(&flags).run(&mut open(config)).await
}

async fn withdraw(config: &Path, flags: &[&str]) -> Result<String, palisade_hub::daemon::exit::Failure> {
    Ok(args::<Withdraw>(flags).run(config).await?.txid)
}

#[tokio::test(flavor = "multi_thread")]
async fn coins_are_staked_wait_the_timelock_out_and_come_back() {
    let party = Party::new(&["anna"]).await;
    let config = party.funded("alice", &[400_000, 400_000]).await;
    let balance = funds::balance(&mut open(&config)).await.unwrap();
    assert_eq!((balance.free_sat, balance.reserved_sat), (800_000, 0));

    let locked = stake(&config, &[]).await.unwrap();
    assert!(locked.broadcast);
    let id = locked.id.unwrap();
    party.mine(1).await;
    let early = withdraw(&config, &[&id, "--yes"]).await.unwrap_err();
    assert!(early.to_string().contains("199 blocks"), "{early}");
    party.mine(6).await;
    party.until_state(&id, Active).await;
    let told = status::status(&mut open(&config), Some(&id[..8])).await.unwrap();
    let words = &told.stakes[0].next;
    assert!(words.starts_with("active; can be withdrawn from block"), "{words}");

    // One block early bitcoind refuses, and we before it; then both accept.
    party.mine(192).await;
    let early = withdraw(&config, &[&id, "--yes"]).await.unwrap_err();
    assert!(early.to_string().contains("1 block ") && early.exit() == Exit::NotNow, "{early}");
    party.mine(1).await;
    withdraw(&config, &[&id, "--yes"]).await.unwrap();
    party.mine(1).await;
    party.until_state(&id, Withdrawn).await;
    let balance = funds::balance(&mut open(&config)).await.unwrap();
    assert!((799_000..800_000).contains(&balance.free_sat), "all but fees is back: {}", balance.free_sat);
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_early_needs_no_hub_and_a_backup_is_enough_to_withdraw() {
    let mut party = Party::new(&["anna"]).await;
    let config = party.funded("alice", &[600_000]).await;
    let id = stake(&config, &[]).await.unwrap().id.unwrap();
    party.mine(7).await;
    party.until_state(&id, Active).await;
    let file = party.folder.path().join("alice.backup");
    assert_eq!(backup::write(&open(&config), &file).unwrap().stakes, 1);

    // The hub is gone: another address answers nothing.
    let text = std::fs::read_to_string(&config).unwrap().replace(&party.url, "http://127.0.0.1:1/");
    std::fs::write(&config, text).unwrap();
    let unbonding = args::<Unbond>(&[&id, "--yes"]).run(&mut open(&config)).await.unwrap();
    assert_eq!((unbonding.amount_sat, unbonding.fee_sat), (498_000, 2_000));
    party.node.mine(144).await.unwrap();

    // Everything of the wallet is gone, but the backup and the password.
    std::fs::remove_dir_all(config.parent().unwrap()).unwrap();
    let (rpc, cookie) = (party.node.rpc_url(), party.node.cookie_path());
    let (file, password) = (file.to_str().unwrap(), party.password());
    let flags = [
        "--backup",
        file,
        "--stake",
        &id,
        "--bitcoin",
        &rpc,
        "--cookie",
        cookie.to_str().unwrap(),
        "--password-file",
        password.to_str().unwrap(),
        "--yes",
    ];
    let txid = withdraw(Path::new("/nowhere"), &flags).await.unwrap();
    party.node.mine(1).await.unwrap();
    let mined = party.node.rpc().raw_transaction(txid.parse().unwrap()).await.unwrap().unwrap();
    assert!(mined.mined_in.is_some());
    party.node.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_locked_before_a_quorum_has_signed() {
    let party = Party::new(&["anna"]).await;
    party.signing.send_replace(2);
    let config = party.funded("alice", &[600_000]).await;
    let begun = stake(&config, &["--no-wait"]).await.unwrap();
    assert!(!begun.broadcast);
    let id = begun.id.unwrap();
    let resume =
        async || args::<Stake>(&["--resume", &id, "--no-wait"]).run(&mut open(&config)).await.unwrap();
    assert!(!resume().await.broadcast);
    // Its coin is set aside meanwhile.
    let balance = funds::balance(&mut open(&config)).await.unwrap();
    assert_eq!((balance.free_sat, balance.reserved_sat), (0, 600_000));
    party.signing.send_replace(3);
    party.until_state(&id, Verified).await;
    assert!(resume().await.broadcast);
    party.mine(7).await;
    party.until_state(&id, Active).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stake_can_be_broadcast_first_and_registered_after() {
    let party = Party::new(&["anna"]).await;
    let config = party.funded("alice", &[600_000]).await;
    let begun = stake(&config, &["--confirmed", "--no-wait"]).await.unwrap();
    assert!(begun.broadcast && begun.id.is_none());
    let refused = args::<Unbond>(&[&begun.outpoint, "--yes"]).run(&mut open(&config)).await.unwrap_err();
    assert!(refused.to_string().contains("no early exit yet"), "{refused}");
    party.mine(1).await;
    let done = args::<Stake>(&["--resume", &begun.outpoint]).run(&mut open(&config)).await.unwrap();
    let id = done.id.unwrap();
    party.mine(6).await;
    party.until_state(&id, Active).await;
    args::<Unbond>(&[&id, "--yes"]).run(&mut open(&config)).await.unwrap();
    party.mine(1).await;
    party.until_state(&id, Unbonding).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stake_becomes_larger_and_longer_with_another_provider_without_leaving() {
    let party = Party::new(&["anna", "bert"]).await;
    let config = party.funded("alice", &[600_000, 300_000]).await;
    let old = stake(&config, &[]).await.unwrap().id.unwrap();
    party.mine(7).await;
    party.until_state(&old, Active).await;
    let bert = provider_key("bert").to_string();
    let flags = [&old, "--add", "100,000 sat", "--lock", "300 blocks", "--provider", &bert, "--yes"];
    let new = args::<Extend>(&flags).run(&mut open(&config)).await.unwrap();
    assert!(new.broadcast && new.amount_sat == 600_000 && new.lock_blocks == 300);
    let new = new.id.unwrap();
    party.mine(1).await;
    party.until_state(&old, Expanded).await;
    party.mine(6).await;
    party.until_state(&new, Active).await;
    args::<Unbond>(&[&new, "--yes"]).run(&mut open(&config)).await.unwrap();
    party.mine(144).await;
    withdraw(&config, &[&new, "--yes"]).await.unwrap();
    party.mine(1).await;
    party.until_state(&new, Withdrawn).await;
    let gone = withdraw(&config, &[&old, "--yes"]).await.unwrap_err();
    assert!(gone.to_string().contains("not in this stake any more"), "{gone}");
}
