//! A proxy before the hub that alters one field at a time of what the hub answers: nothing is locked because of it.

use crate::orders::stake;
use crate::party::{Party, args, open};
use palisade_hub::ledger::stake::Stake as Known;
use palisade_hub::ledger::state::StakeState::{self, Active, Verified};
use palisade_protocol::block::Block;
use palisade_protocol::message::Message;
use palisade_protocol::units::Height;
use palisade_regtest::liar::{Liar, leaves, versions};
use palisade_staker::extend::Extend;
use palisade_staker::providers::providers;
use palisade_staker::session::Session;
use palisade_staker::stake::Stake;
use palisade_staker::status::status;
use palisade_staker::unbond::Unbond;
use palisade_world::provider_key;
use serde_json::json;
use std::path::{Path, PathBuf};

/// The first block of the log with a message of a kind.
fn first_with(party: &Party, is_wanted: fn(&Message) -> bool) -> Block {
    let blocks = party.hub.store().blocks(Height(0), u32::MAX).unwrap();
    let has_it = |block: &Block| block.messages.iter().any(|own| is_wanted(&own.decode().unwrap()));
    blocks.into_iter().find(has_it).unwrap()
}

/// The block with the committee's first signatures.
fn first_answered(party: &Party) -> Block {
    first_with(party, |message| matches!(message, Message::Answer(_)))
}

/// A wallet whose hub is a liar, honest at first.
async fn behind_a_liar(party: &Party, coins: &[u64]) -> (PathBuf, Liar) {
    let config = party.funded("alice", coins).await;
    let liar = Liar::start(&party.url).await;
    let text = std::fs::read_to_string(&config).unwrap().replace(&party.url, liar.url());
    std::fs::write(&config, text).unwrap();
    (config, liar)
}

async fn mempool(party: &Party) -> Vec<String> {
    party.node.rpc().call("getrawmempool", json!([])).await.unwrap()
}

async fn resume(config: &Path, id: &str) -> Result<bool, String> {
    let order: Stake = args(&["--resume", id, "--no-wait", "--yes"]);
    order.run(&mut open(config)).await.map(|locked| locked.broadcast).map_err(|why| why.to_string())
}

