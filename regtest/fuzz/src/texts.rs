//! What people write: names, keys and hashes.

use crate::Outcome;
use crate::story::{dev, story};
use palisade_hub::daemon::network::Network;
use palisade_protocol::adaptor::AdaptorSignature;
use palisade_protocol::context::ChainId;
use palisade_protocol::eots::{EotsSignature, PublicNonce};
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::{CovenantKey, GovernanceKey, HubKey, ProviderKey, StakerKey};
use palisade_protocol::stake::StakeId;
use palisade_world::{governance_key, provider_key};
use std::fmt::Display;
use std::str::FromStr;

/// A value as our own programs write it.
pub(crate) fn json(value: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(value).expect("a value that is JSON")
}

/// The kind of a text, a space, and the text.
pub(crate) fn names() -> Vec<Vec<u8>> {
    let vote = crate::protocol::own_vote("dev anna");
    let stake = story().world.ledger.stakes().iter().next().expect("a stake");
    let adaptor = stake.signatures.values().next().expect("it is signed").slashing[0].to_string();
    let key = provider_key("anna").to_string();
    [
        ("chain", dev().to_string()),
        ("hash", vote.ballot.block.to_string()),
        ("stake", stake.id.to_string()),
        ("provider", key.clone()),
        ("staker", key.clone()),
        ("covenant", key.clone()),
        ("hub", key),
        ("governance", governance_key("governance 0").to_string()),
        ("nonce", vote.nonce.to_string()),
        ("eots", vote.signature.to_string()),
        ("adaptor", adaptor),
        ("network", "regtest".to_owned()),
    ]
    .map(|(kind, text)| format!("{kind} {text}").into_bytes())
    .to_vec()
}

pub(crate) fn name(bytes: &[u8]) -> Outcome {
    let text = std::str::from_utf8(bytes).ok().and_then(|text| text.split_once(' '));
    let Some((kind, text)) = text else { return Outcome::Refused };
    let is_one = match kind {
        "chain" => reads::<ChainId>(text),
        "hash" => reads::<Hash32>(text),
        "stake" => serde_json::from_value::<StakeId>(text.into()).is_ok(),
        "provider" => reads::<ProviderKey>(text),
        "staker" => reads::<StakerKey>(text),
        "covenant" => reads::<CovenantKey>(text),
        "hub" => reads::<HubKey>(text),
        "governance" => reads::<GovernanceKey>(text),
        "nonce" => reads::<PublicNonce>(text),
        "eots" => reads::<EotsSignature>(text),
        "adaptor" => reads::<AdaptorSignature>(text),
        "network" => text.parse::<Network>().is_ok(),
        _ => false,
    };
    is_one.into()
}

/// Whether a text is a value, which is shown as the same text, in lower case.
fn reads<T: FromStr + Display>(text: &str) -> bool {
    let Ok(value) = text.parse::<T>() else { return false };
    assert_eq!(value.to_string(), text.to_lowercase(), "one value, two texts");
    true
}
