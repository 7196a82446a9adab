//! Paying for a transaction that cannot be changed by a child of it: a presigned one (docs/protocol.md, section 2.4), whose child
//! spends what anybody may, or the one that makes a stake, whose child spends its change.
//!
//! What pays for one now is read back from the node each time, so nothing of it has to be written down: whoever bumps again
//! replaces what the node has.

use crate::keys::Keys;
use crate::purse::{OwnCoin, Purse, PurseError, sign_coin};
use bitcoin::transaction::Version;
use bitcoin::{Amount, FeeRate, OutPoint, Transaction, TxOut, Txid, Witness};
use palisade_hub::bitcoind::{BitcoinRpc, RpcError};
use palisade_protocol::params::P2TR_DUST;
use palisade_protocol::transactions::bump;
use std::collections::BTreeSet;

/// What a replacement pays on top of what it replaces, for its own size: what nodes ask for by default, and more.
pub const INCREMENTAL_RELAY: FeeRate = FeeRate::from_sat_per_vb_u32(1);
/// How much more than before is tried or paid next, in percent.
const STEP_PERCENT: u64 = 125;
/// A signature of a coin of the wallet.
const SIGNATURE: [u8; 64] = [0; 64];

/// A transaction with its witness, what it pays by itself, and what of it a child can spend.
#[derive(Debug, Clone)]
pub struct Parent<'a> {
    /// The transaction.
    pub transaction: &'a Transaction,
    /// What it pays.
    pub fee: Amount,
    handle: Option<Handle>,
}

/// What a child spends of its parent.
#[derive(Debug, Clone)]
enum Handle {
    /// What anybody may spend.
    Anchor(OutPoint),
    /// A coin of the wallet, once a block holds it.
    Change(OwnCoin),
}

impl Handle {
    fn outpoint(&self) -> OutPoint {
        match self {
            Self::Anchor(outpoint) => *outpoint,
            Self::Change(coin) => coin.outpoint,
        }
    }

    fn output(&self) -> TxOut {
        match self {
            Self::Anchor(_) => {
                TxOut { value: bump::BUMP_VALUE, script_pubkey: bump::BUMP_SCRIPT.to_vec().into() }
            }
            Self::Change(coin) => coin.output.clone(),
        }
    }
}

/// What is to be paid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Price {
    /// The rate that is wanted; less is paid where that would cost more than the ceiling.
    pub rate: FeeRate,
    /// The least that is worth paying: nodes take nothing for less.
    pub least: FeeRate,
    /// Most that one transaction may cost.
    pub ceiling: Amount,
}

/// A child that pays.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Child {
    /// Signed.
    pub transaction: Transaction,
    /// What it pays.
    pub fee: Amount,
}

/// A child that the node has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Waiting {
    /// Which.
    pub txid: Txid,
    /// What it pays.
    pub fee: Amount,
    /// The rate that it and its parent pay together.
    pub rate: FeeRate,
}

