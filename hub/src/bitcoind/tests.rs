//! The client against a node that answers whatever a test says. The real one is met in `regtest`.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::Request;
use axum::http::{StatusCode, header};
use bitcoin::hashes::Hash;
use bitcoin::{absolute, transaction};

use super::*;

/// A node that answers each request by `answer(credentials, JSON-RPC request)`.
async fn node(answer: impl Fn(&str, Value) -> (u16, String) + Clone + Send + Sync + 'static) -> String {
    let app = axum::Router::new().fallback(move |request: Request| {
        let answer = answer.clone();
        async move {
            let credentials = request.headers()[header::AUTHORIZATION].to_str().unwrap().to_owned();
            let body = axum::body::to_bytes(request.into_body(), 1 << 20).await.unwrap();
            let (status, text) = answer(&credentials, serde_json::from_slice(&body).unwrap());
            (StatusCode::from_u16(status).unwrap(), text)
        }
    });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await.unwrap() });
    url
}

fn user() -> Auth {
    Auth::UserPass { user: "u".into(), password: "secret".into() }
}

/// A client of a node that always gives this answer.
async fn always(status: u16, body: impl Into<String>) -> BitcoinRpc {
    let body = body.into();
    let url = node(move |_, _| (status, body.clone())).await;
    BitcoinRpc::new(url, user()).unwrap()
}

/// A client of a node that answers single calls by `result(method)`.
async fn scripted(result: impl Fn(&str) -> Value + Clone + Send + Sync + 'static) -> BitcoinRpc {
    let url = node(move |_, request| {
        let mut answer = result(request["method"].as_str().unwrap());
        answer["id"] = request["id"].clone();
        (200, answer.to_string())
    })
    .await;
    BitcoinRpc::new(url, user()).unwrap()
}

fn complaint(code: i64, message: &str) -> Value {
    json!({ "error": { "code": code, "message": message } })
}

fn some_transaction() -> Transaction {
    Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![bitcoin::TxIn::default()],
        output: vec![bitcoin::TxOut::NULL],
    }
}

#[tokio::test]
async fn each_bad_answer_has_its_error() {
    let chain_info = json!({ "result": { "chain": "regtest" }, "error": null, "id": 0 });
    let cases: [(u16, String, &str, bool); 9] = [
        (200, complaint(-28, "Loading block index").to_string(), "still starting: Loading block index", true),
        (500, complaint(-8, "Block height out of range").to_string(), "out of range (code -8)", false),
        (503, "Work queue depth exceeded".into(), "cannot be reached: Work queue depth exceeded", true),
        (401, String::new(), "does not accept the credentials (user u, password [redacted])", false),
        (403, String::new(), "does not accept the credentials", false),
        (302, String::new(), "HTTP status 302", false),
        (200, "<html>".into(), "answer to getblockchaininfo cannot be used", false),
        (200, json!({ "result": 1, "error": null, "id": 7 }).to_string(), "it is marked 7, not 0", false),
        (200, chain_info.to_string(), "missing field `blocks`", false),
    ];
    for (status, body, wanted, retried) in cases {
        let mut error = always(status, body).await.tip().await.unwrap_err();
        if let RpcError::WarmingUp { url, .. } | RpcError::Unreachable { url, .. } = &mut error {
            assert!(url.starts_with("http://127.0.0.1:"), "{url}");
        }
        assert!(error.to_string().contains(wanted), "{error} lacks {wanted}");
        assert_eq!(error.can_be_retried(), retried, "{error}");
    }
}

#[tokio::test]
async fn an_endless_answer_is_cut_off() {
    let error = always(200, " ".repeat((32 << 20) + 1)).await.tip().await.unwrap_err();
    assert!(error.to_string().contains("longer than 33554432 bytes"), "{error}");
}

#[tokio::test]
async fn a_node_that_is_gone_is_unreachable_and_may_come_back() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    drop(listener);
    let error = BitcoinRpc::new(url, user()).unwrap().tip().await.unwrap_err();
    assert!(matches!(&error, RpcError::Unreachable { reason, .. } if reason.contains("refused")), "{error}");
    assert!(error.can_be_retried());
}

#[test]
fn what_is_no_address_is_refused_at_once() {
    for url in ["", "127.0.0.1:8332", "ftp://127.0.0.1", "http://"] {
        assert!(matches!(BitcoinRpc::new(url, user()), Err(RpcError::BadAddress { .. })), "{url}");
    }
}

