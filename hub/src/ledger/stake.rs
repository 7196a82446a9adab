//! One stake in the ledger: the facts known about it, and what follows from them. Source: docs/protocol.md, section 6.1.

use super::state::StakeState;
use bitcoin::relative::LockTime;
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::{Amount, BlockHash, OutPoint, ScriptBuf, Transaction, TxIn, TxOut, Txid};
use palisade_protocol::codec::Wire as _;
use palisade_protocol::covenant::StakeSignatures;
use palisade_protocol::keys::{CovenantKey, ProviderKey};
use palisade_protocol::stake::{Contract, Presigned, Sighashes, StakeId};
use palisade_protocol::units::RelativeBlocks;
use palisade_protocol::units::{BtcHeight, Height};
use std::collections::BTreeMap;

/// A block of Bitcoin's best chain in which something happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Its height.
    pub height: BtcHeight,
    /// Its hash.
    pub block: BlockHash,
}

/// What a spend of one of our outputs is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpendKind {
    /// The holder, after the timelock.
    Withdrawal,
    /// The unbonding transaction that was agreed on.
    Unbonding,
    /// A registered expansion: the place of the new stake.
    Expansion(usize),
    /// The slashing transaction that was agreed on.
    Slashing,
    /// Signed by the committee, agreed on by nobody.
    Breach,
}

/// An output was spent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spend {
    /// By which transaction.
    pub txid: Txid,
    /// As what.
    pub kind: SpendKind,
    /// Where.
    pub place: Place,
}

/// A state and how the stake came to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The state.
    pub state: StakeState,
    /// Bitcoin's tip then.
    pub btc_height: BtcHeight,
    /// The hub block that recorded it.
    pub hub_height: Height,
    /// A txid, or the id of a message.
    pub cause: String,
}

/// The transaction that takes a stake into a larger or longer one.
#[derive(Debug, Clone)]
pub struct Expansion {
    /// It spends the old stake first.
    pub tx: Transaction,
    /// What its second input spends.
    pub funding: TxOut,
}

/// A stake and the facts known about it.
#[derive(Debug, Clone)]
pub struct Stake {
    /// Its name.
    pub id: StakeId,
    /// Output, keys and times.
    pub contract: Contract,
    /// The transactions agreed on beforehand.
    pub presigned: Presigned,
    /// What their signatures sign.
    pub sighashes: Sighashes,
    /// The owner's signatures on both slashings: of the stake, of the unbonding output.
    pub slashing_signatures: [Signature; 2],
    /// Providers that get power.
    pub providers: Vec<ProviderKey>,
    /// Providers named without power.
    pub former: Vec<ProviderKey>,
    /// Where rewards go.
    pub payout: ScriptBuf,
    /// Which version of the parameters applies.
    pub params: usize,
    /// Depth at which it gains power, from those parameters.
    pub k: u32,
    /// Bitcoin height from which it lapses if it never came, and whether that is settled.
    pub lapses_at: BtcHeight,
    /// The output that backs the registration until it is included.
    pub backing: Option<OutPoint>,
    /// What the registration showed to exist of its coins: the output that backs it, or all.
    pub shown: Amount,
    /// The stake that this one expands.
    pub expands: Option<usize>,
    /// How it expands it.
    pub expansion: Option<Box<Expansion>>,
    /// Registered stakes that would expand this one, by their staking transaction.
    pub expansions: BTreeMap<Txid, usize>,
    /// Committee members that signed, with what.
    pub signatures: BTreeMap<CovenantKey, StakeSignatures>,
    /// Committee members that refused, with the reason.
    pub refusals: BTreeMap<CovenantKey, String>,
    /// For an expansion, members' signatures on the old stake's unbonding leaf.
    pub consents: BTreeMap<CovenantKey, Signature>,
    /// The block that holds the staking transaction.
    pub included: Option<Place>,
    /// Whether it ever was in a block of the best chain.
    pub ever_included: bool,
    /// It did not come in time.
    pub lapsed: bool,
    /// It lapsed, and its outpoint was registered anew: what becomes of the coins is told of that stake.
    pub anew: bool,
    /// The spend of the staking output.
    pub spend: Option<Spend>,
    /// The spend of the unbonding output.
    pub unbonding_spend: Option<Spend>,
    /// A spend was reorged out: no power before this height.
    pub restored_at: BtcHeight,
    /// A named key is out.
    pub exposed: bool,
    /// It passed depth k while the breaker allowed it.
    pub activated: bool,
    /// The state as last evaluated.
    pub state: StakeState,
    /// Every state it was in.
    pub history: Vec<Transition>,
}

