//! What the holder keeps of a stake: all that is needed to leave it, without any hub.

use crate::keys::STAKING_KEYS;
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::{Amount, OutPoint, Transaction};
use palisade_protocol::keys::{CovenantKey, ProviderKey, StakerKey};
use palisade_protocol::scripts::{BadKeys, Committee, StakeKeys};
use palisade_protocol::stake::{Contract, Presigned, Sighashes, StakeId, unbonding_coin};
use palisade_protocol::transactions::witness::CovenantSignatures;
use palisade_protocol::transactions::{Coin, NoSighash};
use palisade_protocol::units::RelativeBlocks;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use std::collections::BTreeSet;
use std::fmt;

/// A stake as its holder knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StakeRecord {
    /// Its name in the hub's log, once it is registered or about to be.
    pub id: Option<StakeId>,
    /// Where it is.
    pub outpoint: OutPoint,
    /// How much it holds, in sat.
    pub amount_sat: u64,
    /// The owner's key.
    pub staker: StakerKey,
    /// Which of the seed's staking keys that is; below [`STAKING_KEYS`].
    #[serde(deserialize_with = "key_index")]
    pub key_index: u32,
    /// Providers with power, ascending.
    pub providers: Vec<ProviderKey>,
    /// Providers named without power, ascending.
    pub former: Vec<ProviderKey>,
    /// The covenant committee.
    pub committee: Vec<CovenantKey>,
    /// How many of it must sign.
    pub quorum: u8,
    /// The timelock.
    pub lock: RelativeBlocks,
    /// How long an unbonding output waits.
    pub unbonding_time: RelativeBlocks,
    /// The output as a standard descriptor, for other wallets.
    pub descriptor: String,
    /// The unbonding output as a standard descriptor.
    pub unbonding_descriptor: String,
    /// The transactions agreed on; not yet for a stake that is to be registered after it is confirmed.
    pub presigned: Option<PresignedHex>,
    /// The transaction that makes the stake, signed; an expansion's first input is signed at the end.
    #[serde(with = "hex_transaction")]
    pub staking_tx: Transaction,
    /// Canonical bytes of the message that registers it, hex.
    pub registration: Option<String>,
    /// The stake that this one expands.
    pub expands: Option<StakeId>,
    /// Members' signatures on the unbonding transaction.
    pub unbonding_signatures: CovenantSignatures,
    /// Whether the staking transaction was handed to Bitcoin.
    pub broadcast: bool,
}

/// Reads the number of a staking key: one that no wallet comes to is refused before anything is derived or counted from it.
fn key_index<'de, D: Deserializer<'de>>(from: D) -> Result<u32, D::Error> {
    let bad = |why: &dyn fmt::Display| D::Error::custom(format_args!("key_index: {why}"));
    let index = u32::deserialize(from).map_err(|why| bad(&why))?;
    match index < STAKING_KEYS {
        true => Ok(index),
        false => Err(bad(&format_args!("{index} is too large, a wallet has keys 0 to {}", STAKING_KEYS - 1))),
    }
}

/// A transaction as hex. rust-bitcoin's own reader of that (`consensus::serde`, 0.32) panics where a transaction ends early.
mod hex_transaction {
    use bitcoin::Transaction;
    use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
    use serde::de::Error as _;
    use serde::{Deserialize as _, Deserializer, Serializer};

    pub(super) fn serialize<S: Serializer>(transaction: &Transaction, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&serialize_hex(transaction))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Transaction, D::Error> {
        deserialize_hex(&String::deserialize(from)?).map_err(D::Error::custom)
    }
}

/// [`Presigned`] as hex.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PresignedHex {
    /// Leaves early.
    #[serde(with = "hex_transaction")]
    pub unbonding: Transaction,
    /// Slashes the stake.
    #[serde(with = "hex_transaction")]
    pub slashing: Transaction,
    /// Slashes the unbonding output.
    #[serde(with = "hex_transaction")]
    pub unbonding_slashing: Transaction,
}

impl From<Presigned> for PresignedHex {
    fn from(presigned: Presigned) -> Self {
        let Presigned { unbonding, slashing, unbonding_slashing } = presigned;
        Self { unbonding, slashing, unbonding_slashing }
    }
}

impl From<PresignedHex> for Presigned {
    fn from(hex: PresignedHex) -> Self {
        let PresignedHex { unbonding, slashing, unbonding_slashing } = hex;
        Self { unbonding, slashing, unbonding_slashing }
    }
}

/// A record that contradicts itself.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadRecord {
    /// Its keys cannot stand together.
    #[error("the stake at {0}: {1}")]
    Keys(OutPoint, BadKeys),
    /// Its staking transaction has no such output.
    #[error("the stake at {0} is not what its keys and times describe")]
    Output(OutPoint),
    /// Its presigned transactions spend something else.
    #[error("the stake at {0}: its presigned transactions do not belong to it")]
    Presigned(OutPoint),
}

/// What tells one stake of a holder from the others.
#[derive(Debug, Clone, Copy)]
pub struct Origin<'a> {
    /// Number of its staking key.
    pub key_index: u32,
    /// The transaction that makes it.
    pub staking_tx: &'a Transaction,
    /// Providers with power.
    pub providers: &'a [ProviderKey],
    /// Providers without.
    pub former: &'a [ProviderKey],
    /// The stake that it expands.
    pub expands: Option<StakeId>,
}

