//! Backups that the shipped daemons make while they work, restored elsewhere when the originals are lost
//! (docs/operations/backup.md): no second signature, and every transaction in flight is known.

use crate::views::{mine, serves, until, until_says};
use bitcoin::Amount;
use palisade_checkpointer::anchor::flight::Flights;
use palisade_covenant::audit::{Act, Audit};
use palisade_finality_provider::keys::open_provider;
use palisade_hub::daemon::password::Password;
use palisade_protocol::block::Block;
use palisade_protocol::context::ChainId;
use palisade_protocol::finality::evidence::{Evidence, LeakedKey};
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::units::Height;
use palisade_regtest::demo::holders::Holder;
use palisade_regtest::demo::network::{COVENANT, EPOCH, Network, string, text};
use palisade_regtest::demo::story::Story;
use palisade_regtest::in_time;
use palisade_regtest::process::{Daemon, Failed, json_tool, metric, tool};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

const PROVIDER: &str = "palisade-finality-provider";
const COVENANT_MEMBER: &str = "palisade-covenant";
const CHECKPOINTER: &str = "palisade-checkpointer";
/// An operator without whom the others make blocks final, and one whose key comes out.
const CARL: usize = 3;
const DORA: usize = 0;

/// Makes a backup as its owner would, and gives the names of what is in it. A second one in its place is refused.
async fn back_up(program: &str, words: &[&str], config: &Path, to: &Path) -> Vec<String> {
    let (config, place) = (text(config), text(to));
    let args = [&["--json"], words, &["--config", &config, "--to", &place]].concat();
    let told = json_tool(program, &args).await.unwrap();
    let refused = tool(program, &args).await.unwrap_err().downcast::<Failed>().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{refused}");
    assert!(refused.said.contains("is not empty"), "{refused}");
    let restore = told["restore"].as_array().unwrap().last().unwrap().as_str().unwrap();
    assert!(restore.starts_with(&format!("cd THE-COPY && {program} ")), "{restore}");
    let files = told["files"].as_array().unwrap();
    files.iter().map(|file| string(file, "name").unwrap()).collect()
}

/// All files below a directory.
fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

/// No file of a backup has the password in it, nor a path of the files that it was made from.
fn check_contents(network: &Network, saved: &Path, lost: &Path) {
    let password = fs::read(network.password()).unwrap();
    for file in files(saved) {
        let bytes = fs::read(&file).unwrap();
        let holds = |part: &[u8]| bytes.windows(part.len()).any(|window| window == part);
        assert!(!holds(password.trim_ascii_end()), "{}", file.display());
        assert!(!holds(format!("{}/", lost.display()).as_bytes()), "{}", file.display());
    }
}

/// A backup lies somewhere else by the time that it is needed.
fn moved(saved: &Path) -> PathBuf {
    let restored = saved.with_extension("restored");
    fs::rename(saved, &restored).unwrap();
    restored
}

async fn start(dir: &Path, program: &str, args: &[&str], name: &str) -> Daemon {
    let address = dir.join(name).with_extension("address");
    let mut daemon = Daemon::start_from(dir, program, args, &address.with_extension("log")).unwrap();
    daemon.address(&address).await.unwrap();
    daemon
}

/// The blocks of the log from a height on, as far as there are any now.
async fn blocks(network: &Network, from: Height) -> Vec<Block> {
    let mut found: Vec<Block> = Vec::new();
    loop {
        let next = found.last().map_or(from, |block| block.header.height.next());
        let page = network.hub.blocks(next, Duration::ZERO).await.unwrap();
        if page.is_empty() {
            return found;
        }
        found.extend(page);
    }
}

async fn messages(network: &Network, from: Height) -> Vec<(Height, Message)> {
    let blocks = blocks(network, from).await;
    let each = |block: &Block| {
        let height = block.header.height;
        block.messages.iter().map(|own| (height, own.decode().unwrap())).collect::<Vec<_>>()
    };
    blocks.iter().flat_map(each).collect()
}

async fn tip(network: &Network) -> Height {
    Height(network.view("status").await.unwrap()["height"].as_u64().unwrap())
}

