//! What is going on with a stake and what comes next, in words: the same from every command.

use crate::record::StakeRecord;
use crate::rival::Rival;
use crate::standing;
use crate::when::Calendar;
use bitcoin::Txid;
use palisade_hub::ledger::Ledger;
use palisade_hub::ledger::stake::{Spend, SpendKind, Stake};
use palisade_hub::ledger::state::StakeState;

/// What words are found from.
#[derive(Debug, Clone, Copy)]
pub struct View<'a> {
    /// The own copy of the hub's log.
    pub ledger: &'a Ledger,
    /// The holder's stakes.
    pub book: &'a [StakeRecord],
    /// How blocks become times.
    pub calendar: Calendar,
    /// Height of Bitcoin that counts for what can be done now: the own node's, where that is known.
    pub tip: u32,
}

/// Where the own node has a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// In the block of this height.
    Block(u32),
    /// In its mempool.
    Mempool,
}

impl View<'_> {
    /// Depth at which Bitcoin is not expected to take a block back.
    pub fn k(self) -> u32 {
        self.ledger.params_at(self.ledger.btc_height()).1.k()
    }

    fn when(self, height: u32) -> String {
        self.calendar.height(height, self.tip)
    }

    /// Whether the next block may hold a withdrawal that may be in a block of this height.
    pub fn is_due(self, height: u32) -> bool {
        height <= self.tip.saturating_add(1)
    }
}

/// What the hub's circuit breaker means for holders, while it is tripped.
pub fn breaker(ledger: &Ledger) -> Option<String> {
    let why = ledger.breaker()?;
    Some(format!(
        "the hub's circuit breaker is tripped ({why}): no stake gains power until governance resumes; early exits and withdrawals work as ever"
    ))
}

/// What a transaction without confirmation does that moves a stake's coins.
pub fn moves(record: &StakeRecord, txid: &Txid, book: &[StakeRecord], calendar: Calendar) -> String {
    if standing::is_exit(record, txid) {
        let wait = calendar.blocks(record.unbonding_time.get().into());
        return format!(
            "the early exit is sent and waits for its first confirmation: {txid}; {wait} after that the coins can be withdrawn"
        );
    }
    let what = match standing::made_by(txid, book) {
        Some(new) => format!("the expansion into stake {}", new.name()),
        None if standing::is_slashing(record, txid) => "a slashing".to_owned(),
        None => "a withdrawal".to_owned(),
    };
    format!("{what} is sent and waits for its first confirmation: {txid}")
}

/// What keeps a staking transaction from coming into a block. For an expansion, what has become of the stake that it expands.
pub fn rival(record: &StakeRecord, rival: Rival, view: View<'_>) -> String {
    let old = record.expands.and_then(|id| view.book.iter().find(|old| old.id == Some(id)));
    let Some(old) = old.filter(|old| old.outpoint == rival.coin()) else { return rival.to_string() };
    let name = old.name();
    if let Rival::Waiting { txid, .. } = rival {
        let moves = moves(old, &txid, view.book, view.calendar);
        return format!("of stake {name}, which this one expands, {moves}; only one of the two can confirm");
    }
    let outlook = rival.outlook();
    let Some((_, spend)) = standing::displaced(record, view.ledger) else {
        return format!(
            "the expansion {outlook}: stake {name}, which it expands, was spent otherwise; nothing is locked by it, and the coin set aside for it is free again once the hub's log has that too"
        );
    };
    let backs = match standing::known(record, view.ledger).filter(|new| !new.lapsed) {
        Some(new) => format!(", and can back another registration from {} on", view.when(new.lapses_at.0)),
        None => String::new(),
    };
    format!(
        "the expansion {outlook}: stake {name}, which it expands, {}, by {} in block {}; nothing is locked by it; the coin set aside for it is free again{backs}",
        became(spend.kind, view.ledger),
        spend.txid,
        spend.place.height
    )
}

