use super::*;
use crate::codec::Wire;
use crate::curve::testing::{
    ORDER, bytes, challenge, even_scalar, flipped, key_pair, key_pairs, scalar, secrets,
};
use crate::curve::{Signature, verify_bip340};
use proptest::prelude::*;
use schnorr_fun::fun::marker::EvenY;
use schnorr_fun::{Message, Schnorr, fun};

fn secret_nonce(secret: &[u8; 32]) -> SecretNonce {
    SecretNonce::new(SecretScalar::from_bytes(secret).unwrap())
}

/// EOTS in k256's arithmetic: the s of a signature, as the equation says.
fn sign_by_k256(d: &[u8; 32], k: &[u8; 32], message: &[u8]) -> [u8; 32] {
    let (pair, nonce) = (KeyPair::from_secret_bytes(d).unwrap(), secret_nonce(k).public());
    let e = challenge(&nonce.to_bytes(), &pair.public(), &sha256(&[message]).0);
    (even_scalar(k) + e * even_scalar(d)).to_bytes().into()
}

/// Extraction in k256's arithmetic.
fn extract_by_k256(
    key: &XOnlyPublicKey,
    nonce: &PublicNonce,
    a: (&[u8], [u8; 32]),
    b: (&[u8], [u8; 32]),
) -> [u8; 32] {
    let e = |message: &[u8]| challenge(&nonce.to_bytes(), key, &sha256(&[message]).0);
    ((scalar(&a.1) - scalar(&b.1)) * (e(a.0) - e(b.0)).invert().unwrap()).to_bytes().into()
}

/// Whether k256's BIP-340 verification accepts `R || s` on the message's hash.
fn k256_accepts(key: &XOnlyPublicKey, nonce: &PublicNonce, message: &[u8], s: &[u8; 32]) -> bool {
    let key = k256::schnorr::VerifyingKey::from_bytes(&key.serialize()).unwrap();
    let signature = k256::schnorr::Signature::try_from([nonce.to_bytes(), *s].as_flattened());
    signature.is_ok_and(|signature| key.verify_raw(&sha256(&[message]).0, &signature).is_ok())
}

/// schnorr_fun's signature with a given nonce, and its verdict on it.
fn sign_by_schnorr_fun(d: &[u8; 32], k: &[u8; 32], message: &[u8]) -> ([u8; 32], bool) {
    let schnorr = Schnorr::<sha2::Sha256>::verify_only();
    let key = fun::KeyPair::<EvenY>::new_xonly(fun::Scalar::from_bytes(*d).unwrap().non_zero().unwrap());
    let nonce = fun::KeyPair::<EvenY>::new_xonly(fun::Scalar::from_bytes(*k).unwrap().non_zero().unwrap());
    let digest = sha256(&[message]).0;
    let (x, public) = key.as_tuple();
    let (k, r) = nonce.as_tuple();
    let c = schnorr.challenge(&r, &public, Message::raw(&digest));
    let s = fun::s!(k + c * x).public();
    let signature = schnorr_fun::Signature { R: r, s: s.mark_zero() };
    (s.to_bytes(), schnorr.verify(&public, Message::raw(&digest), &signature))
}

/// What Babylon's Go code made.
fn go_facts() -> serde_json::Value {
    serde_json::from_str(include_str!("../../tests/fixtures/babylon-test-utils/facts.json")).unwrap()
}

fn array(value: &serde_json::Value) -> [u8; 32] {
    bytes(value.as_str().unwrap())
}

#[test]
fn signatures_that_babylons_go_code_made_are_ours_byte_for_byte() {
    let go = &go_facts()["eots"];
    let pair = KeyPair::from_secret_bytes(&array(&go["sk"])).unwrap();
    let nonce = secret_nonce(&array(&go["sr"])).public();
    assert_eq!(pair.public().serialize(), array(&go["pk"]));
    assert_eq!(nonce.to_bytes(), array(&go["pr"]));
    let signatures = [("msg1", "sig1"), ("msg2", "sig2")].map(|(message, expected)| {
        let message = hex::decode(go[message].as_str().unwrap()).unwrap();
        let signature = sign(&pair, secret_nonce(&array(&go["sr"])), &message);
        assert_eq!(signature.to_bytes(), array(&go[expected]));
        assert_eq!(verify(&pair.public(), &nonce, &message, &signature), Ok(()));
        (message, signature)
    });
    let [a, b] = signatures.each_ref().map(|(message, signature)| (message.as_slice(), signature));
    assert_eq!(extract(&pair.public(), &nonce, a, b).unwrap().secret_bytes(), pair.secret_bytes());
}

