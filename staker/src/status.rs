//! `status`: where each stake stands, and what comes next, in words.

use crate::amount;
use crate::coins::{self, Rival};
use crate::exit::Exit;
use crate::failures;
use crate::record::StakeRecord;
use crate::session::Session;
use crate::when::Calendar;
use crate::words::{self, View};
use bitcoin::{Amount, OutPoint, Txid};
use palisade_hub::bitcoind::Behind;
use palisade_hub::daemon::ask::progress;
use palisade_hub::daemon::exit::Failure;
use palisade_hub::ledger::stake::{SpendKind, Stake};
use palisade_hub::ledger::state::StakeState;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::stake::unbonding_coin;
use palisade_protocol::transactions::Coin;
use serde::Serialize;
use std::fmt;

/// All stakes, or one.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Height of Bitcoin in the own copy of the log.
    pub btc_height: u32,
    /// Height of the newest hub block replayed.
    pub hub_height: Option<u64>,
    /// Why the hub told nothing new, if it did not: then what it told before is shown.
    pub hub_silent: Option<String>,
    /// Why the own Bitcoin node told nothing, if it did not: then what waits in its mempool is not shown.
    pub node_silent: Option<String>,
    /// In what the own Bitcoin node is behind, if it is: then nothing is taken from it.
    pub node_behind: Option<Behind>,
    /// The stakes, oldest first.
    pub stakes: Vec<StakeStatus>,
    /// How blocks are shown.
    #[serde(skip)]
    pub calendar: Calendar,
}

/// Coins of the holder's that a stake has come to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CoinStatus {
    /// Where they are.
    pub outpoint: OutPoint,
    /// How much, in sat.
    pub amount_sat: u64,
}

/// One stake.
#[derive(Debug, Serialize)]
pub struct StakeStatus {
    /// Its id in the hub's log.
    pub id: Option<String>,
    /// Where it was locked.
    pub outpoint: String,
    /// How much was locked, in sat.
    pub amount_sat: u64,
    /// Where its coins are now: in the stake, in what the early exit left, or in what a slashing left. Missing before
    /// they are handed to Bitcoin, and when they are withdrawn or in another stake.
    pub coin: Option<CoinStatus>,
    /// Its state in the log, replayed here; missing while it is not in it.
    pub state: Option<StakeState>,
    /// Providers with power.
    pub providers: Vec<ProviderKey>,
    /// For how many blocks it is locked.
    pub lock_blocks: u16,
    /// Whether it was handed to Bitcoin.
    pub broadcast: bool,
    /// Height of the block that holds it.
    pub included_at: Option<u32>,
    /// Height at which it gains power; missing once its coins have left it.
    pub active_at: Option<u32>,
    /// Height at which it loses power; missing once its coins have left it.
    pub ends_at: Option<u32>,
    /// Height of the first block that may hold a withdrawal of its coins, wherever they are now.
    pub withdraw_at: Option<u32>,
    /// Committee members that have signed, and how many must.
    pub signed: [usize; 2],
    /// What it was spent by, if it was.
    pub spent_by: Option<String>,
    /// The stake that its coins went into.
    pub expanded_into: Option<String>,
    /// What spends it in the own node's mempool, if something does.
    pub waiting: Option<Txid>,
    /// What keeps its transaction, which was handed to Bitcoin, from coming into a block.
    pub rival: Option<Rival>,
    /// What comes next.
    pub next: String,
}

/// What the own node says of a stake that the log does not.
#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// The transaction of the mempool that spends it.
    pub waiting: Option<Txid>,
    /// What keeps it from coming to Bitcoin.
    pub rival: Option<Rival>,
}

/// Asks the hub for what is new, if it answers, and tells about the stakes. The hub is not needed: what is known is told.
pub async fn status(session: &mut Session, name: Option<&str>) -> Result<Status, Failure> {
    let hub = session.catch_up().await.err();
    hub.iter().for_each(|why| progress(format_args!("{why}\n(shown is what was known before)")));
    let records = match name {
        Some(name) => vec![session.book.find(name)?],
        None => session.book.stakes().to_vec(),
    };
    let (node, (node_behind, seen)) = match look(session, &records).await {
        Ok(seen) => (None, seen),
        Err(why) => (Some(why), (None, vec![Seen::default(); records.len()])),
    };
    node.iter().for_each(|why| progress(format_args!("{why}\n(what waits in its mempool is not shown)")));
    let ledger = session.ledger();
    let calendar = Calendar::of(session.network());
    let view = View { ledger, book: session.book.stakes(), calendar };
    Ok(Status {
        btc_height: ledger.btc_height().0,
        hub_height: ledger.tip().map(|(height, _)| height.0),
        hub_silent: hub.map(|why| why.message().to_owned()),
        node_silent: node.map(|why| why.message().to_owned()),
        node_behind,
        stakes: records.iter().zip(seen).map(|(record, seen)| describe(record, seen, view)).collect(),
        calendar,
    })
}