impl Stake {
    /// All providers named in the slashing leaf.
    pub fn named(&self) -> impl Iterator<Item = &ProviderKey> {
        self.contract.keys.providers().iter()
    }

    /// Whether so many members signed that the stake can leave and be slashed.
    pub fn has_quorum(&self) -> bool {
        self.signatures.len() >= usize::from(self.contract.keys.committee().quorum())
    }

    /// Whether so many members refused that a quorum is impossible.
    pub fn is_refused(&self) -> bool {
        let committee = self.contract.keys.committee();
        let left = committee.members().len().saturating_sub(self.refusals.len());
        left < usize::from(committee.quorum())
    }

    /// Height of the first block that may hold a withdrawal of the stake.
    pub fn matures_at(&self) -> Option<BtcHeight> {
        Some(matures(self.included?.height, self.contract.lock))
    }

    /// Whether the block of a height can be told to hold it: nothing is known of that yet, and by the tip it cannot be withdrawn. Of
    /// what could be before it was told nobody knows where the coins are. Source: docs/protocol.md, section 5.8.
    pub fn takes_inclusion(&self, height: BtcHeight, tip: BtcHeight) -> bool {
        self.included.is_none() && !has_matured(height, self.contract.lock, tip)
    }

    /// Height of the first block that may hold a withdrawal of the unbonding output.
    pub fn unbonded_at(&self) -> Option<BtcHeight> {
        let spend = self.spend.filter(|spend| spend.kind == SpendKind::Unbonding)?;
        Some(spend.place.height.plus(self.contract.unbonding_time.get().into()))
    }

    /// Height of the first block that may hold a withdrawal of the coins, wherever they lie; none while they are not on Bitcoin, or
    /// once they are gone.
    pub fn withdrawable_at(&self) -> Option<BtcHeight> {
        let Some(last) = self.unbonding_spend.or(self.spend) else { return self.matures_at() };
        match last.kind {
            SpendKind::Unbonding => self.unbonded_at(),
            // What a slashing leaves waits as long as what the early exit leaves.
            SpendKind::Slashing => Some(last.place.height.plus(self.contract.unbonding_time.get().into())),
            _ => None,
        }
    }

    /// Bitcoin height from which the stake has no power: one unbonding time before the timelock ends.
    pub fn ends_at(&self) -> Option<BtcHeight> {
        Some(self.matures_at()?.minus(self.contract.unbonding_time.get().into()))
    }

    /// Bitcoin height at which it may gain power.
    pub fn deep_at(&self) -> Option<BtcHeight> {
        Some(self.included?.height.plus(self.k).max(self.restored_at))
    }

    /// The stake that this one went into.
    pub fn successor(&self) -> Option<usize> {
        match self.spend?.kind {
            SpendKind::Expansion(index) => Some(index),
            _ => None,
        }
    }

    /// What a transaction in a block does to the staking output. Only what the txid commits to is looked at: a witness
    /// can be altered by whoever reports it.
    pub fn classify_spend(&self, tx: &Transaction, input: &TxIn) -> SpendKind {
        let txid = tx.compute_txid();
        if txid == self.presigned.unbonding.compute_txid() {
            SpendKind::Unbonding
        } else if let Some(new) = self.expansions.get(&txid) {
            SpendKind::Expansion(*new)
        } else if txid == self.presigned.slashing.compute_txid() {
            SpendKind::Slashing
        } else {
            withdrawal_or_breach(tx, input, self.contract.lock)
        }
    }

    /// What a transaction in a block does to the unbonding output.
    pub fn classify_unbonding_spend(&self, tx: &Transaction, input: &TxIn) -> SpendKind {
        if tx.compute_txid() == self.presigned.unbonding_slashing.compute_txid() {
            SpendKind::Slashing
        } else {
            withdrawal_or_breach(tx, input, self.contract.unbonding_time)
        }
    }

