//! `withdraw`: take coins whose timelock is over, wherever they lie. Needs a Bitcoin node and nothing else.

use crate::amount;
use crate::behind;
use crate::coins::{self, LOOK_BACK, Lying, Sources};
use crate::exit::Place;
use crate::failures;
use crate::finish::send;
use crate::keys::Keys;
use crate::rates::fee_rate_of;
use crate::record::StakeRecord;
use crate::session::Session;
use crate::stake::address;
use crate::standing;
use crate::when::Calendar;
use crate::words;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Address, Amount, FeeRate, Network};
use clap::Args;
use palisade_hub::bitcoind::BitcoinRpc;
use palisade_hub::daemon::ask::confirm;
use palisade_hub::daemon::exit::Failure;
use serde::Serialize;
use std::fmt;

/// How to withdraw.
#[derive(Debug, Clone, Args)]
pub struct Terms {
    /// Where the coins go; an address of this wallet by default, and to be given with a backup.
    #[arg(long, value_name = "ADDRESS")]
    pub to: Option<String>,
    /// Fee rate in sat/vB; what the node estimates by default.
    #[arg(long, allow_hyphen_values = true, value_parser = amount::parse_fee_rate)]
    pub fee_rate: Option<FeeRate>,
    /// Sign, print the raw transaction and do not send it; also before its time.
    #[arg(long)]
    pub print: bool,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
}

impl Terms {
    /// Whether they say that something is to be withdrawn.
    pub fn is_given(&self) -> bool {
        self.to.is_some() || self.fee_rate.is_some() || self.print || self.yes
    }
}

/// What a withdrawal does.
#[derive(Debug, Clone, Serialize)]
pub struct Withdrawal {
    /// The stake.
    pub stake: String,
    /// The transaction.
    pub txid: String,
    /// The output that it spends.
    pub spends: String,
    /// What arrives, in sat.
    pub amount_sat: u64,
    /// What miners get, in sat.
    pub fee_sat: u64,
    /// Where it arrives.
    pub to: String,
    /// The transaction that has slashed the stake, if one has: then what that left is withdrawn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slashed_by: Option<String>,
    /// Whether it was handed to Bitcoin.
    pub sent: bool,
    /// The signed transaction, hex, where it was to be printed instead of sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub raw: Option<String>,
}

impl fmt::Display for Withdrawal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.sent {
            true => writeln!(f, "Sent: stake {} is withdrawn with the next block.", self.stake)?,
            false => writeln!(f, "Withdraw stake {}.", self.stake)?,
        }
        writeln!(f, "  arrives:     {}", Amount::from_sat(self.amount_sat))?;
        writeln!(f, "  at:          {}", self.to)?;
        writeln!(f, "  fee:         {}", Amount::from_sat(self.fee_sat))?;
        if let Some(txid) = &self.slashed_by {
            writeln!(f, "  slashed by:  {txid}; this is what it left")?;
        }
        write!(f, "  transaction: {}", self.txid)?;
        self.raw.iter().try_for_each(|raw| write!(f, "\n  not sent:    {raw}"))
    }
}

/// What a withdrawal is made from.
pub struct Source<'a> {
    /// The keys.
    pub keys: &'a Keys,
    /// The network.
    pub network: Network,
    /// All stakes of the wallet.
    pub stakes: &'a [StakeRecord],
    /// Where the coins go if nobody says; a backup alone has no wallet that could spend them.
    pub default: Option<Address>,
    /// The whole wallet; `None` where there is a backup only.
    pub session: Option<&'a Session>,
}

