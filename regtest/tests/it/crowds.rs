//! A crowd at the shipped hub's doors, whose members all do what they may.

use palisade_protocol::hash::Hash32;
use palisade_regtest::hub_process::HubProcess;
use palisade_regtest::in_time;
use palisade_world::World;
use reqwest::{Client, StatusCode};
use serde_json::{Value, json};
use tokio::task::JoinSet;

/// More than there are connections for.
const CROWD: usize = 600;
/// Readers that may wait for the next block, and listeners to events (docs/operations/access.md).
const MAY_WAIT: usize = 256;
const LISTENERS: usize = 128;

async fn ask(client: Client, url: reqwest::Url) -> (StatusCode, Value) {
    let answer = client.get(url).send().await.unwrap();
    (answer.status(), answer.json().await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn readers_that_wait_for_a_block_that_does_not_come_keep_nobody_out_who_sends_something() {
    let mut hub = HubProcess::start(&World::new(4_000_000)).await;
    let client = Client::builder().no_proxy().build().unwrap();
    let far = hub.client.url().join("blocks?from=1000000000&wait_ms=20000").unwrap();
    let events = hub.client.url().join("events").unwrap();
    let mut listeners = Vec::new();
    for _ in 0..LISTENERS {
        listeners.push(client.get(events.clone()).send().await.unwrap().error_for_status().unwrap());
    }
    let refused = client.get(events).send().await.unwrap();
    assert_eq!(refused.status(), StatusCode::SERVICE_UNAVAILABLE);

    let mut crowd: JoinSet<_> = (0..CROWD).map(|_| ask(client.clone(), far.clone())).collect();
    let sent_away = async {
        for _ in 0..CROWD - MAY_WAIT {
            let (status, said) = crowd.join_next().await.unwrap().unwrap();
            assert_eq!((status, &said["error"]["rule"]), (StatusCode::SERVICE_UNAVAILABLE, &json!("busy")));
            assert_eq!(said["error"]["retry"], true);
        }
    };
    in_time("all that may not wait are sent away", sent_away).await;
    let stamp = async {
        let door = hub.client.url().join("timestamps").unwrap();
        let digest = json!({ "digest": Hash32([7; 32]) });
        let answer = client.post(door).json(&digest).send().await.unwrap().error_for_status().unwrap();
        answer.json::<Value>().await.unwrap()
    };
    // Nobody of the crowd has been answered meanwhile, so nobody has made room.
    let stamped = in_time("a digest is stamped", stamp).await;
    assert!(stamped["hub_height"].is_u64() && crowd.try_join_next().is_none(), "{stamped}");
    drop((crowd, listeners));
    hub.daemon.end().await.unwrap();
}
