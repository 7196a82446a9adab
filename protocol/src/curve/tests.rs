use super::testing::{bytes, compressed, key_pair, key_pairs, lifted, rows, scalar, secrets};
use super::*;
use k256::ProjectivePoint;
use proptest::prelude::*;

fn public(bytes: [u8; 32]) -> Scalar {
    Scalar::from_be_bytes(bytes).unwrap()
}

fn as_bytes(scalar: k256::Scalar) -> [u8; 32] {
    scalar.to_bytes().into()
}

#[test]
fn bip340_vectors_sign_and_verify_as_they_say() {
    let mut signed = 0;
    let mut judged = 0;
    for row in rows(include_str!("../../tests/vectors/bip340/test-vectors.csv")) {
        let [index, secret, key, aux_rand, message, signature, result, ..] = row[..] else {
            panic!("{row:?}")
        };
        if message.len() != 64 {
            continue; // Rows 15 to 18: we sign hashes only.
        }
        let (message, signature) = (bytes(message), Signature::from_slice(&bytes::<64>(signature)).unwrap());
        if !secret.is_empty() {
            let pair = KeyPair::from_secret_bytes(&bytes(secret)).unwrap();
            assert_eq!(pair.public().serialize(), bytes(key), "key of vector {index}");
            assert_eq!(
                pair.sign_bip340(&message, &bytes(aux_rand)),
                signature,
                "signature of vector {index}"
            );
            signed += 1;
        }
        let verdict = XOnlyPublicKey::from_slice(&bytes::<32>(key))
            .is_ok_and(|key| verify_bip340(&key, &message, &signature).is_ok());
        assert_eq!(verdict, result == "TRUE", "verdict on vector {index}");
        judged += 1;
    }
    assert_eq!((signed, judged), (4, 15), "every vector with a 32-byte message was read");
}

#[test]
fn hashes_are_reduced_modulo_the_order_at_its_edges() {
    let mut largest_below = testing::ORDER;
    largest_below[31] -= 1;
    let mut smallest_above = testing::ORDER;
    smallest_above[31] += 1;
    let mut top = [0; 32];
    top[0] = 0x80;
    for case in [[0; 32], top, largest_below, testing::ORDER, smallest_above, [0xff; 32]] {
        assert_eq!(reduce(case).to_be_bytes(), as_bytes(scalar(&case)), "{}", hex::encode(case));
    }
}

#[test]
fn arithmetic_with_zero_has_the_results_of_the_field() {
    let (zero, one, max) = (Scalar::ZERO, Scalar::ONE, Scalar::MAX);
    assert_eq!(add(&zero, &one), one);
    assert_eq!(add(&one, &zero), one);
    assert_eq!(add(&one, &max), zero);
    assert_eq!(negate(&zero), zero);
    assert_eq!(subtract(&one, &one), zero);
    assert_eq!(multiply(&zero, &max), zero);
    assert_eq!(multiply(&max, &zero), zero);
    assert_eq!(invert(&zero), zero);
    assert_eq!(invert(&max), max);
}

#[test]
fn secret_keys_out_of_range_are_refused_and_never_reduced() {
    let mut above = testing::ORDER;
    above[31] += 1;
    for refused in [[0; 32], testing::ORDER, above, [0xff; 32]] {
        assert_eq!(KeyPair::from_secret_bytes(&refused).map(|_| ()), Err(NotASecretKey));
    }
}

#[test]
fn a_key_whose_x_is_above_the_order_has_its_nonce_point_by_the_slower_way() {
    // Nobody knows the secret of such a key; 2^-128 of all keys are of this kind.
    let mut x = testing::ORDER;
    let key = std::iter::repeat_with(|| {
        x[31] += 1;
        XOnlyPublicKey::from_slice(&x).ok()
    });
    let key = key.take(100).flatten().next().unwrap();
    let (s, e) = (public([7; 32]), public([9; 32]));
    assert_eq!(nonce_point_by_recovery(&s, &e, &key), None);
    let expected = ProjectivePoint::GENERATOR * scalar(&[7; 32]) - lifted(&key) * scalar(&[9; 32]);
    assert_eq!(nonce_point(&s, &e, &key).unwrap().serialize(), compressed(&expected));
}

#[test]
fn a_nonce_point_at_infinity_or_without_challenge_is_nothing() {
    let pair = key_pair("infinity");
    let d = public(*pair.secret_bytes());
    let e = public([9; 32]);
    let minus_e_p = compressed(&(lifted(&pair.public()) * -scalar(&[9; 32])));
    let verifiers: [&dyn Verifier; 2] = [&pair.public(), &pair];
    for verifier in verifiers {
        assert_eq!(verifier.nonce_point(&multiply(&e, &d), &e), None, "s = e d");
        assert_eq!(verifier.nonce_point(&e, &Scalar::ZERO), None, "e = 0");
        assert_eq!(verifier.nonce_point(&Scalar::ZERO, &e).unwrap().serialize(), minus_e_p, "s = 0");
    }
}

#[test]
fn the_owner_of_a_key_judges_its_signatures_as_anybody_does() {
    let (pair, message) = (key_pair("owner"), [5; 32]);
    let signature = pair.sign_bip340(&message, &[6; 32]);
    let judged = |message: &[u8; 32], signature: &Signature| {
        let judged = verify_bip340(&pair.public(), message, signature);
        assert_eq!(pair.verify_bip340(message, signature), judged);
        judged
    };
    assert_eq!(judged(&message, &signature), Ok(()));
    for wrong in testing::flipped(signature.serialize()) {
        assert_eq!(judged(&message, &Signature::from_slice(&wrong).unwrap()), Err(Bip340Invalid));
    }
    for wrong in testing::flipped(message) {
        assert_eq!(judged(&wrong, &signature), Err(Bip340Invalid));
    }
    let [x, s] = halves(&signature.serialize());
    let odd = super::signature(&x, &negate(&public(s)).to_be_bytes());
    assert_eq!(judged(&message, &odd), Err(Bip340Invalid));
    assert_eq!(key_pair("other").verify_bip340(&message, &signature), Err(Bip340Invalid));
}

