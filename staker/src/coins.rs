//! Where the coins of a stake lie now, and what became of a staking transaction: asked of the own node, no hub is needed.

use crate::exit::{Exit, Place};
use crate::failures;
use crate::record::StakeRecord;
use crate::rival::Rival;
use crate::session::Session;
use crate::when::Calendar;
use crate::words::{self, Found, View};
use bitcoin::{Sequence, TxIn, Txid};
use palisade_hub::bitcoind::BitcoinRpc;
use palisade_hub::daemon::exit::Failure;
use std::fmt;

/// Coins of a stake in an output of the best chain.
#[derive(Debug, Clone)]
pub struct Lying {
    /// The output, and what it takes to leave it.
    pub exit: Exit,
    /// Blocks from its own to the tip, both counted.
    pub confirmations: u32,
    /// Height of the tip.
    pub tip: u32,
    /// The transaction of the mempool that moves them, if one does.
    pub moved_by: Option<Txid>,
}

impl Lying {
    /// How many blocks must still come before one that may hold a withdrawal. BIP 68 counts from the block of the output:
    /// `lock` confirmations are there when the next block may spend it.
    pub fn missing(&self) -> u32 {
        u32::from(self.exit.lock.get()).saturating_sub(self.confirmations)
    }

    /// Height of the first block that may hold a withdrawal, or of the next if that one is there.
    pub fn withdraw_at(&self) -> u32 {
        self.tip.saturating_add(1).saturating_add(self.missing())
    }

    /// What has taken the coins out of the stake and left them here; nothing while they are in it.
    pub fn left(&self) -> Option<String> {
        let height = self.height();
        let by = words::by(&self.exit.coin.outpoint.txid, height, self.tip);
        match self.exit.place {
            Place::Stake => None,
            Place::Unbonding => Some(format!("it left early, {by}: {} are left", self.exit.coin.value)),
            Place::Slashing => Some(format!("it was slashed, {by}: {} are left", self.exit.coin.value)),
        }
    }

    /// From when on they can be withdrawn.
    pub fn withdrawal(&self, calendar: Calendar) -> String {
        match self.missing() {
            0 => "now".to_owned(),
            _ => format!("from {}", calendar.height(self.withdraw_at(), self.tip)),
        }
    }

    /// Refuses to do with a stake what can only be done while its coins are in it.
    fn check_in_stake(&self, record: &StakeRecord, calendar: Calendar) -> Result<(), Failure> {
        let Some(left) = self.left() else { return Ok(()) };
        let when = self.withdrawal(calendar);
        let why = Failure::failed(format_args!("the coins are not in this stake any more: {left}"))
            .hint(format_args!("`palisade-staker withdraw {}` takes them {when}", record.name()));
        Err(self.tell(why))
    }

    /// Adds to a failure, for programs, what made the place where the coins are, and when they can be withdrawn.
    pub fn tell(&self, why: Failure) -> Failure {
        let place = Some((self.height(), self.tip));
        about(why, &self.exit.coin.outpoint.txid, place)
            .fact("amount_sat", self.exit.coin.value.to_sat())
            .fact("withdraw_at", self.withdraw_at())
    }

    fn height(&self) -> u32 {
        self.tip.saturating_add(1).saturating_sub(self.confirmations)
    }
}

/// The output that holds a stake's coins on the node's best chain.
pub async fn find(node: &BitcoinRpc, record: &StakeRecord) -> Result<Option<Lying>, Failure> {
    let contract = record.contract()?;
    for exit in Exit::all(&contract, record.presigned().as_ref()) {
        let outpoint = exit.coin.outpoint;
        let Some(unspent) = node.tx_out(outpoint, false).await.map_err(failures::node)? else { continue };
        if unspent.output != exit.txout() {
            return Err(Failure::failed(format_args!(
                "the node's output {outpoint} is not what the book says"
            )));
        }
        let tip = node.height_of(unspent.best_block).await.map_err(failures::node)?;
        let tip = tip.ok_or_else(|| Failure::not_now("Bitcoin's best chain has just changed: try again"))?;
        let moved_by = node.spends_in_mempool(&[outpoint]).await.map_err(failures::node)?;
        let (confirmations, moved_by) = (unspent.confirmations, moved_by.into_iter().flatten().next());
        return Ok(Some(Lying { exit, confirmations, tip, moved_by }));
    }
    Ok(None)
}

