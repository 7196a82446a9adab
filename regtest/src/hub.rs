//! A hub inside a test: the real engine and API, without a process of its own. What does not go as tests expect is a panic.

use crate::world::World;
use bitcoin::secp256k1::Keypair;
use palisade_hub::api::{self, Door};
use palisade_hub::daemon::endpoint::ListenAddr;
use palisade_hub::daemon::serve::Server;
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_hub::engine::Hub;
use palisade_hub::replica::{AT_ONCE, Replica};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A world's log in a directory (made if it is missing), with the state after it.
pub fn log_of(world: &World, dir: &Path) -> Replica {
    std::fs::create_dir_all(dir).expect("a directory");
    let mut replica = Replica::open(dir, world.ledger.genesis().clone()).expect("a log");
    for blocks in world.log.chunks(AT_ONCE) {
        let (_, refused) = replica.take_all(blocks);
        assert!(refused.is_none(), "{refused:?}");
    }
    replica
}

/// A hub that goes on from a world's log, with its own log in a directory (made if it is missing).
pub fn of(world: &World, dir: &Path) -> Arc<Hub> {
    let (ledger, store) = log_of(world, dir).into_parts();
    Hub::new(ledger, store)
}

/// Serves a hub's API on a free port until the stop. Gives its address, with a slash at the end.
pub async fn serve(hub: &Arc<Hub>, stop: &Shutdown) -> String {
    let server = Server::bind(&ListenAddr::any_loopback_port()).await.expect("a free port");
    let url = format!("http://{}/", server.address());
    let (routes, stopped) = (api::router(Door { hub: hub.clone(), follower: false }), stop.clone());
    tokio::spawn(async move { server.run(routes, &stopped).await });
    url
}

/// Makes a block at each interval, and judges messages and votes as they come, until the stop.
pub async fn make_blocks(hub: Arc<Hub>, key: Keypair, every: Duration, stop: Shutdown) {
    let blocks = async {
        let mut ticks = tokio::time::interval(every);
        while !stop.is_requested() {
            ticks.tick().await;
            hub.make_block(&key).expect("a disk");
        }
    };
    tokio::select! {
        () = blocks => {}
        never = hub.clone().judge() => match never {},
    }
}
