//! A network of shipped programs in which one thing after the other goes wrong.

use crate::views::{serves, until_reasons};
use palisade_finality_provider::keys::open_provider;
use palisade_hub::daemon::password::Password;
use palisade_hub::replica::read_log;
use palisade_protocol::context::ChainId;
use palisade_protocol::finality::vote::Ballot;
use palisade_protocol::genesis::Genesis;
use palisade_protocol::hash::Hash32;
use palisade_protocol::units::Height;
use palisade_regtest::demo::holders::Holder;
use palisade_regtest::demo::network::{EPOCH, Network, edit, make_checkpointer, text};
use palisade_regtest::demo::story::Story;
use palisade_regtest::node::Node;
use palisade_regtest::process::{Daemon, json_tool};
use serde_json::{Value, json};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

const HUB: &str = "palisade-hub";
const COVENANT: &str = "palisade-covenant";
const PROVIDER: &str = "palisade-finality-provider";
const CHECKPOINTER: &str = "palisade-checkpointer";

/// Alarms of a network's programs.
pub const OF_THE_NETWORK: [(&str, &str); 20] = [
    (HUB, "leader"),
    (COVENANT, "log"),
    (COVENANT, "committee"),
    (COVENANT, "window"),
    (COVENANT, "audit"),
    (PROVIDER, "signer"),
    (PROVIDER, "hub"),
    (PROVIDER, "log"),
    (PROVIDER, "bitcoin"),
    (PROVIDER, "nonces"),
    (PROVIDER, "sources"),
    (PROVIDER, "sets"),
    (PROVIDER, "keys"),
    (PROVIDER, "record"),
    (CHECKPOINTER, "hub"),
    (CHECKPOINTER, "log"),
    (CHECKPOINTER, "bitcoind"),
    (CHECKPOINTER, "bitcoin"),
    (CHECKPOINTER, "wallet"),
    (CHECKPOINTER, "slashings"),
];

/// What was rung, checked against what is said to be.
#[derive(Default)]
struct Bells(Vec<(&'static str, &'static str)>);

impl Bells {
    async fn ring(&mut self, program: &'static str, address: &Path, part: &'static str) {
        let words = format!("{part}: ");
        until_reasons(address, part, |all| all.iter().any(|reason| reason.starts_with(&words))).await;
        self.0.push((program, part));
    }
}