/// Whether a block has the coins in the stake, and nothing moves them; false where no block has them anywhere. Refuses to do with
/// a stake what can only be done while its coins stay in it.
pub async fn are_in_stake(session: &Session, record: &StakeRecord) -> Result<bool, Failure> {
    Ok(find_in_stake(session, record).await?.is_some())
}

/// The same, and how long they have been there.
pub async fn find_in_stake(session: &Session, record: &StakeRecord) -> Result<Option<Lying>, Failure> {
    match find(&session.node, record).await? {
        Some(Lying { moved_by: Some(txid), .. }) => Err(leaving(session, record, &txid)),
        Some(lying) => {
            lying.check_in_stake(record, Calendar::of(session.network()))?;
            Ok(Some(lying))
        }
        None => Ok(None),
    }
}

/// The refusal where a transaction of the mempool moves the coins.
pub fn leaving(session: &Session, record: &StakeRecord, txid: &Txid) -> Failure {
    let calendar = Calendar::of(session.network());
    let why = Failure::not_now(words::moves(record, txid, session.book.stakes(), calendar));
    about(why.hint(format_args!("palisade-staker status {}", record.name())), txid, None)
}

/// How many of the newest blocks are read to find what has spent an output, where no log says it.
pub const LOOK_BACK: u32 = 30;

/// Adds to a failure, for programs, the transaction that it is about: `txid`, `height` and `depth`, which are null while it
/// waits in the mempool.
pub fn about(why: Failure, txid: &Txid, place: Option<(u32, u32)>) -> Failure {
    let (height, tip) = place.unzip();
    let depth = tip.zip(height).map(|(tip, height)| tip.saturating_sub(height));
    why.fact("txid", txid.to_string()).fact("height", height).fact("depth", depth)
}

/// Where a wallet's stakes are looked for, to say what has become of one.
#[derive(Clone, Copy)]
pub struct Sources<'a> {
    /// The node.
    pub node: &'a BitcoinRpc,
    /// The stakes that the holder knows of; without a session they are a backup's.
    pub stakes: &'a [StakeRecord],
    /// The whole wallet, with the log.
    pub session: Option<&'a Session>,
    /// How many of the newest blocks are read.
    pub look_back: u32,
}

impl<'a> Sources<'a> {
    /// Those of an open wallet.
    pub fn of(session: &'a Session) -> Self {
        let (node, stakes) = (&session.node, session.book.stakes());
        Self { node, stakes, session: Some(session), look_back: LOOK_BACK }
    }
}

/// Why there are no coins of a stake in any output that it could have come to.
pub async fn nowhere(record: &StakeRecord, sources: Sources<'_>) -> Result<Failure, Failure> {
    let node = sources.node;
    let found = node.raw_transaction(record.outpoint.txid).await.map_err(failures::node)?;
    let resume = format!("`palisade-staker stake --resume {}` sends it", record.name());
    let k = sources.session.map_or(LOOK_BACK, |session| session.view(None).k());
    Ok(match found {
        None => match rival(node, record, k).await? {
            Some(rival) => {
                let why = match sources.session {
                    Some(session) => words::rival(record, rival, session.view(None)),
                    None => rival.to_string(),
                };
                if matches!(rival, Rival::Final { .. }) {
                    Failure::failed(why)
                } else {
                    Failure::not_now(why)
                }
            }
            None if !record.broadcast => {
                Failure::not_now("the stake was not sent to Bitcoin yet: nothing is locked").hint(resume)
            }
            None => Failure::not_now("the stake was sent, and your node does not have it").hint(resume),
        },
        Some(found) if found.mined_in.is_none() => Failure::not_now("the stake waits for its first block")
            .hint(format_args!(
                "`palisade-staker stake --resume {} --fee-rate RATE` makes it pay more",
                record.name()
            )),
        Some(_) => gone(record, sources).await?,
    })
}

