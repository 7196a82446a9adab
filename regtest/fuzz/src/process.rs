//! What every process of ours reads: configurations, key files, its node's answers, and requests at its own door.

pub(crate) mod bitcoind;

use crate::story::story;
use crate::talk::runtime;
use crate::{Outcome, Target, scratch};
use axum::Router;
use bitcoin::Network;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use palisade_hub::daemon::backup::with_paths;
use palisade_hub::daemon::config::{self, Validate};
use palisade_hub::daemon::genesis::read_genesis;
use palisade_hub::daemon::health::Health;
use palisade_hub::daemon::keyfile::{self, KdfCost, KeyLabel};
use palisade_hub::daemon::password::{Password, PasswordSource};
use palisade_hub::daemon::secret::Secret;
use palisade_hub::daemon::serve::{self, Limits};
use rand::rngs::OsRng;
use serde::de::DeserializeOwned;
use std::path::Path;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::runtime::Runtime;

pub(crate) const TARGETS: &[Target] = &[
    Target {
        name: "process-key-file",
        what: "an encrypted key file: bounded work, and the key only by its password",
        corpus: || vec![key_file()],
        run: |bytes| {
            let path = Path::new("key");
            let password = Password::new(PASSWORD.to_owned()).expect("a password");
            let opened = keyfile::open_bytes::<32>(bytes, path, "covenant", &password, KdfCost::Regtest);
            if let Ok((_, secret)) = &opened {
                assert_eq!(secret.expose(), &[7; 32], "another key came out");
            }
            opened.into()
        },
    },
    Target {
        name: "process-password-file",
        what: "a file with a password",
        corpus: || vec![b"correct horse\n".to_vec(), b"correct horse".to_vec()],
        run: |bytes| PasswordSource::usual(Some(scratch::file("password", bytes))).read("").into(),
    },
    Target {
        name: "process-genesis-file",
        what: "the file with the genesis document",
        corpus: || vec![crate::texts::json(story().world.ledger.genesis().document())],
        run: |bytes| read_genesis(&scratch::file("genesis.json", bytes)).into(),
    },
    Target {
        name: "process-bitcoind",
        what: "answers of a Bitcoin node, recorded from real ones: each question is answered, and each thing found that is asked for",
        corpus: bitcoind::corpus,
        run: bitcoind::run,
    },
    Target {
        name: "process-door",
        what: "bytes on a connection to /health and /metrics, before and after the start: each refusal has its form",
        corpus: || {
            let get = |path: &str| {
                format!("GET {path} HTTP/1.1\r\nhost: localhost\r\naccept: */*\r\n\r\n").into_bytes()
            };
            ["/health", "/metrics"].map(get).to_vec()
        },
        run: door,
    },
];

/// A password of tests.
pub(crate) const PASSWORD: &str = "correct horse";

fn key_file() -> Vec<u8> {
    let label = KeyLabel::new("covenant", "a key").expect("a label");
    let password = Password::new(PASSWORD.to_owned()).expect("a password");
    scratch::written("key", |path| {
        keyfile::create(path, &label, &Secret::new([7; 32]), &password, KdfCost::Regtest, &mut OsRng)
            .expect("a key file");
    })
}

/// A configuration as a process reads it; the same with other paths, as its backup holds it.
pub(crate) fn configuration<T: DeserializeOwned + Validate>(bytes: &[u8]) -> Outcome {
    let loaded = config::load::<T>(&scratch::file("config.toml", bytes));
    let text = String::from_utf8_lossy(bytes);
    if loaded.is_ok() {
        let moved = with_paths(
            &text,
            &[("data_dir", "data"), ("listen.address_file", "address"), ("chains.0.key_file", "key")],
        );
        let moved = moved.expect("it was read as TOML");
        config::load::<T>(&scratch::file("config.toml", moved.as_bytes()))
            .expect("a configuration with other paths");
    }
    loaded.into()
}

fn door(bytes: &[u8]) -> Outcome {
    let health =
        Health::new("palisade-fuzz", "1", palisade_hub::daemon::network::Network::from(Network::Regtest));
    let (router, gate) = serve::gated(health.expect("good names"), Limits::default());
    thread_local! {
        static RUNTIME: Runtime = runtime();
    }
    let talk = async {
        let starting = said(router.clone(), bytes).await;
        gate.open(Router::new());
        let answer = said(router, bytes).await;
        assert_eq!(is_success(&starting), is_success(&answer));
        is_success(&answer).into()
    };
    RUNTIME.with(|runtime| runtime.block_on(talk))
}

fn is_success(answer: &[u8]) -> bool {
    answer.starts_with(b"HTTP/1.1 200")
}

/// All that is answered on one connection.
async fn said(router: Router, bytes: &[u8]) -> Vec<u8> {
    let (mut client, server) = tokio::io::duplex(1 << 16);
    let service = TowerToHyperService::new(router);
    let serving = http1::Builder::new().half_close(true).serve_connection(TokioIo::new(server), service);
    let asking = async {
        let mut answer = Vec::new();
        let (mut receiver, mut sender) = tokio::io::split(&mut client);
        let send = async {
            // Whoever is refused early is not listened to any more.
            let _ = sender.write_all(bytes).await;
            let _ = sender.shutdown().await;
        };
        let (_, read) = tokio::join!(send, receiver.read_to_end(&mut answer));
        read.expect("an answer");
        answer
    };
    // What is no HTTP ends its connection only.
    let (_, answer) = tokio::join!(serving, asking);
    answer
}
