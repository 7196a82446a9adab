//! Every transaction that was seen in flight, or that the anchorer holds for sent, is in a block, or another one of its owner's took its
//! place there.

use crate::faults::field::{Field, Waiting};
use crate::faults::witness::Seen;
use anyhow::{Context as _, ensure};
use bitcoin::consensus::encode::deserialize;
use bitcoin::{OutPoint, Transaction, Txid};
use palisade_protocol::anchor::Anchor;
use rusqlite::{Connection, OpenFlags};
use std::collections::BTreeMap;

pub(super) async fn check(field: &mut Field, seen: &Seen) -> anyhow::Result<()> {
    let waiting = Waiting::until("what was in flight is in blocks");
    let mut sent = seen.transactions.clone();
    sent.extend(anchors_on_disk(field)?);
    loop {
        field.mine(1).await?;
        let mined = field.mined();
        let spent = spends(&mined);
        let open: Vec<Txid> = sent
            .iter()
            .filter(|(txid, tx)| {
                !mined.contains_key(*txid)
                    && !tx.input.iter().any(|input| spent.contains_key(&input.previous_output))
            })
            .map(|(txid, _)| *txid)
            .collect();
        if open.is_empty() {
            // Now, because the anchorer went on while this was waited for.
            return replaced_by_owner(&mined, &spent, &sent, &anchors_on_disk(field)?);
        }
        waiting.check(open)?;
        field.pause().await?;
    }
}

type Mined = BTreeMap<Txid, Transaction>;

fn spends(mined: &Mined) -> BTreeMap<OutPoint, Txid> {
    let inputs = |(txid, tx): (&Txid, &Transaction)| {
        tx.input.iter().map(|input| (input.previous_output, *txid)).collect::<Vec<_>>()
    };
    mined.iter().flat_map(inputs).collect()
}

/// Nothing but an anchor is ever replaced, and by an anchor; and the anchorer has each of them on its disk.
fn replaced_by_owner(
    mined: &Mined,
    spent: &BTreeMap<OutPoint, Txid>,
    sent: &BTreeMap<Txid, Transaction>,
    anchors: &BTreeMap<Txid, Transaction>,
) -> anyhow::Result<()> {
    for (txid, tx) in sent {
        let is_anchor = Anchor::find(tx).is_ok();
        ensure!(
            !is_anchor || anchors.contains_key(txid),
            "the anchorer does not know its transaction {txid}"
        );
        if mined.contains_key(txid) {
            continue;
        }
        let rival = tx.input.iter().find_map(|input| spent.get(&input.previous_output)).context("a rival")?;
        ensure!(is_anchor && anchors.contains_key(rival), "{txid} was replaced by {rival}");
    }
    Ok(())
}

fn anchors_on_disk(field: &Field) -> anyhow::Result<BTreeMap<Txid, Transaction>> {
    let path = field.story.network().dir.join("checkpointer/anchor-data/flights.sqlite");
    let record = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    let mut statement = record.prepare("SELECT bytes FROM version")?;
    let rows = statement.query_map([], |row| row.get::<_, Vec<u8>>(0))?;
    rows.map(|row| {
        let tx: Transaction = deserialize(&row?)?;
        Ok((tx.compute_txid(), tx))
    })
    .collect()
}
