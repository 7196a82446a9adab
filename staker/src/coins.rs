//! Where the coins of a stake lie now, and what became of a staking transaction: asked of the own node, no hub is needed.

use crate::exit::Exit;
use crate::failures;
use crate::record::StakeRecord;
use crate::session::Session;
use crate::words::{self, View};
use bitcoin::{OutPoint, Txid};
use palisade_hub::bitcoind::BitcoinRpc;
use palisade_hub::daemon::exit::Failure;
use serde::Serialize;
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

/// Why there are no coins of a stake in any output that it could have come to. `stakes` are those that the holder knows of;
/// without a session they are a backup's.
pub async fn nowhere(
    node: &BitcoinRpc,
    record: &StakeRecord,
    stakes: &[StakeRecord],
    session: Option<&Session>,
) -> Result<Failure, Failure> {
    let found = node.raw_transaction(record.outpoint.txid).await.map_err(failures::node)?;
    let name = record.name();
    let resume = format!("`palisade-staker stake --resume {name}` sends it");
    Ok(match found {
        None if !record.broadcast => {
            Failure::not_now("the stake was not sent to Bitcoin yet: nothing is locked").hint(resume)
        }
        None => match rival(node, record).await? {
            Some(rival @ Rival::Confirmed { .. }) => Failure::failed(rival),
            Some(rival) => Failure::not_now(rival),
            None => Failure::not_now("the stake was sent, and your node does not have it").hint(resume),
        },
        Some(found) if found.mined_in.is_none() => Failure::not_now("the stake waits for its first block"),
        Some(_) => match session {
            Some(session) => {
                let ended = session.ended(record);
                let why = ended.map_or_else(String::new, |ended| format!(": {ended}"));
                Failure::failed(format_args!("the coins are not in this stake any more{why}"))
                    .hint(format_args!("palisade-staker status {name}"))
            }
            None => match successor(node, record, stakes).await? {
                Some(new) => Failure::failed(format_args!(
                    "the coins are not in this stake any more: they went into stake {new}, which expands it"
                ))
                .hint(format_args!("withdraw --backup FILE --stake {new}")),
                None => Failure::failed(
                    "the coins are not in this stake any more: they were withdrawn, or went into a stake that this backup does not have",
                )
                .hint(
                    "a stake made later is in a newer backup only; where the wallet is, `palisade-staker recover` finds it in the hub's log",
                ),
            },
        },
    })
}

/// The stake, of those that a backup has, that a stake's coins went into on Bitcoin.
pub async fn successor(
    node: &BitcoinRpc,
    record: &StakeRecord,
    stakes: &[StakeRecord],
) -> Result<Option<String>, Failure> {
    let spends = |new: &&StakeRecord| {
        new.staking_tx.input.iter().any(|input| input.previous_output == record.outpoint)
    };
    for new in stakes.iter().filter(spends) {
        let found = node.raw_transaction(new.outpoint.txid).await.map_err(failures::node)?;
        if found.is_some_and(|found| found.mined_in.is_some()) {
            return Ok(Some(new.name()));
        }
    }
    Ok(None)
}

/// Why a staking transaction cannot come into a block as things are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rival {
    /// A block holds another transaction that spends one of its inputs.
    Confirmed {
        /// The input's coin.
        coin: OutPoint,
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
    /// The coin that both spend.
    pub fn coin(self) -> OutPoint {
        match self {
            Self::Confirmed { coin } | Self::Waiting { coin, .. } => coin,
        }
    }
}

impl fmt::Display for Rival {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Confirmed { coin } => write!(
                f,
                "the staking transaction can never confirm: another transaction has spent {coin}, which it spends too; it locks nothing"
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

/// What keeps a staking transaction that is not on Bitcoin from ever getting there, if something does. A coin whose own
/// transaction is not on Bitcoin may come back after a reorganisation, so it says nothing.
pub async fn rival(node: &BitcoinRpc, record: &StakeRecord) -> Result<Option<Rival>, Failure> {
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
            // Asked again: the staking transaction itself may have come into a block in between.
            if made && found(record.outpoint.txid).await?.is_none() {
                return Ok(Some(Rival::Confirmed { coin }));
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
    let Some(rival) = rival(node, record).await? else { return Ok(()) };
    let why = words::rival(record, rival, view);
    match rival {
        Rival::Confirmed { .. } => Err(Failure::failed(why).hint("stake anew")),
        Rival::Waiting { .. } if !record.broadcast => {
            Err(Failure::not_now(why).hint("nothing is sent beside it"))
        }
        Rival::Waiting { .. } => Ok(()),
    }
}
