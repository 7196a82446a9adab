//! The door, tried over real connections on the loopback interface.

use std::future::pending;

use axum::body::Bytes;
use axum::routing::post;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

use super::*;
use crate::daemon::api::{Api, ApiErrorBody};
use crate::daemon::health::Status;

const LIMITS: Limits = Limits { body_bytes: 10, request_time: Duration::from_millis(500) };

struct Door {
    base: String,
    address: SocketAddr,
    health: Health,
    shutdown: Shutdown,
    running: JoinHandle<()>,
}

async fn open(own: Router, limits: Limits) -> Door {
    let health = Health::new("palisade-test", "0.0.1", bitcoin::Network::Regtest.into()).unwrap();
    let shutdown = Shutdown::manual();
    let server = Server::bind(&ListenAddr::any_loopback_port()).await.unwrap();
    let address = server.address();
    let (router, stop) = (router(own, health.clone(), limits), shutdown.clone());
    let running = tokio::spawn(async move { server.run(router, &stop).await });
    Door { base: format!("http://{address}"), address, health, shutdown, running }
}

async fn refusal(response: reqwest::Response) -> (u16, String, bool) {
    let status = response.status().as_u16();
    let body: ApiErrorBody = response.json().await.expect("our form of refusal");
    (status, body.error.rule, body.error.retry)
}

#[tokio::test]
async fn health_and_metrics_stand_beside_the_own_routes() {
    let door = open(Router::new().route("/own", get(async || "own")), Limits::default()).await;
    let get = async |path: &str| reqwest::get(format!("{}{path}", door.base)).await.unwrap();
    assert_eq!(get("/own").await.text().await.unwrap(), "own");
    let report: HealthReport = get("/health").await.json().await.unwrap();
    assert_eq!((report.status, report.process.as_str()), (Status::Ok, "palisade-test"));
    door.health.degrade("bitcoind", "no answer");
    let degraded = get("/health").await;
    assert_eq!(degraded.status(), 200);
    assert_eq!(degraded.json::<HealthReport>().await.unwrap().reasons, ["bitcoind: no answer"]);
    let metrics = get("/metrics").await;
    assert_eq!(metrics.headers()["content-type"], "text/plain; version=0.0.4");
    assert!(metrics.text().await.unwrap().contains("palisade_degraded 1"));
}

#[tokio::test]
async fn every_refusal_has_our_form() {
    let own = Router::new()
        .route("/echo", post(async |Api(body): Api<Bytes>| body))
        .route("/slow", get(async || pending::<()>().await));
    let door = open(own, LIMITS).await;
    let client = reqwest::Client::new();
    let url = |path: &str| format!("{}{path}", door.base);
    let send = async |request: reqwest::RequestBuilder| refusal(request.send().await.unwrap()).await;

    assert_eq!(send(client.get(url("/nowhere"))).await, (404, "not-found".into(), false));
    assert_eq!(send(client.delete(url("/echo"))).await, (405, "method-not-allowed".into(), false));
    assert_eq!(send(client.post(url("/health"))).await, (405, "method-not-allowed".into(), false));
    assert_eq!(
        send(client.post(url("/echo")).body("12345678901")).await,
        (413, "body-too-large".into(), false)
    );
    assert_eq!(send(client.get(url("/slow"))).await, (408, "request-timeout".into(), true));
    let echoed = client.post(url("/echo")).body("1234567890").send().await.unwrap();
    assert_eq!(echoed.text().await.unwrap(), "1234567890");
}

#[tokio::test]
async fn a_body_that_never_ends_does_not_hold_the_door() {
    let door = open(Router::new().route("/echo", post(async |Api(body): Api<Bytes>| body)), LIMITS).await;
    let mut slow = TcpStream::connect(door.address).await.unwrap();
    slow.write_all(b"POST /echo HTTP/1.1\r\nhost: h\r\ncontent-length: 5\r\nconnection: close\r\n\r\n12")
        .await
        .unwrap();
    let mut answer = String::new();
    slow.read_to_string(&mut answer).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("request-timeout"), "{answer}");
}

