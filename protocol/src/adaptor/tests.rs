use super::*;
use crate::codec::Wire;
use crate::curve::testing::{
    ORDER, bytes, challenge, compressed, even_scalar, flipped, key_pair, key_pairs, lifted, rows, scalar,
    secrets,
};
use crate::curve::verify_bip340;
use k256::ProjectivePoint;
use proptest::prelude::*;
use schnorr_fun::adaptor::{Adaptor as _, EncryptedSign as _, EncryptedSignature};
use schnorr_fun::fun::{
    self,
    marker::{EvenY, Public, Zero},
};
use schnorr_fun::{Message, Schnorr, nonce::Deterministic};
use std::collections::BTreeSet;

type SchnorrFun = Schnorr<sha2::Sha256, Deterministic<sha2::Sha256>>;

/// A point of a vector, if it is one.
fn point(text: &str) -> Option<Point> {
    Point::from_slice(&bytes::<33>(text)).ok()
}

/// The same adaptor signature as schnorr_fun's type.
fn for_schnorr_fun(signature: &AdaptorSignature) -> EncryptedSignature {
    EncryptedSignature {
        R: fun::Point::<EvenY>::from_xonly_bytes(signature.x).unwrap(),
        s_hat: fun::Scalar::<Public, Zero>::from_bytes(signature.s.to_be_bytes()).unwrap(),
        needs_negation: signature.odd,
    }
}

/// A key pair as schnorr_fun's type.
fn key_for_schnorr_fun(key: &KeyPair) -> fun::KeyPair<EvenY> {
    fun::KeyPair::new_xonly(fun::Scalar::from_bytes(*key.secret_bytes()).unwrap().non_zero().unwrap())
}

/// The rule for validity in k256's arithmetic: `T = R0 - (sG - eP)`, or plus for an odd R0.
fn k256_accepts(
    key: &XOnlyPublicKey,
    t: &ProjectivePoint,
    sighash: &[u8; 32],
    signature: &AdaptorSignature,
) -> bool {
    let Ok(x) = XOnlyPublicKey::from_slice(&signature.x) else { return false };
    let r0 = if signature.odd { -lifted(&x) } else { lifted(&x) };
    let e = challenge(&signature.x, key, sighash);
    let r = ProjectivePoint::GENERATOR * scalar(&signature.s.to_be_bytes()) - lifted(key) * e;
    *t == if signature.odd { r0 + r } else { r0 - r }
}

#[test]
fn presignature_vectors_sign_and_verify_as_they_say() {
    let rows = rows(include_str!("../../tests/vectors/schnorr-adaptor/presig_vectors.csv"));
    assert_eq!(rows.len(), 15);
    let mut signed = 0;
    for row in rows {
        let [index, secret, key, aux_rand, message, t, presig, result, ..] = row[..] else {
            panic!("{row:?}")
        };
        let (t, message) = (point(t), bytes(message));
        if !secret.is_empty() {
            let pair = KeyPair::from_secret_bytes(&bytes(secret)).unwrap();
            assert_eq!(pair.public().serialize(), bytes(key), "key of vector {index}");
            let ours = sign_to_point(&pair, &t.unwrap(), &message, &bytes(aux_rand));
            assert_eq!(ours.to_bytes(), bytes(presig), "signature of vector {index}");
            signed += 1;
        }
        let parsed =
            (XOnlyPublicKey::from_slice(&bytes::<32>(key)), AdaptorSignature::from_bytes(bytes(presig)), t);
        let verdict = match parsed {
            (Ok(key), Ok(presig), Some(t)) => verify_to_point(&key, &t, &message, &presig).is_ok(),
            _ => false,
        };
        assert_eq!(verdict, result == "TRUE", "verdict on vector {index}");
    }
    assert_eq!(signed, 2);
}

#[test]
fn adapt_vectors_decrypt_to_the_bytes_they_say() {
    let rows = rows(include_str!("../../tests/vectors/schnorr-adaptor/adapt_vectors.csv"));
    assert_eq!(rows.len(), 5);
    for row in rows {
        let [index, key, message, t, presig, expected, result, ..] = row[..] else { panic!("{row:?}") };
        let presig = AdaptorSignature::from_bytes(bytes(presig)).unwrap();
        let decrypted = decrypt_with(&presig, &SecretScalar::from_bytes(&bytes(t)).unwrap());
        assert_eq!(decrypted.serialize(), bytes(expected), "signature of vector {index}");
        let key = XOnlyPublicKey::from_slice(&bytes::<32>(key)).unwrap();
        let verdict = verify_bip340(&key, &bytes(message), &decrypted).is_ok();
        assert_eq!(verdict, result == "TRUE", "verdict on vector {index}");
    }
}

#[test]
fn secadaptor_vectors_recover_the_secret_where_they_say() {
    let rows = rows(include_str!("../../tests/vectors/schnorr-adaptor/secadaptor_vectors.csv"));
    assert_eq!(rows.len(), 4);
    for row in rows {
        let [index, presig, signature, t, result, ..] = row[..] else { panic!("{row:?}") };
        let presig = AdaptorSignature::from_bytes(bytes(presig)).unwrap();
        let signature = Signature::from_slice(&bytes::<64>(signature)).unwrap();
        let recovered = recover_scalar(&presig, &signature).unwrap().to_be_bytes();
        assert_eq!(recovered == bytes::<32>(t), result == "TRUE", "vector {index}");
    }
}

