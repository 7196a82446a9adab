//! Outputs, transactions, registrations and the committee's answers.

use super::{array, bytes, cases, demo, genesis, hash, json, message, pair, text, vectors, zero};
use bitcoin::block::Header;
use bitcoin::consensus::encode::{deserialize, serialize};
use bitcoin::{Transaction, Witness};
use palisade_protocol::adaptor;
use palisade_protocol::context::{ChainId, Purpose};
use palisade_protocol::covenant::{Verdict, refusal_message};
use palisade_protocol::keys::{CovenantKey, ProviderKey, StakerKey};
use palisade_protocol::message::Message;
use palisade_protocol::outputs::{Leaf, Output};
use palisade_protocol::params::Params;
use palisade_protocol::provider::ProviderRegistration;
use palisade_protocol::registration::{Judged, RegistrationProof, StakeRegistration, intent_message};
use palisade_protocol::scripts::{Committee, StakeKeys};
use palisade_protocol::stake::{Sighashes, StakeId};
use palisade_protocol::transactions::{bump, witness};
use serde_json::Value;

fn check_output(expected: &Value, output: &Output) {
    assert_eq!(output.script_pubkey().as_bytes(), bytes(&expected["script_pubkey"]));
    assert_eq!(output.descriptor(), text(&expected["descriptor"]));
    let names = [("timelock", Leaf::Timelock), ("unbonding", Leaf::Unbonding), ("slashing", Leaf::Slashing)];
    for (name, leaf) in names {
        let Some(expected) = expected["leaves"].get(name) else {
            assert_eq!(output.leaf(leaf), None);
            continue;
        };
        assert_eq!(output.leaf(leaf).unwrap().as_bytes(), bytes(&expected["script"]));
        assert_eq!(output.leaf_of_script(&bytes(&expected["script"])), Some(leaf));
        assert_eq!(serialize(&output.leaf_hash(leaf).unwrap()), bytes(&expected["hash"]));
        assert_eq!(output.control_block(leaf).unwrap().serialize(), bytes(&expected["control"]));
    }
    assert_eq!(output.leaf_of_script(&[0x51]), None);
}

#[test]
fn outputs_have_the_scripts_keys_control_blocks_and_descriptors() {
    for case in cases("outputs") {
        let committee = Committee::new(json(&case["covenant"]), json(&case["quorum"])).unwrap();
        let staker: StakerKey = json(&case["staker"]);
        let keys = StakeKeys::new(staker, json(&case["providers"]), committee).unwrap();
        let unbonding = json(&case["unbonding_blocks"]);
        check_output(&case["staking"], &Output::staking(&keys, json(&case["lock"])));
        check_output(&case["unbonding"], &Output::unbonding(&keys, unbonding));
        check_output(&case["change"], &Output::slashing_change(staker, unbonding));
    }
}

pub(super) fn sample() -> (&'static Value, StakeRegistration, Judged) {
    let vector = vectors("stake");
    let Message::Stake(registration) = message(&vector["registration"]) else { panic!("another message") };
    let params = Params::new(json(&vector["params"])).unwrap();
    let judged = registration.judge(&params).expect("a registration that keeps the rules");
    (vector, *registration, judged)
}

pub(super) fn header(value: &Value) -> Header {
    deserialize(&bytes(value)).expect("a header")
}

#[test]
fn a_registration_built_from_the_text_is_judged_good_and_equals_ours() {
    let (vector, registration, judged) = sample();
    assert_eq!(Message::Stake(Box::new(registration.clone())).id(), hash(&vector["id"]));
    let built = judged.contract.presign(&Params::new(json(&vector["params"])).unwrap()).unwrap();
    let transactions: [(&str, &Transaction); 4] = [
        ("staking", &registration.staking_tx),
        ("unbonding", &built.unbonding),
        ("slashing", &built.slashing),
        ("unbonding_slashing", &built.unbonding_slashing),
    ];
    for (name, transaction) in transactions {
        let expected = &vector["transactions"][name];
        assert_eq!(serialize(transaction), bytes(&expected["bytes"]), "{name}");
        assert_eq!(transaction.compute_txid().to_string(), text(&expected["txid"]), "{name}");
    }
    check_sighashes(&judged.sighashes, &vector["sighashes"]);
}

fn check_sighashes(own: &Sighashes, expected: &Value) {
    let own = [own.unbonding, own.slashing, own.unbonding_slashing];
    assert_eq!(own.map(|sighash| sighash.to_vec()).to_vec(), list(expected));
}

