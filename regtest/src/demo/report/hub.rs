//! Sections that follow from the replayed log: the hub, its chains, parameters, providers and stakes.

use super::log::Log;
use anyhow::{Context as _, ensure};
use palisade_hub::ledger::providers::Provider;
use palisade_hub::ledger::stake::Stake;
use palisade_protocol::outputs::Leaf;
use palisade_protocol::params::ParamsDocument;
use serde_json::{Value, json};

/// The hub and its newest block. The paths are relative to the report.
pub fn hub(log: &Log, genesis: &str, file: &str) -> anyhow::Result<Value> {
    let header = log.tip()?;
    Ok(json!({
        "id": log.ledger.genesis().id(),
        "genesis": genesis,
        "log": file,
        "header": {
            "height": header.height,
            "hash": header.hash(),
            "previous": header.previous,
            "message_root": header.message_root,
            "state_root": header.state_root,
            "btc_tip": header.btc_tip,
            "btc_height": header.btc_height,
        },
    }))
}

/// Chains, chain zero first, with the context of their votes.
pub fn chains(log: &Log) -> Vec<Value> {
    let chains = log.ledger.chains().iter().map(|chain| {
        json!({
            "id": chain.id(),
            "zero": chain.id().is_zero(),
            "genesis": chain.identity.genesis,
            "incarnation": chain.identity.incarnation,
            "context": chain.vote,
        })
    });
    chains.collect()
}

/// Versions of the parameters.
pub fn params(log: &Log) -> Vec<Value> {
    let version = |(id, params): (usize, &ParamsDocument)| {
        json!({
            "id": id,
            "from_height": params.from_height,
            "k": params.k,
            "w": params.w,
            "covenant": params.covenant,
            "quorum": params.quorum,
            "unbonding_blocks": params.unbonding_blocks,
            "unbonding_fee": params.unbonding_fee_sat,
            "slash_rate_bp": params.slash_rate_bp,
            "slash_script": params.slash_script,
            "min_slash_fee": params.min_slash_fee_sat,
            "profile": params.profile,
        })
    };
    log.ledger.params().iter().map(|params| params.document()).enumerate().map(version).collect()
}

/// Finality providers, in order of registration.
pub fn providers(log: &Log) -> Vec<Value> {
    let entry = |provider: &Provider| {
        let mut entry = json!({
            "key": provider.key,
            "name": provider.operator,
            "chain": provider.chain,
        });
        if let Some(bls) = &provider.bls {
            entry["bls"] = json!(hex::encode(bls.to_bytes()));
        }
        entry
    };
    log.ledger.providers().iter().map(entry).collect()
}

/// Stakes: those that the story refers to, in its order, and then the others.
pub fn stakes(log: &Log, order: &[String]) -> anyhow::Result<Vec<Value>> {
    let mut stakes = Vec::new();
    for id in order {
        let found = log.ledger.stakes().iter().find(|stake| stake.id.to_string() == *id);
        stakes.push(stake(found.with_context(|| format!("stake {id} is not in the log"))?)?);
    }
    let told = |stake: &&Stake| !order.contains(&stake.id.to_string());
    for other in log.ledger.stakes().iter().filter(told) {
        stakes.push(stake(other)?);
    }
    Ok(stakes)
}

fn stake(stake: &Stake) -> anyhow::Result<Value> {
    let contract = &stake.contract;
    let output = contract.output();
    let script = |leaf| output.leaf(leaf).map(|script| script.to_hex_string());
    let history = stake.history.iter().map(|step| {
        json!({ "state": step.state, "btc_height": step.btc_height, "hub_height": step.hub_height, "cause": step.cause })
    });
    let history: Vec<Value> = history.collect();
    let first = history.first().map(|step| &step["state"]);
    ensure!(first.is_some_and(|state| state == "PENDING"), "stake {} began as {first:?}", stake.id);
    Ok(json!({
        "id": stake.id,
        "outpoint": contract.coin.outpoint,
        "sat": contract.coin.value.to_sat(),
        "staker": contract.keys.staker(),
        "fps": stake.providers,
        "old_fps": stake.former,
        "params": stake.params,
        "timelock": contract.lock,
        "leaves": {
            "timelock": script(Leaf::Timelock),
            "unbonding": script(Leaf::Unbonding),
            "slashing": script(Leaf::Slashing),
        },
        "unbonding_txid": stake.presigned.unbonding.compute_txid(),
        "slashing_txids": [
            stake.presigned.slashing.compute_txid(),
            stake.presigned.unbonding_slashing.compute_txid(),
        ],
        "history": history,
    }))
}
