//! The OpenAPI document against a hub that answers: each door's answer has exactly the fields that the document names.

use bitcoin::Network as Bitcoin;
use palisade_hub::api::{self, Door};
use palisade_hub::client::HubClient;
use palisade_hub::daemon::endpoint::ListenAddr;
use palisade_hub::daemon::health::Health;
use palisade_hub::daemon::serve::{self, Limits, Server};
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::ChainId;
use palisade_protocol::hash::{Hash32, sha256};
use palisade_protocol::message::Message;
use palisade_protocol::units::{Epoch, Height};
use palisade_regtest::hub::{self, make_blocks};
use palisade_regtest::in_time;
use palisade_world::anchored::{DEV, ZERO, dev, end_of, world};
use palisade_world::{COVENANT, Wish, World, keypair};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::time::Duration;

/// What differs between an answer and its schema.
fn differences(document: &Value, schema: &Value, found: &Value, place: &str, out: &mut Vec<String>) {
    if let Some(name) = schema["$ref"].as_str() {
        let target = document.pointer(&name[1..]).unwrap_or_else(|| panic!("{name} is not in the document"));
        return differences(document, target, found, place, out);
    }
    if let Some(choices) = schema.get("anyOf").or_else(|| schema.get("oneOf")) {
        let judged = choices.as_array().unwrap().iter().map(|choice| {
            let mut own = Vec::new();
            differences(document, choice, found, place, &mut own);
            own
        });
        let nearest = judged.min_by_key(Vec::len).expect("a choice");
        return out.extend(nearest);
    }
    if let Some(value) = schema.get("const").filter(|value| *value != found) {
        out.push(format!("{place} is {found}, not {value}"));
    }
    if schema["enum"].as_array().is_some_and(|values| !values.contains(found)) {
        out.push(format!("{place} is {found}"));
    }
    let types = match &schema["type"] {
        Value::String(one) => vec![one.as_str()],
        Value::Array(several) => several.iter().filter_map(Value::as_str).collect(),
        _ if schema.get("const").is_some() => return,
        _ => panic!("{place}: the schema names no type: {schema}"),
    };
    let is = |name: &&str| match *name {
        "null" => found.is_null(),
        "boolean" => found.is_boolean(),
        "integer" => found.is_u64(),
        "string" => found.is_string(),
        "array" => found.is_array(),
        "object" => found.is_object(),
        other => panic!("{place}: no type {other}"),
    };
    if !types.iter().any(is) {
        return out.push(format!("{place} is {found}, not {}", types.join(" or ")));
    }
    for (index, item) in found.as_array().into_iter().flatten().enumerate() {
        differences(document, &schema["items"], item, &format!("{place}/{index}"), out);
    }
    if let Some(fields) = found.as_object() {
        check_fields(document, schema, fields, place, out);
    }
}

fn check_fields(
    document: &Value,
    schema: &Value,
    fields: &serde_json::Map<String, Value>,
    place: &str,
    out: &mut Vec<String>,
) {
    let any = &schema["additionalProperties"];
    if any.is_object() {
        return fields
            .iter()
            .for_each(|(name, value)| differences(document, any, value, &format!("{place}/{name}"), out));
    }
    let known =
        schema["properties"].as_object().unwrap_or_else(|| panic!("{place}: no properties: {schema}"));
    let required: BTreeSet<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    assert!(
        known.keys().all(|name| required.contains(name.as_str())),
        "{place}: every field is always there: {schema}"
    );
    assert_eq!(any, &json!(false), "{place}: no other field is: {schema}");
    let missing = known.keys().filter(|name| !fields.contains_key(*name));
    out.extend(missing.map(|name| format!("{place}/{name} is missing")));
    for (name, value) in fields {
        match known.get(name) {
            Some(schema) => differences(document, schema, value, &format!("{place}/{name}"), out),
            None => out.push(format!("{place}/{name} is not in the document")),
        }
    }
}

/// A hub with something to show at each of its doors, and the doors' addresses.
struct Scene {
    world: World,
    url: String,
    hub: HubClient,
    document: Value,
    stop: Shutdown,
    /// Doors that were asked, as the document writes them.
    asked: BTreeSet<String>,
    _dir: tempfile::TempDir,
}

