//! From a stake that is written down to one that is locked: register, wait for the committee, verify, broadcast.
//!
//! Every step is on disk before the next, so this can be broken off at any instant and taken up again.

use crate::coins::{self, Sources};
use crate::exit;
use crate::failures;
use crate::keys::Keys;
use crate::record::StakeRecord;
use crate::register::{self, Terms};
use crate::session::Session;
use crate::standing;
use crate::verify::{self, NotSafe};
use bitcoin::secp256k1::Keypair;
use bitcoin::{BlockHash, Transaction, TxOut};
use palisade_hub::bitcoind::{Acceptance, BitcoinRpc};
use palisade_hub::client::HubError;
use palisade_hub::daemon::ask::progress;
use palisade_hub::daemon::exit::Failure;
use palisade_protocol::block::MessageBytes;
use palisade_protocol::message::Message;
use palisade_protocol::registration::{RegistrationProof, StakeRegistration};
use std::time::{Duration, Instant};

/// How long we wait for the hub to hear of a block that our own node has.
const HUB_LAG: Duration = Duration::from_secs(120);
/// How long somebody who does not want to wait waits for what the hub has taken to be in its log.
const LOG_LAG: Duration = Duration::from_secs(5);

/// Registers a stake, waits until a quorum of the committee stands behind it, and only then hands it to Bitcoin. With
/// `wait` false it does what can be done now.
pub async fn lock(
    session: &mut Session,
    mut record: StakeRecord,
    keys: &Keys,
    wait: bool,
) -> Result<StakeRecord, Failure> {
    match prepare(session, &mut record, keys, wait).await? {
        Some(tx) => broadcast(session, record, tx).await,
        None => Ok(record),
    }
}

/// Registers a stake and waits until a quorum of the committee stands behind it. Gives the transaction that can then be
/// broadcast; with `wait` false none where that is not so yet.
pub async fn prepare(
    session: &mut Session,
    record: &mut StakeRecord,
    keys: &Keys,
    wait: bool,
) -> Result<Option<Transaction>, Failure> {
    let key = keys.staking(record.key_index)?;
    submit(session, record).await?;
    if !wait {
        hear_of(session, record).await;
    }
    let mut said = String::new();
    loop {
        coins::check_can_confirm(&session.node, record, session.view(None)).await?;
        let node = session.node.tip().await.map_err(failures::node)?.height;
        match ready(session, record, &key, node) {
            Ok(tx) => {
                session.check_same_bitcoin().await?;
                return Ok(Some(tx));
            }
            Err(why) if why.is_waiting() && wait => {
                if said != why.to_string() {
                    said = why.to_string();
                    progress(&said);
                }
                session.follow().await?;
            }
            Err(why) if why.is_waiting() => return Ok(None),
            Err(why) => return Err(why.into()),
        }
    }
}

/// Waits a moment for the log to have a stake, because only then it is known when it lapses. Nothing depends on that.
async fn hear_of(session: &mut Session, record: &StakeRecord) {
    let deadline = Instant::now() + LOG_LAG;
    while !is_registered(session, record) && Instant::now() < deadline {
        if let Err(why) = session.follow().await {
            return progress(why);
        }
    }
}

/// The transaction to broadcast, once everything is proven.
fn ready(
    session: &mut Session,
    record: &mut StakeRecord,
    key: &Keypair,
    node: u32,
) -> Result<Transaction, NotSafe> {
    let ledger = session.replica.ledger();
    // First, because nobody waits for signatures on a stake that is refused or too late.
    verify::possible(ledger, record, node)?;
    let signatures = verify::quorum(ledger, record, key)?;
    verify::in_time(ledger, record, node)?;
    record.unbonding_signatures = signatures;
    let Some(old) = record.expands else { return Ok(record.staking_tx.clone()) };
    let old = session.book.of_id(&old).ok_or(NotSafe::Another("predecessor"))?.contract()?;
    let funding = funding_of(record).ok_or(NotSafe::Another("funding"))?;
    verify::expansion(ledger, record, &old, funding, key)
}

/// What the second input of an expansion spends, from the registration.
fn funding_of(record: &StakeRecord) -> Option<TxOut> {
    match registration_of(record)?.proof {
        RegistrationProof::Funding(backing) => backing.output().cloned(),
        RegistrationProof::Confirmed(_) => None,
    }
}

