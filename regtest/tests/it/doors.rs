//! Bad input at the hub's doors, on the running network: a typed error each time, and nothing stops.

use palisade_protocol::codec::Wire as _;
use palisade_protocol::finality::vote::Ballot;
use palisade_protocol::governance::{Action, Resume};
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::{Headers, Message};
use palisade_protocol::units::{Epoch, Height};
use palisade_regtest::demo::network::{Network, edit};
use palisade_regtest::demo::tell::Tell;
use palisade_regtest::hub_process::HubProcess;
use palisade_regtest::in_time;
use palisade_regtest::liar::{Liar, flipped};
use palisade_regtest::process::Daemon;
use palisade_world::anchored;
use palisade_world::{World, provider_key};
use reqwest::{Client, Method};
use serde_json::{Value, json};

async fn ask(url: &str, method: Method, path: &str, body: Vec<u8>) -> (u16, Value) {
    let answer = Client::new().request(method, format!("{url}/{path}")).body(body).send().await.unwrap();
    let status = answer.status().as_u16();
    let text = answer.text().await.unwrap();
    (status, serde_json::from_str(&text).unwrap_or_else(|_| panic!("{path} answered {text:?}")))
}

/// The answers that the OpenAPI document has for a request; nothing where it has no such door.
fn documented<'a>(document: &'a Value, method: &Method, path: &str) -> Option<&'a Value> {
    let path = path.split('?').next()?;
    let fits = |template: &str| {
        let (wanted, found) = (template[1..].split('/'), path.split('/'));
        wanted.clone().count() == found.clone().count()
            && wanted.zip(found).all(|(wanted, found)| wanted == found || wanted.starts_with('{'))
    };
    let (_, doors) = document["paths"].as_object()?.iter().find(|(template, _)| fits(template))?;
    Some(&doors.get(method.as_str().to_lowercase())?["responses"])
}

#[tokio::test]
async fn every_bad_request_gets_a_typed_error_and_the_network_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut network =
        Network::start(&dir.path().join("a place with spaces"), &Tell::default()).await.unwrap();
    let url = network.hub_url.clone();
    let mut world = World::new(1);
    world.mine(1);
    let foreign =
        world.provider_registration(&palisade_protocol::context::ChainId::zero(), "anna").to_bytes();
    let empty = Message::Headers(Headers { headers: Vec::new() }).to_bytes();
    let context = world.ledger.chains()[0].vote;
    let ballot = Ballot { context, height: Height(20), block: Hash32::ZERO }.to_bytes();
    let vote = [ballot, provider_key("anna").to_bytes().to_vec(), vec![1; 64], vec![0, 0]].concat();
    let id = "00".repeat(32);
    let document = ask(&url, Method::GET, "openapi.json", vec![]).await.1;
    let share = world.share("anna", Epoch(3), Hash32::ZERO).to_bytes();
    for (method, path, body, status, rule) in [
        (Method::POST, "messages", vec![], 422, "encoding"),
        (Method::POST, "messages", vec![99], 422, "encoding"),
        (Method::POST, "messages", [&empty[..], &[0]].concat(), 422, "encoding"),
        (Method::POST, "messages", empty, 422, "headers"),
        (Method::POST, "messages", foreign, 422, "unknown-block"),
        (Method::POST, "messages", vec![1; 1_200_000], 413, "body-too-large"),
        (Method::GET, "messages", vec![], 405, "method-not-allowed"),
        (Method::POST, "votes", vec![1, 2, 3], 422, "encoding"),
        (Method::POST, "votes", vote, 422, "unknown-chain"),
        (Method::GET, "votes?chain=Nobody", vec![], 400, "malformed-request"),
        (Method::GET, "votes?chain=nobody", vec![], 404, "not-found"),
        (Method::GET, "blocks?from=-1", vec![], 400, "malformed-request"),
        (Method::GET, "blocks?from=0&more=1", vec![], 400, "malformed-request"),
        (Method::GET, "stakes?offset=0&limit=5", vec![], 400, "malformed-request"),
        (Method::GET, "status?more=1", vec![], 400, "malformed-request"),
        (Method::GET, "root?&more", vec![], 400, "malformed-request"),
        (Method::GET, "health?more=1", vec![], 400, "malformed-request"),
        (Method::POST, "votes?more=1", vec![1], 400, "malformed-request"),
        (Method::POST, "messages?more=1", vec![1], 400, "malformed-request"),
        (Method::GET, "stakes/xyz", vec![], 400, "malformed-request"),
        (Method::GET, &format!("stakes/{id}"), vec![], 404, "not-found"),
        (Method::GET, "sets/zero/18446744073709551616", vec![], 400, "malformed-request"),
        (Method::GET, "sets/zero/7", vec![], 404, "not-found"),
        (Method::GET, "nothing", vec![], 404, "not-found"),
        (Method::POST, "checkpoints", vec![1, 2, 3], 422, "encoding"),
        (Method::POST, "checkpoints", share, 422, "unknown-set"),
        (Method::GET, "checkpoints/x", vec![], 400, "malformed-request"),
        (Method::GET, "checkpoints/7", vec![], 404, "not-found"),
        (Method::POST, "timestamps", b"{}".to_vec(), 415, "content-type"),
        (Method::GET, "timestamps/xyz", vec![], 400, "malformed-request"),
        (Method::GET, "batches/xyz", vec![], 400, "malformed-request"),
        (Method::GET, "batches/0", vec![], 404, "not-found"),
        (Method::GET, &format!("timestamps/{id}"), vec![], 404, "not-found"),
        (Method::GET, &format!("timestamps/{id}/ots"), vec![], 404, "not-found"),
        (Method::GET, "root", vec![], 404, "not-final"),
        (Method::GET, "proofs/zero/20", vec![], 422, "chain-zero"),
        (Method::GET, "proofs/nobody/20", vec![], 404, "not-found"),
        (Method::GET, "proofs/nobody/x", vec![], 400, "malformed-request"),
    ] {
        let (found, answer) = ask(&url, method.clone(), path, body).await;
        let error = &answer["error"];
        assert_eq!((found, error["rule"].as_str()), (status, Some(rule)), "{method} {path}: {answer}");
        assert!(
            error["message"].as_str().is_some_and(|text| !text.is_empty()) && error["retry"].is_boolean()
        );
        let key = path.split_once('?').filter(|_| status == 400).map(|(_, query)| query.contains("more"));
        let named = error["message"].as_str().is_some_and(|text| text.contains("`more`"));
        assert!(key != Some(true) || named, "{path}: {answer}");
        let known = documented(&document, &method, path)
            .is_none_or(|statuses| !statuses[status.to_string()].is_null());
        assert!(known, "{method} {path}: the OpenAPI document does not know {status}");
    }
    network.check().unwrap();
    let before = network.node.rpc().tip().await.unwrap().height;
    assert_eq!(network.mine(2).await.unwrap(), before + 2);
    network.stop().await.unwrap();
}

