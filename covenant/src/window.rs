//! The window: how much a member signs in so many Bitcoin blocks, and for whom the room is.
//!
//! A stake can be registered before it is on Bitcoin, and then one of its inputs is all that is known to exist of it. If such
//! stakes could fill the window, whoever has a few coins of dust would keep everybody else out. So at most half of the window goes
//! to stakes that show less than half of what they bring, and what does not fit now waits: it is not refused. Pure.

use crate::judge::Policy;
use bitcoin::Amount;
use palisade_hub::ledger::Ledger;
use palisade_hub::ledger::stake::Stake;

/// What a stake takes of the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Weight {
    /// The amount; of an expansion what is above the stake that it spends, which was weighed before.
    pub new: Amount,
    /// Whether its registration showed at least half of that to exist.
    pub shown: bool,
}

impl Weight {
    /// What a stake takes, by a ledger that holds it.
    pub fn of(ledger: &Ledger, stake: &Stake) -> Self {
        let old = stake.expands.and_then(|old| ledger.stakes().get(old));
        let old = old.map_or(Amount::ZERO, |old| old.contract.coin.value);
        let new = stake.contract.coin.value.checked_sub(old).unwrap_or(Amount::ZERO);
        Self { new, shown: stake.shown >= new / 2 }
    }

    /// How much of such stakes a window holds.
    pub fn limit(self, policy: &Policy) -> Amount {
        let window = Amount::from_sat(policy.max_window_sat);
        if self.shown { window } else { window / 2 }
    }

    /// What the holder of a stake that finds no room can do.
    pub(crate) fn advice(shown: bool) -> &'static str {
        if shown {
            ""
        } else {
            ", for it shows less than half of that to exist: put the coins together in one output first"
        }
    }
}

/// Too much was signed to sign this now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "policy: {signed} were signed in the last {blocks} blocks, and {found} more would exceed {limit}: it waits until there is room{}",
    Weight::advice(*.shown)
)]
pub struct Wait {
    /// What the stake brings.
    pub found: Amount,
    /// Whether most of it was shown to exist.
    pub shown: bool,
    /// Signed in the window, of all stakes, or of those that show too little.
    pub signed: Amount,
    /// The window.
    pub blocks: u32,
    /// The limit.
    pub limit: Amount,
}

/// What was signed in the window that ends now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    all: Amount,
    unshown: Amount,
}

impl Window {
    /// The window of what was signed.
    pub fn of(signed: impl IntoIterator<Item = Weight>) -> Self {
        let mut window = Self { all: Amount::ZERO, unshown: Amount::ZERO };
        for Weight { new, shown } in signed {
            window.all = sum(window.all, new);
            if !shown {
                window.unshown = sum(window.unshown, new);
            }
        }
        window
    }

    /// Whether there is room for one more.
    pub(crate) fn check(&self, policy: &Policy, weight: Weight) -> Result<(), Wait> {
        let Weight { new: found, shown } = weight;
        let all = (self.all, Amount::from_sat(policy.max_window_sat));
        let own = (if shown { self.all } else { self.unshown }, weight.limit(policy));
        match [own, all].into_iter().find(|(signed, limit)| sum(*signed, found) > *limit) {
            None => Ok(()),
            Some((signed, limit)) => Err(Wait { found, shown, signed, blocks: policy.window_blocks, limit }),
        }
    }
}

fn sum(one: Amount, other: Amount) -> Amount {
    one.checked_add(other).unwrap_or(Amount::MAX)
}
