//! What the tests here read of `facts.json`.

use crate::parse::{Hex, transaction};
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::{Amount, ScriptBuf, Transaction};
use palisade_protocol::keys::{CovenantKey, ProviderKey, StakerKey};
use palisade_protocol::units::RelativeBlocks;
use serde::{Deserialize, Deserializer};

#[derive(Deserialize)]
pub struct Facts {
    pub committee: Vec<CovenantKey>,
    pub quorum: u8,
    pub slash_script: ScriptBuf,
    #[serde(deserialize_with = "sat")]
    pub min_slash_fee: Amount,
    pub providers: Vec<Provider>,
    pub commitment: Commitment,
    pub votes: [Vote; 2],
    pub delegations: Vec<Delegation>,
}

pub fn facts() -> Facts {
    serde_json::from_str(include_str!("../../fixtures/babylon-test-utils/facts.json")).unwrap()
}

#[derive(Deserialize)]
pub struct Provider {
    pub secret: Hex<32>,
    pub public: ProviderKey,
}

#[derive(Deserialize)]
pub struct Commitment {
    pub provider: ProviderKey,
    pub start_height: u64,
    pub count: u64,
    pub root: Hex<32>,
    pub signature: Signature,
}

/// A vote's height, and its nonce with the proof that it was committed to.
#[derive(Deserialize)]
pub struct Vote {
    pub height: u64,
    pub randomness: Hex<32>,
    pub total: u64,
    pub index: u64,
    pub leaf_hash: Hex<32>,
    pub aunts: Vec<Hex<32>>,
}

#[derive(Deserialize)]
pub struct Delegation {
    pub name: String,
    pub staker: StakerKey,
    pub providers: Vec<ProviderKey>,
    pub staking_time: RelativeBlocks,
    pub unbonding_time: RelativeBlocks,
    #[serde(deserialize_with = "sat")]
    pub total_sat: Amount,
    #[serde(deserialize_with = "transaction")]
    pub staking_tx: Transaction,
    pub staking_output: u32,
    #[serde(deserialize_with = "transaction")]
    pub slashing_tx: Transaction,
    pub staker_slashing_signature: Signature,
    pub covenant_slashing_signatures: Vec<Adaptors>,
    #[serde(deserialize_with = "transaction")]
    pub unbonding_tx: Transaction,
    pub staker_unbonding_signature: Signature,
    pub covenant_unbonding_signatures: Vec<CovenantSignature>,
    #[serde(deserialize_with = "transaction")]
    pub unbonding_slashing_tx: Transaction,
    pub staker_unbonding_slashing_signature: Signature,
    pub covenant_unbonding_slashing_signatures: Vec<Adaptors>,
}

/// A member's adaptor signatures, one per provider in the delegation's order.
#[derive(Deserialize)]
pub struct Adaptors {
    pub member: CovenantKey,
    pub signatures: Vec<Hex<66>>,
}

#[derive(Deserialize)]
pub struct CovenantSignature {
    pub member: CovenantKey,
    pub signature: Signature,
}

fn sat<'de, D: Deserializer<'de>>(d: D) -> Result<Amount, D::Error> {
    u64::deserialize(d).map(Amount::from_sat)
}
