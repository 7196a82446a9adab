use super::*;
use bls12_381::hash_to_curve::{ExpandMsgXmd, HashToCurve};
use bls12_381::{G1Affine, G1Projective, G2Affine, G2Projective, Scalar, pairing};
use proptest::prelude::*;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// Published vectors; a change here means that other implementations no longer understand us.
fn vectors(section: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("../../tests/vectors/bls.json")).unwrap();
    all[section].clone()
}

fn cases(section: &Value) -> impl Iterator<Item = &Value> {
    let cases = section["cases"].as_array().unwrap();
    assert!(!cases.is_empty());
    cases.iter()
}

fn bytes<const N: usize>(hex: &Value) -> [u8; N] {
    hex::decode(hex.as_str().unwrap()).unwrap().try_into().unwrap()
}

fn key(seed: u8) -> BlsSecretKey {
    BlsSecretKey::from_key_material(&[seed; 32]).unwrap()
}

/// The second implementation: pure Rust, and the draft spelled out over points and scalars.
mod peer {
    use super::*;

    pub fn hash(message: &[u8], dst: &[u8]) -> G1Projective {
        <G1Projective as HashToCurve<ExpandMsgXmd<Sha256>>>::hash_to_curve([message], dst)
    }

    pub fn scalar(secret: &BlsSecretKey) -> Scalar {
        let mut little_endian = secret.0.to_bytes();
        little_endian.reverse();
        Scalar::from_bytes(&little_endian).unwrap()
    }

    pub fn key(secret: &Scalar) -> G2Affine {
        (G2Projective::generator() * secret).into()
    }

    pub fn sign(secret: &Scalar, message: &[u8], dst: &[u8]) -> G1Affine {
        (hash(message, dst) * secret).into()
    }

    pub fn verifies(key: &G2Affine, message: &[u8], dst: &[u8], signature: &G1Affine) -> bool {
        pairing(&hash(message, dst).into(), key) == pairing(signature, &G2Affine::generator())
    }
}

#[test]
fn keys_are_derived_as_eip_2333_has_it() {
    let section = vectors("eip2333");
    for case in cases(&section) {
        let secret = BlsSecretKey::from_key_material(&bytes(&case["seed"])).unwrap();
        assert_eq!(decimal(&secret.0.to_bytes()), case["secret"].as_str().unwrap());
    }
}

/// A big-endian number in decimal digits.
fn decimal(bytes: &[u8]) -> String {
    let mut digits = vec![0u32];
    for byte in bytes {
        let mut carry = u32::from(*byte);
        for digit in &mut digits {
            carry += *digit * 256;
            *digit = carry % 10;
            carry /= 10;
        }
        while carry > 0 {
            digits.push(carry % 10);
            carry /= 10;
        }
    }
    digits.iter().rev().map(ToString::to_string).collect()
}

#[test]
fn messages_are_hashed_to_the_curve_as_rfc_9380_has_it() {
    let section = vectors("rfc9380");
    // Signing with the scalar one gives the hash itself.
    let mut one = [0; 32];
    one[31] = 1;
    let one = SecretKey::from_bytes(&one).unwrap();
    for case in cases(&section) {
        let dst = section["dst"].as_str().unwrap().as_bytes();
        let hashed = one.sign(case["message"].as_str().unwrap().as_bytes(), dst, &[]).serialize();
        assert_eq!(hashed, *[bytes::<48>(&case["x"]), bytes::<48>(&case["y"])].concat());
    }
}

#[test]
fn beacons_of_drand_verify_for_their_round_only() {
    let section = vectors("drand");
    let key = BlsPublicKey::from_bytes(&bytes(&section["key"])).unwrap();
    for case in cases(&section) {
        let round = case["round"].as_u64().unwrap();
        let signature = BlsSignature::from_bytes(&bytes(&case["signature"])).unwrap();
        assert_eq!(key.verify(&Sha256::digest(round.to_be_bytes()), &signature), Ok(()));
        let other = Sha256::digest((round + 1).to_be_bytes());
        assert_eq!(key.verify(&other, &signature), Err(BlsInvalid::Signature));
    }
}

