use super::*;
use bitcoin::base64::{Engine as _, engine::general_purpose::STANDARD};
use bitcoin::consensus::encode::serialize;
use bitcoin::{Address, Network, PrivateKey, address::NetworkUnchecked};
use proptest::prelude::*;
use serde_json::Value;

/// Official vectors; a change here means that wallets' signatures are no longer understood.
fn vectors() -> Value {
    serde_json::from_str(include_str!("../../tests/vectors/bip322.json")).unwrap()
}

fn text<'a>(case: &'a Value, field: &str) -> &'a str {
    case[field].as_str().unwrap()
}

fn list<'a>(vectors: &'a Value, section: &str) -> impl Iterator<Item = &'a Value> {
    let cases = vectors[section].as_array().unwrap();
    assert!(!cases.is_empty(), "{section}");
    cases.iter()
}

fn script(address: &str) -> ScriptBuf {
    address.parse::<Address<NetworkUnchecked>>().unwrap().assume_checked().script_pubkey()
}

/// The bytes of a signature as wallets print it: base64, with or without the prefix of the simple form.
fn unprinted(signature: &str) -> Vec<u8> {
    STANDARD.decode(signature.strip_prefix("smp").unwrap_or(signature)).unwrap()
}

fn verify_printed(address: &str, message: &str, signature: &str) -> Result<(), Bip322Invalid> {
    verify(&script(address), message.as_bytes(), &witness_from_bytes(&unprinted(signature))?)
}

fn secret(byte: u8) -> SecretKey {
    SecretKey::from_slice(&[byte; 32]).unwrap()
}

fn p2wpkh(secret: &SecretKey) -> ScriptBuf {
    ScriptBuf::new_p2wpkh(&CompressedPublicKey(secret.public_key(SECP256K1)).wpubkey_hash())
}

fn p2tr(secret: &SecretKey) -> ScriptBuf {
    let (internal, _) = secret.x_only_public_key(SECP256K1);
    ScriptBuf::new_p2tr(SECP256K1, internal, None)
}

#[test]
fn the_virtual_transactions_have_the_ids_of_the_bip() {
    for case in list(&vectors(), "tx_hashes") {
        let message = text(case, "message").as_bytes();
        assert_eq!(tagged("BIP0322-signed-message", &[message]).to_string(), text(case, "message_hash"));
        let to_spend = to_spend(&script(text(case, "address")), message);
        assert_eq!(to_spend.compute_txid().to_string(), text(case, "to_spend_tx_hash"));
        assert_eq!(to_sign(&to_spend).compute_txid().to_string(), text(case, "to_sign_tx_hash"));
    }
}

#[test]
fn the_official_signatures_of_the_two_kinds_verify_and_other_kinds_are_refused() {
    for case in list(&vectors(), "simple") {
        for signature in list(case, "bip322_signatures") {
            let (address, message) = (text(case, "address"), text(case, "message"));
            let result = verify_printed(address, message, signature.as_str().unwrap());
            match text(case, "type") {
                "p2wpkh" | "p2tr" => assert_eq!(result, Ok(()), "{message}"),
                _ => assert!(result.is_err(), "{message}"),
            }
        }
    }
}

/// The p2wpkh signatures of the BIP are deterministic (RFC 6979, low R); its p2tr signatures used other nonces.
#[test]
fn the_official_keys_sign_for_the_official_addresses() {
    for case in list(&vectors(), "simple").filter(|case| !text(case, "private_key").is_empty()) {
        let secret = text(case, "private_key").parse::<PrivateKey>().unwrap().inner;
        let message = text(case, "message").as_bytes();
        let script = script(text(case, "address"));
        if text(case, "type") == "p2wpkh" {
            let witness = sign_p2wpkh(&secret, message).unwrap();
            assert_eq!(serialize(&witness), unprinted(case["bip322_signatures"][0].as_str().unwrap()));
        } else {
            let witness = sign_p2tr_key_path(&secret, message, &[0; 32]).unwrap();
            assert_eq!(verify(&script, message, &witness), Ok(()));
        }
    }
}

#[test]
fn the_official_errors_are_errors() {
    for case in list(&vectors(), "error") {
        let result = verify_printed(text(case, "address"), text(case, "message"), text(case, "signature"));
        assert!(result.is_err(), "{}", text(case, "description"));
    }
}

/// One way to spoil a witness of the text `hello`, and what it must be refused for.
fn check(script: &Script, items: &[&[u8]], wanted: Bip322Invalid) {
    assert_eq!(verify(script, b"hello", &Witness::from_slice(items)), Err(wanted), "{items:?}");
}

