//! Who pays for slashings whose own fee, agreed on when the coins were locked, is too low by now.
//!
//! The policy: what the node estimates for the next blocks, a quarter more for each time that a slashing has waited too long or
//! was not taken, and never more than the ceiling. What is under way is read back from the node.

use crate::config::WalletConfig;
use crate::wallet::{self, Lack, Wallet};
use bitcoin::{Amount, Txid, Weight};
use palisade_hub::bitcoind::{BitcoinRpc, RpcError};
use palisade_protocol::params::P2TR_DUST;
use palisade_protocol::transactions::bump::BUMP_VALUE;
use palisade_staker::bump::{NoChild, Parent, more, step};
use palisade_staker::purse::PurseError;
use std::collections::{BTreeMap, BTreeSet};

/// Rates that are tried in one look, where the node wants more than it said.
const TRIES: usize = 12;
/// The smallest slashing and a child of it with one coin.
const SLASHING: Weight = Weight::from_vb_unchecked(365);

/// A wallet and how it pays.
pub struct Payer {
    wallet: Wallet,
    ceiling: Amount,
    bump_after: u32,
    /// Height of the tip when each transaction was first to be sent, since the start.
    since: BTreeMap<Txid, u32>,
    /// Why new blocks could not be read into the wallet, when that was last tried.
    trouble: Option<String>,
}

/// What became of a transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// The node has it, and nobody has to pay.
    Alone,
    /// The node has it, and this child pays so much for it.
    Paid(Txid, Amount),
}

impl Payer {
    /// A payer that goes by a configuration.
    pub fn new(wallet: Wallet, config: &WalletConfig) -> Self {
        let (ceiling, bump_after) = (Amount::from_sat(config.max_fee_sat), config.bump_after_blocks);
        Self { wallet, ceiling, bump_after, since: BTreeMap::new(), trouble: None }
    }

    /// Reads new blocks, and gives the sum of the wallet's coins. Where that fails, and not by the node, it goes on with the coins
    /// that it knows: what is wrong with the wallet must not keep slashings back.
    pub async fn sync(&mut self, node: &BitcoinRpc, birthday: u32) -> Result<Amount, RpcError> {
        self.trouble = match self.wallet.purse.sync(node, birthday).await {
            Ok(()) => None,
            Err(PurseError::Rpc(why)) => return Err(why),
            Err(why) => Some(format!("the wallet that pays for slashings cannot be used: {why}")),
        };
        Ok(self.wallet.purse.total(&BTreeSet::new()))
    }

    /// What is wrong with the wallet itself.
    pub fn trouble(&self) -> Option<&str> {
        self.trouble.as_deref()
    }

    /// Has a transaction sent, and pays for it where that is needed.
    pub async fn send(&mut self, node: &BitcoinRpc, parent: &Parent<'_>, tip: u32) -> Result<Sent, NoChild> {
        let since = *self.since.entry(parent.transaction.compute_txid()).or_insert(tip);
        let waited = tip.saturating_sub(since) / self.bump_after;
        let mut price = wallet::price(node, self.ceiling).await?;
        price.rate = (0..waited).fold(price.rate, |rate, _| step(rate));
        let waiting = parent.waiting(node).await?;
        if price.rate <= waiting.map_or(parent.rate(), |child| child.rate) {
            match node.send_raw_transaction(parent.transaction).await {
                Ok(_) => return Ok(Sent::Alone),
                Err(RpcError::Refused { message, .. }) if wants_more(&message) => {}
                Err(why) => return Err(why.into()),
            }
        }
        for _ in 0..TRIES {
            let payer = (&mut self.wallet.purse, &self.wallet.keys);
            let child = parent.child(node, payer, price, waiting.as_ref(), &BTreeSet::new()).await?;
            match node.submit_package(parent.transaction, &child.transaction).await {
                Ok(()) => return Ok(Sent::Paid(child.transaction.compute_txid(), child.fee)),
                Err(RpcError::Refused { message, .. }) if wants_more(&message) => {}
                Err(why) => return Err(why.into()),
            }
            let (wanted, ceiling) = (more(child.fee), self.ceiling);
            if child.fee == ceiling {
                return Err(NoChild::Ceiling { wanted, ceiling });
            }
            price.rate = step(price.rate);
        }
        Err(PurseError::Build("no rate that was tried is enough for the node".to_owned()).into())
    }

    /// What its coins lack to pay for so many slashings at the ceiling.
    pub fn lack(&self, slashings: u64) -> Option<Lack> {
        let change = Amount::from_sat(P2TR_DUST).checked_sub(BUMP_VALUE).unwrap_or(Amount::ZERO);
        self.wallet.lack(slashings, self.ceiling, SLASHING, change)
    }
}

/// Whether the node would take it for more: it is below the mempool's minimum, or does not pay more than what it would replace.
fn wants_more(refusal: &str) -> bool {
    ["min fee", "insufficient fee", "feerate", "RBF"].iter().any(|words| refusal.contains(words))
}