/// What took the coins of a stake that was on Bitcoin: as the log says, or the newest blocks.
async fn gone(record: &StakeRecord, sources: Sources<'_>) -> Result<Failure, Failure> {
    let say = |what: &dyn fmt::Display| {
        Failure::failed(format_args!("the coins are not in this stake any more: {what}"))
    };
    let status = format!("palisade-staker status {}", record.name());
    if let Some(session) = sources.session
        && let Some(stake) = session.known(record)
        && let Some(spend) = stake.unbonding_spend.or(stake.spend)
        && let Some(ended) = words::ended(stake, session.view(None))
    {
        let place = (spend.place.height.0, session.ledger().btc_height().0);
        return Ok(about(say(&ended).hint(status), &spend.txid, Some(place)));
    }
    if let Some((withdrawal, height, tip)) = withdrawn_lately(record, sources).await? {
        let by = words::by(&withdrawal, height, tip);
        let why = say(&format_args!("withdrawn {by}; nothing is left to do"));
        return Ok(about(why, &withdrawal, Some((height, tip))));
    }
    // The log may be a moment behind the node.
    if let Some((new, height)) = successor(sources.node, record, sources.stakes).await? {
        let tip = sources.node.tip().await.map_err(failures::node)?.height;
        let (name, txid) = (new.name(), &new.outpoint.txid);
        let by = words::by(txid, height, tip);
        let why = say(&format_args!("they went into stake {name}, which expands it, {by}"));
        let why = match sources.session {
            Some(_) => why.hint(format_args!("palisade-staker status {name}")),
            None => why.hint(format_args!("withdraw --backup FILE --stake {name}")),
        };
        return Ok(about(why, txid, Some((height, tip))));
    }
    Ok(match sources.session {
        Some(_) => Failure::failed("the coins are not in this stake any more").hint(status),
        None => say(&"they were withdrawn, or went into a stake that this backup does not have").hint(
            "a stake made later is in a newer backup only; where the wallet is, `palisade-staker recover` finds it in the hub's log",
        ),
    })
}

/// The withdrawal of a stake in one of the newest blocks, its height and the tip's.
async fn withdrawn_lately(
    record: &StakeRecord,
    sources: Sources<'_>,
) -> Result<Option<(Txid, u32, u32)>, Failure> {
    let contract = record.contract()?;
    let exits = Exit::all(&contract, record.presigned().as_ref());
    // Nothing but a withdrawal waits for the timelock.
    let waits = |exit: &Exit, input: &TxIn| {
        input.previous_output == exit.coin.outpoint
            && input.sequence == Sequence::from_height(exit.lock.get())
    };
    let withdraws = |input: &TxIn| exits.iter().any(|exit| waits(exit, input));
    spent_lately(sources.node, withdraws, sources.look_back).await
}

/// The newest transaction of the newest blocks that has such an input, its height and the tip's.
async fn spent_lately(
    node: &BitcoinRpc,
    spends: impl Fn(&TxIn) -> bool,
    blocks: u32,
) -> Result<Option<(Txid, u32, u32)>, Failure> {
    let tip = node.tip().await.map_err(failures::node)?.height;
    for height in (tip.saturating_add(1).saturating_sub(blocks)..=tip).rev() {
        let Some(hash) = node.block_hash(height).await.map_err(failures::node)? else { continue };
        let Some(block) = node.block(hash).await.map_err(failures::node)? else { continue };
        if let Some(tx) = block.txdata.iter().find(|tx| tx.input.iter().any(&spends)) {
            return Ok(Some((tx.compute_txid(), height, tip)));
        }
    }
    Ok(None)
}

