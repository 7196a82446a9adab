//! Stories of a member that runs against a hub: it answers everything once, and nothing that a liar shows it.

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use palisade_covenant::audit::{Act, Audit};
use palisade_covenant::judge::Policy;
use palisade_covenant::member::Member;
use palisade_covenant::run::Desk;
use palisade_covenant::sign::Signer;
use palisade_hub::api::{self, Door};
use palisade_hub::client::{HubClient, LogPage};
use palisade_hub::daemon::endpoint::ListenAddr;
use palisade_hub::daemon::health::Health;
use palisade_hub::daemon::serve::Server;
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_hub::engine::Hub;
use palisade_hub::replica::Replica;
use palisade_protocol::block::Block;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::ChainId;
use palisade_protocol::message::Message;
use palisade_protocol::stake::StakeId;
use palisade_protocol::units::Height;
use palisade_regtest::world::{COVENANT, Wish, World, keypair, pair};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
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
    let member = Member::new(Signer::new(pair(COVENANT[0])), policy, audit);
    (Desk::new(member, replica, hub.clone(), health.clone()).unwrap(), health)
}

/// Serves routes until the request to stop.
async fn serve(routes: Router, stop: &Shutdown) -> HubClient {
    let server = Server::bind(&ListenAddr::any_loopback_port()).await.unwrap();
    let client = HubClient::new(format!("http://{}/", server.address()).parse().unwrap());
    let stop = stop.clone();
    tokio::spawn(async move { server.run(routes, &stop).await });
    client
}

/// A hub that has replayed the world's log and goes on from there.
async fn start_hub(dir: &Path, world: &World, stop: &Shutdown) -> (Arc<Hub>, HubClient) {
    let replica = Replica::open(dir, world.ledger.genesis().clone()).unwrap();
    let (ledger, store) = replica.into_parts();
    let hub = Hub::new(ledger, store);
    world.log.iter().for_each(|block| hub.follow_block(block).unwrap());
    let client = serve(api::router(Door { hub: hub.clone(), follower: false }), stop).await;
    let (maker, stopped) = (hub.clone(), stop.clone());
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(10));
        while !stopped.is_requested() {
            ticks.tick().await;
            maker.make_block(&keypair("hub")).unwrap();
        }
    });
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
    tokio::time::timeout(Duration::from_secs(60), both).await.expect("it happens in time").0.unwrap();
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

type Alteration = fn(&mut Block);

struct Liar {
    log: Vec<Block>,
    alter: Alteration,
    submitted: AtomicUsize,
}

impl Liar {
    fn routes(self: &Arc<Self>) -> Router {
        let blocks = |State(liar): State<Arc<Self>>| async move {
            let mut blocks = liar.log.clone();
            (liar.alter)(blocks.last_mut().unwrap());
            Json(LogPage { blocks: blocks.iter().map(|block| hex::encode(block.to_bytes())).collect() })
        };
        let messages = |State(liar): State<Arc<Self>>| async move {
            liar.submitted.fetch_add(1, Ordering::SeqCst);
        };
        let routes = Router::new().route("/blocks", get(blocks)).route("/messages", post(messages));
        routes.with_state(self.clone())
    }
}

/// A hub that alters one field of the block that registers a stake.
#[tokio::test(flavor = "multi_thread")]
async fn a_member_signs_nothing_for_a_hub_that_lies() {
    let alterations: [(&str, Alteration); 8] = [
        ("height", |block| block.header.height = Height(7)),
        ("previous", |block| block.header.previous.0[0] ^= 1),
        ("message root", |block| block.header.message_root.0[0] ^= 1),
        ("state root", |block| block.header.state_root.0[0] ^= 1),
        ("Bitcoin height", |block| block.header.btc_height = block.header.btc_height.plus(1)),
        ("signature", |block| block.signature = pair("liar").sign_bip340(&[1; 32], &[2; 32])),
        ("a message less", |block| block.messages.truncate(1)),
        ("a message twice", |block| block.messages.push(block.messages[0].clone())),
    ];
    let (world, _) = world(2);
    for (name, alter) in alterations {
        let dir = tempfile::tempdir().unwrap();
        let stop = Shutdown::manual();
        let liar = Arc::new(Liar { log: world.log.clone(), alter, submitted: AtomicUsize::new(0) });
        let client = serve(liar.routes(), &stop).await;
        let (mut desk, health) = desk(dir.path(), &world, &client);
        work_until(&mut desk, || health.report().reasons.iter().any(|why| why.contains("not valid"))).await;
        assert_eq!(liar.submitted.load(Ordering::SeqCst), 0, "{name}");
        let audit = Audit::open(&dir.path().join("audit.sqlite")).unwrap();
        assert!(audit.entries().unwrap().is_empty(), "{name}");
        stop.trigger();
    }
}
