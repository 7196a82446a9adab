//! `status`: where each stake stands, and what comes next, in words.

use crate::coins::{self, Sources};
use crate::exit::Exit;
use crate::failures;
use crate::providers::Named;
use crate::record::StakeRecord;
use crate::rival::Rival;
use crate::session::Session;
use crate::spare;
use crate::standing;
use crate::when::Calendar;
use crate::words::{self, Found, View};
use bitcoin::{Amount, OutPoint, Txid};
use palisade_hub::bitcoind::Behind;
use palisade_hub::daemon::ask::go_on;
use palisade_hub::daemon::exit::Failure;
use palisade_hub::ledger::stake::{SpendKind, Stake};
use palisade_hub::ledger::state::StakeState;
use palisade_protocol::stake::{StakeId, unbonding_coin};
use palisade_protocol::transactions::Coin;
use serde::Serialize;
use std::fmt;

/// All stakes, or one.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Height of Bitcoin in the own copy of the log.
    pub btc_height: u32,
    /// Height of the own Bitcoin node, if it answers and is not behind: then it decides what can be withdrawn now.
    pub node_height: Option<u32>,
    /// Height of the newest hub block replayed.
    pub hub_height: Option<u64>,
    /// Why the hub told nothing new, if it did not: then what it told before is shown.
    pub hub_silent: Option<String>,
    /// Why the own Bitcoin node told nothing, if it did not: then what waits in its mempool is not shown.
    pub node_silent: Option<String>,
    /// In what the own Bitcoin node is behind, if it is: then nothing is taken from it.
    pub node_behind: Option<Behind>,
    /// What keeps every stake from gaining power now.
    pub breaker: Option<String>,
    /// The stakes, oldest first.
    pub stakes: Vec<StakeStatus>,
    /// What the wallet has to pay for an early exit when fees are high, in sat; missing where no stake needs it, or the own Bitcoin
    /// node told nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub spare_sat: Option<u64>,
    /// Those of them with coins on Bitcoin that the last backup made here does not have.
    pub not_backed_up: Vec<String>,
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
    pub providers: Vec<Named>,
    /// Providers that stay named without power: they can still be slashed, and so can this stake, for what they have signed.
    pub former: Vec<Named>,
    /// The stake that this one expands.
    pub expands: Option<StakeId>,
    /// For how many blocks it is locked.
    pub lock_blocks: u16,
    /// Whether it was handed to Bitcoin.
    pub broadcast: bool,
    /// What its transaction brings back to the wallet, in sat, while no block holds it and one still can.
    pub change_sat: Option<u64>,
    /// Last height of Bitcoin at which it can still be gone on with; missing once it was sent.
    pub resumable_until: Option<u32>,
    /// Height of Bitcoin at which it lapses if no block before holds it.
    pub lapses_at: Option<u32>,
    /// Height of the block that holds it.
    pub included_at: Option<u32>,
    /// Height at which it gains power; missing once its coins have left it.
    pub active_at: Option<u32>,
    /// Height at which it loses power; missing once its coins have left it.
    pub ends_at: Option<u32>,
    /// Height of the first block that may hold a withdrawal of its coins, wherever they are now.
    pub withdraw_at: Option<u32>,
    /// Whether the next block may hold a withdrawal.
    pub can_withdraw: bool,
    /// Committee members that have signed, and how many must.
    pub signed: [usize; 2],
    /// What it was spent by, if it was.
    pub spent_by: Option<String>,
    /// The stake that its coins went into.
    pub expanded_into: Option<String>,
    /// What spends it in the own node's mempool, if something does.
    pub waiting: Option<Txid>,
    /// What keeps its transaction from coming into a block.
    pub rival: Option<Rival>,
    /// What comes next.
    pub next: String,
}

/// What the own node says of a stake that the log does not.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    /// The transaction of the mempool that spends it.
    pub waiting: Option<Txid>,
    /// What keeps it from coming to Bitcoin.
    pub rival: Option<Rival>,
    /// Where its transaction is.
    pub found: Option<Found>,
    /// What has taken the coins out of a stake that the log gave up.
    pub left: Option<String>,
}

