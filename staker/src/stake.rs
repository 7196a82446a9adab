//! `stake`: lock coins behind finality providers.

use crate::amount;
use crate::bump::Price;
use crate::coins;
use crate::exit;
use crate::finish;
use crate::keys::{Keys, staker_key};
use crate::plan::Plan;
use crate::purse::{Funded, PurseError, sign_all};
use crate::raise;
use crate::rates::fee_rate;
use crate::record::{Origin, StakeRecord};
use crate::register::{self, BackingCoin, Chosen, Terms};
use crate::session::Session;
use crate::summary::Locked;
use crate::when::{Moment, Span};
use bitcoin::{Address, Amount, FeeRate, OutPoint, ScriptBuf, TxOut};
use clap::Args;
use palisade_hub::daemon::ask::confirm;
use palisade_hub::daemon::exit::Failure;
use palisade_protocol::keys::{ProviderKey, StakerKey};
use palisade_protocol::outputs::Output;
use palisade_protocol::params::Params;
use palisade_protocol::registration::{StakeRefused, check_amount, check_lock};
use palisade_protocol::scripts::StakeKeys;
use palisade_protocol::stake::Contract;
use palisade_protocol::transactions::Coin;
use palisade_protocol::units::RelativeBlocks;

/// How to stake: clap's own line would not say that one of the two forms is needed.
const USAGE: &str = "palisade-staker stake --amount <AMOUNT> --provider <KEY> [--provider <KEY>]... [OPTIONS]
       palisade-staker stake --resume <STAKE> [OPTIONS]";

/// How to stake.
#[derive(Debug, Args)]
#[command(override_usage = USAGE)]
pub struct Stake {
    /// How much: "0.5 BTC" or "50,000 sat".
    #[arg(long, allow_hyphen_values = true, value_parser = amount::parse, required_unless_present = "resume")]
    pub amount: Option<Amount>,
    /// Key of a finality provider; exactly one of the hub's own chain, at most one of each other chain.
    #[arg(long = "provider", value_name = "KEY", required_unless_present = "resume")]
    pub providers: Vec<ProviderKey>,
    /// How long: "2000 blocks", "30 days", or until a date like 2027-03-01. The shortest time that is allowed by default.
    #[arg(long, allow_hyphen_values = true, value_parser = Span::parse)]
    pub lock: Option<Span>,
    /// Where rewards go; an address of this wallet by default.
    #[arg(long, value_name = "ADDRESS")]
    pub payout: Option<String>,
    /// Fee rate in sat/vB; what the node estimates by default. With --resume, what a stake that is sent and waits is to pay: the
    /// wallet pays the rest by a child that spends its change.
    #[arg(long, allow_hyphen_values = true, value_parser = amount::parse_fee_rate)]
    pub fee_rate: Option<FeeRate>,
    /// With --resume and --fee-rate: most that the wallet may pay for that.
    #[arg(long, value_name = "AMOUNT", default_value = "0.001 BTC", value_parser = amount::parse)]
    pub max_fee: Amount,
    /// Broadcast first and register after a confirmation: until the committee has signed there is no early exit. Rewards then
    /// go to an address of this wallet.
    #[arg(long, conflicts_with = "payout")]
    pub confirmed: bool,
    /// Go on with a stake that was begun before: the beginning of its id.
    #[arg(long, value_name = "STAKE", conflicts_with_all = ["amount", "providers", "lock", "payout", "confirmed"])]
    pub resume: Option<String>,
    /// Do not wait for the committee: register, and let `stake --resume` do the rest.
    #[arg(long)]
    pub no_wait: bool,
    /// Do not ask.
    #[arg(long)]
    pub yes: bool,
}

/// A stake that is built and signed by its holder, and not registered yet.
struct Draft {
    contract: Contract,
    funded: Funded,
    key_index: u32,
    chosen: Chosen,
    payout: ScriptBuf,
}

impl Stake {
    /// Locks coins, or goes on with it.
    pub async fn run(&self, session: &mut Session) -> Result<Locked, Failure> {
        session.sync().await?;
        session.catch_up().await?;
        if let Some(name) = &self.resume {
            session.check_node().await?;
            let mut record = session.book.find(name)?;
            // Somebody may have sent what `extend --print` has printed, or what another copy of the wallet has.
            record.broadcast |= session.known(&record).is_some_and(|stake| stake.ever_included)
                || coins::found(&session.node, &record).await?.is_some();
            if self.fee_rate.is_some() {
                raise::check_waits(session, &record).await?;
            }
            finish::check_can_go_on(session, &record).await?;
            let plan = Plan::of(session, &record)?;
            if !record.broadcast {
                confirm(&plan, self.yes)?;
            }
            let keys = session.keys()?;
            let raised = match self.fee_rate {
                Some(rate) => {
                    let price = Price { rate, least: rate, ceiling: self.max_fee };
                    raise::raise(session, &record, &keys, (plan.fee, price), self.yes).await?
                }
                None => None,
            };
            return Ok(Locked { raised, ..self.go_on(session, record, &plan, &keys).await? });
        }
        session.check_same_bitcoin().await?;
        let keys = session.keys()?;
        let draft = self.draft(session, &keys).await?;
        let record = if self.confirmed {
            self.prepare(&keys, &draft)?
        } else {
            self.register(session, &keys, &draft).await?
        };
        let plan = Plan::of(session, &record)?;
        confirm(&plan, self.yes)?;
        session.book.put(record.clone())?;
        self.go_on(session, record, &plan, &keys).await
    }

