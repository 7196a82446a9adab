//! Stories of a member that runs against a hub: it answers everything once, and nothing that a liar shows it.

use palisade_covenant::audit::{Act, Audit};
use palisade_covenant::judge::Policy;
use palisade_covenant::member::Member;
use palisade_covenant::run::Desk;
use palisade_covenant::sign::Signer;
use palisade_hub::client::HubClient;
use palisade_hub::daemon::health::Health;
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_hub::engine::Hub;
use palisade_hub::replica::Replica;
use palisade_protocol::block::Block;
use palisade_protocol::context::ChainId;
use palisade_protocol::message::Message;
use palisade_protocol::stake::StakeId;
use palisade_protocol::units::Height;
use palisade_regtest::hub::{make_blocks, serve};
use palisade_regtest::in_time;
use palisade_regtest::liar::{Liar, versions};
use palisade_world::{COVENANT, Wish, World, keypair, pair};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

const MAX_STAKE: u64 = 100_000;

/// A world whose log holds as many registered stakes, the last of them above the member's limit.
fn world(stakes: u64) -> (World, Vec<StakeId>) {
    let mut world = World::new(1_000_000);
    world.mine(1);
    world.register_provider(&ChainId::zero(), "anna");
    world.close();
    let sat = |number| if number + 1 == stakes { MAX_STAKE + 1 } else { 20_000 + number };
    // All coins first: a coin takes a Bitcoin block, and stakes that wait too long lapse.
    let coins = (0..stakes).map(|number| world.fund("alice", sat(number) + 1_000)).collect();
    world.coins = coins;
    let wish = |number| Wish { holder: "alice", sat: sat(number), providers: &["anna"], lock: 300 };
    let ids = (0..stakes).map(|number| world.register_stake(&wish(number)).0).collect();
    world.close();
    (world, ids)
}

fn desk(dir: &Path, world: &World, hub: &HubClient) -> (Desk, Health) {
    desk_of(COVENANT[0], dir, world, hub)
}

fn desk_of(name: &str, dir: &Path, world: &World, hub: &HubClient) -> (Desk, Health) {
    let policy = Policy {
        max_stake_sat: MAX_STAKE,
        max_window_sat: u64::MAX,
        window_blocks: 144,
        denied_providers: Vec::new(),
        allowed_providers: None,
    };
    let audit = Audit::open(&dir.join("audit.sqlite")).unwrap();
    let replica = Replica::open(dir, world.ledger.genesis().clone()).unwrap();
    let health = Health::new("palisade-covenant", "0", bitcoin::Network::Regtest.into()).unwrap();
    let member = Member::new(Signer::new(pair(name)), policy, audit);
    (Desk::new(member, replica, hub.clone(), health.clone()).unwrap(), health)
}

/// A hub that has replayed the world's log and goes on from there.
async fn start_hub(dir: &Path, world: &World, stop: &Shutdown) -> (Arc<Hub>, HubClient) {
    let hub = world.hub(dir);
    let client = HubClient::new(serve(&hub, stop).await.parse().unwrap());
    let every = Duration::from_millis(10);
    tokio::spawn(make_blocks(hub.clone(), keypair("hub"), every, stop.clone()));
    (hub, client)
}

/// Runs a desk until something holds.
async fn work_until(desk: &mut Desk, holds: impl Fn() -> bool) {
    let stop = Shutdown::manual();
    let watch = async {
        let mut ticks = tokio::time::interval(Duration::from_millis(5));
        while !holds() {
            ticks.tick().await;
        }
        stop.trigger();
    };
    let both = async { tokio::join!(desk.work(&stop), watch) };
    in_time("what the desk works for", both).await.0.unwrap();
}

fn answers_in_log(hub: &Hub) -> usize {
    let blocks = hub.store().blocks(Height(0), u32::MAX).unwrap();
    let messages = blocks.iter().flat_map(|block| &block.messages);
    messages.filter(|message| matches!(message.decode().unwrap(), Message::Answer(_))).count()
}

/// More stakes than are answered at a time; the second process finds its answers on disk and in the log.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_answers_every_stake_once_also_when_it_starts_again() {
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (world, ids) = world(70);
    let stop = Shutdown::manual();
    let (hub, client) = start_hub(dirs[0].path(), &world, &stop).await;
    let answered = || {
        let ledger = hub.ledger();
        let answers = |id| ledger.stakes().find(id).map(|(_, s)| s.signatures.len() + s.refusals.len());
        ids.iter().all(|id| answers(id) == Some(1))
    };
    work_until(&mut desk(dirs[1].path(), &world, &client).0, answered).await;

    let audit = Audit::open(&dirs[1].path().join("audit.sqlite")).unwrap();
    let entries = audit.entries().unwrap();
    assert_eq!(entries.len(), ids.len());
    let refused: Vec<_> = entries.iter().filter(|entry| entry.act == Act::Refused).collect();
    assert_eq!(refused.iter().map(|entry| entry.stake).collect::<Vec<_>>(), ids[ids.len() - 1..]);
    assert!(hub.ledger().stakes().iter().all(|stake| {
        stake.refusals.is_empty() || stake.refusals.values().all(|why| *why == refused[0].reason)
    }));

    let (mut again, health) = desk(dirs[1].path(), &world, &client);
    let tip = hub.ledger().next_height();
    let passed = || hub.ledger().next_height() >= tip.plus(30);
    work_until(&mut again, || passed() && caught_up(&health, tip)).await;
    assert_eq!(answers_in_log(&hub), ids.len());
    assert_eq!(audit.entries().unwrap(), entries);
    assert_eq!(health.report().reasons, Vec::<String>::new());
    stop.trigger();
}

