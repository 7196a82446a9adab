use super::*;
use crate::curve::testing::{ORDER, bytes, flipped, key_pair, rows};
use crate::hash::Hash32;
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeSet;

fn seed(byte: u8) -> NonceSeed {
    NonceSeed::from_bytes([byte; 32])
}

/// HMAC that calls the first candidates out of range.
fn rejecting(rejected: u32, secret: &[u8; 32]) -> impl Fn(&[&[u8]; 5]) -> Zeroizing<[u8; 32]> {
    move |parts| {
        let counter = u32::from_be_bytes(parts[4].try_into().unwrap());
        if counter < rejected { Zeroizing::new([0xff; 32]) } else { hmac(secret, parts) }
    }
}

/// The vectors pin the bytes: a provider whose nonces change under an upgrade has committed to roots that it can no
/// longer open, and misses every vote of those epochs.
#[test]
fn nonces_equal_those_that_python_derives() {
    let rows = rows(include_str!("../../tests/vectors/nonce/vectors.csv"));
    assert_eq!(rows.len(), 13);
    for row in rows {
        let [secret, seed, context, height, rejected, k, x] = row[..] else { panic!("{row:?}") };
        let key = KeyPair::from_secret_bytes(&bytes(secret)).unwrap();
        let (seed, context) = (NonceSeed::from_bytes(bytes(seed)), Hash32(bytes(context)));
        let height = Height(height.parse().unwrap());
        let rejected: u32 = rejected.parse().unwrap();

        let scalar = first_scalar(&seed, &context, height, rejecting(rejected, &key.secret_bytes()));
        assert_eq!(*scalar.to_bytes(), bytes(k), "k of {row:?}");
        assert_eq!(SecretNonce::new(scalar).public().to_bytes(), bytes(x), "R.x of {row:?}");
        let derived = derive(&key, &seed, &context, height).public().to_bytes();
        assert_eq!(derived == bytes::<32>(x), rejected == 0, "derive of {row:?}");
    }
}

#[test]
fn zero_and_the_order_and_more_are_rejected_for_the_next_counter() {
    let candidates = [[0; 32], ORDER, [0xff; 32], [7; 32], [8; 32]];
    let asked = RefCell::new(Vec::new());
    let k = first_scalar(&seed(1), &Hash32([2; 32]), Height(3), |parts| {
        asked.borrow_mut().push(parts.concat());
        Zeroizing::new(candidates[asked.borrow().len() - 1])
    });
    assert_eq!(*k.to_bytes(), [7; 32]);
    let preimage = |counter: u32| {
        let fixed = [b"palisade/1/nonce".as_slice(), &[1; 32], &[2; 32], &3u64.to_be_bytes()].concat();
        [fixed, counter.to_be_bytes().to_vec()].concat()
    };
    assert_eq!(asked.into_inner(), [0, 1, 2, 3].map(preimage));
}

#[test]
fn every_changed_bit_of_an_input_changes_the_nonce() {
    let (key, zero) = (key_pair("key"), [0; 32]);
    let nonce = |seed: [u8; 32], context: [u8; 32], height: u64| {
        derive(&key, &NonceSeed::from_bytes(seed), &Hash32(context), Height(height)).public()
    };
    let mut seen = BTreeSet::from([nonce(zero, zero, 0)]);
    seen.extend(flipped(zero).map(|seed| nonce(seed, zero, 0)));
    seen.extend(flipped(zero).map(|context| nonce(zero, context, 0)));
    seen.extend((0..64).map(|bit| nonce(zero, zero, 1 << bit)));
    seen.insert(derive(&key_pair("other key"), &seed(0), &Hash32(zero), Height(0)).public());
    assert_eq!(seen.len(), 1 + 64 + 64 + 64 + 1);
}

#[test]
fn the_seed_is_not_printed() {
    assert_eq!(format!("{:?}", seed(7)), "NonceSeed([redacted])");
}

proptest! {
    #[test]
    fn equal_inputs_give_equal_nonces_and_other_heights_give_others(
        seed in any::<[u8; 32]>(), context in any::<[u8; 32]>(), a in any::<u64>(), b in any::<u64>(),
    ) {
        let nonce = |height| derive(&key_pair("key"), &NonceSeed::from_bytes(seed), &Hash32(context), Height(height)).public();
        prop_assert_eq!(nonce(a), nonce(a));
        prop_assert_eq!(nonce(a) == nonce(b), a == b);
    }
}