    async fn go_on(
        &self,
        session: &mut Session,
        record: StakeRecord,
        plan: &Plan,
        keys: &Keys,
    ) -> Result<Locked, Failure> {
        let wait = !self.no_wait;
        let first = record.registration.is_none() || record.broadcast;
        let record = match first {
            true => finish::lock_first(session, record, keys, wait).await?,
            false => finish::lock(session, record, keys, wait).await?,
        };
        Locked::new(session, &record, plan)
    }

    async fn draft(&self, session: &mut Session, keys: &Keys) -> Result<Draft, Failure> {
        let amount = self.amount.ok_or_else(|| Failure::usage("--amount is missing"))?;
        let chosen = register::choose(session.ledger(), &self.providers)?;
        let params = session.ledger().params_at(session.ledger().btc_height()).1.clone();
        let lock = lock_of(self.lock, &params)?;
        check_amount(amount, &params).map_err(not_to_be_staked)?;
        let rate = fee_rate(session, self.fee_rate).await?;
        let payout = match &self.payout {
            Some(text) => address(text, session.network())?.script_pubkey(),
            None => session.purse.address()?.script_pubkey(),
        };
        let key_index = session.book.next_key();
        let staker = staker_key(&*keys.staking(key_index)?);
        check_is_new(session, &staker)?;
        let stake_keys = StakeKeys::new(staker, chosen.keys.clone(), params.committee().clone());
        let stake_keys = stake_keys.map_err(Failure::usage)?;
        let script_pubkey = Output::staking(&stake_keys, lock).script_pubkey();
        let output = TxOut { value: amount, script_pubkey };
        // A coin that can back nothing yet is taken only where the others do not suffice.
        let funded = match session.purse.fund(&output, rate, &session.held(), &[]) {
            Err(PurseError::NotEnough { .. }) => session.purse.fund(&output, rate, &session.reserved(), &[]),
            funded => funded,
        };
        let funded = funded.map_err(|why| session.lack(why))?;
        // Only what can be paid for uses a key up: a recovery finds stakes whose keys' numbers are close together.
        session.book.take_key()?;
        let outpoint = OutPoint { txid: funded.transaction.compute_txid(), vout: 0 };
        let coin = Coin { outpoint, value: amount };
        let contract = Contract { coin, keys: stake_keys, lock, unbonding_time: params.unbonding_time() };
        Ok(Draft { contract, funded, key_index, chosen, payout })
    }

    /// The record of a stake that is broadcast first: the timelock alone is proven.
    fn prepare(&self, keys: &Keys, draft: &Draft) -> Result<StakeRecord, Failure> {
        exit::prove(&draft.contract, None, &*keys.staking(draft.key_index)?, &draft.payout)?;
        let staking_tx = sign_all(&draft.funded, keys)?;
        Ok(StakeRecord::new(&draft.contract, draft.origin(&staking_tx)))
    }

    /// The record of a stake with its registration, after every exit that the holder alone can take is proven.
    async fn register(
        &self,
        session: &mut Session,
        keys: &Keys,
        draft: &Draft,
    ) -> Result<StakeRecord, Failure> {
        let key = keys.staking(draft.key_index)?;
        let held = session.held();
        // The largest: members of the committee sign first what shows most of its amount.
        let free = draft.funded.coins.iter().filter(|coin| !held.contains(&coin.outpoint));
        let coin = free.max_by_key(|coin| coin.output.value);
        let coin = coin.ok_or_else(|| session.still_backing())?;
        let proof = session.prove(coin.outpoint.txid).await?;
        finish::until_hub_knows(session, proof.block_hash).await?;
        let ledger = session.ledger();
        let params = ledger.params_at(ledger.btc_height()).1;
        let presigned = draft.contract.presign(params).map_err(Failure::failed)?;
        exit::prove(&draft.contract, Some(&presigned), &key, &draft.payout)?;
        let staking_tx = sign_all(&draft.funded, keys)?;
        let terms = Terms {
            staking_tx: &staking_tx,
            contract: &draft.contract,
            presigned: &presigned,
            chosen: &draft.chosen,
            former: &[],
            payout: &draft.payout,
            expands: None,
        };
        let secret = keys.coin_key(coin.branch, coin.index)?;
        let backing = BackingCoin { proof, vout: coin.outpoint.vout, secret: &secret };
        let (registration, id) = register::before(&terms, &key, backing, ledger)?;
        let mut record = StakeRecord::new(&draft.contract, draft.origin(&staking_tx));
        record.id = Some(id);
        record.presigned = Some(presigned.into());
        record.registration = Some(finish::bytes_of(registration));
        Ok(record)
    }
}

