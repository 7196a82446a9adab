//! Coins that are kept for fees: in the bumpable profile they pay for an early exit when what was agreed on is too little.

use crate::record::StakeRecord;
use crate::session::Session;
use bitcoin::{Amount, OutPoint};
use palisade_hub::ledger::stake::Stake;
use palisade_hub::ledger::state::StakeState;
use palisade_protocol::stake::Presigned;
use palisade_protocol::transactions::bump;
use std::collections::BTreeSet;

/// What should be left: the most that `unbond` has the wallet pay where nobody says otherwise.
pub const ENOUGH: Amount = Amount::from_sat(100_000);

/// What is free in the wallet, or will be when its stakes under way, and `own`, are in a block.
pub fn left(session: &Session, own: Option<&StakeRecord>) -> Amount {
    let begun = session.book.stakes().iter().filter(|record| session.is_under_way(record));
    let is_new = |own: &&StakeRecord| begun.clone().all(|record| record.outpoint != own.outpoint);
    let stakes: Vec<&StakeRecord> = begun.clone().chain(own.filter(is_new)).collect();
    let inputs = stakes.iter().flat_map(|record| &record.staking_tx.input);
    let spent: BTreeSet<OutPoint> =
        inputs.map(|input| input.previous_output).chain(session.reserved()).collect();
    session.purse.total(&spent) + session.purse.unconfirmed(stakes.iter().map(|record| &record.staking_tx))
}

/// Whether coins of the wallet can add to what the early exit pays.
pub fn is_of_use(presigned: &Presigned) -> bool {
    bump::handle(&presigned.unbonding).is_some()
}

/// Whether a stake of the book may have to leave early, with coins of the wallet to pay for it.
pub fn is_wanted(record: &StakeRecord, stake: Option<&Stake>) -> bool {
    let can_leave = |stake: &Stake| {
        stake.included.is_some() && stake.spend.is_none() && stake.state != StakeState::Withdrawable
    };
    stake.is_some_and(can_leave) && record.presigned().is_some_and(|presigned| is_of_use(&presigned))
}

/// What is said of a wallet in which too little is left.
pub fn warning(left: Amount) -> Option<String> {
    let left = match left {
        Amount::ZERO => "nothing".to_owned(),
        enough if enough >= ENOUGH => return None,
        little => format!("only {little}"),
    };
    Some(format!(
        "{left} is left in the wallet to pay for an early exit when fees are high: keep {ENOUGH} or more in it (`palisade-staker address`)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::amount;
    use crate::unbond::Unbond;
    use clap::Args as _;

    #[test]
    fn a_wallet_is_warned_of_while_it_has_less_than_an_early_exit_may_cost_by_default() {
        let said = |sat| warning(Amount::from_sat(sat)).unwrap_or_default();
        assert!(said(0).starts_with("nothing is left in the wallet"), "{}", said(0));
        assert!(said(99_999).starts_with("only 0.00099999 BTC is left"), "{}", said(99_999));
        assert_eq!(warning(ENOUGH), None);
        let command = Unbond::augment_args(clap::Command::new("unbond"));
        let max_fee = command.get_arguments().find(|arg| arg.get_id() == "max_fee").unwrap();
        let default = max_fee.get_default_values()[0].to_str().unwrap();
        assert_eq!(amount::parse(default).unwrap(), ENOUGH);
    }
}
