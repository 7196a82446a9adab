//! Stakes: what is locked, for whom, and the transactions that were agreed on before.

use crate::codec::{DecodeError, Reader, Wire};
use crate::hash::Hash32;
use crate::outputs::{Leaf, Output};
use crate::params::Params;
use crate::scripts::StakeKeys;
use crate::transactions::slashing::Split;
use crate::transactions::{CannotBuild, Coin, NoSighash, sighash, slashing, unbonding};
use crate::units::RelativeBlocks;
use bitcoin::{OutPoint, Transaction, TxOut};
use std::fmt;

/// Names a stake: the id of the message that registered it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize)]
#[serde(transparent)]
pub struct StakeId(pub Hash32);

impl fmt::Display for StakeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Debug for StakeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Wire for StakeId {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Wire::decode(reader).map(Self)
    }
}

/// Which output a slashing transaction spends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Slashable {
    /// The stake itself.
    Staking,
    /// What the unbonding transaction left.
    Unbonding,
}

/// The three transactions that are signed before a stake is locked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presigned {
    /// Leaves early.
    pub unbonding: Transaction,
    /// Slashes the stake.
    pub slashing: Transaction,
    /// Slashes the unbonding output.
    pub unbonding_slashing: Transaction,
}

crate::wire!(Presigned { unbonding, slashing, unbonding_slashing });

/// What the signatures on the presigned transactions sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighashes {
    /// Of the unbonding transaction.
    pub unbonding: [u8; 32],
    /// Of the stake's slashing.
    pub slashing: [u8; 32],
    /// Of the unbonding output's slashing.
    pub unbonding_slashing: [u8; 32],
}

/// A stake's output and keys: all scripts follow.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Contract {
    /// Where the coins are.
    pub coin: Coin,
    /// Who can move them.
    pub keys: StakeKeys,
    /// How long the timelock leaf waits.
    pub lock: RelativeBlocks,
    /// How long an unbonding output waits.
    pub unbonding_time: RelativeBlocks,
}

impl Contract {
    /// The staking output.
    pub fn output(&self) -> Output {
        Output::staking(&self.keys, self.lock)
    }

    /// The unbonding output.
    pub fn unbonding_output(&self) -> Output {
        Output::unbonding(&self.keys, self.unbonding_time)
    }

    /// The output, as transactions that spend it see it.
    pub fn txout(&self) -> TxOut {
        TxOut { value: self.coin.value, script_pubkey: self.output().script_pubkey() }
    }

    /// The presigned transactions as we build them.
    pub fn presign(&self, params: &Params) -> Result<Presigned, CannotBuild> {
        let staker = self.keys.staker();
        let unbonding =
            unbonding::build(self.coin, &self.keys, params.unbonding_time(), params.unbonding_fee())?;
        let unbonded = unbonding_coin(&unbonding);
        Ok(Presigned {
            slashing: slashing::build(self.coin, &Split::of(self.coin.value, staker, params))?,
            unbonding_slashing: slashing::build(unbonded, &Split::of(unbonded.value, staker, params))?,
            unbonding,
        })
    }

    /// What is signed of each presigned transaction.
    pub fn sighashes(&self, presigned: &Presigned) -> Result<Sighashes, NoSighash> {
        let (staking, unbonding) = (self.output(), self.unbonding_output());
        let stake = [TxOut { value: self.coin.value, script_pubkey: staking.script_pubkey() }];
        let unbonded = [presigned.unbonding.output.first().cloned().ok_or(NoSighash)?];
        Ok(Sighashes {
            unbonding: sighash(&presigned.unbonding, 0, &stake, &staking, Leaf::Unbonding)?,
            slashing: sighash(&presigned.slashing, 0, &stake, &staking, Leaf::Slashing)?,
            unbonding_slashing: sighash(
                &presigned.unbonding_slashing,
                0,
                &unbonded,
                &unbonding,
                Leaf::Slashing,
            )?,
        })
    }
}

/// The output of an unbonding transaction.
pub fn unbonding_coin(unbonding: &Transaction) -> Coin {
    let outpoint = OutPoint { txid: unbonding.compute_txid(), vout: 0 };
    Coin { outpoint, value: unbonding.output.first().map_or(bitcoin::Amount::ZERO, |output| output.value) }
}
