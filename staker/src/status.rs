//! `status`: where each stake stands, and what comes next, in words.

use crate::amount;
use crate::ask::progress;
use crate::record::StakeRecord;
use crate::session::Session;
use crate::when::{Moment, show_blocks};
use bitcoin::{Amount, OutPoint, Txid};
use palisade_hub::daemon::exit::Failure;
use palisade_hub::ledger::Ledger;
use palisade_hub::ledger::stake::Stake;
use palisade_hub::ledger::state::StakeState;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::stake::unbonding_coin;
use serde::Serialize;
use std::fmt;

/// All stakes, or one.
#[derive(Debug, Serialize)]
pub struct Status {
    /// Height of Bitcoin in the own copy of the log.
    pub btc_height: u32,
    /// Height of the newest hub block replayed.
    pub hub_height: Option<u64>,
    /// The stakes, oldest first.
    pub stakes: Vec<StakeStatus>,
}

/// One stake.
#[derive(Debug, Serialize)]
pub struct StakeStatus {
    /// Its id in the hub's log.
    pub id: Option<String>,
    /// Where it is.
    pub outpoint: String,
    /// How much, in sat.
    pub amount_sat: u64,
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
    /// Height at which it gains power.
    pub active_at: Option<u32>,
    /// Height at which it loses power.
    pub ends_at: Option<u32>,
    /// Height of the first block that may hold a withdrawal, as it stands now.
    pub withdraw_at: Option<u32>,
    /// Committee members that have signed, and how many must.
    pub signed: [usize; 2],
    /// What it was spent by, if it was.
    pub spent_by: Option<String>,
    /// What spends it in the own node's mempool, if something does.
    pub waiting: Option<Txid>,
    /// What comes next.
    pub next: String,
}

/// Asks the hub for what is new, if it answers, and tells about the stakes. The hub is not needed: what is known is told.
pub async fn status(session: &mut Session, name: Option<&str>) -> Result<Status, Failure> {
    if let Err(why) = session.catch_up().await {
        progress(format_args!("{why}\n(shown is what was known before)"));
    }
    let records = match name {
        Some(name) => vec![session.book.find(name)?],
        None => session.book.stakes().to_vec(),
    };
    let waiting = waiting(session, &records).await;
    let ledger = session.ledger();
    let now = Moment::now();
    let told = records.iter().zip(waiting).map(|(record, waiting)| describe(record, ledger, waiting, now));
    Ok(Status {
        btc_height: ledger.btc_height().0,
        hub_height: ledger.tip().map(|(height, _)| height.0),
        stakes: told.collect(),
    })
}

/// For each stake what spends it in the node's mempool. The node is not needed either.
async fn waiting(session: &Session, records: &[StakeRecord]) -> Vec<Option<Txid>> {
    let unbonding = |record: &StakeRecord| {
        record.presigned.as_ref().map(|presigned| unbonding_coin(&presigned.unbonding).outpoint)
    };
    // A stake whose unbonding transaction is not known yet is asked about twice.
    let outputs: Vec<OutPoint> =
        records.iter().flat_map(|own| [own.outpoint, unbonding(own).unwrap_or(own.outpoint)]).collect();
    match session.node.spends_in_mempool(&outputs).await {
        Ok(spends) => spends.chunks(2).map(|own| own.iter().rev().find_map(|spend| *spend)).collect(),
        Err(why) => {
            progress(format_args!("Bitcoin node: {why}\n(what waits in its mempool is not shown)"));
            vec![None; records.len()]
        }
    }
}

