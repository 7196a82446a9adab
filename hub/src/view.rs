//! What the API shows of the ledger: JSON for people and programs. Nobody has to believe it; the log proves it.

use crate::checkpoints::Shares;
use crate::ledger::Ledger;
use crate::ledger::anchors::Anchored;
use crate::ledger::chains::{Chain, FixedSet};
use crate::ledger::providers::Provider;
use crate::ledger::stake::{Spend, SpendKind, Stake};
use crate::timestamps;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::Purpose;
use palisade_protocol::hash::Hash32;
use palisade_protocol::outputs::Leaf;
use palisade_protocol::params::ParamsDocument;
use palisade_protocol::units::{Epoch, Height};
use serde_json::{Value, json};

/// Where the hub stands, whose newest block that may be seen is `shown`.
pub fn status(ledger: &Ledger, shown: Option<(Height, Hash32)>) -> Value {
    let tip = ledger.bitcoin().tip();
    let paused: Vec<_> = ledger.chains().iter().filter(|chain| chain.paused).map(Chain::id).collect();
    json!({
        "hub": ledger.genesis().id(),
        "network": ledger.network().to_string(),
        "height": shown.map(|(height, _)| height),
        "hash": shown.map(|(_, hash)| hash),
        "btc_height": tip.height,
        "btc_tip": tip.hash,
        "breaker": ledger.breaker().map(ToString::to_string),
        "paused": paused,
        "next_decision": ledger.next_decision(),
        "anchored_epoch": ledger.anchors().iter().next_back().map(|(epoch, _)| epoch),
        "blocks_without_anchor": ledger.blocks_without_anchor(),
        "void_anchors": ledger.anchors().void().map(|(epoch, header)| json!({ "epoch": epoch, "header": header })).collect::<Vec<_>>(),
    })
}

/// A stake with its history and the scripts that hold it.
pub fn stake(stake: &Stake) -> Value {
    let contract = &stake.contract;
    let output = contract.output();
    let script = |leaf| output.leaf(leaf).map(|script| script.to_hex_string());
    let history = stake.history.iter().map(|step| {
        json!({ "state": step.state, "btc_height": step.btc_height, "hub_height": step.hub_height, "cause": step.cause })
    });
    json!({
        "id": stake.id,
        "state": stake.state,
        "outpoint": contract.coin.outpoint,
        "sat": contract.coin.value.to_sat(),
        "staker": contract.keys.staker(),
        "providers": stake.providers,
        "former": stake.former,
        "lock": contract.lock,
        "params": stake.params,
        "payout": stake.payout.to_hex_string(),
        "included": stake.included.map(|place| json!({ "height": place.height, "block": place.block })),
        "spend": stake.spend.map(spend),
        "unbonding_spend": stake.unbonding_spend.map(spend),
        "ends_at": stake.ends_at(),
        "matures_at": stake.matures_at(),
        "unbonded_at": stake.unbonded_at(),
        "signatures": stake.signatures.len(),
        "refusals": stake.refusals,
        "quorum": contract.keys.committee().quorum(),
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
        "history": history.collect::<Vec<_>>(),
    })
}

fn spend(spend: Spend) -> Value {
    let kind = match spend.kind {
        SpendKind::Withdrawal => "Withdrawal",
        SpendKind::Unbonding => "Unbonding",
        SpendKind::Expansion(_) => "Expansion",
        SpendKind::Slashing => "Slashing",
        SpendKind::Breach => "Breach",
    };
    json!({ "txid": spend.txid, "kind": kind, "height": spend.place.height })
}

/// A finality provider.
pub fn provider(provider: &Provider) -> Value {
    json!({
        "key": provider.key,
        "chain": provider.chain,
        "operator": provider.operator,
        "sat": provider.power.to_sat(),
        "exposed_at": provider.exposed_at,
        "committed": provider.roots.keys().collect::<Vec<_>>(),
        "bls": provider.bls.as_ref().map(|key| hex::encode(key.to_bytes())),
    })
}