fn became(kind: SpendKind, ledger: &Ledger) -> String {
    match kind {
        SpendKind::Unbonding => "left early".to_owned(),
        SpendKind::Withdrawal => "was withdrawn".to_owned(),
        SpendKind::Slashing => "was slashed".to_owned(),
        SpendKind::Breach => "was moved by the committee".to_owned(),
        SpendKind::Expansion(new) => {
            let name = ledger.stakes().get(new).map_or_else(String::new, |new| format!(" {}", new.id));
            format!("went into stake{name}")
        }
    }
}

/// Which transaction did something, and how deep it lies under the tip.
pub fn by(txid: &Txid, height: u32, tip: u32) -> String {
    format!("by {txid} in block {height}, depth {}", tip.saturating_sub(height))
}

/// What moved a stake's coins for good, if the log says so.
pub fn ended(stake: &Stake, view: View<'_>) -> Option<String> {
    let ledger = view.ledger;
    let by = |spend: Spend| by(&spend.txid, spend.place.height.0, view.tip);
    let spend = stake.unbonding_spend.or(stake.spend)?;
    match spend.kind {
        SpendKind::Withdrawal => Some(format!("withdrawn {}; nothing is left to do", by(spend))),
        SpendKind::Expansion(new) => {
            let name = ledger.stakes().get(new).map_or_else(String::new, |new| format!(" {}", new.id));
            Some(format!("went into stake{name}, which expands it, {}", by(spend)))
        }
        SpendKind::Breach => Some(format!(
            "moved by the committee into something that nobody registered, {}: ALARM",
            by(spend)
        )),
        SpendKind::Unbonding | SpendKind::Slashing => None,
    }
}

/// From when on a stake's coins can be withdrawn.
fn leaves(stake: &Stake, view: View<'_>) -> String {
    match stake.withdrawable_at() {
        Some(height) if view.is_due(height.0) => format!("can be withdrawn now: `withdraw {}`", stake.id),
        Some(height) => format!("can be withdrawn from {}", view.when(height.0)),
        None => "can be withdrawn when its timelock is over".to_owned(),
    }
}

/// Until when a stake that was not sent can be gone on with, and when it lapses.
fn resumable(stake: &Stake, view: View<'_>) -> String {
    let lapses = format!("lapses at {}", view.when(stake.lapses_at.0));
    match standing::resumable_until(stake) {
        Some(last) if last >= view.tip => {
            format!("`stake --resume {}` goes on until {}; {lapses}", stake.id, view.when(last))
        }
        _ => format!("too late to go on: it {lapses}, stake anew then"),
    }
}