#[test]
fn the_bumpable_profile_presigns_what_the_text_says_and_a_child_can_pay_for_each() {
    let (vector, _, judged) = sample();
    let (vector, contract) = (&vector["bumpable"], &judged.contract);
    let params = Params::new(json(&vector["params"])).unwrap();
    let built = contract.presign(&params).unwrap();
    let names = [
        ("unbonding", &built.unbonding),
        ("slashing", &built.slashing),
        ("unbonding_slashing", &built.unbonding_slashing),
    ];
    for (name, transaction) in names {
        let expected = &vector["transactions"][name];
        assert_eq!(serialize(transaction), bytes(&expected["bytes"]), "{name}");
        assert_eq!(transaction.compute_txid().to_string(), text(&expected["txid"]), "{name}");
        let handle = bump::handle(transaction).expect("an output that anybody spends");
        assert_eq!(
            (handle.txid.to_string(), handle.vout as usize),
            (text(&expected["txid"]).to_owned(), transaction.output.len() - 1)
        );
    }
    let sighashes = contract.check(&contract.outputs(), &built, &params).unwrap();
    check_sighashes(&sighashes, &vector["sighashes"]);
    let compatible = contract.presign(&Params::new(json(&vectors("stake")["params"])).unwrap()).unwrap();
    assert_eq!(bump::handle(&compatible.unbonding), None);
    assert_eq!(bump::handle(&compatible.slashing), None);
}

fn list(value: &Value) -> Vec<Vec<u8>> {
    value.as_array().expect("a list").iter().map(bytes).collect()
}

#[test]
fn the_intent_is_the_text_that_the_backing_output_signs() {
    let (vector, mut registration, _) = sample();
    let chains: Vec<ChainId> = json(&vector["chains"]);
    let (network, hub) = (genesis().network(), genesis().id());
    let intent = registration.intent(network, &hub, &chains);
    assert_eq!(intent, text(&vector["intent"]));
    assert_eq!(intent_message(&zero(Purpose::Intent), &intent), array(&vector["intent_message"]));
    let RegistrationProof::Funding(backing) = &registration.proof else { panic!("another proof") };
    assert_eq!(backing.verify(&header(&vector["header"]), &intent), Ok(()));
    assert_ne!(backing.verify(&header(&vector["header"]), "another text"), Ok(()));
    registration.expands = Some(StakeId(hash(&vector["expands"])));
    assert_eq!(registration.intent(network, &hub, &chains), text(&vector["expansion_intent"]));
}

#[test]
fn the_block_that_holds_the_backing_follows_the_base_headers() {
    let header = header(&vectors("stake")["header"]);
    let mut chain = genesis().bitcoin().clone();
    chain.accept(&[header]).expect("a header on top of the base");
    assert_eq!(chain.tip().hash, header.block_hash());
}

#[test]
fn answers_verify_whether_they_sign_or_refuse() {
    let (vector, _, judged) = sample();
    let context = zero(Purpose::Covenant);
    for name in ["answer", "refusal"] {
        let Message::Answer(answer) = message(&vector[name]) else { panic!("another message") };
        assert_eq!(answer.verify(&judged.contract, &judged.sighashes, &context), Ok(()), "{name}");
        if let Verdict::Refused(refusal) = &answer.verdict {
            let signed = refusal_message(&context, &answer.stake, &refusal.reason);
            assert_eq!(signed, array(&vector["refusal_message"]));
        }
    }
}

#[test]
fn the_witness_of_a_slashing_is_in_the_order_of_the_specification() {
    let (vector, registration, judged) = sample();
    let (signers, slashed) = (["covenant 0", "covenant 2"], pair("fp 1"));
    let sighash = judged.sighashes.slashing;
    let covenant = signers.map(|name| {
        let member = pair(name);
        let encrypted = adaptor::sign(&member, &slashed.public(), &sighash, &[0; 32]);
        (CovenantKey::from(member.public()), adaptor::decrypt(&encrypted, &slashed))
    });
    let signature = slashed.sign_bip340(&sighash, &[0; 32]);
    let (output, keys) = (judged.contract.output(), &judged.contract.keys);
    let provider = (ProviderKey::from(slashed.public()), &signature);
    let staker = &registration.slashing_signature;
    let witness = witness::slashing(&output, keys, staker, provider, &covenant.into()).unwrap();
    assert_eq!(witness, Witness::from_slice(&list(&vector["slashing_witness"])));
}

#[test]
fn registrations_of_providers_verify_and_sign_the_same_message() {
    let vector = vectors("provider");
    for case in vector["cases"].as_array().unwrap() {
        let Message::Provider(registration) = message(&case["registration"]) else {
            panic!("another message")
        };
        let ProviderRegistration { chain, key, operator, bls, backing, .. } = &*registration;
        let context = if chain.is_zero() { zero(Purpose::Registration) } else { demo(Purpose::Registration) };
        assert_eq!(registration.verify(&context), Ok(()));
        let signed = ProviderRegistration::message(&context, key, operator, bls.as_ref(), backing.outpoint());
        assert_eq!(signed, array(&case["message"]));
        let note = ProviderRegistration::text(&genesis().id(), chain, key);
        assert_eq!(note, text(&case["text"]));
        assert_eq!(backing.verify(&header(&vector["header"]), &note), Ok(()));
    }
}

#[test]
fn the_parameters_of_the_sample_are_those_of_the_genesis() {
    let expected = Params::new(json(&vectors("stake")["params"])).unwrap();
    assert_eq!(*genesis().params(), expected);
}
