//! Requests at the hub's API. An input is a request line without the version, header lines, an empty line, and a body: so the
//! length of a body follows from the body, and mutations reach what reads it.
//!
//! Behind the doors are the real engine and the story's log on disk. What changes the hub is undone after the input.

use super::{next_headers, stamped};
use crate::protocol::{own_share, own_vote};
use crate::story::{NEWCOMERS, dev, story};
use crate::talk::runtime;
use crate::{Outcome, scratch};
use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, Request, Response, StatusCode};
use hyper::service::Service as _;
use hyper_util::service::TowerToHyperService;
use palisade_hub::api::{self, Door};
use palisade_hub::daemon::api::ApiErrorBody;
use palisade_hub::daemon::health::Health;
use palisade_hub::daemon::serve::{self, Limits};
use palisade_hub::engine::Hub;
use palisade_hub::store::Store;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::ChainId;
use palisade_protocol::governance::Action;
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::units::{Epoch, Height};
use palisade_world::{COVENANT, Wish, keypair, leaked_key};
use std::cell::RefCell;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio_stream::StreamExt as _;

/// How long anybody waits for an answer: what takes longer waits for blocks that nobody makes.
const PATIENCE: Duration = Duration::from_millis(100);
/// Most bytes of an answer: a page of the log is the longest.
const LONGEST: usize = 64 << 20;

/// A hub whose doors are open.
struct Desk {
    hub: Arc<Hub>,
    router: Router,
    /// The same of a hub that is handed its blocks.
    follower: Router,
    runtime: Runtime,
    _dir: TempDir,
}

impl Desk {
    fn open() -> Self {
        let dir = scratch::dir();
        let file = dir.path().join("log.sqlite");
        std::fs::write(&file, &story().log).expect("a copy");
        let hub = Hub::new(story().world.ledger.clone(), Store::open(&file).expect("a log"));
        let network = palisade_hub::daemon::network::Network::from(bitcoin::Network::Regtest);
        let health = Health::new("palisade-hub", "1", network).expect("good names");
        let [router, follower] = [false, true].map(|follower| {
            let doors = api::router(Door { hub: hub.clone(), follower });
            serve::router(doors, health.clone(), Limits::default())
        });
        Self { hub, router, follower, runtime: runtime(), _dir: dir }
    }

    /// The answer to a request, if one comes.
    fn ask(&self, request: Request<Body>) -> Option<Response<Bytes>> {
        let posts = *request.method() == Method::POST;
        let is_block = posts && request.uri().path() == "/blocks";
        let works = posts && !is_block;
        let service = TowerToHyperService::new(if is_block { &self.follower } else { &self.router }.clone());
        let answer = async {
            let mut answering = pin!(service.call(request));
            let answer = loop {
                tokio::select! {
                    biased;
                    answer = &mut answering => break answer.unwrap_or_else(|never| match never {}),
                    () = tokio::time::sleep(Duration::from_micros(200)), if works => self.work(),
                }
            };
            body_of(answer).await
        };
        self.runtime.block_on(async { tokio::time::timeout(PATIENCE, answer).await }).ok()
    }

    /// What the engine does in an interval.
    fn work(&self) {
        self.hub.judge_waiting_messages();
        self.hub.count_waiting_votes();
        self.hub.judge_waiting_shares();
        self.hub.make_block(&keypair("hub")).expect("a place in memory");
    }
}

/// The whole body, or of a stream, which never ends, what comes first.
async fn body_of(answer: Response<Body>) -> Response<Bytes> {
    let (head, body) = answer.into_parts();
    let streams = head.headers.get("content-type").is_some_and(|kind| kind == "text/event-stream");
    let bytes = if streams {
        let mut stream = body.into_data_stream();
        let first = tokio::time::timeout(Duration::from_millis(5), stream.next()).await;
        first.ok().flatten().and_then(Result::ok).unwrap_or_default()
    } else {
        axum::body::to_bytes(body, LONGEST).await.expect("a whole answer")
    };
    Response::from_parts(head, bytes)
}

fn request(input: &[u8]) -> Option<Request<Body>> {
    let end = input.windows(2).position(|two| two == b"\n\n").unwrap_or(input.len());
    let (head, body) = (std::str::from_utf8(&input[..end]).ok()?, input.get(end + 2..).unwrap_or_default());
    let mut lines = head.split('\n');
    let (method, path) = lines.next()?.split_once(' ')?;
    let request = Request::builder().method(method).uri(path);
    let add = |request: axum::http::request::Builder, line: &str| {
        let (name, value) = line.split_once(": ")?;
        Some(request.header(name, value))
    };
    lines.try_fold(request, add)?.body(Body::from(body.to_vec())).ok()
}

