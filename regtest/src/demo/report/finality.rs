//! Final blocks with the sets and votes that made them final.

use super::log::Log;
use anyhow::{Context as _, ensure};
use palisade_hub::ledger::chains::{Chain, FixedSet};
use palisade_protocol::context::ChainId;
use palisade_protocol::finality::certificate::Voter;
use palisade_protocol::finality::set::Member;
use serde_json::{Value, json};

/// Final blocks of chains, by chain and height.
pub fn finality(log: &Log, blocks: &[(String, u64)]) -> anyhow::Result<Vec<Value>> {
    blocks.iter().map(|(chain, height)| block(log, chain, *height)).collect()
}

fn block(log: &Log, id: &str, height: u64) -> anyhow::Result<Value> {
    let certificate = log.certificate(id, height)?;
    let chain = log.ledger.chain(&id.parse()?).with_context(|| format!("no chain {id}"))?;
    let fixed = chain.sets.get(&certificate.set.epoch).context("the set of the certificate")?;
    ensure!(fixed.set.hash() == certificate.set.hash(), "the certificate is under another set");
    let index = chain.terms.nonce_index(certificate.ballot.height).context("a voted height")?;
    let vote = |voter: &Voter| {
        json!({
            "key": voter.member.key,
            "R": hex::encode(voter.nonce.to_bytes()),
            "s": hex::encode(voter.signature.to_bytes()),
            "index": index,
            "leaves": chain.terms.voted_heights(),
            "path": voter.path,
        })
    };
    Ok(json!({
        "chain": chain.id(),
        "height": height,
        "block": certificate.ballot.block,
        "set": set(log, chain, fixed),
        "votes": certificate.voters.iter().map(vote).collect::<Vec<_>>(),
    }))
}

fn set(log: &Log, chain: &Chain, fixed: &FixedSet) -> Value {
    let header = fixed.set.header();
    let left_out = fixed.left_out.iter().map(|(key, reason)| json!({ "key": key, "reason": reason }));
    json!({
        "hash": fixed.set.hash(),
        "epoch": header.epoch,
        "expiry": header.expiry,
        "snapshot_btc": { "height": fixed.btc_height, "hash": fixed.btc_tip },
        "snapshot_hub_height": fixed.hub_height,
        "members": fixed.set.members().iter().map(|own| member(log, chain.id(), own)).collect::<Vec<_>>(),
        "left_out": left_out.collect::<Vec<_>>(),
    })
}

fn member(log: &Log, chain: &ChainId, member: &Member) -> Value {
    let mut entry = json!({
        "key": member.key,
        "sat": member.power.to_sat(),
        "nonce_root": member.nonce_root,
    });
    let bls = log.ledger.providers().get(&member.key).and_then(|provider| provider.bls.as_ref());
    if let Some(bls) = bls.filter(|_| chain.is_zero()) {
        entry["bls"] = json!(hex::encode(bls.to_bytes()));
    }
    entry
}

/// Fails unless some block of each chain became final without the vote of each operator of that chain.
pub fn check_each_was_absent(finality: &[Value], providers: &[Value]) -> anyhow::Result<()> {
    for provider in providers {
        let voted = |entry: &Value| {
            entry["votes"].as_array().into_iter().flatten().any(|vote| vote["key"] == provider["key"])
        };
        let absent = finality.iter().any(|entry| entry["chain"] == provider["chain"] && !voted(entry));
        let (name, chain) = (&provider["name"], &provider["chain"]);
        ensure!(absent, "no block of chain {chain} in the report became final without {name}");
    }
    Ok(())
}
