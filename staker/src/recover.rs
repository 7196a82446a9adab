//! `recover`: the book of stakes made again, or completed, from the hub's log and from a backup.
//!
//! Every registration in the log names the holder's key, so the own copy of the log tells all registered stakes of a seed.
//! A stake that was broadcast and never registered is in no log: only a backup names it.

use crate::backup::Backup;
use crate::finish;
use crate::keys::{Keys, staker_key};
use crate::purse::sign_coin;
use crate::record::{Origin, StakeRecord};
use crate::session::Session;
use crate::verify;
use bitcoin::{Transaction, TxOut};
use clap::Args;
use palisade_hub::daemon::ask::go_on;
use palisade_hub::daemon::exit::Failure;
use palisade_hub::ledger::Ledger;
use palisade_hub::store::Store;
use palisade_protocol::keys::StakerKey;
use palisade_protocol::message::Message;
use palisade_protocol::registration::StakeRegistration;
use palisade_protocol::stake::StakeId;
use palisade_protocol::units::Height;
use serde::Serialize;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

/// How many keys in a row without a stake end the search. Keys are used up one for each stake that was tried.
const GAP: u32 = 500;
/// Keys that are passed over after a recovery: stakes that nobody registered may have them.
const PASSED_OVER: u32 = 20;
/// Blocks of the log that are read at once.
const PAGE: u32 = 500;

/// Where to look.
#[derive(Debug, Args)]
pub struct Recover {
    /// A backup of this wallet, of any age: its stakes are taken too.
    #[arg(long)]
    pub backup: Option<PathBuf>,
}

/// What was found.
#[derive(Debug, Serialize)]
pub struct Recovered {
    /// Stakes that the book did not have, oldest first.
    pub found: Vec<String>,
    /// How many stakes it has now.
    pub stakes: usize,
    /// Height of the newest hub block that was searched.
    pub hub_height: Option<u64>,
    /// Whether the hub told what is new; if not, stakes registered since are missing.
    pub hub_answered: bool,
}

impl fmt::Display for Recovered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "stakes found that the book did not have: {}", self.found.len())?;
        self.found.iter().try_for_each(|name| writeln!(f, "  {name}"))?;
        let height = self.hub_height.map_or("-".into(), |height| height.to_string());
        writeln!(f, "(the book has {} now; the hub's log was searched up to height {height})", self.stakes)?;
        if !self.hub_answered {
            writeln!(
                f,
                "WARNING: the hub did not answer: stakes registered since are missing; recover again later"
            )?;
        }
        write!(
            f,
            "A stake that was broadcast and never registered is only in a backup (--backup FILE). Next: palisade-staker status"
        )
    }
}

impl Recover {
    /// Completes the book. Nothing that it holds is changed.
    pub async fn run(&self, config: &Path) -> Result<Recovered, Failure> {
        let backup = self.backup.as_deref().map(Backup::read).transpose()?;
        let mut session = Session::open_for_recovery(config)?;
        let hub = session.catch_up().await;
        let hub_answered = hub.is_ok();
        match hub {
            // A book with nothing in it must not come from a log that nobody told.
            Err(why) if backup.is_none() => {
                return Err(why.hint(
                    "the hub's log names your stakes; without the hub, --backup FILE takes those of a backup",
                ));
            }
            Err(why) => go_on(&why, "going on with the backup and what is known"),
            Ok(()) => {}
        }
        let keys = session.keys()?;
        let mut records = match &backup {
            Some(backup) => of_this_wallet(backup, &keys)?,
            None => Vec::new(),
        };
        let numbers = numbers(session.ledger(), &keys)?;
        let logged = registrations(session.replica.store(), &numbers)?;
        if let Err(why) = session.sync().await {
            go_on(&why, "a stake that was not sent yet cannot be signed again");
        }
        for (id, registration) in logged {
            records.extend(restore(&session, &keys, &numbers, id, registration).await?);
        }
        let next = numbers.values().max().map_or(0, |last| last + 1 + PASSED_OVER);
        let found = session.book.adopt(records, next)?;
        if let Some(backup) = &backup {
            session.book.note_read(backup.stakes())?;
        }
        Ok(Recovered {
            found: found.iter().map(StakeRecord::name).collect(),
            stakes: session.book.stakes().len(),
            hub_height: session.ledger().tip().map(|(height, _)| height.0),
            hub_answered,
        })
    }
}

/// The stakes of a backup, if their keys come from this seed.
fn of_this_wallet(backup: &Backup, keys: &Keys) -> Result<Vec<StakeRecord>, Failure> {
    for record in backup.stakes() {
        if staker_key(&*keys.staking(record.key_index)?) != record.staker {
            return Err(Failure::usage("the backup is another wallet's: its stakes have other keys"));
        }
    }
    Ok(backup.stakes().to_vec())
}

