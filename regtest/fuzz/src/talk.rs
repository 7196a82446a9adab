//! Talks over HTTP: what a real server answered is a corpus, and what another one says in its place is an input.
//!
//! An input names a call and holds the answers to its requests, one after the other, each behind [`NEXT`] and its HTTP status:
//! so mutations change what is said, not how long it claims to be. Requests beyond the last answer get a 404.

use axum::Router;
use axum::body::Bytes;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

/// Stands before each answer: a byte that no text of ours holds.
const NEXT: u8 = 0x1e;

type Answers = Arc<Mutex<VecDeque<(StatusCode, Vec<u8>)>>>;
/// Requests with what was answered to them.
type Heard = Arc<Mutex<Vec<(Vec<u8>, Vec<u8>)>>>;

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A runtime for one thread.
pub(crate) fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

/// Serves a router on a free port for as long as the runtime runs. Gives its address, with a slash at the end.
pub(crate) async fn serve(router: Router) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// A server that says what it was told to say.
pub(crate) struct Parrot {
    runtime: Runtime,
    url: String,
    answers: Answers,
    heard: Heard,
}

impl Parrot {
    pub(crate) fn new() -> Self {
        let (runtime, answers, heard) = (runtime(), Answers::default(), Heard::default());
        let says = async |State((answers, heard)): State<(Answers, Heard)>, asked: Bytes| {
            let answer = lock(&answers).pop_front().unwrap_or((StatusCode::NOT_FOUND, Vec::new()));
            lock(&heard).push((asked.to_vec(), answer.1.clone()));
            answer
        };
        let router = Router::new().fallback(says).with_state((answers.clone(), heard.clone()));
        let url = runtime.block_on(serve(router));
        Self { runtime, url, answers, heard }
    }

    /// Where it is, with a slash at the end.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// What was asked in the newest talk, and what was answered.
    pub(crate) fn heard(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        lock(&self.heard).clone()
    }

    /// Has somebody make the call that the input names, and says the input's answers.
    pub(crate) fn talk<T>(&self, input: &[u8], call: impl AsyncFnOnce(&str) -> T) -> T {
        let mut parts = input.split(|byte| *byte == NEXT);
        let name = parts.next().unwrap_or_default();
        *lock(&self.answers) = parts.map(answer).collect();
        lock(&self.heard).clear();
        self.runtime.block_on(call(&String::from_utf8_lossy(name)))
    }
}

fn answer(part: &[u8]) -> (StatusCode, Vec<u8>) {
    let status = part.first_chunk::<3>().and_then(|status| StatusCode::from_bytes(status).ok());
    match status.zip(part.get(4..)) {
        // What has no body, or is not the end of an answer, is the server's own business.
        Some((status, body)) if status.as_u16() >= 200 && status != StatusCode::NO_CONTENT => {
            (status, body.to_vec())
        }
        _ => (StatusCode::OK, part.to_vec()),
    }
}

#[derive(Clone)]
struct Recorder {
    upstream: String,
    http: reqwest::Client,
    heard: Answers,
}

async fn pass_on(State(recorder): State<Recorder>, request: Request) -> (StatusCode, Bytes) {
    let (head, body) = request.into_parts();
    let body = axum::body::to_bytes(body, usize::MAX).await.expect("a request");
    let path = head.uri.path_and_query().map_or("/", |path| path.as_str());
    let url = format!("{}{path}", recorder.upstream.trim_end_matches('/'));
    let asked = recorder.http.request(head.method, url).headers(head.headers).body(body);
    let answer = asked.send().await.expect("a server");
    let (status, body) = (answer.status(), answer.bytes().await.expect("an answer"));
    lock(&recorder.heard).push_back((status, body.to_vec()));
    (status, body)
}

/// Asks a real server between whom and us a recorder stands.
pub(crate) struct Recording {
    /// The recorder's address, with a slash at the end.
    pub(crate) url: String,
    heard: Answers,
}

impl Recording {
    pub(crate) async fn of(upstream: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().expect("a client");
        let heard = Answers::default();
        let recorder = Recorder { upstream: upstream.to_owned(), http, heard: heard.clone() };
        let url = serve(Router::new().fallback(pass_on).with_state(recorder)).await;
        Self { url, heard }
    }

    /// The input that a call and what was answered to it make.
    pub(crate) fn input(&self, call: &str) -> Vec<u8> {
        let heard = std::mem::take(&mut *lock(&self.heard));
        let said = heard
            .into_iter()
            .flat_map(|(status, body)| [&[NEXT][..], status.as_str().as_bytes(), b" ", &body].concat());
        call.bytes().chain(said).collect()
    }
}