#[test]
fn a_p2wpkh_witness_has_one_form() {
    let secret = secret(7);
    let script = p2wpkh(&secret);
    let witness = sign_p2wpkh(&secret, b"hello").unwrap();
    let (signature, key) = (&witness[0], &witness[1]);
    assert_eq!(verify(&script, b"hello", &witness), Ok(()));
    assert_eq!(verify(&script, b"hello.", &witness), Err(Bip322Invalid::Signature));

    check(&script, &[], Bip322Invalid::WitnessItems { found: 0, wanted: 2 });
    check(&script, &[signature], Bip322Invalid::WitnessItems { found: 1, wanted: 2 });
    check(&script, &[signature, key, &[]], Bip322Invalid::WitnessItems { found: 3, wanted: 2 });
    check(&script, &[&[], key], Bip322Invalid::SignatureLength { found: 0 });
    check(&script, &[&[1; SIGNATURE_MAX], key], Bip322Invalid::SignatureEncoding);
    check(
        &script,
        &[&[1; SIGNATURE_MAX + 1], key],
        Bip322Invalid::SignatureLength { found: SIGNATURE_MAX + 1 },
    );
    check(&script, &[&[0x30; 100_000], key], Bip322Invalid::SignatureLength { found: 100_000 });

    let der = &signature[..signature.len() - 1];
    for found in [0, 2, 3, 4, 0x41, 0x81, 0x82, 0x83, 0xff] {
        check(&script, &[&[der, &[found]].concat(), key], Bip322Invalid::Sighash { found });
    }
    check(&script, &[&[der, &[0, 1]].concat(), key], Bip322Invalid::SignatureEncoding);
    check(&script, &[&[&[0x31], &der[1..], &[1]].concat(), key], Bip322Invalid::SignatureEncoding);
    check(&script, &[&padded(der), key], Bip322Invalid::SignatureEncoding);
    check(&script, &[&high_s(der), key], Bip322Invalid::HighS);

    let uncompressed = secret.public_key(SECP256K1).serialize_uncompressed();
    check(&script, &[signature, &uncompressed], Bip322Invalid::Key);
    check(&script, &[signature, &[5; 33]], Bip322Invalid::Key);
    let other = SecretKey::from_slice(&[8; 32]).unwrap().public_key(SECP256K1).serialize();
    check(&script, &[signature, &other], Bip322Invalid::OtherKey);
}

/// The same signature with a needless zero before R.
fn padded(der: &[u8]) -> Vec<u8> {
    let (r_len, rest) = (der[3], &der[4..]);
    [&[0x30, der[1] + 1, 2, r_len + 1, 0], rest, &[1]].concat()
}

/// The other S of the same signature: n - s, which verifies just as well.
fn high_s(der: &[u8]) -> Vec<u8> {
    let compact = ecdsa::Signature::from_der(der).unwrap().serialize_compact();
    let s = SecretKey::from_slice(&compact[32..]).unwrap().negate().secret_bytes();
    let high = ecdsa::Signature::from_compact(&[&compact[..32], &s].concat()).unwrap();
    [high.serialize_der().as_ref(), &[1]].concat()
}

#[test]
fn a_p2tr_witness_has_one_signature_over_everything() {
    let secret = secret(7);
    let script = p2tr(&secret);
    let witness = sign_p2tr_key_path(&secret, b"hello", &[9; 32]).unwrap();
    let signature = &witness[0];
    assert_eq!(verify(&script, b"hello", &witness), Ok(()));
    assert_eq!(verify(&script, b"Hello", &witness), Err(Bip322Invalid::Signature));

    check(&script, &[], Bip322Invalid::WitnessItems { found: 0, wanted: 1 });
    check(&script, &[signature, &[0x50]], Bip322Invalid::WitnessItems { found: 2, wanted: 1 });
    check(&script, &[&signature[..63]], Bip322Invalid::SignatureLength { found: 63 });
    check(&script, &[&[signature, &[1, 1][..]].concat()], Bip322Invalid::SignatureLength { found: 66 });
    check(&script, &[&[1; 100_000]], Bip322Invalid::SignatureLength { found: 100_000 });
    for found in [0, 2, 3, 4, 0x81, 0x82, 0x83, 0xff] {
        check(&script, &[&[signature, &[found][..]].concat()], Bip322Invalid::Sighash { found });
    }
    // A DEFAULT signature does not pass for one with ALL, whose digest names the type.
    check(&script, &[&[signature, &[1][..]].concat()], Bip322Invalid::Signature);
    let nowhere = ScriptBuf::from_bytes([&[0x51, 0x20][..], &[0xff; 32]].concat());
    check(&nowhere, &[signature], Bip322Invalid::OutputKey);
}

#[test]
fn every_other_kind_of_script_is_refused_by_name() {
    let key = bitcoin::PublicKey::new(secret(7).public_key(SECP256K1));
    let inner = p2wpkh(&secret(7));
    let witness = sign_p2wpkh(&secret(7), b"hello").unwrap();
    for (script, kind) in [
        (ScriptBuf::new_p2pkh(&key.pubkey_hash()), "p2pkh"),
        (ScriptBuf::new_p2sh(&inner.script_hash()), "p2sh"),
        (ScriptBuf::new_p2wsh(&inner.wscript_hash()), "p2wsh"),
        (ScriptBuf::new_p2pk(&key), "non-standard"),
        (ScriptBuf::new(), "non-standard"),
        (ScriptBuf::from_bytes([&[0x52, 0x20][..], &[2; 32]].concat()), "non-standard"),
    ] {
        assert_eq!(verify(&script, b"hello", &witness), Err(Bip322Invalid::ScriptUnsupported { kind }));
    }
}