#[test]
fn a_vanishing_challenge_or_sum_is_signed_without_panic() {
    let (d, k) = (key_pair("d"), key_pair("k"));
    assert_eq!(d.secret().sign(&Scalar::ZERO, k.secret()).to_be_bytes(), *k.secret_bytes());
    let e = multiply(&negate(&public(*k.secret_bytes())), &invert(&public(*d.secret_bytes())));
    assert_eq!(d.secret().sign(&e, k.secret()), Scalar::ZERO);
}

#[test]
fn secrets_are_not_printed() {
    let pair = key_pair("printed");
    let (public, secret) = (pair.public().to_string(), hex::encode(*pair.secret_bytes()));
    let text = format!("{pair:?} {:?}", pair.secret());
    assert_eq!(text, format!("KeyPair {{ public: {public}, secret: [redacted] }} [redacted]"));
    assert!(!text.contains(&secret));
}

/// What is public here is what may take a time that depends on the values. Nothing in the signing modules may call it
/// on secrets, so the half that holds them, and the half that derives them, do not call it at all.
#[test]
fn modules_that_hold_secrets_call_no_operation_of_variable_time() {
    let variable_time =
        ["verify_schnorr", "recover_ecdsa", "_var", "mul_tweak(SECP256K1", "add_exp_tweak", "curve::invert"];
    for source in [include_str!("secret.rs"), include_str!("../nonce.rs")] {
        for name in variable_time {
            assert!(!source.contains(name), "{name} stands in a module of secrets");
        }
    }
    assert!(
        include_str!("../curve.rs").contains("mul_tweak(SECP256K1"),
        "the names searched for are names in use"
    );
}

/// Files below a directory.
fn files(dir: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path());
    entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] }).collect()
}

#[test]
fn no_program_multiplies_points_or_scalars_but_in_the_module_of_the_curve() {
    let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut found = std::collections::BTreeSet::new();
    for crate_name in ["protocol", "hub", "staker", "covenant", "finality-provider", "checkpointer"] {
        for file in files(&root.join(crate_name).join("src")) {
            let code = std::fs::read_to_string(&file).unwrap();
            let raw = ["mul_tweak(", "add_tweak(", "add_exp_tweak(", "recover_ecdsa("];
            if raw.iter().any(|name| code.contains(name)) {
                found.insert(file.strip_prefix(root).unwrap().to_str().unwrap().to_owned());
            }
        }
    }
    found.remove("protocol/src/curve/tests.rs");
    assert!(found.iter().eq(["protocol/src/curve.rs", "protocol/src/curve/secret.rs"]), "{found:?}");
}

proptest! {
    #[test]
    fn public_arithmetic_agrees_with_k256(a in secrets(), b in secrets()) {
        let (x, y) = (public(a), public(b));
        let (kx, ky) = (scalar(&a), scalar(&b));
        prop_assert_eq!(add(&x, &y).to_be_bytes(), as_bytes(kx + ky));
        prop_assert_eq!(subtract(&x, &y).to_be_bytes(), as_bytes(kx - ky));
        prop_assert_eq!(multiply(&x, &y).to_be_bytes(), as_bytes(kx * ky));
        prop_assert_eq!(negate(&x).to_be_bytes(), as_bytes(-kx));
        prop_assert_eq!(invert(&x).to_be_bytes(), as_bytes(kx.invert().unwrap()));
    }

    #[test]
    fn both_ways_to_the_nonce_point_agree_with_k256(s in secrets(), e in secrets(), pair in key_pairs()) {
        let expected = ProjectivePoint::GENERATOR * scalar(&s) - lifted(&pair.public()) * scalar(&e);
        let (s, e) = (public(s), public(e));
        for point in [nonce_point_by_recovery(&s, &e, &pair.public()), nonce_point_by_tweaks(&s, &e, &pair.public())] {
            prop_assert_eq!(point.map(|point| point.serialize()), Some(compressed(&expected)));
        }
        for verifier in [&pair.public() as &dyn Verifier, &pair] {
            prop_assert_eq!(verifier.nonce_point(&s, &e).map(|point| point.serialize()), Some(compressed(&expected)));
        }
    }

    #[test]
    fn a_secret_and_its_negative_are_one_key(secret in secrets()) {
        let pair = KeyPair::from_secret_bytes(&secret).unwrap();
        let negative = KeyPair::from_secret_bytes(&as_bytes(-scalar(&secret))).unwrap();
        prop_assert_eq!(pair.public(), negative.public());
        prop_assert_eq!(pair.secret_bytes(), negative.secret_bytes());
        prop_assert_eq!(*pair.secret_bytes(), as_bytes(testing::even_scalar(&secret)));
        prop_assert_eq!(pair.secret().point(), lift_x(&pair.public()));
    }

    #[test]
    fn challenges_agree_with_k256(r in any::<[u8; 32]>(), pair in key_pairs(), message in any::<[u8; 32]>()) {
        let expected = testing::challenge(&r, &pair.public(), &message);
        prop_assert_eq!(challenge(&r, &pair.public(), &message).to_be_bytes(), as_bytes(expected));
    }
}
