//! The circuit breaker: what trips it, and what that stops.
//!
//! While tripped no stake gains power and no set changes; losses count at once, other chains' votes pause, exits and
//! slashing go on. Only governance resumes. Source: docs/protocol.md, section 8.3.

use super::{Event, Ledger};
use palisade_protocol::context::ChainId;
use palisade_protocol::units::{BtcHeight, Epoch};
use std::fmt;

/// Why the breaker is tripped.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trip {
    /// Bitcoin lost more blocks than the depth at which stakes count.
    DeepRollback {
        /// Height of the last block that stayed.
        fork: BtcHeight,
        /// Blocks that were lost.
        depth: u32,
        /// Blocks that may be lost.
        k: u32,
    },
    /// A set would have at most two thirds of its predecessor's power.
    ShrinkingSet {
        /// Of which chain.
        chain: ChainId,
        /// For which epoch.
        epoch: Epoch,
        /// Power it would have, in sat.
        power: u64,
        /// Power of the set before, in sat.
        before: u64,
    },
}

impl Trip {
    /// One word for each reason, for those that count.
    pub const WHYS: [&str; 2] = ["rollback", "set"];

    /// The word for this one.
    pub fn why(&self) -> &'static str {
        match self {
            Self::DeepRollback { .. } => "rollback",
            Self::ShrinkingSet { .. } => "set",
        }
    }
}

/// These words are state, in the form that docs/protocol.md, section 8.3, gives them: a change of them changes roots.
impl fmt::Display for Trip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::DeepRollback { fork, depth, k } => {
                write!(f, "Bitcoin lost {depth} blocks above height {fork}, more than k = {k}")
            }
            Self::ShrinkingSet { chain, epoch, power, before } => write!(
                f,
                "the set of chain {chain} for epoch {epoch} would have {power} sat, at most two thirds of the {before} sat before"
            ),
        }
    }
}

impl Ledger {
    /// Trips the breaker for all chains. The first reason stands.
    pub(super) fn trip(&mut self, reason: Trip) {
        self.events.push(Event::Tripped { chain: None, reason: reason.to_string() });
        self.breaker.get_or_insert(reason);
    }
}