#[test]
fn lengths_are_bounded_before_anything_is_hashed_or_allocated() {
    let long = vec![b'a'; MESSAGE_MAX + 1];
    let refused = Bip322Invalid::MessageTooLong { found: MESSAGE_MAX + 1 };
    let witness = sign_p2wpkh(&secret(7), &long[1..]).unwrap();
    assert_eq!(verify(&p2wpkh(&secret(7)), &long[1..], &witness), Ok(()));
    assert_eq!(verify(&p2wpkh(&secret(7)), &long, &witness), Err(refused.clone()));
    assert_eq!(sign_p2wpkh(&secret(7), &long), Err(refused.clone()));
    assert_eq!(sign_p2tr_key_path(&secret(7), &long, &[0; 32]), Err(refused));

    let millions_of_items = [0xfe, 0, 0, 0x30, 0];
    for bytes in [&[][..], &[3, 0, 0, 0], &millions_of_items, &[1, 64], &[0, 0], &[1; WITNESS_MAX + 1]] {
        let found = bytes.len();
        assert_eq!(witness_from_bytes(bytes), Err(Bip322Invalid::WitnessMalformed { found }), "{bytes:?}");
    }

    let of = |signature: usize| serialize(&Witness::from_slice(&[vec![1; signature], vec![2; KEY_LEN]]));
    let (longest, longer) = (of(SIGNATURE_MAX), of(SIGNATURE_MAX + 1));
    assert!(longest.len() == WITNESS_MAX && witness_from_bytes(&longest).is_ok());
    let refused = Bip322Invalid::WitnessMalformed { found: WITNESS_MAX + 1 };
    assert_eq!(witness_from_bytes(&longer), Err(refused));
}

/// Bitcoin Core's interpreter on the virtual spend.
fn core_accepts(script: &Script, message: &[u8], witness: &Witness) -> bool {
    let mut transaction = to_sign(&to_spend(script, message));
    transaction.input[0].witness = witness.clone();
    let spent = [bitcoinconsensus::Utxo {
        script_pubkey: script.as_bytes().as_ptr(),
        script_pubkey_len: script.len() as u32,
        value: 0,
    }];
    bitcoinconsensus::verify(script.as_bytes(), 0, &serialize(&transaction), Some(&spent), 0).is_ok()
}

fn address(script: &Script) -> Address {
    Address::from_script(script, Network::Bitcoin).unwrap()
}

#[test]
fn the_published_crate_takes_a_stated_default_sighash_that_bitcoin_and_we_refuse() {
    let script = p2tr(&secret(7));
    let witness = sign_p2tr_key_path(&secret(7), b"hello", &[0; 32]).unwrap();
    let stated = Witness::from_slice(&[[&witness[0], &[0][..]].concat()]);
    assert!(bip322::verify_simple(&address(&script), b"hello", stated.clone()).is_ok());
    assert!(!core_accepts(&script, b"hello", &stated));
    assert_eq!(verify(&script, b"hello", &stated), Err(Bip322Invalid::Sighash { found: 0 }));
}

prop_compose! {
    fn any_secret()(bytes in prop::array::uniform32(any::<u8>()).prop_filter_map("a scalar", |b| SecretKey::from_slice(&b).ok())) -> SecretKey {
        bytes
    }
}

proptest! {
    #[test]
    fn signatures_are_understood_by_the_published_crate_and_by_core(
        secret in any_secret(),
        message in prop::collection::vec(any::<u8>(), 0..300),
        aux in prop::array::uniform32(any::<u8>()),
    ) {
        for (script, witness) in [
            (p2wpkh(&secret), sign_p2wpkh(&secret, &message).unwrap()),
            (p2tr(&secret), sign_p2tr_key_path(&secret, &message, &aux).unwrap()),
        ] {
            prop_assert_eq!(verify(&script, &message, &witness), Ok(()));
            prop_assert_eq!(witness_from_bytes(&serialize(&witness)), Ok(witness.clone()));
            prop_assert!(core_accepts(&script, &message, &witness));
            prop_assert!(bip322::verify_simple(&address(&script), &message, witness).is_ok());

            let key = PrivateKey::new(secret, Network::Bitcoin);
            let theirs = bip322::sign_simple(&address(&script), &message, &[key], None).unwrap();
            prop_assert_eq!(verify(&script, &message, &theirs), Ok(()));
        }
    }

    #[test]
    fn a_changed_bit_is_noticed(secret in any_secret(), item in 0usize..2, bit in 0usize..2_000) {
        for (script, witness) in [
            (p2wpkh(&secret), sign_p2wpkh(&secret, b"hello").unwrap()),
            (p2tr(&secret), sign_p2tr_key_path(&secret, b"hello", &[0; 32]).unwrap()),
        ] {
            let mut items = witness.to_vec();
            let item = item % items.len();
            let at = bit / 8 % items[item].len();
            items[item][at] ^= 1 << (bit % 8);
            prop_assert!(verify(&script, b"hello", &Witness::from_slice(&items)).is_err());
        }
    }
}