/// What the node says of each stake; nothing if it is behind. The node is not needed either.
async fn look(session: &Session, records: &[StakeRecord]) -> Result<(Option<Behind>, Vec<Seen>), Failure> {
    let hub = session.ledger().btc_height().0;
    let behind = session.node.progress().await.map_err(failures::node)?.behind(Some(hub));
    if behind.is_some() {
        return Ok((behind, vec![Seen::default(); records.len()]));
    }
    let unbonding = |record: &StakeRecord| {
        record.presigned.as_ref().map(|presigned| unbonding_coin(&presigned.unbonding).outpoint)
    };
    // A stake whose unbonding transaction is not known yet is asked about twice.
    let outputs: Vec<OutPoint> =
        records.iter().flat_map(|own| [own.outpoint, unbonding(own).unwrap_or(own.outpoint)]).collect();
    let spends = session.node.spends_in_mempool(&outputs).await.map_err(failures::node)?;
    let mut seen = Vec::new();
    for (record, spends) in records.iter().zip(spends.chunks(2)) {
        let waiting = spends.iter().rev().find_map(|spend| *spend);
        let known = session.known(record).is_some_and(|stake| stake.ever_included);
        let rival = match record.broadcast && !known {
            true => coins::rival(&session.node, record).await?,
            false => None,
        };
        seen.push(Seen { waiting, rival });
    }
    Ok((None, seen))
}

/// What is known of one stake.
pub fn describe(record: &StakeRecord, seen: Seen, view: View<'_>) -> StakeStatus {
    let stake = words::known(record, view.ledger);
    let height =
        |of: fn(&Stake) -> Option<palisade_protocol::units::BtcHeight>| stake.and_then(of).map(|h| h.0);
    let unspent = |height: Option<u32>| height.filter(|_| stake.is_some_and(|stake| stake.spend.is_none()));
    let successor = stake.and_then(Stake::successor).and_then(|new| view.ledger.stakes().get(new));
    StakeStatus {
        id: stake.map(|stake| stake.id).or(record.id).map(|id| id.to_string()),
        outpoint: record.outpoint.to_string(),
        amount_sat: record.amount_sat,
        coin: coin(record, stake)
            .map(|coin| CoinStatus { outpoint: coin.outpoint, amount_sat: coin.value.to_sat() }),
        state: stake.map(|stake| stake.state),
        providers: record.providers.clone(),
        lock_blocks: record.lock.get(),
        broadcast: record.broadcast,
        included_at: height(|stake| stake.included.map(|place| place.height)),
        active_at: unspent(height(Stake::deep_at)),
        ends_at: unspent(height(Stake::ends_at)),
        withdraw_at: stake.and_then(Stake::withdrawable_at).map(|height| height.0),
        signed: [stake.map_or(0, |stake| stake.signatures.len()), record.quorum.into()],
        spent_by: stake
            .and_then(|stake| stake.unbonding_spend.or(stake.spend))
            .map(|spend| spend.txid.to_string()),
        expanded_into: successor.map(|new| new.id.to_string()),
        waiting: seen.waiting,
        rival: seen.rival,
        next: match (seen, stake) {
            (Seen { rival: Some(rival), .. }, _) => rival.to_string(),
            (Seen { waiting: Some(txid), .. }, Some(_)) => {
                words::moves(record, &txid, view.book, view.calendar)
            }
            (_, Some(stake)) => words::next(stake, record.broadcast, view),
            (_, None) => words::unregistered(record, view.calendar),
        },
    }
}

/// Where the coins of a stake are now, as the log says; as the book says where the log has nothing.
fn coin(record: &StakeRecord, stake: Option<&Stake>) -> Option<Coin> {
    let own = Coin { outpoint: record.outpoint, value: Amount::from_sat(record.amount_sat) };
    let Some(stake) = stake else { return Some(own).filter(|_| record.broadcast) };
    let presigned = &stake.presigned;
    let slashed = |tx| Some(Exit::of_slashing(&stake.contract, tx).coin);
    match (stake.spend.map(|spend| spend.kind), stake.unbonding_spend.map(|spend| spend.kind)) {
        (None, _) => Some(own).filter(|_| record.broadcast || stake.included.is_some()),
        (Some(SpendKind::Unbonding), None) => Some(unbonding_coin(&presigned.unbonding)),
        (Some(SpendKind::Unbonding), Some(SpendKind::Slashing)) => slashed(&presigned.unbonding_slashing),
        (Some(SpendKind::Slashing), _) => slashed(&presigned.slashing),
        _ => None,
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.stakes.is_empty() {
            writeln!(f, "no stakes")?;
        }
        for stake in &self.stakes {
            let name = stake.id.as_ref().unwrap_or(&stake.outpoint);
            let state = stake.state.map_or_else(|| "not registered".to_owned(), |state| state.to_string());
            writeln!(f, "{name}  {state}")?;
            let lock = self.calendar.blocks(stake.lock_blocks.into());
            writeln!(f, "  {}, locked for {lock}", amount::show(Amount::from_sat(stake.amount_sat)))?;
            writeln!(f, "  at {}", stake.outpoint)?;
            if let Some(coin) = stake.coin.as_ref().filter(|coin| coin.outpoint.to_string() != stake.outpoint)
            {
                let value = amount::show(Amount::from_sat(coin.amount_sat));
                writeln!(f, "  now {value} at {}", coin.outpoint)?;
            }
            writeln!(f, "  {}", stake.next)?;
        }
        if let Some(behind) = &self.node_behind {
            writeln!(f, "WARNING: {behind}; nothing above is taken from it")?;
        }
        write!(
            f,
            "(Bitcoin height {}, hub height {})",
            self.btc_height,
            self.hub_height.map_or("-".into(), |h| h.to_string())
        )
    }
}

#[cfg(test)]
mod tests;
