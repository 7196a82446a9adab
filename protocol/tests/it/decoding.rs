//! Whatever bytes arrive, every decoder gives a value or a typed error, and a value has one spelling (design, section 10,
//! invariant 8).
//!
//! What is edited are valid encodings: each byte string of the vectors that a decoder takes, and values put together from
//! them where the vectors have none.

use crate::edits::edit;
use crate::vectors::VECTORS;
use bitcoin::hex::FromHex as _;
use palisade_protocol::anchor::Anchor;
use palisade_protocol::block::{Block, HubHeader, MessageBytes};
use palisade_protocol::checkpoint::CheckpointShare;
use palisade_protocol::codec::{DecodeError, Wire};
use palisade_protocol::finality::certificate::Certificate;
use palisade_protocol::finality::evidence::Evidence;
use palisade_protocol::finality::set::SetHeader;
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::genesis::{Genesis, GenesisDocument};
use palisade_protocol::governance::GovernanceMessage;
use palisade_protocol::inclusion::InclusionProof;
use palisade_protocol::message::{MAX_MESSAGE, Message};
use palisade_protocol::params::{Params, ParamsDocument};
use palisade_protocol::proof::{FinalityProof, MAX_PROOF, TrustRoot};
use palisade_protocol::provider::ProviderRegistration;
use palisade_protocol::registration::StakeRegistration;
use palisade_protocol::timestamp::TimestampFile;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::Value;
use std::sync::LazyLock;

/// A decoder at a door: the value's bytes, where the bytes are one.
struct Door {
    name: &'static str,
    read: fn(&[u8]) -> Option<Vec<u8>>,
}

fn wire<T: Wire>(bytes: &[u8]) -> Option<Vec<u8>> {
    T::from_bytes(bytes).ok().map(|value| value.to_bytes())
}

macro_rules! doors {
    ($($kind:ty),+ $(,)?) => { [$(Door { name: stringify!($kind), read: wire::<$kind> }),+] };
}

const WIRES: [Door; 15] = doors![
    Message,
    Block,
    HubHeader,
    Vote,
    Certificate,
    Evidence,
    SetHeader,
    Anchor,
    GenesisDocument,
    GovernanceMessage,
    ProviderRegistration,
    StakeRegistration,
    InclusionProof,
    CheckpointShare,
    TrustRoot,
];

const OTHERS: [Door; 3] = [
    Door { name: "message", read: |bytes| Some(MessageBytes::parse(bytes).ok()?.as_slice().to_vec()) },
    Door { name: "finality proof", read: |bytes| Some(FinalityProof::parse(bytes).ok()?.to_bytes()) },
    Door { name: "timestamp", read: |bytes| Some(TimestampFile::parse(bytes).ok()?.serialize()) },
];

fn doors() -> impl Iterator<Item = &'static Door> {
    WIRES.iter().chain(&OTHERS)
}

/// Every byte string of the vectors.
fn strings(value: &Value, found: &mut Vec<Vec<u8>>) {
    match value {
        Value::String(text) => found.extend(Vec::from_hex(text)),
        Value::Array(items) => items.iter().for_each(|item| strings(item, found)),
        Value::Object(fields) => fields.values().for_each(|item| strings(item, found)),
        _ => {}
    }
}

/// What stands inside of messages, alone.
fn inside(message: &Message) -> Option<Vec<u8>> {
    match message {
        Message::Provider(_) | Message::Stake(_) | Message::Governance(_) | Message::Anchor(_) => {
            Some(message.to_bytes()[1..].to_vec())
        }
        Message::Included(included) => Some(included.proof.to_bytes()),
        Message::Spent(spent) => Some(spent.proof.to_bytes()),
        _ => None,
    }
}

/// Encodings of which the vectors have only the parts.
fn put_together(found: &[Vec<u8>]) -> Vec<Vec<u8>> {
    let part =
        |read: fn(&[u8]) -> Option<Vec<u8>>| found.iter().find_map(|bytes| read(bytes)).expect("a part");
    let anchor = Anchor::from_bytes(&part(wire::<Anchor>)).unwrap();
    let (set, vote) = (part(wire::<SetHeader>), Vote::from_bytes(&part(wire::<Vote>)).unwrap());
    let genesis = GenesisDocument::from_bytes(&part(wire::<GenesisDocument>)).unwrap();
    let (epoch, header, key) = (anchor.epoch, anchor.header, vote.key);
    let share = CheckpointShare { epoch, header, key, signature: anchor.signature };
    let root = [&header.0[..], &[0; 4], &set, &genesis.base_headers[0].0.to_bytes(), &[0, 0, 0, 7]].concat();
    let (header, certificate) = (part(wire::<HubHeader>), part(wire::<Certificate>));
    let state = [&header[..], &[3; 9 * 32]].concat();
    let path = [&[0, 2, 1][..], &[4; 32], &[0], &[5; 32]].concat();
    let under = [&[0, 0][..], &header, &path, &[1], &path].concat();
    let step = [&state[..], &certificate, &set, &path, &[1], &under].concat();
    let chain = [&b"\x04demo"[..], &[6; 32], &[0; 4], &genesis.zero.to_bytes(), &[0, 0]].concat();
    let block = [&chain[..], &path, &certificate, &under].concat();
    let proof = [&genesis.to_bytes()[..], &[0, 0, 0, 1], &[0, 2], &step, &step, &[0, 0], &block].concat();
    vec![share.to_bytes(), root, proof]
}