#[test]
fn key_material_of_zeros_is_refused_and_secrets_are_not_printed() {
    assert_eq!(BlsSecretKey::from_key_material(&[0; 32]).unwrap_err(), BlsInvalid::KeyMaterial);
    assert_eq!(format!("{:?}", key(1)), "BlsSecretKey([redacted])");
}

/// A compressed point on the curve but outside the subgroup, found by trying x coordinates.
fn outside<const N: usize>(on_curve_and_outside: impl Fn(&[u8; N]) -> bool) -> [u8; N] {
    (1u8..=255)
        .map(|x| {
            let mut bytes = [0; N];
            (bytes[0], bytes[N - 1]) = (0x80, x);
            bytes
        })
        .find(|bytes| on_curve_and_outside(bytes))
        .unwrap()
}

fn outside_g1() -> [u8; 48] {
    outside(|bytes| {
        Option::<G1Affine>::from(G1Affine::from_compressed_unchecked(bytes))
            .is_some_and(|point| !bool::from(point.is_torsion_free()))
    })
}

fn outside_g2() -> [u8; 96] {
    outside(|bytes| {
        Option::<G2Affine>::from(G2Affine::from_compressed_unchecked(bytes))
            .is_some_and(|point| !bool::from(point.is_torsion_free()))
    })
}

#[test]
fn points_outside_the_subgroup_are_refused() {
    assert_eq!(BlsSignature::from_bytes(&outside_g1()), Err(BlsInvalid::Subgroup));
    assert_eq!(BlsPossession::from_bytes(&outside_g1()), Err(BlsInvalid::Subgroup));
    assert_eq!(BlsPublicKey::from_bytes(&outside_g2()), Err(BlsInvalid::Subgroup));
}

/// A signature plus a point of small order has the same pairing: only the subgroup check tells the two apart.
#[test]
fn a_signature_shifted_out_of_the_subgroup_is_refused() {
    let minus_one = -Scalar::one();
    let point = G1Projective::from(G1Affine::from_compressed_unchecked(&outside_g1()).unwrap());
    // r * point = (r - 1) * point + point, which lies in the cofactor's torsion.
    let torsion = point * minus_one + point;
    let honest = key(1).sign(b"epoch 7");
    let shifted =
        G1Affine::from(G1Projective::from(G1Affine::from_compressed(&honest.to_bytes()).unwrap()) + torsion);
    let public = peer::key(&peer::scalar(&key(1)));
    assert_ne!(shifted.to_compressed(), honest.to_bytes());
    assert!(peer::verifies(&public, b"epoch 7", SIGNATURE_DST, &shifted));
    assert_eq!(BlsSignature::from_bytes(&shifted.to_compressed()), Err(BlsInvalid::Subgroup));
}

#[test]
fn infinity_is_refused() {
    let (mut signature, mut public) = ([0; 48], [0; 96]);
    (signature[0], public[0]) = (0xc0, 0xc0);
    assert_eq!(BlsSignature::from_bytes(&signature), Err(BlsInvalid::Infinity));
    assert_eq!(BlsPublicKey::from_bytes(&public), Err(BlsInvalid::Infinity));

    let one = key(1).sign(b"epoch 7");
    let minus_one = BlsSignature::from_bytes(&flipped_sign(&one)).unwrap();
    assert_eq!(aggregate(&[one, minus_one]), Err(BlsInvalid::Infinity));
}

/// The encoding of the negated point.
fn flipped_sign(signature: &BlsSignature) -> [u8; 48] {
    let mut bytes = signature.to_bytes();
    bytes[0] ^= 0x20;
    bytes
}