/// Somebody locks coins behind an operator, as soon as a quorum has signed.
async fn stake(story: &Story, name: &str, operator: usize) -> String {
    let provider = story.operators()[operator].zero.clone();
    let (holder, _) = Holder::new(story.network(), name, Amount::from_sat(2_000_000)).await.unwrap();
    mine(story.network(), 1).await;
    let order = ["stake", "--yes", "--amount", "500000 sat", "--lock", "300 blocks", "--provider", &provider];
    string(&holder.run(&order).await.unwrap(), "id").unwrap()
}

/// Waits until every member has signed.
async fn all_sign(network: &Network, stake: &str) {
    until(network, &format!("stakes/{stake}"), |stake| stake["signatures"] == COVENANT.0).await;
}

/// A provider whose signer and voter are there again commits by itself. That puts it into the chain's set two epochs later at most,
/// under its new root, and it votes. How soon it commits is the voter's own test: here the machine decides, and what else it does.
async fn votes_again(story: &Story, chain: &str, voter: &Path, from: Height) {
    let (network, key) = (story.network(), story.operators()[CARL].key(chain));
    let commitments = |all: Vec<(Height, Message)>| -> Vec<(Height, u64, Hash32)> {
        let own = all.into_iter().filter_map(|(at, message)| match message {
            Message::Commitment(own) if own.key.to_string() == key => Some((at, own.epoch.0, own.root)),
            _ => None,
        });
        own.collect()
    };
    let first = async {
        loop {
            if let Some((at, ..)) = commitments(messages(network, from).await).first() {
                return *at;
            }
        }
    };
    let committed = in_time("nonces are committed", first).await;
    let (length, height) = match chain {
        "zero" => (EPOCH, committed.0),
        other => {
            let chains = network.view("chains").await.unwrap();
            let own = chains.as_array().unwrap().iter().find(|one| one["id"] == other).unwrap();
            (own["terms"]["epoch_length"].as_u64().unwrap(), own["final_height"].as_u64().unwrap())
        }
    };
    let epoch = height / length + 2;
    let set = until(network, &format!("sets/{chain}/{epoch}"), |_| true).await;
    let own = set["members"].as_array().unwrap().iter().find(|member| member["key"] == key).unwrap();
    let sent = commitments(messages(network, from).await);
    let root = sent.iter().find(|(_, of, _)| *of == epoch).map(|(.., root)| root.to_string());
    assert_eq!(own["nonce_root"].as_str().map(str::to_owned), root);
    let votes = async {
        loop {
            let status: Value = serde_json::from_str(&serves(voter, "status").await).unwrap();
            let own = status["chains"].as_array().unwrap().iter().find(|one| one["chain"] == chain).unwrap();
            assert_eq!(own["exposed"], false);
            if own["last_vote"].as_u64() >= Some(epoch * length) {
                return;
            }
        }
    };
    in_time("it votes", votes).await;
}

