//! Keys that came out because they signed two messages with one nonce.

use super::log::Log;
use anyhow::Context as _;
use palisade_hub::client::HubClient;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::finality::evidence::{Equivocation, Evidence, SignedBallot};
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::units::Height;
use serde_json::{Value, json};

/// Every key that the log says is out, with the two votes that gave it away. Where a watcher was faster than the hub the
/// log holds only the key; both votes are in the hub's tally then.
pub async fn equivocations(log: &Log, hub: &HubClient) -> anyhow::Result<Vec<Value>> {
    let mut entries = Vec::new();
    for (hub_height, evidence) in log.evidence() {
        let two = match &evidence {
            Evidence::Equivocation(two) => Some((**two).clone()),
            Evidence::Key(leaked) => both_votes(log, hub, &leaked.key).await?,
        };
        if let Some(two) = two {
            entries.push(entry(log, hub_height, &evidence, &two)?);
        }
    }
    Ok(entries)
}

fn entry(log: &Log, hub_height: Height, evidence: &Evidence, two: &Equivocation) -> anyhow::Result<Value> {
    let ballot = &two.first.ballot;
    let chain = log.ledger.chain_of_votes(&ballot.context).context("a chain has that context")?;
    let side = |side: &SignedBallot| json!({ "message": hex::encode(side.ballot.to_bytes()), "s": hex::encode(side.signature.to_bytes()) });
    Ok(json!({
        "key": two.key,
        "chain": chain.id(),
        "height": ballot.height,
        "R": hex::encode(two.nonce.to_bytes()),
        "a": side(&two.first),
        "b": side(&two.second),
        "secret": hex::encode(*evidence.secret()?.secret_bytes()),
        "hub_height": hub_height,
    }))
}

/// Two votes of a key with one nonce, from the hub's tally.
async fn both_votes(log: &Log, hub: &HubClient, key: &ProviderKey) -> anyhow::Result<Option<Equivocation>> {
    let provider = log.ledger.providers().get(key).context("an exposed key is registered")?;
    let mut seen: Vec<Vote> = Vec::new();
    let mut from = Height(0);
    loop {
        let page = hub.votes(provider.chain.as_str(), from).await?;
        let last = page.last().map(|vote| vote.ballot.height);
        for vote in page.into_iter().filter(|vote| vote.key == *key) {
            let found = seen.iter().find_map(|other| Evidence::from_votes(other, &vote));
            if let Some(Evidence::Equivocation(two)) = found {
                return Ok(Some(*two));
            }
            seen.push(vote);
        }
        // A page may end inside a height, so the next one begins there; it brings nothing new at the end.
        match last.filter(|last| *last > from) {
            Some(last) => from = last,
            None => return Ok(None),
        }
    }
}
