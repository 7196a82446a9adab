//! A proxy before a hub that alters what the hub answers, one place at a time, and remembers what it was asked and sent.
//!
//! What is asked and sent goes through unchanged, so that what a daemon does because of a lie shows at the real hub too; or
//! nothing that is sent does, and the proxy answers for the hub.
//! It is for tests: what does not go as they expect is a panic. [`versions`] makes false blocks for it to show.

mod versions;

pub use versions::{stolen_byte, versions};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{Method, StatusCode, Uri};
use palisade_protocol::block::Block;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::message::Message;
use palisade_protocol::units::Height;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// What is done to the answer of a path, such as `/blocks`. Says whether anything was altered. An answer that is not JSON
/// is its bytes in hex.
type Lie = Box<dyn FnMut(&str, &mut Value) -> bool + Send>;

/// Which messages are kept from the hub.
type Kept = fn(&Message) -> bool;

/// What everybody who sends something is answered, in the hub's place.
#[derive(Debug, Clone)]
pub enum Instead {
    /// A status and a body.
    Answer(StatusCode, String),
    /// Nothing: the connection is cut.
    Cut,
}

#[derive(Default)]
struct Moment {
    lie: Option<Lie>,
    kept: Option<(Kept, Height)>,
    instead: Option<Instead>,
    told: usize,
    posted: Vec<(String, Bytes)>,
}

/// The proxy.
#[derive(Clone)]
pub struct Liar {
    hub: String,
    url: String,
    moment: Arc<Mutex<Moment>>,
    /// The doors of the hub that were asked, each with how many of its answers were altered.
    doors: Arc<Mutex<BTreeMap<String, usize>>>,
    http: reqwest::Client,
}

impl Liar {
    /// Listens before a hub, and is honest at first.
    pub async fn start(hub: &str) -> Self {
        Self::listen(hub.trim_end_matches('/').to_owned(), Arc::default()).await
    }

    /// Another one before the same hub, with lies of its own. The two count together at which doors they lied.
    pub async fn another(&self) -> Self {
        Self::listen(self.hub.clone(), self.doors.clone()).await
    }

    async fn listen(hub: String, doors: Arc<Mutex<BTreeMap<String, usize>>>) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let liar = Self { hub, url, moment: Arc::default(), doors, http };
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