/// The registration that a record holds.
pub fn registration_of(record: &StakeRecord) -> Option<StakeRegistration> {
    let bytes = hex::decode(record.registration.as_ref()?).ok()?;
    match MessageBytes::parse(&bytes).ok()?.decode().ok()? {
        Message::Stake(registration) => Some(*registration),
        _ => None,
    }
}

/// Refuses a stake that was begun, was not sent, and cannot be sent now: with the reason, before anything is asked or done.
pub async fn check_can_go_on(session: &Session, record: &StakeRecord) -> Result<(), Failure> {
    if record.broadcast {
        return Ok(());
    }
    coins::check_can_confirm(&session.node, record, session.view(None)).await?;
    let node = session.node.tip().await.map_err(failures::node)?.height;
    Ok(verify::possible(session.ledger(), record, node)?)
}

/// Hands the registration to the hub, unless its log has one that counts.
async fn submit(session: &mut Session, record: &StakeRecord) -> Result<(), Failure> {
    if is_registered(session, record) {
        return Ok(());
    }
    let registration =
        registration_of(record).ok_or_else(|| Failure::failed("the registration is not in the book"))?;
    match session.hub.submit(&Message::Stake(Box::new(registration))).await {
        Ok(_) => Ok(()),
        // A repetition of one that arrived although we did not hear so. The log will show whether it is ours.
        Err(HubError::Refused { rule, .. }) if rule == "stake-exists" => Ok(()),
        Err(why) if !why.can_be_retried() => {
            session.book.forget(&record.outpoint)?;
            Err(failures::hub(why))
        }
        Err(why) => Err(failures::hub(why)),
    }
}

/// Hands a staking transaction to Bitcoin. The node judges it first; that it is on its way is on disk before it is on
/// the wire.
async fn broadcast(
    session: &mut Session,
    mut record: StakeRecord,
    tx: Transaction,
) -> Result<StakeRecord, Failure> {
    judge(&session.node, &tx).await?;
    record.staking_tx = tx;
    record.broadcast = true;
    session.book.put(record.clone())?;
    session.node.send_raw_transaction(&record.staking_tx).await.map_err(failures::node)?;
    Ok(record)
}

/// Sends a transaction to a node, which judges it first.
pub async fn send(node: &BitcoinRpc, tx: &Transaction) -> Result<(), Failure> {
    judge(node, tx).await?;
    node.send_raw_transaction(tx).await.map(drop).map_err(failures::node)
}

/// Asks a node what it would do with a transaction. That it has it already is no objection.
async fn judge(node: &BitcoinRpc, tx: &Transaction) -> Result<(), Failure> {
    let verdicts = node.test_mempool_accept(std::slice::from_ref(tx)).await.map_err(failures::node)?;
    let Some(Acceptance::Refused { reason }) = verdicts.first() else { return Ok(()) };
    let refused = || format!("your Bitcoin node refuses the transaction: {reason}");
    match reason.as_str() {
        "txn-already-in-mempool" | "txn-already-known" | "txn-same-nonwitness-data-in-mempool" => Ok(()),
        "non-BIP68-final" => Err(Failure::not_now(refused()).hint("the timelock is not over")),
        // "min relay fee not met", "mempool min fee not met".
        low if low.contains("fee not met") => Err(Failure::not_now(refused()).hint(
            "fees are higher now than what it pays: try again when they have fallen, or with --fee-rate RATE",
        )),
        "bad-txns-inputs-missingorspent" => Err(Failure::failed(refused())
            .hint("what it spends is not on Bitcoin, or was spent otherwise: see `palisade-staker status`")),
        _ => Err(Failure::failed(refused())),
    }
}

/// Broadcasts a stake first and registers it once it is confirmed: no early exit until the committee has signed.
pub async fn lock_first(
    session: &mut Session,
    mut record: StakeRecord,
    keys: &Keys,
    wait: bool,
) -> Result<StakeRecord, Failure> {
    if !record.broadcast {
        let tx = record.staking_tx.clone();
        record = broadcast(session, record, tx).await?;
        progress(format_args!("sent {}; it is registered once a block holds it", record.outpoint.txid));
    } else if session.block_of(record.outpoint.txid).await?.is_none() {
        coins::check_can_confirm(&session.node, &record, session.view(None)).await?;
        send(&session.node, &record.staking_tx).await?;
    }
    while session.block_of(record.outpoint.txid).await?.is_none() {
        if !wait {
            return Ok(record);
        }
        coins::check_can_confirm(&session.node, &record, session.view(None)).await?;
        session.follow().await?;
    }
    if !coins::are_in_stake(session, &record).await? {
        return Err(coins::nowhere(&record, Sources::of(session)).await?);
    }
    if !is_registered(session, &record) {
        record = register_confirmed(session, record, keys).await?;
        submit(session, &record).await?;
    }
    collect(session, record, keys, wait).await
}