impl StakeRecord {
    /// The record of a new stake.
    pub fn new(contract: &Contract, origin: Origin<'_>) -> Self {
        let committee = contract.keys.committee();
        Self {
            id: None,
            outpoint: contract.coin.outpoint,
            amount_sat: contract.coin.value.to_sat(),
            staker: contract.keys.staker(),
            key_index: origin.key_index,
            providers: origin.providers.to_vec(),
            former: origin.former.to_vec(),
            committee: committee.members().to_vec(),
            quorum: committee.quorum(),
            lock: contract.lock,
            unbonding_time: contract.unbonding_time,
            descriptor: contract.output().descriptor(),
            unbonding_descriptor: contract.unbonding_output().descriptor(),
            presigned: None,
            staking_tx: origin.staking_tx.clone(),
            registration: None,
            expands: origin.expands,
            unbonding_signatures: CovenantSignatures::new(),
            broadcast: false,
        }
    }

    /// The stake's contract, checked against the transactions that the record holds: a damaged record is refused rather
    /// than acted on.
    pub fn contract(&self) -> Result<Contract, BadRecord> {
        let at = self.outpoint;
        let keys = self.keys().map_err(|why| BadRecord::Keys(at, why))?;
        let coin = Coin { outpoint: at, value: Amount::from_sat(self.amount_sat) };
        let contract = Contract { coin, keys, lock: self.lock, unbonding_time: self.unbonding_time };
        let output = usize::try_from(at.vout).ok().and_then(|vout| self.staking_tx.output.get(vout));
        if self.staking_tx.compute_txid() != at.txid || output != Some(&contract.txout()) {
            return Err(BadRecord::Output(at));
        }
        if let Some(presigned) = self.presigned() {
            self.check_presigned(&contract, &presigned)?;
        }
        Ok(contract)
    }

    fn keys(&self) -> Result<StakeKeys, BadKeys> {
        let committee = Committee::new(self.committee.clone(), self.quorum)?;
        let named = self.providers.iter().chain(&self.former).copied().collect();
        StakeKeys::new(self.staker, named, committee)
    }

    fn check_presigned(&self, contract: &Contract, presigned: &Presigned) -> Result<(), BadRecord> {
        let unbonded = unbonding_coin(&presigned.unbonding);
        let spends = |tx: &Transaction, outpoint: OutPoint| matches!(tx.input.as_slice(), [input] if input.previous_output == outpoint);
        let script = presigned.unbonding.output.first().map(|output| &output.script_pubkey);
        let belongs = spends(&presigned.unbonding, self.outpoint)
            && spends(&presigned.slashing, self.outpoint)
            && spends(&presigned.unbonding_slashing, unbonded.outpoint)
            && script == Some(&contract.unbonding_output().script_pubkey());
        if belongs { Ok(()) } else { Err(BadRecord::Presigned(self.outpoint)) }
    }

    /// The transactions agreed on.
    pub fn presigned(&self) -> Option<Presigned> {
        self.presigned.clone().map(Presigned::from)
    }

    /// What the presigned transactions' signatures sign.
    pub fn sighashes(&self, contract: &Contract) -> Result<Option<Sighashes>, NoSighash> {
        self.presigned().map(|presigned| contract.sighashes(&presigned)).transpose()
    }

    /// Keeps a member's signature on the unbonding transaction.
    pub fn keep(&mut self, member: CovenantKey, signature: Signature) {
        self.unbonding_signatures.insert(member, signature);
    }

    /// What the staking transaction pays beside the stake: the wallet's change. A record from elsewhere may claim any amounts.
    pub fn change(&self) -> Amount {
        let outputs = (0..).zip(&self.staking_tx.output).filter(|(vout, _)| *vout != self.outpoint.vout);
        let add = |sum: Amount, value| sum.checked_add(value).unwrap_or(Amount::MAX);
        outputs.map(|(_, output)| output.value).fold(Amount::ZERO, add)
    }

    /// Whether its transaction spends one of these coins.
    pub fn spends_of(&self, coins: &BTreeSet<OutPoint>) -> bool {
        self.staking_tx.input.iter().any(|input| coins.contains(&input.previous_output))
    }

    /// Whether `name` is the beginning of its id or of its transaction's.
    pub fn is_called(&self, name: &str) -> bool {
        let id = self.id.map(|id| id.to_string()).unwrap_or_default();
        id.starts_with(name) || self.outpoint.to_string().starts_with(name)
    }

    /// The name to show: its id, or its place until it has one.
    pub fn name(&self) -> String {
        self.id.map_or_else(|| self.outpoint.to_string(), |id| id.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::StakeRecord;
    use crate::testing::{registration, world};
    use bitcoin::consensus::encode::serialize_hex;
    use bitcoin::{Amount, ScriptBuf, TxOut};

    #[test]
    fn change_that_cannot_be_counted_is_more_than_all_bitcoin_and_no_crash() {
        let mut record = registration(&mut world()).unwrap().1;
        let more = TxOut { value: Amount::MAX, script_pubkey: ScriptBuf::new() };
        record.staking_tx.output.extend([more.clone(), more]);
        assert_eq!(record.change(), Amount::MAX);
    }

    #[test]
    fn a_record_whose_transaction_is_cut_anywhere_is_refused() {
        let record = registration(&mut world()).unwrap().1;
        let (json, hex) = (serde_json::to_string(&record).unwrap(), serialize_hex(&record.staking_tx));
        assert_eq!(serde_json::from_str::<StakeRecord>(&json).unwrap(), record);
        let shown = format!("\"staking_tx\":\"{hex}\"");
        assert!(json.contains(&shown));
        for end in 0..hex.len() {
            let cut = json.replace(&shown, &format!("\"staking_tx\":\"{}\"", &hex[..end]));
            assert!(serde_json::from_str::<StakeRecord>(&cut).is_err(), "{end}");
        }
    }
}
