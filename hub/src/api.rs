//! The hub's HTTP API. Every door bounds and parses what comes before anything is done with it.

mod anchoring;
mod handed;
mod large;

use crate::daemon::api::{Api, ApiError};
use crate::daemon::serve;
use crate::engine::Hub;
use crate::view;
use axum::body::Bytes;
use axum::extract::{Path, Query, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use axum::response::sse::{Event as SseEvent, KeepAlive, Sse};
use axum::routing::{get, post};
use axum::{Json, Router};
use palisade_protocol::block::MessageBytes;
use palisade_protocol::codec::{DecodeError, Wire as _};
use palisade_protocol::context::ChainId;
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::genesis::GenesisDocument;
use palisade_protocol::hash::Hash32;
use palisade_protocol::stake::StakeId;
use palisade_protocol::units::{Epoch, Height};
use serde::Deserialize;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::fmt::Display;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_stream::Stream;

use crate::client::{LogPage, Receipt};
use crate::ledger::chains::Chain;
use crate::ledger::{Ledger, Rejected};
use crate::queue::Full;
use crate::votes::VoteError;

/// Longest wait for a block that a request may ask for.
const MAX_WAIT: Duration = Duration::from_secs(20);
/// Most blocks or votes in one answer.
const PAGE: u32 = 500;
/// Providers or stakes in one answer.
const LISTED: usize = 1_000;

/// Events that are read at a time for a listener.
const EVENTS: u32 = 100;

/// Listeners to the stream of events: each holds a connection for as long as it likes.
static LISTENERS: Semaphore = Semaphore::const_new(128);
/// Readers that wait for the next block. With the listeners they leave a part of all connections to those who send something.
static WAITING: Semaphore = Semaphore::const_new(256);

/// The hub behind the API, and whether it takes messages.
#[derive(Debug, Clone)]
pub struct Door {
    /// The hub.
    pub hub: Arc<Hub>,
    /// A follower only shows what another hub made.
    pub follower: bool,
}

/// All routes but `/health` and `/metrics`.
pub fn router(door: Door) -> Router {
    let with_query = Router::new()
        .route("/votes", get(votes))
        .route("/blocks", get(blocks).post(handed::take))
        .route("/events", get(events))
        .route("/root", get(anchoring::root))
        .route("/providers", get(providers))
        .route("/stakes", get(stakes));
    let without_query = Router::new()
        .route("/messages", post(submit))
        .route("/votes", post(vote))
        .route("/checkpoints", post(anchoring::share))
        .route("/checkpoints/{epoch}", get(anchoring::checkpoint))
        .route("/timestamps", post(anchoring::stamp))
        .route("/timestamps/{digest}", get(anchoring::stamped))
        .route("/timestamps/{digest}/ots", get(anchoring::ots))
        .route("/batches/{height}", get(anchoring::batch))
        .route("/proofs/{chain}/{height}", get(anchoring::proof))
        .route("/genesis", get(genesis))
        .route("/status", get(status))
        .route("/params", get(params))
        .route("/chains", get(chains))
        .route("/sets/{chain}/{epoch}", get(set))
        .route("/stakes/{id}", get(stake))
        .route("/openapi.json", get(openapi));
    serve::without_query(without_query).merge(with_query).with_state(door)
}

type Answer<T> = Result<Json<T>, ApiError>;

fn not_found(what: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_FOUND, "not-found", format!("there is no such {what}"))
}

/// No set votes in that epoch: which epochs have one.
fn no_set(chain: &Chain) -> ApiError {
    let (first, last) = (chain.sets.keys().next(), chain.sets.keys().next_back());
    let known = match first.zip(last) {
        Some((first, last)) => format!("it has sets for epochs {first} to {last}"),
        None => "it has no set yet".to_owned(),
    };
    not_found(&format!("epoch of chain {} with a set: {known}", chain.id()))
}

fn no_chain(ledger: &Ledger) -> ApiError {
    let names: Vec<&str> = ledger.chains().iter().map(|chain| chain.id().as_str()).collect();
    not_found(&format!("chain: there are {}", names.join(", ")))
}

fn unreadable(what: &str, why: DecodeError) -> ApiError {
    refused("encoding", format_args!("not a {what}: {why}"), false)
}

/// Nothing is wrong with what was asked: the hub's own log cannot be written or read.
fn broken(why: impl Display) -> ApiError {
    let message = format!("the hub cannot use its log, ask again later: {why}");
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "storage", message).can_be_retried()
}

