//! Palisade under test: a real bitcoind, the network around it, and those who misbehave.

mod bitcoind;
pub mod demo;
pub mod devchain;
pub mod faults;
pub mod gate;
pub mod hub;
pub mod hub_process;
pub mod liar;
pub mod load;
pub mod node;
pub mod process;

use std::time::Duration;

pub use bitcoind::{NoBitcoind, bitcoind_path};
pub use node::Node;

/// What a test waits for must happen within three minutes, or the test fails: a fault must not become one that never ends.
pub async fn in_time<T>(what: &str, wait: impl Future<Output = T>) -> T {
    let waited = tokio::time::timeout(Duration::from_secs(180), wait).await;
    waited.unwrap_or_else(|_| panic!("{what} did not happen in time"))
}