/// Asks the hub for what is new, if it answers, and tells about the stakes. The hub is not needed: what is known is told.
pub async fn status(session: &mut Session, name: Option<&str>) -> Result<Status, Failure> {
    let hub = session.catch_up().await.err();
    let without = "shown is what was known before; withdrawing needs no hub, and leaving early none once the committee has signed";
    hub.iter().for_each(|why| go_on(why, without));
    let records = match name {
        Some(name) => vec![session.book.find(name)?],
        None => session.book.stakes().to_vec(),
    };
    let (node_silent, looked) = match look(session, &records).await {
        Ok(looked) => (None, looked),
        Err(why) => (Some(why), Looked::nothing(&records)),
    };
    node_silent.iter().for_each(|why| go_on(why, "what waits in its mempool is not shown"));
    let spare = match looked.height {
        Some(_) if records.iter().any(|record| spare::is_wanted(record, session.known(record))) => {
            session.sync().await.ok().map(|()| spare::left(session, None))
        }
        _ => None,
    };
    let (ledger, view) = (session.ledger(), session.view(looked.height));
    let stakes: Vec<StakeStatus> =
        records.iter().zip(looked.seen).map(|(record, seen)| describe(record, seen, view)).collect();
    let unsaved = records
        .iter()
        .zip(&stakes)
        .filter(|(record, told)| told.coin.is_some() && !session.book.is_backed_up(record));
    Ok(Status {
        btc_height: ledger.btc_height().0,
        node_height: looked.height,
        hub_height: ledger.tip().map(|(height, _)| height.0),
        hub_silent: hub.map(|why| why.message().to_owned()),
        node_silent: node_silent.map(|why| why.message().to_owned()),
        node_behind: looked.behind,
        breaker: words::breaker(ledger),
        spare_sat: spare.map(Amount::to_sat),
        not_backed_up: unsaved.map(|(record, _)| record.name()).collect(),
        stakes,
        calendar: view.calendar,
    })
}

/// What the own node says.
struct Looked {
    height: Option<u32>,
    behind: Option<Behind>,
    seen: Vec<Seen>,
}

impl Looked {
    fn nothing(records: &[StakeRecord]) -> Self {
        Self { height: None, behind: None, seen: vec![Seen::default(); records.len()] }
    }
}

/// What the node says of each stake; nothing if it is behind. The node is not needed either.
async fn look(session: &Session, records: &[StakeRecord]) -> Result<Looked, Failure> {
    let hub = session.ledger().btc_height().0;
    let node = session.node.progress().await.map_err(failures::node)?;
    let behind = node.behind(Some(hub));
    if behind.is_some() {
        return Ok(Looked { behind, ..Looked::nothing(records) });
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
        let known = session.known(record);
        let is_under_way = standing::is_under_way(record, known);
        let rival = match is_under_way {
            true => coins::rival(&session.node, record, session.view(None).k()).await?,
            false => None,
        };
        let found = match known.is_none_or(|stake| stake.included.is_none()) {
            true => coins::found(&session.node, record).await?,
            false => None,
        };
        // Whether the coins of a stake that lapsed have left it nobody need have told the log.
        let gave_up = known.is_some_and(|stake| stake.lapsed && stake.spend.is_none());
        let left = match found.or(known.and_then(in_block)) {
            Some(Found::Block(_)) if gave_up => left(session, record).await?,
            _ => None,
        };
        seen.push(Seen { waiting, rival, found, left });
    }
    Ok(Looked { height: Some(node.tip.height), behind, seen })
}

/// Where the log has a stake's transaction.
fn in_block(stake: &Stake) -> Option<Found> {
    stake.included.map(|place| Found::Block(place.height.0))
}

/// What the own node says has taken the coins out of a stake that is in a block, and what is to be done with them.
async fn left(session: &Session, record: &StakeRecord) -> Result<Option<String>, Failure> {
    let Some(lying) = coins::find(&session.node, record).await? else {
        return Ok(Some(coins::nowhere(record, Sources::of(session)).await?.message().to_owned()));
    };
    let due = lying.withdrawal(Calendar::of(session.network()));
    Ok(lying.left().map(|left| format!("{left}, which can be withdrawn {due}: `withdraw {}`", record.name())))
}