/// What is known of one stake.
pub fn describe(record: &StakeRecord, ledger: &Ledger, waiting: Option<Txid>, now: Moment) -> StakeStatus {
    let stake = record.id.and_then(|id| ledger.stakes().find(&id)).map(|(_, stake)| stake);
    let tip = ledger.btc_height().0;
    let height =
        |of: fn(&Stake) -> Option<palisade_protocol::units::BtcHeight>| stake.and_then(of).map(|h| h.0);
    StakeStatus {
        id: record.id.map(|id| id.to_string()),
        outpoint: record.outpoint.to_string(),
        amount_sat: record.amount_sat,
        state: stake.map(|stake| stake.state),
        providers: record.providers.clone(),
        lock_blocks: record.lock.get(),
        broadcast: record.broadcast,
        included_at: height(|stake| stake.included.map(|place| place.height)),
        active_at: height(Stake::deep_at),
        ends_at: height(Stake::ends_at),
        withdraw_at: stake.and_then(withdraw_at),
        signed: [stake.map_or(0, |stake| stake.signatures.len()), record.quorum.into()],
        spent_by: stake
            .and_then(|stake| stake.unbonding_spend.or(stake.spend))
            .map(|spend| spend.txid.to_string()),
        waiting,
        next: match stake {
            Some(_) if let Some(txid) = waiting => spending(record, &txid),
            Some(stake) => next(stake, record.broadcast, tip, now),
            None if record.broadcast => format!(
                "handed to Bitcoin, not in the hub's log: `stake --resume {}`; withdrawable {} after its block in any case",
                record.name(),
                show_blocks(record.lock.get().into())
            ),
            None => format!("prepared, nothing is locked: `stake --resume {}`", record.name()),
        },
    }
}

fn withdraw_at(stake: &Stake) -> Option<u32> {
    match stake.spend {
        None => stake.matures_at(),
        Some(_) => stake.unbonded_at(),
    }
    .map(|height| height.0)
}

/// What comes next for a stake that a transaction without confirmation spends.
fn spending(record: &StakeRecord, txid: &Txid) -> String {
    let is_exit = record.presigned.as_ref().is_some_and(|own| own.unbonding.compute_txid() == *txid);
    let what = if is_exit { "the early exit" } else { "what spends it" };
    format!("{what} is sent and waits for its first confirmation: {txid}")
}

