//! The HTTP door of a process: `/health`, `/metrics` and its own API behind one set of limits.
//!
//! Promises: connections, a head's time, a body, a request's time and the time to take the answer are bounded; every refusal
//! of a request that can be read is an [`ApiError`], and what is no HTTP ends its connection; after a request to stop the door
//! closes within [`DRAIN`] whatever its clients do.
//!
//! Not here: authentication and TLS. Messages authenticate themselves; a remote door belongs behind a proxy.

use std::convert::Infallible;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service as _, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::api::ApiError;
use super::endpoint::ListenAddr;
use super::health::{Health, HealthReport};
use super::shutdown::Shutdown;

/// The time that open connections have to end after a request to stop.
pub const DRAIN: Duration = Duration::from_secs(2);

/// What all connections together may cost.
struct Crowd {
    /// Connections that are open at a time. Whoever comes next waits outside until one closes, and while all are open each closes
    /// after its next answer.
    connections: usize,
    /// Longest time that a connection may be open without the whole head of a request.
    head_time: Duration,
    /// Longest time that bytes may lie here because the client does not take them.
    stall_time: Duration,
    /// Most bytes of a connection that lie here, come in or to go out.
    buffer: usize,
}

const CROWD: Crowd = Crowd {
    connections: 512,
    head_time: Duration::from_secs(10),
    stall_time: Duration::from_secs(20),
    buffer: 64 << 10,
};
/// The part of `/health` that a start is.
pub const STARTING: &str = "start";
/// Pause when the system has no room for another connection.
const NO_ROOM: Duration = Duration::from_millis(100);

/// What one request may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Most bytes of a body, as read by the extractors (`Bytes`, `Json`, …).
    pub body_bytes: usize,
    /// Longest time until an answer begins. A stream may go on for longer.
    pub request_time: Duration,
}

impl Default for Limits {
    /// One MiB and 30 seconds.
    fn default() -> Self {
        Self { body_bytes: 1024 * 1024, request_time: Duration::from_secs(30) }
    }
}

/// The process's whole router: its `own` routes, `/health` and `/metrics`, all behind `limits`. `own` has neither
/// of the two routes and no fallback: what is not found is answered here.
pub fn router(own: Router, health: Health, limits: Limits) -> Router {
    let shell =
        Router::new().route("/health", get(report)).route("/metrics", get(metrics)).with_state(health);
    own.merge(without_query(shell))
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(DefaultBodyLimit::max(limits.body_bytes))
        .layer(middleware::from_fn_with_state(limits.request_time, bound_time))
}

/// A router of which only `/health` and `/metrics` answer at first: whoever starts says so in `/health`, and everything else is
/// answered once the gate is opened.
pub fn gated(health: Health, limits: Limits) -> (Router, Gate) {
    health.degrade(STARTING, "opening its files");
    let inner = Arc::new(RwLock::new(router(Router::new(), health.clone(), limits).fallback(not_yet)));
    let outer = Router::new().fallback(pass).with_state(inner.clone());
    (outer, Gate { inner, health, limits })
}

/// Opens the doors of a process that has started.
#[derive(Debug)]
pub struct Gate {
    inner: Arc<RwLock<Router>>,
    health: Health,
    limits: Limits,
}

impl Gate {
    /// From now on its `own` routes answer too, and `/health` speaks of the start no more.
    pub fn open(self, own: Router) {
        let routes = router(own, self.health.clone(), self.limits);
        *self.inner.write().unwrap_or_else(PoisonError::into_inner) = routes;
        self.health.recover(STARTING);
    }
}

async fn pass(State(inner): State<Arc<RwLock<Router>>>, request: Request) -> Response {
    let routes = inner.read().unwrap_or_else(PoisonError::into_inner).clone();
    match TowerToHyperService::new(routes).call(request).await {
        Ok(answer) => answer,
        Err(never) => match never {},
    }
}

async fn not_yet() -> ApiError {
    let message = "this process is starting, ask again later: /health says how far it is";
    ApiError::new(StatusCode::SERVICE_UNAVAILABLE, "starting", message).can_be_retried()
}

/// Routes whose doors take no query: what is asked of them is not what they would answer.
pub fn without_query<S: Clone + Send + Sync + 'static>(routes: Router<S>) -> Router<S> {
    routes.route_layer(middleware::from_fn(refuse_query))
}

async fn refuse_query(request: Request, next: Next) -> Result<Response, ApiError> {
    let key = request.uri().query().and_then(|query| query.split(['&', '=']).find(|part| !part.is_empty()));
    let Some(key) = key else { return Ok(next.run(request).await) };
    let message =
        format!("{} {} knows no `{key}`: it takes no query", request.method(), request.uri().path());
    Err(ApiError::new(StatusCode::BAD_REQUEST, "malformed-request", message))
}

async fn report(State(health): State<Health>) -> Json<HealthReport> {
    Json(health.report())
}

async fn metrics(State(health): State<Health>) -> Result<Response, ApiError> {
    let text =
        health.metrics().map_err(|e| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "metrics", e))?;
    Ok(([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], text).into_response())
}

async fn not_found(request: Request) -> ApiError {
    let message = format!("there is nothing at {}", request.uri().path());
    ApiError::new(StatusCode::NOT_FOUND, "not-found", message)
}