/// A chain and how far it is final.
pub fn chain(chain: &Chain) -> Value {
    json!({
        "id": chain.id(),
        "zero": chain.id().is_zero(),
        "genesis": chain.identity.genesis,
        "incarnation": chain.identity.incarnation,
        "context": chain.vote,
        "terms": chain.terms,
        "paused": chain.paused,
        "opened_at": chain.opened_at,
        "final_height": chain.last_final().map(|(height, _)| height),
        "final_block": chain.last_final().map(|(_, block)| block),
        "newest_set": chain.newest().map(|(epoch, _)| epoch),
    })
}

/// A set, and who has power without being in it.
pub fn set(ledger: &Ledger, chain: &Chain, fixed: &FixedSet) -> Value {
    let header = fixed.set.header();
    let members = fixed.set.members().iter().map(|member| {
        let bls = ledger.providers().get(&member.key).and_then(|provider| provider.bls.as_ref());
        json!({
            "key": member.key,
            "sat": member.power.to_sat(),
            "nonce_root": member.nonce_root,
            "bls": bls.map(|key| hex::encode(key.to_bytes())),
        })
    });
    json!({
        "chain": chain.id(),
        "hash": fixed.set.hash(),
        "epoch": header.epoch,
        "expiry": header.expiry,
        "total_sat": header.total.to_sat(),
        "carried_over": fixed.carried_over,
        "snapshot_btc": { "height": fixed.btc_height, "hash": fixed.btc_tip },
        "snapshot_hub_height": fixed.hub_height,
        "members": members.collect::<Vec<_>>(),
        "left_out": fixed.left_out.iter().map(|(key, reason)| json!({ "key": key, "reason": reason })).collect::<Vec<_>>(),
    })
}

/// An epoch's checkpoint: who has signed, and where it is on Bitcoin.
pub fn checkpoint(ledger: &Ledger, epoch: Epoch, shares: &Shares) -> Value {
    let anchored = ledger.anchors().get(epoch);
    json!({
        "epoch": epoch,
        "header": shares.header,
        "context": ledger.chains().first().and_then(|zero| Some(zero.set_of(epoch)?.1.context(Purpose::Checkpoint))),
        "state": match anchored {
            Some(anchored) => anchor_state(ledger, anchored),
            None if shares.anchor.is_some() => "SIGNED",
            None => "OPEN",
        },
        "signed_sat": shares.signed_sat,
        "total_sat": shares.total_sat,
        "payload": shares.anchor.as_ref().map(|anchor| hex::encode(anchor.to_bytes())),
        "anchor": anchored.map(|anchored| anchor(ledger, anchored)),
    })
}

fn anchor(ledger: &Ledger, anchored: &Anchored) -> Value {
    json!({
        "header": anchored.header,
        "txid": anchored.outpoint.txid,
        "vout": anchored.outpoint.vout,
        "block": anchored.place.block,
        "height": anchored.place.height,
        "depth": ledger.btc_height().since(anchored.place.height),
        "state": anchor_state(ledger, anchored),
        "signers": anchored.signers,
        "message": anchored.message,
        "hub_height": anchored.hub_height,
    })
}

/// How far an anchor is: in a block, at depth k, at depth w.
fn anchor_state(ledger: &Ledger, anchored: &Anchored) -> &'static str {
    let params = ledger.params_at(anchored.place.height).1.document();
    match ledger.btc_height().since(anchored.place.height) {
        depth if depth >= params.w => "FINAL",
        depth if depth >= params.k => "CONFIRMED",
        _ => "SUBMITTED",
    }
}

/// A digest in the log, and how far its way to Bitcoin is.
pub fn timestamp(ledger: &Ledger, digest: &Hash32, height: Height, place: usize) -> Value {
    let covering = timestamps::covering(ledger, height);
    json!({
        "digest": digest,
        "hub_height": height,
        "place": place,
        "state": covering.map_or("RECORDED", |(_, anchored, _)| anchor_state(ledger, anchored)),
        "epoch": covering.map(|(epoch, _, _)| epoch),
        "anchor": covering.map(|(_, anchored, _)| anchor(ledger, anchored)),
        "ots": format!("/timestamps/{digest}/ots"),
    })
}

/// A version of the parameters.
pub fn params(index: usize, document: &ParamsDocument) -> Value {
    json!({ "id": index, "params": document })
}
