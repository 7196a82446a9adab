//! What the tests of the signing modules share: generators, vector files, and k256 as a second implementation.

use super::{KeyPair, XOnlyPublicKey};
use crate::hash::sha256;
use k256::elliptic_curve::PrimeField as _;
use k256::elliptic_curve::ops::Reduce as _;
use k256::elliptic_curve::sec1::{FromEncodedPoint as _, ToEncodedPoint as _};
use k256::{AffinePoint, EncodedPoint, ProjectivePoint, U256};
use proptest::prelude::*;

/// The group order n.
pub(crate) const ORDER: [u8; 32] = secp256k1::constants::CURVE_ORDER;

/// Key pairs of random secrets; half of the secrets have a public point with an odd y.
pub(crate) fn key_pairs() -> impl Strategy<Value = KeyPair> {
    secrets().prop_map(|secret| KeyPair::from_secret_bytes(&secret).unwrap())
}

/// Random secrets, as bytes.
pub(crate) fn secrets() -> impl Strategy<Value = [u8; 32]> {
    any::<[u8; 32]>().prop_filter("a secret key", |bytes| KeyPair::from_secret_bytes(bytes).is_ok())
}

/// A key pair that is the same in every run.
pub(crate) fn key_pair(name: &str) -> KeyPair {
    KeyPair::from_secret_bytes(&sha256(&[name.as_bytes()]).0).unwrap()
}

/// The rows of a vector file below its header, as fields.
pub(crate) fn rows(csv: &str) -> Vec<Vec<&str>> {
    csv.lines().skip(1).map(|line| line.split(',').collect()).collect()
}

/// Bytes of a fixed number from hex.
pub(crate) fn bytes<const N: usize>(text: &str) -> [u8; N] {
    hex::decode(text).unwrap().try_into().unwrap()
}

/// Each copy of the bytes in which one bit of one byte differs.
pub(crate) fn flipped<const N: usize>(bytes: [u8; N]) -> impl Iterator<Item = [u8; N]> {
    (0..N).flat_map(move |i| {
        [0x01, 0x80].map(|bit| {
            let mut copy = bytes;
            copy[i] ^= bit;
            copy
        })
    })
}

/// k256's scalar of these bytes, modulo n.
pub(crate) fn scalar(bytes: &[u8; 32]) -> k256::Scalar {
    k256::Scalar::reduce(U256::from_be_slice(bytes))
}

/// A secret as k256's scalar, negated if its point has an odd y.
pub(crate) fn even_scalar(secret: &[u8; 32]) -> k256::Scalar {
    let d = k256::Scalar::from_repr((*secret).into()).unwrap();
    let odd = compressed(&(ProjectivePoint::GENERATOR * d))[0] == 3;
    if odd { -d } else { d }
}

/// k256's point with this x and an even y.
pub(crate) fn lifted(key: &XOnlyPublicKey) -> ProjectivePoint {
    let mut bytes = [2; 33];
    bytes[1..].copy_from_slice(&key.serialize());
    AffinePoint::from_encoded_point(&EncodedPoint::from_bytes(bytes).unwrap()).unwrap().into()
}

/// A point of k256 as 33 bytes.
pub(crate) fn compressed(point: &ProjectivePoint) -> [u8; 33] {
    point.to_affine().to_encoded_point(true).as_bytes().try_into().unwrap()
}

/// BIP-340's challenge as k256's scalar.
pub(crate) fn challenge(nonce_x: &[u8; 32], key: &XOnlyPublicKey, message: &[u8; 32]) -> k256::Scalar {
    let tag = sha256(&[b"BIP0340/challenge"]).0;
    scalar(&sha256(&[&tag, &tag, nonce_x, &key.serialize(), message]).0)
}
