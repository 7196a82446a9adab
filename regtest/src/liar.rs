//! A proxy before a hub that alters what the hub answers, one place at a time, and remembers what it was asked and sent.
//!
//! What is asked and sent goes through unchanged, so that what a daemon does because of a lie shows at the real hub too.
//! It is for tests: what does not go as they expect is a panic.

use crate::world::schnorr;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use bitcoin::BlockHash;
use bitcoin::hashes::Hash as _;
use palisade_protocol::block::{Block, HubHeader, message_tree};
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::Context;
use serde_json::Value;
use std::sync::{Arc, Mutex, PoisonError};

/// What is done to the answer of a path, such as `/blocks`. Says whether anything was altered.
type Lie = Box<dyn FnMut(&str, &mut Value) -> bool + Send>;

#[derive(Default)]
struct Moment {
    lie: Option<Lie>,
    told: usize,
    posted: Vec<String>,
}

/// The proxy.
#[derive(Clone)]
pub struct Liar {
    hub: String,
    url: String,
    moment: Arc<Mutex<Moment>>,
    http: reqwest::Client,
}

impl Liar {
    /// Listens before a hub, and is honest at first.
    pub async fn start(hub: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let liar = Self { hub: hub.trim_end_matches('/').to_owned(), url, moment: Arc::default(), http };
        let routes = Router::new().fallback(forward).with_state(liar.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        liar
    }

    /// Where it listens, with a slash at the end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// From now on, alters answers: `lie` gets the path and the true answer, and says whether it changed that.
    pub fn tell(&self, lie: impl FnMut(&str, &mut Value) -> bool + Send + 'static) {
        let lie: Lie = Box::new(lie);
        self.with(|moment| (moment.lie, moment.told) = (Some(lie), 0));
    }

    /// From now on, alters one field of a path's answers that holds no other fields, given by its JSON pointer.
    pub fn alter_field(&self, path: &str, pointer: &str) {
        let (path, pointer) = (path.to_owned(), pointer.to_owned());
        self.tell(move |asked, answer| {
            let field = answer.pointer_mut(&pointer).filter(|_| asked == path);
            field.map(alter).is_some()
        });
    }

    /// From now on, shows other bytes in the place of a block.
    pub fn replace_block(&self, block: &Block, other: &[u8]) {
        let (truth, lie) = (hex::encode(block.to_bytes()), hex::encode(other));
        self.tell(move |path, answer| {
            let blocks = answer["blocks"].as_array_mut().filter(|_| path == "/blocks");
            let found = blocks.and_then(|blocks| blocks.iter_mut().find(|block| **block == *truth));
            found.map(|block| *block = Value::from(lie.clone())).is_some()
        });
    }

    /// Passes everything on from now on.
    pub fn be_honest(&self) {
        self.with(|moment| moment.lie = None);
    }

    /// How many answers were altered since the lie was begun.
    pub fn told(&self) -> usize {
        self.with(|moment| moment.told)
    }

    /// Paths of everything that was sent to the hub since the start.
    pub fn posted(&self) -> Vec<String> {
        self.with(|moment| moment.posted.clone())
    }

    fn with<T>(&self, act: impl FnOnce(&mut Moment) -> T) -> T {
        act(&mut self.moment.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn forward(State(liar): State<Liar>, method: Method, uri: Uri, body: Bytes) -> (StatusCode, Vec<u8>) {
    if method == Method::POST {
        liar.with(|moment| moment.posted.push(uri.path().to_owned()));
    }
    let asked = uri.path_and_query().map_or("/", |asked| asked.as_str());
    let sent = liar.http.request(method, format!("{}{asked}", liar.hub)).body(body).send().await;
    // A hub that has stopped answers nothing through its proxy either.
    let Ok(answer) = sent else { return (StatusCode::BAD_GATEWAY, Vec::new()) };
    let status = answer.status();
    let Ok(truth) = answer.bytes().await else { return (StatusCode::BAD_GATEWAY, Vec::new()) };
    let Ok(mut value) = serde_json::from_slice::<Value>(&truth) else { return (status, truth.to_vec()) };
    let altered = liar.with(|moment| {
        let altered = moment.lie.as_mut().is_some_and(|lie| lie(uri.path(), &mut value));
        moment.told += usize::from(altered);
        altered
    });
    (status, if altered { value.to_string().into_bytes() } else { truth.to_vec() })
}

/// Pointers to every field of an answer that holds no other fields.
pub fn leaves(value: &Value) -> Vec<String> {
    let below = |name: &str, value: &Value| -> Vec<String> {
        leaves(value).into_iter().map(|leaf| format!("/{name}{leaf}")).collect()
    };
    match value {
        Value::Object(fields) => fields.iter().flat_map(|(name, value)| below(name, value)).collect(),
        Value::Array(items) => {
            items.iter().enumerate().flat_map(|(index, value)| below(&index.to_string(), value)).collect()
        }
        _ => vec![String::new()],
    }
}

/// Makes another value of the same kind.
pub fn alter(value: &mut Value) {
    *value = match value {
        Value::String(text) => {
            let flip = |c: char| if c == '0' { '1' } else { '0' };
            let last = text.pop().map(flip);
            text.extend(last);
            text.as_str().into()
        }
        Value::Number(number) => number.as_u64().map_or(0, |number| number.wrapping_add(1)).into(),
        Value::Bool(truth) => (!*truth).into(),
        _ => Value::Null,
    };
}

/// Other bytes with one bit flipped in the byte at a place.
pub fn flipped(bytes: &[u8], place: usize) -> Vec<u8> {
    let flip = |(index, byte): (usize, &u8)| if index == place { byte ^ 1 } else { *byte };
    bytes.iter().enumerate().map(flip).collect()
}

/// Places in each message of a block that are altered, evenly spread from its first byte to its last.
const PLACES: usize = 8;

/// False versions of a block, each altered in one place, with the name of the place: bits of every header field, of the
/// signature, of the count of messages, of each message's length and of its bytes; then, signed again with the hub's own
/// key as a thief of it would (`context` is chain zero's hub context), other header fields, a message less and one twice.
pub fn versions(block: &Block, context: &Context) -> Vec<(String, Vec<u8>)> {
    let bytes = block.to_bytes();
    let mut places = Vec::new();
    let mut at = 0;
    let fields = [
        ("height", 8),
        ("previous", 32),
        ("message root", 32),
        ("state root", 32),
        ("Bitcoin tip", 32),
        ("Bitcoin height", 4),
        ("signature", 64),
        ("count of messages", 2),
    ];
    for (name, length) in fields {
        places.extend([(format!("{name}, first byte"), at), (format!("{name}, last byte"), at + length - 1)]);
        at += length;
    }
    for (index, message) in block.messages.iter().enumerate() {
        places.extend((0..4).map(|byte| (format!("length of message {index}, byte {byte}"), at + byte)));
        at += 4;
        let last = message.as_slice().len() - 1;
        let spread = (0..PLACES).map(|part| last * part / (PLACES - 1));
        places.extend(spread.map(|byte| (format!("message {index}, byte {byte}"), at + byte)));
        at += last + 1;
    }
    assert_eq!(at, bytes.len(), "the layout of a block");
    places.dedup_by_key(|(_, place)| *place);
    let mut versions: Vec<_> =
        places.into_iter().map(|(name, place)| (name, flipped(&bytes, place))).collect();
    versions.extend(stolen(block, context));
    versions
}

/// Versions that a thief of the hub's key can sign.
fn stolen(block: &Block, context: &Context) -> Vec<(String, Vec<u8>)> {
    let version = |what: &str, change: fn(&mut Block)| {
        let mut block = block.clone();
        change(&mut block);
        block.signature = schnorr("hub", &HubHeader::signing_message(context, &block.header.hash()));
        (format!("{what}, signed again"), block.to_bytes())
    };
    let mut versions = vec![
        version("height", |block| block.header.height.0 += 1),
        version("previous", |block| block.header.previous.0[0] ^= 1),
        version("message root", |block| block.header.message_root.0[0] ^= 1),
        version("state root", |block| block.header.state_root.0[0] ^= 1),
        version("Bitcoin tip", |block| block.header.btc_tip = BlockHash::all_zeros()),
        version("Bitcoin height", |block| block.header.btc_height.0 += 1),
    ];
    if !block.messages.is_empty() {
        versions.push(version("a message less", |block| {
            block.messages.pop();
            set_root(block);
        }));
        versions.push(version("a message twice", |block| {
            block.messages.extend(block.messages.last().cloned());
            set_root(block);
        }));
    }
    versions
}

fn set_root(block: &mut Block) {
    block.header.message_root = message_tree(block.messages.iter().map(|message| message.id())).root();
}
