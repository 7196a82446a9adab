//! What a Bitcoin node says to our programs, recorded from two real ones: one whose chain is the story's, and one with a full
//! mempool that has seen enough to estimate fees.
//!
//! An input is taken when its call got what it names, or, if its name begins so, when it got to know that there is no such thing.

use crate::Outcome;
use crate::story::story;
use crate::talk::{Parrot, Recording, runtime};
use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, Block, BlockHash, FeeRate, Network, OutPoint, Transaction, TxOut, Txid};
use palisade_hub::bitcoind::{Acceptance, Auth, BitcoinRpc, RpcError};
use palisade_protocol::transactions::bump;
use palisade_regtest::Node;
use palisade_regtest::node::NodeError;
use palisade_world::{address, key_path, transaction};
use serde_json::Value;
use std::collections::BTreeSet;
use std::sync::LazyLock;

/// Stands before the name of a call that finds nothing.
const NONE: &str = "no_";
/// More than any node estimates.
const FALLBACK: FeeRate = FeeRate::from_sat_per_vb_u32(1_000_000);
/// What an empty mempool takes.
const CHEAP: FeeRate = FeeRate::from_sat_per_vb_u32(2);
/// What those pay that fill one.
const CROWD: FeeRate = FeeRate::from_sat_per_vb_u32(20);

/// Calls that the node with the story's chain answers, the last when it has one block more.
const OF_CHAIN: [&str; 27] = [
    "tip",
    "progress",
    "network",
    "block_hash",
    "no_block_hash",
    "height_of",
    "no_height_of",
    "header",
    "no_header",
    "headers",
    "block",
    "no_block",
    "raw_transaction",
    "no_raw_transaction",
    "tx_out",
    "no_tx_out",
    "no_package",
    "no_mempool_entry",
    "no_waiting",
    "no_spends",
    "no_fee_rates",
    "no_least",
    "scan",
    "accept",
    "send",
    "sent",
    "submit_block",
];

/// Calls that the node with the full mempool answers.
const OF_MEMPOOL: [&str; 8] =
    ["fee_rates", "least", "no_accept", "package", "mempool_entry", "spends", "waiting", "stop"];

/// What is asked about: all of it is the same in every process.
struct Known {
    block: Block,
    /// In that block.
    mined: Transaction,
    /// Is to be sent to the node with the story's chain.
    next: Transaction,
    /// The next block of that chain.
    next_block: Block,
    /// An early exit that a full mempool does not take alone.
    parent: Transaction,
    /// What pays for it.
    child: Transaction,
}

static KNOWN: LazyLock<Known> = LazyLock::new(|| {
    let world = &story().world;
    let block = world.chain[110].clone();
    let (coin, output, _) = &world.coins[0];
    let mut next = transaction(
        vec![*coin],
        vec![TxOut { value: output.value - Amount::from_sat(5_000), ..output.clone() }],
    );
    let name = crate::story::NEWCOMERS.iter().find(|(name, _)| address(name) == output.script_pubkey);
    next.input[0].witness = key_path(name.expect("a newcomer's").0, &next, 0, std::slice::from_ref(output));
    let mut later = world.clone();
    later.mine(1);
    let next_block = later.chain.pop().expect("a block");
    let [parent, child] = story().bumped.clone();
    Known { mined: block.txdata[0].clone(), block, next, next_block, parent, child }
});

/// One call, and whether it found what it asks for.
async fn found(rpc: &BitcoinRpc, call: &str, is_there: bool) -> Result<bool, RpcError> {
    let Known { block, mined, next, next_block, parent, child } = &*KNOWN;
    let hash = if is_there { block.block_hash() } else { BlockHash::all_zeros() };
    let txid = if is_there { mined.compute_txid() } else { Txid::all_zeros() };
    let waiting = if is_there { parent } else { mined }.compute_txid();
    Ok(match call {
        "tip" => rpc.tip().await.map(|_| true)?,
        "progress" => rpc.progress().await.map(|_| true)?,
        "network" => rpc.check_network(Network::Regtest).await.map(|()| true)?,
        "block_hash" => rpc.block_hash(if is_there { 110 } else { 1_000_000 }).await?.is_some(),
        "height_of" => rpc.height_of(hash).await?.is_some(),
        "header" => rpc.header(hash).await?.is_some(),
        "headers" => rpc.headers(100, 8).await?.len() == 8,
        "block" => rpc.block(hash).await?.is_some(),
        "raw_transaction" => rpc.raw_transaction(txid).await?.is_some_and(|found| found.mined_in.is_some()),
        "waiting" => rpc.raw_transaction(waiting).await?.is_some_and(|found| found.mined_in.is_none()),
        "tx_out" => rpc.tx_out(OutPoint { txid, vout: 0 }, true).await?.is_some(),
        "send" => rpc.send_raw_transaction(next).await.map(|_| true)?,
        "sent" => rpc.send_raw_transaction(mined).await.map(|_| true)?,
        "package" => taken(rpc.submit_package(parent, child).await)?,
        "accept" => {
            let judged =
                rpc.test_mempool_accept(std::slice::from_ref(if is_there { next } else { parent })).await?;
            matches!(judged[..], [Acceptance::Allowed { .. }])
        }
        "mempool_entry" => rpc.mempool_entry(waiting).await?.is_some(),
        "spends" => {
            let handle = bump::handle(parent).expect("a bumpable exit");
            let coin = if is_there { handle } else { OutPoint { txid, vout: 0 } };
            rpc.spends_in_mempool(&[coin]).await? == [Some(child.compute_txid())]
        }
        "fee_rates" => rpc.fee_rates(6, FALLBACK).await?.estimate < FALLBACK,
        "least" => rpc.least_fee_rate().await? > CHEAP,
        "submit_block" => rpc.submit_block(next_block).await.map(|()| true)?,
        "scan" => {
            let script = mined.output[0].script_pubkey.to_hex_string();
            !rpc.scan_tx_out_set(&format!("raw({script})")).await?.unspent.is_empty()
        }
        "stop" => rpc.stop().await.map(|()| true)?,
        _ => !is_there,
    })
}