/// Which of the seed's keys stakes in the log have, and their numbers.
fn numbers(ledger: &Ledger, keys: &Keys) -> Result<BTreeMap<StakerKey, u32>, Failure> {
    let owners: BTreeSet<StakerKey> =
        ledger.stakes().iter().map(|stake| stake.contract.keys.staker()).collect();
    let mut found = BTreeMap::new();
    let (mut number, mut end) = (0, GAP);
    while number < end {
        let key = staker_key(&*keys.staking(number)?);
        if owners.contains(&key) {
            found.insert(key, number);
            end = number + 1 + GAP;
        }
        number += 1;
    }
    Ok(found)
}

/// What the log says of stakes of these keys, in its order.
fn registrations(
    log: &Store,
    keys: &BTreeMap<StakerKey, u32>,
) -> Result<Vec<(StakeId, StakeRegistration)>, Failure> {
    let mut found = Vec::new();
    let mut from = Height(0);
    loop {
        let blocks = log.blocks(from, PAGE).map_err(Failure::failed)?;
        let Some(last) = blocks.last() else { return Ok(found) };
        from = Height(last.header.height.0 + 1);
        for message in blocks.iter().flat_map(|block| &block.messages) {
            match message.decode() {
                Ok(Message::Stake(registration)) if keys.contains_key(&registration.staker) => {
                    found.push((StakeId(message.id()), *registration));
                }
                _ => {}
            }
        }
    }
}

/// The record of a stake in the log. Its transaction is taken from the node, or signed again, where the log leaves its
/// witnesses out.
async fn restore(
    session: &Session,
    keys: &Keys,
    numbers: &BTreeMap<StakerKey, u32>,
    id: StakeId,
    registration: StakeRegistration,
) -> Result<Option<StakeRecord>, Failure> {
    let ledger = session.ledger();
    let newest = ledger.stakes().find(&id).filter(|(index, stake)| {
        ledger.stakes().at_outpoint(&stake.contract.coin.outpoint).is_some_and(|(newest, _)| newest == *index)
    });
    let (Some((_, stake)), Some(number)) = (newest, numbers.get(&registration.staker)) else {
        return Ok(None);
    };
    let txid = stake.contract.coin.outpoint.txid;
    let seen = session.node.raw_transaction(txid).await.ok().flatten();
    let broadcast = stake.ever_included || seen.is_some();
    let expanded = stake.expands.and_then(|old| ledger.stakes().get(old));
    let own =
        || sign_again(session, keys, &registration.staking_tx, expanded.map(|old| old.contract.txout()));
    let staking_tx =
        seen.map(|seen| seen.transaction).or_else(own).unwrap_or(registration.staking_tx.clone());
    let origin = Origin {
        key_index: *number,
        staking_tx: &staking_tx,
        providers: &registration.providers,
        former: &registration.former,
        expands: registration.expands,
    };
    let mut record = StakeRecord::new(&stake.contract, origin);
    record.id = Some(id);
    record.presigned = Some(stake.presigned.clone().into());
    record.broadcast = broadcast;
    record.registration = Some(finish::bytes_of(registration));
    record.contract()?;
    if let Ok(signatures) = verify::quorum(ledger, &record, &*keys.staking(*number)?) {
        record.unbonding_signatures = signatures;
    }
    Ok(Some(record))
}

/// Signs the inputs of a staking transaction that are coins of the wallet. `expanded` is what the first input spends, for
/// an expansion, which is signed when it is sent. `None` if a coin is not there any more.
fn sign_again(
    session: &Session,
    keys: &Keys,
    tx: &Transaction,
    expanded: Option<TxOut>,
) -> Option<Transaction> {
    let coins: Vec<_> = tx.input.iter().map(|input| session.purse.coin(input.previous_output).ok()).collect();
    let first = expanded.is_some();
    let spent = coins.iter().enumerate().map(|(index, coin)| match coin {
        Some(coin) => Some(coin.output.clone()),
        None => expanded.clone().filter(|_| index == 0),
    });
    let spent: Vec<TxOut> = spent.collect::<Option<_>>()?;
    let mut signed = tx.clone();
    for (index, (input, coin)) in signed.input.iter_mut().zip(&coins).enumerate().skip(usize::from(first)) {
        let coin = coin.as_ref()?;
        let secret = keys.coin_key(coin.branch, coin.index).ok()?;
        input.witness = sign_coin(tx, index, &spent, &secret).ok()?;
    }
    Some(signed)
}
