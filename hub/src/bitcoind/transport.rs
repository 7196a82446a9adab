//! JSON-RPC over HTTP to one bitcoind: credentials, limits, and what can go wrong on the way.
//!
//! An answer is read up to a bound and within a time limit, whatever the other side sends. A cookie is read again
//! when the node no longer accepts it, because bitcoind writes a new one at each start.
//!
//! Not here: retries (the caller knows what it may repeat) and the meaning of any method.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use reqwest::StatusCode;
use serde::Deserialize;
use serde_json::{Value, json};

use crate::daemon::bounded;

/// Longest answer that is read. The largest one we ask for is a block: 4 MB, or 8 MB in hex.
const MAX_ANSWER_BYTES: usize = 32 << 20;
/// How long a connection may take to be opened.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// How long an unused connection is kept: less than the 30 seconds after which bitcoind closes it.
const IDLE_TIMEOUT: Duration = Duration::from_secs(10);
/// bitcoind's code for "still starting".
const CODE_IN_WARMUP: i64 = -28;

/// How we show bitcoind that we may command it.
#[derive(Clone)]
pub enum Auth {
    /// The file that bitcoind writes at each start (`DATADIR/[NETWORK/].cookie`).
    Cookie(PathBuf),
    /// A user and password from bitcoind's configuration (`rpcauth`, `rpcuser`).
    UserPass {
        /// The user's name.
        user: String,
        /// The password, in clear.
        password: String,
    },
}

impl fmt::Debug for Auth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cookie(path) => write!(f, "cookie {}", path.display()),
            Self::UserPass { user, .. } => write!(f, "user {user}, password [redacted]"),
        }
    }
}

/// Why bitcoind gave no usable answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RpcError {
    /// The address is no HTTP address.
    #[error("{url} is not the address of a bitcoind: {reason}")]
    BadAddress {
        /// What was given.
        url: String,
        /// What is wrong with it.
        reason: String,
    },
    /// No connection, no answer in time, or a node too busy to take the request. The request may have been executed.
    #[error("bitcoind at {url} cannot be reached: {reason}")]
    Unreachable {
        /// Address of the node.
        url: String,
        /// What happened.
        reason: String,
    },
    /// The node runs but does not serve yet (code -28), or has not yet indexed the chain's transactions.
    #[error("bitcoind at {url} is still starting: {message}")]
    WarmingUp {
        /// Address of the node.
        url: String,
        /// What it is doing, in its own words.
        message: String,
    },
    /// The credentials are wrong, also after the cookie was read again.
    #[error("bitcoind at {url} does not accept the credentials ({auth})")]
    Unauthorized {
        /// Address of the node.
        url: String,
        /// Which credentials; never the secret itself.
        auth: String,
    },
    /// The node understood and said no.
    #[error("bitcoind refused {method}: {message} (code {code})")]
    Refused {
        /// The method that was called.
        method: &'static str,
        /// bitcoind's error code; 0 where the method answers with a reason only (`submitblock`).
        code: i64,
        /// The node's own words.
        message: String,
    },
    /// The answer is too long, is no JSON-RPC, or contradicts what was asked for.
    #[error("bitcoind's answer to {method} cannot be used: {reason}")]
    Malformed {
        /// The method that was called.
        method: &'static str,
        /// What is wrong with the answer.
        reason: String,
    },
    /// The best chain changed between two questions that belong together.
    #[error("the best chain changed while {method} was reading it")]
    ChainMoved {
        /// The method that was called last.
        method: &'static str,
    },
    /// The node is on another network than ours.
    #[error("bitcoind is on {found}, we are on {wanted}")]
    WrongNetwork {
        /// Our network.
        wanted: bitcoin::Network,
        /// The node's.
        found: bitcoin::Network,
    },
    /// The node says that it is on our network, and its chain begins with another block.
    #[error("bitcoind says that it is on {wanted}, whose first block is {first}, but its own first block is {}", shown(.found))]
    OtherChain {
        /// Our network.
        wanted: bitcoin::Network,
        /// The first block of that network.
        first: bitcoin::BlockHash,
        /// The node's first block, if it has one.
        found: Option<bitcoin::BlockHash>,
    },
}

fn shown(found: &Option<bitcoin::BlockHash>) -> String {
    found.map_or("missing".to_owned(), |found| found.to_string())
}

impl RpcError {
    /// Whether the same request can succeed later without anybody changing anything.
    pub fn can_be_retried(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::WarmingUp { .. } | Self::ChainMoved { .. } => true,
            Self::BadAddress { .. }
            | Self::Unauthorized { .. }
            | Self::Refused { .. }
            | Self::Malformed { .. }
            | Self::WrongNetwork { .. }
            | Self::OtherChain { .. } => false,
        }
    }

    pub(super) fn malformed(method: &'static str, reason: impl fmt::Display) -> Self {
        Self::Malformed { method, reason: reason.to_string() }
    }
}

/// One node's address, our credentials for it and a pool of connections.
pub(super) struct Connection {
    url: String,
    auth: Auth,
    /// What the cookie held when it was last read.
    cookie: Mutex<Option<String>>,
    http: reqwest::Client,
}

#[derive(Deserialize)]
struct Answer {
    #[serde(default)]
    result: Value,
    error: Option<Complaint>,
    #[serde(default)]
    id: Value,
}

#[derive(Deserialize)]
struct Complaint {
    code: i64,
    message: String,
}

