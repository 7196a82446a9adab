//! What the story was told under: the demo column of docs/design.md's table of parameters, and its rule for mining.

use super::log::Log;
use anyhow::{Context as _, ensure};
use palisade_protocol::context::Terms;
use palisade_protocol::message::Message;
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// How many blocks every set that signs must still have.
const LEFT: u32 = 10;

/// Fails if the genesis document and the log show other rules than the story's.
pub fn check(log: &Log) -> anyhow::Result<()> {
    let own = in_force(log)?;
    ensure!(own == column(), "the parameters are {own}, the demo's column is {}", column());
    let mut in_use = BTreeMap::new();
    for (header, message) in log.messages() {
        if let Message::Certificate(certificate) = message {
            in_use.insert(certificate.ballot.context.0, certificate.set.expiry.0);
        }
        let (height, tip) = (header.height, header.btc_height.0);
        for expiry in in_use.values() {
            ensure!(
                tip + LEFT <= *expiry,
                "hub block {height} has tip {tip}, a set in use expires at {expiry}"
            );
        }
    }
    Ok(())
}

fn column() -> Value {
    json!({
        "k": 6, "w": 20, "interval_ms": 200, "zero": [20, 5], "others": [[50, 5]],
        "set_lifetime": 100, "margin": 18, "unbonding": 244, "lock": [300, 65_535], "lapse": 60, "roots_ahead": 64,
        "committee": [3, 5],
    })
}

fn in_force(log: &Log) -> anyhow::Result<Value> {
    let [params] = log.ledger.params() else { anyhow::bail!("the parameters were changed") };
    let (born, own) = (log.genesis(), params.document());
    let heights = |terms: &Terms| [terms.epoch_length, terms.voted_every];
    let (zero, others) = log.ledger.chains().split_first().context("chain zero")?;
    Ok(json!({
        "k": own.k, "w": own.w, "interval_ms": born.block_interval_ms,
        "zero": heights(&zero.terms), "others": others.iter().map(|chain| heights(&chain.terms)).collect::<Vec<_>>(),
        "set_lifetime": own.set_lifetime_blocks, "margin": own.margin_blocks, "unbonding": own.unbonding_blocks,
        "lock": [own.min_lock_blocks, own.max_lock_blocks], "lapse": own.lapse_blocks, "roots_ahead": born.nonce_roots_ahead,
        "committee": [usize::from(own.quorum), own.covenant.len()],
    }))
}
