//! Whether the own Bitcoin node has caught up: what a node that is behind says of coins is old, and nothing is decided on it.

use crate::failures;
use bitcoin::Network;
use palisade_hub::bitcoind::{BitcoinRpc, RpcError};
use palisade_hub::daemon::exit::Failure;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// Blocks that a node may lack: the newest one takes a moment.
const MARGIN: u32 = 1;

/// In what a node is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Behind {
    /// It reads the chain for the first time, or after a long pause.
    #[error("your Bitcoin node is still downloading blocks: it is at height {blocks}")]
    Downloading {
        /// Height of its newest block.
        blocks: u32,
    },
    /// Its peers have told it of more blocks than it has.
    #[error(
        "your Bitcoin node is behind its peers: it is at height {blocks}, and knows of headers up to {headers}"
    )]
    Peers {
        /// Height of its newest block.
        blocks: u32,
        /// Height of its best header.
        headers: u32,
    },
    /// The hub's log has headers of more blocks.
    #[error(
        "your Bitcoin node is behind the hub: it is at height {blocks}, and the hub's log knows Bitcoin up to {hub}"
    )]
    Hub {
        /// Height of its newest block.
        blocks: u32,
        /// Height of Bitcoin in the log.
        hub: u32,
    },
}

/// The part of bitcoind's `getblockchaininfo` that tells.
#[derive(Debug, Deserialize)]
struct Info {
    blocks: u32,
    headers: u32,
    initialblockdownload: bool,
}

/// Asks a node. `hub` is the height of Bitcoin in the own copy of the hub's log, where there is one.
pub async fn ask(node: &BitcoinRpc, network: Network, hub: Option<u32>) -> Result<Option<Behind>, RpcError> {
    Ok(judge(&node.call("getblockchaininfo", json!([])).await?, network, hub))
}

/// Refuses to decide on what a node says that is behind.
pub async fn check(node: &BitcoinRpc, network: Network, hub: Option<u32>) -> Result<(), Failure> {
    match ask(node, network, hub).await.map_err(failures::node)? {
        None => Ok(()),
        Some(why @ Behind::Hub { .. }) => Err(Failure::not_now(why).hint(
            "nothing is decided on what it says: wait until it has caught up; `withdraw --backup FILE` asks no hub",
        )),
        Some(why) => {
            Err(Failure::not_now(why).hint("nothing is decided on what it says: wait until it has caught up"))
        }
    }
}

fn judge(info: &Info, network: Network, hub: Option<u32>) -> Option<Behind> {
    let Info { blocks, headers, initialblockdownload } = *info;
    let reached = blocks.saturating_add(MARGIN);
    // On regtest nobody but the user makes blocks, so that an old tip means nothing.
    if initialblockdownload && network != Network::Regtest {
        Some(Behind::Downloading { blocks })
    } else if headers > reached {
        Some(Behind::Peers { blocks, headers })
    } else {
        hub.filter(|hub| *hub > reached).map(|hub| Behind::Hub { blocks, hub })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_behind_its_peers_or_the_hub_or_while_it_downloads() {
        let judge = |headers, hub, initialblockdownload, network| {
            judge(&Info { blocks: 100, headers, initialblockdownload }, network, hub)
        };
        let (signet, regtest) = (Network::Signet, Network::Regtest);
        for (headers, hub, downloading, network, expected) in [
            (100, None, false, signet, None),
            (101, Some(101), false, signet, None),
            (100, Some(50), false, signet, None),
            (102, Some(102), false, signet, Some(Behind::Peers { blocks: 100, headers: 102 })),
            (100, Some(102), false, signet, Some(Behind::Hub { blocks: 100, hub: 102 })),
            (100, None, true, signet, Some(Behind::Downloading { blocks: 100 })),
            (100, None, true, regtest, None),
            (102, None, true, regtest, Some(Behind::Peers { blocks: 100, headers: 102 })),
        ] {
            assert_eq!(
                judge(headers, hub, downloading, network),
                expected,
                "{headers} {hub:?} {downloading}"
            );
        }
    }
}
