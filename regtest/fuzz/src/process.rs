//! What every process of ours reads: configurations, key files, its node's answers, and requests at its own door.

use crate::story::story;
use crate::talk::{Parrot, Recording, runtime};
use crate::{Outcome, Target, scratch};
use axum::Router;
use bitcoin::{FeeRate, Network, OutPoint, Transaction};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use palisade_hub::bitcoind::{Auth, BitcoinRpc, RpcError};
use palisade_hub::daemon::backup::with_paths;
use palisade_hub::daemon::config::{self, Validate};
use palisade_hub::daemon::genesis::read_genesis;
use palisade_hub::daemon::health::Health;
use palisade_hub::daemon::keyfile::{self, KdfCost, KeyLabel};
use palisade_hub::daemon::password::{Password, PasswordSource};
use palisade_hub::daemon::secret::Secret;
use palisade_hub::daemon::serve::{self, Limits};
use palisade_regtest::Node;
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
        what: "answers of a Bitcoin node, recorded from a real one",
        corpus: bitcoind_answers,
        run: |bytes| {
            thread_local! {
                static NODE: (Parrot, BitcoinRpc) = {
                    let parrot = Parrot::new();
                    let auth = Auth::UserPass { user: "user".to_owned(), password: "password".to_owned() };
                    let rpc = BitcoinRpc::new(parrot.url(), auth).expect("an address");
                    (parrot, rpc)
                };
            }
            NODE.with(|(parrot, rpc)| parrot.talk(bytes, async |call| ask(rpc, call).await.into()))
        },
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

/// One call of each kind that our programs make, about a block and transactions that the node has.
async fn ask(rpc: &BitcoinRpc, call: &str) -> Result<(), RpcError> {
    let block = &story().world.chain[110];
    let hash = block.block_hash();
    let known: &Transaction = &block.txdata[0];
    let coin = OutPoint { txid: known.compute_txid(), vout: 0 };
    match call {
        "tip" => rpc.tip().await.map(drop),
        "progress" => rpc.progress().await.map(drop),
        "network" => rpc.check_network(Network::Regtest).await,
        "block_hash" => rpc.block_hash(110).await.map(drop),
        "height_of" => rpc.height_of(hash).await.map(drop),
        "header" => rpc.header(hash).await.map(drop),
        "headers" => rpc.headers(100, 8).await.map(drop),
        "block" => rpc.block(hash).await.map(drop),
        "raw_transaction" => rpc.raw_transaction(coin.txid).await.map(drop),
        "tx_out" => rpc.tx_out(coin, true).await.map(drop),
        "send" => rpc.send_raw_transaction(known).await.map(drop),
        "package" => rpc.submit_package(known, known).await,
        "accept" => rpc.test_mempool_accept(std::slice::from_ref(known)).await.map(drop),
        "mempool_entry" => rpc.mempool_entry(coin.txid).await.map(drop),
        "spends" => rpc.spends_in_mempool(&[coin]).await.map(drop),
        "fee_rates" => rpc.fee_rates(6, FeeRate::BROADCAST_MIN).await.map(drop),
        "submit_block" => rpc.submit_block(block).await,
        "scan" => rpc
            .scan_tx_out_set(&format!("raw({})", known.output[0].script_pubkey.to_hex_string()))
            .await
            .map(drop),
        _ => Err(RpcError::ChainMoved { method: "none" }),
    }
}

const CALLS: [&str; 18] = [
    "tip",
    "progress",
    "network",
    "block_hash",
    "height_of",
    "header",
    "headers",
    "block",
    "raw_transaction",
    "tx_out",
    "send",
    "package",
    "accept",
    "mempool_entry",
    "spends",
    "fee_rates",
    "submit_block",
    "scan",
];

fn bitcoind_answers() -> Vec<Vec<u8>> {
    let record = async {
        let node = Node::of(&story().world).await.expect("a bitcoind");
        let recording = Recording::of(&node.rpc_url()).await;
        let rpc =
            BitcoinRpc::new(recording.url.clone(), Auth::Cookie(node.cookie_path())).expect("an address");
        let mut inputs = Vec::new();
        for call in CALLS {
            let answered = ask(&rpc, call).await;
            let input = recording.input(call);
            // A refusal is an answer like others; what is accepted stands in the corpus.
            inputs.extend(answered.is_ok().then_some(input));
        }
        inputs
    };
    runtime().block_on(record)
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
