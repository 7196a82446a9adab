//! Paying more for a staking transaction that waits, by a child that spends its change: the transaction itself stays what it is,
//! because another one would be another stake.

use crate::bump::{Child, Parent, Price};
use crate::coins;
use crate::failures;
use crate::keys::Keys;
use crate::record::StakeRecord;
use crate::session::Session;
use crate::words::Found;
use bitcoin::{Amount, Txid};
use palisade_hub::daemon::ask::confirm;
use palisade_hub::daemon::exit::Failure;
use serde::Serialize;
use std::fmt;

/// What the wallet adds to what a staking transaction pays.
#[derive(Debug, Clone, Serialize)]
pub struct Raised {
    /// What miners get from the wallet, in sat.
    pub child_fee_sat: u64,
    /// The transaction that pays it: a child of the other.
    pub child_txid: String,
    #[serde(skip)]
    stake: String,
    #[serde(skip)]
    own: Amount,
}

impl fmt::Display for Raised {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fee = Amount::from_sat(self.child_fee_sat);
        writeln!(f, "Raise what the transaction of stake {} pays.", self.stake)?;
        writeln!(f, "  fee:         {}", self.own)?;
        write!(f, "  and:         {fee} from the wallet, by transaction {}", self.child_txid)
    }
}

/// Has a child pay for a stake that waits, after asking. Nothing where as much is paid already. `own` is
/// what the staking transaction pays by itself.
pub async fn raise(
    session: &mut Session,
    record: &StakeRecord,
    keys: &Keys,
    (own, price): (Option<Amount>, Price),
    yes: bool,
) -> Result<Option<Raised>, Failure> {
    let own = own.ok_or_else(|| Failure::failed("the coins that the stake spends are not known any more"))?;
    let parent = Parent::staking(&record.staking_tx, own, &session.purse)?;
    let waiting = parent.waiting(&session.node).await?;
    if price.rate <= waiting.map_or(parent.rate(), |child| child.rate) {
        return Ok(None);
    }
    let reserved = session.reserved();
    let payer = (&mut session.purse, keys);
    let Child { transaction, fee } =
        parent.child(&session.node, payer, price, waiting.as_ref(), &reserved).await?;
    let txid: Txid = transaction.compute_txid();
    let (stake, child_fee_sat, child_txid) = (record.name(), fee.to_sat(), txid.to_string());
    let raised = Raised { child_fee_sat, child_txid, stake, own };
    confirm(&raised, yes)?;
    let sent = session.node.submit_package(&record.staking_tx, &transaction).await;
    sent.map_err(|why| failures::node(why).hint("a higher --fee-rate RATE may do"))?;
    Ok(Some(raised))
}

/// Refuses what was not sent, and what a block holds.
pub async fn check_waits(session: &Session, record: &StakeRecord) -> Result<(), Failure> {
    if !record.broadcast {
        return Err(Failure::usage(
            "the stake was not sent to Bitcoin yet: nothing is locked, and nothing waits",
        )
        .hint("stake anew with the --fee-rate that you want; without it --resume goes on with this one"));
    }
    if let Some(Found::Block(height)) = coins::found(&session.node, record).await? {
        return Err(Failure::failed(format_args!(
            "block {height} holds the stake: nothing is left to pay for"
        )));
    }
    coins::check_can_confirm(&session.node, record, session.view(None)).await
}
