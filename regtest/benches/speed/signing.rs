//! The mathematics of signing beside that of libsecp256k1.

use crate::measure::{each, each_on_all_cores, in_turns};
use crate::table::{Row, Target};
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::secp256k1::{Keypair, Message, SECP256K1, SecretKey};
use palisade_protocol::context::Context;
use palisade_protocol::curve::KeyPair;
use palisade_protocol::finality::commitment::nonce_tree;
use palisade_protocol::units::Height;
use palisade_protocol::{adaptor, eots, nonce};
use palisade_world::{keypair, pair};
use std::hint::black_box;

const COUNT: u32 = 500;
/// Voted heights of an epoch, for nonces: what a provider commits to at once.
const EPOCH: u32 = 256;

/// One BIP-340 verification by libsecp256k1, the key parsed from bytes as a vote brings it.
pub struct Floor {
    pair: Keypair,
    key: [u8; 32],
    message: Message,
    signature: Signature,
}

impl Floor {
    /// A signature to verify.
    pub fn new() -> Self {
        let (pair, message) = (keypair("floor"), Message::from_digest([3; 32]));
        let signature = SECP256K1.sign_schnorr(&message, &pair);
        Self { key: pair.x_only_public_key().0.serialize(), pair, message, signature }
    }

    /// Verifies it.
    pub fn verify(&self) {
        let key = bitcoin::XOnlyPublicKey::from_slice(black_box(&self.key)).expect("a point");
        SECP256K1.verify_schnorr(black_box(&self.signature), &self.message, &key).expect("verifies");
    }

    fn sign(&self) {
        black_box(SECP256K1.sign_schnorr_with_aux_rand(black_box(&self.message), &self.pair, &[7; 32]));
    }
}

/// Rows about signatures and nonces.
pub fn rows() -> Vec<Row> {
    let floor = Floor::new();
    vec![eots_verified(&floor), adaptor_signed(&floor), adaptor_verified(&floor), nonce_committed()]
}

fn row(work: &str, (ours, floor): (f64, f64), go: f64, target: Target) -> Row {
    Row { work: work.to_owned(), ours, floor: Some(floor), go: Some(go), target }
}

fn derive(key: &KeyPair, height: u32) -> eots::SecretNonce {
    let seed = nonce::NonceSeed::from_bytes([2; 32]);
    nonce::derive(key, &seed, &Context::ZERO, Height(height.into()))
}

fn eots_verified(floor: &Floor) -> Row {
    let (pair, secret) = (pair("provider"), derive(&pair("provider"), 5));
    let (nonce, bytes) = (secret.public(), pair.public().serialize());
    let signature = eots::sign(&pair, secret, b"a vote");
    let verify = || {
        let key = bitcoin::XOnlyPublicKey::from_slice(black_box(&bytes)).expect("a point");
        eots::verify(&key, &nonce, b"a vote", black_box(&signature)).expect("verifies");
    };
    let figures = in_turns(|| each(COUNT, verify), || each(COUNT, || floor.verify()));
    row("EOTS verified", figures, 230.0, Target::OfFloor(0.9))
}

fn adaptor_signed(floor: &Floor) -> Row {
    let (member, provider) = (pair("member"), pair("provider").public());
    let sign = || {
        black_box(adaptor::sign(&member, &provider, black_box(&[6; 32]), &[7; 32]));
    };
    let figures = in_turns(|| each(COUNT, sign), || each(COUNT, || floor.sign()));
    row("adaptor signed", figures, 488.0, Target::TimesGo(10.0))
}

fn adaptor_verified(floor: &Floor) -> Row {
    let (member, provider) = (pair("member"), pair("provider").public());
    let signature = adaptor::sign(&member, &provider, &[6; 32], &[7; 32]);
    let verify = || {
        adaptor::verify(&member.public(), &provider, &[6; 32], black_box(&signature)).expect("verifies");
    };
    let figures = in_turns(|| each(COUNT, verify), || each(COUNT, || floor.verify()));
    row("adaptor verified", figures, 266.0, Target::TimesGo(4.0))
}

/// The floor of a nonce is the multiplication that makes its point.
fn nonce_committed() -> Row {
    let key = pair("provider");
    let epoch = || {
        black_box(nonce_tree((0..EPOCH).map(|height| derive(&key, height).public())).root());
    };
    let secret = SecretKey::from_slice(&[5; 32]).expect("a scalar");
    let multiply = || {
        black_box(Keypair::from_secret_key(SECP256K1, black_box(&secret)).x_only_public_key());
    };
    let ours = || each_on_all_cores(4, epoch) / f64::from(EPOCH);
    let figures = in_turns(ours, || each_on_all_cores(4 * EPOCH, multiply));
    row("nonce derived and committed, all cores", figures, 47.0, Target::TimesGo(3.0))
}