/// Every view with all of its parts: an anchor, stakes in many states, a refusal, a key that is out.
fn full_world() -> World {
    let mut world = world(105);
    let wish = |providers| Wish { holder: "bob", sat: 500_000, providers, lock: 300 };
    let (refused, _) = world.register_stake(&wish(&["anna"]));
    let refusal = world.refusal(COVENANT[0], &refused, "too late");
    world.send(&refusal).unwrap();
    let certificate = world.certificate(&dev(), &DEV, Height(200), Hash32([7; 32]));
    world.send(&certificate).unwrap();
    world.finalise_until(&ZERO, 125);
    let anchor = world.anchor(&ZERO, Epoch(5), end_of(&world, 5));
    let tx = world.mine_anchor(&anchor);
    let proof = world.proof(&tx);
    world.send(&Message::Anchor(proof)).unwrap();
    let left = world.active_stake(&wish(&["anna", "dev anna"]));
    let (outpoint, unbonding) = {
        let stake = world.stake(&left);
        (stake.contract.coin.outpoint, stake.presigned.unbonding.clone())
    };
    world.spend(&left, outpoint, &unbonding).unwrap();
    world.close();
    world
}

impl Scene {
    async fn new() -> Self {
        let (world, dir, stop) = (full_world(), tempfile::tempdir().unwrap(), Shutdown::manual());
        let hub = world.hub(dir.path());
        let server = Server::bind(&ListenAddr::any_loopback_port()).await.unwrap();
        let url = format!("http://{}/", server.address());
        let health = Health::new("palisade-hub", "0", Bitcoin::Regtest.into()).unwrap();
        health.degrade("breaker", "shown as an example");
        let own = api::router(Door { hub: hub.clone(), follower: false });
        let (routes, stopped) = (serve::router(own, health, Limits::default()), stop.clone());
        tokio::spawn(async move { server.run(routes, &stopped).await });
        tokio::spawn(make_blocks(hub, keypair("hub"), Duration::from_millis(20), stop.clone()));
        let hub = HubClient::new(url.parse().unwrap());
        let document = hub.get_json("openapi.json", &[]).await.unwrap();
        Self { world, url, hub, document, stop, asked: BTreeSet::new(), _dir: dir }
    }

    /// Judges what a door answered by the schema of its success.
    fn judge(&mut self, method: &str, path: &str, answer: &Value) {
        let content = &self.document["paths"][path][method]["responses"]["200"]["content"];
        let schema = &content["application/json"]["schema"];
        let mut found = Vec::new();
        differences(&self.document, schema, answer, "", &mut found);
        assert_eq!(found, Vec::<String>::new(), "{method} {path}: {answer:#}");
        self.asked.insert(format!("{method} {path}"));
    }

    async fn get(&mut self, path: &str, at: &str) -> Value {
        let answer: Value = self.hub.get_json(at, &[]).await.unwrap_or_else(|why| panic!("{at}: {why}"));
        if path == "/openapi.json" {
            self.asked.insert(format!("get {path}"));
        } else {
            self.judge("get", path, &answer);
        }
        answer
    }

    async fn post(&mut self, path: &str, body: Vec<u8>) {
        let answer = self.hub.post(&path[1..], body).await.unwrap_or_else(|why| panic!("{path}: {why}"));
        self.judge("post", path, &serde_json::from_slice(&answer).unwrap());
    }

    /// Hands a follower the block that comes next.
    async fn hand(&mut self) {
        let (dir, mut world) = (tempfile::tempdir().unwrap(), self.world.clone());
        let url = hub::serve_follower(&world.hub(dir.path()), &self.stop).await;
        world.close();
        let block = world.log.last().unwrap().to_bytes();
        let answer = HubClient::new(url.parse().unwrap()).post("blocks", block).await.unwrap();
        self.judge("post", "/blocks", &serde_json::from_slice(&answer).unwrap());
    }

    async fn events(&mut self, count: usize) {
        let mut stream = reqwest::get(format!("{}events", self.url)).await.unwrap();
        let mut text = String::new();
        let events = async {
            while text.matches("\n\n").count() < count {
                text.push_str(std::str::from_utf8(&stream.chunk().await.unwrap().unwrap()).unwrap());
            }
        };
        in_time("events", events).await;
        let schema = json!({ "$ref": "#/components/schemas/Event" });
        for data in text.lines().filter_map(|line| line.strip_prefix("data: ")).take(count) {
            let (event, mut found) = (serde_json::from_str(data).unwrap(), Vec::new());
            differences(&self.document, &schema, &event, "", &mut found);
            assert_eq!(found, Vec::<String>::new(), "{event}");
        }
        self.asked.insert("get /events".to_owned());
    }

