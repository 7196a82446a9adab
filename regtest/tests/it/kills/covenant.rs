//! A covenant member is killed while it answers.

use super::moments;
use palisade_covenant::audit::{Act, Audit};
use palisade_covenant::config::DEFAULT;
use palisade_covenant::run::KEY_PURPOSE;
use palisade_hub::daemon::template::Template;
use palisade_hub::ledger::stake::Stake;
use palisade_hub::replica::Replica;
use palisade_protocol::context::ChainId;
use palisade_protocol::message::Message;
use palisade_protocol::stake::StakeId;
use palisade_protocol::units::Height;
use palisade_regtest::hub_process::{HubProcess, key_file};
use palisade_regtest::in_time;
use palisade_regtest::process::{Daemon, tool};
use palisade_world::{COVENANT, Wish, World};
use rand::Rng as _;
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

const SAT: u64 = 20_000;
/// Stakes that wait for an answer, and how many of them fit into the member's window: the others go on waiting.
const STAKES: usize = 60;
const ALLOWED: usize = 40;
const KILLS: usize = 3;

/// A world whose log holds registered stakes that nobody has answered.
fn world() -> (World, Vec<StakeId>) {
    let mut world = World::new(1_000_000);
    world.mine(1);
    world.register_provider(&ChainId::zero(), "anna");
    // All coins first: a coin takes a Bitcoin block, and stakes that wait too long lapse.
    world.coins = (0..STAKES).map(|_| world.fund("alice", SAT + 1_000)).collect();
    let wish = Wish { holder: "alice", sat: SAT, providers: &["anna"], lock: 300 };
    let ids = (0..STAKES).map(|_| world.register_stake(&wish).0).collect();
    world.close();
    (world, ids)
}

/// The configuration of the member.
pub(super) fn configure(hub: &HubProcess) -> PathBuf {
    key_file(&hub.at("covenant.key.json"), KEY_PURPOSE, COVENANT[0]);
    let most = SAT * ALLOWED as u64;
    let config = Template::new(DEFAULT).path("data_dir", hub.at("member")).unwrap();
    let config = config.path("genesis_file", hub.at("genesis.json")).unwrap();
    let config = config.path("key_file", hub.at("covenant.key.json")).unwrap();
    let config = config.path("password_file", hub.at("password")).unwrap();
    let config = config.text("hub.url", hub.client.url()).unwrap();
    let config = config.text("listen.address", "127.0.0.1:0").unwrap();
    let text = config.finish();
    let wide = "max_window_sat = 1_000_000_000_000";
    assert!(text.contains(wide));
    let path = hub.at("covenant.toml");
    std::fs::write(&path, text.replace(wide, &format!("max_window_sat = {most}"))).unwrap();
    path
}

/// Waits until the audit log has so many entries, more than now.
async fn until_entries(audit: &Path, count: usize) {
    let enough = || {
        let log = Connection::open_with_flags(audit, OpenFlags::SQLITE_OPEN_READ_ONLY).ok()?;
        let found: i64 = log.query_row("SELECT count(*) FROM entry", [], |row| row.get(0)).ok()?;
        Some(found >= count as i64)
    };
    let mut looks = tokio::time::interval(Duration::from_millis(1));
    let there = async {
        while enough() != Some(true) {
            looks.tick().await;
        }
    };
    in_time("the member's entries", there).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_member_answers_every_stake_once_and_counts_what_it_signed_before() {
    let mut moments = moments();
    let (world, ids) = world();
    let hub = HubProcess::start(&world).await;
    let config = configure(&hub);
    let args = [Path::new("run"), Path::new("--config"), &config];
    let mut member = Daemon::start("palisade-covenant", &args, &hub.at("member.log")).unwrap();
    let path = hub.at("member/audit.sqlite");
    for kill in 0..KILLS {
        // Each in its own part of the work, so that there is something left to be killed in.
        let part = ALLOWED / KILLS;
        until_entries(&path, kill * part + moments.gen_range(1..part)).await;
        member.kill().await.unwrap();
        Audit::read(&path).unwrap();
        member.start_again(None).unwrap();
    }
    let mut log = Replica::open(&hub.at(""), world.ledger.genesis().clone()).unwrap();
    let answered = async {
        let answers = |stake: &Stake| stake.signatures.len() + stake.refusals.len();
        while log.ledger().stakes().iter().map(answers).sum::<usize>() < ALLOWED {
            log.follow(&hub.client, Duration::from_secs(10)).await.unwrap();
            member.check().unwrap();
        }
    };
    in_time("the answers", answered).await;

    let entries = Audit::read(&path).unwrap().entries().unwrap();
    let acts: BTreeMap<StakeId, Act> = entries.iter().map(|entry| (entry.stake, entry.act)).collect();
    assert_eq!(
        (entries.len(), acts.len()),
        (ALLOWED, ALLOWED),
        "one entry a stake, and no more than the window holds"
    );
    assert!(acts.iter().all(|(id, act)| ids.contains(id) && *act == Act::Signed));
    // What stands in the log is what stands in the audit log, byte for byte.
    let blocks = log.store().blocks(Height(0), u32::MAX).unwrap();
    let messages = blocks.iter().flat_map(|block| &block.messages);
    let answers = messages.filter(|bytes| matches!(bytes.decode(), Ok(Message::Answer(_))));
    let mut answers: Vec<&[u8]> = answers.map(|bytes| bytes.as_slice()).collect();
    let mut recorded: Vec<&[u8]> = entries.iter().map(|entry| entry.message.as_slice()).collect();
    answers.sort_unstable();
    recorded.sort_unstable();
    assert!(answers == recorded, "{} answers, {} entries", answers.len(), recorded.len());
    let config = config.display().to_string();
    let said = tool("palisade-covenant", &["audit", "--config", &config]).await.unwrap();
    assert!(said.contains("the log is whole"), "{said}");
}
