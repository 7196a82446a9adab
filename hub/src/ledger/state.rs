//! The state of a stake: a function of facts, never set by hand.

use serde::{Deserialize, Serialize};
use std::fmt;

/// Where a stake is in its life (docs/protocol.md, section 6.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[repr(u8)]
pub enum StakeState {
    /// Registered, no quorum.
    Pending = 0,
    /// The committee has signed; not yet deep enough in Bitcoin.
    Verified = 1,
    /// Has power.
    Active = 2,
    /// Less than the unbonding time left: no power, still slashable.
    Ending = 3,
    /// Left early: no power, still slashable.
    Unbonding = 4,
    /// A named key is out: no power, to be slashed.
    Exposed = 5,
    /// A timelock is over and the coins have not moved.
    Withdrawable = 6,
    /// The holder has the coins.
    Withdrawn = 7,
    /// The coins are in the stake that expands this one.
    Expanded = 8,
    /// Slashed.
    Slashed = 9,
    /// The committee let coins go where nobody registered.
    Breached = 10,
    /// The committee refused.
    Rejected = 11,
    /// Never came to Bitcoin in time.
    Lapsed = 12,
}

impl fmt::Display for StakeState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Self::Pending => "PENDING",
            Self::Verified => "VERIFIED",
            Self::Active => "ACTIVE",
            Self::Ending => "ENDING",
            Self::Unbonding => "UNBONDING",
            Self::Exposed => "EXPOSED",
            Self::Withdrawable => "WITHDRAWABLE",
            Self::Withdrawn => "WITHDRAWN",
            Self::Expanded => "EXPANDED",
            Self::Slashed => "SLASHED",
            Self::Breached => "BREACHED",
            Self::Rejected => "REJECTED",
            Self::Lapsed => "LAPSED",
        };
        f.write_str(name)
    }
}

#[cfg(test)]
mod tests {
    use super::StakeState::{self, *};

    #[test]
    fn states_have_one_name_for_people_and_for_programs() {
        let all: [StakeState; 13] = [
            Pending,
            Verified,
            Active,
            Ending,
            Unbonding,
            Exposed,
            Withdrawable,
            Withdrawn,
            Expanded,
            Slashed,
            Breached,
            Rejected,
            Lapsed,
        ];
        for (number, state) in all.into_iter().enumerate() {
            assert_eq!(
                (state as usize, serde_json::to_value(state).unwrap()),
                (number, state.to_string().into())
            );
        }
    }
}
