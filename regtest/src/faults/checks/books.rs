//! Each transaction of a stake stands with whoever sent it, as their files say it after the last start, and what they hold for sent is
//! in a block.
//!
//! A withdrawal, and a child that pays for another transaction, nobody writes down before it is sent: which there are follows from the
//! seed, the log and Bitcoin. These are looked for where they are found again: in the wallet, and a withdrawal in its holder's `status`.

use crate::demo::report::log::Log;
use crate::faults::field::{Field, Waiting};
use crate::faults::story::Cast;
use crate::faults::witness::Seen;
use anyhow::{Context as _, ensure};
use bitcoin::consensus::encode::deserialize_hex;
use bitcoin::{OutPoint, Transaction, Txid};
use palisade_hub::ledger::stake::Stake;
use palisade_protocol::anchor::Anchor;
use palisade_protocol::hash::Hash32;
use palisade_protocol::stake::StakeId;
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

pub(super) async fn check(field: &mut Field, cast: &Cast, log: &Log, seen: &Seen) -> anyhow::Result<()> {
    let agreed: Vec<Agreed> = log.ledger.stakes().iter().map(Agreed::of).collect();
    let waiting = Waiting::until("each transaction stands with whoever sent it");
    loop {
        let books = Books::read(field, cast).await;
        let judged = books
            .and_then(|books| books.check(&agreed, &seen.transactions, &field.mined(), &field.mined_at()));
        // The watcher's book and wallet follow Bitcoin by some blocks.
        match judged {
            Ok(()) => return Ok(()),
            Err(why) => waiting.check(why)?,
        }
        field.mine(1).await?;
    }
}

/// A stake of the hub's log, and the transactions that were agreed on.
struct Agreed {
    id: StakeId,
    place: OutPoint,
    unbonding: Txid,
    slashings: [Txid; 2],
}

impl Agreed {
    fn of(stake: &Stake) -> Self {
        let presigned = &stake.presigned;
        Self {
            id: stake.id,
            place: stake.contract.coin.outpoint,
            unbonding: presigned.unbonding.compute_txid(),
            slashings: [&presigned.slashing, &presigned.unbonding_slashing].map(Transaction::compute_txid),
        }
    }

    /// What a transaction is to the stake, if it is anything.
    fn kind(&self, tx: &Transaction) -> Option<Kind> {
        let txid = tx.compute_txid();
        let outputs = [self.place, OutPoint { txid: self.unbonding, vout: 0 }];
        let spends = tx.input.iter().any(|input| outputs.contains(&input.previous_output));
        match txid {
            _ if txid == self.place.txid => Some(Kind::Staking),
            _ if txid == self.unbonding => Some(Kind::Unbonding),
            _ if self.slashings.contains(&txid) => Some(Kind::Slashing(self.id)),
            _ => spends.then_some(Kind::Withdrawal),
        }
    }
}

/// What a transaction is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    Staking,
    Unbonding,
    Withdrawal,
    Slashing(StakeId),
    /// Pays for one of a holder's.
    HoldersChild,
    /// Pays for a slashing.
    WatchersChild,
    Anchor,
}

impl Kind {
    /// By what it makes and spends, among all transactions that there are.
    fn of(tx: &Transaction, agreed: &[Agreed], all: &BTreeMap<Txid, Transaction>) -> Option<Self> {
        let own = |tx: &Transaction| agreed.iter().find_map(|stake| stake.kind(tx));
        let anchor = || Anchor::find(tx).is_ok().then_some(Self::Anchor);
        let parents = || tx.input.iter().filter_map(|input| all.get(&input.previous_output.txid));
        let child = |parent| match parent {
            Self::Slashing(_) => Some(Self::WatchersChild),
            Self::Staking | Self::Unbonding => Some(Self::HoldersChild),
            _ => None,
        };
        own(tx).or_else(anchor).or_else(|| parents().find_map(own).and_then(child))
    }
}

/// What holders and the watcher know.
#[derive(Debug, Default, Clone)]
struct Books {
    /// Of holders' books: transactions that make stakes and were handed to Bitcoin.
    stakings: BTreeSet<Txid>,
    /// Of holders' books: early exits.
    exits: BTreeSet<Txid>,
    /// What stakes were spent by, as their holders' `status` has it.
    spends: BTreeSet<Txid>,
    /// Transactions in holders' wallets.
    holders: BTreeSet<Txid>,
    /// Transactions in the wallet that pays for slashings.
    watcher: BTreeSet<Txid>,
    /// Of the watcher's book: the height of the slashing by which a job has ended.
    jobs: BTreeMap<StakeId, Option<u32>>,
}