/// Waits until none of these processes has anything to say.
async fn all_is_well(addresses: &[PathBuf]) {
    for address in addresses {
        until_reasons(address, "all is well", <[String]>::is_empty).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_alarm_of_a_network_rings_when_its_cause_is_there_and_not_before() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("network");
    let mut story = Story::until_final(&dir).await.unwrap();
    let mut bells = Bells::default();
    let at = |name: &str| dir.join(name).with_extension("address");
    let voter = |operator: &str| at(&format!("operator-{operator}/voter"));
    let names: Vec<String> = story.operators().iter().map(|operator| operator.name.clone()).collect();
    story.network_mut().run_follower().await.unwrap();
    let checkpointers = ["checkpointer/report", "checkpointer/watch", "checkpointer/anchor"].map(at);
    let mut everybody: Vec<PathBuf> = names.iter().map(|name| voter(name)).collect();
    everybody.extend(["hub/hub", "follower/follower", "covenant-0/covenant", "covenant-1/covenant"].map(at));
    everybody.extend(checkpointers.clone());
    all_is_well(&everybody).await;
    the_rules_for_prometheus_name_metrics_that_exist(&everybody).await;

    covenant(&mut story, &mut bells).await;
    // What rings once about its audit log rings on.
    everybody.retain(|address| *address != at("covenant-1/covenant"));
    wallets_and_chains(&mut story, &mut bells).await;
    two_nodes_of_a_chain_differ(&mut story, &mut bells).await;

    story.network_mut().kill("hub/hub").await.unwrap();
    bells.ring(HUB, &at("follower/follower"), "leader").await;
    bells.ring(COVENANT, &at("covenant-0/covenant"), "log").await;
    bells.ring(PROVIDER, &voter(&names[0]), "hub").await;
    for address in &checkpointers {
        bells.ring(CHECKPOINTER, address, "hub").await;
    }
    story.network_mut().start_again("hub/hub").await.unwrap();

    story.network_mut().node.stop().await.unwrap();
    bells.ring(PROVIDER, &voter(&names[0]), "bitcoin").await;
    for address in &checkpointers {
        bells.ring(CHECKPOINTER, address, "bitcoind").await;
    }
    story.network_mut().node.start_under(&[]).await.unwrap();
    all_is_well(&everybody[1..]).await;

    let signer = story.operators_mut()[1].daemons_mut().next().unwrap();
    signer.kill().await.unwrap();
    bells.ring(PROVIDER, &voter(&names[1]), "signer").await;
    story.operators_mut()[1].daemons_mut().next().unwrap().start_again(None).unwrap();

    a_disk_is_rolled_back(&mut story, &mut bells).await;
    lies(&mut story, &mut bells).await;
    // What the slashing pays is less than nodes relay, and in this profile nobody can pay more.
    story.network_mut().node.restart_with(&["-minrelaytxfee=0.01"]).await.unwrap();
    story.equivocate().await.unwrap();
    bells.ring(CHECKPOINTER, &at("checkpointer/watch"), "slashings").await;
    story.network_mut().node.restart_with(&[]).await.unwrap();
    until_reasons(&at("checkpointer/watch"), "the slashing goes out", |all| all.is_empty()).await;
    let guilty = story.operators_mut().iter_mut().position(|own| own.daemons_mut().next().is_none()).unwrap();
    story.operators_mut()[guilty].start().await.unwrap();
    bells.ring(PROVIDER, &voter(&names[guilty]), "keys").await;

    a_chain_is_lost(&mut story, &mut bells, &voter(&names[3])).await;
    let mut rung = bells.0;
    rung.sort_unstable();
    rung.dedup();
    let mut wanted = OF_THE_NETWORK.to_vec();
    wanted.sort_unstable();
    assert_eq!(rung, wanted);
    story.stop().await.unwrap();
}

/// A member that nobody has named, one whose window is full, one whose audit log is gone.
async fn covenant(story: &mut Story, bells: &mut Bells) {
    let network = story.network_mut();
    let (dir, password, genesis) = (network.dir.clone(), text(&network.password()), text(&network.genesis()));
    let at = |name: &str| dir.join(name).with_extension("address");
    let stranger = text(&dir.join("stranger"));
    let from = ["--dir", &stranger, "--genesis", &genesis, "--hub", &network.hub_url.clone()];
    let more = ["--listen", "127.0.0.1:0", "--password-file", &password];
    json_tool(COVENANT, &[&["--json", "init"], &from[..], &more].concat()).await.unwrap();
    network.run(COVENANT, &["run"], "stranger/covenant.toml", "stranger/covenant.address").await.unwrap();
    bells.ring(COVENANT, &at("stranger/covenant"), "committee").await;

    network.kill("covenant-1/covenant").await.unwrap();
    let data = dir.join("covenant-1/covenant-data");
    for name in ["audit.sqlite", "audit.sqlite-wal", "audit.sqlite-shm"] {
        let _ = std::fs::remove_file(data.join(name));
    }
    network.start_again("covenant-1/covenant").await.unwrap();
    bells.ring(COVENANT, &at("covenant-1/covenant"), "audit").await;

    network.kill("covenant-2/covenant").await.unwrap();
    let stakes = network.view("stakes").await.unwrap();
    let stakes = stakes["stakes"].as_array().unwrap();
    let signed: u64 = stakes.iter().map(|stake| stake["sat"].as_u64().unwrap()).sum();
    let config = dir.join("covenant-2/covenant.toml");
    let text = std::fs::read_to_string(&config).unwrap();
    let before = text.lines().find(|line| line.starts_with("max_window_sat = ")).unwrap();
    edit(&config, &[(before, &format!("max_window_sat = {signed}"))]).unwrap();
    network.start_again("covenant-2/covenant").await.unwrap();
    let (holder, _) = Holder::new(network, "late", bitcoin::Amount::from_sat(2_000_000)).await.unwrap();
    network.mine(1).await.unwrap();
    let provider = story.operators()[0].zero.clone();
    let stake = ["stake", "--yes", "--no-wait", "--amount", "1000000 sat", "--provider", &provider];
    holder.run(&[&stake[..], &["--lock", "2000 blocks"]].concat()).await.unwrap();
    bells.ring(COVENANT, &at("covenant-2/covenant"), "window").await;
}

/// An anchorer without coins, and a reporter whose node has a chain from the future.
async fn wallets_and_chains(story: &mut Story, bells: &mut Bells) {
    let network = story.network_mut();
    let dir = network.dir.clone();
    let at = |name: &str| dir.join(name).with_extension("address");
    let other = Node::temporary().await.unwrap();
    let later = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs() + 4 * 3_600;
    other.rpc().call::<Value>("setmocktime", json!([later])).await.unwrap();
    other.mine(network.node.rpc().tip().await.unwrap().height + 20).await.unwrap();
    for (name, process, part) in [("poor", "anchor", "wallet"), ("apart", "report", "bitcoin")] {
        let node = if name == "poor" { &network.node } else { &other };
        checkpointer(network, name, &network.hub_url, node).await;
        let address = format!("{name}/{process}.address");
        network.run(CHECKPOINTER, &[process], &format!("{name}/checkpointer.toml"), &address).await.unwrap();
        bells.ring(CHECKPOINTER, &at(&format!("{name}/{process}")), part).await;
    }
}

async fn checkpointer(network: &Network, name: &str, hub: &str, node: &Node) {
    let (dir, genesis) = (network.dir.join(name), network.genesis());
    make_checkpointer(&dir, &genesis, hub, node, &network.password()).await.unwrap();
}

/// An operator's signer has signed something that its record lacks, which nothing shows but the hub.
async fn a_disk_is_rolled_back(story: &mut Story, bells: &mut Bells) {
    for operator in story.operators_mut() {
        operator.stop().await.unwrap();
    }
    // Nothing more becomes final, so what is voted on next stays open.
    let own = &story.operators()[2];
    let (data, voter) = (own.dir().join("signer-data"), own.dir().join("voter.address"));
    let password = std::fs::read_to_string(story.network().password()).unwrap();
    let password = Password::new(password.trim().to_owned()).unwrap();
    let key = own.dir().join("keys/zero.json");
    let pair = open_provider(&key, &ChainId::zero(), &password, bitcoin::Network::Regtest).unwrap();
    let record = rusqlite::Connection::open(data.join("record.sqlite")).unwrap();
    let seed = record.query_row("SELECT seed FROM birth", [], |row| row.get(0)).unwrap();
    let last: i64 = record.query_row("SELECT max(height) FROM vote", [], |row| row.get(0)).unwrap();
    drop(record);
    let genesis = Genesis::new(story.network().hub.genesis().await.unwrap()).unwrap();
    let ledger = read_log(&story.network().hub, genesis.into(), drop).await.unwrap();
    let zero = &ledger.chains()[0];
    let next = Height(u64::try_from(last).unwrap()).max(zero.awaited().unwrap());
    let height = Height(next.0 - next.0 % zero.terms.voted_every).plus(zero.terms.voted_every);
    let ballot = Ballot { context: zero.vote, height, block: Hash32([9; 32]) };
    let vote = palisade_world::vote_by_seed(&pair, seed, &zero.terms, ballot);
    story.network().hub.vote(&vote).await.unwrap();

    for operator in story.operators_mut() {
        operator.start().await.unwrap();
    }
    bells.ring(PROVIDER, &voter, "record").await;
    let operator = &mut story.operators_mut()[2];
    operator.stop().await.unwrap();
    std::fs::remove_dir_all(data).unwrap();
    operator.start().await.unwrap();
    all_is_well(&[voter]).await;
}

/// An operator has a second node of the development chain, which is of another chain; then that node is gone.
async fn two_nodes_of_a_chain_differ(story: &mut Story, bells: &mut Bells) {
    let dir = story.network().dir.join("another chain");
    std::fs::create_dir(&dir).unwrap();
    // Faster than the other, which is far ahead.
    let args = ["--dir", &text(&dir), "--name", "another", "--interval-ms", "2"];
    let mut other = Daemon::start("palisade-devchain", &args, &dir.join("devchain.log")).unwrap();
    let url = format!("http://{}", other.address(&dir.join("address")).await.unwrap());
    let operator = &mut story.operators_mut()[3];
    operator.stop().await.unwrap();
    let config = operator.dir().join("voter.toml");
    let before = std::fs::read_to_string(&config).unwrap();
    std::fs::write(&config, format!("{before}\n[[sources]]\nchain = \"dev\"\nurl = {url:?}\n")).unwrap();
    operator.start().await.unwrap();
    let voter = operator.dir().join("voter.address");
    let differ = |reason: &String| reason.contains("disagree at height") && reason.contains(&url);
    until_reasons(&voter, "two nodes that differ", |all| all.iter().any(differ)).await;
    bells.ring(PROVIDER, &voter, "sources").await;
    other.stop().await.unwrap();
    until_reasons(&voter, "a node is gone", |all| all.iter().any(|why| why.contains("the chain's node at")))
        .await;
    let operator = &mut story.operators_mut()[3];
    operator.stop().await.unwrap();
    std::fs::write(&config, before).unwrap();
    operator.start().await.unwrap();
    all_is_well(&[voter]).await;
}

/// A hub that signs a false block reaches one operator, and a checkpointer.
async fn lies(story: &mut Story, bells: &mut Bells) {
    let (liar, url) = story.liar().await.unwrap();
    let honest = story.network().hub_url.clone();
    let operator = &mut story.operators_mut()[2];
    operator.stop().await.unwrap();
    operator.follow(&honest, &url).unwrap();
    operator.start().await.unwrap();
    let address = operator.dir().join("voter.address");
    bells.ring(PROVIDER, &address, "log").await;
    operator.stop().await.unwrap();
    let network = story.network_mut();
    checkpointer(network, "lied-to", &url, &network.node).await;
    for process in ["report", "watch", "anchor"] {
        let address = format!("lied-to/{process}.address");
        network.run(CHECKPOINTER, &[process], "lied-to/checkpointer.toml", &address).await.unwrap();
        bells.ring(CHECKPOINTER, &network.dir.join(&address), "log").await;
    }
    liar.stop().await.unwrap();
    let operator = &mut story.operators_mut()[2];
    operator.follow(&url, &honest).unwrap();
    operator.start().await.unwrap();
}

/// All operators are away for longer than a set lives; then governance gives chain zero a new beginning, which nobody has accepted.
async fn a_chain_is_lost(story: &mut Story, bells: &mut Bells, voter: &Path) {
    for operator in story.operators_mut() {
        operator.stop().await.unwrap();
    }
    // Of what was committed to before, sets may still be fixed while the blocks come, and for an epoch or two after them.
    loop {
        while !newest_set_has_expired(story).await {
            story.network_mut().mine(101).await.unwrap();
        }
        let then = story.network().view("status").await.unwrap()["height"].as_u64().unwrap();
        let later = |status: &Value| status["height"].as_u64() > Some(then + 2 * EPOCH);
        let network = story.network_mut();
        network.until_view("status", "two more epochs", later).await.unwrap();
        if newest_set_has_expired(story).await {
            break;
        }
    }
    for operator in story.operators_mut() {
        operator.start().await.unwrap();
    }
    bells.ring(PROVIDER, voter, "sets").await;
    story.network().govern(&["recover"]).await.unwrap();
    bells.ring(PROVIDER, voter, "nonces").await;
}

async fn newest_set_has_expired(story: &Story) -> bool {
    let chains = story.network().view("chains").await.unwrap();
    let zero = chains.as_array().unwrap().iter().find(|chain| chain["zero"] == true).unwrap();
    let path = format!("sets/{}/{}", zero["id"].as_str().unwrap(), zero["newest_set"]);
    let set = story.network().view(&path).await.unwrap();
    let tip = story.network().node.rpc().tip().await.unwrap();
    set["expiry"].as_u64().unwrap() < u64::from(tip.height)
}

/// The rules beside the page name only metrics that a shipped program has.
async fn the_rules_for_prometheus_name_metrics_that_exist(addresses: &[PathBuf]) {
    let mut known = String::new();
    for address in addresses {
        known += &serves(address, "metrics").await;
    }
    let rules = include_str!("../../../../docs/operations/alerts.yml");
    let own = |word: &&str| word.starts_with("palisade_");
    let words = rules.split(|c: char| !(c.is_ascii_lowercase() || c == '_')).filter(own);
    let mut count = 0;
    for metric in words {
        assert!(known.contains(&format!("# TYPE {metric} ")), "{metric}");
        count += 1;
    }
    assert!(count > 10);
}
