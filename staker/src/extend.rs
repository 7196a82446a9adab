//! `extend`: take a stake into a larger or longer one in one step, without leaving.

use crate::amount;
use crate::coins::{self, Sources};
use crate::exit;
use crate::finish;
use crate::keys::Keys;
use crate::plan::Plan;
use crate::purse::{OwnCoin, sign_coin};
use crate::rates::fee_rate;
use crate::record::{Origin, StakeRecord};
use crate::register::{self, BackingCoin, Chosen, Terms};
use crate::session::Session;
use crate::stake::{address, lock_of};
use crate::summary::Locked;
use crate::when::Span;
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf, Transaction, TxOut, Witness};
use clap::Args;
use palisade_hub::daemon::ask::confirm;
use palisade_hub::daemon::exit::Failure;
use palisade_hub::ledger::Ledger;
use palisade_hub::ledger::stake::Stake as Known;
use palisade_hub::ledger::state::StakeState;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::outputs::Output;
use palisade_protocol::params::Params;
use palisade_protocol::scripts::StakeKeys;
use palisade_protocol::stake::{Contract, Presigned};
use palisade_protocol::transactions::witness::{self, CovenantSignatures};
use palisade_protocol::transactions::{Coin, spend};
use std::collections::BTreeSet;

/// How to expand a stake.
#[derive(Debug, Args)]
pub struct Extend {
    /// The stake: the beginning of its id.
    pub stake: String,
    /// What is added: "0.1 BTC" or "50,000 sat"; nothing by default.
    #[arg(long, value_name = "AMOUNT", allow_hyphen_values = true, value_parser = amount::parse)]
    pub add: Option<Amount>,
    /// How long from now: "2000 blocks", "30 days", or until a date; as long as the old stake by default.
    #[arg(long, allow_hyphen_values = true, value_parser = Span::parse)]
    pub lock: Option<Span>,
    /// Key of a finality provider that gets power from now on; those of the old stake by default. A provider that is left
    /// out stays named, and can still be slashed.
    #[arg(long = "provider", value_name = "KEY")]
    pub providers: Vec<ProviderKey>,
    /// Where rewards go; where they go now by default.
    #[arg(long, value_name = "ADDRESS")]
    pub payout: Option<String>,
    /// Fee rate in sat/vB; what the node estimates by default.
    #[arg(long, allow_hyphen_values = true, value_parser = amount::parse_fee_rate)]
    pub fee_rate: Option<FeeRate>,
    /// Do not wait for the committee: register, and let `stake --resume` do the rest.
    #[arg(long)]
    pub no_wait: bool,
    /// Register, wait for the committee, print the raw transaction and do not send it; `stake --resume` does.
    #[arg(long, conflicts_with = "no_wait")]
    pub print: bool,
    /// Begin another expansion beside one that waits: only one of them can ever confirm.
    #[arg(long)]
    pub beside: bool,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
}

/// What the new stake will be.
struct Wish {
    old: Contract,
    value: Amount,
    chosen: Chosen,
    former: Vec<ProviderKey>,
    keys: StakeKeys,
    output: Output,
    lock: palisade_protocol::units::RelativeBlocks,
    payout: ScriptBuf,
}

/// The transaction that does it, and the coin that pays for it.
struct Draft {
    transaction: Transaction,
    funding: OwnCoin,
}

impl Extend {
    /// Expands a stake.
    pub async fn run(&self, session: &mut Session) -> Result<Locked, Failure> {
        session.sync().await?;
        session.catch_up().await?;
        session.check_same_bitcoin().await?;
        let record = session.book.find(&self.stake)?;
        self.check_possible(session, &record).await?;
        let keys = session.keys()?;
        let params = session.ledger().params_at(session.ledger().btc_height()).1.clone();
        let wish = self.wish(session, &record, &params)?;
        let rate = fee_rate(session, self.fee_rate).await?;
        let draft = build(session, &wish, rate)?;
        let mut new = self.register(session, &record, &wish, &draft, &keys).await?;
        let plan = Plan::of(session, &new)?;
        confirm(&plan, self.yes)?;
        session.book.put(new.clone())?;
        if self.print {
            let tx = finish::prepare(session, &mut new, &keys, true).await?;
            session.book.put(new.clone())?;
            return Ok(Locked { raw: tx.as_ref().map(serialize_hex), ..Locked::new(session, &new, &plan)? });
        }
        let locked = finish::lock(session, new, &keys, !self.no_wait).await?;
        Locked::new(session, &locked, &plan)
    }