pub(super) fn run(input: &[u8]) -> Outcome {
    thread_local! {
        static DESK: RefCell<Desk> = RefCell::new(Desk::open());
    }
    let Some(request) = request(input) else { return Outcome::Refused };
    let changes = *request.method() != Method::GET;
    DESK.with_borrow_mut(|desk| {
        let Some(answer) = desk.ask(request) else { return Outcome::Refused };
        let taken = answer.status().is_success();
        check(&answer);
        if changes && (taken || desk.hub.shown() > Some(Height(last() + 50))) {
            *desk = Desk::open();
        }
        taken.into()
    })
}

fn last() -> u64 {
    story().world.ledger.tip().map_or(0, |(height, _)| height.0)
}

/// What is no success says why in the one form; that the hub itself failed is nobody's to bring about.
fn check(answer: &Response<Bytes>) {
    let status = answer.status();
    if status.is_success() {
        return;
    }
    // The answer to HEAD has no body.
    if let Ok(ApiErrorBody { error }) = serde_json::from_slice(answer.body()) {
        assert!(!error.rule.is_empty() && !error.message.is_empty());
        assert!(error.rule != "storage" && status != StatusCode::INTERNAL_SERVER_ERROR, "{error:?}");
    } else {
        assert!(answer.body().is_empty(), "{status} without a reason: {:?}", answer.body());
    }
}

/// A request at each door that is answered, and each kind of message that can be sent now.
pub(super) fn corpus() -> Vec<Vec<u8>> {
    let (world, proof) = (&story().world, &story().proof);
    let stake = world.ledger.stakes().iter().next().expect("a stake").id;
    let (digest, new) = (story().digests[0], Hash32([3; 32]));
    let gets = [
        "/health".to_owned(),
        "/metrics".to_owned(),
        "/openapi.json".to_owned(),
        "/genesis".to_owned(),
        "/status".to_owned(),
        "/params".to_owned(),
        "/chains".to_owned(),
        format!("/votes?chain={}&from=200", dev()),
        "/blocks?from=3&wait_ms=5".to_owned(),
        "/root?incarnation=0".to_owned(),
        "/providers?offset=1".to_owned(),
        "/stakes?offset=1".to_owned(),
        format!("/stakes/{stake}"),
        format!("/sets/{}/8", ChainId::zero()),
        "/checkpoints/8".to_owned(),
        format!("/timestamps/{digest}"),
        format!("/timestamps/{digest}/ots"),
        format!("/batches/{}", stamped()),
        format!("/proofs/{}/{}", dev(), proof.block.certificate.ballot.height),
    ];
    let get = |path: String| format!("GET {path}\n\n").into_bytes();
    let post = |path: &str, body: &[u8]| [format!("POST {path}\n\n").as_bytes(), body].concat();
    let events = b"GET /events?cursor=0\nlast-event-id: 3\n\n".to_vec();
    let stamp =
        format!("POST /timestamps\ncontent-type: application/json\n\n{{\"digest\":\"{new}\"}}").into_bytes();
    let sent = messages().into_iter().map(|message| post("/messages", &message));
    let posts = [
        events,
        stamp,
        post("/votes", &own_vote("dev carl").to_bytes()),
        post("/checkpoints", &own_share("anna").to_bytes()),
        post("/blocks", &next_block()),
    ];
    gets.into_iter().map(get).chain(posts).chain(sent).collect()
}

/// What the story's hub would be handed if it followed another.
fn next_block() -> Vec<u8> {
    let mut world = story().world.clone();
    world.close();
    world.log.last().expect("a block").to_bytes()
}

/// Messages that the story's hub takes next.
fn messages() -> Vec<Vec<u8>> {
    let mut world = story().world.clone();
    let stake = world.ledger.stakes().iter().last().expect("a stake");
    let answer = world.answer(COVENANT[4], stake);
    let commitment = world.commitment(&ChainId::zero(), "anna", Epoch(24));
    let rotation = Action::RotateKeys(world.ledger.governors().clone());
    let decision = Message::Governance(world.decision(rotation));
    let evidence = leaked_key("dora", "dora");
    // Their coins are there already: these need no headers first.
    let wish = Wish { holder: NEWCOMERS[0].0, sat: NEWCOMERS[0].1 - 1_000, providers: &["anna"], lock: 400 };
    let registration = Message::Stake(Box::new(world.registration(&wish)));
    let provider = world.provider_registration(&dev(), NEWCOMERS[1].0);
    let all = [next_headers(), answer, commitment, decision, evidence, registration, provider];
    all.map(|message| message.to_bytes()).to_vec()
}