#[test]
fn two_votes_of_babylons_go_code_at_one_height_give_the_key_away() {
    let go = go_facts();
    let provider = KeyPair::from_secret_bytes(&array(&go["providers"][0]["secret"])).unwrap();
    let (key, nonce) = (provider.public(), PublicNonce::from_bytes(array(&go["votes"][0]["randomness"])));
    let votes = [0, 1].map(|i| {
        let vote = &go["votes"][i];
        let height = vote["height"].as_u64().unwrap().to_be_bytes();
        let message = [&height[..], &array(&vote["app_hash"])].concat();
        let signature = EotsSignature::from_bytes(array(&vote["signature"])).unwrap();
        assert_eq!(verify(&key, &nonce, &message, &signature), Ok(()));
        (message, signature)
    });
    let [a, b] = votes.each_ref().map(|(message, signature)| (message.as_slice(), signature));
    assert_eq!(extract(&key, &nonce, a, b).unwrap().secret_bytes(), provider.secret_bytes());
}

#[test]
fn any_flipped_bit_of_signature_nonce_or_key_is_refused() {
    let pair = key_pair("flip");
    let (nonce, message) = (secret_nonce(&[5; 32]).public(), b"a vote");
    let signature = sign(&pair, secret_nonce(&[5; 32]), message);
    assert_eq!(verify(&pair.public(), &nonce, message, &signature), Ok(()));
    for bytes in flipped(signature.to_bytes()) {
        let verdict =
            EotsSignature::from_bytes(bytes).map(|wrong| verify(&pair.public(), &nonce, message, &wrong));
        assert!(matches!(verdict, Err(SOutOfRange) | Ok(Err(EotsInvalid))));
    }
    for bytes in flipped(nonce.to_bytes()) {
        let wrong = PublicNonce::from_bytes(bytes);
        assert_eq!(verify(&pair.public(), &wrong, message, &signature), Err(EotsInvalid));
    }
    for bytes in flipped(*message) {
        assert_eq!(verify(&pair.public(), &nonce, &bytes, &signature), Err(EotsInvalid));
    }
    let other_keys = flipped(pair.public().serialize()).filter_map(|x| XOnlyPublicKey::from_slice(&x).ok());
    let refused = other_keys.map(|wrong| verify(&wrong, &nonce, message, &signature));
    assert!(refused.inspect(|verdict| assert_eq!(*verdict, Err(EotsInvalid))).count() > 10);
}

#[test]
fn s_of_the_order_or_more_has_no_encoding() {
    assert_eq!(EotsSignature::from_bytes(ORDER), Err(SOutOfRange));
    assert_eq!(EotsSignature::from_bytes([0xff; 32]), Err(SOutOfRange));
    assert!(<EotsSignature as Wire>::from_bytes(&ORDER).is_err());
    assert!(hex::encode(ORDER).parse::<EotsSignature>().is_err());
    assert!(EotsSignature::from_bytes([0; 32]).is_ok());
}

#[test]
fn one_equation_gives_nothing_away_and_the_error_says_which_rule() {
    let (pair, nonce) = (key_pair("extract"), secret_nonce(&[5; 32]).public());
    let signed = |message: &[u8]| sign(&pair, secret_nonce(&[5; 32]), message);
    let (a, b) = (signed(b"a"), signed(b"b"));
    let other = sign(&key_pair("other"), secret_nonce(&[5; 32]), b"b");
    let other_nonce = sign(&pair, secret_nonce(&[6; 32]), b"b");

    let extracted = |x: (&[u8], &EotsSignature), y: (&[u8], &EotsSignature)| {
        extract(&pair.public(), &nonce, x, y).map(|pair| *pair.secret_bytes())
    };
    assert_eq!(extracted((b"a", &a), (b"b", &b)), Ok(*pair.secret_bytes()));
    assert_eq!(extracted((b"a", &a), (b"a", &a)), Err(ExtractError::SameMessage));
    assert_eq!(extracted((b"a", &a), (b"a", &b)), Err(ExtractError::SameMessage));
    assert_eq!(extracted((b"a", &a), (b"b", &a)), Err(ExtractError::SameSignature));
    let not_this_key = Err(ExtractError::NotThisKey(pair.public()));
    assert_eq!(extracted((b"a", &a), (b"b", &other)), not_this_key, "one signature is another key's");
    assert_eq!(extracted((b"a", &a), (b"b", &other_nonce)), not_this_key, "one signature has another nonce");
    assert_eq!(extracted((b"a", &a), (b"c", &b)), not_this_key, "one message was not signed");
    let elsewhere = key_pair("elsewhere").public();
    let wrong_key = extract(&elsewhere, &nonce, (b"a", &a), (b"b", &b)).map(|_| ());
    assert_eq!(wrong_key, Err(ExtractError::NotThisKey(elsewhere)));
}