#[tokio::test]
async fn a_new_cookie_is_read_when_the_old_one_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(".cookie");
    let refusals = Arc::new(AtomicUsize::new(0));
    let counted = refusals.clone();
    let accepted = "Basic X19jb29raWVfXzpuZXc="; // __cookie__:new
    let url = node(move |credentials, _| {
        if credentials == accepted {
            return (200, json!({ "result": BlockHash::all_zeros(), "id": 0 }).to_string());
        }
        counted.fetch_add(1, Ordering::SeqCst);
        (401, String::new())
    })
    .await;
    let rpc = BitcoinRpc::new(url, Auth::Cookie(path.clone())).unwrap();

    let error = rpc.block_hash(0).await.unwrap_err();
    assert!(
        error.to_string().contains("bitcoind writes it when it starts") && error.can_be_retried(),
        "{error}"
    );
    std::fs::write(&path, "__cookie__:old").unwrap();
    let error = rpc.block_hash(0).await.unwrap_err();
    assert!(matches!(error, RpcError::Unauthorized { .. }), "{error}");
    std::fs::write(&path, "__cookie__:new").unwrap();
    assert_eq!(rpc.block_hash(0).await.unwrap(), Some(BlockHash::all_zeros()));
    assert_eq!(
        refusals.load(Ordering::SeqCst),
        3,
        "twice the old cookie, then once before reading the new one"
    );
    std::fs::remove_file(&path).unwrap();
    assert_eq!(rpc.block_hash(0).await.unwrap(), Some(BlockHash::all_zeros()), "the accepted cookie is kept");
}

#[tokio::test]
async fn another_block_header_or_transaction_than_the_one_asked_for_is_malformed() {
    let genesis = genesis_block(Network::Regtest);
    let block = serialize_hex(&genesis);
    let header = serialize_hex(&genesis.header);
    let transaction = serialize_hex(&some_transaction());
    let rpc = scripted(move |method| match method {
        "getblock" => json!({ "result": block }),
        "getblockheader" => json!({ "result": header }),
        "sendrawtransaction" => json!({ "result": Txid::all_zeros() }),
        _ => json!({ "result": { "hex": transaction } }),
    })
    .await;
    let malformed = |error: RpcError| matches!(error, RpcError::Malformed { .. });
    assert!(rpc.block(genesis.block_hash()).await.unwrap().is_some());
    assert!(malformed(rpc.block(BlockHash::all_zeros()).await.unwrap_err()));
    assert!(rpc.header(genesis.block_hash()).await.unwrap().is_some());
    assert!(malformed(rpc.header(BlockHash::all_zeros()).await.unwrap_err()));
    assert!(rpc.raw_transaction(some_transaction().compute_txid()).await.unwrap().is_some());
    assert!(malformed(rpc.raw_transaction(Txid::all_zeros()).await.unwrap_err()));
    assert!(malformed(rpc.send_raw_transaction(&some_transaction()).await.unwrap_err()));
}

#[tokio::test]
async fn sending_again_succeeds_only_when_the_node_holds_the_transaction_now() {
    let hex = serialize_hex(&some_transaction());
    let block = BlockHash::all_zeros();
    let missing = complaint(-25, "bad-txns-inputs-missingorspent");
    let cases = [
        (complaint(-27, "Transaction outputs already in utxo set"), complaint(-5, "unused"), true),
        (missing.clone(), json!({ "result": { "hex": hex, "blockhash": block, "confirmations": 3 } }), true),
        (missing.clone(), json!({ "result": { "hex": hex } }), true),
        (missing.clone(), json!({ "result": { "hex": hex, "blockhash": block, "confirmations": 0 } }), false),
        (missing.clone(), complaint(-5, "No such mempool or blockchain transaction. Use ..."), false),
        (missing, complaint(-5, "No such mempool transaction. Blockchain transactions are still ..."), false),
    ];
    for (sent, found, succeeds) in cases {
        let shown = format!("{sent} {found}");
        let answer = move |method: &str| if method == "sendrawtransaction" { &sent } else { &found }.clone();
        let result = scripted(answer).await.send_raw_transaction(&some_transaction()).await;
        match result {
            Ok(_) => assert!(succeeds, "{shown}"),
            Err(error) => {
                assert!(!succeeds && error.to_string().contains("missingorspent"), "{shown}: {error}");
            }
        }
    }
}

#[tokio::test]
async fn a_transaction_that_cannot_be_looked_for_is_an_error_and_not_missing() {
    let cases = [
        ("No such mempool transaction. Use -txindex or provide a block hash ...", false),
        (
            "No such mempool transaction. Blockchain transactions are still in the process of being indexed.",
            true,
        ),
    ];
    for (message, retried) in cases {
        let rpc = scripted(move |_| complaint(-5, message)).await;
        let error = rpc.raw_transaction(Txid::all_zeros()).await.unwrap_err();
        assert!(error.to_string().contains(message), "{error}");
        assert_eq!(error.can_be_retried(), retried, "{error}");
    }
}