#[test]
fn encodings_other_than_the_compressed_one_are_refused() {
    let (signature, public) = (key(1).sign(b"epoch 7").to_bytes(), key(1).public_key().to_bytes());
    let mut uncompressed = signature;
    uncompressed[0] &= 0x7f;
    let mut coordinate_above_the_field = [0xff; 48];
    coordinate_above_the_field[0] = 0x9f;
    let mut infinity_with_a_tail = [0; 48];
    (infinity_with_a_tail[0], infinity_with_a_tail[47]) = (0xc0, 1);
    for bytes in [uncompressed, coordinate_above_the_field, infinity_with_a_tail, [0; 48]] {
        assert_eq!(BlsSignature::from_bytes(&bytes), Err(BlsInvalid::Encoding));
    }
    let mut uncompressed = public;
    uncompressed[0] &= 0x7f;
    for bytes in [uncompressed, [0xff; 96], [0; 96]] {
        assert_eq!(BlsPublicKey::from_bytes(&bytes), Err(BlsInvalid::Encoding));
    }
}

#[test]
fn a_flipped_bit_in_key_message_or_signature_is_noticed() {
    let secret = key(1);
    let (public, signature) = (secret.public_key(), secret.sign(b"epoch 7"));
    let verify = |key: [u8; 96], message: &[u8], signature: [u8; 48]| {
        BlsPublicKey::from_bytes(&key)?.verify(message, &BlsSignature::from_bytes(&signature)?)
    };
    let (public, signature) = (public.to_bytes(), signature.to_bytes());
    assert_eq!(verify(public, b"epoch 7", signature), Ok(()));
    let flip = |bytes: &[u8], at: usize| {
        let mut bytes = bytes.to_vec();
        bytes[at] ^= 1 << (at % 8);
        bytes
    };
    for at in 0..96 {
        assert!(
            verify(flip(&public, at).try_into().unwrap(), b"epoch 7", signature).is_err(),
            "key byte {at}"
        );
    }
    for at in 0..48 {
        assert!(verify(public, b"epoch 7", flip(&signature, at).try_into().unwrap()).is_err(), "byte {at}");
    }
    for at in 0..7 {
        assert_eq!(verify(public, &flip(b"epoch 7", at), signature), Err(BlsInvalid::Signature));
    }
}

#[test]
fn possession_and_message_are_different_domains() {
    let secret = key(1);
    let public = secret.public_key();
    let proof = secret.prove_possession();
    assert_eq!(public.verify_possession(&proof), Ok(()));
    assert_eq!(key(2).public_key().verify_possession(&proof), Err(BlsInvalid::Signature));

    let signed_key = secret.sign(&public.to_bytes());
    assert_eq!(public.verify(&public.to_bytes(), &signed_key), Ok(()));
    assert_eq!(public.verify_possession(&BlsPossession(signed_key)), Err(BlsInvalid::Signature));
    assert_eq!(public.verify(&public.to_bytes(), &proof.0), Err(BlsInvalid::Signature));
}

/// The attacker registers `x*G - victim`, then signs for both alone. The aggregate verifies, so nothing but the proof
/// of possession keeps the rogue key out.
#[test]
fn a_rogue_key_has_no_proof_of_possession() {
    let (victim, attacker) = (key(1), key(2));
    let x = peer::scalar(&attacker);
    let rogue = G2Affine::from(
        G2Projective::from(peer::key(&x)) - G2Projective::from(peer::key(&peer::scalar(&victim))),
    );
    let rogue = BlsPublicKey::from_bytes(&rogue.to_compressed()).unwrap();
    let forged = attacker.sign(b"epoch 7");
    assert_eq!(verify_aggregate(&[&victim.public_key(), &rogue], b"epoch 7", &forged), Ok(()));

    let over_the_rogue_key = peer::sign(&x, &rogue.to_bytes(), POSSESSION_DST).to_compressed();
    for proof in [
        victim.prove_possession(),
        attacker.prove_possession(),
        BlsPossession::from_bytes(&over_the_rogue_key).unwrap(),
        BlsPossession(forged),
    ] {
        assert_eq!(rogue.verify_possession(&proof), Err(BlsInvalid::Signature));
    }
}

