//! What became of an order to lock coins.

use crate::plan::Plan;
use crate::raise::Raised;
use crate::record::StakeRecord;
use crate::session::Session;
use crate::status::{Seen, describe};
use bitcoin::Amount;
use palisade_hub::daemon::exit::Failure;
use palisade_hub::ledger::state::StakeState;
use serde::Serialize;
use std::fmt;

/// What became of it.
#[derive(Debug, Clone, Serialize)]
pub struct Locked {
    /// Its id in the hub's log, once it has one.
    pub id: Option<String>,
    /// Where it is.
    pub outpoint: String,
    /// What it means, as it stands now.
    #[serde(flatten)]
    pub plan: Plan,
    /// Whether it was handed to Bitcoin.
    pub broadcast: bool,
    /// Its state in the own copy of the hub's log.
    pub state: Option<StakeState>,
    /// Last height of Bitcoin at which it can still be gone on with; missing once it was sent.
    pub resumable_until: Option<u32>,
    /// Height of Bitcoin at which it lapses if no block before holds it.
    pub lapses_at: Option<u32>,
    /// For an expansion, the stake that goes into it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expands: Option<String>,
    /// What the wallet has added to what it pays.
    #[serde(flatten)]
    pub raised: Option<Raised>,
    /// Whether a backup has it already.
    #[serde(skip)]
    pub backed_up: bool,
    /// What comes next.
    pub next: String,
    /// The signed transaction, hex, where it was to be printed instead of sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
}

impl Locked {
    /// What the book and the ledger say of it, and the plan that was agreed to.
    pub fn new(session: &Session, record: &StakeRecord, agreed: &Plan) -> Result<Self, Failure> {
        let told = describe(record, Seen::default(), session.view(None));
        let plan = Plan::of(session, record)?;
        Ok(Self {
            id: told.id,
            outpoint: told.outpoint,
            // What it pays is not known any more once its coins are spent.
            plan: Plan { fee: plan.fee.or(agreed.fee), confirmed_first: agreed.confirmed_first, ..plan },
            broadcast: record.broadcast,
            state: told.state,
            resumable_until: told.resumable_until,
            lapses_at: told.lapses_at,
            expands: record.expands.map(|old| old.to_string()),
            backed_up: session.book.is_backed_up(record),
            next: told.next,
            raised: None,
            raw: None,
        })
    }
}

impl fmt::Display for Locked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.id.as_ref().unwrap_or(&self.outpoint);
        writeln!(f, "stake {name}")?;
        writeln!(f, "  at {}", self.outpoint)?;
        let state = self.state.map_or_else(String::new, |state| format!("{state}: "));
        writeln!(f, "  {state}{}", self.next)?;
        if let Some(old) = self.expands.as_ref().filter(|_| !self.broadcast) {
            writeln!(f, "  not sent: stake {old} stays as it is, with its power, until this one is sent")?;
        }
        if !self.broadcast {
            writeln!(f, "  go on: palisade-staker stake --resume {name}")?;
        }
        if let Some(raised) = &self.raised {
            let fee = Amount::from_sat(raised.child_fee_sat);
            writeln!(f, "  the wallet pays {fee} more for it, by transaction {}", raised.child_txid)?;
        }
        self.raw.iter().try_for_each(|raw| writeln!(f, "  transaction: {raw}"))?;
        if self.broadcast && !self.backed_up {
            writeln!(
                f,
                "make a new backup: palisade-staker backup NEWFILE (one made before does not have this stake)"
            )?;
        }
        write!(f, "next: palisade-staker status {name}")
    }
}
