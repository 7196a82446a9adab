//! Stories of a holder.

use crate::orders::{check_refused, resume, slashing, stake, withdraw};
use crate::party::{Party, args, open};
use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::{Address, Amount, Network, Transaction};
use palisade_hub::bitcoind::Acceptance;
use palisade_hub::daemon::exit::Exit;
use palisade_hub::daemon::keyfile::read_label;
use palisade_hub::ledger::state::StakeState::*;
use palisade_protocol::stake::StakeId;
use palisade_staker::cli::Withdraw;
use palisade_staker::extend::Extend;
use palisade_staker::init::Init;
use palisade_staker::providers::Named;
use palisade_staker::session::Session;
use palisade_staker::stake::Stake;
use palisade_staker::unbond::Unbond;
use palisade_staker::{backup, funds, status};
use palisade_world::{address, provider_key};
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

#[tokio::test(flavor = "multi_thread")]
async fn coins_are_staked_wait_the_timelock_out_and_come_back() {
    let party = Party::new(&["anna"]).await;
    let config = party.funded("alice", &[400_000, 400_000]).await;
    let balance = funds::balance(&mut open(&config)).await.unwrap();
    assert_eq!((balance.free_sat, balance.reserved_sat), (800_000, 0));
    // A wallet file that is gone, or empty, is made again from the seed.
    let wallet = config.with_file_name("staker-data").join("wallet.jsonl");
    std::fs::remove_file(&wallet).unwrap();
    assert_eq!(funds::balance(&mut open(&config)).await.unwrap().free_sat, 800_000);
    std::fs::write(&wallet, "").unwrap();
    assert_eq!(funds::balance(&mut open(&config)).await.unwrap().free_sat, 800_000);

    let locked = stake(&config, &[]).await.unwrap();
    assert!(locked.broadcast);
    let id = locked.id.unwrap();
    party.mine(1).await;
    let early = withdraw(&config, &[&id, "--yes"]).await.unwrap_err();
    assert!(early.to_string().contains("299 blocks"), "{early}");
    party.mine(6).await;
    party.until_state(&id, Active).await;
    let told = status::status(&mut open(&config), Some(&id[..8])).await.unwrap();
    let words = &told.stakes[0].next;
    assert!(words.starts_with("active; has power until block"), "{words}");

    // One block early bitcoind refuses, and we before it; then both accept.
    party.mine(292).await;
    let early = withdraw(&config, &[&id, "--yes"]).await.unwrap_err();
    assert!(early.to_string().contains("1 block ") && early.exit() == Exit::NotNow, "{early}");
    party.mine(1).await;
    withdraw(&config, &[&id, "--yes"]).await.unwrap();
    party.mine(1).await;
    party.until_state(&id, Withdrawn).await;
    check_refused(resume(&config, &id).await, Exit::Failed, &["withdrawn by"]);
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
    assert_eq!(backup::write(&mut open(&config), &file).unwrap().stakes, 1);

    // The hub is gone: another address answers nothing.
    let text = std::fs::read_to_string(&config).unwrap().replace(&party.url, "http://127.0.0.1:1/");
    std::fs::write(&config, text).unwrap();
    let unbonding = args::<Unbond>(&[&id, "--yes"]).run(&mut open(&config)).await.unwrap();
    assert_eq!((unbonding.amount_sat, unbonding.fee_sat), (498_000, 2_000));
    let told = status::status(&mut open(&config), Some(&id)).await.unwrap();
    let next = &told.stakes[0].next;
    assert!(next.starts_with("the early exit is sent and waits for its first confirmation"), "{next}");
    party.node.mine(244).await.unwrap();

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
    let refused = withdraw(Path::new("/nowhere"), &flags).await;
    assert_eq!(
        refused.unwrap_err().exit(),
        Exit::Usage,
        "a backup alone has no wallet that could spend them"
    );
    let elsewhere = Address::from_script(&address("elsewhere"), Network::Regtest).unwrap().to_string();
    let flags: Vec<&str> = flags.into_iter().chain(["--to", &elsewhere]).collect();
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
    let resume = async || {
        args::<Stake>(&["--resume", &id, "--no-wait", "--yes"]).run(&mut open(&config)).await.unwrap()
    };
    assert!(!resume().await.broadcast);
    // Its coin is set aside meanwhile.
    let balance = funds::balance(&mut open(&config)).await.unwrap();
    assert_eq!((balance.free_sat, balance.reserved_sat), (0, 600_000));
    party.signing.send_replace(3);
    party.until_state(&id, Verified).await;
    assert!(resume().await.broadcast);
    // The node has the stake in a block, the wallet's copy of the log does not: nothing is counted twice.
    party.node.mine(1).await.unwrap();
    let balance = funds::balance(&mut open(&config)).await.unwrap();
    assert_eq!((balance.reserved_sat, balance.reserved_change_sat), (0, 0));
    assert!((90_000..100_000).contains(&balance.free_sat), "{balance:?}");
    party.mine(6).await;
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
    let done = args::<Stake>(&["--resume", &begun.outpoint, "--yes"]).run(&mut open(&config)).await.unwrap();
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
    assert!(new.broadcast && new.plan.amount.to_sat() == 600_000 && new.plan.lock_blocks == 300);
    // Bert's power begins with the new stake; anna's ends with its block, and she is still named.
    let taken = new.plan.expansion.unwrap();
    let keys = |list: &[Named]| list.iter().map(|one| one.key).collect::<Vec<_>>();
    assert!(taken.active && taken.keep.is_empty() && taken.amount.to_sat() == 500_000);
    assert_eq!((keys(&taken.lose), keys(&new.plan.former)), (vec![provider_key("anna")], keys(&taken.lose)));
    let new = new.id.unwrap();
    party.mine(1).await;
    party.until_state(&old, Expanded).await;
    party.mine(6).await;
    party.until_state(&new, Active).await;
    args::<Unbond>(&[&new, "--yes"]).run(&mut open(&config)).await.unwrap();
    party.mine(244).await;
    withdraw(&config, &[&new, "--yes"]).await.unwrap();
    party.mine(1).await;
    party.until_state(&new, Withdrawn).await;
    let gone = withdraw(&config, &[&old, "--yes"]).await.unwrap_err();
    assert!(gone.to_string().contains("not in this stake any more"), "{gone}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expansion_that_is_only_printed_is_complete_and_is_sent_later() {
    let party = Party::new(&["anna"]).await;
    let config = party.funded("alice", &[600_000, 300_000]).await;
    let old = stake(&config, &[]).await.unwrap().id.unwrap();
    party.mine(7).await;
    party.until_state(&old, Active).await;
    let printed = args::<Extend>(&[&old, "--print", "--yes"]).run(&mut open(&config)).await.unwrap();
    let tx: Transaction = deserialize_hex(&printed.raw.unwrap()).unwrap();
    assert!(!printed.broadcast);
    assert_eq!(party.rpc().mempool_entry(tx.compute_txid()).await.unwrap(), None);
    let verdict = party.rpc().test_mempool_accept(std::slice::from_ref(&tx)).await.unwrap();
    assert!(matches!(verdict[0], Acceptance::Allowed { .. }), "{verdict:?}");
    let new = printed.id.unwrap();
    let sent = args::<Stake>(&["--resume", &new, "--yes"]).run(&mut open(&config)).await.unwrap();
    assert!(sent.broadcast && sent.outpoint == printed.outpoint && sent.raw.is_none());
    party.mine(1).await;
    party.until_state(&old, Expanded).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_slashing_leaves_is_withdrawn_like_everything_else() {
    let party = Party::new(&["anna"]).await;
    let config = party.funded("alice", &[600_000, 600_000]).await;
    for of_unbonding in [false, true] {
        let id = stake(&config, &[]).await.unwrap().id.unwrap();
        party.mine(7).await;
        party.until_state(&id, Active).await;
        if of_unbonding {
            args::<Unbond>(&[&id, "--yes"]).run(&mut open(&config)).await.unwrap();
            party.mine(1).await;
        }
        let name: StakeId = serde_json::from_value(id.as_str().into()).unwrap();
        let tx = slashing(party.hub.ledger().stakes().find(&name).unwrap().1, of_unbonding);
        party.node.rpc().send_raw_transaction(&tx).await.unwrap();
        party.mine(1).await;
        party.until_state(&id, Slashed).await;
        let (left, burned) = if of_unbonding { (498_000, 49_800) } else { (500_000, 50_000) };
        let (rest, slashing) = (left - burned - 2_000, tx.compute_txid().to_string());
        let early = withdraw(&config, &[&id, "--yes"]).await.unwrap_err();
        let words = format!("it was slashed, by {slashing}");
        let said = early.to_string();
        assert!(said.contains("243 blocks") && said.contains(&words), "{early}");
        let told = early.to_json();
        assert_eq!((&told["txid"], &told["amount_sat"]), (&slashing.as_str().into(), &rest.into()));
        party.mine(243).await;
        let withdrawn = args::<Withdraw>(&[&id, "--yes"]).run(&config).await.unwrap();
        assert_eq!(withdrawn.amount_sat + withdrawn.fee_sat, rest);
        assert_eq!(withdrawn.slashed_by, Some(slashing));
        party.mine(1).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_withdrawal_replaces_the_first_only_when_it_is_meant() {
    let party = Party::new(&["anna"]).await;
    let config = party.funded("alice", &[600_000]).await;
    let id = stake(&config, &[]).await.unwrap().id.unwrap();
    party.mine(300).await;
    let first = withdraw(&config, &[&id, "--yes"]).await.unwrap();
    let again = withdraw(&config, &[&id, "--yes"]).await.unwrap_err();
    assert!(
        again.to_string().contains("a withdrawal is sent and waits for its first confirmation"),
        "{again}"
    );
    let told = again.to_json();
    assert_eq!((&told["txid"], &told["depth"]), (&first.as_str().into(), &serde_json::Value::Null));
    let second = withdraw(&config, &[&id, "--yes", "--fee-rate", "20 sat/vB"]).await.unwrap();
    party.mine(1).await;
    let mined =
        async |txid: &str| party.node.rpc().raw_transaction(txid.parse().unwrap()).await.unwrap().is_some();
    assert!(mined(&second).await && !mined(&first).await);

    // The log, or without a hub the newest blocks, say what took the coins; a program is told the same.
    let url = |text: &str, url: &str| text.replace(&party.url, url);
    let text = std::fs::read_to_string(&config).unwrap();
    for silent in [true, false] {
        let there = if silent { "http://127.0.0.1:1/" } else { &party.url };
        std::fs::write(&config, url(&text, there)).unwrap();
        if !silent {
            party.until_state(&id, Withdrawn).await;
        }
        party.mine(1).await;
        let gone = withdraw(&config, &[&id, "--yes"]).await.unwrap_err();
        let depth = if silent { 1 } else { 2 };
        assert!(gone.to_string().contains(&format!("withdrawn by {second} in block")), "{gone}");
        assert!(gone.to_string().contains(&format!("depth {depth}")), "{gone}");
        let told = gone.to_json();
        assert_eq!((&told["txid"], &told["depth"]), (&second.as_str().into(), &depth.into()), "{told}");
        assert_eq!(gone.exit(), Exit::Failed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn another_hub_than_the_one_configured_is_not_listened_to() {
    let (party, other) = tokio::join!(Party::new(&["anna"]), Party::new(&[]));
    let config = party.funded("alice", &[600_000]).await;
    // The same keys, another birth: one number of the document differs.
    let genesis = party.folder.path().join("genesis.json");
    let text = std::fs::read_to_string(&genesis).unwrap();
    let altered = text.replace("\"nonce_roots_ahead\":64", "\"nonce_roots_ahead\":65");
    assert_ne!(text, altered);
    std::fs::write(&genesis, altered).unwrap();
    let refused = stake(&config, &[]).await.unwrap_err();
    assert!(refused.to_string().contains("another genesis document"), "{refused}");
    std::fs::write(&genesis, text).unwrap();

    // The right document, but a hub that stands on another Bitcoin chain than our node.
    other.mine(30).await;
    let config_text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, config_text.replace(&party.url, &other.url)).unwrap();
    let refused = stake(&config, &[]).await.unwrap_err();
    assert!(refused.to_string().contains("your Bitcoin node does not have block"), "{refused}");
    assert!(open(&config).book.stakes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_order_that_cannot_be_meant_is_refused_before_anything_is_made() {
    let party = Party::new(&["anna"]).await;
    let config = party.funded("alice", &[600_000]).await;
    for (flags, part) in [
        (["--amount", "5 sat", "--lock", "300 blocks"], "can"),
        (["--amount", "0.005 BTC", "--lock", "299 blocks"], "300 to 65535 blocks"),
        (["--amount", "2 BTC", "--lock", "300 blocks"], "confirmed coins"),
    ] {
        let anna = provider_key("anna").to_string();
        let all: Vec<&str> = flags.into_iter().chain(["--provider", &anna, "--yes"]).collect();
        let refused = args::<Stake>(&all).run(&mut open(&config)).await.unwrap_err();
        assert!(refused.to_string().contains(part), "{refused}");
    }
    assert!(open(&config).book.stakes().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_is_made_once_and_on_mainnet_only_in_so_many_words() {
    let party = Party::new(&[]).await;
    let (config, _) = party.wallet("alice").await;
    let key = config.with_file_name("staker.key.json");
    let before = std::fs::read(&key).unwrap();
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    let genesis = text(&party.folder.path().join("genesis.json"));
    let password = text(&party.password());
    let init = async |dir: &Path, more: &[&str]| {
        let dir = text(dir);
        let flags = ["--dir", &dir, "--genesis", &genesis, "--cookie", "/c", "--password-file", &password];
        args::<Init>(&flags.into_iter().chain(more.iter().copied()).collect::<Vec<_>>()).run().await
    };
    let twice = init(config.parent().unwrap(), &[]).await.unwrap_err();
    assert!(twice.to_string().contains("staker.toml exists\nhint: nothing was changed"), "{twice}");
    assert_eq!(std::fs::read(&key).unwrap(), before);
    let new = party.folder.path().join("new");
    for more in [["--network", "bitcoin"].as_slice(), &["--network", "bitcoin", "--mainnet", "yes"]] {
        let refused = init(&new, more).await.unwrap_err();
        assert!(refused.to_string().contains("experimental software"), "{refused}");
    }
    let other = init(&new, &["--network", "signet"]).await.unwrap_err();
    assert!(other.to_string().contains("it is for regtest, the configuration for signet"), "{other}");
    assert!(!new.exists());
    assert!(Session::open(&new.join("staker.toml")).is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn coins_of_a_block_that_was_reorganised_away_are_not_counted() {
    let party = Party::new(&[]).await;
    let config = party.funded("alice", &[600_000]).await;
    let free = async || funds::balance(&mut open(&config)).await.unwrap().free_sat;
    party.node.mine(2).await.unwrap();
    assert_eq!(free().await, 600_000);
    party.node.reorg(3, 4, &[]).await.unwrap();
    assert_eq!(free().await, 0);
    party.node.mine(1).await.unwrap();
    assert_eq!(free().await, 600_000);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallet_goes_on_after_a_reorganisation_that_reaches_below_its_first_block() {
    let party = Party::new(&[]).await;
    for depth in [2, 12] {
        let (config, address) = party.wallet(&format!("alice-{depth}")).await;
        party.node.mine(1).await.unwrap();
        let free = async || funds::balance(&mut open(&config)).await.map(|balance| balance.free_sat).unwrap();
        assert_eq!(free().await, 0);
        party.node.fund(&address, Amount::from_sat(600_000)).await.unwrap();
        party.node.reorg(depth + 1, depth + 2, &[]).await.unwrap();
        party.node.mine(1).await.unwrap();
        assert_eq!(free().await, 600_000, "{depth} blocks below the wallet's first went");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wallets_file_that_is_another_seeds_or_that_others_can_change_is_refused_by_every_command() {
    let party = Party::new(&[]).await;
    let (alice, bob) = (party.funded("alice", &[600_000]).await, party.funded("bob", &[600_000]).await);
    let [own, other] = [&alice, &bob].map(|config| config.with_file_name("staker-data").join("wallet.jsonl"));
    let kept = std::fs::read(&own).unwrap();
    std::fs::copy(&other, &own).unwrap();
    let refused = Session::open(&alice).map(drop).unwrap_err();
    assert!(refused.message().contains("is that of another seed than the key file's"), "{refused}");

    // With this seed's name in it and another's keys, it is found out before anything is signed or paid.
    let [own_id, other_id] = [&alice, &bob]
        .map(|config| read_label(&config.with_file_name("staker.key.json")).unwrap().public_id().to_owned());
    let forged = std::fs::read_to_string(&other).unwrap().replace(&other_id, &own_id);
    // Without the checksums of the descriptors, which may be missing.
    let mut parts = forged.split('#');
    let whole = parts.next().unwrap().to_owned() + &parts.map(|part| &part[8..]).collect::<String>();
    std::fs::write(&own, whole).unwrap();
    let refused = Session::open(&alice).unwrap().keys().map(drop).unwrap_err();
    assert!(refused.message().contains("is that of another seed than the key file's"), "{refused}");

    std::fs::write(&own, kept).unwrap();
    assert_eq!(funds::balance(&mut open(&alice)).await.unwrap().free_sat, 600_000);
    std::fs::set_permissions(&own, std::fs::Permissions::from_mode(0o666)).unwrap();
    let refused = Session::open(&alice).map(drop).unwrap_err();
    assert!(refused.message().contains("is open to other users (mode 0666)"), "{refused}");
}