async fn method_not_allowed(request: Request) -> ApiError {
    let message = format!("{} does not take {}", request.uri().path(), request.method());
    ApiError::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", message)
}

async fn bound_time(
    State(limit): State<Duration>,
    request: Request,
    next: Next,
) -> Result<Response, ApiError> {
    tokio::time::timeout(limit, next.run(request)).await.map_err(|_| {
        let message = format!("no answer within {} ms", limit.as_millis());
        ApiError::new(StatusCode::REQUEST_TIMEOUT, "request-timeout", message).can_be_retried()
    })
}

/// Why the door did not open, or broke.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address is taken or not ours.
    #[error(
        "cannot listen on {address}: {cause} (`listen.address` in the configuration names another; with port 0 the system chooses a free one)"
    )]
    Bind {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        cause: io::Error,
    },
    /// The bound address could not be written to its file.
    #[error("cannot write the address file {}: {cause}", path.display())]
    AddressFile {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
}

/// A bound address that does not answer yet.
#[derive(Debug)]
pub struct Server {
    listener: TcpListener,
    address: SocketAddr,
}

impl Server {
    /// Binds the address, and writes it to the address file if one is configured. From here on clients can connect.
    pub async fn bind(listen: &ListenAddr) -> Result<Self, ServeError> {
        // A file left by an earlier run names a port that may be somebody else's by now.
        if let Some(path) = listen.address_file() {
            remove_if_there(path)
                .map_err(|cause| ServeError::AddressFile { path: path.to_owned(), cause })?;
        }
        let cannot_bind = |cause| ServeError::Bind { address: listen.address(), cause };
        let listener = TcpListener::bind(listen.address()).await.map_err(cannot_bind)?;
        let address = listener.local_addr().map_err(cannot_bind)?;
        if let Some(path) = listen.address_file() {
            write_whole(path, &format!("{address}\n"))
                .map_err(|cause| ServeError::AddressFile { path: path.to_owned(), cause })?;
        }
        Ok(Self { listener, address })
    }

    /// The address that was bound, with its real port.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the stop is requested, then lets requests in flight end for [`DRAIN`].
    pub async fn run(self, router: Router, shutdown: &Shutdown) {
        tracing::info!(address = %self.address, "listening");
        self.serve(router, shutdown, CROWD).await;
    }

    async fn serve(self, router: Router, shutdown: &Shutdown, crowd: Crowd) {
        let (seats, open) = (Arc::new(Semaphore::new(crowd.connections)), GracefulShutdown::new());
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(crowd.head_time).max_buf_size(crowd.buffer);
        while let Some((stream, seat)) = self.next(&seats, shutdown).await {
            // The system closes a connection whose client does not read.
            if let Err(why) = SockRef::from(&stream).set_tcp_user_timeout(Some(crowd.stall_time)) {
                tracing::warn!(%why, "a connection was closed before its first request");
                continue;
            }
            let service = one_answer_if_full(TowerToHyperService::new(router.clone()), seats.clone());
            let connection = open.watch(http.serve_connection(TokioIo::new(stream), service));
            tokio::spawn(async move {
                // A client that breaks off, or sends what is no HTTP, ends its own connection only.
                let _ = connection.await;
                drop(seat);
            });
        }
        drop(self.listener);
        if tokio::time::timeout(DRAIN, open.shutdown()).await.is_err() {
            tracing::warn!(drain_ms = DRAIN.as_millis(), "connections were still open and are cut");
        }
    }

    /// The next connection and its seat; none when the stop is requested.
    async fn next(
        &self,
        seats: &Arc<Semaphore>,
        shutdown: &Shutdown,
    ) -> Option<(TcpStream, OwnedSemaphorePermit)> {
        let accepted = async {
            let seat = seats.clone().acquire_owned().await.ok()?;
            loop {
                match self.listener.accept().await {
                    Ok((stream, _)) => return Some((stream, seat)),
                    Err(why) => {
                        tracing::warn!(%why, "no connection was taken");
                        tokio::time::sleep(NO_ROOM).await;
                    }
                }
            }
        };
        tokio::select! {
            accepted = accepted => accepted,
            () = shutdown.requested() => None,
        }
    }
}

/// While no seat is free an answer ends its connection: whoever waits outside gets in after one request of those who are inside,
/// however many connections somebody holds.
fn one_answer_if_full<S>(
    service: S,
    seats: Arc<Semaphore>,
) -> impl hyper::service::Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send>
where
    S: hyper::service::Service<Request<Incoming>, Response = Response, Error = Infallible, Future: Send>,
{
    service_fn(move |request| {
        let (answer, seats) = (service.call(request), seats.clone());
        async move {
            let mut answer = answer.await?;
            if seats.available_permits() == 0 {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok(answer)
        }
    })
}

fn remove_if_there(path: &Path) -> io::Result<()> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// Whoever waits for the file sees all of it or nothing.
fn write_whole(path: &Path, text: &str) -> io::Result<()> {
    let mut name = path.as_os_str().to_owned();
    name.push(".new");
    let mut file = std::fs::File::create(&name)?;
    file.write_all(text.as_bytes())?;
    std::fs::rename(&name, path)
}

#[cfg(test)]
mod tests;
