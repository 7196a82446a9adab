//! A gate before bitcoind: it holds a transaction that a daemon sends, so that the daemon can be killed at that very moment, and
//! answers for the node what confirms soon, which a node on regtest does not know.

use crate::in_time;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header::AUTHORIZATION};
use bitcoin::Transaction;
use bitcoin::consensus::encode::deserialize_hex;
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};
use tokio::sync::watch;

/// When a transaction is held: its sender gets no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hold {
    /// Before the node has it.
    Before,
    /// After the node has it.
    After,
}

/// The gate. All else passes.
#[derive(Clone)]
pub struct Gate {
    node: String,
    url: String,
    hold: Arc<Mutex<Option<Hold>>>,
    held: Arc<watch::Sender<Option<Transaction>>>,
    sent: Arc<Mutex<Vec<Transaction>>>,
    estimate: Arc<Mutex<Option<Value>>>,
    http: reqwest::Client,
}

impl Gate {
    /// Listens before a node, and is open.
    pub async fn start(node: &str) -> Self {
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (held, hold, sent) = (Arc::new(watch::Sender::new(None)), Arc::default(), Arc::default());
        let gate = Self { node: node.to_owned(), url, hold, held, sent, estimate: Arc::default(), http };
        let routes = Router::new().fallback(pass).with_state(gate.clone());
        tokio::spawn(async move { axum::serve(listener, routes).await });
        gate
    }

    /// Where it listens.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Holds the transactions that come from now on.
    pub fn hold(&self, when: Hold) {
        self.held.send_replace(None);
        *self.hold.lock().unwrap() = Some(when);
    }

    /// Lets everything pass from now on. What is held stays so.
    pub fn open(&self) {
        *self.hold.lock().unwrap() = None;
    }

    /// The first transaction that is held.
    pub async fn held(&self) -> Transaction {
        let mut held = self.held.subscribe();
        let there = held.wait_for(Option::is_some);
        in_time("the transaction", there).await.unwrap().clone().unwrap()
    }

    /// Says from now on that so many sat/vB confirm soon, or that nobody knows.
    pub fn estimate(&self, sat_vb: Option<u32>) {
        let answer = match sat_vb {
            Some(rate) => json!({ "feerate": f64::from(rate) / 100_000.0, "blocks": 2 }),
            None => json!({ "errors": ["Insufficient data or no feerate found"], "blocks": 2 }),
        };
        *self.estimate.lock().unwrap() = Some(answer);
    }

    /// What is said for the node.
    fn answer(&self, body: &[u8]) -> Option<Bytes> {
        let call: Value = serde_json::from_slice(body).ok()?;
        let result =
            self.estimate.lock().unwrap().clone().filter(|_| call["method"] == "estimatesmartfee")?;
        Some(json!({ "jsonrpc": "2.0", "id": call["id"], "result": result }).to_string().into())
    }

    /// Everything that was sent, held or not.
    pub fn sent(&self) -> Vec<Transaction> {
        self.sent.lock().unwrap().clone()
    }

    async fn forward(&self, headers: &HeaderMap, body: Bytes) -> Option<(StatusCode, Bytes)> {
        let mut request = self.http.post(&self.node).body(body);
        if let Some(cookie) = headers.get(AUTHORIZATION) {
            request = request.header(AUTHORIZATION, cookie);
        }
        let answer = request.send().await.ok()?;
        Some((answer.status(), answer.bytes().await.ok()?))
    }
}

fn transaction(body: &[u8]) -> Option<Transaction> {
    let call: Value = serde_json::from_slice(body).ok()?;
    let hex = call["params"][0].as_str().filter(|_| call["method"] == "sendrawtransaction");
    deserialize_hex(hex?).ok()
}

async fn pass(State(gate): State<Gate>, headers: HeaderMap, body: Bytes) -> (StatusCode, Bytes) {
    if let Some(answer) = gate.answer(&body) {
        return (StatusCode::OK, answer);
    }
    let transaction = transaction(&body);
    let hold = transaction.as_ref().and_then(|_| *gate.hold.lock().unwrap());
    gate.sent.lock().unwrap().extend(transaction.clone());
    let answer = if hold == Some(Hold::Before) { None } else { gate.forward(&headers, body).await };
    if hold.is_some() {
        gate.held.send_if_modified(|held| held.is_none() && std::mem::replace(held, transaction).is_none());
        std::future::pending::<()>().await;
    }
    answer.unwrap_or((StatusCode::BAD_GATEWAY, Bytes::new()))
}