    /// Refuses what cannot be expanded, and a second expansion beside one that waits unless that is meant.
    async fn check_possible(&self, session: &Session, record: &StakeRecord) -> Result<(), Failure> {
        let name = record.name();
        let known = registered(session, record)?;
        if !coins::are_in_stake(session, record).await? && known.included.is_some() {
            return Err(coins::nowhere(record, Sources::of(session)).await?);
        }
        known.check_expandable().map_err(|why| {
            let status = format_args!("the stake is {}: palisade-staker status {name}", known.state);
            match known.state {
                StakeState::Pending | StakeState::Verified => Failure::not_now(why).hint(status),
                _ => Failure::failed(why).hint(status),
            }
        })?;
        match begun(session, record).filter(|_| !self.beside) {
            Some(new) => Err(Failure::not_now(format_args!(
                "an expansion of this stake is begun already: stake {}, {}, {}",
                new.name(),
                Amount::from_sat(new.amount_sat),
                session.known(&new).map_or("not registered".to_owned(), |stake| stake.state.to_string()),
            ))
            .hint(format_args!(
                "`palisade-staker stake --resume {}` goes on with it; --beside begins another, and only one of them can ever confirm",
                new.name()
            ))
            .fact("expansion", new.name())
            .fact("txid", new.outpoint.txid.to_string())),
            None => Ok(()),
        }
    }

    fn wish(&self, session: &Session, record: &StakeRecord, params: &Params) -> Result<Wish, Failure> {
        let ledger = session.ledger();
        let known = registered(session, record)?;
        let old = record.contract()?;
        let wanted = if self.providers.is_empty() { &known.providers } else { &self.providers };
        let chosen = register::choose(ledger, wanted)?;
        let former = former(known, &chosen, ledger);
        let named = chosen.keys.iter().chain(&former).copied().collect();
        let keys =
            StakeKeys::new(old.keys.staker(), named, params.committee().clone()).map_err(Failure::usage)?;
        let lock = match self.lock {
            Some(span) => lock_of(Some(span), params)?,
            None => old.lock,
        };
        let payout = match &self.payout {
            Some(text) => address(text, session.network())?.script_pubkey(),
            None => known.payout.clone(),
        };
        let value = old.coin.value.checked_add(self.add.unwrap_or(Amount::ZERO));
        let value = value.ok_or_else(|| Failure::usage("the amounts do not add up"))?;
        let output = Output::staking(&keys, lock);
        Ok(Wish { old, value, chosen, former, keys, output, lock, payout })
    }

    async fn register(
        &self,
        session: &mut Session,
        record: &StakeRecord,
        wish: &Wish,
        draft: &Draft,
        keys: &Keys,
    ) -> Result<StakeRecord, Failure> {
        let key = keys.staking(record.key_index)?;
        let coin = &draft.funding;
        let proof = session.prove(coin.outpoint.txid).await?;
        finish::until_hub_knows(session, proof.block_hash).await?;
        let ledger = session.ledger();
        let params = ledger.params_at(ledger.btc_height()).1;
        let (contract, presigned) = contract(wish, &draft.transaction, params)?;
        exit::prove(&contract, Some(&presigned), &key, &wish.payout)?;
        let secret = keys.coin_key(coin.branch, coin.index)?;
        let mut staking_tx = draft.transaction.clone();
        let spent = [wish.old.txout(), coin.output.clone()];
        let witness = sign_coin(&draft.transaction, 1, &spent, &secret).map_err(Failure::failed)?;
        if let Some(input) = staking_tx.input.get_mut(1) {
            input.witness = witness;
        }
        let terms = Terms {
            staking_tx: &staking_tx,
            contract: &contract,
            presigned: &presigned,
            chosen: &wish.chosen,
            former: &wish.former,
            payout: &wish.payout,
            expands: record.id,
        };
        let backing = BackingCoin { proof, vout: coin.outpoint.vout, secret: &secret };
        let (registration, id) = register::before(&terms, &key, backing, ledger)?;
        let origin = Origin {
            key_index: record.key_index,
            staking_tx: &staking_tx,
            providers: &wish.chosen.keys,
            former: &wish.former,
            expands: record.id,
        };
        let mut new = StakeRecord::new(&contract, origin);
        new.id = Some(id);
        new.presigned = Some(presigned.into());
        new.registration = Some(finish::bytes_of(registration));
        Ok(new)
    }
}