/// What is known of one stake.
pub fn describe(record: &StakeRecord, seen: Seen, view: View<'_>) -> StakeStatus {
    let stake = standing::known(record, view.ledger);
    let height =
        |of: fn(&Stake) -> Option<palisade_protocol::units::BtcHeight>| stake.and_then(of).map(|h| h.0);
    let unspent = |height: Option<u32>| height.filter(|_| stake.is_some_and(|stake| stake.spend.is_none()));
    let successor = stake.and_then(Stake::successor).and_then(|new| view.ledger.stakes().get(new));
    let rival = seen.rival.or_else(|| displaced(record, stake, view));
    let can_come = standing::is_under_way(record, stake) && !rival.is_some_and(Rival::is_in_block);
    let waits = stake.filter(|stake| can_come && !stake.lapsed && !stake.ever_included);
    let included_at = height(|stake| stake.included.map(|place| place.height));
    // What the log has missed, because it came too late or is not registered, the own node knows.
    let found = match seen.found {
        Some(Found::Block(height)) => Some(height).filter(|_| included_at.is_none()),
        _ => None,
    };
    let ripe = |found: u32| found.saturating_add(record.lock.get().into());
    let withdraw_at = height(Stake::withdrawable_at).or(found.map(ripe));
    StakeStatus {
        id: stake.map(|stake| stake.id).or(record.id).map(|id| id.to_string()),
        outpoint: record.outpoint.to_string(),
        amount_sat: record.amount_sat,
        coin: coin(record, stake)
            .map(|coin| CoinStatus { outpoint: coin.outpoint, amount_sat: coin.value.to_sat() }),
        state: stake.map(|stake| stake.state),
        providers: Named::all(&record.providers, view.ledger),
        former: Named::all(&record.former, view.ledger),
        expands: record.expands,
        lock_blocks: record.lock.get(),
        broadcast: record.broadcast,
        change_sat: Some(record.change().to_sat()).filter(|_| can_come && found.is_none()),
        resumable_until: waits.filter(|_| !record.broadcast).and_then(standing::resumable_until),
        lapses_at: waits.map(|stake| stake.lapses_at.0),
        included_at: included_at.or(found),
        active_at: unspent(height(Stake::deep_at)),
        ends_at: unspent(height(Stake::ends_at)),
        withdraw_at,
        can_withdraw: withdraw_at.is_some_and(|height| view.is_due(height)),
        signed: [stake.map_or(0, |stake| stake.signatures.len()), record.quorum.into()],
        spent_by: stake
            .and_then(|stake| stake.unbonding_spend.or(stake.spend))
            .map(|spend| spend.txid.to_string()),
        expanded_into: successor.map(|new| new.id.to_string()),
        waiting: seen.waiting,
        rival,
        next: match (seen.waiting, rival, stake) {
            (_, Some(rival), _) => words::rival(record, rival, view),
            (Some(txid), _, Some(_)) => words::moves(record, &txid, view.book, view.calendar),
            (_, _, Some(stake)) if stake.state == StakeState::Lapsed => {
                seen.left.unwrap_or_else(|| words::lapsed(stake, record.broadcast, seen.found, view))
            }
            (_, _, Some(_)) if let Some(block) = found => {
                format!("block {block} of your node holds it; the hub has not heard of that yet")
            }
            (_, _, Some(stake)) => words::next(stake, record.broadcast, view),
            (_, _, None) => words::unregistered(record, view.calendar),
        },
    }
}

/// What the log says of a rival, where the node was not asked: the stake that this one expands went elsewhere.
fn displaced(record: &StakeRecord, stake: Option<&Stake>, view: View<'_>) -> Option<Rival> {
    let (old, spend) = standing::displaced(record, view.ledger)?;
    let (coin, height) = (old.contract.coin.outpoint, spend.place.height.0);
    let rival = Rival::in_block(coin, spend.txid, height, view.tip, old.k);
    standing::is_under_way(record, stake).then_some(rival)
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

impl StakeStatus {
    /// Who has power by it, and who can still be slashed; nothing once its coins are gone.
    fn tell_providers(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.coin.is_none() && self.change_sat.is_none() {
            return Ok(());
        }
        self.providers.iter().try_for_each(|provider| writeln!(f, "  provider: {provider}"))?;
        self.former
            .iter()
            .try_for_each(|former| writeln!(f, "  former provider, no power, can still be slashed: {former}"))
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
            writeln!(f, "  {}, locked for {lock}", Amount::from_sat(stake.amount_sat))?;
            writeln!(f, "  at {}", stake.outpoint)?;
            if let Some(coin) = stake.coin.as_ref().filter(|coin| coin.outpoint.to_string() != stake.outpoint)
            {
                let value = Amount::from_sat(coin.amount_sat);
                writeln!(f, "  now {value} at {}", coin.outpoint)?;
            }
            stake.tell_providers(f)?;
            if let Some(change) = stake.change_sat.filter(|change| *change > 0) {
                let change = Amount::from_sat(change);
                writeln!(f, "  of the coins set aside for it {change} come back to the wallet as change")?;
            }
            writeln!(f, "  {}", stake.next)?;
        }
        if let Some(breaker) = &self.breaker {
            writeln!(f, "WARNING: {breaker}")?;
        }
        if let Some(behind) = &self.node_behind {
            writeln!(f, "WARNING: {behind}; nothing above is taken from it")?;
        }
        if let Some(little) = self.spare_sat.map(Amount::from_sat).and_then(spare::warning) {
            writeln!(f, "WARNING: {little}")?;
        }
        if !self.not_backed_up.is_empty() {
            let names = self.not_backed_up.join(", ");
            writeln!(
                f,
                "WARNING: the last backup made here, if there is one, does not have {names}: palisade-staker backup NEWFILE"
            )?;
        }
        let hub = self.hub_height.map_or("-".into(), |height| height.to_string());
        match self.node_height.filter(|node| *node != self.btc_height) {
            Some(node) => write!(
                f,
                "(Bitcoin height {node} at your node, which decides what can be withdrawn, {} in the hub's log; hub height {hub})",
                self.btc_height
            ),
            None => write!(f, "(Bitcoin height {}, hub height {hub})", self.btc_height),
        }
    }
}

#[cfg(test)]
mod tests;
