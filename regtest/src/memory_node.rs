//! What a Bitcoin node would answer, read from blocks that were mined in memory: for tests that need no node's rules.

use axum::routing::post;
use axum::{Json, Router};
use bitcoin::consensus::encode::serialize_hex;
use bitcoin::{Address, Block, Network};
use serde_json::{Value, json};
use std::sync::Arc;

/// The RPC of a node with these blocks, the genesis block first. A method that no test needs is a panic.
pub fn router(blocks: &[Block]) -> Router {
    let blocks = Arc::new(blocks.to_vec());
    let answer = move |Json(asked): Json<Value>| async move {
        Json(match asked.as_array() {
            Some(batch) => batch.iter().map(|request| answer(&blocks, request)).collect(),
            None => answer(&blocks, &asked),
        })
    };
    Router::new().route("/", post(answer))
}

fn answer(blocks: &[Block], request: &Value) -> Value {
    let tip = blocks.last().expect("a genesis block").block_hash();
    let height = blocks.len() - 1;
    let params = &request["params"];
    let find =
        |hash: &Value| blocks.iter().find(|block| json!(block.block_hash()) == *hash).expect("a block");
    let found = match request["method"].as_str().expect("a method") {
        "getblockchaininfo" => json!({ "chain": "regtest", "blocks": height, "bestblockhash": tip }),
        "getblockhash" => json!(blocks[params[0].as_u64().expect("a height") as usize].block_hash()),
        "getblock" => serialize_hex(find(&params[0])).into(),
        "getblockheader" => serialize_hex(&find(&params[0]).header).into(),
        "scantxoutset" => {
            let unspents = outputs_to(blocks, params[1][0].as_str().expect("a descriptor"));
            json!({ "success": true, "height": height, "bestblock": tip, "unspents": unspents })
        }
        method => panic!("nobody is expected to ask for {method}"),
    };
    json!({ "jsonrpc": "2.0", "id": request["id"], "result": found, "error": null })
}

/// Outputs that pay an address, as `addr(ADDRESS)`. In memory nobody spends them.
fn outputs_to(blocks: &[Block], descriptor: &str) -> Vec<Value> {
    let address = descriptor.strip_prefix("addr(").and_then(|rest| rest.split(')').next()).expect("addr()");
    let address: Address<_> = address.parse().expect("an address");
    let script = address.require_network(Network::Regtest).expect("of regtest").script_pubkey();
    let mut found = Vec::new();
    for (height, block) in blocks.iter().enumerate() {
        for tx in &block.txdata {
            for (vout, output) in tx.output.iter().enumerate().filter(|(_, own)| own.script_pubkey == script)
            {
                found.push(json!({
                    "txid": tx.compute_txid(),
                    "vout": vout,
                    "scriptPubKey": output.script_pubkey,
                    "amount": output.value.to_btc(),
                    "coinbase": tx.is_coinbase(),
                    "height": height,
                }));
            }
        }
    }
    found
}