/// What comes next for a stake in the ledger, with Bitcoin's tip at a height.
fn next(stake: &Stake, broadcast: bool, tip: u32, now: Moment) -> String {
    let when = |height: u32| {
        let blocks = height.saturating_sub(tip);
        format!("block {height}, about {}", now.after_blocks(blocks))
    };
    let quorum = stake.contract.keys.committee().quorum();
    let matures = withdraw_at(stake).unwrap_or_default();
    match stake.state {
        StakeState::Pending => {
            format!("waits for the committee: {} of {quorum} have signed", stake.signatures.len())
        }
        StakeState::Verified => match stake.deep_at() {
            Some(deep) => {
                format!("in block {}; gains power at {}", deep.0.saturating_sub(stake.k), when(deep.0))
            }
            None if broadcast => "handed to Bitcoin; waits for its first block".to_owned(),
            None => format!("the committee has signed, nothing is locked yet: `stake --resume {}`", stake.id),
        },
        StakeState::Active => format!(
            "active; has power until {}; can be withdrawn from {}; `unbond` leaves early",
            when(stake.ends_at().map_or(0, |height| height.0)),
            when(matures)
        ),
        StakeState::Ending => format!("has no power any more; can be withdrawn from {}", when(matures)),
        StakeState::Unbonding => format!("left early; can be withdrawn from {}", when(matures)),
        StakeState::Exposed => format!(
            "the key of a provider is out: part of it will be slashed; what is left can be withdrawn later, otherwise from {}",
            when(matures)
        ),
        StakeState::Withdrawable => format!("can be withdrawn now: `withdraw {}`", stake.id),
        StakeState::Withdrawn => "withdrawn; nothing is left to do".to_owned(),
        StakeState::Expanded => "went into the stake that expands it".to_owned(),
        StakeState::Slashed => format!(
            "slashed; the rest can be withdrawn {} after the slashing: `withdraw {}`",
            show_blocks(stake.contract.unbonding_time.get().into()),
            stake.id
        ),
        StakeState::Breached => {
            "moved by the committee into something that nobody registered: ALARM".to_owned()
        }
        StakeState::Rejected if stake.included.is_some() => {
            format!("the committee refused it; can be withdrawn from {}", when(matures))
        }
        StakeState::Rejected => {
            let reasons: Vec<&str> = stake.refusals.values().map(String::as_str).collect();
            format!("the committee refused it ({}); nothing is locked", reasons.join("; "))
        }
        StakeState::Lapsed if broadcast => {
            format!("came too late to count; `withdraw {}` when its timelock is over", stake.id)
        }
        StakeState::Lapsed => "was never sent; nothing is locked".to_owned(),
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
            writeln!(
                f,
                "  {}, locked for {}",
                amount::show(Amount::from_sat(stake.amount_sat)),
                show_blocks(stake.lock_blocks.into())
            )?;
            writeln!(f, "  at {}", stake.outpoint)?;
            writeln!(f, "  {}", stake.next)?;
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
mod tests {
    use super::*;
    use palisade_protocol::context::ChainId;
    use palisade_protocol::stake::StakeId;
    use palisade_regtest::world::{Wish, World};

    const NOW: Moment = Moment(1_795_262_400);

    /// A world with an active stake of alice's.
    fn active() -> (World, StakeId) {
        let mut world = World::new(1_000_000);
        world.mine(1);
        world.register_provider(&ChainId::zero(), "anna");
        let wish = Wish { holder: "alice", sat: 500_000, providers: &["anna"], lock: 300 };
        let id = world.active_stake(&wish);
        (world, id)
    }

    #[test]
    fn each_state_says_what_comes_next() {
        let (world, id) = active();
        let stake = world.stake(&id);
        let tip = world.btc_height();
        let words = |state, broadcast| next(&Stake { state, ..stake.clone() }, broadcast, tip, NOW);
        let matures = stake.matures_at().unwrap().0;
        assert_eq!(
            words(StakeState::Active, true),
            format!(
                "active; has power until block {}, about 22 Nov 2026; can be withdrawn from block {matures}, about 23 Nov 2026; `unbond` leaves early",
                matures - 144
            )
        );
        for (state, broadcast, part) in [
            (StakeState::Pending, false, "waits for the committee: 3 of 3"),
            (StakeState::Verified, true, "gains power at block"),
            (StakeState::Ending, true, "has no power any more; can be withdrawn from block"),
            (StakeState::Unbonding, true, "left early"),
            (StakeState::Exposed, true, "will be slashed"),
            (StakeState::Withdrawable, true, "can be withdrawn now"),
            (StakeState::Withdrawn, true, "nothing is left to do"),
            (StakeState::Expanded, true, "the stake that expands it"),
            (StakeState::Slashed, true, "144 blocks (about 24 hours) after the slashing"),
            (StakeState::Breached, true, "ALARM"),
            (StakeState::Rejected, true, "the committee refused it; can be withdrawn from block"),
            (StakeState::Lapsed, true, "came too late"),
            (StakeState::Lapsed, false, "nothing is locked"),
        ] {
            let found = words(state, broadcast);
            assert!(found.contains(part), "{state}: {found}");
        }
        let before = Stake { included: None, state: StakeState::Verified, ..stake.clone() };
        assert!(next(&before, true, tip, NOW).contains("waits for its first block"));
        assert!(next(&before, false, tip, NOW).contains("nothing is locked yet: `stake --resume"));
    }

    #[test]
    fn a_stake_that_the_log_does_not_have_is_told_from_the_book() {
        let mut world = crate::testing::world();
        let mut record = crate::testing::registration(&mut world).unwrap().1;
        let told = describe(&record, &world.ledger, None, NOW);
        assert_eq!((told.state, told.signed), (None, [0, 3]));
        assert!(told.next.contains("nothing is locked"), "{}", told.next);
        record.broadcast = true;
        let told = describe(&record, &world.ledger, None, NOW);
        assert!(
            told.next.contains("withdrawable 300 blocks (about 2 days) after its block"),
            "{}",
            told.next
        );
        let status = Status { btc_height: 7, hub_height: None, stakes: vec![told] };
        assert!(status.to_string().ends_with("(Bitcoin height 7, hub height -)"));
    }
}
