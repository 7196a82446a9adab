//! A hub whose disk takes nothing more: each door that writes says so in a way that programs can wait for, and once there is room
//! again the same is taken.

use palisade_hub::daemon::shutdown::Shutdown;
use palisade_hub::engine::Hub;
use palisade_hub::replica::{Replica, ReplicaError};
use palisade_hub::store::StoreError;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::ChainId;
use palisade_protocol::hash::Hash32;
use palisade_protocol::units::{Epoch, Height};
use palisade_regtest::hub;
use palisade_world::anchored::{end_of, world};
use palisade_world::{World, keypair};
use reqwest::{Client, RequestBuilder};
use rusqlite::Connection;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

async fn answer(request: RequestBuilder) -> (u16, Value) {
    let answer = request.send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn check_refusal((status, answer): (u16, Value), document: &Value, door: &str) {
    let error = &answer["error"];
    assert_eq!(
        (status, &error["rule"], &error["retry"]),
        (503, &json!("storage"), &json!(true)),
        "{door}: {answer}"
    );
    assert!(error["message"].as_str().unwrap().contains("ask again later"), "{door}: {answer}");
    assert!(document["paths"][door]["post"]["responses"]["503"].is_object(), "{door}");
}

/// Makes blocks, each of which fails, until it is dropped.
async fn fail_to_make_blocks(hub: Arc<Hub>) -> ! {
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    loop {
        ticks.tick().await;
        hub.make_block(&keypair("hub")).unwrap_err();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_that_cannot_write_says_so_at_each_door_and_takes_the_same_once_it_can() {
    let (world, dir, stop) = (world(105), tempfile::tempdir().unwrap(), Shutdown::manual());
    let hub = world.hub(dir.path());
    let url = hub::serve(&hub, &stop).await;
    let document = answer(Client::new().get(format!("{url}openapi.json"))).await.1;
    let counting = tokio::spawn(hub.clone().judge());
    let log = Connection::open(dir.path().join("log.sqlite")).unwrap();
    let tables = ["block", "vote", "share"];
    for table in tables {
        let full =
            format!("BEFORE INSERT ON {table} BEGIN SELECT RAISE(ABORT, 'database or disk is full'); END");
        log.execute_batch(&format!("CREATE TRIGGER full_{table} {full}")).unwrap();
    }
    let zero = ChainId::zero();
    let vote = world.vote(&zero, "anna", Height(110), Hash32([1; 32])).to_bytes();
    let share = world.share("anna", Epoch(4), end_of(&world, 4)).to_bytes();
    let send =
        |door: &str, body: &[u8]| Client::new().post(format!("{url}{}", &door[1..])).body(body.to_vec());
    let kept = [("/votes", &vote), ("/checkpoints", &share)];
    for (door, body) in kept {
        check_refusal(answer(send(door, body)).await, &document, door);
    }
    for table in &tables[1..] {
        log.execute_batch(&format!("DROP TRIGGER full_{table}")).unwrap();
    }
    for (door, body) in kept {
        let (status, answer) = answer(send(door, body)).await;
        assert_eq!(status, 200, "{door}: {answer}");
    }
    let message = world.commitment(&zero, "anna", Epoch(30)).to_bytes();
    let stamp = Client::new().post(format!("{url}timestamps")).json(&json!({ "digest": Hash32([7; 32]) }));
    for (door, request) in [("/messages", send("/messages", &message)), ("/timestamps", stamp)] {
        let refused = tokio::select! {
            refused = answer(request) => refused,
            never = fail_to_make_blocks(hub.clone()) => never,
        };
        check_refusal(refused, &document, door);
    }
    counting.abort();
    stop.trigger();
}

/// A write that fails must leave nothing behind: neither a state that is ahead of the log, nor a log without the block.
#[test]
fn a_replica_whose_disk_refuses_a_block_takes_it_again_and_never_leaves_one_out() {
    let mut world = World::new(1_000_000);
    (0..3).for_each(|_| drop(world.close()));
    let (dir, genesis) = (tempfile::tempdir().unwrap(), world.ledger.genesis().clone());
    let mut replica = Replica::open(dir.path(), genesis.clone()).unwrap();
    replica.take(&world.log[0]).unwrap();
    let disk = Connection::open(dir.path().join("log.sqlite")).unwrap();
    let full = "CREATE TRIGGER full BEFORE INSERT ON block BEGIN SELECT RAISE(ABORT, 'no space'); END";
    disk.execute_batch(full).unwrap();
    for _ in 0..2 {
        let why = replica.take(&world.log[1]).unwrap_err();
        assert!(matches!(why, ReplicaError::Store(_)), "{why}");
        assert_eq!(replica.ledger().next_height(), Height(1), "the state is that of the log");
    }
    disk.execute_batch("DROP TRIGGER full").unwrap();
    let gap = replica.store().append(&world.log[2], &[], &[]).unwrap_err();
    assert!(matches!(gap, StoreError::Gap { found: Height(2), next: Height(1) }), "{gap}");
    world.log[1..].iter().for_each(|block| drop(replica.take(block).unwrap()));
    drop(replica);
    assert_eq!(Replica::open(dir.path(), genesis).unwrap().ledger().next_height(), Height(3));
}