static SEEDS: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let mut found = Vec::new();
    strings(&VECTORS, &mut found);
    let blocks = found.iter().filter_map(|bytes| Block::from_bytes(bytes).ok());
    let messages: Vec<_> =
        blocks.flat_map(|block| block.messages).map(|bytes| bytes.as_slice().to_vec()).collect();
    found.extend(messages);
    let parts: Vec<_> = found.iter().filter_map(|bytes| inside(&Message::from_bytes(bytes).ok()?)).collect();
    found.extend(parts);
    found.extend(put_together(&found));
    found.push(include_bytes!("../vectors/ots/anchored.ots").to_vec());
    found.push(include_bytes!("../vectors/ots/forked.ots").to_vec());
    found
});

/// The seeds that a door takes.
static VALID: LazyLock<Vec<Vec<&'static [u8]>>> = LazyLock::new(|| {
    let taken =
        |door: &Door| SEEDS.iter().map(Vec::as_slice).filter(|bytes| (door.read)(bytes).is_some()).collect();
    doors().map(taken).collect()
});

/// Ends well at every door, and what is taken is written the same way again.
fn every_door_answers(bytes: &[u8]) {
    for door in doors() {
        let written = (door.read)(bytes);
        assert!(written.is_none_or(|written| written == bytes), "{}", door.name);
    }
}

#[test]
fn every_door_has_valid_bytes_that_are_edited() {
    for (door, valid) in doors().zip(VALID.iter()) {
        assert!(!valid.is_empty(), "{}", door.name);
    }
}

#[test]
fn bytes_of_the_greatest_length_are_read_and_one_more_is_refused_for_its_length() {
    let bytes = vec![0xff; MAX_PROOF + 1];
    assert!(MessageBytes::unread(&bytes[..MAX_MESSAGE]).is_ok());
    let message = MessageBytes::unread(&bytes[..=MAX_MESSAGE]);
    assert!(matches!(message, Err(DecodeError::TooLong { what: "message", .. })));
    let proof = |length| FinalityProof::parse(&bytes[..length]).unwrap_err();
    assert!(!matches!(proof(MAX_PROOF), DecodeError::TooLong { what: "proof", .. }));
    assert!(matches!(proof(MAX_PROOF + 1), DecodeError::TooLong { what: "proof", .. }));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn edited_bytes_are_refused_or_the_one_spelling_of_a_value(
        door in any::<Index>(),
        seed in any::<Index>(),
        edits in prop::collection::vec(edit(), 1..4),
    ) {
        let valid = door.get(VALID.as_slice());
        let mut bytes = seed.get(valid).to_vec();
        edits.iter().for_each(|edit| edit.apply(&mut bytes));
        every_door_answers(&bytes);
    }

    #[test]
    fn arbitrary_bytes_are_refused_or_the_one_spelling_of_a_value(
        tag in 0..16u8,
        bytes in prop::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..400),
    ) {
        every_door_answers(&bytes);
        every_door_answers(&[&[tag], &bytes[..]].concat());
    }

    #[test]
    fn an_edited_document_is_refused_or_the_rules_judge_it(edits in prop::collection::vec(edit(), 1..4)) {
        let document = &VECTORS["genesis"]["document"];
        for (value, is_genesis) in [(document, true), (&document["params"], false)] {
            let mut text = value.to_string().into_bytes();
            edits.iter().for_each(|edit| edit.apply(&mut text));
            if is_genesis && let Ok(document) = serde_json::from_slice::<GenesisDocument>(&text) {
                prop_assert_eq!(wire::<GenesisDocument>(&document.to_bytes()), Some(document.to_bytes()));
                let _ = Genesis::new(document);
            } else if let Ok(document) = serde_json::from_slice::<ParamsDocument>(&text) {
                prop_assert_eq!(wire::<ParamsDocument>(&document.to_bytes()), Some(document.to_bytes()));
                let _ = Params::new(document);
            }
        }
    }
}
