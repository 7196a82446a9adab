//! The stakes of `cases.json`, as they stand there and as our types.

use crate::parse::transaction;
use bitcoin::{Amount, Network, OutPoint, ScriptBuf, Transaction};
use palisade_protocol::params::{Params, ParamsDocument, Profile};
use palisade_protocol::scripts::{Committee, StakeKeys};
use palisade_protocol::units::{BasisPoints, BtcHeight, RelativeBlocks};
use serde::{Deserialize, Deserializer};

/// The whole file.
#[derive(Deserialize)]
pub struct Fixtures {
    pub cases: Vec<Case>,
    pub slashings: Vec<Slashing>,
    pub all_times: Vec<Times>,
    pub probes: Vec<Probe>,
}

pub fn fixtures() -> Fixtures {
    serde_json::from_str(include_str!("../../fixtures/btc-staking-ts/cases.json")).unwrap()
}

/// What a stake is made of. Numbers and keys are as they were given to the package, valid or not.
#[derive(Deserialize)]
pub struct Stake {
    pub network: Network,
    pub staker: String,
    pub providers: Vec<String>,
    pub covenant: Vec<String>,
    pub quorum: u8,
    pub lock: u64,
    pub unbonding_lock: u64,
    #[serde(deserialize_with = "sat")]
    pub amount: Amount,
    #[serde(deserialize_with = "sat")]
    pub unbonding_fee: Amount,
    pub rate_bp: u64,
    pub slash_script: ScriptBuf,
    #[serde(deserialize_with = "sat")]
    pub slash_fee: Amount,
    pub destination: ScriptBuf,
}

#[derive(Deserialize)]
pub struct Case {
    #[serde(flatten)]
    pub stake: Stake,
    pub address: String,
    pub timelock_leaf: ScriptBuf,
    pub unbonding_leaf: ScriptBuf,
    pub slashing_leaf: ScriptBuf,
    pub change_leaf: ScriptBuf,
    pub vout: u32,
    #[serde(deserialize_with = "transaction")]
    pub staking_tx: Transaction,
    pub unbonding: Spend,
    pub slashing: Spend,
    pub unbonding_slashing: Spend,
    pub withdrawal: Withdrawal,
    pub unbonding_withdrawal: Withdrawal,
    pub slashing_withdrawal: Withdrawal,
    #[serde(default)]
    pub tie: bool,
    pub expansion: Option<Expansion>,
    pub witness: Option<UnbondingWitness>,
}

/// A transaction, and the control block by which its input 0 spends.
#[derive(Deserialize)]
pub struct Spend {
    #[serde(deserialize_with = "transaction")]
    pub tx: Transaction,
    pub control: String,
}

#[derive(Deserialize)]
pub struct Withdrawal {
    #[serde(flatten)]
    pub spend: Spend,
    #[serde(deserialize_with = "sat")]
    pub fee: Amount,
}

/// The stake that replaces a case's own, and how.
#[derive(Deserialize)]
pub struct Expansion {
    pub providers: Vec<String>,
    pub covenant: Vec<String>,
    pub quorum: u8,
    pub lock: u64,
    pub funding: Funding,
    #[serde(deserialize_with = "sat")]
    pub fee: Amount,
    #[serde(deserialize_with = "transaction")]
    pub tx: Transaction,
}

#[derive(Deserialize)]
pub struct Funding {
    pub outpoint: OutPoint,
    #[serde(deserialize_with = "sat")]
    pub value: Amount,
}

#[derive(Deserialize)]
pub struct UnbondingWitness {
    pub signers: Vec<String>,
    pub sha256: String,
}

/// Amount, rate, what the package burns, and whether integers, half up, say otherwise.
#[derive(Deserialize)]
#[serde(untagged)]
pub enum Slashing {
    Tie(u64, u64, u64, bool),
    Plain(u64, u64, u64),
}

/// SHA-256 over the timelock leaves of a range of times.
#[derive(Deserialize)]
pub struct Times {
    pub staker: String,
    pub from: u64,
    pub to: u64,
    pub sha256: String,
}

#[derive(Deserialize)]
pub struct Probe {
    pub name: String,
    pub stake: Stake,
    /// Steps that the package refuses, with what it says.
    pub refused: std::collections::BTreeMap<String, String>,
}

impl Stake {
    /// The keys as ours take them; `Err` says why they do not.
    pub fn keys(&self) -> Result<StakeKeys, String> {
        keys(&self.staker, &self.providers, &self.covenant, self.quorum)
    }

    /// Parameters under which this stake, and no other amount, is admissible.
    pub fn params(&self) -> Result<Params, String> {
        let longest = RelativeBlocks::try_from(65_535).unwrap();
        Params::new(ParamsDocument {
            from_height: BtcHeight(0),
            k: 1,
            w: 1,
            covenant: parsed(&self.covenant)?,
            quorum: self.quorum,
            unbonding_blocks: RelativeBlocks::try_from(self.unbonding_lock).map_err(text)?,
            unbonding_fee_sat: self.unbonding_fee.to_sat(),
            slash_rate_bp: BasisPoints::try_from(self.rate_bp).map_err(text)?,
            slash_script: self.slash_script.clone(),
            min_slash_fee_sat: self.slash_fee.to_sat(),
            min_stake_sat: self.amount.to_sat(),
            max_stake_sat: self.amount.to_sat(),
            min_lock_blocks: longest,
            max_lock_blocks: longest,
            lapse_blocks: 2,
            set_lifetime_blocks: 1,
            margin_blocks: 0,
            profile: Profile::Compatible,
        })
        .map_err(text)
    }
}

pub fn keys(
    staker: &str,
    providers: &[String],
    covenant: &[String],
    quorum: u8,
) -> Result<StakeKeys, String> {
    let committee = Committee::new(parsed(covenant)?, quorum).map_err(text)?;
    StakeKeys::new(staker.parse().map_err(text)?, parsed(providers)?, committee).map_err(text)
}

fn parsed<K: std::str::FromStr<Err: std::fmt::Display>>(keys: &[String]) -> Result<Vec<K>, String> {
    keys.iter().map(|key| key.parse().map_err(text)).collect()
}

pub fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

fn sat<'de, D: Deserializer<'de>>(d: D) -> Result<Amount, D::Error> {
    u64::deserialize(d).map(Amount::from_sat)
}
