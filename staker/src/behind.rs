//! Nothing is decided on what a Bitcoin node says that has not caught up.

use crate::failures;
use palisade_hub::bitcoind::{Behind, BitcoinRpc};
use palisade_hub::daemon::exit::Failure;

/// Refuses to go on with a node that is behind. `hub` is the height of Bitcoin in the own copy of the hub's log, where there
/// is one.
pub async fn check(node: &BitcoinRpc, hub: Option<u32>) -> Result<(), Failure> {
    let (why, also) = match node.progress().await.map_err(failures::node)?.behind(hub) {
        None => return Ok(()),
        Some(why @ Behind::Hub { .. }) => (why, "; `withdraw --backup FILE` asks no hub"),
        Some(why) => (why, ""),
    };
    Err(Failure::not_now(why)
        .hint(format_args!("nothing is decided on what it says: wait until it has caught up{also}")))
}