    /// From now on, alters every field of a path's answers, such as receipts.
    pub fn alter_answer(&self, path: &str) {
        let path = path.to_owned();
        self.tell(move |asked, answer| {
            let lies = asked == path;
            for field in leaves(answer).iter().filter(|_| lies) {
                answer.pointer_mut(field).into_iter().for_each(alter);
            }
            lies
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

    /// From now on, shows no block of a height or above.
    pub fn hide_blocks(&self, from: Height) {
        self.tell(move |path, answer| {
            let blocks = answer["blocks"].as_array_mut().filter(|_| path == "/blocks");
            let hidden = |block: &Value| {
                let start = block.as_str().and_then(|hex| hex.get(..16)).expect("a block");
                u64::from_str_radix(start, 16).expect("a height") >= from.0
            };
            blocks.is_some_and(|blocks| {
                let before = blocks.len();
                blocks.retain(|block| !hidden(block));
                blocks.len() < before
            })
        });
    }

    /// From now on, takes such messages as if the hub had, in the block of a height, and hands none of them on.
    pub fn keep_messages(&self, kept: Kept, height: Height) {
        self.with(|moment| (moment.kept, moment.told) = (Some((kept, height)), 0));
    }

    /// From now on, answers for the hub whatever is sent, and hands none of it on.
    pub fn answer_instead(&self, instead: Instead) {
        self.with(|moment| moment.instead = Some(instead));
    }

    /// Passes everything on from now on.
    pub fn be_honest(&self) {
        self.with(|moment| (moment.lie, moment.kept, moment.instead) = (None, None, None));
    }

    /// How many answers were altered since the lie was begun.
    pub fn told(&self) -> usize {
        self.with(|moment| moment.told)
    }

    /// Paths of everything that was sent to the hub since the start.
    pub fn posted(&self) -> Vec<String> {
        self.with(|moment| moment.posted.iter().map(|(path, _)| path.clone()).collect())
    }

    /// Everything that was sent to a path since the start.
    pub fn sent(&self, path: &str) -> Vec<Bytes> {
        let is_there = |(own, _): &&(String, Bytes)| own == path;
        self.with(|moment| moment.posted.iter().filter(is_there).map(|(_, body)| body.clone()).collect())
    }

    /// Fails unless exactly these doors of the hub were asked through this proxy and [others](Self::another) of its kind,
    /// and it lied at each of them: a program that begins to ask for more must be lied to there too. In a door's path each
    /// part behind the first is `{}`.
    pub fn check_doors(&self, wanted: &[&str]) {
        let doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        let asked: Vec<&str> = doors.keys().map(String::as_str).collect();
        assert_eq!(asked, wanted, "the doors that were asked");
        let believed: Vec<_> = doors.iter().filter(|(_, altered)| **altered == 0).collect();
        assert!(believed.is_empty(), "no answer was ever altered of {believed:?}");
    }

    /// How many answers of a door were altered, by all that count together.
    pub fn lied_at(&self, door: &str) -> usize {
        let doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        doors.get(door).copied().unwrap_or_default()
    }

    /// The hub's answer to a message that it never gets, if it is one of those.
    fn keep(&self, path: &str, body: &[u8]) -> Option<String> {
        let message = Message::from_bytes(body).ok().filter(|_| path == "/messages")?;
        self.with(|moment| {
            let (kept, height) = moment.kept?;
            kept(&message).then(|| {
                moment.told += 1;
                json!({ "id": message.id(), "height": height }).to_string()
            })
        })
    }

    fn note(&self, door: String, altered: bool) {
        let mut doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner);
        *doors.entry(door).or_default() += usize::from(altered);
    }

    fn with<T>(&self, act: impl FnOnce(&mut Moment) -> T) -> T {
        act(&mut self.moment.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

async fn forward(State(liar): State<Liar>, method: Method, uri: Uri, body: Bytes) -> (StatusCode, Vec<u8>) {
    if method == Method::POST {
        let instead = liar.with(|moment| {
            moment.posted.push((uri.path().to_owned(), body.clone()));
            moment.instead.clone()
        });
        match instead {
            Some(Instead::Answer(status, body)) => return (status, body.into_bytes()),
            // Ends the connection's task, and so the connection, without the words that a panic has.
            Some(Instead::Cut) => std::panic::resume_unwind(Box::new("cut")),
            None => {}
        }
    }
    let door = format!("{method} {}", door(uri.path()));
    if let Some(receipt) = liar.keep(uri.path(), &body) {
        liar.note(door, true);
        return (StatusCode::OK, receipt.into_bytes());
    }
    liar.note(door.clone(), false);
    let asked = uri.path_and_query().map_or("/", |asked| asked.as_str());
    let sent = liar.http.request(method, format!("{}{asked}", liar.hub)).body(body).send().await;
    // A hub that has stopped answers nothing through its proxy either.
    let Ok(answer) = sent else { return (StatusCode::BAD_GATEWAY, Vec::new()) };
    let status = answer.status();
    let Ok(truth) = answer.bytes().await else { return (StatusCode::BAD_GATEWAY, Vec::new()) };
    let json = serde_json::from_slice::<Value>(&truth).ok();
    let is_json = json.is_some();
    let mut value = json.unwrap_or_else(|| hex::encode(&truth).into());
    let altered = liar.with(|moment| {
        let altered = moment.lie.as_mut().is_some_and(|lie| lie(uri.path(), &mut value));
        moment.told += usize::from(altered);
        altered
    });
    liar.note(door, altered);
    let lie = || match value.as_str().filter(|_| !is_json) {
        Some(bytes) => hex::decode(bytes).expect("hex"),
        None => value.to_string().into_bytes(),
    };
    (status, if altered { lie() } else { truth.to_vec() })
}

/// A path whose parts behind the first are places for any.
fn door(path: &str) -> String {
    let mut parts = path.trim_start_matches('/').split('/');
    let first = parts.next().unwrap_or_default();
    format!("/{first}{}", parts.map(|_| "/{}").collect::<String>())
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
