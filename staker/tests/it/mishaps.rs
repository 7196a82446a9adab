//! What goes wrong beside a holder: a lost book, a node that lags, coins spent twice, two orders about one stake.

use crate::orders::{all, check_refused, check_told, extend, fund, one, resume, stake, unbond, withdraw};
use crate::party::{Party, args, open};
use bitcoin::consensus::encode::serialize_hex;
use palisade_hub::bitcoind::Behind;
use palisade_hub::daemon::exit::{Exit, Failure};
use palisade_hub::ledger::state::StakeState::{Active, Expanded, Lapsed, Pending, Unbonding, Verified};
use palisade_regtest::Node;
use palisade_staker::backup::{self, Backup, contents};
use palisade_staker::funds;
use palisade_staker::record::StakeRecord;
use palisade_staker::recover::Recover;
use palisade_staker::rival::Rival;
use palisade_staker::session::Session;
use palisade_staker::stake::Stake;
use palisade_staker::status::status;
use palisade_staker::summary::Locked;
use palisade_staker::unbond::Unbond;
use palisade_world::provider_key;
use serde_json::{Value, json};
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

async fn recover(config: &Path, flags: &[&str]) -> Result<Vec<String>, Failure> {
    args::<Recover>(flags).run(config).await.map(|recovered| recovered.found)
}