/// Whether the log has a registration that counts. One that lapsed before the stake came can be made anew.
fn is_registered(session: &Session, record: &StakeRecord) -> bool {
    session.known(record).is_some_and(|stake| !stake.lapsed)
}

/// Signs the registration of a confirmed stake, under the parameters of the block that holds it.
async fn register_confirmed(
    session: &mut Session,
    mut record: StakeRecord,
    keys: &Keys,
) -> Result<StakeRecord, Failure> {
    let key = keys.staking(record.key_index)?;
    let inclusion = session.prove(record.outpoint.txid).await?;
    until_hub_knows(session, inclusion.block_hash).await?;
    let payout = session.purse.address()?.script_pubkey();
    let ledger = session.replica.ledger();
    let height = ledger.bitcoin().height_of(&inclusion.block_hash).unwrap_or(ledger.btc_height());
    let params = ledger.params_at(height).1;
    let (contract, presigned) =
        standing::agreed_under(&record.contract()?, params).map_err(Failure::failed)?;
    exit::prove(&contract, Some(&presigned), &key, &payout)?;
    if session.known(&record).is_some_and(|before| before.presigned != presigned) {
        return Err(Failure::failed("the parameters have changed since this stake was registered first: the exits that were agreed on then still hold, so it cannot be registered anew and gains no power")
            .rule("agreed-before")
            .hint(format_args!("`palisade-staker unbond {0}` leaves early if the committee had signed; `palisade-staker status {0}` says from when on it can be withdrawn in any case", record.name())));
    }
    let chosen = register::choose(ledger, &record.providers)?;
    let terms = Terms {
        staking_tx: &record.staking_tx,
        contract: &contract,
        presigned: &presigned,
        chosen: &chosen,
        former: &[],
        payout: &payout,
        expands: None,
    };
    let (registration, id) = register::after(&terms, &key, inclusion, ledger)?;
    record.unbonding_time = contract.unbonding_time;
    record.unbonding_descriptor = contract.unbonding_output().descriptor();
    record.presigned = Some(presigned.into());
    record.id = Some(id);
    record.registration = Some(bytes_of(registration));
    session.book.put(record.clone())?;
    Ok(record)
}

/// Canonical bytes of a registration's message, hex.
pub fn bytes_of(registration: StakeRegistration) -> String {
    hex::encode(MessageBytes::of(&Message::Stake(Box::new(registration))).as_slice())
}

/// Keeps the committee's signatures of a stake that is locked already, so that leaving early needs no hub.
pub async fn collect(
    session: &mut Session,
    mut record: StakeRecord,
    keys: &Keys,
    wait: bool,
) -> Result<StakeRecord, Failure> {
    let key = keys.staking(record.key_index)?;
    loop {
        match verify::quorum(session.replica.ledger(), &record, &key) {
            Ok(signatures) => {
                record.unbonding_signatures = signatures;
                session.book.put(record.clone())?;
                return Ok(record);
            }
            Err(why) if why.is_waiting() && !wait => return Ok(record),
            Err(why) if why.is_waiting() => session.follow().await?,
            Err(why @ NotSafe::Incomplete(_)) => return Err(why.into()),
            Err(why) => return Err(Failure::failed(why)),
        }
    }
}

/// Waits until the hub has heard of a block that our own node has.
pub async fn until_hub_knows(session: &mut Session, block: BlockHash) -> Result<(), Failure> {
    let deadline = Instant::now() + HUB_LAG;
    while session.ledger().bitcoin().height_of(&block).is_none() {
        if Instant::now() > deadline {
            return Err(Failure::not_now(format_args!("the hub has not heard of Bitcoin block {block}"))
                .hint("somebody must run `palisade-checkpointer report` for this hub"));
        }
        session.follow().await?;
    }
    Ok(())
}
