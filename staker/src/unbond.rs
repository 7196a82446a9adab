//! `unbond`: leave early, by the transaction that the committee has signed before the coins were locked.

use crate::amount;
use crate::bump::{Child, NoChild, Parent, Price};
use crate::coins::{self, Lying, Sources};
use crate::exit;
use crate::extend;
use crate::failures;
use crate::finish;
use crate::keys::Keys;
use crate::rates;
use crate::record::StakeRecord;
use crate::session::Session;
use crate::verify;
use crate::when::Calendar;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Amount, FeeRate};
use clap::Args;
use palisade_hub::bitcoind::FeeRates;
use palisade_hub::daemon::ask::{confirm, go_on};
use palisade_hub::daemon::exit::Failure;
use palisade_protocol::transactions::witness::NoWitness;
use serde::Serialize;
use std::fmt;

/// Which stake to leave.
#[derive(Debug, Args)]
pub struct Unbond {
    /// The stake: the beginning of its id.
    pub stake: String,
    /// What the early exit is to pay, in sat/vB, where more is needed than was agreed on: the wallet pays the rest. What the node
    /// estimates by default. Of one that waits already it raises what it pays.
    #[arg(long, allow_hyphen_values = true, value_parser = amount::parse_fee_rate)]
    pub fee_rate: Option<FeeRate>,
    /// Most that the wallet may pay for that.
    #[arg(long, value_name = "AMOUNT", default_value = "0.001 BTC", value_parser = amount::parse)]
    pub max_fee: Amount,
    /// Sign, print the raw transaction and do not send it.
    #[arg(long)]
    pub print: bool,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
}

/// What leaving early means.
#[derive(Debug, Clone, Serialize)]
pub struct Unbonding {
    /// The stake.
    pub stake: String,
    /// The transaction.
    pub txid: String,
    /// What is left, in sat.
    pub amount_sat: u64,
    /// What miners get from the stake, as was agreed on, in sat.
    pub fee_sat: u64,
    /// What they get besides from the wallet, in sat.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub child_fee_sat: Option<u64>,
    /// The transaction that pays it: a child of the other.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub child_txid: Option<String>,
    /// How many blocks it then waits.
    pub unbonding_blocks: u16,
    /// An expansion of the stake that is begun and not sent, which then comes to nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ends_expansion: Option<String>,
    /// How blocks are shown.
    #[serde(skip)]
    pub calendar: Calendar,
    /// Whether it was handed to Bitcoin.
    pub sent: bool,
    /// The signed transaction, hex, where it was to be printed instead of sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
}

impl fmt::Display for Unbonding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sent {
            true => writeln!(f, "Sent: stake {} leaves early.", self.stake)?,
            false => writeln!(f, "Leave stake {} early.", self.stake)?,
        }
        writeln!(f, "  left:        {}", Amount::from_sat(self.amount_sat))?;
        writeln!(f, "  fee:         {}", Amount::from_sat(self.fee_sat))?;
        if let (Some(fee), Some(txid)) = (self.child_fee_sat, &self.child_txid) {
            writeln!(f, "  and:         {} from the wallet, by transaction {txid}", Amount::from_sat(fee))?;
        }
        let wait = self.calendar.blocks(self.unbonding_blocks.into());
        writeln!(f, "  withdraw:    {wait} after its block")?;
        if let Some(new) = &self.ends_expansion {
            writeln!(
                f,
                "  ends:        the expansion into stake {new}, which is begun and not sent, comes to nothing"
            )?;
        }
        write!(f, "  transaction: {}", self.txid)?;
        self.raw.iter().try_for_each(|raw| write!(f, "\n  not sent:    {raw}"))
    }
}

impl Unbond {
    /// Sends the unbonding transaction. The hub is not needed when the book has the committee's signatures.
    pub async fn run(&self, session: &mut Session) -> Result<Unbonding, Failure> {
        let mut record = session.book.find(&self.stake)?;
        if let Err(why) = session.catch_up().await {
            go_on(&why, "going on with what is known");
        }
        if !self.print {
            session.check_node().await?;
            self.check_there(session, &record).await?;
        }
        let calendar = Calendar::of(session.network());
        let keys = session.keys()?;
        let key = keys.staking(record.key_index)?;
        if let Ok(signatures) = verify::quorum(session.ledger(), &record, &key) {
            record.unbonding_signatures = signatures;
            session.book.put(record.clone())?;
        }
        let (contract, presigned) = (record.contract()?, presigned(&record)?);
        let signed = record.unbonding_signatures.len();
        let tx =
            exit::unbond(&contract, &presigned, &key, &record.unbonding_signatures).map_err(
                |why| match why {
                    exit::NoExit::Witness(NoWitness::BelowQuorum { quorum, .. }) => {
                        let withdraw = calendar.blocks(record.lock.get().into());
                        Failure::not_now(format_args!(
                            "of the committee {signed} signed the early exit, {quorum} are needed"
                        ))
                        .hint(format_args!("the timelock always works: {withdraw} after the stake's block"))
                    }
                    why => why.into(),
                },
            )?;
        let left = tx.output.first().map_or(Amount::ZERO, |output| output.value);
        let paid: Amount = tx.output.iter().map(|output| output.value).sum();
        let fee = Amount::from_sat(record.amount_sat).checked_sub(paid).unwrap_or(Amount::ZERO);
        let child = match self.print {
            true => None,
            false => self.child(session, &keys, &Parent::presigned(&tx, fee)).await?,
        };
        let summary = Unbonding {
            stake: record.name(),
            txid: tx.compute_txid().to_string(),
            amount_sat: left.to_sat(),
            fee_sat: fee.to_sat(),
            child_fee_sat: child.as_ref().map(|child| child.fee.to_sat()),
            child_txid: child.as_ref().map(|child| child.transaction.compute_txid().to_string()),
            unbonding_blocks: contract.unbonding_time.get(),
            ends_expansion: extend::begun(session, &record).map(|new| new.name()),
            calendar,
            sent: false,
            raw: self.print.then(|| serialize_hex(&tx)),
        };
        if self.print {
            return Ok(summary);
        }
        confirm(&summary, self.yes)?;
        match child {
            None => finish::send(&session.node, &tx).await?,
            Some(child) => {
                let sent = session.node.submit_package(&tx, &child.transaction).await;
                sent.map_err(|why| failures::node(why).hint("--fee-rate RATE makes the wallet pay more"))?;
            }
        }
        Ok(Unbonding { sent: true, ..summary })
    }