/// Why there is no child.
#[derive(Debug, thiserror::Error)]
pub enum NoChild {
    /// The profile has no output for it.
    #[error(
        "its fee was agreed on when it was signed, and nothing can be added: the stake's parameters have the compatible profile"
    )]
    Compatible,
    /// It brings nothing back to the wallet.
    #[error("nothing can be added to what it pays: it has no change, which a child would have to spend")]
    NoChange,
    /// It would cost too much.
    #[error("a child that pays for it would cost {wanted} now, the ceiling is {ceiling}")]
    Ceiling {
        /// What it would cost.
        wanted: Amount,
        /// What is allowed.
        ceiling: Amount,
    },
    /// Too many small coins.
    #[error("the wallet's coins are too small: a child that pays for it may weigh no more than 1,000 vbytes")]
    TooLong,
    /// The wallet.
    #[error(transparent)]
    Purse(#[from] PurseError),
    /// The node.
    #[error(transparent)]
    Rpc(#[from] RpcError),
}

impl<'a> Parent<'a> {
    /// A presigned transaction of a stake.
    pub fn presigned(transaction: &'a Transaction, fee: Amount) -> Self {
        Self { transaction, fee, handle: bump::handle(transaction).map(Handle::Anchor) }
    }

    /// The transaction that makes a stake: the largest part of its change is spent.
    pub fn staking(transaction: &'a Transaction, fee: Amount, purse: &Purse) -> Result<Self, NoChild> {
        let change = purse.made_by(transaction).into_iter().max_by_key(|coin| coin.output.value);
        Ok(Self { transaction, fee, handle: Some(Handle::Change(change.ok_or(NoChild::NoChange)?)) })
    }

    /// What it pays by itself, for its size.
    pub fn rate(&self) -> FeeRate {
        rate_of(self.fee, self.transaction.weight().to_wu())
    }

    fn handle(&self) -> Result<&Handle, NoChild> {
        self.handle.as_ref().ok_or(NoChild::Compatible)
    }

    /// The child that pays for it now, whoever made it.
    pub async fn waiting(&self, node: &BitcoinRpc) -> Result<Option<Waiting>, NoChild> {
        let Some(txid) =
            node.spends_in_mempool(&[self.handle()?.outpoint()]).await?.into_iter().flatten().next()
        else {
            return Ok(None);
        };
        // It may be replaced or mined between two questions.
        let Some(entry) = node.mempool_entry(txid).await? else { return Ok(None) };
        let both = entry.fee.checked_add(self.fee).unwrap_or(Amount::MAX);
        let weight = entry.vsize.saturating_mul(4).saturating_add(self.transaction.weight().to_wu());
        Ok(Some(Waiting { txid, fee: entry.fee, rate: rate_of(both, weight) }))
    }

    /// A child with which both pay the price, from confirmed coins that nothing spends; one that replaces `waiting` pays more than
    /// that.
    pub async fn child(
        &self,
        node: &BitcoinRpc,
        (purse, keys): (&mut Purse, &Keys),
        price: Price,
        waiting: Option<&Waiting>,
        reserved: &BTreeSet<OutPoint>,
    ) -> Result<Child, NoChild> {
        let handle = self.handle()?;
        let coins = free(node, purse, waiting, reserved).await?;
        let change = TxOut { value: Amount::ZERO, script_pubkey: purse.change_address()?.script_pubkey() };
        let fee_of = |unsigned: &Transaction| {
            let weight = unsigned.weight();
            let at = |rate| bump::child_fee(rate, self.transaction.weight(), self.fee, weight);
            let step = INCREMENTAL_RELAY.fee_wu(weight);
            let more = waiting.map_or(Some(Amount::ZERO), |old| old.fee.checked_add(step?));
            let least = at(price.least).zip(more).map_or(Amount::MAX_MONEY, |(least, more)| least.max(more));
            at(price.rate).unwrap_or(Amount::MAX_MONEY).min(price.ceiling).max(least)
        };
        let shape = Shape { version: self.transaction.version, handle, change: &change };
        let (mut transaction, coins, fee) = choose(&shape, coins, price.rate, fee_of)?;
        if fee > price.ceiling {
            return Err(NoChild::Ceiling { wanted: fee, ceiling: price.ceiling });
        }
        sign(&mut transaction, handle, &coins, keys)?;
        Ok(Child { transaction, fee })
    }
}

/// The next rate after one that was not enough.
pub fn step(rate: FeeRate) -> FeeRate {
    FeeRate::from_sat_per_kwu(rate.to_sat_per_kwu().saturating_mul(STEP_PERCENT).div_ceil(100))
}

/// The next fee after one that was not enough.
pub fn more(fee: Amount) -> Amount {
    Amount::from_sat(fee.to_sat().saturating_mul(STEP_PERCENT).div_ceil(100))
}

fn rate_of(fee: Amount, weight: u64) -> FeeRate {
    FeeRate::from_sat_per_kwu(fee.to_sat().saturating_mul(1_000) / weight.max(1))
}

/// Coins that nothing in the mempool spends but the child that is to be replaced, largest first.
async fn free(
    node: &BitcoinRpc,
    purse: &Purse,
    waiting: Option<&Waiting>,
    reserved: &BTreeSet<OutPoint>,
) -> Result<Vec<OwnCoin>, RpcError> {
    let coins = purse.coins(reserved);
    let places: Vec<OutPoint> = coins.iter().map(|coin| coin.outpoint).collect();
    let spends = node.spends_in_mempool(&places).await?;
    let is_free = |spend: &Option<Txid>| spend.is_none() || *spend == waiting.map(|old| old.txid);
    let mut free: Vec<OwnCoin> =
        coins.into_iter().zip(spends).filter(|(_, spend)| is_free(spend)).map(|(coin, _)| coin).collect();
    free.sort_by_key(|coin| std::cmp::Reverse(coin.output.value));
    Ok(free)
}

/// What all children of a parent have.
struct Shape<'a> {
    version: Version,
    handle: &'a Handle,
    change: &'a TxOut,
}