/// What comes next for a stake in the ledger.
pub fn next(stake: &Stake, broadcast: bool, view: View<'_>) -> String {
    let quorum = stake.contract.keys.committee().quorum();
    let signed = || format!("{} signed, {quorum} are needed", stake.signatures.len());
    let lapses = || match stake.ever_included {
        true => String::new(),
        false => format!("; lapses at {} if no block before that holds it", view.when(stake.lapses_at.0)),
    };
    match stake.state {
        StakeState::Pending if stake.included.is_some() => format!("waits for the committee: {}", signed()),
        StakeState::Pending if broadcast => format!(
            "handed to Bitcoin; waits for its first block, and for the committee: {}{}",
            signed(),
            lapses()
        ),
        StakeState::Pending => {
            format!(
                "waits for the committee: {}; nothing is locked yet; {}",
                signed(),
                resumable(stake, view)
            )
        }
        StakeState::Verified => match stake.deep_at() {
            Some(deep) => {
                let block = deep.0.saturating_sub(stake.k);
                let resumed = view.ledger.breaker().map_or("", |_| ", once governance has resumed");
                format!("in block {block}; gains power at {}{resumed}", view.when(deep.0))
            }
            None if broadcast => format!(
                "handed to Bitcoin; waits for its first block, and gains power {} after that{}; `stake --resume {} --fee-rate RATE` makes it pay more",
                view.calendar.blocks(stake.k),
                lapses(),
                stake.id
            ),
            None => {
                format!("the committee has signed, nothing is locked yet: {}", resumable(stake, view))
            }
        },
        StakeState::Active => format!(
            "active; has power until {}; {}; `unbond` leaves early",
            view.when(stake.ends_at().map_or(0, |height| height.0)),
            leaves(stake, view)
        ),
        StakeState::Ending => format!("has no power any more; {}", leaves(stake, view)),
        StakeState::Unbonding => {
            let left =
                stake.spend.map_or_else(String::new, |spend| format!(" in block {}", spend.place.height));
            format!("left early{left}; {}", leaves(stake, view))
        }
        StakeState::Exposed => format!(
            "the key of a provider is out: part of it will be slashed; what is left can be withdrawn later, otherwise it {}",
            leaves(stake, view)
        ),
        StakeState::Withdrawable => leaves(stake, view),
        StakeState::Withdrawn | StakeState::Expanded | StakeState::Breached => {
            ended(stake, view).unwrap_or_default()
        }
        StakeState::Slashed => format!("slashed; the rest {}", leaves(stake, view)),
        StakeState::Rejected if stake.included.is_some() => {
            format!("the committee refused it; {}", leaves(stake, view))
        }
        StakeState::Rejected => {
            let reasons: Vec<&str> = stake.refusals.values().map(String::as_str).collect();
            format!("the committee refused it ({}); nothing is locked", reasons.join("; "))
        }
        StakeState::Lapsed => lapsed(stake, broadcast, None, view),
    }
}

/// What comes next for a stake that lapsed; `found` is where the own node has its transaction, if it was asked.
pub fn lapsed(stake: &Stake, broadcast: bool, found: Option<Found>, view: View<'_>) -> String {
    let anew = format!("`stake --resume {}`", stake.id);
    let lock: u32 = stake.contract.lock.get().into();
    let block = stake.included.map(|place| place.height.0).or(match found {
        Some(Found::Block(height)) => Some(height),
        _ => None,
    });
    // What no block holds can be in the next.
    let never = standing::never_anew(stake, block.unwrap_or(view.tip.saturating_add(1)), view.ledger);
    let never = never.map(|why| format!("{why}, so it cannot be registered anew and gains no power"));
    if let Some(block) = block {
        let due = block.saturating_add(lock);
        let when = match view.is_due(due) {
            true => format!("it can be withdrawn now: `withdraw {}`", stake.id),
            false if stake.has_quorum() => {
                format!(
                    "it can be withdrawn from {}, or leave early now: `unbond {}`",
                    view.when(due),
                    stake.id
                )
            }
            false => format!("it can be withdrawn from {}", view.when(due)),
        };
        let late = format!("block {block} holds it, too late to count");
        return match never {
            None => {
                format!("{late}: {anew} registers it anew, and then it can gain power; without that {when}")
            }
            Some(never) => format!("{late}: {never}; {when}"),
        };
    }
    let lock = view.calendar.blocks(lock);
    let counts = match never {
        None => format!(
            "{anew} registers it anew once a block holds it; without that it can be withdrawn {lock} after its block"
        ),
        Some(never) => format!("{never}; it can be withdrawn {lock} after its block"),
    };
    match found {
        Some(_) => format!("no block held it in time to count; it waits in your node's mempool: {counts}"),
        None if broadcast => {
            format!(
                "handed to Bitcoin, and no block held it in time to count: {anew} sends it again, and {counts}"
            )
        }
        None => "was never sent; nothing is locked".to_owned(),
    }
}

/// The same for a stake that the log does not have.
pub fn unregistered(record: &StakeRecord, calendar: Calendar) -> String {
    let name = record.name();
    match record.broadcast {
        true => format!(
            "handed to Bitcoin, not in the hub's log: `stake --resume {name}`; withdrawable {} after its block in any case",
            calendar.blocks(record.lock.get().into())
        ),
        false => format!("prepared, nothing is locked: `stake --resume {name}`"),
    }
}