/// Withdraws a stake by the timelock of whatever output holds it now.
pub async fn withdraw(
    node: &BitcoinRpc,
    record: &StakeRecord,
    source: &Source<'_>,
    terms: &Terms,
) -> Result<Withdrawal, Failure> {
    let network = source.network;
    node.check_network(network).await.map_err(failures::node)?;
    let hub = source.session.map(|session| session.ledger().btc_height().0);
    behind::check(node, hub).await?;
    let destination = terms.to.as_deref().map(|text| address(text, network)).transpose()?;
    let Some(lying) = coins::find(node, record).await? else {
        let (stakes, session) = (source.stakes, source.session);
        let sources = Sources { node, stakes, session, look_back: LOOK_BACK };
        return Err(coins::nowhere(record, sources).await?);
    };
    let nowhere_to = || {
        Failure::usage("a backup is no wallet: say where the coins go")
            .hint("--to ADDRESS, of a wallet that you can spend from")
    };
    let destination = destination.or_else(|| source.default.clone()).ok_or_else(nowhere_to)?;
    if !terms.print {
        check_not_waiting(&lying, record, source, terms.fee_rate.is_some())?;
        check_age(&lying, record, source.session.is_some(), Calendar::of(network))?;
    }
    let rate = fee_rate_of(node, terms.fee_rate).await?;
    let (key, exit) = (source.keys.staking(record.key_index)?, &lying.exit);
    let (tx, fee) = exit.withdraw(&key, &destination.script_pubkey(), rate)?;
    let summary = Withdrawal {
        stake: record.name(),
        txid: tx.compute_txid().to_string(),
        spends: exit.coin.outpoint.to_string(),
        amount_sat: tx.output.iter().map(|output| output.value.to_sat()).sum(),
        fee_sat: fee.to_sat(),
        to: destination.to_string(),
        slashed_by: (exit.place == Place::Slashing).then(|| exit.coin.outpoint.txid.to_string()),
        sent: false,
        raw: terms.print.then(|| serialize_hex(&tx)),
    };
    if terms.print {
        return Ok(summary);
    }
    confirm(&summary, terms.yes)?;
    send(node, &tx).await?;
    Ok(Withdrawal { sent: true, ..summary })
}

/// Refuses to send a withdrawal beside a transaction that waits and moves the same coins, unless a fee rate says that an
/// earlier withdrawal is to be replaced.
fn check_not_waiting(
    lying: &Lying,
    record: &StakeRecord,
    source: &Source<'_>,
    replace: bool,
) -> Result<(), Failure> {
    let Some(txid) = lying.moved_by else { return Ok(()) };
    let calendar = Calendar::of(source.network);
    let why = Failure::not_now(words::moves(record, &txid, source.stakes, calendar));
    let why = coins::about(why, &txid, None);
    if !standing::is_agreed(record, &txid, source.stakes) {
        return if replace { Ok(()) } else { Err(why.hint("--fee-rate replaces it by one that pays more")) };
    }
    Err(why.hint("nothing is to be withdrawn before it has confirmed"))
}

/// Refuses what is too early, and says when it is not.
fn check_age(lying: &Lying, record: &StakeRecord, is_whole: bool, calendar: Calendar) -> Result<(), Failure> {
    let missing = lying.missing();
    if missing == 0 {
        return Ok(());
    }
    let when = calendar.height(lying.withdraw_at(), lying.tip);
    let left = lying.left();
    let sooner = match is_whole && left.is_none() && record.presigned.is_some() {
        true => "; `unbond` leaves earlier",
        false => "",
    };
    let left = left.map_or_else(String::new, |left| format!("; {left}"));
    let early = format!("too early: the timelock lasts {} more{left}", calendar.blocks(missing));
    let hint = format!("the first block that can hold the withdrawal is {when}{sooner}");
    Err(lying.tell(Failure::not_now(early).hint(hint)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exit::Exit;
    use crate::testing::{registration, world};
    use palisade_hub::daemon::exit::Exit as Code;

    #[test]
    fn one_block_early_is_too_early_and_says_how_much_and_what_helps() {
        let record = registration(&mut world()).unwrap().1;
        let contract = record.contract().unwrap();
        let calendar = Calendar::from(crate::when::Moment(1_795_262_400), Network::Signet);
        let staked = Exit::of_stake(&contract);
        let left = Exit::of_unbonding(&contract, &record.presigned().unwrap());
        for (exit, lock, is_whole, sooner) in
            [(&staked, 300, true, true), (&staked, 300, false, false), (&left, 244, true, false)]
        {
            let judge = |confirmations| {
                let lying = Lying { exit: exit.clone(), confirmations, tip: 1_000, moved_by: None };
                check_age(&lying, &record, is_whole, calendar)
            };
            for (confirmations, missing) in
                [(lock - 145, "145 blocks"), (lock - 2, "2 blocks"), (lock - 1, "1 block ")]
            {
                if confirmations < 0 {
                    continue;
                }
                let refused = judge(confirmations as u32).unwrap_err();
                let said = refused.to_string();
                assert!(said.contains(&format!("lasts {missing}")), "{said}");
                assert_eq!(said.contains("`unbond`"), sooner, "{said}");
                assert_eq!(refused.exit(), Code::NotNow);
            }
            let said = judge(lock as u32 - 2).unwrap_err().to_string();
            // The tip is 1000: after blocks 1001 and 1002 the next one may hold it.
            assert!(said.contains("is block 1003, about 21 Nov 2026"), "{said}");
            for confirmations in [lock, lock + 1, 100_000] {
                assert!(judge(confirmations as u32).is_ok(), "{confirmations}");
            }
        }
    }
}