impl Shape<'_> {
    /// One that spends these coins besides. The witnesses have their size and nothing else.
    fn unsigned(&self, coins: impl IntoIterator<Item = OutPoint>) -> Transaction {
        let places: Vec<OutPoint> = coins.into_iter().collect();
        let mut transaction = bump::child(self.handle.outpoint(), &places, self.change.clone());
        transaction.version = self.version;
        let signed = usize::from(matches!(self.handle, Handle::Anchor(_)));
        let inputs = transaction.input.iter_mut().skip(signed);
        inputs.for_each(|input| input.witness = Witness::from_slice(&[SIGNATURE]));
        transaction
    }
}

/// No coin where the handle is enough, the smallest that is, or else as many of the largest as are needed.
fn choose(
    shape: &Shape<'_>,
    coins: Vec<OwnCoin>,
    rate: FeeRate,
    fee_of: impl Fn(&Transaction) -> Amount,
) -> Result<(Transaction, Vec<OwnCoin>, Amount), NoChild> {
    let singles = coins.iter().rev().map(std::slice::from_ref);
    let several = (2..=coins.len()).map(|count| &coins[..count]);
    let (least, given) = (Amount::from_sat(P2TR_DUST), shape.handle.output().value);
    // What is missing where a coin is needed and there is none.
    let mut short = fee_of(&shape.unsigned([OutPoint::null()])) + least;
    let mut available = given;
    for chosen in std::iter::once(&coins[..0]).chain(singles).chain(several) {
        let mut transaction = shape.unsigned(chosen.iter().map(|coin| coin.outpoint));
        if transaction.weight() > bump::MAX_CHILD {
            return Err(NoChild::TooLong);
        }
        let fee = fee_of(&transaction);
        let held = given + chosen.iter().map(|coin| coin.output.value).sum::<Amount>();
        match held.checked_sub(fee).filter(|left| *left >= least) {
            Some(left) => {
                transaction.output[0].value = left;
                return Ok((transaction, chosen.to_vec(), fee));
            }
            // Coins that hold less than they cost only make it worse.
            None if !chosen.is_empty() && lacks(fee + least, held) < lacks(short, available) => {
                (short, available) = (fee + least, held);
            }
            None => {}
        }
    }
    // What the parent gives is no coin of the wallet.
    let [needed, available] = [short, available].map(|sum| sum.checked_sub(given).unwrap_or(Amount::ZERO));
    Err(PurseError::NotEnough { needed, available, rate }.into())
}

fn lacks(needed: Amount, held: Amount) -> Amount {
    needed.checked_sub(held).unwrap_or(Amount::ZERO)
}

fn sign(
    transaction: &mut Transaction,
    handle: &Handle,
    coins: &[OwnCoin],
    keys: &Keys,
) -> Result<(), PurseError> {
    let outputs = coins.iter().map(|coin| coin.output.clone());
    let spent: Vec<TxOut> = std::iter::once(handle.output()).chain(outputs).collect();
    let change = match handle {
        Handle::Anchor(_) => None,
        Handle::Change(coin) => Some((0, coin)),
    };
    for (index, coin) in change.into_iter().chain((1..).zip(coins)) {
        let secret = keys.coin_key(coin.branch, coin.index)?;
        let witness = sign_coin(transaction, index, &spent, &secret);
        transaction.input[index].witness = witness.map_err(|why| PurseError::Build(why.to_string()))?;
    }
    Ok(())
}
