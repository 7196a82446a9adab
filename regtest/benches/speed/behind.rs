//! Finality that stood still for 20,000 hub blocks: a hub, a shipped voter with all power, a real bitcoind.

#[path = "../../tests/it/untaken/operator.rs"]
mod operator;

use crate::measure::time;
use crate::table::{Row, Target};
use bitcoin::secp256k1::Keypair;
use operator::{NO_HUB, PROGRAM, install, text};
use palisade_finality_provider::signer::client::SignerClient;
use palisade_finality_provider::signer::request::CommitRequest;
use palisade_hub::engine::Hub;
use palisade_protocol::context::{ChainId, Terms};
use palisade_protocol::message::Message;
use palisade_protocol::units::{Epoch, Height};
use palisade_regtest::Node;
use palisade_regtest::demo::network::edit;
use palisade_regtest::hub;
use palisade_regtest::process::Daemon;
use palisade_world::{COVENANT, Wish, World, keypair};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// Hub blocks without a vote; every fifth is voted on.
const AWAY: u64 = 20_000;
const TERMS: Terms = Terms { epoch_length: 1_800, voted_every: 5, minimum_power_sat: 1 };
/// Time between hub blocks.
const INTERVAL: Duration = Duration::from_millis(200);

/// The rows about a hub and a voter that catch up.
pub fn rows() -> Vec<Row> {
    let runtime = Runtime::new().expect("threads");
    runtime.block_on(catch_up())
}

async fn catch_up() -> Vec<Row> {
    let dir = tempfile::tempdir().expect("a directory");
    let mut world = World::with(TERMS, &COVENANT, 3);
    world.mine(1);
    world.register_provider(&ChainId::zero(), "anna");
    world.active_stake(&Wish { holder: "holder", sat: 500_000, providers: &["anna"], lock: 2_000 });
    let node = Node::of(&world).await.expect("a node");
    let (signer, client) = install(dir.path(), &world, &node, "anna").await;
    while world.ledger.next_height() < Height(AWAY) {
        commit(&mut world, &client).await;
        world.close_until(world.ledger.next_height().0 + TERMS.epoch_length);
    }
    let mut hub = None;
    let replayed = time(|| hub = Some(world.hub(&dir.path().join("hub"))));
    let (hub, blocks) = (hub.expect("a hub"), world.log.len());
    let (took, made, longest) = finality(&hub, dir.path()).await;
    signer.stop().await.expect("it stops");
    let row = |work: String, ours: f64, target| Row { work, ours, floor: None, go: None, target };
    vec![
        row("hub block replayed and kept, 50 at once".to_owned(), replayed / blocks as f64, Target::None),
        row(
            format!(
                "finality at the tip after {blocks} blocks without, in {made} blocks of {} ms",
                INTERVAL.as_millis()
            ),
            took,
            Target::Within(120.0),
        ),
        row("longest hub block meanwhile".to_owned(), longest, Target::Within(INTERVAL.as_secs_f64())),
    ]
}

/// The only operator commits to the epochs that are open next.
async fn commit(world: &mut World, client: &SignerClient) {
    let zero = ChainId::zero();
    let first = world.ledger.first_open_epoch(&zero).0;
    for epoch in (first..first + 4).map(Epoch) {
        let request = CommitRequest { chain: zero.clone(), epoch };
        let commitment = client.commit(request).await.expect("a commitment");
        // What is committed already is refused.
        let _ = world.send(&Message::Commitment(commitment));
    }
}

/// Starts the voter and makes blocks until finality is at the tip: how long that takes, in how many blocks, and the longest of them.
async fn finality(hub: &Arc<Hub>, dir: &Path) -> (f64, u64, f64) {
    let stop = palisade_hub::daemon::shutdown::Shutdown::manual();
    let url = hub::serve(hub, &stop).await;
    let counting = tokio::spawn(hub.clone().judge());
    edit(&dir.join("voter.toml"), &[(NO_HUB, &url)]).expect("a configuration");
    let args = ["run".to_owned(), "--config".to_owned(), text(&dir.join("voter.toml"))];
    let began = Instant::now();
    let mut voter = Daemon::start(PROGRAM, &args, &dir.join("voter.log")).expect("a voter");
    let (first, mut longest) = (hub.ledger().next_height(), 0f64);
    let mut ticks = tokio::time::interval(INTERVAL);
    let key: Keypair = keypair("hub");
    while !is_near(hub) {
        ticks.tick().await;
        longest = longest.max(time(|| drop(hub.make_block(&key).expect("a disk"))));
        voter.check().expect("it goes on");
    }
    let (took, made) = (began.elapsed().as_secs_f64() * 1e6, hub.ledger().next_height().0 - first.0);
    voter.stop().await.expect("it stops");
    counting.abort();
    stop.trigger();
    (took, made, longest)
}

fn is_near(hub: &Hub) -> bool {
    let ledger = hub.ledger();
    let last = ledger.chains().first().and_then(|zero| zero.last_final());
    last.is_some_and(|(height, _)| height.plus(3 * TERMS.voted_every) >= ledger.next_height())
}