#[test]
fn any_flipped_bit_is_refused() {
    let (key, provider, sighash) = (key_pair("covenant"), key_pair("provider").public(), [3; 32]);
    let signature = sign(&key, &provider, &sighash, &[4; 32]);
    // The signer itself judges as anybody else does.
    let judged = |sighash: &[u8; 32], signature: &AdaptorSignature| {
        let judged = verify(&key.public(), &provider, sighash, signature);
        assert_eq!(verify(&key, &provider, sighash, signature), judged);
        judged
    };
    assert_eq!(judged(&sighash, &signature), Ok(()));
    let mut parsed = 0;
    for bytes in flipped(signature.to_bytes()) {
        if let Ok(wrong) = AdaptorSignature::from_bytes(bytes) {
            assert_eq!(judged(&sighash, &wrong), Err(AdaptorInvalid));
            parsed += 1;
        }
    }
    assert!(
        parsed >= 128,
        "the other parity, and every bit of R0.x and s but those that lift s over the order"
    );
    for wrong in flipped(sighash) {
        assert_eq!(judged(&wrong, &signature), Err(AdaptorInvalid));
    }
    assert_eq!(verify(&provider, &provider, &sighash, &signature), Err(AdaptorInvalid), "another signer");
    let other = key_pair("provider");
    assert_eq!(verify(&other, &provider, &sighash, &signature), Err(AdaptorInvalid), "another signer's own");
}

#[test]
fn bytes_that_are_no_adaptor_signature_are_refused_by_the_rule_they_break() {
    let good = sign(&key_pair("covenant"), &key_pair("provider").public(), &[3; 32], &[4; 32]).to_bytes();
    for parity in (0..=255).filter(|parity| ![2, 3].contains(parity)) {
        let mut bytes = good;
        bytes[0] = parity;
        assert_eq!(AdaptorSignature::from_bytes(bytes), Err(NotAnAdaptorSignature::Parity(parity)));
        assert!(<AdaptorSignature as Wire>::from_bytes(&bytes).is_err());
    }
    let mut bytes = good;
    bytes[33..].copy_from_slice(&ORDER);
    assert_eq!(AdaptorSignature::from_bytes(bytes), Err(NotAnAdaptorSignature::SOutOfRange));
    assert!(hex::encode(bytes).parse::<AdaptorSignature>().is_err());
}

#[test]
fn values_have_one_text_and_one_wire_form() {
    let signature = sign(&key_pair("covenant"), &key_pair("provider").public(), &[3; 32], &[4; 32]);
    assert_eq!(signature.to_string(), hex::encode(signature.to_bytes()));
    assert_eq!(signature.to_string().parse(), Ok(signature));
    assert_eq!(serde_json::from_str::<AdaptorSignature>(&format!("\"{signature}\"")).unwrap(), signature);
    assert_eq!(Wire::to_bytes(&signature), signature.to_bytes());
    assert_eq!(<AdaptorSignature as Wire>::from_bytes(&signature.to_bytes()), Ok(signature));
}

#[test]
fn any_changed_input_changes_the_nonce() {
    let (key, t) = (key_pair("covenant"), curve::lift_x(&key_pair("provider").public()));
    let secret_nonce = |key: &KeyPair, t: &Point, sighash: &[u8; 32], aux_rand: &[u8; 32]| {
        *nonce(key, t, sighash, aux_rand).0.to_bytes()
    };
    let first = secret_nonce(&key, &t, &[3; 32], &[4; 32]);
    assert_eq!(secret_nonce(&key, &t, &[3; 32], &[4; 32]), first);
    let mut seen = BTreeSet::from([first]);
    seen.insert(secret_nonce(&key_pair("other"), &t, &[3; 32], &[4; 32]));
    seen.insert(secret_nonce(&key, &curve::lift_x(&key_pair("other").public()), &[3; 32], &[4; 32]));
    seen.insert(secret_nonce(&key, &curve::negate_point(&t), &[3; 32], &[4; 32]));
    seen.extend(flipped([3; 32]).map(|sighash| secret_nonce(&key, &t, &sighash, &[4; 32])));
    seen.extend(flipped([4; 32]).map(|aux_rand| secret_nonce(&key, &t, &[3; 32], &aux_rand)));
    assert_eq!(seen.len(), 4 + 64 + 64);
}