    /// Refuses to leave what is not there, what can be withdrawn, what has left already, and what is about to, unless that is to pay
    /// more.
    async fn check_there(&self, session: &Session, record: &StakeRecord) -> Result<(), Failure> {
        let spends = session.node.spends_in_mempool(&[record.outpoint]).await.map_err(failures::node)?;
        let moved_by = spends.into_iter().flatten().next();
        let own = record.presigned().map(|presigned| presigned.unbonding.compute_txid());
        if let Some(txid) = moved_by.filter(|txid| Some(*txid) == own) {
            return match self.fee_rate {
                Some(_) => Ok(()),
                None => {
                    Err(coins::leaving(session, record, &txid).hint("--fee-rate RATE raises what it pays"))
                }
            };
        }
        if let Some(lying) = coins::find_in_stake(session, record).await? {
            return check_is_early(&lying, record);
        }
        // Not in a block: it can be left there too, unless something does so already.
        if let Some(txid) = moved_by {
            return Err(coins::leaving(session, record, &txid));
        }
        match session.node.tx_out(record.outpoint, true).await.map_err(failures::node)? {
            Some(_) => Ok(()),
            None => Err(coins::nowhere(record, Sources::of(session)).await?),
        }
    }

    /// What the exit is to pay: exactly what was asked for, or what the node estimates up to what the wallet may pay.
    async fn price(&self, session: &Session) -> Result<Price, Failure> {
        let (rate, least) = match self.fee_rate {
            Some(rate) => (rate, rate),
            None => {
                let FeeRates { estimate, least } = rates::estimate(&session.node).await?;
                (estimate, least)
            }
        };
        Ok(Price { rate, least, ceiling: self.max_fee })
    }

    /// What the wallet adds, if what was agreed on is not enough.
    async fn child(
        &self,
        session: &mut Session,
        keys: &Keys,
        parent: &Parent<'_>,
    ) -> Result<Option<Child>, Failure> {
        let price = self.price(session).await?;
        let rate = price.rate;
        let waiting = match parent.waiting(&session.node).await {
            Err(NoChild::Compatible) if self.fee_rate.is_none() => return Ok(None),
            waiting => waiting?,
        };
        if rate <= waiting.map_or(parent.rate(), |child| child.rate) {
            return Ok(None);
        }
        session.sync().await?;
        let reserved = session.reserved();
        let payer = (&mut session.purse, keys);
        let made = parent.child(&session.node, payer, price, waiting.as_ref(), &reserved).await;
        match made {
            Ok(child) => Ok(Some(child)),
            // The node takes it as it is; how long it waits then is another matter.
            Err(why @ NoChild::Purse(_))
                if parent.rate() >= session.node.least_fee_rate().await.map_err(failures::node)? =>
            {
                go_on(&why.into(), "going on with the fee that was agreed on");
                Ok(None)
            }
            Err(why) => Err(why.into()),
        }
    }
}

/// Refuses an early exit of a stake whose lock is over: it would cost a fee, and another wait.
fn check_is_early(lying: &Lying, record: &StakeRecord) -> Result<(), Failure> {
    if lying.missing() > 0 {
        return Ok(());
    }
    let why = Failure::failed("the stake's timelock is over: leaving early would only take longer");
    Err(lying
        .tell(why.hint(format_args!("`palisade-staker withdraw {}` takes the coins now", record.name()))))
}

fn presigned(record: &StakeRecord) -> Result<palisade_protocol::stake::Presigned, Failure> {
    record.presigned().ok_or_else(|| {
        Failure::not_now("the stake is not registered, so there is no early exit yet")
            .hint(format_args!("palisade-staker stake --resume {}", record.name()))
    })
}
