//! Another transaction that spends a coin which a staking transaction needs: what is known of it, and what follows.

use bitcoin::{OutPoint, Txid};
use serde::Serialize;
use std::fmt;

/// Why a staking transaction cannot come into a block as things are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rival {
    /// A block at depth k or more holds another transaction that spends one of its inputs.
    Final {
        /// The input's coin.
        coin: OutPoint,
    },
    /// One of the newest blocks does: Bitcoin may still take that back.
    Confirmed {
        /// The input's coin.
        coin: OutPoint,
        /// The other transaction.
        txid: Txid,
        /// Height of the block that holds it.
        height: u32,
    },
    /// Another transaction that spends one of its inputs waits in the mempool.
    Waiting {
        /// The input's coin.
        coin: OutPoint,
        /// The other transaction.
        txid: Txid,
    },
}

impl Rival {
    /// One in a block: at depth `k` below the tip it stays there.
    pub fn in_block(coin: OutPoint, txid: Txid, height: u32, tip: u32, k: u32) -> Self {
        match tip.saturating_sub(height) >= k {
            true => Self::Final { coin },
            false => Self::Confirmed { coin, txid, height },
        }
    }

    /// The coin that both spend.
    pub fn coin(self) -> OutPoint {
        match self {
            Self::Final { coin } | Self::Confirmed { coin, .. } | Self::Waiting { coin, .. } => coin,
        }
    }

    /// Whether a block holds it.
    pub fn is_in_block(self) -> bool {
        !matches!(self, Self::Waiting { .. })
    }

    /// Whether the other one can still confirm.
    pub fn outlook(self) -> String {
        match self {
            Self::Final { .. } => "can never confirm".to_owned(),
            Self::Confirmed { height, .. } => {
                format!("cannot confirm, unless Bitcoin takes block {height} back")
            }
            Self::Waiting { .. } => "can confirm only instead of the other one".to_owned(),
        }
    }
}

impl fmt::Display for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let outlook = self.outlook();
        match self {
            Self::Final { coin } => write!(
                f,
                "the staking transaction {outlook}: another transaction has spent {coin}, which it spends too; it locks nothing"
            ),
            Self::Confirmed { coin, txid, .. } => write!(
                f,
                "the staking transaction {outlook}: that block holds {txid}, which has spent {coin} too; nothing is locked"
            ),
            Self::Waiting { coin, txid } => {
                write!(
                    f,
                    "another transaction, {txid}, waits to spend {coin}, which the staking transaction spends too: only one of them can confirm"
                )
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::hashes::Hash as _;

    #[test]
    fn never_is_said_only_of_what_is_deep_enough_to_stay() {
        let (coin, txid) = (OutPoint::null(), Txid::all_zeros());
        for (tip, never) in [(100, false), (105, false), (106, true), (500, true), (99, false)] {
            let rival = Rival::in_block(coin, txid, 100, tip, 6);
            let said = rival.to_string();
            assert!(rival.is_in_block() && rival.coin() == coin);
            assert_eq!(said.contains("can never confirm"), never, "{tip}: {said}");
            assert_eq!(said.contains("unless Bitcoin takes block 100 back"), !never, "{tip}: {said}");
        }
        let waits = Rival::Waiting { coin, txid };
        assert!(!waits.is_in_block() && !waits.to_string().contains("never"), "{waits}");
    }
}
