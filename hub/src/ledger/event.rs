//! What a block changed, for people and daemons that follow the ledger.

use bitcoin::Txid;
use palisade_protocol::context::ChainId;
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::stake::StakeId;
use palisade_protocol::units::{BtcHeight, Epoch, Height};
use serde::{Deserialize, Serialize};

use super::state::StakeState;

/// One change.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// A stake is in another state.
    Stake {
        /// Which.
        id: StakeId,
        /// The new state.
        state: StakeState,
        /// Bitcoin's tip then.
        btc_height: BtcHeight,
        /// A txid, or the id of a message.
        cause: String,
    },
    /// A provider registered a key.
    Provider {
        /// The key.
        key: ProviderKey,
        /// Its chain.
        chain: ChainId,
    },
    /// A key is out.
    Exposed {
        /// The key.
        key: ProviderKey,
    },
    /// A set was fixed.
    Set {
        /// Of which chain.
        chain: ChainId,
        /// For which epoch.
        epoch: Epoch,
        /// Its hash.
        hash: Hash32,
    },
    /// A block is final.
    Final {
        /// Of which chain.
        chain: ChainId,
        /// Its height.
        height: Height,
        /// Its hash.
        block: Hash32,
    },
    /// Bitcoin's tip moved.
    Bitcoin {
        /// The new tip's height.
        height: BtcHeight,
        /// The last block that the old and the new tip share, if it was a reorg.
        fork: Option<BtcHeight>,
    },
    /// The breaker tripped, for one chain or (where `chain` is missing) for all.
    Tripped {
        /// Which chain.
        chain: Option<ChainId>,
        /// Why.
        reason: String,
    },
    /// Governance ended the breaker's trip.
    Resumed,
    /// An epoch's state is on Bitcoin, signed by a quorum of its set.
    Anchored {
        /// The epoch of chain zero.
        epoch: Epoch,
        /// The header that the anchor names.
        header: Hash32,
        /// The transaction that carries it.
        txid: Txid,
    },
    /// Alarm: a second header of an epoch was signed by a quorum of its set and anchored. This one is void.
    VoidAnchor {
        /// The epoch of chain zero.
        epoch: Epoch,
        /// The header that is void.
        header: Hash32,
        /// The transaction that showed it.
        txid: Txid,
    },
    /// Alarm: a quorum of an epoch's set anchored a header that is not this hub's.
    ForeignAnchor {
        /// The epoch of chain zero.
        epoch: Epoch,
        /// The header.
        header: Hash32,
        /// The transaction.
        txid: Txid,
    },
    /// A chain begins anew under a new trust root.
    Recovered {
        /// Which.
        chain: ChainId,
        /// Its incarnation from now on.
        incarnation: u32,
    },
    /// A chain was registered.
    Chain {
        /// Its name.
        id: ChainId,
    },
}
