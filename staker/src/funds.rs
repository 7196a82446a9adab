//! `address` and `balance`: coins in, coins there.

use crate::session::Session;
use bitcoin::{Amount, OutPoint};
use palisade_hub::daemon::exit::Failure;
use serde::Serialize;
use std::collections::BTreeSet;
use std::fmt;

/// Where to send coins.
#[derive(Debug, Serialize)]
pub struct Receive {
    /// A taproot address.
    pub address: String,
}

impl fmt::Display for Receive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.address)
    }
}

/// An address that nobody has paid to.
pub fn address(session: &mut Session) -> Result<Receive, Failure> {
    Ok(Receive { address: session.purse.address()?.to_string() })
}

/// What the wallet holds beside its stakes.
#[derive(Debug, Serialize)]
pub struct Balance {
    /// Confirmed and free, in sat.
    pub free_sat: u64,
    /// Confirmed coins that stakes under way will spend, in sat.
    pub reserved_sat: u64,
    /// Of those, what comes back as change once the stakes are on Bitcoin, in sat; the rest is locked, or is their fees.
    pub reserved_change_sat: u64,
    /// Height of the newest block read.
    pub height: u32,
}

impl fmt::Display for Balance {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Whole bitcoins with their decimals too, as in a column of amounts.
        writeln!(f, "free:     {:.8}", Amount::from_sat(self.free_sat))?;
        if self.reserved_sat > 0 {
            writeln!(
                f,
                "reserved: {:.8}: whole coins that stakes under way will spend; free again once a stake is on Bitcoin, refused, or LAPSED, or can never confirm (`status`)",
                Amount::from_sat(self.reserved_sat)
            )?;
            let locked = self.reserved_sat.saturating_sub(self.reserved_change_sat);
            writeln!(f, "  of it {:.8} are to be locked, or are fees", Amount::from_sat(locked))?;
            writeln!(f, "  and {:.8} come back as change", Amount::from_sat(self.reserved_change_sat))?;
        }
        write!(f, "(confirmed coins up to block {}; stakes are shown by `status`)", self.height)
    }
}

/// Counts the wallet's confirmed coins.
pub async fn balance(session: &mut Session) -> Result<Balance, Failure> {
    session.sync().await?;
    let free_sat = session.purse.total(&session.reserved()).to_sat();
    let reserved_sat = session.purse.total(&BTreeSet::new()).to_sat() - free_sat;
    // A block may hold a stake before the log does: then its coins are spent, and its change is among the free ones.
    let unspent: BTreeSet<OutPoint> =
        session.purse.coins(&BTreeSet::new()).into_iter().map(|coin| coin.outpoint).collect();
    let under_way = session
        .book
        .stakes()
        .iter()
        .filter(|record| session.is_under_way(record) && record.spends_of(&unspent));
    let reserved_change_sat = under_way.map(|record| record.change().to_sat()).sum();
    Ok(Balance { free_sat, reserved_sat, reserved_change_sat, height: session.purse.height() })
}
