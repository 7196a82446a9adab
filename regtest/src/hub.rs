//! A hub inside a test: the real engine and API, without a process of its own. What does not go as tests expect is a panic.

use bitcoin::secp256k1::Keypair;
use palisade_hub::api::{self, Door};
use palisade_hub::client::HubClient;
use palisade_hub::daemon::endpoint::ListenAddr;
use palisade_hub::daemon::serve::Server;
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_hub::engine::Hub;
use palisade_hub::run;
use std::sync::Arc;
use std::time::Duration;

/// Serves a hub's API on a free port until the stop. Gives its address, with a slash at the end.
pub async fn serve(hub: &Arc<Hub>, stop: &Shutdown) -> String {
    serve_as(Door { hub: hub.clone(), follower: false }, stop).await
}

/// The same of a hub that follows another one.
pub async fn serve_follower(hub: &Arc<Hub>, stop: &Shutdown) -> String {
    serve_as(Door { hub: hub.clone(), follower: true }, stop).await
}

async fn serve_as(door: Door, stop: &Shutdown) -> String {
    let server = Server::bind(&ListenAddr::any_loopback_port()).await.expect("a free port");
    let url = format!("http://{}/", server.address());
    let (routes, stopped) = (api::router(door), stop.clone());
    tokio::spawn(async move { server.run(routes, &stopped).await });
    url
}

/// Follows another hub until the stop.
pub fn follow(hub: &Arc<Hub>, leader: HubClient, stop: &Shutdown) {
    let (hub, stop) = (hub.clone(), stop.clone());
    tokio::spawn(async move {
        while !stop.is_requested() {
            if run::follow_page(&leader, &hub).await.is_err() {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    });
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