#[tokio::test]
async fn a_request_in_flight_is_answered_before_the_door_closes() {
    let (entered, leave) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
    let (entering, leaving) = (entered.clone(), leave.clone());
    let handler = async move || {
        entering.notify_one();
        leaving.notified().await;
        "answered"
    };
    let door = open(Router::new().route("/wait", get(handler)), Limits::default()).await;
    let asked = tokio::spawn(reqwest::get(format!("{}/wait", door.base)));
    entered.notified().await;
    door.shutdown.trigger();
    leave.notify_one();
    assert_eq!(asked.await.unwrap().unwrap().text().await.unwrap(), "answered");
    door.running.await.unwrap();
    assert!(TcpStream::connect(door.address).await.is_err());
}

#[tokio::test]
async fn clients_that_stay_cannot_keep_a_process_from_stopping() {
    let door =
        open(Router::new().route("/stream", get(async || pending::<()>().await)), Limits::default()).await;
    let mut silent = TcpStream::connect(door.address).await.unwrap();
    silent.write_all(b"GET /stre").await.unwrap();
    let mut waiting = TcpStream::connect(door.address).await.unwrap();
    waiting.write_all(b"GET /stream HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    // An answer on a third connection shows that the door has seen the first two.
    reqwest::get(format!("{}/health", door.base)).await.unwrap();
    door.shutdown.trigger();
    let closed = tokio::time::timeout(DRAIN + Duration::from_secs(2), door.running).await;
    closed.expect("the door closes in time").unwrap();
}

#[tokio::test]
async fn whoever_sends_no_request_gives_the_seat_up_and_who_waits_outside_is_answered() {
    let health = Health::new("palisade-test", "0.0.1", bitcoin::Network::Regtest.into()).unwrap();
    let server = Server::bind(&ListenAddr::any_loopback_port()).await.unwrap();
    let (address, shutdown) = (server.address(), Shutdown::manual());
    let (router, stop) = (router(Router::new(), health, Limits::default()), shutdown.clone());
    let crowd = Crowd { connections: 3, head_time: Duration::from_millis(300), ..CROWD };
    let running = tokio::spawn(async move { server.serve(router, &stop, crowd).await });
    let mut silent = Vec::new();
    for said in ["", "GET /health HTTP/1.1\r\n", "GET /health HTTP/1.1\r\nhost: h\r\nx: "] {
        let mut connection = TcpStream::connect(address).await.unwrap();
        connection.write_all(said.as_bytes()).await.unwrap();
        silent.push(connection);
    }
    // All seats are taken: this one is answered only because those are sent away.
    let answer = reqwest::get(format!("http://{address}/health")).await.unwrap();
    assert_eq!(answer.status(), 200);
    for mut connection in silent {
        let mut rest = Vec::new();
        // Closed or reset, and with or without a word: it has ended.
        let _ = connection.read_to_end(&mut rest).await;
        assert!(!rest.starts_with(b"HTTP/1.1 200"), "{rest:?}");
    }
    shutdown.trigger();
    running.await.unwrap();
}

#[tokio::test]
async fn whoever_takes_no_answer_gives_the_seat_up() {
    let health = Health::new("palisade-test", "0.0.1", bitcoin::Network::Regtest.into()).unwrap();
    let server = Server::bind(&ListenAddr::any_loopback_port()).await.unwrap();
    let (address, shutdown) = (server.address(), Shutdown::manual());
    let large = Router::new().route("/large", get(async || vec![7_u8; 32 << 20]));
    let (router, stop) = (router(large, health, Limits::default()), shutdown.clone());
    let crowd = Crowd { connections: 1, stall_time: Duration::from_millis(500), ..CROWD };
    let running = tokio::spawn(async move { server.serve(router, &stop, crowd).await });
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(2_048).unwrap();
    let mut greedy = socket.connect(address).await.unwrap();
    greedy.write_all(b"GET /large HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
    // The only seat is taken: this one is answered only because the other is sent away.
    let answer = reqwest::get(format!("http://{address}/health"));
    let answer = tokio::time::timeout(Duration::from_secs(30), answer).await.expect("a seat").unwrap();
    assert_eq!(answer.status(), 200);
    shutdown.trigger();
    running.await.unwrap();
}

#[tokio::test]
async fn while_every_seat_is_taken_an_answer_ends_its_connection_and_who_waits_outside_gets_in() {
    let health = Health::new("palisade-test", "0.0.1", bitcoin::Network::Regtest.into()).unwrap();
    let server = Server::bind(&ListenAddr::any_loopback_port()).await.unwrap();
    let (address, shutdown) = (server.address(), Shutdown::manual());
    let (router, stop) = (router(Router::new(), health, Limits::default()), shutdown.clone());
    let crowd = Crowd { connections: 4, ..CROWD };
    let running = tokio::spawn(async move { server.serve(router, &stop, crowd).await });
    let ask = async |connection: &mut TcpStream| {
        connection.write_all(b"GET /health HTTP/1.1\r\nhost: h\r\n\r\n").await.unwrap();
        let (mut answer, mut byte) = (Vec::new(), [0]);
        // The body ends with its only brace that closes.
        while byte != *b"}" {
            assert_eq!(connection.read(&mut byte).await.unwrap(), 1, "{answer:?}");
            answer.push(byte[0]);
        }
        String::from_utf8(answer).unwrap().to_lowercase()
    };
    let mut seated = Vec::new();
    for place in 0..4 {
        let mut connection = TcpStream::connect(address).await.unwrap();
        let closes = ask(&mut connection).await.contains("connection: close");
        // One seat is held for whoever comes next, so the third connection takes the last.
        assert_eq!(closes, place >= 2, "connection {place}");
        seated.push(connection);
    }
    let mut outside = TcpStream::connect(address).await.unwrap();
    ask(&mut outside).await;
    shutdown.trigger();
    running.await.unwrap();
}

fn listen(address: &str, file: &Path) -> ListenAddr {
    toml::from_str(&format!("address = '{address}'\naddress_file = '{}'", file.display())).unwrap()
}

#[tokio::test]
async fn the_bound_address_is_in_its_file_and_a_stale_one_is_not() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("an address");
    std::fs::write(&file, "127.0.0.1:1\n").unwrap();
    let server = Server::bind(&listen("127.0.0.1:0", &file)).await.unwrap();
    assert_ne!(server.address().port(), 0);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), format!("{}\n", server.address()));
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);

    let taken = Server::bind(&listen(&server.address().to_string(), &file)).await.unwrap_err();
    assert!(matches!(&taken, ServeError::Bind { address, .. } if *address == server.address()));
    assert!(!file.exists());

    let nowhere = Server::bind(&listen("127.0.0.1:0", &dir.path().join("missing/file"))).await.unwrap_err();
    assert!(matches!(nowhere, ServeError::AddressFile { .. }));
}