/// No height of a chain has votes of a key for two blocks.
async fn check_votes(network: &Network, chain: &str, key: &str) {
    let mut voted = BTreeMap::<Height, BTreeSet<Hash32>>::new();
    let votes = network.hub.all_votes(chain, Height(0)).await.unwrap();
    for vote in votes.iter().filter(|vote| vote.key.to_string() == key) {
        voted.entry(vote.ballot.height).or_default().insert(vote.ballot.block);
    }
    assert!(voted.len() > 4 && voted.values().all(|blocks| blocks.len() == 1), "{voted:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_goes_on_from_backups_that_signer_and_voter_made_while_they_worked() {
    let directory = tempfile::tempdir().unwrap();
    let mut story = Story::until_final(&directory.path().join("network")).await.unwrap();
    let carl = story.operators()[CARL].dir().to_owned();
    let [signer, voter] = ["signer", "voter"].map(|name| directory.path().join("saved").join(name));
    // Neither record nor seed is in it.
    let names = back_up(PROVIDER, &["backup", "signer"], &carl.join("signer.toml"), &signer).await;
    let keys = ["genesis.json", "keys/zero.json", "keys/bls.json", "keys/chain-dev.json", "signer.toml"];
    assert_eq!(names, keys);
    let names = back_up(PROVIDER, &["backup", "voter"], &carl.join("voter.toml"), &voter).await;
    assert_eq!(names, ["genesis.json", "keys/funding.json", "voter-data/journal.sqlite", "voter.toml"]);
    for saved in [&signer, &voter] {
        check_contents(story.network(), saved, &carl);
    }

    // It votes on after the backups, and then its machine is gone.
    let began = story.final_now().await.unwrap();
    story.further(&began, 4).await.unwrap();
    for daemon in story.operators_mut()[CARL].daemons_mut() {
        daemon.kill().await.unwrap();
    }
    fs::remove_dir_all(&carl).unwrap();
    let (signer, voter) = (moved(&signer), moved(&voter));
    // What it sent last is in a block that others have seen before its successor sends anything.
    let from = tip(story.network()).await.plus(3);
    until(story.network(), "status", |status| status["height"].as_u64().map(Height) >= Some(from)).await;
    let from = from.next();
    let mut daemons = vec![start(&signer, PROVIDER, &["signer"], "signer").await];
    daemons.push(start(&voter, PROVIDER, &["run"], "voter").await);
    let address = voter.join("voter.address");
    tokio::join!(votes_again(&story, "zero", &address, from), votes_again(&story, "dev", &address, from));
    let began = story.final_now().await.unwrap();
    story.further(&began, 4).await.unwrap();
    for chain in ["zero", "dev"] {
        check_votes(story.network(), chain, story.operators()[CARL].key(chain)).await;
    }
    daemons.iter_mut().for_each(|daemon| daemon.check().unwrap());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_covenant_member_goes_on_from_a_backup_and_answers_nothing_twice() {
    let directory = tempfile::tempdir().unwrap();
    let mut story = Story::begin_network(&directory.path().join("network")).await.unwrap();
    let lost = story.network().dir.join("covenant-0");
    let saved = directory.path().join("saved");
    let names = back_up(COVENANT_MEMBER, &["backup"], &lost.join("covenant.toml"), &saved).await;
    let wanted = ["covenant.key.json", "genesis.json", "covenant-data/audit.sqlite", "covenant.toml"];
    assert_eq!(names, wanted);
    check_contents(story.network(), &saved, &lost);
    let late = stake(&story, "erin", 1).await;
    all_sign(story.network(), &late).await;
    story.network_mut().kill("covenant-0/covenant").await.unwrap();
    fs::remove_dir_all(&lost).unwrap();
    let restored = moved(&saved);

    // It cannot know whether the answer that it lacks is its own, until it is told that it was restored.
    let address = restored.join("covenant.address");
    let mut member = start(&restored, COVENANT_MEMBER, &["run"], "covenant").await;
    until_says(&address, "health", "run --restored").await;
    member.end().await.unwrap();
    fs::remove_file(&address).unwrap();
    let mut member = start(&restored, COVENANT_MEMBER, &["run", "--restored"], "covenant").await;
    let next = stake(&story, "fred", 1).await;
    all_sign(story.network(), &next).await;
    let health = serves(&address, "health").await;
    assert!(health.contains("\"ok\""), "{health}");
    member.check().unwrap();

    let entries = Audit::read(&restored.join("covenant-data/audit.sqlite")).unwrap().entries().unwrap();
    let stakes: Vec<String> = entries.iter().map(|entry| entry.stake.to_string()).collect();
    assert_eq!(stakes[stakes.len() - 2..], [late.clone(), next]);
    assert!(entries.iter().all(|entry| entry.act == Act::Signed));
    let own = |message: &Message| match message {
        Message::Answer(answer) => answer.stake.to_string() == late,
        _ => false,
    };
    let answers = messages(story.network(), Height(0)).await;
    assert_eq!(answers.iter().filter(|(_, message)| own(message)).count(), COVENANT.0);
}

/// An operator's key becomes known to everybody.
async fn leak(story: &Story, operator: usize) {
    let password = fs::read_to_string(story.network().password()).unwrap();
    let password = Password::new(password.trim().to_owned()).unwrap();
    let file = story.operators()[operator].dir().join("keys/zero.json");
    let pair = open_provider(&file, &ChainId::zero(), &password, bitcoin::Network::Regtest).unwrap();
    let leaked = LeakedKey { key: pair.public().into(), secret: *pair.secret_bytes() };
    story.network().hub.submit(&Message::Evidence(Evidence::Key(leaked))).await.unwrap();
}

/// How many anchors replaced another, as the anchorer counts.
async fn replaced(checkpointer: &Path) -> Option<u64> {
    let address = fs::read_to_string(checkpointer.join("anchor.address")).unwrap();
    metric(address.trim(), "palisade_anchors_replaced_total").await.unwrap()
}

/// Waits until the newest anchor is that of a later epoch, and gives its epoch.
async fn anchored_after(network: &Network, epoch: Option<u64>) -> Option<u64> {
    let newer = async {
        loop {
            mine(network, 1).await;
            let found = network.view("status").await.unwrap()["anchored_epoch"].as_u64();
            if found > epoch {
                return found;
            }
            // What is signed next goes into the next block.
            let height = tip(network).await;
            until(network, "status", |status| status["height"].as_u64() >= Some(height.0 + EPOCH)).await;
        }
    };
    in_time("a newer anchor", newer).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_checkpointer_goes_on_from_a_backup_with_all_that_was_under_way() {
    let directory = tempfile::tempdir().unwrap();
    let mut story = Story::until_final(&directory.path().join("network")).await.unwrap();
    let lost = story.network().dir.join("checkpointer");
    let saved = directory.path().join("saved");
    // A stake is to be slashed and an anchor is in no block while the backup is made.
    leak(&story, DORA).await;
    until_says(&lost.join("watch.address"), "metrics", "palisade_watch_open_jobs 1").await;
    until_says(&lost.join("anchor.address"), "metrics", "palisade_anchors_unconfirmed 1").await;
    let names = back_up(CHECKPOINTER, &["backup"], &lost.join("checkpointer.toml"), &saved).await;
    let wanted = [
        "genesis.json",
        "watch-data/watch.sqlite",
        "watch-data/log.sqlite",
        "watch-data/wallet.jsonl",
        "watch.key.json",
        "anchor-data/flights.sqlite",
        "anchor-data/wallet.jsonl",
        "anchor.key.json",
        "checkpointer.toml",
    ];
    assert_eq!(names, wanted);
    check_contents(story.network(), &saved, &lost);

    // The anchor is replaced by a newer one, of which the backup does not know; then all is gone, the hub for a while.
    let before = replaced(&lost).await;
    in_time("an anchor is replaced", async { while replaced(&lost).await == before {} }).await;
    for name in ["checkpointer/report", "checkpointer/watch", "checkpointer/anchor", "hub/hub"] {
        story.network_mut().kill(name).await.unwrap();
    }
    fs::remove_dir_all(&lost).unwrap();
    let restored = moved(&saved);
    let flights = Flights::open(&restored.join("anchor-data/flights.sqlite")).unwrap();
    assert_eq!(flights.open_ones().unwrap().len(), 1);
    drop(flights);

    let mut daemons = vec![start(&restored, CHECKPOINTER, &["watch"], "watch").await];
    for known in ["palisade_watch_leaked_keys 1", "palisade_watch_open_jobs 1"] {
        until_says(&restored.join("watch.address"), "metrics", known).await;
    }
    story.network_mut().start_again("hub/hub").await.unwrap();
    for name in ["report", "anchor"] {
        daemons.push(start(&restored, CHECKPOINTER, &[name], name).await);
    }
    let network = story.network();
    let before = network.view("status").await.unwrap()["anchored_epoch"].as_u64();
    let first = anchored_after(network, before).await;
    assert!(anchored_after(network, first).await > first);
    let status = network.view("status").await.unwrap();
    assert_eq!(status["void_anchors"].as_array().map(Vec::len), Some(0));
    mine(network, 7).await;
    until(network, &format!("stakes/{}", story.stake_id(DORA)), |stake| stake["state"] == "SLASHED").await;
    until_says(&restored.join("watch.address"), "metrics", "palisade_watch_open_jobs 0").await;
    daemons.iter_mut().for_each(|daemon| daemon.check().unwrap());
}