#[test]
fn an_aggregate_is_of_exactly_these_keys_each_once() {
    let secrets = [key(1), key(2), key(3)];
    let keys = secrets.each_ref().map(BlsSecretKey::public_key);
    let [a, b, c] = keys.each_ref();
    let signatures = secrets.each_ref().map(|secret| secret.sign(b"epoch 7"));
    let all = aggregate(&signatures).unwrap();
    assert_eq!(verify_aggregate(&[a, b, c], b"epoch 7", &all), Ok(()));
    assert_eq!(verify_aggregate(&[c, a, b], b"epoch 7", &all), Ok(()));

    assert_eq!(verify_aggregate(&[a, b], b"epoch 7", &all), Err(BlsInvalid::Signature));
    assert_eq!(verify_aggregate(&[a, b, c], b"epoch 8", &all), Err(BlsInvalid::Signature));
    let two = aggregate(&signatures[..2]).unwrap();
    assert_eq!(verify_aggregate(&[a, b, c], b"epoch 7", &two), Err(BlsInvalid::Signature));

    let twice = aggregate(&[signatures[0], signatures[0], signatures[1]]).unwrap();
    assert_eq!(verify_aggregate(&[a, b, a], b"epoch 7", &twice), Err(BlsInvalid::DuplicateKey { index: 2 }));
    assert_eq!(verify_aggregate(&[], b"epoch 7", &all), Err(BlsInvalid::Empty));
    assert_eq!(aggregate(&[]), Err(BlsInvalid::Empty));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn both_implementations_make_the_same_bytes(
        materials in prop::collection::btree_set(prop::array::uniform32(1u8..), 1..5),
        message in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let secrets: Vec<_> = materials.iter().map(|m| BlsSecretKey::from_key_material(m).unwrap()).collect();
        let mut peer_sum = G1Projective::identity();
        let mut signatures = Vec::new();
        for secret in &secrets {
            let (public, signature, proof) = (secret.public_key(), secret.sign(&message), secret.prove_possession());
            let x = peer::scalar(secret);
            let peer_signature = peer::sign(&x, &message, SIGNATURE_DST);
            prop_assert_eq!(public.to_bytes(), peer::key(&x).to_compressed());
            prop_assert_eq!(signature.to_bytes(), peer_signature.to_compressed());
            prop_assert_eq!(proof.to_bytes(), peer::sign(&x, &public.to_bytes(), POSSESSION_DST).to_compressed());
            prop_assert!(peer::verifies(&peer::key(&x), &message, SIGNATURE_DST, &peer_signature));
            prop_assert_eq!(public.verify(&message, &signature), Ok(()));
            prop_assert_eq!(public.verify_possession(&proof), Ok(()));
            prop_assert_eq!(BlsPublicKey::from_bytes(&public.to_bytes()), Ok(public));
            prop_assert_eq!(BlsSignature::from_bytes(&signature.to_bytes()), Ok(signature));
            peer_sum += peer_signature;
            signatures.push(signature);
        }
        let sum = aggregate(&signatures).unwrap();
        prop_assert_eq!(sum.to_bytes(), G1Affine::from(peer_sum).to_compressed());
        let keys: Vec<_> = secrets.iter().map(BlsSecretKey::public_key).collect();
        let keys: Vec<_> = keys.iter().collect();
        prop_assert_eq!(verify_aggregate(&keys, &message, &sum), Ok(()));
    }

    #[test]
    fn any_bytes_are_a_point_for_both_implementations_or_for_none(
        mut signature in prop::array::uniform32(any::<u8>()), flags in 0u8..8,
    ) {
        signature[0] = (signature[0] & 0x0f) | (flags << 5);
        let mut bytes = [0; 48];
        bytes[..32].copy_from_slice(&signature);
        let theirs = Option::<G1Affine>::from(G1Affine::from_compressed(&bytes));
        let ours = BlsSignature::from_bytes(&bytes).ok();
        prop_assert_eq!(ours.map(|s| s.to_bytes()), theirs.map(|point| point.to_compressed()));
    }
}
