//! False versions of a block.

use super::flipped;
use bitcoin::BlockHash;
use bitcoin::hashes::Hash as _;
use palisade_protocol::block::{Block, HubHeader, MessageBytes, message_tree};
use palisade_protocol::codec::{DecodeError, Wire as _};
use palisade_protocol::context::Context;
use palisade_protocol::hash::sha256;
use palisade_protocol::message::Message;
use palisade_world::schnorr;
use std::collections::BTreeSet;

/// Bytes of each message that are altered besides the first of each field: few, for that no byte can be another is tested
/// where it costs less, on a replica alone.
const SAMPLE: u64 = 2;

/// False versions of a block, each altered in one place, with the name of the place.
///
/// As anybody on the way could: every header field, the signature, the count of messages, each message's length and bytes.
/// As a thief of the hub's key could (`context` is chain zero's hub context), and signed again: other header fields, a
/// message less, one twice, and the first byte of every field of every message, below a message root that fits.
/// Besides, a sample of all other bytes of messages: another one in each run, by a seed that is printed, or that the
/// environment variable `LIAR_SEED` names.
pub fn versions(block: &Block, context: &Context) -> Vec<(String, Vec<u8>)> {
    let seed =
        std::env::var("LIAR_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or_else(rand::random);
    println!("LIAR_SEED={seed}");
    let mut versions = on_the_way(block, seed);
    versions.extend(stolen(block, context, seed));
    versions
}

/// A sample of a message's bytes.
fn sample(message: &MessageBytes, seed: u64) -> impl Iterator<Item = usize> {
    let length = message.as_slice().len();
    let id = message.id();
    (0..SAMPLE).map(move |number| {
        let random = sha256(&[&seed.to_be_bytes(), &id.0, &number.to_be_bytes()]).0;
        usize::from(u16::from_be_bytes([random[0], random[1]])) % length
    })
}

/// Where a message's fields begin: a decoder that gets no byte more says that the input ends there.
fn fields(message: &MessageBytes) -> impl Iterator<Item = usize> {
    let bytes = message.as_slice();
    let ends_early = |place: &usize| {
        matches!(Message::from_bytes(&bytes[..*place]), Err(DecodeError::Truncated { left: 0, .. }))
    };
    (0..bytes.len()).filter(ends_early)
}

/// Versions that need no key.
fn on_the_way(block: &Block, seed: u64) -> Vec<(String, Vec<u8>)> {
    let bytes = block.to_bytes();
    let mut places = Vec::new();
    let mut at = 0;
    let header = [
        ("height", 8),
        ("previous", 32),
        ("message root", 32),
        ("state root", 32),
        ("Bitcoin tip", 32),
        ("Bitcoin height", 4),
        ("signature", 64),
        ("count of messages", 2),
    ];
    for (name, length) in header {
        places.extend([(format!("{name}, first byte"), at), (format!("{name}, last byte"), at + length - 1)]);
        at += length;
    }
    for (index, message) in block.messages.iter().enumerate() {
        places.extend((0..4).map(|byte| (format!("length of message {index}, byte {byte}"), at + byte)));
        at += 4;
        let some: BTreeSet<usize> = sample(message, seed).collect();
        places.extend(some.into_iter().map(|byte| (format!("message {index}, byte {byte}"), at + byte)));
        at += message.as_slice().len();
    }
    assert_eq!(at, bytes.len(), "the layout of a block");
    places.into_iter().map(|(name, place)| (name, flipped(&bytes, place))).collect()
}

/// Versions that a thief of the hub's key can sign.
fn stolen(block: &Block, context: &Context, seed: u64) -> Vec<(String, Vec<u8>)> {
    let version = |what: &str, change: &dyn Fn(&mut Block)| {
        let mut block = block.clone();
        change(&mut block);
        (format!("{what}, signed again"), signed(block, context))
    };
    let mut versions = vec![
        version("height", &|block| block.header.height.0 += 1),
        version("previous", &|block| block.header.previous.0[0] ^= 1),
        version("message root", &|block| block.header.message_root.0[0] ^= 1),
        version("state root", &|block| block.header.state_root.0[0] ^= 1),
        version("Bitcoin tip", &|block| block.header.btc_tip = BlockHash::all_zeros()),
        version("Bitcoin height", &|block| block.header.btc_height.0 += 1),
    ];
    for (index, message) in block.messages.iter().enumerate() {
        let places: BTreeSet<usize> = fields(message).chain(sample(message, seed)).collect();
        versions.extend(places.into_iter().map(|place| stolen_byte(block, context, index, place)));
    }
    if !block.messages.is_empty() {
        versions.push(version("a message less", &|block| {
            block.messages.pop();
            set_root(block);
        }));
        versions.push(version("a message twice", &|block| {
            block.messages.extend(block.messages.last().cloned());
            set_root(block);
        }));
    }
    versions
}

/// The version of a thief with one bit flipped in the byte at a place of a message, below a message root that fits.
pub fn stolen_byte(block: &Block, context: &Context, index: usize, place: usize) -> (String, Vec<u8>) {
    let mut block = block.clone();
    // The bytes behind their length, which the flip leaves alone.
    let altered = flipped(&block.messages[index].to_bytes(), place + 4);
    block.messages[index] = MessageBytes::from_bytes(&altered).expect("as long as before");
    set_root(&mut block);
    (format!("message {index}, byte {place}, signed again"), signed(block, context))
}

fn signed(mut block: Block, context: &Context) -> Vec<u8> {
    block.signature = schnorr("hub", &HubHeader::signing_message(context, &block.header.hash()));
    block.to_bytes()
}

fn set_root(block: &mut Block) {
    block.header.message_root = message_tree(block.messages.iter().map(|message| message.id())).root();
}