    /// Doors that give files.
    async fn file(&mut self, path: &str, at: &str) {
        let content = &self.document["paths"][path]["get"]["responses"]["200"]["content"];
        let kind = content.as_object().unwrap().keys().next().unwrap().clone();
        let answer = reqwest::get(format!("{}{at}", self.url)).await.unwrap().error_for_status().unwrap();
        let found = answer.headers()["content-type"].to_str().unwrap();
        assert!(found.starts_with(&kind), "{path} gives {found}");
        self.asked.insert(format!("get {path}"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_door_answers_exactly_what_the_document_says() {
    let mut scene = Scene::new().await;
    for path in [
        "/genesis",
        "/status",
        "/params",
        "/chains",
        "/providers",
        "/stakes",
        "/blocks",
        "/health",
        "/openapi.json",
    ] {
        scene.get(path, &path[1..]).await;
    }
    let stakes: Value = scene.hub.get_json("stakes", &[]).await.unwrap();
    let stakes: Vec<Value> = stakes["stakes"].as_array().unwrap().clone();
    for stake in &stakes {
        scene.get("/stakes/{id}", &format!("stakes/{}", stake["id"].as_str().unwrap())).await;
    }
    // What is checked below is there: else the checks of its fields would be of nothing.
    for part in ["included", "spend"] {
        assert!(stakes.iter().any(|stake| !stake[part].is_null()), "no stake has {part}");
    }
    assert!(stakes.iter().any(|stake| stake["refusals"].as_object().is_some_and(|all| !all.is_empty())));
    scene.get("/sets/{chain}/{epoch}", "sets/zero/5").await;
    let anchored = scene.get("/checkpoints/{epoch}", "checkpoints/5").await;
    assert!(anchored["anchor"].is_object(), "{anchored}");
    scene.get("/checkpoints/{epoch}", "checkpoints/6").await;

    let message = scene.world.commitment(&ChainId::zero(), "anna", Epoch(30)).to_bytes();
    scene.post("/messages", message).await;
    let vote = scene.world.vote(&ChainId::zero(), "anna", Height(130), Hash32([1; 32])).to_bytes();
    scene.post("/votes", vote).await;
    let votes = scene.get("/votes", "votes?chain=zero").await;
    assert_eq!(votes.as_array().unwrap().len(), 1);
    let share = scene.world.share("anna", Epoch(5), end_of(&scene.world, 5)).to_bytes();
    scene.post("/checkpoints", share).await;
    scene.hand().await;
    let digest = sha256(&[b"a document"]);
    let asked =
        reqwest::Client::new().post(format!("{}timestamps", scene.url)).json(&json!({ "digest": digest }));
    let stamped: Value = asked.send().await.unwrap().json().await.unwrap();
    scene.judge("post", "/timestamps", &stamped);
    scene.get("/timestamps/{digest}", &format!("timestamps/{digest}")).await;
    let batch = scene.get("/batches/{height}", &format!("batches/{}", stamped["hub_height"])).await;
    assert_eq!(batch["digests"], json!([digest]));

    scene.file("/root", "root").await;
    scene.file("/metrics", "metrics").await;
    scene.file("/proofs/{chain}/{height}", "proofs/dev/200").await;
    scene.events(20).await;
    // No anchor is above the digest yet: `timestamps` tells how it gets its file.
    for (door, at, rule) in [
        ("get /timestamps/{digest}/ots", format!("timestamps/{digest}/ots"), "not-anchored"),
        ("get /stakes/{id}", "stakes/x".to_owned(), "malformed-request"),
    ] {
        let refused: Value = reqwest::get(format!("{}{at}", scene.url)).await.unwrap().json().await.unwrap();
        let (schema, mut found) = (json!({ "$ref": "#/components/schemas/Refusal" }), Vec::new());
        differences(&scene.document, &schema, &refused, "", &mut found);
        assert_eq!((found, &refused["error"]["rule"]), (Vec::<String>::new(), &json!(rule)));
        scene.asked.insert(door.to_owned());
    }

    let paths = scene.document["paths"].as_object().unwrap().iter();
    let doors = paths.flat_map(|(path, doors)| {
        doors.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
    });
    assert_eq!(scene.asked, doors.collect::<BTreeSet<_>>());
    scene.stop.trigger();
}
