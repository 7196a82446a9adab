//! Paying for a presigned transaction by a child of it (docs/protocol.md, section 2.4).
//!
//! What pays for one now is read back from the node each time, so nothing of it has to be written down: whoever bumps again
//! replaces what the node has.

use crate::keys::Keys;
use crate::purse::{OwnCoin, Purse, PurseError, sign_coin};
use bitcoin::{Amount, FeeRate, OutPoint, Transaction, TxOut, Txid, Witness};
use palisade_hub::bitcoind::{BitcoinRpc, RpcError};
use palisade_protocol::params::{P2TR_DUST, Profile};
use palisade_protocol::transactions::bump;
use std::collections::BTreeSet;

/// What a replacement pays on top of what it replaces, for its own size: what nodes ask for by default, and more.
pub const INCREMENTAL_RELAY: FeeRate = FeeRate::from_sat_per_vb_u32(1);
/// How much more than before is tried or paid next, in percent.
const STEP_PERCENT: u64 = 125;
/// A signature of a coin of the wallet.
const SIGNATURE: [u8; 64] = [0; 64];

/// A presigned transaction with its witness, and what it pays by itself.
#[derive(Debug, Clone, Copy)]
pub struct Parent<'a> {
    /// The transaction.
    pub transaction: &'a Transaction,
    /// What it pays.
    pub fee: Amount,
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

impl Parent<'_> {
    /// What it pays by itself, for its size.
    pub fn rate(&self) -> FeeRate {
        rate_of(self.fee, self.transaction.weight().to_wu())
    }

    fn handle(&self) -> Result<OutPoint, NoChild> {
        bump::handle(self.transaction).ok_or(NoChild::Compatible)
    }

    /// The child that pays for it now, whoever made it.
    pub async fn waiting(&self, node: &BitcoinRpc) -> Result<Option<Waiting>, NoChild> {
        let Some(txid) = node.spends_in_mempool(&[self.handle()?]).await?.into_iter().flatten().next() else {
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
        let (mut transaction, coins, fee) = choose(handle, coins, &change, price.rate, fee_of)?;
        if fee > price.ceiling {
            return Err(NoChild::Ceiling { wanted: fee, ceiling: price.ceiling });
        }
        sign(&mut transaction, &coins, keys)?;
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

/// The smallest coin that is enough, or else as many of the largest as are needed. The witnesses have their size and nothing else.
fn choose(
    handle: OutPoint,
    coins: Vec<OwnCoin>,
    change: &TxOut,
    rate: FeeRate,
    fee_of: impl Fn(&Transaction) -> Amount,
) -> Result<(Transaction, Vec<OwnCoin>, Amount), NoChild> {
    let singles = coins.iter().rev().map(std::slice::from_ref);
    let several = (2..=coins.len()).map(|count| &coins[..count]);
    // What one coin would have to pay.
    let mut short = fee_of(&unsigned(handle, [OutPoint::null()], change));
    let mut available = Amount::ZERO;
    for chosen in singles.chain(several) {
        let mut transaction = unsigned(handle, chosen.iter().map(|coin| coin.outpoint), change);
        if transaction.weight() > bump::MAX_CHILD {
            return Err(NoChild::TooLong);
        }
        let fee = fee_of(&transaction);
        let own: Amount = chosen.iter().map(|coin| coin.output.value).sum();
        match (own + bump::BUMP_VALUE).checked_sub(fee).filter(|left| left.to_sat() >= P2TR_DUST) {
            Some(left) => {
                transaction.output[0].value = left;
                return Ok((transaction, chosen.to_vec(), fee));
            }
            // Coins that hold less than they cost only make it worse.
            None if lacks(fee, own) < lacks(short, available) => (short, available) = (fee, own),
            None => {}
        }
    }
    let needed = short + Amount::from_sat(P2TR_DUST) - bump::BUMP_VALUE;
    Err(PurseError::NotEnough { needed, available, rate }.into())
}

fn lacks(fee: Amount, coins: Amount) -> Amount {
    fee.checked_sub(coins).unwrap_or(Amount::ZERO)
}

fn unsigned(handle: OutPoint, coins: impl IntoIterator<Item = OutPoint>, change: &TxOut) -> Transaction {
    let places: Vec<OutPoint> = coins.into_iter().collect();
    let mut transaction = bump::child(handle, &places, change.clone());
    transaction.input.iter_mut().skip(1).for_each(|input| input.witness = Witness::from_slice(&[SIGNATURE]));
    transaction
}

fn sign(transaction: &mut Transaction, coins: &[OwnCoin], keys: &Keys) -> Result<(), PurseError> {
    let anchor = Profile::Bumpable.bump_output();
    let spent: Vec<TxOut> = anchor.into_iter().chain(coins.iter().map(|coin| coin.output.clone())).collect();
    for (index, coin) in (1..).zip(coins) {
        let secret = keys.coin_key(coin.branch, coin.index)?;
        let witness = sign_coin(transaction, index, &spent, &secret);
        transaction.input[index].witness = witness.map_err(|why| PurseError::Build(why.to_string()))?;
    }
    Ok(())
}