impl Connection {
    pub(super) fn new(url: String, auth: Auth) -> Result<Self, RpcError> {
        let bad = |reason: String| RpcError::BadAddress { url: url.clone(), reason };
        let parsed = reqwest::Url::parse(&url).map_err(|e| bad(e.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(bad("it must begin with http:// or https://".to_owned()));
        }
        // `no_proxy`: the node is ours, and a proxy named by the environment has no business with its password.
        let http = reqwest::Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(CONNECT_TIMEOUT)
            .pool_idle_timeout(IDLE_TIMEOUT)
            .build()
            .map_err(|e| bad(cause(&e)))?;
        Ok(Self { url, auth, cookie: Mutex::new(None), http })
    }

    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// One call. `null` is a result like any other.
    pub(super) async fn call(
        &self,
        method: &'static str,
        params: Value,
        timeout: Duration,
    ) -> Result<Value, RpcError> {
        let body = self.post(method, &request(0, method, &params), timeout).await?;
        let answer = serde_json::from_slice(&body).map_err(|e| RpcError::malformed(method, e))?;
        self.judge(method, 0, answer)
    }

    /// One call for each entry of `params`, in one HTTP request; the first that is refused fails all.
    pub(super) async fn call_each(
        &self,
        method: &'static str,
        params: &[Value],
        timeout: Duration,
    ) -> Result<Vec<Value>, RpcError> {
        let requests: Vec<Value> = params.iter().enumerate().map(|(id, p)| request(id, method, p)).collect();
        let body = self.post(method, &Value::Array(requests), timeout).await?;
        let answers: Vec<Answer> =
            serde_json::from_slice(&body).map_err(|e| RpcError::malformed(method, e))?;
        if answers.len() != params.len() {
            let reason = format!("{} answers to {} questions", answers.len(), params.len());
            return Err(RpcError::malformed(method, reason));
        }
        answers.into_iter().enumerate().map(|(id, answer)| self.judge(method, id, answer)).collect()
    }

    fn judge(&self, method: &'static str, id: usize, answer: Answer) -> Result<Value, RpcError> {
        match answer.error {
            Some(Complaint { code: CODE_IN_WARMUP, message }) => {
                Err(RpcError::WarmingUp { url: self.url.clone(), message })
            }
            Some(Complaint { code, message }) => Err(RpcError::Refused { method, code, message }),
            None if answer.id == json!(id) => Ok(answer.result),
            None => Err(RpcError::malformed(method, format!("it is marked {}, not {id}", answer.id))),
        }
    }

    /// Sends the request; when the credentials are refused, reads the cookie again and tries once more.
    async fn post(
        &self,
        method: &'static str,
        request: &Value,
        timeout: Duration,
    ) -> Result<Vec<u8>, RpcError> {
        let first = self.post_once(method, request, timeout, false).await;
        match (&first, &self.auth) {
            (Err(RpcError::Unauthorized { .. }), Auth::Cookie(_)) => {
                self.post_once(method, request, timeout, true).await
            }
            _ => first,
        }
    }

    async fn post_once(
        &self,
        method: &'static str,
        request: &Value,
        timeout: Duration,
        read_cookie_again: bool,
    ) -> Result<Vec<u8>, RpcError> {
        let (user, password) = self.credentials(read_cookie_again)?;
        let mut response = self
            .http
            .post(&self.url)
            .basic_auth(user, Some(password))
            .timeout(timeout)
            .json(request)
            .send()
            .await
            .map_err(|e| self.unreachable(cause(&e)))?;
        let status = response.status();
        if matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN) {
            return Err(RpcError::Unauthorized { url: self.url.clone(), auth: format!("{:?}", self.auth) });
        }
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(|e| self.unreachable(cause(&e)))? {
            if body.len().saturating_add(chunk.len()) > MAX_ANSWER_BYTES {
                return Err(RpcError::malformed(method, format!("longer than {MAX_ANSWER_BYTES} bytes")));
            }
            body.extend_from_slice(&chunk);
        }
        match status {
            StatusCode::SERVICE_UNAVAILABLE => {
                Err(self.unreachable(String::from_utf8_lossy(&body).trim().to_owned()))
            }
            // bitcoind sends JSON-RPC errors of the older dialect with these.
            StatusCode::OK
            | StatusCode::BAD_REQUEST
            | StatusCode::NOT_FOUND
            | StatusCode::INTERNAL_SERVER_ERROR => Ok(body),
            other => Err(RpcError::malformed(method, format!("HTTP status {other}"))),
        }
    }

    fn credentials(&self, read_again: bool) -> Result<(String, String), RpcError> {
        let path = match &self.auth {
            Auth::UserPass { user, password } => return Ok((user.clone(), password.clone())),
            Auth::Cookie(path) => path,
        };
        let mut cached = self.cookie.lock().unwrap_or_else(PoisonError::into_inner);
        let cookie = match cached.take() {
            Some(cookie) if !read_again => cookie,
            _ => bounded::read_text(path).map_err(|e| {
                self.unreachable(format!(
                    "no cookie at {} ({e}): bitcoind writes it when it starts",
                    path.display()
                ))
            })?,
        };
        let (user, password) = cookie.trim().split_once(':').ok_or_else(|| {
            self.unreachable(format!("the cookie at {} is not written yet", path.display()))
        })?;
        let credentials = (user.to_owned(), password.to_owned());
        *cached = Some(cookie);
        Ok(credentials)
    }

    fn unreachable(&self, reason: String) -> RpcError {
        RpcError::Unreachable { url: self.url.clone(), reason }
    }
}

fn request(id: usize, method: &str, params: &Value) -> Value {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params })
}

/// The innermost cause says what happened ("connection refused"); the outer ones only where.
pub(crate) fn cause(error: &dyn std::error::Error) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