#[tokio::test]
async fn a_follower_of_another_build_profile_reproduces_every_root_and_takes_no_messages() {
    let hub = HubProcess::start(&eventful()).await;
    let leader_url = hub.client.url().as_str().trim_end_matches('/').to_owned();
    let config = hub.at("follower.toml");
    std::fs::copy(hub.at("hub.toml"), &config).unwrap();
    let own = |name: &str| hub.at(name).display().to_string();
    edit(
        &config,
        &[
            (own("hub-data").as_str(), own("follower-data").as_str()),
            (&own("hub.address"), &own("follower.address")),
            ("# [follow]", "[follow]"),
            ("# url = ", "url = "),
            ("http://127.0.0.1:8200", &leader_url),
        ],
    )
    .unwrap();
    let args = ["run", "--config", &config.display().to_string()];
    let mut follower =
        Daemon::start_of_profile("release", "palisade-hub", &args, &hub.at("follower.log")).unwrap();
    let url = format!("http://{}", follower.address(&hub.at("follower.address")).await.unwrap());
    let leader = ask(&leader_url, Method::GET, "status", vec![]).await.1;
    let height = leader["height"].as_u64().unwrap();
    let caught_up = async {
        while ask(&url, Method::GET, "status", vec![]).await.1["height"].as_u64() < Some(height) {
            follower.check().unwrap();
        }
    };
    in_time("catching up", caught_up).await;
    // Byte for byte the leader's blocks: a follower keeps none whose root it has not reproduced.
    let path = format!("blocks?from={height}");
    let [own, leaders] = [&url, &leader_url].map(|url| ask(url, Method::GET, &path, vec![]));
    assert_eq!(own.await.1["blocks"][0], leaders.await.1["blocks"][0]);
    let refused = (403, Some("follower"));
    for door in ["messages", "votes", "checkpoints"] {
        let (status, answer) = ask(&url, Method::POST, door, vec![1, 0, 0]).await;
        assert_eq!((status, answer["error"]["rule"].as_str()), refused, "{door}");
    }
    let digest = json!({ "digest": Hash32([1; 32]) });
    let answer = Client::new().post(format!("{url}/timestamps")).json(&digest).send().await.unwrap();
    let (status, answer) = (answer.status().as_u16(), answer.json::<Value>().await.unwrap());
    assert_eq!((status, answer["error"]["rule"].as_str()), refused, "timestamps");

    // The leader's place is taken by one that alters each block: what was replayed stays on show, with the reason.
    follower.stop().await.unwrap();
    let liar = Liar::start(&leader_url).await;
    liar.tell(|path, answer| {
        let block = answer["blocks"].get_mut(0).filter(|_| path == "/blocks");
        block
            .map(|block| {
                *block = hex::encode(flipped(&hex::decode(block.as_str().unwrap()).unwrap(), 40)).into()
            })
            .is_some()
    });
    edit(&config, &[(&leader_url, liar.url())]).unwrap();
    std::fs::remove_file(hub.at("follower.address")).unwrap();
    let mut follower =
        Daemon::start_of_profile("release", "palisade-hub", &args, &hub.at("follower.log")).unwrap();
    let url = format!("http://{}", follower.address(&hub.at("follower.address")).await.unwrap());
    let height = async || ask(&url, Method::GET, "status", vec![]).await.1["height"].as_u64().unwrap();
    let kept = height().await;
    let refused = async {
        loop {
            let health = ask(&url, Method::GET, "health", vec![]).await.1;
            let reason = health["reasons"][0].as_str().is_some_and(|why| why.starts_with("leader: "));
            if reason && liar.told() > 0 {
                return;
            }
            follower.check().unwrap();
        }
    };
    in_time("the refusal of a lie", refused).await;
    assert_eq!(height().await, kept);
    liar.be_honest();
    let goes_on = async { while height().await <= kept + 2 {} };
    in_time("going on with the truth", goes_on).await;
    follower.stop().await.unwrap();
    hub.daemon.stop().await.unwrap();
}