async fn mempool(party: &Party) -> Vec<String> {
    party.node.rpc().call("getrawmempool", json!([])).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_book_that_is_lost_is_said_to_be_missing_and_comes_back_with_every_stake() {
    let party = Party::new(&["anna"]).await;
    let config = party.funded("alice", &[600_000, 600_000, 600_000]).await;
    let locked = stake(&config, &[]).await.unwrap().id.unwrap();
    party.mine(7).await;
    party.until_state(&locked, Active).await;
    party.signing.send_replace(0);
    let begun = stake(&config, &["--no-wait"]).await.unwrap().id.unwrap();
    let unregistered = stake(&config, &["--confirmed", "--no-wait"]).await.unwrap().outpoint;
    let file = party.folder.path().join("alice.backup");
    let file = file.to_str().unwrap();
    backup::write(&mut open(&config), Path::new(file)).unwrap();
    let existing = backup::write(&mut open(&config), Path::new(file)).map(drop);
    check_refused(existing, Exit::Failed, &["alice.backup exists: a backup never replaces a file"]);

    // Neither empty nor begun anew: no command goes on.
    let book = config.with_file_name("staker-data").join("stakes.json");
    let keys = open(&config).book.next_key();
    std::fs::remove_file(&book).unwrap();
    check_refused(
        Session::open(&config),
        Exit::Failed,
        &["stakes.json is missing", "palisade-staker recover"],
    );
    let text = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, text.replace(&party.url, "http://127.0.0.1:1/")).unwrap();
    check_refused(recover(&config, &[]).await, Exit::NotNow, &["--backup FILE takes those of a backup"]);
    assert!(!book.exists(), "an empty book would say that there are no stakes");
    std::fs::write(&config, text).unwrap();

    assert_eq!(recover(&config, &[]).await.unwrap(), [locked.clone(), begun.clone()]);
    assert_eq!(recover(&config, &["--backup", file]).await.unwrap(), [unregistered]);
    assert_eq!(recover(&config, &[]).await.unwrap(), Vec::<String>::new());
    assert!(open(&config).book.next_key() >= keys, "a key is not given twice");
    let told = all(&config).await;
    assert_eq!(told.not_backed_up, Vec::<String>::new(), "the backup has them");
    let shown: Vec<_> = told.stakes.iter().map(|stake| (stake.state, stake.broadcast)).collect();
    assert_eq!(shown, [(Some(Active), true), (Some(Pending), false), (None, true)]);

    // What comes back is whole: the early exit, and a transaction that was not sent yet.
    unbond(&config, &locked).await.unwrap();
    party.signing.send_replace(3);
    party.until_state(&begun, Verified).await;
    assert!(resume(&config, &begun).await.unwrap().broadcast);
    party.mine(1).await;
    party.until_state(&locked, Unbonding).await;
    let listed = contents::list(&Backup::read(Path::new(file)).unwrap(), &party.rpc()).await.unwrap();
    let next: Vec<&str> = listed.stakes.iter().map(|entry| entry.next.as_str()).collect();
    assert_eq!(next.len(), 3);
    assert!(next.iter().all(|next| next.starts_with("can be withdrawn from block")), "{next:?}");
    let left = listed.stakes[0].left_sat.map(bitcoin::Amount::from_sat).unwrap();
    assert!(left.to_sat() < 500_000, "{left}");
    assert!(
        listed.to_string().contains(&format!("  {left}, of 0.00500000 BTC that were locked")),
        "{listed}"
    );
    assert_eq!(listed.stakes[0].withdraw_at, one(&config, &locked).await.withdraw_at);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_book_that_is_older_than_a_stake_gives_no_key_twice_and_another_wallets_is_refused() {
    let party = Party::new(&["anna"]).await;
    let config = party.funded("alice", &[600_000, 600_000, 600_000]).await;
    let book = config.with_file_name("staker-data").join("stakes.json");
    let first = stake(&config, &[]).await.unwrap().id.unwrap();
    party.mine(1).await;
    let old = std::fs::read(&book).unwrap();
    let second = stake(&config, &[]).await.unwrap().id.unwrap();
    party.mine(7).await;
    party.until_state(&second, Active).await;

    std::fs::write(&book, old).unwrap();
    let words = [&*second, "the book is an older one", "palisade-staker recover"];
    check_refused(stake(&config, &[]).await, Exit::Failed, &words);
    assert_eq!(recover(&config, &[]).await.unwrap(), std::slice::from_ref(&second));
    let third = stake(&config, &[]).await.unwrap().id.unwrap();
    let ids: Vec<_> = open(&config).book.stakes().iter().map(StakeRecord::name).collect();
    assert_eq!(ids, [first, second, third]);

    std::fs::set_permissions(&book, Permissions::from_mode(0o644)).unwrap();
    check_refused(Session::open(&config), Exit::Failed, &["mode 0644", "`chmod 600` it"]);
    std::fs::set_permissions(&book, Permissions::from_mode(0o600)).unwrap();

    let other = party.funded("bob", &[600_000]).await;
    let theirs = other.with_file_name("staker-data").join("stakes.json");
    std::fs::copy(&book, theirs).unwrap();
    let words = ["its stake", "has a key of another seed than the key file's", "palisade-staker recover"];
    check_refused(stake(&other, &[]).await, Exit::Failed, &words);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_decided_on_what_a_node_says_that_is_behind() {
    let party = Party::new(&["anna"]).await;
    let config = party.funded("alice", &[600_000, 300_000]).await;
    let id = stake(&config, &[]).await.unwrap().id.unwrap();
    party.mine(7).await;
    party.until_state(&id, Active).await;
    // Another node that lacks the last blocks, then knows their headers, then has them.
    let (full, late) = (party.node.rpc(), Node::temporary().await.unwrap());
    let tip = full.tip().await.unwrap().height;
    let headers = full.headers(1, tip).await.unwrap();
    let (old, new) = headers.split_at(headers.len() - 3);
    let give = async |header: &bitcoin::block::Header| {
        let block = full.block(header.block_hash()).await.unwrap().unwrap();
        late.rpc().submit_block(&block).await.unwrap();
    };
    for header in old {
        give(header).await;
    }
    let text = std::fs::read_to_string(&config).unwrap();
    let path = |node: &Node| node.cookie_path().to_str().unwrap().to_owned();
    let other =
        text.replace(&party.node.rpc_url(), &late.rpc_url()).replace(&path(&party.node), &path(&late));
    std::fs::write(&config, other).unwrap();
    let blocks = tip - 3;
    for (headers, behind, words, on_orders) in [
        ([].as_slice(), Behind::Hub { blocks, hub: tip }, "behind the hub", "does not have block"),
        (new, Behind::Peers { blocks, headers: tip }, "behind its peers", "behind its peers"),
    ] {
        for header in headers {
            let _: Value = late.rpc().call("submitheader", json!([serialize_hex(header)])).await.unwrap();
        }
        let shown = all(&config).await;
        assert_eq!((shown.node_behind, shown.stakes[0].state), (Some(behind), Some(Active)));
        assert!(shown.to_string().contains(&format!("WARNING: {behind}")), "{shown}");
        check_refused(unbond(&config, &id).await, Exit::NotNow, &[words]);
        check_refused(withdraw(&config, &[&id, "--yes"]).await, Exit::NotNow, &[words]);
        check_refused(extend(&config, &[&id, "--yes"]).await, Exit::NotNow, &[on_orders]);
        check_refused(stake(&config, &[]).await, Exit::NotNow, &[on_orders]);
    }
    for header in new {
        give(header).await;
    }
    let shown = all(&config).await;
    assert_eq!((shown.node_behind, shown.hub_silent, shown.node_silent), (None, None, None));
    // With nobody there at all, what is known is shown, and scripts are told that it is old.
    let (nobody, text) = ("http://127.0.0.1:1/", std::fs::read_to_string(&config).unwrap());
    std::fs::write(&config, text.replace(&party.url, nobody).replace(&late.rpc_url(), nobody)).unwrap();
    let shown = all(&config).await;
    assert!(shown.hub_silent.is_some() && shown.node_silent.is_some(), "{shown:?}");
    assert_eq!(shown.stakes[0].state, Some(Active));
    std::fs::write(&config, text).unwrap();
    unbond(&config, &id).await.unwrap();
}

/// The same wallet once more, with a book of its own: as after a restored copy.
fn twin(config: &Path) -> PathBuf {
    let dir = config.parent().unwrap();
    let new = dir.with_file_name("twin");
    std::fs::create_dir_all(new.join("staker-data")).unwrap();
    for name in ["staker.key.json", "staker.toml", "staker-data/wallet.jsonl", "staker-data/stakes.json"] {
        std::fs::copy(dir.join(name), new.join(name)).unwrap();
    }
    let text = std::fs::read_to_string(config).unwrap();
    let text = text.replace(dir.to_str().unwrap(), new.to_str().unwrap());
    std::fs::write(new.join("staker.toml"), text).unwrap();
    new.join("staker.toml")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stake_whose_coins_went_elsewhere_is_said_to_be_dead_and_nobody_waits_for_it() {
    let party = Party::new(&["anna"]).await;
    let config = party.funded("alice", &[400_000, 400_000]).await;
    open(&config).sync().await.unwrap();
    let other = twin(&config);
    let place = stake(&config, &["--confirmed", "--no-wait"]).await.unwrap().outpoint;
    let short = stake(&config, &[]).await;
    check_refused(
        short,
        Exit::NotNow,
        &["of change wait for a confirmation: try again after the next block"],
    );
    let anna = provider_key("anna").to_string();
    let flags = ["--amount", "0.003 BTC", "--provider", &anna, "--fee-rate", "20 sat/vB", "--confirmed"];
    let flags: Vec<&str> = flags.into_iter().chain(["--no-wait", "--yes"]).collect();
    let rival = args::<Stake>(&flags).run(&mut open(&other)).await.unwrap().outpoint;
    let shown = one(&config, &place).await;
    let waiting = rival.split(':').next().unwrap();
    assert!(matches!(shown.rival, Some(Rival::Waiting { txid, .. }) if txid.to_string() == waiting));
    assert!(shown.next.contains("only one of them can confirm"), "{}", shown.next);

    party.mine(1).await;
    let shown = one(&config, &place).await;
    let height = party.node.rpc().tip().await.unwrap().height;
    let confirmed =
        Rival::Confirmed { coin: shown.rival.unwrap().coin(), txid: waiting.parse().unwrap(), height };
    assert_eq!(shown.rival, Some(confirmed));
    // One block can still be taken back, so nobody says never before depth k.
    let unless = format!("cannot confirm, unless Bitcoin takes block {height} back");
    assert!(shown.next.contains(&unless) && shown.next.contains(waiting), "{}", shown.next);
    let stays = format!("from block {} on it is certain", height + 6);
    check_refused(resume(&config, &place).await, Exit::NotNow, &[&unless, &stays]);
    check_refused(withdraw(&config, &[&place, "--yes"]).await, Exit::NotNow, &[&unless]);
    party.mine(5).await;
    assert_eq!(one(&config, &place).await.rival, Some(confirmed));
    party.mine(1).await;
    let shown = one(&config, &place).await;
    assert!(matches!(shown.rival, Some(Rival::Final { .. })));
    assert!(shown.next.contains("can never confirm"), "{}", shown.next);
    for refused in [resume(&config, &place).await.map(drop), unbond(&config, &place).await.map(drop)] {
        let said = refused.err().unwrap().to_string();
        assert!(said.contains("can never confirm") || said.contains("not registered"), "{said}");
    }
    check_refused(withdraw(&config, &[&place, "--yes"]).await, Exit::Failed, &["can never confirm"]);
    // Its other coin is free again.
    let balance = funds::balance(&mut open(&config)).await.unwrap();
    assert!(balance.reserved_sat == 0 && balance.free_sat > 490_000, "{balance:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_order_about_a_stake_says_what_waits_and_does_nothing() {
    let party = Party::new(&["anna"]).await;
    let config = party.funded("alice", &[600_000, 300_000, 300_000]).await;
    let old = stake(&config, &[]).await.unwrap().id.unwrap();
    party.mine(7).await;
    party.until_state(&old, Active).await;
    party.signing.send_replace(0);
    let new = extend(&config, &[&old, "--no-wait", "--yes"]).await.unwrap();
    assert!(!new.broadcast && new.to_string().contains(&format!("stake {old} stays as it is")), "{new}");
    let new = new.id.unwrap();
    let again = extend(&config, &[&old, "--no-wait", "--yes"]).await;
    check_refused(again, Exit::NotNow, &["begun already", &new, "PENDING", "--resume", "--beside"]);
    assert_eq!(open(&config).book.stakes().len(), 2);
    let beside = extend(&config, &[&old, "--beside", "--add", "1,000 sat", "--no-wait", "--yes"]).await;
    let beside = beside.unwrap().id.unwrap();
    let printed = args::<Unbond>(&[&old, "--print"]).run(&mut open(&config)).await.unwrap();
    assert!(
        printed.to_string().contains(&format!("ends:        the expansion into stake {new}")),
        "{printed}"
    );

    party.signing.send_replace(3);
    party.until_state(&new, Verified).await;
    let sent = resume(&config, &new).await.unwrap();
    let txid = sent.outpoint.split(':').next().unwrap().to_owned();
    let waits = [&format!("the expansion into stake {new} is sent and waits"), txid.as_str()];
    let waits = waits.map(|part| part as &str);
    check_refused(extend(&config, &[&old, "--beside", "--yes"]).await, Exit::NotNow, &waits);
    check_refused(unbond(&config, &old).await, Exit::NotNow, &waits);
    check_refused(withdraw(&config, &[&old, "--yes"]).await, Exit::NotNow, &waits);
    assert_eq!(mempool(&party).await, std::slice::from_ref(&txid));

    party.mine(1).await;
    party.until_state(&old, Expanded).await;
    let shown = one(&config, &old).await;
    assert_eq!((shown.expanded_into.as_ref(), shown.coin, shown.withdraw_at), (Some(&new), None, None));
    let went = format!("went into stake {new}");
    let gone = ["not in this stake any more", &went, &txid, "depth 0"];
    for refused in [unbond(&config, &old).await.err(), extend(&config, &[&old, "--yes"]).await.err()] {
        let refused = refused.unwrap();
        check_told(&refused, &txid, Some(0));
        check_refused::<()>(Err(refused), Exit::Failed, &gone);
    }
    check_refused(resume(&config, &beside).await, Exit::NotNow, &["cannot confirm, unless", &went]);
    let shown = one(&config, &beside).await;
    assert!(matches!(shown.rival, Some(Rival::Confirmed { .. })) && !shown.broadcast);
    assert!(shown.next.contains(&went) && !shown.next.contains("--resume"), "{}", shown.next);
    assert_eq!(funds::balance(&mut open(&config)).await.unwrap().reserved_sat, 0);

    let left = unbond(&config, &new).await.unwrap();
    let waits = ["the early exit is sent and waits", &left.txid, "244 blocks after that"];
    let refused = unbond(&config, &new).await.err().unwrap();
    check_told(&refused, &left.txid, None);
    check_refused::<()>(Err(refused), Exit::NotNow, &waits);
    check_refused(extend(&config, &[&new, "--yes"]).await, Exit::NotNow, &waits);
    check_refused(withdraw(&config, &[&new, "--yes", "--fee-rate", "9"]).await, Exit::NotNow, &waits);
    party.mine(1).await;
    party.until_state(&new, Unbonding).await;
    let shown = one(&config, &new).await;
    let coin = shown.coin.unwrap();
    assert_eq!((coin.outpoint.txid.to_string(), coin.amount_sat), (left.txid.clone(), left.amount_sat));
    let height = format!("block {}", shown.withdraw_at.unwrap());
    let gone = ["it left early, by", &left.txid, "0.00498000 BTC are left", &height];
    for refused in [unbond(&config, &new).await.err(), extend(&config, &[&new, "--yes"]).await.err()] {
        let refused = refused.unwrap();
        check_told(&refused, &left.txid, Some(0));
        check_refused::<()>(Err(refused), Exit::Failed, &gone);
    }
    let early = withdraw(&config, &[&new, "--yes"]).await;
    check_told(early.as_ref().unwrap_err(), &left.txid, Some(0));
    assert!(!early.as_ref().unwrap_err().to_string().contains("`unbond`"));
    check_refused(early, Exit::NotNow, &["lasts 243 blocks more", &height]);
}

/// Goes on with a stake where nobody can be asked: a refusal comes before the question, or the question is refused.
async fn resume_asking(config: &Path, id: &str) -> Result<Locked, Failure> {
    args::<Stake>(&["--resume", id]).run(&mut open(config)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_begun_stake_that_cannot_be_sent_any_more_is_refused_before_anybody_is_asked_and_frees_its_coin() {
    let party = Party::new(&["anna"]).await;
    // The first stake leaves no change.
    let config = party.funded("alice", &[500_500]).await;
    let old = stake(&config, &[]).await.unwrap().id.unwrap();
    fund(&party, &config, 300_000).await;
    party.mine(6).await;
    party.until_state(&old, Active).await;
    party.signing.send_replace(0);
    let new = extend(&config, &[&old, "--add", "20,000 sat", "--no-wait", "--yes"]).await.unwrap();
    let id = new.id.clone().unwrap();
    let begun = one(&config, &id).await;
    assert_eq!((new.lapses_at, new.resumable_until), (begun.lapses_at, begun.resumable_until));
    assert_eq!(begun.lapses_at.unwrap(), begun.resumable_until.unwrap() + 7);
    // The whole coin is set aside, and most of it is change.
    let balance = funds::balance(&mut open(&config)).await.unwrap();
    let (fee, change) = (new.plan.fee.unwrap().to_sat(), new.plan.change.to_sat());
    assert_eq!((balance.reserved_sat, balance.reserved_change_sat), (300_000, change));
    assert_eq!((change, begun.change_sat), (280_000 - fee, Some(change)));
    let back = new.plan.change;
    assert!(balance.to_string().contains(&format!("and {back} come back as change")), "{balance}");

    let left = unbond(&config, &old).await.unwrap().txid;
    let exit = [format!("of stake {old}, which this one expands, the early exit is sent"), left.clone()];
    check_refused(resume_asking(&config, &id).await, Exit::NotNow, &[&exit[0], &exit[1]]);
    let shown = one(&config, &id).await;
    assert!(matches!(shown.rival, Some(Rival::Waiting { txid, .. }) if txid.to_string() == left));
    assert!(shown.next.starts_with(&exit[0]), "{}", shown.next);
    party.mine(1).await;
    party.until_state(&old, Unbonding).await;
    let dead = format!("stake {old}, which it expands, left early, by {left}");
    check_refused(resume_asking(&config, &id).await, Exit::NotNow, &["cannot confirm, unless", &dead]);
    let shown = one(&config, &id).await;
    assert!(shown.next.contains(&dead) && shown.next.contains("is free again"), "{}", shown.next);
    let balance = funds::balance(&mut open(&config)).await.unwrap();
    assert_eq!((balance.reserved_sat, balance.reserved_change_sat), (0, 0));
    assert_eq!(balance.free_sat, 300_000);

    // The log holds that coin until the dead expansion lapses: alone it can back nothing, beside another coin it is spent.
    let order = async |amount| {
        let anna = provider_key("anna").to_string();
        let flags = ["--amount", amount, "--provider", &anna, "--no-wait", "--yes"];
        args::<Stake>(&flags).run(&mut open(&config)).await
    };
    let held = ["of free coins back registrations that came to nothing", "--confirmed"];
    check_refused(order("250,000 sat").await, Exit::NotNow, &held);
    check_refused(order("600,000 sat").await, Exit::NotNow, &["the wallet has 0.00300000 BTC"]);
    fund(&party, &config, 400_000).await;

    // A stake that lapses: too late a margin before, refused after; its coins are free then.
    let begun = order("600,000 sat").await.unwrap();
    let (id, last) = (begun.id.unwrap(), begun.resumable_until.unwrap());
    check_refused(resume_asking(&config, &id).await, Exit::Usage, &["nobody can be asked here"]);
    let tip = party.node.rpc().tip().await.unwrap().height;
    party.mine(last + 1 - tip).await;
    check_refused(resume_asking(&config, &id).await, Exit::Failed, &["lapses at", "too close"]);
    party.mine(6).await;
    party.until_state(&id, Lapsed).await;
    check_refused(resume_asking(&config, &id).await, Exit::Failed, &["the stake is LAPSED"]);
    assert_eq!(funds::balance(&mut open(&config)).await.unwrap().reserved_sat, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_says_where_the_coins_of_a_stake_went_or_that_it_is_too_old_to_know() {
    let party = Party::new(&["anna"]).await;
    let config = party.funded("alice", &[600_000, 300_000]).await;
    let old = stake(&config, &[]).await.unwrap().id.unwrap();
    let unsaved = async || status(&mut open(&config), None).await.unwrap().not_backed_up;
    party.mine(7).await;
    party.until_state(&old, Active).await;
    assert_eq!(unsaved().await, std::slice::from_ref(&old));
    let [before, after] = ["before.backup", "after.backup"].map(|name| party.folder.path().join(name));
    backup::write(&mut open(&config), &before).unwrap();
    assert_eq!(unsaved().await, Vec::<String>::new());
    let new = extend(&config, &[&old, "--yes"]).await.unwrap();
    assert!(new.to_string().contains("make a new backup"), "{new}");
    let new = new.id.unwrap();
    party.mine(1).await;
    party.until_state(&old, Expanded).await;
    assert_eq!(unsaved().await, std::slice::from_ref(&new));
    backup::write(&mut open(&config), &after).unwrap();

    let (url, cookie) = (party.node.rpc_url(), party.node.cookie_path());
    for (file, into, words) in [
        (&before, None, "went into a stake that this backup does not have"),
        (&after, Some(new.clone()), new.as_str()),
    ] {
        let listed = contents::list(&Backup::read(file).unwrap(), &party.rpc()).await.unwrap();
        assert_eq!(listed.stakes[0].expanded_into, into);
        assert!(listed.stakes[0].next.contains(words), "{}", listed.stakes[0].next);
        assert!(listed.to_string().ends_with("(a stake made after this backup is not in it)"));
        let [file, cookie, password] =
            [file, &cookie, &party.password()].map(|path| path.to_str().unwrap().to_owned());
        let node = ["--backup", &file, "--bitcoin", &url, "--cookie", &cookie, "--password-file", &password];
        let flags: Vec<&str> = node.into_iter().chain(["--stake", &old, "--yes"]).collect();
        check_refused(withdraw(Path::new("/nowhere"), &flags).await, Exit::Failed, &[words]);
    }
}