fn stopping() -> ApiError {
    broken("it stopped before this was written down")
}

fn busy(why: impl ToString) -> ApiError {
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "busy", why).can_be_retried()
}

/// What was sent breaks a rule.
fn refused(rule: &'static str, why: impl ToString, retry: bool) -> ApiError {
    let error = ApiError::new(StatusCode::UNPROCESSABLE_ENTITY, rule, why);
    if retry { error.can_be_retried() } else { error }
}

impl From<Full> for ApiError {
    fn from(why: Full) -> Self {
        busy(why)
    }
}

impl From<Rejected> for ApiError {
    fn from(why: Rejected) -> Self {
        refused(why.rule(), &why, why.can_be_retried())
    }
}

impl From<VoteError> for ApiError {
    fn from(why: VoteError) -> Self {
        match why {
            VoteError::Store(why) => broken(why),
            why => refused(why.rule(), &why, why.can_be_retried()),
        }
    }
}

fn only_makers(door: &Door) -> Result<(), ApiError> {
    if door.follower {
        let message = "this hub follows another one: send it there";
        return Err(ApiError::new(StatusCode::FORBIDDEN, "follower", message));
    }
    Ok(())
}

async fn submit(State(door): State<Door>, Api(body): Api<Bytes>) -> Answer<Receipt> {
    only_makers(&door)?;
    let bytes = MessageBytes::unread(&body).map_err(Rejected::from)?;
    let (id, height) = door.hub.submit(bytes)?.await.map_err(|_| stopping())??;
    Ok(Json(Receipt { id, height }))
}

