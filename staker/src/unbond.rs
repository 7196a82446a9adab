//! `unbond`: leave early, by the transaction that the committee has signed before the coins were locked.

use crate::coins::{self, Sources};
use crate::exit;
use crate::extend;
use crate::failures;
use crate::finish;
use crate::record::StakeRecord;
use crate::session::Session;
use crate::verify;
use crate::when::Calendar;
use bitcoin::Amount;
use bitcoin::consensus::encode::serialize_hex;
use clap::Args;
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
    /// What miners get, in sat.
    pub fee_sat: u64,
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
            check_there(session, &record).await?;
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
        let summary = Unbonding {
            stake: record.name(),
            txid: tx.compute_txid().to_string(),
            amount_sat: left.to_sat(),
            fee_sat: record.amount_sat.saturating_sub(left.to_sat()),
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
        finish::send(&session.node, &tx).await?;
        Ok(Unbonding { sent: true, ..summary })
    }
}

/// Refuses to leave what is not there, what has left already, and what is about to.
async fn check_there(session: &Session, record: &StakeRecord) -> Result<(), Failure> {
    if coins::are_in_stake(session, record).await? {
        return Ok(());
    }
    // Not in a block: it can be left there too, unless something does so already.
    let spends = session.node.spends_in_mempool(&[record.outpoint]).await.map_err(failures::node)?;
    if let Some(txid) = spends.into_iter().flatten().next() {
        return Err(coins::leaving(session, record, &txid));
    }
    match session.node.tx_out(record.outpoint, true).await.map_err(failures::node)? {
        Some(_) => Ok(()),
        None => Err(coins::nowhere(record, Sources::of(session)).await?),
    }
}

fn presigned(record: &StakeRecord) -> Result<palisade_protocol::stake::Presigned, Failure> {
    record.presigned().ok_or_else(|| {
        Failure::not_now("the stake is not registered, so there is no early exit yet")
            .hint(format_args!("palisade-staker stake --resume {}", record.name()))
    })
}
