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

/// Fails if a key has voted for a block that became final while its holder was stopped.
pub fn check_absent(finality: &[Value], absent: &[(usize, String)]) -> anyhow::Result<()> {
    for (index, key) in absent {
        let entry = finality.get(*index).context("the final block")?;
        let votes = entry["votes"].as_array().context("votes")?;
        let voted = votes.iter().any(|vote| vote["key"] == **key);
        let (chain, height) = (&entry["chain"], &entry["height"]);
        ensure!(!voted, "{key} has voted for block {height} of chain {chain} while its operator was stopped");
    }
    Ok(())
}
