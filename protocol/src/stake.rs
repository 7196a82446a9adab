//! Stakes: what is locked, for whom, and the transactions that were agreed on before. Source: docs/protocol.md, section 2.4.

use crate::codec::{DecodeError, Reader, Wire};
use crate::hash::Hash32;
use crate::outputs::{Leaf, Output};
use crate::params::Params;
use crate::scripts::StakeKeys;
use crate::transactions::slashing::{BadSlashing, Split};
use crate::transactions::{CannotBuild, Coin, NoSighash, sighash, slashing, unbonding};
use crate::units::RelativeBlocks;
use bitcoin::{OutPoint, ScriptBuf, Transaction, TxOut};
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

/// The outputs of a stake's life, made once: each costs a multiplication on the curve.
#[derive(Debug, Clone)]
pub struct Outputs {
    /// The stake.
    pub staking: Output,
    /// What the unbonding transaction leaves.
    pub unbonding: Output,
    /// What a slashing leaves to the holder.
    pub change: ScriptBuf,
}

/// The rule that somebody's presigned transactions break.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadPresigned {
    /// Nobody can build them.
    #[error(transparent)]
    CannotBuild(#[from] CannotBuild),
    /// The unbonding transaction is another.
    #[error("the unbonding transaction is not the one that the parameters prescribe")]
    Unbonding,
    /// A slashing transaction does not slash.
    #[error("slashing transaction of the {output:?} output: {why}")]
    Slashing {
        /// Of which output.
        output: Slashable,
        /// What is wrong.
        why: BadSlashing,
    },
    /// No sighash.
    #[error(transparent)]
    Sighash(#[from] NoSighash),
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

    /// All outputs.
    pub fn outputs(&self) -> Outputs {
        let change = Output::slashing_change(self.keys.staker(), self.unbonding_time);
        let (staking, unbonding) = (self.output(), self.unbonding_output());
        Outputs { staking, unbonding, change: change.script_pubkey() }
    }

    /// The output, as transactions that spend it see it.
    pub fn txout(&self) -> TxOut {
        TxOut { value: self.coin.value, script_pubkey: self.output().script_pubkey() }
    }

    /// The presigned transactions as we build them.
    pub fn presign(&self, params: &Params) -> Result<Presigned, CannotBuild> {
        self.presign_to(&self.outputs(), params)
    }

    fn presign_to(&self, outputs: &Outputs, params: &Params) -> Result<Presigned, CannotBuild> {
        let (left, fee) = (outputs.unbonding.script_pubkey(), params.unbonding_fee());
        let unbonding = unbonding::build_to(self.coin, left, fee, params.profile())?;
        let slash =
            |coin: Coin| slashing::build(coin, &Split::of(coin.value, outputs.change.clone(), params));
        Ok(Presigned {
            slashing: slash(self.coin)?,
            unbonding_slashing: slash(unbonding_coin(&unbonding))?,
            unbonding,
        })
    }

    /// Judges the transactions that somebody presigned for this stake, and gives what their signatures sign. `outputs` are
    /// this contract's own.
    pub fn check(
        &self,
        outputs: &Outputs,
        presigned: &Presigned,
        params: &Params,
    ) -> Result<Sighashes, BadPresigned> {
        let expected = self.presign_to(outputs, params)?;
        if presigned.unbonding != expected.unbonding {
            return Err(BadPresigned::Unbonding);
        }
        let pairs = [
            (Slashable::Staking, &presigned.slashing, self.coin),
            (Slashable::Unbonding, &presigned.unbonding_slashing, unbonding_coin(&expected.unbonding)),
        ];
        for (output, tx, coin) in pairs {
            slashing::check(tx, coin, &outputs.change, params)
                .map_err(|why| BadPresigned::Slashing { output, why })?;
        }
        Ok(self.sighashes_of(outputs, presigned)?)
    }

    /// What is signed of each presigned transaction.
    pub fn sighashes(&self, presigned: &Presigned) -> Result<Sighashes, NoSighash> {
        self.sighashes_of(&self.outputs(), presigned)
    }

    fn sighashes_of(&self, outputs: &Outputs, presigned: &Presigned) -> Result<Sighashes, NoSighash> {
        let Outputs { staking, unbonding, .. } = outputs;
        let stake = [TxOut { value: self.coin.value, script_pubkey: staking.script_pubkey() }];
        let unbonded = [presigned.unbonding.output.first().cloned().ok_or(NoSighash)?];
        let slashed = &presigned.unbonding_slashing;
        Ok(Sighashes {
            unbonding: sighash(&presigned.unbonding, 0, &stake, staking, Leaf::Unbonding)?,
            slashing: sighash(&presigned.slashing, 0, &stake, staking, Leaf::Slashing)?,
            unbonding_slashing: sighash(slashed, 0, &unbonded, unbonding, Leaf::Slashing)?,
        })
    }
}

/// The output of an unbonding transaction.
pub fn unbonding_coin(unbonding: &Transaction) -> Coin {
    let outpoint = OutPoint { txid: unbonding.compute_txid(), vout: 0 };
    Coin { outpoint, value: unbonding.output.first().map_or(bitcoin::Amount::ZERO, |output| output.value) }
}
