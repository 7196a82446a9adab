//! Stories of the watcher.

use crate::party::{Party, TestHub, WISH, settle};
use palisade_checkpointer::watch::Watcher;
use palisade_checkpointer::watch::job::Outcome;
use palisade_checkpointer::watch::payer::Payer;
use palisade_checkpointer::watch::slash::slashing;
use palisade_checkpointer::{Pass, PassError};
use palisade_hub::bitcoind::BitcoinRpc;
use palisade_hub::client::HubClient;
use palisade_hub::ledger::state::StakeState;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::ChainId;
use palisade_protocol::finality::evidence::{Evidence, LeakedKey};
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::stake::{Slashable, StakeId};
use palisade_protocol::units::Height;
use palisade_world::{Wish, pair, provider_key};

const HOLDERS: [&str; 2] = ["alice", "bob"];

pub fn leak() -> Evidence {
    let secret = *pair("anna").secret_bytes();
    Evidence::Key(LeakedKey { key: provider_key("anna"), secret })
}

/// Two active stakes that name anna; the first has left early, and waits.
pub async fn party_with_stakes() -> (Party, palisade_checkpointer::report::Reporter, [StakeId; 2]) {
    with_stakes(Party::new().await).await
}

pub async fn with_stakes(
    (mut party, mut reporter): (Party, palisade_checkpointer::report::Reporter),
) -> (Party, palisade_checkpointer::report::Reporter, [StakeId; 2]) {
    party.register_provider(&mut reporter, "anna").await;
    let mut ids = Vec::new();
    for holder in HOLDERS {
        ids.push(stake(&mut party, &mut reporter, holder).await);
    }
    party.node.mine(6).await.unwrap();
    settle(&mut reporter).await;
    (party, reporter, ids.try_into().unwrap())
}

/// A stake that names anna, in a block.
pub async fn stake(
    party: &mut Party,
    reporter: &mut palisade_checkpointer::report::Reporter,
    holder: &str,
) -> StakeId {
    let (id, staking) = party.register(reporter, &Wish { holder, ..WISH }).await;
    party.sign_quorum(&id).await;
    party.confirm(&staking).await;
    id
}

pub fn watcher(party: &Party, hub: &str) -> Watcher {
    watcher_with(party, hub, None)
}

pub fn watcher_with(party: &Party, hub: &str, payer: Option<Payer>) -> Watcher {
    watcher_on(party, hub, party.rpc(), payer)
}

/// One that asks this node.
pub fn watcher_on(party: &Party, hub: &str, node: BitcoinRpc, payer: Option<Payer>) -> Watcher {
    let (directory, replica) = party.replica("watch");
    Watcher::open(&directory, replica, HubClient::new(hub.parse().unwrap()), node, payer).unwrap()
}

/// Passes until there is nothing more to do; a hub that is gone, or whose log is not valid, is no failure.
pub async fn watch(watcher: &mut Watcher) {
    loop {
        match watcher.pass().await {
            Ok(Pass::Worked) => {}
            Ok(Pass::Idle) | Err(PassError::Hub(_) | PassError::Log(_)) => return,
            Err(why) => panic!("{why}"),
        }
    }
}

/// An address at which nobody listens.
fn nobody() -> String {
    let address = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    format!("http://{address}/")
}

async fn in_mempool(party: &Party, tx: &bitcoin::Transaction) -> bool {
    party.node.rpc().mempool_entry(tx.compute_txid()).await.unwrap().is_some()
}

