//! A voter's own door. Behind it is a real voter with a log, a journal, a refusal and a signer; its hub and its node do not answer.
//!
//! An input is a request as for the hub's API, and goes over a real connection, after which the voter hangs up.

use super::desk::Desk;
use super::{journal, refused_block};
use crate::story::story;
use crate::talk::{Parrot, Recording};
use crate::{Outcome, scratch, texts};
use palisade_finality_provider::voter;
use palisade_finality_provider::voter::config::DEFAULT;
use palisade_finality_provider::voter::status::Status;
use palisade_hub::client::HubClient;
use palisade_hub::daemon::api::ApiErrorBody;
use palisade_hub::daemon::shutdown::Shutdown;
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

/// How long anybody waits for an answer: one that comes is there at once, unless the machine is busy.
const PATIENCE: Duration = Duration::from_secs(2);
/// Blocks of the voter's log.
const BLOCKS: usize = 6;

/// A voter that runs.
struct Door {
    desk: Desk,
    address: String,
    _dir: TempDir,
}

impl Door {
    fn open() -> Self {
        let (dir, desk) = (scratch::dir(), Desk::open());
        let config = equip(dir.path(), desk.socket());
        desk.runtime().spawn(async move { voter::run::run(&config, Shutdown::manual()).await });
        let file = dir.path().join("address");
        let address = desk.runtime().block_on(async {
            loop {
                match std::fs::read_to_string(&file) {
                    Ok(address) if is_open(address.trim()).await => break address.trim().to_owned(),
                    _ => tokio::time::sleep(Duration::from_millis(1)).await,
                }
            }
        });
        Self { desk, address, _dir: dir }
    }
}

/// Makes everything that a voter has on disk. Gives its configuration.
fn equip(dir: &Path, socket: &Path) -> std::path::PathBuf {
    let data = dir.join("data");
    let mut world = story().world.clone();
    world.log.truncate(BLOCKS);
    drop(world.replica(&data));
    std::fs::write(data.join("journal.sqlite"), journal()).expect("a place");
    std::fs::create_dir(data.join("refusals")).expect("a place");
    std::fs::write(data.join("refusals/1.json"), refused_block()).expect("a place");
    let genesis = dir.join("genesis.json");
    std::fs::write(&genesis, texts::json(world.ledger.genesis().document())).expect("a place");
    let listen = format!("address = \"127.0.0.1:0\"\naddress_file = \"{}\"", dir.join("address").display());
    let text = DEFAULT
        .replace("\"voter-data\"", &format!("\"{}\"", data.display()))
        .replace("\"genesis.json\"", &format!("\"{}\"", genesis.display()))
        .replace("\"signer-socket/signer\"", &format!("\"{}\"", socket.display()))
        .replace("address = \"127.0.0.1:8220\"", &listen)
        // Nobody listens there.
        .replace("http://127.0.0.1:8200", "http://127.0.0.1:1")
        .replace("http://127.0.0.1:18443", "http://127.0.0.1:1");
    scratch::file("voter.toml", text.as_bytes())
}

async fn is_open(address: &str) -> bool {
    let asked = b"GET /status HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n";
    answer(address, asked).await.starts_with(b"HTTP/1.1 200")
}

/// What comes on a connection until the other side hangs up.
async fn answer(address: &str, request: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let talk = async {
        let mut stream = TcpStream::connect(address).await?;
        stream.write_all(request).await?;
        stream.read_to_end(&mut bytes).await
    };
    // Whoever is refused early is not listened to any more; what was said before that counts.
    let _ = tokio::time::timeout(PATIENCE, talk).await;
    bytes
}

/// The bytes of a request: what is left out of an input so that it cannot be wrong by itself.
fn request(input: &[u8]) -> Option<Vec<u8>> {
    let end = input.windows(2).position(|two| two == b"\n\n").unwrap_or(input.len());
    let (head, body) = (&input[..end], input.get(end + 2..).unwrap_or_default());
    let mut lines = head.split(|byte| *byte == b'\n');
    let mut bytes = [lines.next()?, b" HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n"].concat();
    lines.for_each(|line| bytes.extend([line, b"\r\n"].concat()));
    if !body.is_empty() {
        bytes.extend(format!("content-length: {}\r\n", body.len()).into_bytes());
    }
    Some([&bytes[..], b"\r\n", body].concat())
}

pub(super) fn corpus() -> Vec<Vec<u8>> {
    ["/status", "/health", "/metrics"]
        .map(|path| format!("GET {path}\naccept: */*\n\n").into_bytes())
        .to_vec()
}

pub(super) fn run(input: &[u8]) -> Outcome {
    thread_local! {
        static DOOR: Door = Door::open();
    }
    let Some(request) = request(input) else { return Outcome::Refused };
    let answer = DOOR.with(|door| door.desk.runtime().block_on(answer(&door.address, &request)));
    let Some(end) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Outcome::Refused };
    let (head, body) = (String::from_utf8_lossy(&answer[..end]), &answer[end + 4..]);
    let taken = head.starts_with("HTTP/1.1 200");
    if taken && input.starts_with(b"GET /status\n") {
        let status: Status = serde_json::from_slice(body).expect("a status");
        assert!(status.signer.is_none() && status.chains.len() == 2 && status.refusals.len() == 1);
    }
    if !taken && !body.is_empty() {
        let ApiErrorBody { error } = serde_json::from_slice(body).expect("a refusal in its form");
        assert!(!error.rule.is_empty() && !error.message.is_empty());
    }
    assert!(!head.starts_with("HTTP/1.1 500"), "{head}");
    taken.into()
}

/// What a voter says, as the command `status` gets it.
pub(super) fn statuses() -> Vec<Vec<u8>> {
    let door = Door::open();
    let record = async {
        let recording = Recording::of(&format!("http://{}/", door.address)).await;
        let client = HubClient::new(recording.url.parse().expect("an address"));
        client.get_json::<Status>("status", &[]).await.expect("a status");
        vec![recording.input("status")]
    };
    door.desk.runtime().block_on(record)
}

/// Reads it and shows it.
pub(super) fn status(bytes: &[u8]) -> Outcome {
    thread_local! {
        static VOTER: (Parrot, HubClient) = {
            let parrot = Parrot::new();
            let client = HubClient::new(parrot.url().parse().expect("an address"));
            (parrot, client)
        };
    }
    let read = VOTER.with(|(parrot, client)| {
        parrot.talk(bytes, async |_| client.get_json::<Status>("status", &[]).await)
    });
    if let Ok(status) = &read {
        assert!(status.to_string().starts_with("hub "));
    }
    read.into()
}
