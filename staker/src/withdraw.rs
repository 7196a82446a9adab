//! `withdraw`: take coins whose timelock is over, wherever they lie. Needs a Bitcoin node and nothing else.

use crate::amount;
use crate::ask::confirm;
use crate::exit::Exit;
use crate::failures;
use crate::finish::send;
use crate::keys::Keys;
use crate::record::StakeRecord;
use crate::stake::{address, fee_rate_of};
use crate::when::{Moment, show_blocks};
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Address, Amount, FeeRate, Network};
use clap::Args;
use palisade_hub::bitcoind::BitcoinRpc;
use palisade_hub::daemon::exit::Failure;
use serde::Serialize;
use std::fmt;

/// How to withdraw.
#[derive(Debug, Clone, Args)]
pub struct Terms {
    /// Where the coins go; an address of this wallet by default.
    #[arg(long)]
    pub to: Option<String>,
    /// Fee rate in sat/vB; what the node estimates by default.
    #[arg(long, value_parser = amount::parse_fee_rate)]
    pub fee_rate: Option<FeeRate>,
    /// Sign, print the raw transaction and do not send it; also before its time.
    #[arg(long)]
    pub print: bool,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
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
        writeln!(f, "  arrives:     {}", amount::show(Amount::from_sat(self.amount_sat)))?;
        writeln!(f, "  at:          {}", self.to)?;
        writeln!(f, "  fee:         {}", amount::show(Amount::from_sat(self.fee_sat)))?;
        write!(f, "  transaction: {}", self.txid)?;
        self.raw.iter().try_for_each(|raw| write!(f, "\n  not sent:    {raw}"))
    }
}

/// Withdraws a stake by the timelock of whatever output holds it now. `default` is where the coins go if nobody says.
pub async fn withdraw(
    node: &BitcoinRpc,
    record: &StakeRecord,
    keys: &Keys,
    network: Network,
    default: Address,
    terms: &Terms,
) -> Result<Withdrawal, Failure> {
    node.check_network(network).await.map_err(failures::node)?;
    let destination = match &terms.to {
        Some(text) => address(text, network)?,
        None => default,
    };
    let exit = find(node, record, terms.print).await?;
    if !terms.print && terms.fee_rate.is_none() {
        check_not_waiting(node, &exit).await?;
    }
    let rate = fee_rate_of(node, terms.fee_rate).await?;
    let key = keys.staking(record.key_index)?;
    let (tx, fee) = exit.withdraw(&key, &destination.script_pubkey(), rate)?;
    let summary = Withdrawal {
        stake: record.name(),
        txid: tx.compute_txid().to_string(),
        spends: exit.coin.outpoint.to_string(),
        amount_sat: tx.output.iter().map(|output| output.value.to_sat()).sum(),
        fee_sat: fee.to_sat(),
        to: destination.to_string(),
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

/// The output that holds the coins now, if its timelock is over or somebody signs ahead.
async fn find(node: &BitcoinRpc, record: &StakeRecord, ahead: bool) -> Result<Exit, Failure> {
    let contract = record.contract()?;
    for exit in Exit::all(&contract, record.presigned().as_ref()) {
        let unspent = node.tx_out(exit.coin.outpoint, false).await.map_err(failures::node)?;
        let Some(unspent) = unspent else { continue };
        if unspent.output != exit.txout() {
            return Err(Failure::failed(format_args!(
                "the node's output {} is not what the book says",
                exit.coin.outpoint
            )));
        }
        return if ahead { Ok(exit) } else { check_age(exit, unspent.confirmations) };
    }
    Err(nowhere(node, record).await?)
}

/// Refuses to send a second withdrawal beside one that waits, unless a fee rate says that it is to be replaced.
async fn check_not_waiting(node: &BitcoinRpc, exit: &Exit) -> Result<(), Failure> {
    match node.tx_out(exit.coin.outpoint, true).await.map_err(failures::node)? {
        Some(_) => Ok(()),
        None => Err(Failure::not_now("a transaction that moves these coins waits for its first block")
            .hint("--fee-rate replaces it by one that pays more")),
    }
}

/// BIP 68 counts from the block of the output: `lock` confirmations are there when the next block may spend it.
fn check_age(exit: Exit, confirmations: u32) -> Result<Exit, Failure> {
    let missing = u32::from(exit.lock.get()).saturating_sub(confirmations);
    if missing == 0 {
        return Ok(exit);
    }
    let when = Moment::now().after_blocks(missing);
    Err(Failure::not_now(format_args!("too early: the timelock lasts {} more", show_blocks(missing)))
        .hint(format_args!("try again about {when}; `unbond` leaves an active stake early")))
}

async fn nowhere(node: &BitcoinRpc, record: &StakeRecord) -> Result<Failure, Failure> {
    let found = node.raw_transaction(record.outpoint.txid).await.map_err(failures::node)?;
    Ok(match found {
        None => Failure::not_now("the stake is not on Bitcoin: there is nothing to withdraw"),
        Some(found) if found.mined_in.is_none() => Failure::not_now("the stake waits for its first block"),
        Some(_) => Failure::failed("the coins are not in this stake any more").hint(
            "they were withdrawn or went into an expansion; after a slashing that you do not expect, see `status`",
        ),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use bitcoin::OutPoint;
    use palisade_protocol::outputs::Output;
    use palisade_protocol::transactions::Coin;
    use palisade_protocol::units::RelativeBlocks;
    use palisade_regtest::world::keypair;

    #[test]
    fn one_block_early_is_too_early_and_says_how_much() {
        let lock = RelativeBlocks::new(200).unwrap();
        let output = Output::slashing_change(keypair("alice").x_only_public_key().0.into(), lock);
        let coin = Coin { outpoint: OutPoint::null(), value: Amount::from_sat(1_000) };
        let exit = Exit { coin, output, lock };
        for (confirmations, missing) in [(0, "200 blocks"), (198, "2 blocks"), (199, "1 block ")] {
            let refused = check_age(exit.clone(), confirmations).unwrap_err();
            assert!(refused.to_string().contains(&format!("lasts {missing}")), "{refused}");
            assert_eq!(refused.exit(), palisade_hub::daemon::exit::Exit::NotNow);
        }
        for confirmations in [200, 201, 100_000] {
            assert!(check_age(exit.clone(), confirmations).is_ok(), "{confirmations}");
        }
    }
}
