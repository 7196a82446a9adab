//! The log of `docs/vectors`: sixty-two blocks whose state roots were made in Python from the specification alone.
//!
//! Providers, a stake that is answered, included and active, two chains' sets, a certificate, evidence, anchors and a reorg, a
//! trip of the breaker and governance: a leaf that is spelt in another way (docs/protocol.md, section 8.2) gives another root.

use bitcoin::hex::FromHex as _;
use palisade_hub::ledger::state::StakeState;
use palisade_hub::ledger::{BadBlock, Event, Ledger};
use palisade_hub::store::FORMAT;
use palisade_protocol::block::Block;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::genesis::Genesis;
use serde_json::Value;
use std::sync::Arc;

fn vectors() -> Value {
    serde_json::from_str(include_str!("../../../../docs/vectors/vectors.json")).expect("JSON")
}

fn newborn(vectors: &Value) -> Ledger {
    let document = serde_json::from_value(vectors["genesis"]["document"].clone()).expect("a document");
    Ledger::new(Arc::new(Genesis::new(document).expect("a genesis")))
}

fn log(vectors: &Value) -> Vec<Block> {
    let blocks = vectors["log"].as_array().expect("a list").iter();
    let bytes = blocks.map(|block| Vec::from_hex(block.as_str().expect("text")).expect("hex"));
    bytes.map(|bytes| Block::from_bytes(&bytes).expect("a block")).collect()
}

#[test]
fn every_block_of_the_second_implementation_gives_the_root_that_it_claims() {
    let vectors = vectors();
    let mut ledger = newborn(&vectors);
    let mut states = Vec::new();
    for block in log(&vectors) {
        let events = ledger.replay(&block).unwrap_or_else(|why| panic!("{why}"));
        states.extend(events.into_iter().filter_map(|event| match event {
            Event::Stake { state, .. } => Some(state),
            _ => None,
        }));
    }
    use StakeState::{Active, Exposed, Pending, Verified};
    assert_eq!(states, [Pending, Verified, Active, Exposed]);
    assert_eq!(ledger.next_height().0, 62);
    assert_eq!(ledger.breaker(), None);
}

#[test]
fn whoever_changes_the_leaves_of_the_state_raises_the_format_of_the_store() {
    let root = log(&vectors()).pop().expect("a block").header.state_root.to_string();
    // With other vectors of the same formats only the root changes here.
    assert_eq!(
        (FORMAT, root.as_str()),
        (3, "ffdeb8490250468741020a0eb5195a4be910dfa3316d0298ab5ac5de293b0a75")
    );
}

#[test]
fn a_block_of_the_log_with_another_root_is_refused() {
    let vectors = vectors();
    let mut ledger = newborn(&vectors);
    let mut block = log(&vectors).remove(0);
    block.header.state_root.0[0] ^= 1;
    assert!(matches!(ledger.replay(&block), Err(BadBlock::Signature(_))), "the signature covers the root");
}