fn caught_up(health: &Health, tip: Height) -> bool {
    let metrics = health.metrics().unwrap();
    let height = metrics.lines().find_map(|line| line.strip_prefix("palisade_height "));
    height.is_some_and(|height| height.parse::<u64>().unwrap() >= tip.0)
}

/// Puts a desk before a liar that alters one place of a block, for each place, with a copy of the files in `files`:
/// nothing is sent because of it, and no act is added to the audit log. Gives the liar, for the truth.
async fn check_lies(files: &Path, world: &World, hub: &Hub, url: &str, block: &Block) -> Liar {
    let acts = |dir: &Path| Audit::open(&dir.join("audit.sqlite")).unwrap().entries().unwrap().len();
    let before = acts(files);
    let first = Liar::start(url).await;
    let versions = versions(block, &hub.ledger().contexts().hub);
    assert!(versions.len() > 30, "{}", versions.len());
    for (name, bytes) in versions {
        let dir = copy_of(files);
        let liar = first.another().await;
        liar.replace_block(block, &bytes);
        let (mut desk, health) = desk(dir.path(), world, &HubClient::new(liar.url().parse().unwrap()));
        work_until(&mut desk, || liar.told() > 0 && !health.report().reasons.is_empty()).await;
        assert_eq!(liar.posted(), Vec::<String>::new(), "{name}");
        assert_eq!(acts(dir.path()), before, "{name}");
    }
    first
}

fn copy_of(files: &Path) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(files).unwrap().map(Result::unwrap) {
        std::fs::copy(file.path(), dir.path().join(file.file_name())).unwrap();
    }
    dir
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_is_in_no_committee_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let (world, _) = world(1);
    let stop = Shutdown::manual();
    let (hub, client) = start_hub(dir.path(), &world, &stop).await;
    for (name, reasons) in [(COVENANT[1], 0), ("somebody else", 1)] {
        let own = dir.path().join(name);
        std::fs::create_dir(&own).unwrap();
        let (mut desk, health) = desk_of(name, &own, &world, &client);
        let beyond = hub.ledger().next_height().plus(2);
        work_until(&mut desk, || {
            hub.ledger().next_height() > beyond && health.report().reasons.len() == reasons
        })
        .await;
        let said = health.report().reasons.concat();
        assert_eq!(said.contains("no committee with the key"), reasons == 1, "{said}");
    }
    stop.trigger();
}

/// A hub that alters one place of the block that registers stakes, and then what it says of the answers.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_signs_nothing_for_a_hub_that_lies() {
    let (world, ids) = world(2);
    let stop = Shutdown::manual();
    let hub_dir = tempfile::tempdir().unwrap();
    let (hub, client) = start_hub(hub_dir.path(), &world, &stop).await;
    let dir = tempfile::tempdir().unwrap();
    drop(Audit::open(&dir.path().join("audit.sqlite")).unwrap());
    let liar = check_lies(dir.path(), &world, &hub, client.url().as_str(), world.log.last().unwrap()).await;
    assert_eq!(answers_in_log(&hub), 0);

    // The truth but for receipts, through such a proxy: both stakes are answered, once.
    liar.alter_answer("/messages");
    let (mut desk, _) = desk(dir.path(), &world, &HubClient::new(liar.url().parse().unwrap()));
    work_until(&mut desk, || answers_in_log(&hub) == ids.len() && liar.lied_at("POST /messages") > 0).await;
    assert_eq!(liar.posted(), ["/messages", "/messages"]);
    liar.check_doors(&["GET /blocks", "POST /messages"]);
    stop.trigger();
}

/// A hub that alters one place of the block after which the member's consent to an expansion is wanted.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_consents_to_no_expansion_for_a_hub_that_lies() {
    let mut world = World::new(1_000_000);
    world.mine(1);
    world.register_provider(&ChainId::zero(), "anna");
    let wish = Wish { holder: "alice", sat: 20_000, providers: &["anna"], lock: 300 };
    let (old, tx) = world.register_stake(&wish);
    // Without the member, whose audit log would lack the answer.
    for other in &COVENANT[1..4] {
        let answer = world.answer(other, world.stake(&old));
        world.send(&answer).unwrap();
    }
    world.include(&old, &tx);
    world.mine(world.stake(&old).k);
    let expansion = world.expansion(&old, &Wish { sat: 30_000, ..wish }, &[]);
    let new = StakeId(world.send(&Message::Stake(Box::new(expansion))).unwrap());
    world.close();
    let stop = Shutdown::manual();
    let dirs = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let (hub, client) = start_hub(dirs[0].path(), &world, &stop).await;
    let signed = || hub.ledger().stakes().find(&new).unwrap().1.signatures.len();
    work_until(&mut desk(dirs[1].path(), &world, &client).0, || signed() == 1).await;
    let mut height = Height(0);
    for other in &COVENANT[1..3] {
        height = client.submit(&world.answer(other, world.stake(&new))).await.unwrap().height;
    }
    let block = hub.store().blocks(height, 1).unwrap().remove(0);
    let liar = check_lies(dirs[1].path(), &world, &hub, client.url().as_str(), &block).await;
    let consents = || hub.ledger().stakes().find(&new).unwrap().1.consents.len();
    assert_eq!(consents(), 0);

    liar.alter_answer("/messages");
    let (mut desk, _) = desk(dirs[1].path(), &world, &HubClient::new(liar.url().parse().unwrap()));
    work_until(&mut desk, || consents() == 1 && liar.lied_at("POST /messages") > 0).await;
    assert_eq!(liar.posted(), ["/messages"]);
    liar.check_doors(&["GET /blocks", "POST /messages"]);
    stop.trigger();
}
