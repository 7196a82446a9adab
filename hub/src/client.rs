//! How daemons and tools talk to a hub: what they send, and the log that they replay.
//!
//! Nothing that a hub answers is believed: blocks are replayed by [`crate::replica::Replica`]. This module bounds, parses
//! and types what comes.

use crate::bitcoind::cause;
use crate::daemon::ask::{SILENCE, patiently};
use palisade_protocol::block::Block;
use palisade_protocol::codec::{DecodeError, Wire};
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::genesis::GenesisDocument;
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::units::Height;
use reqwest::{RequestBuilder, Response, Url};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Most bytes of an answer that are read.
const MAX_ANSWER: usize = 64 << 20;
/// How long the answer to a question may take to begin. A page of the log may take longer to come.
const PATIENCE: Duration = Duration::from_secs(10);
/// The same where a block is handed to a follower, which replays it first. Handed again it is found there.
const PATIENCE_HANDING: Duration = Duration::from_secs(5);
/// The same where something is sent: the answer comes when it is in a block. A hub says itself after 30 s that it was not.
const PATIENCE_SENDING: Duration = Duration::from_secs(35);

/// Why the hub gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The hub cannot be reached, or broke off.
    #[error("hub at {url}: {why} (is it running? `hub.url` in the configuration, or --hub, is its address)")]
    Unreachable {
        /// Where it should be.
        url: String,
        /// What happened.
        why: String,
    },
    /// The hub refuses, and says which rule is broken.
    #[error("the hub refuses ({rule}): {message}")]
    Refused {
        /// Name of the rule.
        rule: String,
        /// In words.
        message: String,
        /// Whether the same request can succeed later.
        retry: bool,
    },
    /// The answer is not what it should be.
    #[error("the hub's answer is malformed: {0}")]
    Malformed(String),
}

impl HubError {
    /// Whether the same request can succeed later.
    pub fn can_be_retried(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Refused { retry, .. } => *retry,
            Self::Malformed(_) => false,
        }
    }

    /// The rule that the hub names in a refusal.
    pub fn rule(&self) -> Option<&str> {
        match self {
            Self::Refused { rule, .. } => Some(rule),
            _ => None,
        }
    }
}

impl From<DecodeError> for HubError {
    fn from(why: DecodeError) -> Self {
        Self::Malformed(why.to_string())
    }
}

/// A message is in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Receipt {
    /// The message's id.
    pub id: Hash32,
    /// The block that holds it.
    pub height: Height,
}

/// Part of the log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LogPage {
    /// Canonical bytes of blocks, hex, in order.
    pub blocks: Vec<String>,
}

/// The digests of the batch in a block.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct BatchDigests {
    /// The block.
    pub hub_height: Height,
    /// The digests, in the order of the batch's tree.
    pub digests: Vec<Hash32>,
}

#[derive(Debug, Deserialize)]
struct ErrorBody {
    error: ErrorDetail,
}

#[derive(Debug, Deserialize)]
struct ErrorDetail {
    rule: String,
    message: String,
    retry: bool,
}

/// A connection to a hub.
#[derive(Debug, Clone)]
pub struct HubClient {
    base: Url,
    http: reqwest::Client,
    /// How long the answer to a question may take to begin.
    patience: Duration,
    /// Whether somebody at a terminal waits for the answers.
    tells: bool,
}