/// A world whose log holds a bit of everything: registrations, votes' certificates, an anchor, a key that is out, a
/// reorganisation that trips the breaker, and the decision to go on.
fn eventful() -> World {
    let mut world = anchored::world(86);
    anchored::anchor(&mut world, 3).unwrap();
    world.leak("dora");
    world.close();
    world.reorg(7, &[]).unwrap();
    world.close();
    world.govern(Action::Resume(Resume { accepted: Vec::new() })).unwrap();
    world.close();
    world
}

/// So many events behind a cursor, each with the cursor to go on from, until the connection is dropped.
pub(super) async fn listen(url: &str, cursor: u64, count: usize) -> Vec<(u64, Value)> {
    heard(Client::new().get(format!("{url}/events?cursor={cursor}")), count).await
}

async fn heard(request: reqwest::RequestBuilder, count: usize) -> Vec<(u64, Value)> {
    let mut stream = request.send().await.unwrap();
    let mut text = String::new();
    let heard = async {
        loop {
            let events: Vec<_> = text.split("\n\n").filter_map(parse_event).collect();
            if events.len() >= count {
                return events;
            }
            let more = stream.chunk().await.unwrap().expect("the stream stays open");
            text.push_str(std::str::from_utf8(&more).unwrap());
        }
    };
    in_time("the events", heard).await
}

/// An event of the stream, once its lines are whole.
fn parse_event(text: &str) -> Option<(u64, Value)> {
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name));
    let event = serde_json::from_str(line("data: ")?).ok()?;
    Some((line("id: ")?.parse().ok()?, event))
}

#[tokio::test]
async fn the_event_stream_goes_on_from_a_cursor_with_nothing_lost_or_repeated() {
    let dir = tempfile::tempdir().unwrap();
    let mut network = Network::start(dir.path(), &Tell::default()).await.unwrap();
    let url = network.hub_url.clone();
    for _ in 0..3 {
        network.mine(1).await.unwrap();
    }
    let all = listen(&url, 0, 3).await;
    assert!(all.windows(2).all(|pair| pair[0].0 < pair[1].0), "{all:?}");
    for garbage in ["garbage", "", "-1", "99999999999999999999"] {
        let asked = Client::new().get(format!("{url}/events")).header("Last-Event-ID", garbage);
        assert_eq!(asked.send().await.unwrap().status(), 400, "{garbage}");
    }
    for (place, (cursor, _)) in all.iter().enumerate().take(2) {
        assert_eq!(listen(&url, *cursor, 1).await[0], all[place + 1], "behind {cursor}");
        // A client of such streams that was cut off asks for the same address, and says how far it came.
        let again = Client::new().get(format!("{url}/events?cursor=0")).header("Last-Event-ID", *cursor);
        assert_eq!(heard(again, 1).await[0], all[place + 1], "behind {cursor}");
    }
    // What happens while somebody listens reaches them.
    let newest = listen(&url, 0, all.len()).await.last().unwrap().0;
    let (heard, mined) = tokio::join!(listen(&url, newest, 1), network.mine(1));
    mined.unwrap();
    assert!(heard[0].0 > newest && heard[0].1["event"].is_object(), "{heard:?}");
    network.stop().await.unwrap();
}