impl Draft {
    fn origin<'a>(&'a self, staking_tx: &'a bitcoin::Transaction) -> Origin<'a> {
        Origin {
            key_index: self.key_index,
            staking_tx,
            providers: &self.chosen.keys,
            former: &[],
            expands: None,
        }
    }
}

/// The timelock asked for, or the shortest.
pub fn lock_of(span: Option<Span>, params: &Params) -> Result<RelativeBlocks, Failure> {
    let lock = match span {
        Some(span) => span.blocks(Moment::now()).map_err(Failure::usage)?,
        None => params.document().min_lock_blocks,
    };
    check_lock(lock, params).map_err(not_to_be_staked)?;
    Ok(lock)
}

/// A rule of the protocol in the words of who stakes.
/// A key that the book has not given yet stands in no stake, unless the book is an older one.
fn check_is_new(session: &Session, staker: &StakerKey) -> Result<(), Failure> {
    let known = session.ledger().stakes().iter().find(|stake| stake.contract.keys.staker() == *staker);
    known.map_or(Ok(()), |stake| {
        Err(Failure::failed(format_args!(
            "the hub has a stake of this wallet that its book of stakes does not know ({}): the book is an older one",
            stake.id
        ))
        .hint("`palisade-staker recover` completes it from the hub's log; then stake again"))
    })
}

fn not_to_be_staked(why: StakeRefused) -> Failure {
    match why {
        StakeRefused::Lock { found, min, max } => {
            Failure::usage(format_args!("a stake is locked for {min} to {max} blocks, and not for {found}"))
                .hint(format_args!("--lock '{min} blocks' is the shortest"))
        }
        StakeRefused::Amount { found, min, max } => {
            Failure::usage(format_args!("{found} cannot be staked: {min} to {max} can"))
        }
        other => Failure::usage(other),
    }
}

/// Reads an address of the right network.
pub fn address(text: &str, network: bitcoin::Network) -> Result<Address, Failure> {
    let bad = |why: &dyn std::fmt::Display| Failure::usage(format_args!("address `{text}`: {why}"));
    let address: Address<bitcoin::address::NetworkUnchecked> =
        text.parse().map_err(|_| bad(&"it is no address of Bitcoin, or was mistyped"))?;
    let other = |_| bad(&format_args!("it is of another network than this wallet's, {network}"));
    address.require_network(network).map_err(other)
}

/// A script as an address, or as hex where it has none.
pub fn show_script(script: &ScriptBuf, network: bitcoin::Network) -> String {
    Address::from_script(script, network)
        .map_or_else(|_| script.to_hex_string(), |address| address.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_hub::init::default_params;
    use palisade_world::keypair;

    #[test]
    fn amounts_and_times_at_the_protocols_bounds_are_taken_and_beyond_them_refused_in_words() {
        let committee = vec![keypair("a member").x_only_public_key().0.into()];
        let document = default_params(bitcoin::Network::Regtest, committee, 1).unwrap();
        let params = Params::new(document).unwrap();
        for (sat, refused) in [
            (9_999, Some("0.00009999 BTC cannot be staked: 0.00010000 BTC to 5000 BTC can")),
            (10_000, None),
            (500_000_000_000, None),
            (500_000_000_001, Some("5000.00000001 BTC cannot be staked")),
        ] {
            let judged = check_amount(Amount::from_sat(sat), &params).map_err(not_to_be_staked);
            assert_eq!(judged.is_err(), refused.is_some(), "{sat}");
            let why = judged.err().map(|why| why.to_string()).unwrap_or_default();
            assert!(why.contains(refused.unwrap_or_default()), "{why}");
        }
        for (blocks, refused) in [
            ("299 blocks", Some("a stake is locked for 300 to 65535 blocks, and not for 299")),
            ("300 blocks", None),
            ("65535 blocks", None),
        ] {
            let lock = lock_of(Some(Span::parse(blocks).unwrap()), &params);
            let why = lock.err().map(|why| why.to_string());
            assert_eq!(why.is_some(), refused.is_some(), "{blocks}");
            assert!(why.unwrap_or_default().contains(refused.unwrap_or_default()), "{blocks}");
        }
        assert_eq!(lock_of(None, &params).unwrap(), params.document().min_lock_blocks);
    }
}