fn outcomes(watcher: &Watcher) -> Vec<Option<Outcome>> {
    watcher.jobs().values().map(|job| job.ended.map(|(outcome, _)| outcome)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn both_outputs_are_slashed_from_the_log_alone_through_restarts_and_reorgs() {
    let (mut party, mut reporter, [left, stayed]) = party_with_stakes().await;
    party.confirm(&party.unbonding(&left, "alice")).await;
    settle(&mut reporter).await;
    party.hub.client.submit(&Message::Evidence(leak())).await.unwrap();
    // The watcher has a copy of the log, and no chance to act on it: its process is killed, and the hub goes.
    let (_, mut replica) = party.replica("watch");
    replica.catch_up(&party.hub.client).await.unwrap();
    drop(replica);
    let slashings = [
        party.stake(&left).presigned.unbonding_slashing.clone(),
        party.stake(&stayed).presigned.slashing.clone(),
    ];
    let hub = nobody();
    let mut alone = watcher(&party, &hub);
    watch(&mut alone).await;
    for tx in &slashings {
        assert!(in_mempool(&party, tx).await);
    }
    party.node.mine(2).await.unwrap();
    watch(&mut alone).await;
    assert_eq!(outcomes(&alone), [None, None]);
    drop(alone);

    // The blocks with the slashings are lost, and the mempool with them.
    party.node.reorg(2, 3, &[]).await.unwrap();
    party.node.stop().await.unwrap();
    std::fs::remove_file(party.node.datadir().join("regtest/mempool.dat")).unwrap();
    party.node.restart().await.unwrap();
    for tx in &slashings {
        assert!(!in_mempool(&party, tx).await);
    }
    let mut alone = watcher(&party, &hub);
    watch(&mut alone).await;
    party.node.mine(1).await.unwrap();
    for tx in &slashings {
        let found = party.node.rpc().raw_transaction(tx.compute_txid()).await.unwrap();
        assert!(found.unwrap().mined_in.is_some());
    }
    party.node.mine(5).await.unwrap();
    watch(&mut alone).await;
    assert_eq!(outcomes(&alone), [None, None], "five blocks on top are not six");
    party.node.mine(1).await.unwrap();
    watch(&mut alone).await;
    assert_eq!(outcomes(&alone), [Some(Outcome::Slashed), Some(Outcome::Slashed)]);
    drop(alone);
    let mut alone = watcher(&party, &hub);
    assert_eq!(outcomes(&alone), [Some(Outcome::Slashed), Some(Outcome::Slashed)]);

    // A reorg so deep that even this is undone.
    party.node.reorg(7, 8, &[]).await.unwrap();
    watch(&mut alone).await;
    assert_eq!(outcomes(&alone), [None, None]);
    party.node.mine(7).await.unwrap();
    watch(&mut alone).await;
    assert_eq!(outcomes(&alone), [Some(Outcome::Slashed), Some(Outcome::Slashed)]);

    // The hub hears of it from the reporter.
    settle(&mut reporter).await;
    for id in [left, stayed] {
        assert_eq!(party.stake(&id).state, StakeState::Slashed);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn slashing_one_victim_only_gives_the_key_away_and_all_are_slashed() {
    let (party, mut reporter, [victim, other]) = party_with_stakes().await;
    let mut watcher = watcher(&party, party.hub.client.url().as_str());
    watch(&mut watcher).await;
    assert!(watcher.jobs().is_empty());
    // Anna, who votes honestly, slashes one holder that she does not like.
    let tx = slashing(&party.stake(&victim), Slashable::Staking, &pair("anna")).unwrap();
    party.node.rpc().send_raw_transaction(&tx).await.unwrap();
    watch(&mut watcher).await;
    assert!(in_mempool(&party, &party.stake(&other).presigned.slashing).await);
    assert_eq!(party.stake(&other).state, StakeState::Exposed, "the hub was told");
    party.node.mine(7).await.unwrap();
    watch(&mut watcher).await;
    assert_eq!(outcomes(&watcher), [Some(Outcome::Slashed), Some(Outcome::Slashed)]);
    settle(&mut reporter).await;
    assert_eq!(party.stake(&victim).state, StakeState::Slashed);
    assert_eq!(party.hub.logged(|message| matches!(message, Message::Evidence(_))), 1, "told once");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slashing_that_was_mined_while_nobody_watched_gives_the_key_away() {
    let (party, _reporter, [victim, other]) = party_with_stakes().await;
    let hub = party.hub.client.url().to_string();
    let mut early = watcher(&party, &hub);
    watch(&mut early).await;
    drop(early);
    let tx = slashing(&party.stake(&victim), Slashable::Staking, &pair("anna")).unwrap();
    party.confirm(&tx).await;
    party.node.mine(3).await.unwrap();
    // One that was there before, and one whose book and log begin only now.
    let mut late = watcher(&party, &hub);
    let (directory, replica) = party.replica("new watcher");
    let client = HubClient::new(nobody().parse().unwrap());
    let mut new = Watcher::open(&directory, replica, client, party.rpc(), None).unwrap();
    new.pass().await.unwrap_err();
    drop(new);
    let (directory, mut replica) = party.replica("new watcher");
    replica.catch_up(&party.hub.client).await.unwrap();
    let client = HubClient::new(nobody().parse().unwrap());
    let mut new = Watcher::open(&directory, replica, client, party.rpc(), None).unwrap();
    for watcher in [&mut late, &mut new] {
        watch(watcher).await;
        assert_eq!(watcher.jobs().keys().filter(|id| **id == other).count(), 1);
    }
    assert!(in_mempool(&party, &party.stake(&other).presigned.slashing).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn coins_that_left_in_time_end_a_job_and_the_unbonding_output_is_slashed_when_it_wins_the_race() {
    let (party, mut reporter, [left, racer]) = party_with_stakes().await;
    party.confirm(&party.unbonding(&left, "alice")).await;
    party.node.mine(244).await.unwrap();
    party.confirm(&party.withdrawal(&left, "alice")).await;
    settle(&mut reporter).await;
    // The other's unbonding waits in the mempool: the slashing of the stake is not taken beside it.
    let unbonding = party.unbonding(&racer, "bob");
    party.node.rpc().send_raw_transaction(&unbonding).await.unwrap();
    let file = party.folder.path().join("evidence.hex");
    std::fs::write(&file, hex::encode(Message::Evidence(leak()).to_bytes())).unwrap();
    let evidence = palisade_checkpointer::watch::read_evidence(&file).unwrap();
    let (_, mut replica) = party.replica("watch");
    replica.catch_up(&party.hub.client).await.unwrap();
    drop(replica);
    let mut alone = watcher(&party, &nobody());
    alone.learn(&evidence, "file").unwrap();
    watch(&mut alone).await;
    assert_eq!(outcomes(&alone), [None, None]);
    assert!(!in_mempool(&party, &party.stake(&racer).presigned.slashing).await);
    party.node.mine(1).await.unwrap();
    watch(&mut alone).await;
    assert!(in_mempool(&party, &party.stake(&racer).presigned.unbonding_slashing).await);
    party.node.mine(7).await.unwrap();
    watch(&mut alone).await;
    let ended = |id| alone.jobs()[&id].ended.map(|(outcome, _)| outcome);
    assert_eq!(ended(left), Some(Outcome::Elsewhere));
    assert_eq!(ended(racer), Some(Outcome::Slashed));
}

#[tokio::test(flavor = "multi_thread")]
async fn two_votes_that_the_hub_sits_on_are_found_and_a_hub_that_lies_stops_nothing() {
    let (mut party, _reporter, [first, _]) = party_with_stakes().await;
    // More votes than one page of the hub's holds, and a second one at the newest height.
    let zero = ChainId::zero();
    let vote = |height, block| party.world.vote(&zero, "anna", Height(height), Hash32([block; 32]));
    let honest = (1..=600).map(|n| vote(5 * n, 1));
    for vote in honest.chain([vote(3_000, 2)]) {
        party.hub.hub.store().keep_votes([&vote]).unwrap();
    }
    let (_, mut replica) = party.replica("watch");
    replica.catch_up(&party.hub.client).await.unwrap();
    drop(replica);
    let mut finder = watcher(&party, party.hub.client.url().as_str());
    watch(&mut finder).await;
    watch(&mut finder).await;
    assert_eq!(finder.jobs().len(), 2);
    assert!(in_mempool(&party, &party.stake(&first).presigned.slashing).await);
    assert_eq!(party.stake(&first).state, StakeState::Exposed, "the hub was told");
    drop(finder);

    // From now on the hub's blocks are signed by somebody else.
    party.hub.stop().await;
    party.hub = TestHub::start(party.folder.path(), &party.world, "mallory").await;
    let next = party.hub.hub.ledger().next_height();
    party.hub.hub.tips().wait_for(|tip| tip.is_some_and(|(tip, _)| tip > next)).await.unwrap();
    let mut wary = watcher(&party, party.hub.client.url().as_str());
    watch(&mut wary).await;
    let why = wary.pass().await.unwrap_err();
    assert!(why.part() == "log" && why.to_string().contains("log is not valid"), "{why}");
    party.node.mine(7).await.unwrap();
    watch(&mut wary).await;
    assert_eq!(outcomes(&wary), [Some(Outcome::Slashed), Some(Outcome::Slashed)]);
}

#[test]
fn a_file_that_is_no_evidence_is_refused_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("evidence.hex");
    let Evidence::Key(leaked) = leak() else { unreachable!() };
    let other = Evidence::Key(LeakedKey { key: provider_key("otto"), ..leaked });
    for (bytes, reason) in [
        ("zz".to_owned(), "nvalid character"),
        (String::new(), "bytes"),
        (hex::encode(Message::Evidence(other).to_bytes()), "does not give the key"),
        (
            hex::encode(Message::Headers(palisade_protocol::message::Headers { headers: vec![] }).to_bytes()),
            "no evidence",
        ),
    ] {
        std::fs::write(&file, &bytes).unwrap();
        let why = format!("{:#}", palisade_checkpointer::watch::read_evidence(&file).unwrap_err());
        assert!(why.contains("evidence.hex") && why.contains(reason), "{bytes}: {why}");
    }
}
