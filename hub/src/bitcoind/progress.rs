//! How far a node is with Bitcoin's blocks. What one that is behind says of coins is old, and nothing is decided on it.

use super::answers::{ChainInfo, Tip};
use bitcoin::Network;
use serde::Serialize;

/// Blocks that a node may lack: the newest one takes a moment.
const MARGIN: u32 = 1;

/// What a node has, and what it has heard of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Progress {
    /// The last block that it has judged.
    pub tip: Tip,
    /// Height of the best header that it has heard of.
    pub headers: u32,
    /// Whether it is still downloading what others have had for long.
    pub downloading: bool,
}

/// In what a node is behind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Behind {
    /// It reads the chain for the first time, or after a long pause.
    #[error(
        "the Bitcoin node is still downloading blocks: it is at height {blocks}, and knows of headers up to {headers}"
    )]
    Downloading {
        /// Height of its newest block.
        blocks: u32,
        /// Height of its best header.
        headers: u32,
    },
    /// Its peers have told it of more blocks than it has.
    #[error(
        "the Bitcoin node is behind its peers: it is at height {blocks}, and knows of headers up to {headers}"
    )]
    Peers {
        /// Height of its newest block.
        blocks: u32,
        /// Height of its best header.
        headers: u32,
    },
    /// The hub's log has headers of more blocks.
    #[error(
        "the Bitcoin node is behind the hub: it is at height {blocks}, and the hub's log knows Bitcoin up to {hub}"
    )]
    Hub {
        /// Height of its newest block.
        blocks: u32,
        /// Height of Bitcoin in the log.
        hub: u32,
    },
}

impl Progress {
    /// Why the node does not show Bitcoin as it is now, if it does not. `hub` is the height of Bitcoin in the own copy of a
    /// hub's log, where there is one.
    pub fn behind(&self, hub: Option<u32>) -> Option<Behind> {
        let Self { tip: Tip { height: blocks, .. }, headers, downloading } = *self;
        let reached = blocks.saturating_add(MARGIN);
        if downloading {
            Some(Behind::Downloading { blocks, headers })
        } else if headers > reached {
            Some(Behind::Peers { blocks, headers })
        } else {
            hub.filter(|hub| *hub > reached).map(|hub| Behind::Hub { blocks, hub })
        }
    }
}

impl From<ChainInfo> for Progress {
    fn from(info: ChainInfo) -> Self {
        // On regtest nobody but the user makes blocks, so that an old tip means nothing.
        let regtest = info.chain == Network::Regtest.to_core_arg();
        Self {
            tip: Tip { height: info.blocks, hash: info.bestblockhash },
            headers: info.headers,
            downloading: info.initialblockdownload && !regtest,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::BlockHash;
    use bitcoin::hashes::Hash as _;

    #[test]
    fn a_node_is_behind_its_peers_or_the_hub_or_while_it_downloads() {
        let behind = |headers, hub, initialblockdownload, chain: &str| {
            let (chain, bestblockhash) = (chain.to_owned(), BlockHash::all_zeros());
            let info = ChainInfo { chain, blocks: 100, bestblockhash, headers, initialblockdownload };
            Progress::from(info).behind(hub)
        };
        for (headers, hub, downloading, chain, expected) in [
            (100, None, false, "signet", None),
            (101, Some(101), false, "signet", None),
            (100, Some(50), false, "signet", None),
            (102, Some(102), false, "signet", Some(Behind::Peers { blocks: 100, headers: 102 })),
            (100, Some(102), false, "signet", Some(Behind::Hub { blocks: 100, hub: 102 })),
            (900, None, true, "signet", Some(Behind::Downloading { blocks: 100, headers: 900 })),
            (100, None, true, "regtest", None),
            (102, None, true, "regtest", Some(Behind::Peers { blocks: 100, headers: 102 })),
        ] {
            assert_eq!(behind(headers, hub, downloading, chain), expected, "{headers} {hub:?} {downloading}");
        }
    }
}