/// Whether a node took a package, or said why not.
fn taken(answer: Result<(), RpcError>) -> Result<bool, RpcError> {
    match answer {
        Ok(()) => Ok(true),
        Err(RpcError::Refused { .. }) => Ok(false),
        Err(why) => Err(why),
    }
}

/// Whether a call got what its name says.
async fn ask(rpc: &BitcoinRpc, name: &str) -> bool {
    let (call, is_there) = name.strip_prefix(NONE).map_or((name, true), |call| (call, false));
    found(rpc, call, is_there).await.is_ok_and(|found| found == is_there)
}

/// Makes the calls, and keeps what the node says.
async fn recorded(node: &Node, calls: &[&str]) -> Vec<Vec<u8>> {
    let recording = Recording::of(&node.rpc_url()).await;
    let rpc = BitcoinRpc::new(recording.url.clone(), Auth::Cookie(node.cookie_path())).expect("an address");
    let mut inputs = Vec::new();
    for call in calls {
        ask(&rpc, call).await;
        inputs.push(recording.input(call));
    }
    inputs
}

/// A node that has seen transactions come and go, and whose mempool takes no more for the least fee.
async fn crowded() -> Result<Node, NodeError> {
    let mut node = Node::of(&story().lost).await?;
    node.mine(160).await?;
    let output = TxOut { value: Amount::from_sat(10_000), script_pubkey: address("anna") };
    for _ in 0..20 {
        for _ in 0..3 {
            node.fund_many(std::slice::from_ref(&output)).await?;
        }
        node.mine(1).await?;
    }
    node.restart_with(&["-maxmempool=5"]).await?;
    node.crowd(CROWD).await?;
    Ok(node)
}

/// Every answer. Nodes take their time, so they are asked once.
pub(super) fn corpus() -> Vec<Vec<u8>> {
    static ANSWERS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
        let record = async {
            let node = Node::of(&story().world).await.expect("a bitcoind");
            let of_chain = recorded(&node, &OF_CHAIN).await;
            let node = crowded().await.expect("a bitcoind");
            [of_chain, recorded(&node, &OF_MEMPOOL).await].concat()
        };
        runtime().block_on(record)
    });
    ANSWERS.clone()
}

thread_local! {
    static NODE: (Parrot, BitcoinRpc) = {
        let parrot = Parrot::new();
        let auth = Auth::UserPass { user: "user".to_owned(), password: "password".to_owned() };
        let rpc = BitcoinRpc::new(parrot.url(), auth).expect("an address");
        (parrot, rpc)
    };
}

pub(super) fn run(bytes: &[u8]) -> Outcome {
    NODE.with(|(parrot, rpc)| parrot.talk(bytes, async |call| ask(rpc, call).await.into()))
}

/// The methods that were asked for in an input and answered with a result.
pub fn answered(input: &[u8]) -> BTreeSet<String> {
    run(input);
    NODE.with(|(parrot, _)| parrot.heard()).iter().filter_map(|(asked, said)| method(asked, said)).collect()
}

/// The method of a request, if the answer is a result. `submitblock` says nothing when all is well.
fn method(asked: &[u8], said: &[u8]) -> Option<String> {
    let one = |bytes: &[u8]| match serde_json::from_slice(bytes).ok()? {
        Value::Array(all) => all.into_iter().next(),
        one => Some(one),
    };
    let (asked, said) = (one(asked)?, one(said)?);
    let method = asked["method"].as_str()?;
    let is_good = said["error"].is_null() && (!said["result"].is_null() || method == "submitblock");
    is_good.then(|| method.to_owned())
}