/// The stake, of those that are known, that a stake's coins went into on Bitcoin, and the height of its block.
pub async fn successor<'a>(
    node: &BitcoinRpc,
    record: &StakeRecord,
    stakes: &'a [StakeRecord],
) -> Result<Option<(&'a StakeRecord, u32)>, Failure> {
    let spends = |new: &&StakeRecord| {
        new.staking_tx.input.iter().any(|input| input.previous_output == record.outpoint)
    };
    for new in stakes.iter().filter(spends) {
        if let Some(Found::Block(height)) = found(node, new).await? {
            return Ok(Some((new, height)));
        }
    }
    Ok(None)
}

/// Where the node has the transaction of a stake.
pub async fn found(node: &BitcoinRpc, record: &StakeRecord) -> Result<Option<Found>, Failure> {
    let Some(found) = node.raw_transaction(record.outpoint.txid).await.map_err(failures::node)? else {
        return Ok(None);
    };
    let Some(block) = found.mined_in else { return Ok(Some(Found::Mempool)) };
    // A block that has just left the best chain says nothing yet.
    Ok(node.height_of(block).await.map_err(failures::node)?.map(Found::Block))
}

/// What keeps a staking transaction that is not on Bitcoin from getting there, if something does: for ever, where it is at depth
/// `k`. A coin whose own transaction is not on Bitcoin may come back after a reorganisation, so it says nothing.
pub async fn rival(node: &BitcoinRpc, record: &StakeRecord, k: u32) -> Result<Option<Rival>, Failure> {
    let found = async |txid| node.raw_transaction(txid).await.map_err(failures::node);
    if found(record.outpoint.txid).await?.is_some() {
        return Ok(None);
    }
    let mut waiting = None;
    for input in &record.staking_tx.input {
        let coin = input.previous_output;
        let unspent = node.tx_out(coin, false).await.map_err(failures::node)?;
        if unspent.is_none() {
            let made = found(coin.txid).await?.is_some_and(|made| made.mined_in.is_some());
            let spent =
                spent_lately(node, |input| input.previous_output == coin, if made { k } else { 0 }).await?;
            // Asked again: the staking transaction itself may have come into a block in between.
            if made && found(record.outpoint.txid).await?.is_none() {
                let in_block = |(txid, height, tip)| Rival::in_block(coin, txid, height, tip, k);
                return Ok(Some(spent.map_or(Rival::Final { coin }, in_block)));
            }
            continue;
        }
        let spends = node.spends_in_mempool(&[coin]).await.map_err(failures::node)?;
        waiting = waiting.or(spends.into_iter().flatten().next().map(|txid| Rival::Waiting { coin, txid }));
    }
    Ok(waiting)
}

/// Refuses to go on with a stake that can never be on Bitcoin, and to send one beside a transaction that takes its coins.
pub async fn check_can_confirm(
    node: &BitcoinRpc,
    record: &StakeRecord,
    view: View<'_>,
) -> Result<(), Failure> {
    let k = view.k();
    let Some(rival) = rival(node, record, k).await? else { return Ok(()) };
    let why = words::rival(record, rival, view);
    match rival {
        Rival::Final { .. } => Err(Failure::failed(why).hint("stake anew")),
        Rival::Confirmed { txid, height, .. } => {
            let stays = view.calendar.height(height.saturating_add(k), view.tip);
            let hint = format!("stake anew; from {stays} on it is certain that this one never confirms");
            Err(about(Failure::not_now(why).hint(hint), &txid, Some((height, view.tip.max(height)))))
        }
        Rival::Waiting { txid, .. } if !record.broadcast => {
            Err(about(Failure::not_now(why).hint("nothing is sent beside it"), &txid, None))
        }
        Rival::Waiting { .. } => Ok(()),
    }
}