fn registered<'a>(session: &'a Session, record: &StakeRecord) -> Result<&'a Known, Failure> {
    session.known(record).ok_or_else(|| Failure::usage("only a registered stake can be expanded"))
}

/// An expansion of a stake that is begun, and neither on Bitcoin nor over.
pub fn begun(session: &Session, record: &StakeRecord) -> Option<StakeRecord> {
    let waits =
        |new: &&StakeRecord| new.expands.is_some() && new.expands == record.id && session.is_under_way(new);
    session.book.stakes().iter().find(waits).cloned()
}

/// Providers that keep being named without power: those that had it or were named before, unless an unbonding time has
/// passed since they were replaced.
fn former(old: &Known, chosen: &Chosen, ledger: &Ledger) -> Vec<ProviderKey> {
    let wait = u32::from(old.contract.unbonding_time.get());
    let old_enough = old.included.is_some_and(|place| ledger.btc_height() >= place.height.plus(wait));
    let replaced_before = old.former.iter().filter(|_| !old_enough);
    let all: BTreeSet<ProviderKey> = old.providers.iter().chain(replaced_before).copied().collect();
    all.into_iter().filter(|key| !chosen.keys.contains(key)).collect()
}

/// Builds the transaction: one coin of the wallet pays what is added and the fee.
fn build(session: &mut Session, wish: &Wish, rate: FeeRate) -> Result<Draft, Failure> {
    let added = wish.value.checked_sub(wish.old.coin.value).unwrap_or_default();
    let change = session.purse.change_address()?.script_pubkey();
    let output = TxOut { value: wish.value, script_pubkey: wish.output.script_pubkey() };
    let dust = change.minimal_non_dust();
    let with_change = TxOut { value: dust, script_pubkey: change };
    let fees = [None, Some(with_change.clone())].map(|change| fee(wish, &output, change, rate));
    let [bare, full] = fees;
    let (bare, full) = (bare?, full?);
    let needed = added + bare;
    let funding = session.purse.single_coin(needed, rate, &session.held()).map_err(|_| {
        match session.purse.single_coin(needed, rate, &session.reserved()) {
            Ok(_) => session.still_backing(),
            Err(why) => session.lack(why),
        }
    })?;
    let rest = funding.output.value.checked_sub(added + full).filter(|rest| *rest >= dust);
    let change = rest.map(|value| TxOut { value, ..with_change });
    let outpoint = wish.old.coin.outpoint;
    let transaction = spend::expansion(outpoint, funding.outpoint, output, change);
    Ok(Draft { transaction, funding })
}

/// The fee at a rate, from a transaction of the same size: signatures always have 64 bytes.
fn fee(wish: &Wish, output: &TxOut, change: Option<TxOut>, rate: FeeRate) -> Result<Amount, Failure> {
    let mut tx = spend::expansion(wish.old.coin.outpoint, OutPoint::null(), output.clone(), change);
    let blank = Signature::from_slice(&[0; 64]).map_err(Failure::failed)?;
    let members = wish.old.keys.committee().members();
    let all: CovenantSignatures = members.iter().map(|member| (*member, blank)).collect();
    let old = wish.old.output();
    let witness = witness::unbonding(&old, &wish.old.keys, &blank, &all).map_err(Failure::failed)?;
    for (input, witness) in tx.input.iter_mut().zip([witness, Witness::from_slice(&[[0; 64]])]) {
        input.witness = witness;
    }
    rate.fee_wu(tx.weight()).ok_or_else(|| Failure::usage("the fee rate is too high"))
}

fn contract(wish: &Wish, tx: &Transaction, params: &Params) -> Result<(Contract, Presigned), Failure> {
    let coin = Coin { outpoint: OutPoint { txid: tx.compute_txid(), vout: 0 }, value: wish.value };
    let unbonding_time = params.unbonding_time();
    let contract = Contract { coin, keys: wish.keys.clone(), lock: wish.lock, unbonding_time };
    let presigned = contract.presign(params).map_err(Failure::failed)?;
    Ok((contract, presigned))
}
