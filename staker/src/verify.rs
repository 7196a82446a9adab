//! The last look before coins are locked: the committee's signatures, verified on the holder's own transactions.
//!
//! The ledger has checked them when it took them in. They are checked again here, against the record that the holder has
//! made, because what is locked without them cannot leave early.

use crate::exit::{self, NoExit};
use crate::record::{BadRecord, StakeRecord};
use crate::standing::{self, resumable_until};
use bitcoin::secp256k1::Keypair;
use bitcoin::{Transaction, TxOut};
use palisade_hub::daemon::exit::Failure;
use palisade_hub::ledger::Ledger;
use palisade_hub::ledger::stake::Stake;
use palisade_hub::ledger::state::StakeState;
use palisade_protocol::context::Context;
use palisade_protocol::covenant::{BadAnswer, CovenantAnswer, Verdict};
use palisade_protocol::keys::CovenantKey;
use palisade_protocol::outputs::Leaf;
use palisade_protocol::stake::{Contract, Presigned, StakeId};
use palisade_protocol::transactions::witness::{self, CovenantSignatures, NoWitness};
use palisade_protocol::transactions::{NoSighash, sighash};

/// Why the coins are not locked now.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NotSafe {
    /// The own record is damaged.
    #[error(transparent)]
    Record(#[from] BadRecord),
    /// The stake is not in the log yet.
    #[error("the stake is not in the hub's log yet")]
    NotRegistered,
    /// The log has it, and the book lacks the transactions that were agreed on.
    #[error(
        "the hub's log has this stake as {0}, and the book of stakes does not have what was agreed on for it"
    )]
    Incomplete(StakeId),
    /// The log has another stake under this id.
    #[error("the hub's log has another {0} under this id than we registered")]
    Another(&'static str),
    /// No quorum yet.
    #[error("of the committee {signed} signed, {quorum} are needed")]
    NoQuorum {
        /// Members that signed.
        signed: usize,
        /// How many must.
        quorum: u8,
    },
    /// No quorum of consents to the expansion yet.
    #[error("of the committee {signed} consented to the expansion, {quorum} are needed")]
    NoConsent {
        /// Members that consented.
        signed: usize,
        /// How many must.
        quorum: u8,
    },
    /// It never will be.
    #[error("the stake is {state}{}", because(.reasons))]
    Over {
        /// Its state.
        state: StakeState,
        /// What the committee said, if it said something.
        reasons: Vec<String>,
    },
    /// It would lapse before it is included.
    #[error("the registration lapses at Bitcoin height {lapses_at}, the tip is {tip}: too close")]
    AboutToLapse {
        /// When.
        lapses_at: u32,
        /// Where Bitcoin is.
        tip: u32,
    },
    /// A member's signatures are bad.
    #[error("signatures of committee member {0}: {1}")]
    Answer(CovenantKey, BadAnswer),
    /// A member's consent is bad.
    #[error("the consent of committee member {0} does not verify")]
    Consent(CovenantKey),
    /// The early exit does not work.
    #[error("the early exit: {0}")]
    NoExit(#[from] NoExit),
    /// The transactions do not fit together.
    #[error(transparent)]
    Sighash(#[from] NoSighash),
    /// A witness cannot be put together.
    #[error(transparent)]
    Witness(#[from] NoWitness),
}

fn because(reasons: &[String]) -> String {
    if reasons.is_empty() { String::new() } else { format!(": {}", reasons.join("; ")) }
}

impl NotSafe {
    /// Whether waiting helps.
    pub fn is_waiting(&self) -> bool {
        matches!(self, Self::NotRegistered | Self::NoQuorum { .. } | Self::NoConsent { .. })
    }
}

impl From<NotSafe> for Failure {
    fn from(why: NotSafe) -> Self {
        if why.is_waiting() {
            return Self::not_now(why).hint("`palisade-staker stake --resume ID` goes on from here");
        }
        let hint = match why {
            NotSafe::Incomplete(_) => "`palisade-staker recover` completes the book from the hub's log",
            NotSafe::Over { .. } => "no coins were locked; stake anew",
            NotSafe::AboutToLapse { .. } => "no coins were locked; wait until it has lapsed and stake anew",
            _ => "no coins were locked; keep this message and ask whoever runs the hub",
        };
        Self::failed(why).hint(hint)
    }
}

/// Gives a quorum's signatures on the unbonding transaction, if a quorum has signed everything about exactly our stake.
pub fn quorum(ledger: &Ledger, record: &StakeRecord, key: &Keypair) -> Result<CovenantSignatures, NotSafe> {
    quorum_of(registered(ledger, record)?, &ledger.contexts().covenant, record, key)
}

fn quorum_of(
    stake: &Stake,
    context: &Context,
    record: &StakeRecord,
    key: &Keypair,
) -> Result<CovenantSignatures, NotSafe> {
    let contract = record.contract()?;
    let presigned = record.presigned().ok_or(NotSafe::Incomplete(stake.id))?;
    let sighashes = contract.sighashes(&presigned)?;
    check_same(stake, &contract, &presigned, record)?;
    let mut good = CovenantSignatures::new();
    for (member, signatures) in &stake.signatures {
        let verdict = Verdict::Signed(Box::new(signatures.clone()));
        let answer = CovenantAnswer { stake: stake.id, member: *member, verdict };
        let judged = answer.verify(&contract, &sighashes, context);
        judged.map_err(|why| NotSafe::Answer(*member, why))?;
        good.insert(*member, signatures.unbonding);
    }
    let quorum = contract.keys.committee().quorum();
    if good.len() < usize::from(quorum) {
        return Err(NotSafe::NoQuorum { signed: good.len(), quorum });
    }
    exit::unbond(&contract, &presigned, key, &good)?;
    Ok(good)
}

fn registered<'a>(ledger: &'a Ledger, record: &StakeRecord) -> Result<&'a Stake, NotSafe> {
    standing::known(record, ledger).ok_or(NotSafe::NotRegistered)
}

fn check_same(
    stake: &Stake,
    contract: &Contract,
    presigned: &Presigned,
    record: &StakeRecord,
) -> Result<(), NotSafe> {
    let parts = [
        ("contract", stake.contract == *contract),
        ("presigned transaction", stake.presigned == *presigned),
        ("list of providers", stake.providers == record.providers && stake.former == record.former),
    ];
    match parts.iter().find(|(_, same)| !same) {
        Some((what, _)) => Err(NotSafe::Another(what)),
        None => Ok(()),
    }
}

/// Refuses a stake that was not sent and cannot be any more: refused, exposed, lapsed or about to. One that the log does not
/// have yet may come. `node` is the own node's height: a hub that is behind Bitcoin will count the blocks that it lacks too.
pub fn possible(ledger: &Ledger, record: &StakeRecord, node: u32) -> Result<(), NotSafe> {
    let tip = ledger.btc_height().0.max(node);
    standing::known(record, ledger).map_or(Ok(()), |stake| possible_at(stake, tip))
}

fn possible_at(stake: &Stake, tip: u32) -> Result<(), NotSafe> {
    let state = stake.state;
    if !matches!(state, StakeState::Verified | StakeState::Pending) {
        return Err(NotSafe::Over { state, reasons: stake.refusals.values().cloned().collect() });
    }
    match resumable_until(stake) {
        Some(last) if tip > last => Err(NotSafe::AboutToLapse { lapses_at: stake.lapses_at.0, tip }),
        _ => Ok(()),
    }
}

/// Whether the staking transaction may be handed to Bitcoin: verified, not exposed, and in time, also by the own node's height.
pub fn in_time(ledger: &Ledger, record: &StakeRecord, node: u32) -> Result<(), NotSafe> {
    in_time_at(registered(ledger, record)?, ledger.btc_height().0.max(node))
}

fn in_time_at(stake: &Stake, tip: u32) -> Result<(), NotSafe> {
    possible_at(stake, tip)?;
    match stake.state {
        StakeState::Pending => {
            let quorum = stake.contract.keys.committee().quorum();
            Err(NotSafe::NoQuorum { signed: stake.signatures.len(), quorum })
        }
        _ => Ok(()),
    }
}

/// Completes the transaction of an expansion: input 0 spends the old stake with the holder's and a quorum's signatures.
/// `funding` is what its input 1, which is signed already, spends.
pub fn expansion(
    ledger: &Ledger,
    record: &StakeRecord,
    old: &Contract,
    funding: TxOut,
    key: &Keypair,
) -> Result<Transaction, NotSafe> {
    expansion_of(registered(ledger, record)?, record, old, funding, key)
}

fn expansion_of(
    stake: &Stake,
    record: &StakeRecord,
    old: &Contract,
    funding: TxOut,
    key: &Keypair,
) -> Result<Transaction, NotSafe> {
    let mut tx = record.staking_tx.clone();
    let spent = [old.txout(), funding];
    let digest = sighash(&tx, 0, &spent, &old.output(), Leaf::Unbonding)?;
    for (member, signature) in &stake.consents {
        member.verify(&digest, signature).map_err(|_| NotSafe::Consent(*member))?;
    }
    let quorum = old.keys.committee().quorum();
    if stake.consents.len() < usize::from(quorum) {
        return Err(NotSafe::NoConsent { signed: stake.consents.len(), quorum });
    }
    let own = exit::sign(key, &digest);
    let witness = witness::unbonding(&old.output(), &old.keys, &own, &stake.consents)?;
    if let Some(input) = tx.input.first_mut() {
        input.witness = witness;
    }
    exit::judge_unbonding_leaf(&tx, &spent, old)?;
    Ok(tx)
}

#[cfg(test)]
mod tests;