#[tokio::test]
async fn while_a_process_starts_it_tells_of_itself_and_everything_else_waits() {
    let health = Health::new("palisade-test", "0.0.1", bitcoin::Network::Regtest.into()).unwrap();
    let server = Server::bind(&ListenAddr::any_loopback_port()).await.unwrap();
    let (base, shutdown) = (format!("http://{}", server.address()), Shutdown::manual());
    let ((routes, gate), stop) = (gated(health.clone(), Limits::default()), shutdown.clone());
    let running = tokio::spawn(async move { server.run(routes, &stop).await });
    let get = async |path: &str| reqwest::get(format!("{base}{path}")).await.unwrap();
    let reasons = async || get("/health").await.json::<HealthReport>().await.unwrap().reasons;
    assert_eq!(reasons().await, ["start: opening its files"]);
    assert!(get("/metrics").await.text().await.unwrap().contains("palisade_degraded 1"));
    for path in ["/own", "/nowhere"] {
        assert_eq!(refusal(get(path).await).await, (503, "starting".to_owned(), true));
    }
    gate.open(Router::new().route("/own", get_door()));
    assert_eq!(get("/own").await.text().await.unwrap(), "own");
    assert_eq!(refusal(get("/nowhere").await).await, (404, "not-found".to_owned(), false));
    assert_eq!(reasons().await, Vec::<String>::new());
    shutdown.trigger();
    running.await.unwrap();
}

fn get_door() -> axum::routing::MethodRouter {
    get(async || "own")
}