#[test]
fn recovery_refuses_what_was_not_decrypted_from_it() {
    let (key, provider) = (key_pair("covenant"), key_pair("provider"));
    let signature = sign(&key, &provider.public(), &[3; 32], &[4; 32]);
    let decrypted = decrypt(&signature, &provider);
    let recovered = |decrypted: &Signature, key: &KeyPair| {
        recover(&signature, decrypted, &key.public()).map(|pair| *pair.secret_bytes())
    };
    assert_eq!(recovered(&decrypted, &provider), Ok(*provider.secret_bytes()));

    let ordinary = key.sign_bip340(&[3; 32], &[4; 32]);
    assert_eq!(recovered(&ordinary, &provider), Err(RecoverError::OtherNonce));
    let too_large = curve::signature(&signature.x, &ORDER);
    assert_eq!(recovered(&too_large, &provider), Err(RecoverError::SOutOfRange));
    let undecrypted = curve::signature(&signature.x, &signature.s.to_be_bytes());
    assert_eq!(recovered(&undecrypted, &provider), Err(RecoverError::NotThisKey(provider.public())));
    assert_eq!(recovered(&decrypted, &key), Err(RecoverError::NotThisKey(key.public())));
}

proptest! {
    #[test]
    fn signatures_round_trip_and_agree_with_k256_and_schnorr_fun(
        d in secrets(), t in secrets(), sighash in any::<[u8; 32]>(), aux_rand in any::<[u8; 32]>(),
    ) {
        let key = KeyPair::from_secret_bytes(&d).unwrap();
        let provider = KeyPair::from_secret_bytes(&t).unwrap();
        let signature = sign(&key, &provider.public(), &sighash, &aux_rand);
        prop_assert_eq!(verify(&key.public(), &provider.public(), &sighash, &signature), Ok(()));
        prop_assert_eq!(verify(&key, &provider.public(), &sighash, &signature), Ok(()));
        let t_point = ProjectivePoint::GENERATOR * even_scalar(&t);
        prop_assert_eq!(compressed(&t_point)[0], 2);
        prop_assert!(k256_accepts(&key.public(), &t_point, &sighash, &signature));

        let decrypted = decrypt(&signature, &provider);
        prop_assert_eq!(verify_bip340(&key.public(), &sighash, &decrypted), Ok(()));
        let recovered = recover(&signature, &decrypted, &provider.public()).unwrap();
        prop_assert_eq!(recovered.secret_bytes(), provider.secret_bytes());

        let schnorr = SchnorrFun::default();
        let (theirs, their_provider) = (for_schnorr_fun(&signature), key_for_schnorr_fun(&provider));
        let message = Message::raw(&sighash);
        let signer = key_for_schnorr_fun(&key).public_key();
        prop_assert!(schnorr.verify_encrypted_signature(&signer, &their_provider.public_key(), message, &theirs));
        let their_decrypted = schnorr.decrypt_signature(*their_provider.secret_key(), theirs.clone());
        prop_assert_eq!(their_decrypted.to_bytes(), decrypted.serialize());
        let their_secret = schnorr.recover_decryption_key(&their_provider.public_key(), &theirs, &their_decrypted);
        prop_assert_eq!(their_secret.unwrap().to_bytes(), *recovered.secret_bytes());
    }

    #[test]
    fn signatures_that_schnorr_fun_made_are_ours(key in key_pairs(), provider in key_pairs(), sighash in any::<[u8; 32]>()) {
        let (signer, encryption) = (key_for_schnorr_fun(&key), key_for_schnorr_fun(&provider).public_key());
        let made = SchnorrFun::default().encrypted_sign(&signer, &encryption.normalize(), Message::raw(&sighash));
        let mut bytes = [if made.needs_negation { 3 } else { 2 }; 65];
        bytes[1..33].copy_from_slice(&made.R.to_xonly_bytes());
        bytes[33..].copy_from_slice(&made.s_hat.to_bytes());
        let signature = AdaptorSignature::from_bytes(bytes).unwrap();
        prop_assert_eq!(verify(&key.public(), &provider.public(), &sighash, &signature), Ok(()));
        prop_assert_eq!(verify(&key, &provider.public(), &sighash, &signature), Ok(()));
        let decrypted = decrypt(&signature, &provider);
        prop_assert_eq!(verify_bip340(&key.public(), &sighash, &decrypted), Ok(()));
    }

    #[test]
    fn a_signature_for_one_provider_is_invalid_for_another(
        key in key_pairs(), provider in key_pairs(), other in key_pairs(), sighash in any::<[u8; 32]>(),
    ) {
        prop_assume!(provider.public() != other.public());
        let signature = sign(&key, &provider.public(), &sighash, &[0; 32]);
        prop_assert_eq!(verify(&key.public(), &other.public(), &sighash, &signature), Err(AdaptorInvalid));
        prop_assert!(!k256_accepts(&key.public(), &lifted(&other.public()), &sighash, &signature));
        prop_assert!(verify_bip340(&key.public(), &sighash, &decrypt(&signature, &other)).is_err());
    }

    #[test]
    fn the_wrong_sign_of_the_secret_decrypts_to_nothing_valid(key in key_pairs(), provider in key_pairs(), sighash in any::<[u8; 32]>()) {
        let signature = sign(&key, &provider.public(), &sighash, &[0; 32]);
        let wrong = decrypt_with(&signature, &provider.secret().negated());
        prop_assert!(verify_bip340(&key.public(), &sighash, &wrong).is_err());
    }
}