impl HubClient {
    /// A client of the hub at `base`. Nothing is sent yet.
    pub fn new(base: Url) -> Self {
        let http = reqwest::Client::builder()
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_secs(60))
            .no_proxy()
            .build()
            .unwrap_or_default();
        Self { base, http, patience: PATIENCE, tells: false }
    }

    /// One that says on standard error, unless that is silent, when it waits for longer than a moment: for commands.
    pub fn telling(self) -> Self {
        Self { tells: true, ..self }
    }

    /// Where the hub is.
    pub fn url(&self) -> &Url {
        &self.base
    }

    /// The genesis document that the hub says it has. Its hash is the hub's id: compare it with the one you know.
    pub async fn genesis(&self) -> Result<GenesisDocument, HubError> {
        self.get_json("genesis", &[]).await
    }

    /// Sends a message and waits until it is in a block that is on disk.
    pub async fn submit(&self, message: &Message) -> Result<Receipt, HubError> {
        let answer = self.post("messages", message.to_bytes()).await?;
        parse(&answer)
    }

    /// Sends a vote to the hub's tally.
    pub async fn vote(&self, vote: &Vote) -> Result<(), HubError> {
        self.post("votes", vote.to_bytes()).await.map(|_| ())
    }

    /// Votes that the hub's tally holds of a chain (any of its contexts' heights), from a height on.
    pub async fn votes(&self, chain: &str, from: Height) -> Result<Vec<Vote>, HubError> {
        let page: Vec<String> =
            self.get_json("votes", &[("chain", chain.to_owned()), ("from", from.to_string())]).await?;
        page.iter().map(|hex| decode_hex(hex)).collect()
    }

    /// The same of all pages, each vote once, lowest heights first.
    pub async fn all_votes(&self, chain: &str, mut from: Height) -> Result<Vec<Vote>, HubError> {
        let mut all = Vec::new();
        loop {
            let page = self.votes(chain, from).await?;
            let last = page.iter().map(|vote| vote.ballot.height).max();
            all.extend(page);
            let Some(last) = last.filter(|last| *last > from) else { return Ok(all) };
            // A page may end amid the votes of one height: the next begins with that height.
            all.retain(|vote| vote.ballot.height < last);
            from = last;
        }
    }

    /// Blocks from a height on. If there is none yet, waits up to `wait` for one.
    pub async fn blocks(&self, from: Height, wait: Duration) -> Result<Vec<Block>, HubError> {
        let query = [("from", from.to_string()), ("wait_ms", wait.as_millis().to_string())];
        let bytes =
            self.ask(self.http.get(self.at("blocks")?).query(&query), self.patience + wait, wait).await?;
        let page: LogPage = parse(&bytes)?;
        page.blocks.iter().map(|hex| decode_hex(hex)).collect()
    }

    /// The digests of the batch in a block, as the hub says.
    pub async fn digests(&self, height: Height) -> Result<Vec<Hash32>, HubError> {
        Ok(self.get_json::<BatchDigests>(&format!("batches/{height}"), &[]).await?.digests)
    }

    /// Any JSON view of the hub's. For people; daemons use their replica.
    pub async fn get_json<T: for<'a> Deserialize<'a>>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, HubError> {
        let request = self.http.get(self.at(path)?).query(query);
        parse(&self.ask(request, self.patience, Duration::ZERO).await?)
    }

    /// A file that the hub hands out.
    pub async fn get_bytes(&self, path: &str) -> Result<Vec<u8>, HubError> {
        self.ask(self.http.get(self.at(path)?), self.patience, Duration::ZERO).await
    }

    /// Hands a block to a hub that follows, and waits until it keeps it.
    pub async fn hand(&self, block: &Block) -> Result<(), HubError> {
        let request = self.sending("blocks", block.to_bytes())?;
        self.ask(request, PATIENCE_HANDING, Duration::ZERO).await.map(|_| ())
    }

    /// Sends bytes to one of the hub's doors and gives the answer's body.
    pub async fn post(&self, path: &str, body: Vec<u8>) -> Result<Vec<u8>, HubError> {
        self.ask(self.sending(path, body)?, PATIENCE_SENDING, Duration::ZERO).await
    }

    fn sending(&self, path: &str, body: Vec<u8>) -> Result<RequestBuilder, HubError> {
        Ok(self.http.post(self.at(path)?).header("content-type", "application/octet-stream").body(body))
    }

    /// The body of an answer, which must begin within `patience`. That it takes until `usual` surprises nobody.
    async fn ask(
        &self,
        request: RequestBuilder,
        patience: Duration,
        usual: Duration,
    ) -> Result<Vec<u8>, HubError> {
        let answer = async {
            let begun = tokio::time::timeout(patience, request.send()).await;
            let silent = |_| self.unreachable(format!("no answer within {} s", patience.as_secs()));
            self.read(begun.map_err(silent)?.map_err(|why| self.broken(&why))?).await
        };
        if !self.tells {
            return answer.await;
        }
        patiently(SILENCE + usual, format!("waiting for the hub at {}", self.base), answer).await
    }

    fn at(&self, path: &str) -> Result<Url, HubError> {
        self.base.join(path).map_err(|why| HubError::Malformed(why.to_string()))
    }

    fn unreachable(&self, why: String) -> HubError {
        HubError::Unreachable { url: self.base.to_string(), why }
    }

    fn broken(&self, why: &reqwest::Error) -> HubError {
        self.unreachable(cause(why))
    }

    async fn read(&self, mut answer: Response) -> Result<Vec<u8>, HubError> {
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|why| self.broken(&why))? {
            if body.len() + chunk.len() > MAX_ANSWER {
                return Err(HubError::Malformed(format!("more than {MAX_ANSWER} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        if status.is_success() {
            return Ok(body);
        }
        match serde_json::from_slice::<ErrorBody>(&body) {
            Ok(ErrorBody { error: ErrorDetail { rule, message, retry } }) => {
                Err(HubError::Refused { rule, message, retry })
            }
            Err(_) => Err(HubError::Malformed(format!("status {status} without a reason"))),
        }
    }
}

fn parse<T: for<'a> Deserialize<'a>>(json: &[u8]) -> Result<T, HubError> {
    serde_json::from_slice(json).map_err(|why| HubError::Malformed(why.to_string()))
}

fn decode_hex<T: Wire>(text: &str) -> Result<T, HubError> {
    let bytes = hex::decode(text).map_err(|why| HubError::Malformed(why.to_string()))?;
    Ok(T::from_bytes(&bytes)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpListener;

    async fn listener() -> (TcpListener, HubClient) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        (listener, HubClient::new(url.parse().unwrap()))
    }

    #[tokio::test]
    async fn a_hub_that_is_away_is_an_error_with_the_cause_and_what_to_look_at() {
        let (nobody, client) = listener().await;
        drop(nobody);
        let why = client.genesis().await.unwrap_err();
        assert!(why.can_be_retried());
        let said = why.to_string().to_lowercase();
        for part in ["connection refused", "is it running?", "`hub.url`"] {
            assert!(said.contains(part), "{said}");
        }
        assert!(!said.contains("sending request"), "{said}");
    }

    #[tokio::test]
    async fn a_hub_that_takes_the_question_and_says_nothing_is_given_up_soon_but_not_while_it_waits_for_a_block()
     {
        let (_silent, client) = listener().await;
        let why = HubClient { patience: Duration::ZERO, ..client }.genesis().await.unwrap_err();
        assert!(why.can_be_retried() && why.to_string().contains("no answer within"), "{why}");
        let (asked, client) = listener().await;
        let client = HubClient { patience: Duration::ZERO, ..client };
        let answer = async {
            let (mut asker, _) = asked.accept().await.unwrap();
            assert!(asker.read(&mut [0; 1_024]).await.unwrap() > 0);
            let body = r#"{"blocks":[]}"#;
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
            asker.write_all(answer.as_bytes()).await.unwrap();
            asker
        };
        let (blocks, _open) = tokio::join!(client.blocks(Height(0), Duration::from_secs(30)), answer);
        assert!(blocks.unwrap().is_empty());
    }
}