/// What is shown: whether the providers that one can choose are, up to which block of the log stakes are, and as what.
async fn shown(config: &Path) -> (bool, Option<u64>, Vec<Option<StakeState>>) {
    let listed = providers(&mut open(config)).await.is_ok();
    let status = status(&mut open(config), None).await.unwrap();
    (listed, status.hub_height, status.stakes.iter().map(|stake| stake.state).collect())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_altered_field_of_the_hubs_answers_locks_coins_or_is_shown() {
    let party = Party::new(&["anna"]).await;
    party.signing.send_replace(0);
    let (config, liar) = behind_a_liar(&party, &[600_000]).await;

    // What the hub says of a message is not believed: the id is computed, the log says whether it is in.
    liar.alter_answer("/messages");
    let anna = provider_key("anna").to_string();
    let order: Stake =
        args(&["--amount", "0.005 BTC", "--provider", &anna, "--lock", "300 blocks", "--yes", "--no-wait"]);
    let begun = order.run(&mut open(&config)).await.unwrap();
    let id = begun.id.unwrap();
    liar.be_honest();
    assert_eq!(resume(&config, &id).await, Ok(false));
    party.signing.send_replace(3);
    party.until_state(&id, Verified).await;

    // No provider is listed, and stakes are shown as of what was replayed before.
    liar.alter_field("/genesis", "/hub_key");
    let before = shown(&config).await;
    assert!(!before.0 && liar.told() == 2);
    let fields = genesis_fields(&config);
    assert!(fields.len() > 30);
    for field in fields {
        liar.alter_field("/genesis", &field);
        resume(&config, &id).await.expect_err(&field);
        assert_eq!(shown(&config).await, before, "{field}");
        assert!(liar.told() > 2, "{field}");
    }

    let block = first_answered(&party);
    let context = party.hub.ledger().contexts().hub;
    for (name, bytes) in versions(&block, &context) {
        liar.replace_block(&block, &bytes);
        resume(&config, &id).await.expect_err(&name);
        let (listed, height, states) = shown(&config).await;
        assert!(!listed && height < Some(block.header.height.0) && states == before.2, "{name}");
        assert!(liar.told() > 2, "{name}");
    }
    assert_eq!(mempool(&party).await, Vec::<String>::new());
    liar.be_honest();
    let after = shown(&config).await;
    assert!(after.0 && after.1 > before.1 && after.2 == [Some(Verified)]);
    assert_eq!(resume(&config, &id).await, Ok(true));
    assert_eq!(mempool(&party).await.len(), 1);
    party.mine(7).await;
    party.until_state(&id, Active).await;
    liar.check_doors(&["GET /blocks", "GET /genesis", "POST /messages"]);
}

/// Pointers to every field of the hub's genesis document.
fn genesis_fields(config: &Path) -> Vec<String> {
    leaves(&serde_json::to_value(open(config).genesis.document()).unwrap())
}

async fn extend(session: &mut Session, id: &str) -> Result<String, String> {
    let order: Extend = args(&[id, "--add", "100,000 sat", "--no-wait", "--yes"]);
    let begun = order.run(session).await.map_err(|why| why.to_string())?;
    assert!(!begun.broadcast);
    Ok(begun.id.unwrap())
}

async fn go_on(session: &mut Session, id: &str) -> Result<bool, String> {
    let order: Stake = args(&["--resume", id, "--no-wait", "--yes"]);
    order.run(session).await.map(|locked| locked.broadcast).map_err(|why| why.to_string())
}

/// Fails unless an order is refused behind every false version of the genesis document and of a block, without taking that
/// block. One session hears them all: nothing of a refused block may stay in it. `honest` is a version that the hub could
/// have made as well.
async fn check_lies<T>(
    (party, liar): (&Party, &Liar),
    session: &mut Session,
    truth: &Block,
    honest: Option<&str>,
    order: impl AsyncFn(&mut Session) -> Result<T, String>,
) {
    let genesis = serde_json::to_value(session.genesis.document()).unwrap();
    let check = async |session: &mut Session, name: &str| {
        assert!(order(session).await.is_err(), "{name}");
        let height = session.ledger().tip().map(|(height, _)| height);
        assert!(height < Some(truth.header.height) && liar.told() > 0, "{name}");
    };
    for field in leaves(&genesis) {
        liar.alter_field("/genesis", &field);
        check(session, &field).await;
    }
    // A copy: whoever holds the hub's ledger stops it.
    let context = party.hub.ledger().contexts().hub;
    let versions = versions(truth, &context);
    for (name, bytes) in versions.into_iter().filter(|(name, _)| Some(name.as_str()) != honest) {
        liar.replace_block(truth, &bytes);
        check(session, &name).await;
    }
    liar.be_honest();
}

#[tokio::test(flavor = "multi_thread")]
async fn no_altered_field_of_the_hubs_answers_extends_a_stake() {
    let party = Party::new(&["anna"]).await;
    let (config, liar) = behind_a_liar(&party, &[600_000, 300_000]).await;
    let old = stake(&config, &[]).await.unwrap().id.unwrap();
    party.mine(7).await;
    party.until_state(&old, Active).await;
    let mut session = open(&config);
    session.catch_up().await.unwrap();
    let sent = liar.posted();
    party.signing.send_replace(0);
    party.mine(1).await;
    let blocks = party.hub.store().blocks(session.ledger().next_height(), u32::MAX).unwrap();
    let truth = blocks.into_iter().find(|block| !block.messages.is_empty()).unwrap();
    let begin = async |session: &mut Session| extend(session, &old).await;
    check_lies((&party, &liar), &mut session, &truth, None, begin).await;
    // Neither the hub nor Bitcoin nor the own book has heard of it.
    assert_eq!((liar.posted(), mempool(&party).await), (sent, Vec::<String>::new()));
    assert_eq!(session.book.stakes().len(), 1);

    liar.alter_answer("/messages");
    let new = extend(&mut session, &old).await.unwrap();
    liar.be_honest();
    assert_eq!(go_on(&mut session, &new).await, Ok(false));
    party.signing.send_replace(3);
    let quorum = |stake: &Known| stake.consents.len() >= 3;
    party.until("a quorum has consented", |hub| hub.ledger().stakes().iter().any(quorum)).await;
    let truth = first_with(&party, |message| matches!(message, Message::Consent(_)));
    // The state says nothing of consents: who has the hub's key can leave one out, and then there is one less.
    let honest = Some("a message less, signed again");
    let send = async |session: &mut Session| go_on(session, &new).await;
    check_lies((&party, &liar), &mut session, &truth, honest, send).await;
    assert_eq!(mempool(&party).await, Vec::<String>::new());
    assert_eq!(go_on(&mut session, &new).await, Ok(true));
    assert_eq!(mempool(&party).await.len(), 1);
    liar.check_doors(&["GET /blocks", "GET /genesis", "POST /messages"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn no_altered_field_of_the_hubs_answers_signs_an_early_exit() {
    let party = Party::new(&["anna"]).await;
    let (config, liar) = behind_a_liar(&party, &[600_000]).await;
    // Locked and registered, and the book has nobody's signature.
    party.signing.send_replace(0);
    let place = stake(&config, &["--confirmed", "--no-wait"]).await.unwrap().outpoint;
    party.mine(1).await;
    liar.alter_answer("/messages");
    assert_eq!(resume(&config, &place).await, Ok(true));
    liar.be_honest();
    let mut session = open(&config);
    session.catch_up().await.unwrap();
    let id = session.book.stakes()[0].name();
    // The first member's signatures come in a block of their own.
    party.signing.send_replace(1);
    party.until("one has signed", |hub| hub.ledger().stakes().iter().any(|s| s.signatures.len() == 1)).await;
    party.signing.send_replace(3);
    party.until_state(&id, Verified).await;

    let unbond = async |session: &mut Session, more: &[&str]| {
        let flags: Vec<&str> = [id.as_str(), "--yes"].into_iter().chain(more.iter().copied()).collect();
        let left = args::<Unbond>(&flags).run(session).await;
        left.map(|left| left.txid).map_err(|why| why.to_string())
    };
    check_lies((&party, &liar), &mut session, &first_answered(&party), None, async |session| {
        let left = unbond(session, &[]).await;
        assert!(
            left.as_ref()
                .is_err_and(|why| why.contains("of the committee 0 signed the early exit, 3 are needed"))
        );
        left
    })
    .await;
    assert_eq!(mempool(&party).await, Vec::<String>::new());

    // With a quorum's signatures in the book, lies change nothing of what is sent.
    let printed = unbond(&mut session, &["--print"]).await.unwrap();
    liar.alter_field("/genesis", "/hub_key");
    assert_eq!(unbond(&mut session, &[]).await, Ok(printed.clone()));
    assert!(liar.told() > 0 && mempool(&party).await == [printed]);
    liar.check_doors(&["GET /blocks", "GET /genesis", "POST /messages"]);
}