    /// What the facts say, at a tip.
    pub fn evaluate(&self, tip: BtcHeight) -> StakeState {
        let next = tip.plus(1);
        if let Some(spend) = &self.spend {
            return self.evaluate_spent(spend, next);
        }
        if self.anew {
            return StakeState::Lapsed;
        }
        if self.matures_at().is_some_and(|height| next >= height) {
            return StakeState::Withdrawable;
        }
        if self.is_refused() {
            return StakeState::Rejected;
        }
        if self.lapsed {
            return StakeState::Lapsed;
        }
        if !self.has_quorum() {
            return StakeState::Pending;
        }
        if self.exposed {
            return StakeState::Exposed;
        }
        match self.ends_at() {
            Some(end) if tip >= end => StakeState::Ending,
            Some(_) if self.activated => StakeState::Active,
            _ => StakeState::Verified,
        }
    }

    fn evaluate_spent(&self, spend: &Spend, next: BtcHeight) -> StakeState {
        match spend.kind {
            SpendKind::Withdrawal => StakeState::Withdrawn,
            SpendKind::Slashing => StakeState::Slashed,
            SpendKind::Expansion(_) => StakeState::Expanded,
            SpendKind::Breach => StakeState::Breached,
            SpendKind::Unbonding => match self.unbonding_spend.map(|spend| spend.kind) {
                Some(SpendKind::Slashing) => StakeState::Slashed,
                Some(SpendKind::Breach) => StakeState::Breached,
                Some(_) => StakeState::Withdrawn,
                None if self.unbonded_at().is_some_and(|height| next >= height) => StakeState::Withdrawable,
                None if self.exposed => StakeState::Exposed,
                None => StakeState::Unbonding,
            },
        }
    }

    /// The next Bitcoin height above `tip` at which the state may change by itself.
    pub fn next_change(&self, tip: BtcHeight) -> Option<BtcHeight> {
        let lapse = (!self.ever_included && !self.lapsed).then_some(self.lapses_at);
        let heights = [
            lapse,
            self.deep_at(),
            self.ends_at(),
            self.matures_at().map(|height| height.minus(1)),
            self.unbonded_at().map(|height| height.minus(1)),
        ];
        heights.into_iter().flatten().filter(|height| *height > tip).min()
    }

    /// Whether it may gain power now, the breaker permitting.
    pub fn can_activate(&self, tip: BtcHeight) -> bool {
        !self.activated
            && self.evaluate(tip) == StakeState::Verified
            && self.deep_at().is_some_and(|height| tip >= height)
    }

    /// Leaf of the state's section of stakes.
    pub fn to_leaf(&self) -> Vec<u8> {
        let mut out = Vec::new();
        self.id.encode(&mut out);
        self.contract.coin.outpoint.encode(&mut out);
        self.contract.coin.value.encode(&mut out);
        self.contract.keys.staker().encode(&mut out);
        self.providers.encode(&mut out);
        self.former.encode(&mut out);
        self.contract.lock.encode(&mut out);
        (self.params as u64).encode(&mut out);
        (self.state as u8).encode(&mut out);
        let places = [self.included, self.spend.map(|s| s.place), self.unbonding_spend.map(|s| s.place)];
        for place in places {
            place.map(|place| place.block).encode(&mut out);
        }
        self.activated.encode(&mut out);
        (self.signatures.len() as u64).encode(&mut out);
        (self.refusals.len() as u64).encode(&mut out);
        (self.consents.len() as u64).encode(&mut out);
        out
    }
}

/// Height of the first block that may hold a withdrawal of a stake that the block of a height holds.
pub(super) fn matures(included: BtcHeight, lock: RelativeBlocks) -> BtcHeight {
    included.plus(lock.get().into())
}

/// Whether the block above the tip may hold it.
pub(super) fn has_matured(included: BtcHeight, lock: RelativeBlocks, tip: BtcHeight) -> bool {
    tip.plus(1) >= matures(included, lock)
}

/// A spend that nobody agreed on is a withdrawal if its sequence waited for the lock (BIP 68 makes the block prove that),
/// and a breach of the committee's rules otherwise.
fn withdrawal_or_breach(tx: &Transaction, input: &TxIn, lock: RelativeBlocks) -> SpendKind {
    let waited = match input.sequence.to_relative_lock_time() {
        Some(LockTime::Blocks(blocks)) => blocks.value() >= lock.get(),
        _ => false,
    };
    // BIP 68 reads the version without its sign.
    if waited && tx.version.0 as u32 >= 2 { SpendKind::Withdrawal } else { SpendKind::Breach }
}