impl Books {
    async fn read(field: &mut Field, cast: &Cast) -> anyhow::Result<Self> {
        let mut books = Self::default();
        for holder in cast.holders() {
            let status = field.command(holder, &["status"]).await?;
            for stake in status["stakes"].as_array().context("a list of stakes")? {
                books.spends.extend(stake["spent_by"].as_str().map(str::parse::<Txid>).transpose()?);
            }
            // Reads new blocks.
            field.command(holder, &["balance"]).await?;
        }
        let dir = &field.story.network().dir;
        for entry in std::fs::read_dir(dir)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with("holder-") {
                books.add_holder(&entry.path().join("staker-data"))?;
            }
        }
        let watcher = dir.join("checkpointer/watch-data");
        books.watcher = wallet(&watcher.join("wallet.jsonl"))?;
        books.jobs = jobs(&watcher.join("watch.sqlite"))?;
        Ok(books)
    }

    fn add_holder(&mut self, data: &Path) -> anyhow::Result<()> {
        let book: Value = serde_json::from_slice(&std::fs::read(data.join("stakes.json"))?)?;
        for stake in book["stakes"].as_array().context("a list of stakes")? {
            let txid = |hex: &Value| {
                let tx: Option<Transaction> = hex.as_str().map(deserialize_hex).transpose()?;
                anyhow::Ok(tx.map(|tx| tx.compute_txid()))
            };
            if stake["broadcast"] == true {
                self.stakings.extend(txid(&stake["staking_tx"])?);
            }
            self.exits.extend(txid(&stake["presigned"]["unbonding"])?);
        }
        self.holders.extend(wallet(&data.join("wallet.jsonl"))?);
        Ok(())
    }

    /// Every transaction that was seen is somebody's, whoever has sent one knows it, and what they know is in a block.
    fn check(
        &self,
        agreed: &[Agreed],
        seen: &BTreeMap<Txid, Transaction>,
        mined: &BTreeMap<Txid, Transaction>,
        heights: &BTreeMap<Txid, u32>,
    ) -> anyhow::Result<()> {
        let mut kinds = BTreeSet::new();
        for (txid, tx) in mined.iter().chain(seen) {
            let kind = Kind::of(tx, agreed, mined);
            ensure!(kind.is_some() || !seen.contains_key(txid), "{txid} is nobody's");
            let Some(kind) = kind else { continue };
            ensure!(self.tells(kind, txid, heights), "{txid} does not stand with whoever sent it: {kind:?}");
            kinds.insert(kind);
        }
        for txid in self.stakings.iter().chain(&self.spends).chain(&self.holders).chain(&self.watcher) {
            ensure!(heights.contains_key(txid), "{txid} stands in a book or a wallet, and in no block");
        }
        for id in self.jobs.keys() {
            ensure!(kinds.contains(&Kind::Slashing(*id)), "stake {id} is to be slashed, and is not");
        }
        let told = [Kind::Staking, Kind::Unbonding, Kind::Withdrawal];
        ensure!(told.iter().all(|kind| kinds.contains(kind)) && !self.jobs.is_empty(), "told was {kinds:?}");
        Ok(())
    }

    /// Whether whoever sends such transactions knows one. The anchorer was asked before.
    fn tells(&self, kind: Kind, txid: &Txid, heights: &BTreeMap<Txid, u32>) -> bool {
        match kind {
            Kind::Staking => self.stakings.contains(txid),
            Kind::Unbonding => self.exits.contains(txid),
            Kind::Withdrawal => self.spends.contains(txid) && self.holders.contains(txid),
            Kind::Slashing(id) => self.jobs.get(&id) == Some(&heights.get(txid).copied()),
            Kind::HoldersChild => self.holders.contains(txid),
            Kind::WatchersChild => self.watcher.contains(txid),
            Kind::Anchor => true,
        }
    }
}

/// The transactions of a wallet's file, which has one change set a line.
fn wallet(file: &Path) -> anyhow::Result<BTreeSet<Txid>> {
    let mut all = BTreeSet::new();
    for line in std::fs::read_to_string(file)?.lines() {
        let mut change: Value = serde_json::from_str(line)?;
        let transactions: Vec<Transaction> = serde_json::from_value(change["tx_graph"]["txs"].take())?;
        all.extend(transactions.iter().map(Transaction::compute_txid));
    }
    Ok(all)
}

/// The jobs of the watcher's book.
fn jobs(file: &Path) -> anyhow::Result<BTreeMap<StakeId, Option<u32>>> {
    let book = Connection::open_with_flags(file, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut statement =
        book.prepare("SELECT stake, CASE outcome WHEN 'slashed' THEN ended_by END FROM job")?;
    let rows = statement.query_map([], |row| Ok((StakeId(Hash32(row.get(0)?)), row.get(1)?)))?;
    Ok(rows.collect::<Result<_, _>>()?)
}

#[cfg(test)]
mod tests;
