//! The stakes of a backup, and what can be done for each: asked of a Bitcoin node, without the password.

use super::Backup;
use crate::behind;
use crate::coins::{self, Sources};
use crate::failures;
use crate::record::StakeRecord;
use crate::when::Calendar;
use crate::words;
use bitcoin::{Amount, OutPoint};
use palisade_hub::bitcoind::BitcoinRpc;
use palisade_hub::daemon::exit::Failure;
use serde::Serialize;
use std::fmt;

/// The list.
#[derive(Debug, Serialize)]
pub struct Contents {
    /// The stakes, oldest first.
    pub stakes: Vec<Entry>,
}

/// One stake of a backup.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// Its name.
    pub stake: String,
    /// How much was locked, in sat.
    pub amount_sat: u64,
    /// How much of that is left, in sat: less what an early exit or a slashing took. Missing where nothing is left of it.
    pub left_sat: Option<u64>,
    /// Where its coins are now.
    pub coin: Option<OutPoint>,
    /// Height of the first block that may hold a withdrawal of them.
    pub withdraw_at: Option<u32>,
    /// The stake of this backup that its coins went into.
    pub expanded_into: Option<String>,
    /// What can be done.
    pub next: String,
}

/// Lists the stakes of a backup.
pub async fn list(backup: &Backup, node: &BitcoinRpc) -> Result<Contents, Failure> {
    let network = backup.network();
    node.check_network(network).await.map_err(failures::node)?;
    behind::check(node, None).await?;
    let mut stakes = Vec::new();
    for record in backup.stakes() {
        stakes.push(entry(record, backup, node).await?);
    }
    Ok(Contents { stakes })
}

async fn entry(record: &StakeRecord, backup: &Backup, node: &BitcoinRpc) -> Result<Entry, Failure> {
    let calendar = Calendar::of(backup.network());
    let lying = coins::find(node, record).await?;
    let expanded_into = match &lying {
        None => coins::successor(node, record, backup.stakes()).await?.map(|(new, _)| new.name()),
        Some(_) => None,
    };
    let next = match &lying {
        None => {
            // Blocks are read for one stake, not for each of many.
            let sources = Sources { node, stakes: backup.stakes(), session: None, look_back: 0 };
            coins::nowhere(record, sources).await?.message().to_owned()
        }
        Some(lying) => match lying.moved_by {
            Some(txid) => words::moves(record, &txid, backup.stakes(), calendar),
            None if lying.missing() == 0 => {
                format!(
                    "can be withdrawn now: `withdraw --backup FILE --stake {} --to ADDRESS`",
                    record.name()
                )
            }
            None => format!("can be withdrawn from {}", calendar.height(lying.withdraw_at(), lying.tip)),
        },
    };
    Ok(Entry {
        stake: record.name(),
        amount_sat: record.amount_sat,
        left_sat: lying.as_ref().map(|lying| lying.exit.coin.value.to_sat()),
        coin: lying.as_ref().map(|lying| lying.exit.coin.outpoint),
        withdraw_at: lying.as_ref().map(|lying| lying.withdraw_at()),
        expanded_into,
        next,
    })
}

impl fmt::Display for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.stakes.is_empty() {
            writeln!(f, "the backup has no stakes")?;
        }
        for entry in &self.stakes {
            writeln!(f, "{}", entry.stake)?;
            let locked = Amount::from_sat(entry.amount_sat);
            match entry.left_sat.filter(|left| *left != entry.amount_sat).map(Amount::from_sat) {
                Some(left) => writeln!(f, "  {left}, of {locked} that were locked")?,
                None => writeln!(f, "  {locked}")?,
            }
            writeln!(f, "  {}", entry.next)?;
        }
        write!(f, "(a stake made after this backup is not in it)")
    }
}