#[test]
fn values_have_one_text_and_one_wire_form() {
    let signature = sign(&key_pair("form"), secret_nonce(&[5; 32]), b"form");
    let nonce = secret_nonce(&[5; 32]).public();
    assert_eq!(signature.to_string().parse(), Ok(signature));
    assert_eq!(nonce.to_string().parse(), Ok(nonce));
    assert_eq!(serde_json::to_string(&nonce).unwrap(), format!("\"{}\"", hex::encode(nonce.to_bytes())));
    assert_eq!(serde_json::from_str::<EotsSignature>(&format!("\"{signature}\"")).unwrap(), signature);
    assert_eq!(Wire::to_bytes(&signature), signature.to_bytes());
    assert_eq!(<PublicNonce as Wire>::from_bytes(&nonce.to_bytes()), Ok(nonce));
    assert_eq!(
        format!("{:?}", secret_nonce(&[5; 32])),
        format!("SecretNonce {{ public: {nonce}, k: [redacted] }}")
    );
}

proptest! {
    #[test]
    fn signatures_agree_with_k256_and_schnorr_fun(d in secrets(), k in secrets(), message in any::<Vec<u8>>()) {
        let (pair, nonce) = (KeyPair::from_secret_bytes(&d).unwrap(), secret_nonce(&k));
        let public = nonce.public();
        let signature = sign(&pair, nonce, &message);
        prop_assert_eq!(signature.to_bytes(), sign_by_k256(&d, &k, &message));
        prop_assert_eq!((signature.to_bytes(), true), sign_by_schnorr_fun(&d, &k, &message));
        prop_assert!(k256_accepts(&pair.public(), &public, &message, &signature.to_bytes()));
        prop_assert_eq!(verify(&pair.public(), &public, &message, &signature), Ok(()));
        let bip340 = Signature::from_slice([public.to_bytes(), signature.to_bytes()].as_flattened()).unwrap();
        prop_assert_eq!(verify_bip340(&pair.public(), &sha256(&[&message]).0, &bip340), Ok(()));
    }

    #[test]
    fn an_honest_signature_holds_for_no_other_message(pair in key_pairs(), k in secrets(), a in any::<Vec<u8>>(), b in any::<Vec<u8>>()) {
        prop_assume!(a != b);
        let nonce = secret_nonce(&k).public();
        let signature = sign(&pair, secret_nonce(&k), &a);
        prop_assert_eq!(verify(&pair.public(), &nonce, &b, &signature), Err(EotsInvalid));
        prop_assert!(!k256_accepts(&pair.public(), &nonce, &b, &signature.to_bytes()));
    }

    #[test]
    fn two_messages_at_one_nonce_give_the_key_away(d in secrets(), k in secrets(), a in any::<[u8; 8]>(), b in any::<[u8; 8]>()) {
        prop_assume!(a != b);
        let pair = KeyPair::from_secret_bytes(&d).unwrap();
        let nonce = secret_nonce(&k).public();
        let (x, y) = (sign(&pair, secret_nonce(&k), &a), sign(&pair, secret_nonce(&k), &b));
        let extracted = extract(&pair.public(), &nonce, (&a, &x), (&b, &y)).unwrap();
        prop_assert_eq!(extracted.secret_bytes(), pair.secret_bytes());
        let by_k256 = extract_by_k256(&pair.public(), &nonce, (&a, x.to_bytes()), (&b, y.to_bytes()));
        prop_assert_eq!(*extracted.secret_bytes(), by_k256);
    }
}