#[tokio::test]
async fn the_fee_rate_is_rounded_up_and_has_a_fallback() {
    let fallback = FeeRate::from_sat_per_vb_u32(2);
    let unknown = || json!({ "errors": ["Insufficient data or no feerate found"], "blocks": 2 });
    let estimate = || json!({ "feerate": 0.00001001, "blocks": 2 });
    let kwu = FeeRate::from_sat_per_kwu;
    let cases = [
        (unknown(), 0.000001, fallback),
        (estimate(), 0.000001, kwu(251)),
        // A full mempool takes no less than its minimum, and drops what pays just that.
        (unknown(), 0.00009001, kwu(2_276)),
        (estimate(), 0.00009001, kwu(2_276)),
    ];
    for (result, least, wanted) in cases {
        let limits =
            json!({ "mempoolminfee": least, "minrelaytxfee": 0.000001, "incrementalrelayfee": 0.000001 });
        let answer = move |method: &str| match method {
            "getmempoolinfo" => json!({ "result": limits }),
            _ => json!({ "result": result }),
        };
        let rpc = scripted(answer).await;
        assert_eq!(rpc.estimate_fee_rate(2, fallback).await.unwrap(), wanted);
    }
}

#[tokio::test]
async fn headers_that_do_not_link_mean_that_the_chain_moved() {
    let genesis = genesis_block(Network::Regtest).header;
    let url = node(move |_, request| {
        let answer = |request: &Value| {
            let result = match request["method"].as_str().unwrap() {
                "getblockchaininfo" => {
                    json!({ "chain": "regtest", "blocks": 9, "headers": 9, "bestblockhash": genesis.block_hash(), "initialblockdownload": false })
                }
                "getblockhash" => json!(genesis.block_hash()),
                _ => json!(serialize_hex(&genesis)),
            };
            json!({ "result": result, "id": request["id"] })
        };
        let all = match &request {
            Value::Array(requests) => Value::Array(requests.iter().map(answer).collect()),
            single => answer(single),
        };
        (200, all.to_string())
    })
    .await;
    let rpc = BitcoinRpc::new(url, user()).unwrap();
    assert_eq!(rpc.headers(9, 5).await.unwrap(), [genesis], "one header links to nothing");
    assert_eq!(rpc.headers(10, 5).await.unwrap(), [], "nothing is above the tip");
    assert_eq!(rpc.headers(0, 0).await.unwrap(), []);
    let error = rpc.headers(8, 2).await.unwrap_err();
    assert!(matches!(error, RpcError::ChainMoved { .. }) && error.can_be_retried(), "{error}");
}

#[test]
fn a_package_member_without_a_verdict_is_not_allowed() {
    let read = |value: Value| Acceptance::from(serde_json::from_value::<AcceptInfo>(value).unwrap());
    let txid = Txid::all_zeros();
    let refused = |reason: &str| Acceptance::Refused { reason: reason.into() };
    let allowed = Acceptance::Allowed { vsize: 100, fee: Amount::from_sat(21) };
    assert_eq!(
        read(json!({ "txid": txid, "allowed": true, "vsize": 100, "fees": { "base": 0.00000021 } })),
        allowed
    );
    assert_eq!(
        read(json!({ "txid": txid, "allowed": false, "reject-reason": "non-BIP68-final" })),
        refused("non-BIP68-final")
    );
    assert_eq!(
        read(json!({ "txid": txid, "package-error": "package-not-sorted" })),
        refused("package-not-sorted")
    );
    assert!(matches!(read(json!({ "txid": txid })), Acceptance::Refused { .. }));
}

#[tokio::test]
async fn a_node_that_names_our_network_over_another_chain_is_refused() {
    let genesis = |network| genesis_block(network).block_hash();
    for (name, network, first, wanted) in [
        ("regtest", Network::Regtest, genesis(Network::Regtest), None),
        ("main", Network::Bitcoin, genesis(Network::Bitcoin), None),
        ("signet", Network::Signet, genesis(Network::Signet), None),
        (
            "regtest",
            Network::Bitcoin,
            genesis(Network::Bitcoin),
            Some("bitcoind is on regtest, we are on bitcoin"),
        ),
        ("regtest", Network::Regtest, BlockHash::all_zeros(), Some("but its own first block is 00000000")),
        (
            "main",
            Network::Bitcoin,
            genesis(Network::Testnet4),
            Some("says that it is on bitcoin, whose first block is"),
        ),
    ] {
        let url = node(move |_, request| {
            let info = json!({
                "chain": name, "blocks": 0, "headers": 0, "bestblockhash": first, "initialblockdownload": false,
            });
            let result = if request["method"] == "getblockhash" { json!(first) } else { info };
            (200, json!({ "result": result, "id": 0 }).to_string())
        })
        .await;
        let judged = BitcoinRpc::new(url, user()).unwrap().check_network(network).await;
        assert_eq!(judged.is_ok(), wanted.is_none(), "{judged:?}");
        if let (Err(why), Some(wanted)) = (judged, wanted) {
            assert!(why.to_string().contains(wanted) && !why.can_be_retried(), "{why}");
        }
    }
}
