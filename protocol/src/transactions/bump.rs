//! Making a presigned transaction pay more: nothing in it can be changed, so a child pays for both.
//!
//! In the bumpable profile a presigned transaction has version 3 and a last output that anybody may spend, with an empty witness
//! (pay-to-anchor, BIP 433). A child spends that and coins of whoever pays. Version 3 (BIP 431) keeps others from pinning it: a
//! parent has one unconfirmed child, of 1,000 vbytes at most. Source: docs/protocol.md, section 2.4.

use crate::params::Profile;
use bitcoin::absolute::LockTime;
use bitcoin::transaction::Version;
use bitcoin::{
    Amount, FeeRate, OutPoint, Script, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Weight, Witness,
};

/// Version of transactions that nodes relay as a parent and one child (BIP 431).
pub const TRUC: Version = Version(3);
/// Script of a pay-to-anchor output.
pub const BUMP_SCRIPT: [u8; 4] = [0x51, 0x02, 0x4e, 0x73];
/// What it holds: the least that nodes relay at the default dust rate.
pub const BUMP_VALUE: Amount = Amount::from_sat(240);
/// Most that a child may weigh: 1,000 vbytes.
pub const MAX_CHILD: Weight = Weight::from_vb_unchecked(1_000);

impl Profile {
    /// Version of presigned transactions as we build them.
    pub fn version(self) -> Version {
        match self {
            Self::Compatible => Version::TWO,
            Self::Bumpable => TRUC,
        }
    }

    /// The output that a child spends to pay for a presigned transaction; the last, where there is one.
    pub fn bump_output(self) -> Option<TxOut> {
        let output = TxOut { value: BUMP_VALUE, script_pubkey: ScriptBuf::from_bytes(BUMP_SCRIPT.to_vec()) };
        Some(output).filter(|_| self == Self::Bumpable)
    }

    /// What that output holds: nothing where there is none.
    pub fn bump_value(self) -> Amount {
        self.bump_output().map_or(Amount::ZERO, |output| output.value)
    }
}

/// The output of a presigned transaction that a child spends to pay for it; `None` in the compatible profile.
pub fn handle(parent: &Transaction) -> Option<OutPoint> {
    let last = parent
        .output
        .last()
        .filter(|output| output.script_pubkey.as_script() == Script::from_bytes(&BUMP_SCRIPT))?;
    let vout = u32::try_from(parent.output.len()).ok()?.checked_sub(1)?;
    (parent.version == TRUC && last.value == BUMP_VALUE)
        .then(|| OutPoint { txid: parent.compute_txid(), vout })
}

/// A child that spends the handle of its parent first, then coins of whoever pays; `change` is its only output. It can be replaced.
pub fn child(handle: OutPoint, coins: &[OutPoint], change: TxOut) -> Transaction {
    let input = |previous_output| TxIn {
        previous_output,
        script_sig: ScriptBuf::new(),
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        witness: Witness::new(),
    };
    let input = std::iter::once(handle).chain(coins.iter().copied()).map(input).collect();
    Transaction { version: TRUC, lock_time: LockTime::ZERO, input, output: vec![change] }
}

/// What a child of a weight must pay, so that it and its parent together pay the rate; `None` where that is no amount.
pub fn child_fee(rate: FeeRate, parent: Weight, paid: Amount, child: Weight) -> Option<Amount> {
    let both = rate.fee_wu(parent.checked_add(child)?)?;
    Some(both.checked_sub(paid).unwrap_or(Amount::ZERO))
}
