//! The signing mathematics beside libsecp256k1's own BIP-340 verification, in one run: compare within a run only.

use bitcoin::secp256k1::{Keypair, Message, SECP256K1, SecretKey};
use divan::{Bencher, black_box};
use palisade_protocol::context::Context;
use palisade_protocol::curve::KeyPair;
use palisade_protocol::units::Height;
use palisade_protocol::{adaptor, eots, nonce};

fn main() {
    divan::main();
}

fn key(byte: u8) -> KeyPair {
    KeyPair::from_secret_bytes(&[byte; 32]).expect("a scalar")
}

fn derive(height: u64) -> eots::SecretNonce {
    nonce::derive(&key(1), &nonce::NonceSeed::from_bytes([2; 32]), &Context::ZERO, Height(height))
}

/// The floor: one BIP-340 verification by libsecp256k1, key parsed from bytes as a vote brings it.
#[divan::bench]
fn libsecp256k1_verify(bencher: Bencher<'_, '_>) {
    let pair = Keypair::from_secret_key(SECP256K1, &SecretKey::from_slice(&[1; 32]).expect("a scalar"));
    let (message, bytes) = (Message::from_digest([3; 32]), pair.x_only_public_key().0.serialize());
    let signature = SECP256K1.sign_schnorr(&message, &pair);
    bencher.bench(|| {
        let key = bitcoin::XOnlyPublicKey::from_slice(black_box(&bytes)).expect("a point");
        SECP256K1.verify_schnorr(black_box(&signature), &message, &key)
    });
}

#[divan::bench]
fn eots_verify(bencher: Bencher<'_, '_>) {
    let (pair, secret) = (key(1), derive(5));
    let (nonce, bytes) = (secret.public(), pair.public().serialize());
    let signature = eots::sign(&pair, secret, b"a vote");
    bencher.bench(|| {
        let key = bitcoin::XOnlyPublicKey::from_slice(black_box(&bytes)).expect("a point");
        eots::verify(&key, &nonce, b"a vote", black_box(&signature))
    });
}

#[divan::bench]
fn nonce_derived(bencher: Bencher<'_, '_>) {
    bencher.bench(|| derive(black_box(7)).public());
}

#[divan::bench]
fn adaptor_sign(bencher: Bencher<'_, '_>) {
    let (member, provider) = (key(4), key(5).public());
    bencher.bench(|| adaptor::sign(&member, &provider, black_box(&[6; 32]), &[7; 32]));
}

#[divan::bench]
fn adaptor_verify(bencher: Bencher<'_, '_>) {
    let (member, provider) = (key(4), key(5).public());
    let signature = adaptor::sign(&member, &provider, &[6; 32], &[7; 32]);
    bencher.bench(|| adaptor::verify(&member.public(), &provider, &[6; 32], black_box(&signature)));
}
