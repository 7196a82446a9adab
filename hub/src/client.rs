//! How daemons and tools talk to a hub: what they send, and the log that they replay.
//!
//! Nothing that a hub answers is believed: blocks are replayed by [`crate::replica::Replica`]. This module bounds, parses
//! and types what comes.

use palisade_protocol::block::Block;
use palisade_protocol::codec::{DecodeError, Wire};
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::genesis::GenesisDocument;
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::units::Height;
use reqwest::{Response, Url};
use serde::{Deserialize, Serialize};
use std::time::Duration;

/// Most bytes of an answer that are read.
const MAX_ANSWER: usize = 64 << 20;

/// Why the hub gave no usable answer.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// The hub cannot be reached, or broke off.
    #[error("hub at {url}: {why}")]
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
        Self { base, http }
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
        serde_json::from_slice(&answer).map_err(|why| HubError::Malformed(why.to_string()))
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

    /// Blocks from a height on. If there is none yet, waits up to `wait` for one.
    pub async fn blocks(&self, from: Height, wait: Duration) -> Result<Vec<Block>, HubError> {
        let query = [("from", from.to_string()), ("wait_ms", wait.as_millis().to_string())];
        let page: LogPage = self.get_json("blocks", &query).await?;
        page.blocks.iter().map(|hex| decode_hex(hex)).collect()
    }

    /// Any JSON view of the hub's. For people; daemons use their replica.
    pub async fn get_json<T: for<'a> Deserialize<'a>>(
        &self,
        path: &str,
        query: &[(&str, String)],
    ) -> Result<T, HubError> {
        let url = self.at(path)?;
        let answer = self.http.get(url).query(query).send().await.map_err(|why| self.unreachable(&why))?;
        let bytes = self.read(answer).await?;
        serde_json::from_slice(&bytes).map_err(|why| HubError::Malformed(why.to_string()))
    }

    /// A file that the hub hands out.
    pub async fn get_bytes(&self, path: &str) -> Result<Vec<u8>, HubError> {
        let url = self.at(path)?;
        let answer = self.http.get(url).send().await.map_err(|why| self.unreachable(&why))?;
        self.read(answer).await
    }

    /// Sends bytes to one of the hub's doors and gives the answer's body.
    pub async fn post(&self, path: &str, body: Vec<u8>) -> Result<Vec<u8>, HubError> {
        let url = self.at(path)?;
        let request = self.http.post(url).header("content-type", "application/octet-stream").body(body);
        let answer = request.send().await.map_err(|why| self.unreachable(&why))?;
        self.read(answer).await
    }

    fn at(&self, path: &str) -> Result<Url, HubError> {
        self.base.join(path).map_err(|why| HubError::Malformed(why.to_string()))
    }

    fn unreachable(&self, why: &reqwest::Error) -> HubError {
        HubError::Unreachable { url: self.base.to_string(), why: why.to_string() }
    }

    async fn read(&self, mut answer: Response) -> Result<Vec<u8>, HubError> {
        let status = answer.status();
        let mut body = Vec::new();
        while let Some(chunk) = answer.chunk().await.map_err(|why| self.unreachable(&why))? {
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

fn decode_hex<T: Wire>(text: &str) -> Result<T, HubError> {
    let bytes = hex::decode(text).map_err(|why| HubError::Malformed(why.to_string()))?;
    Ok(T::from_bytes(&bytes)?)
}