async fn vote(State(door): State<Door>, Api(body): Api<Bytes>) -> Answer<Value> {
    only_makers(&door)?;
    let vote = Vote::from_bytes(&body).map_err(|why| unreadable("vote", why))?;
    door.hub.vote(vote)?.await.map_err(|_| stopping())??;
    Ok(Json(json!({ "counted": true })))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct VotesQuery {
    chain: ChainId,
    #[serde(default)]
    from: Height,
}

async fn votes(State(door): State<Door>, Api(query): Api<Query<VotesQuery>>) -> Result<Response, ApiError> {
    let page = move || {
        let ledger = door.hub.ledger();
        let context = ledger.chain(&query.chain).ok_or_else(|| no_chain(&ledger))?.vote;
        drop(ledger);
        let votes = door.hub.store().votes(&context, query.from, PAGE).map_err(broken)?;
        Ok::<Vec<_>, ApiError>(votes.iter().map(|vote| hex::encode(vote.to_bytes())).collect())
    };
    large::page(page).await
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BlocksQuery {
    #[serde(default)]
    from: Height,
    #[serde(default)]
    wait_ms: u64,
}

async fn blocks(State(door): State<Door>, Api(query): Api<Query<BlocksQuery>>) -> Result<Response, ApiError> {
    let wait = Duration::from_millis(query.wait_ms).min(MAX_WAIT);
    wait_for(&door.hub, query.from, wait).await?;
    let page = move || {
        let seen = door.hub.shown().and_then(|tip| tip.0.checked_sub(query.from.0));
        let most = seen.map_or(0, |above| above.saturating_add(1).min(PAGE.into()) as u32);
        let blocks = door.hub.store().block_bytes(query.from, most).map_err(broken)?;
        Ok::<_, ApiError>(LogPage { blocks: blocks.iter().map(hex::encode).collect() })
    };
    large::page(page).await
}

/// Waits for a block. None in time is no error: what is asked for is then empty.
async fn wait_for(hub: &Hub, height: Height, wait: Duration) -> Result<(), ApiError> {
    let mut tips = hub.tips();
    let there = |tip: &Option<(Height, Hash32)>| tip.is_some_and(|(tip, _)| tip >= height);
    let is_there = there(&tips.borrow_and_update());
    if is_there || wait.is_zero() {
        return Ok(());
    }
    let many = |_| busy("too many wait for the next block already: ask without `wait_ms`, or try again");
    let _seat = WAITING.try_acquire().map_err(many)?;
    let _ = tokio::time::timeout(wait, tips.wait_for(there)).await;
    Ok(())
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct EventsQuery {
    #[serde(default)]
    cursor: u64,
}

fn no_cursor() -> ApiError {
    let why = "the header last-event-id is no cursor: send the id of an event, or none";
    ApiError::new(StatusCode::BAD_REQUEST, "malformed-request", why)
}

/// Everything that changed behind a cursor, and everything that changes from now on. Each event's id is the cursor to go on
/// from after a break.
async fn events(
    State(door): State<Door>,
    Api(query): Api<Query<EventsQuery>>,
    headers: HeaderMap,
) -> Result<Sse<impl Stream<Item = Result<SseEvent, Infallible>>>, ApiError> {
    // What a client of such streams sends by itself when it comes again.
    let read = |id: &HeaderValue| id.to_str().ok().and_then(|id| id.parse().ok()).ok_or_else(no_cursor);
    let seen: Option<u64> = headers.get("last-event-id").map(read).transpose()?;
    let many = |_| busy("too many listen to the stream of events already: try again later");
    let listener = LISTENERS.try_acquire().map_err(many)?;
    let (sender, receiver) = tokio::sync::mpsc::channel(64);
    tokio::spawn(async move {
        let _listener = listener;
        let mut cursor = seen.unwrap_or(query.cursor);
        let mut tips = door.hub.tips();
        while !sender.is_closed() {
            tips.mark_unchanged();
            let Ok(mut page) = door.hub.store().events(cursor, EVENTS) else { return };
            let shown = door.hub.shown();
            page.retain(|(_, height, _)| Some(*height) <= shown);
            let done = page.is_empty();
            for (seq, height, event) in page {
                cursor = seq;
                let body = json!({ "hub_height": height, "event": event }).to_string();
                if sender.send(Ok(SseEvent::default().id(seq.to_string()).data(body))).await.is_err() {
                    return;
                }
            }
            if done {
                tokio::select! {
                    changed = tips.changed() => if changed.is_err() { return },
                    () = sender.closed() => return,
                }
            }
        }
    });
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    Ok(Sse::new(stream).keep_alive(KeepAlive::default()))
}

async fn genesis(State(door): State<Door>) -> Json<GenesisDocument> {
    Json(door.hub.ledger().genesis().document().clone())
}

async fn status(State(door): State<Door>) -> Json<Value> {
    Json(view::status(&door.hub.ledger(), door.hub.tip()))
}

async fn params(State(door): State<Door>) -> Json<Value> {
    let ledger = door.hub.ledger();
    let versions = ledger.params().iter().enumerate();
    Json(versions.map(|(index, params)| view::params(index, params.document())).collect())
}

async fn chains(State(door): State<Door>) -> Json<Value> {
    Json(door.hub.ledger().chains().iter().map(view::chain).collect())
}

async fn set(State(door): State<Door>, Api(path): Api<Path<(ChainId, u64)>>) -> Answer<Value> {
    let Path((id, epoch)) = path;
    let ledger = door.hub.ledger();
    let chain = ledger.chain(&id).ok_or_else(|| no_chain(&ledger))?;
    let (fixed, _) = chain.set_of(Epoch(epoch)).ok_or_else(|| no_set(chain))?;
    Ok(Json(view::set(&ledger, chain, fixed)))
}

/// A page of what is listed in the order of registration: so nothing comes before what was read.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct PageQuery {
    #[serde(default)]
    offset: usize,
}

/// A page of a list, under its name.
fn listed<T>(
    name: &str,
    (all, total): (impl Iterator<Item = T>, usize),
    offset: usize,
    show: impl Fn(T) -> Value,
) -> Value {
    let page: Vec<_> = all.skip(offset).take(LISTED).map(show).collect();
    json!({ "offset": offset, "total": total, name: page })
}

async fn providers(
    State(door): State<Door>,
    Api(query): Api<Query<PageQuery>>,
) -> Result<Response, ApiError> {
    let page = move || {
        let ledger = door.hub.ledger();
        let all = ledger.providers();
        Ok::<_, ApiError>(listed("providers", (all.iter(), all.len()), query.offset, view::provider))
    };
    large::page(page).await
}

async fn stakes(State(door): State<Door>, Api(query): Api<Query<PageQuery>>) -> Result<Response, ApiError> {
    let page = move || {
        let ledger = door.hub.ledger();
        let all = ledger.stakes();
        Ok::<_, ApiError>(listed("stakes", (all.iter(), all.len()), query.offset, view::stake))
    };
    large::page(page).await
}

async fn stake(State(door): State<Door>, Api(path): Api<Path<StakeId>>) -> Answer<Value> {
    let ledger = door.hub.ledger();
    let (_, stake) = ledger.stakes().find(&path.0).ok_or_else(|| not_found("stake"))?;
    Ok(Json(view::stake(stake)))
}

async fn openapi() -> ([(&'static str, &'static str); 1], &'static str) {
    ([("content-type", "application/json")], include_str!("../openapi.json"))
}

#[cfg(test)]
mod tests {
    use super::{LISTED, listed};
    use serde_json::Value;
    use std::collections::BTreeSet;

    /// Methods and paths in the source of this router and of the shell around it.
    fn routes() -> BTreeSet<String> {
        let sources = [include_str!("api.rs"), include_str!("daemon/serve.rs")];
        let doors = sources.iter().flat_map(|source| source.split(".route(\"").skip(1));
        let routes = doors.filter_map(|rest| rest.lines().next()?.split_once("\", "));
        let methods = |doors: &str| ["get", "post"].map(|method| doors.contains(&format!("{method}(")));
        let routes = routes.flat_map(|(path, doors)| {
            let [get, post] = methods(doors);
            [(get, format!("get {path}")), (post, format!("post {path}"))]
        });
        routes.filter(|(there, _)| *there).map(|(_, route)| route).collect()
    }

    #[test]
    fn the_openapi_document_names_every_route_and_no_other() {
        let document: Value = serde_json::from_str(include_str!("../openapi.json")).unwrap();
        let paths = document["paths"].as_object().unwrap().iter();
        let documented: BTreeSet<String> = paths
            .flat_map(|(path, doors)| {
                doors.as_object().unwrap().keys().map(move |method| format!("{method} {path}"))
            })
            .collect();
        assert!(documented.len() > 20);
        assert_eq!(documented, routes());
    }

    /// Names of rules in the sources of the doors and of what refuses behind them: whatever is quoted where a refusal is made
    /// or where a rule's name is given.
    fn rules() -> BTreeSet<&'static str> {
        let doors = [
            include_str!("api.rs"),
            include_str!("api/anchoring.rs"),
            include_str!("api/handed.rs"),
            include_str!("daemon/api.rs"),
            include_str!("daemon/serve.rs"),
            include_str!("votes.rs"),
            include_str!("checkpoints.rs"),
            include_str!("ledger/rejected.rs"),
        ];
        let sources = doors.iter().filter_map(|source| source.split("#[cfg(test)]").next());
        let lines = sources.flat_map(str::lines).filter(|line| !line.trim_start().starts_with("//"));
        let made = |line: &&str| {
            ["refused(\"", "StatusCode::", "Self::", "_ => \""].iter().any(|mark| line.contains(mark))
        };
        let quoted = lines.filter(made).flat_map(|line| line.split('"').skip(1).step_by(2));
        quoted.filter(|text| !text.is_empty() && !text.contains([' ', '{', '/'])).collect()
    }

    #[test]
    fn every_rule_that_a_door_names_has_one_form_and_is_documented() {
        let documents = [include_str!("../../docs/protocol.md"), include_str!("../../docs/guides/hub.md")];
        let rules = rules();
        for known in ["not-found", "not-voted", "set-expired", "body-too-large", "unknown-set", "share"] {
            assert!(rules.contains(known), "{known} is not among {rules:?}");
        }
        for rule in rules {
            assert!(rule.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'-'), "{rule}");
            let known = documents.iter().any(|document| document.contains(&format!("`{rule}`")));
            assert!(known, "no document explains `{rule}`");
        }
    }

    #[test]
    fn a_list_just_shorter_than_a_page_as_long_longer_and_much_longer_is_shown_whole_and_once() {
        for total in [0, 1, LISTED - 1, LISTED, LISTED + 1, 10 * LISTED] {
            let mut found = Vec::new();
            loop {
                let page = listed("numbers", (0..total, total), found.len(), Value::from);
                assert_eq!((&page["offset"], &page["total"]), (&found.len().into(), &total.into()));
                let numbers = page["numbers"].as_array().unwrap();
                if numbers.is_empty() {
                    break;
                }
                found.extend(numbers.iter().map(|number| number.as_u64().unwrap()));
            }
            assert!(found.into_iter().eq(0..total as u64), "{total}");
        }
    }
}
