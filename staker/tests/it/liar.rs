//! A proxy before the hub that alters one field at a time of what the hub answers: nothing is locked because of it.

use crate::party::{Party, args, open};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use palisade_hub::ledger::state::StakeState::{Active, Verified};
use palisade_protocol::block::Block;
use palisade_protocol::codec::Wire as _;
use palisade_regtest::world::provider_key;
use palisade_staker::stake::Stake;
use serde_json::Value;
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What is done to the answer of a path.
type Lie = Box<dyn Fn(&str, &mut Value) + Send>;

#[derive(Clone)]
struct Liar {
    hub: String,
    lie: Arc<Mutex<Option<Lie>>>,
    http: reqwest::Client,
}

impl Liar {
    /// Listens before a hub. Gives itself and its address.
    async fn start(hub: &str) -> (Self, String) {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let liar = Self { hub: hub.trim_end_matches('/').to_owned(), lie: Arc::default(), http };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let routes = Router::new().fallback(forward).with_state(liar.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        (liar, url)
    }

    fn tell(&self, lie: impl Fn(&str, &mut Value) + Send + 'static) {
        *self.lie.lock().unwrap() = Some(Box::new(lie));
    }

    fn be_honest(&self) {
        *self.lie.lock().unwrap() = None;
    }
}

async fn forward(State(liar): State<Liar>, method: Method, uri: Uri, body: Bytes) -> (StatusCode, String) {
    let url = format!("{}{}", liar.hub, uri.path_and_query().unwrap());
    let answer = liar.http.request(method, url).body(body).send().await.unwrap();
    let status = answer.status();
    let mut value: Value = serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap();
    if let Some(lie) = liar.lie.lock().unwrap().as_ref() {
        lie(uri.path(), &mut value);
    }
    (status, value.to_string())
}

/// Pointers to every field that holds no other fields.
fn leaves(value: &Value, at: String, found: &mut Vec<String>) {
    match value {
        Value::Object(fields) => {
            fields.iter().for_each(|(name, value)| leaves(value, format!("{at}/{name}"), found));
        }
        Value::Array(items) => {
            items.iter().enumerate().for_each(|(index, value)| leaves(value, format!("{at}/{index}"), found));
        }
        _ => found.push(at),
    }
}

/// Another value of the same kind.
fn alter(value: &mut Value) {
    *value = match value {
        Value::String(text) => {
            let flip = |c: char| if c == '0' { '1' } else { '0' };
            let last = text.pop().map(flip);
            text.extend(last);
            text.as_str().into()
        }
        Value::Number(number) => (number.as_u64().unwrap() + 1).into(),
        _ => Value::Null,
    };
}

/// Flips a bit of one byte of the first block of a page that holds messages. Says whether there was such a byte.
fn spoil(page: &mut Value, place: usize) -> bool {
    for block in page["blocks"].as_array_mut().unwrap() {
        let mut bytes = hex::decode(block.as_str().unwrap()).unwrap();
        if !Block::from_bytes(&bytes).unwrap().messages.is_empty() {
            let Some(byte) = bytes.get_mut(place) else { return false };
            *byte ^= 1;
            *block = hex::encode(bytes).into();
            return true;
        }
    }
    false
}

async fn resume(config: &Path, id: &str) -> Result<bool, String> {
    let order: Stake = args(&["--resume", id, "--no-wait"]);
    order.run(&mut open(config)).await.map(|locked| locked.broadcast).map_err(|why| why.to_string())
}

#[tokio::test(flavor = "multi_thread")]
async fn no_altered_field_of_the_hubs_answers_locks_coins() {
    let party = Party::new(&["anna"]).await;
    party.signing.send_replace(0);
    let config = party.funded("alice", &[600_000]).await;
    let (liar, url) = Liar::start(&party.url).await;
    let text = std::fs::read_to_string(&config).unwrap().replace(&party.url, &url);
    std::fs::write(&config, text).unwrap();

    // What the hub says of a message is not believed: the id is computed, the log says whether it is in.
    liar.tell(|path, answer| {
        if path == "/messages" {
            alter(&mut answer["id"]);
            alter(&mut answer["height"]);
        }
    });
    let anna = provider_key("anna").to_string();
    let order: Stake =
        args(&["--amount", "0.005 BTC", "--provider", &anna, "--lock", "300 blocks", "--yes", "--no-wait"]);
    let begun = order.run(&mut open(&config)).await.unwrap();
    let id = begun.id.unwrap();
    liar.be_honest();
    assert_eq!(resume(&config, &id).await, Ok(false));
    party.signing.send_replace(3);
    party.until_state(&id, Verified).await;

    let genesis = serde_json::to_value(open(&config).genesis.document()).unwrap();
    let mut fields = Vec::new();
    leaves(&genesis, String::new(), &mut fields);
    assert!(fields.len() > 30);
    for field in fields {
        let pointer = field.clone();
        liar.tell(move |path, answer| {
            if path == "/genesis" {
                alter(answer.pointer_mut(&pointer).unwrap());
            }
        });
        resume(&config, &id).await.expect_err(&field);
    }

    // The block with the committee's first signatures, one bit of every eleventh byte.
    let mut places = 0;
    loop {
        let (place, there) = (places * 11, Arc::new(Mutex::new(false)));
        let seen = there.clone();
        liar.tell(move |path, answer| {
            if path == "/blocks" {
                *seen.lock().unwrap() |= spoil(answer, place);
            }
        });
        let outcome = resume(&config, &id).await;
        if !*there.lock().unwrap() {
            // Behind the block's last byte nothing was altered, so the coins are locked.
            assert_eq!(outcome, Ok(true));
            break;
        }
        outcome.expect_err(&format!("byte {place}"));
        places += 1;
    }
    assert!(places > 20, "{places} places were tried");
    liar.be_honest();
    party.mine(7).await;
    party.until_state(&id, Active).await;
}
