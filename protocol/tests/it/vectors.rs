//! `docs/vectors/vectors.json`, which a second implementation in Python has made from the specification, beside our code.

mod finality;
mod foundations;
mod rules;
mod stakes;

use bitcoin::hex::FromHex;
use palisade_protocol::codec::Wire;
use palisade_protocol::context::{ChainId, ChainIdentity, Context, Purpose};
use palisade_protocol::curve::KeyPair;
use palisade_protocol::genesis::{Genesis, GenesisDocument};
use palisade_protocol::hash::{Hash32, sha256};
use palisade_protocol::message::Message;
use serde::de::DeserializeOwned;
use serde_json::Value;
use std::sync::LazyLock;

pub(crate) static VECTORS: LazyLock<Value> =
    LazyLock::new(|| serde_json::from_str(include_str!("../../../docs/vectors/vectors.json")).expect("JSON"));

/// A section of the vectors.
fn vectors(section: &str) -> &'static Value {
    VECTORS.get(section).unwrap_or_else(|| panic!("no section {section}"))
}

/// The cases of a section that is a list.
fn cases(section: &str) -> &'static [Value] {
    vectors(section).as_array().filter(|cases| !cases.is_empty()).expect("cases")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

fn bytes(value: &Value) -> Vec<u8> {
    Vec::from_hex(text(value)).expect("hex")
}

fn array<const N: usize>(value: &Value) -> [u8; N] {
    bytes(value).try_into().unwrap_or_else(|_| panic!("{value} is not {N} bytes"))
}

fn hash(value: &Value) -> Hash32 {
    Hash32(array(value))
}

fn hashes(value: &Value) -> Vec<Hash32> {
    value.as_array().expect("a list").iter().map(hash).collect()
}

/// Any value that JSON can hold.
fn json<T: DeserializeOwned>(value: &Value) -> T {
    serde_json::from_value(value.clone()).unwrap_or_else(|why| panic!("{value}: {why}"))
}

/// Decodes canonical bytes, and sees to it that they are written the same way again.
fn decoded<T: Wire>(value: &Value) -> T {
    let bytes = bytes(value);
    let decoded = T::from_bytes(&bytes).unwrap_or_else(|why| panic!("{value}: {why}"));
    assert_eq!(decoded.to_bytes(), bytes);
    decoded
}

/// The pair whose secret is SHA-256 of a name.
fn pair(name: &str) -> KeyPair {
    KeyPair::from_secret_bytes(&sha256(&[name.as_bytes()]).0).expect("a scalar")
}

fn genesis() -> Genesis {
    let document: GenesisDocument = json(&vectors("genesis")["document"]);
    Genesis::new(document).expect("a genesis that is accepted")
}

/// A context of chain zero.
fn zero(purpose: Purpose) -> Context {
    genesis().zero().context(purpose)
}

/// A context of the sample's other chain.
fn demo(purpose: Purpose) -> Context {
    let id: ChainId = "demo".parse().expect("a chain id");
    let genesis = ChainIdentity { id, genesis: sha256(&[b"demo genesis"]), ..genesis().zero() };
    genesis.context(purpose)
}

fn message(value: &Value) -> Message {
    decoded(value)
}

#[test]
fn every_section_of_the_vectors_has_a_test() {
    let sections: Vec<_> = VECTORS.as_object().expect("an object").keys().map(String::as_str).collect();
    let tested = [
        "adaptors",
        "contexts",
        "encodings",
        "finality",
        "genesis",
        "governance",
        "hub",
        "log",
        "nonces",
        "outputs",
        "provider",
        "stake",
        "state",
        "trees",
    ];
    let mut sections = sections;
    sections.sort_unstable();
    assert_eq!(sections, tested);
}
