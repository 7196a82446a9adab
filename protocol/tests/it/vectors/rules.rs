//! One table for each refusal of what the sample consists of: a row breaks one rule, everything else is made and signed anew
//! around it, and the same input unbroken is accepted.

mod answers;
mod genesis;
mod stakes;

use super::stakes::header;
use super::{demo, genesis as sample_genesis, message, pair, text, vectors, zero};
use bitcoin::secp256k1::schnorr::Signature;
use palisade_protocol::backing::BadBacking;
use palisade_protocol::bip322::Bip322Invalid;
use palisade_protocol::bls::BlsSecretKey;
use palisade_protocol::codec::{DecodeError, Wire};
use palisade_protocol::context::{ChainId, Purpose};
use palisade_protocol::governance::{self, BadGovernance, GovernanceMessage, GovernanceSignature};
use palisade_protocol::hash::sha256;
use palisade_protocol::inclusion::InclusionRefused;
use palisade_protocol::keys::{GovernanceKey, NotAKey};
use palisade_protocol::message::Message;
use palisade_protocol::provider::{BadProvider, BlsRegistration, ProviderRegistration};
use palisade_protocol::units::{BasisPoints, RelativeBlocks};

fn signed(name: &str, message: &[u8; 32]) -> Signature {
    pair(name).sign_bip340(message, &[0; 32])
}

/// A decision of the sample, signed by these, in this order.
fn decision(names: &[&str]) -> GovernanceMessage {
    let Message::Governance(decision) = message(&vectors("governance")[0]["decision"]) else {
        panic!("another message")
    };
    let signing = governance::message(&zero(Purpose::Governance), decision.sequence, &decision.action);
    let sign = |name: &&str| GovernanceSignature {
        key: pair(name).public().into(),
        signature: signed(name, &signing),
    };
    GovernanceMessage { signatures: names.iter().map(sign).collect(), ..decision }
}

#[test]
fn a_decision_breaks_each_rule_alone() {
    let genesis = sample_genesis();
    let judged =
        |decision: &GovernanceMessage| decision.verify(genesis.governors(), &zero(Purpose::Governance));
    let mut names = ["governance 0", "governance 1", "governance 2"];
    names.sort_by_key(|name| pair(name).public().serialize());
    let [a, b, c] = names;
    assert_eq!(judged(&decision(&[a, b])), Ok(()));
    assert_eq!(judged(&decision(&[a, b, c])), Ok(()));
    assert_eq!(judged(&decision(&[b, a])), Err(BadGovernance::Signers));
    assert_eq!(judged(&decision(&[a, a])), Err(BadGovernance::Signers));
    let mut with_stranger = [a, b, "stranger"];
    with_stranger.sort_by_key(|name| pair(name).public().serialize());
    assert_eq!(judged(&decision(&with_stranger)), Err(BadGovernance::Signers));
    assert_eq!(judged(&decision(&[a])), Err(BadGovernance::NoQuorum { missing: 1 }));
    let mut crossed = decision(&[a, b]);
    crossed.signatures[1].signature = crossed.signatures[0].signature;
    assert_eq!(judged(&crossed), Err(BadGovernance::Signature(GovernanceKey::from(pair(b).public()))));
    let renumbered = GovernanceMessage { sequence: 1, ..decision(&[a, b]) };
    assert_eq!(judged(&renumbered), Err(BadGovernance::Signature(pair(a).public().into())));
}

/// The registration of the sample's key on a chain, changed and then signed by that key.
fn provider(on_zero: bool, change: impl FnOnce(&mut ProviderRegistration)) -> ProviderRegistration {
    let place = usize::from(!on_zero);
    let Message::Provider(mut made) = message(&vectors("provider")["cases"][place]["registration"]) else {
        panic!("another message")
    };
    change(&mut made);
    let (context, outpoint) = (registration_context(&made.chain), made.backing.outpoint());
    let message =
        ProviderRegistration::message(&context, &made.key, &made.operator, made.bls.as_ref(), outpoint);
    made.signature = signed(if on_zero { "fp 0" } else { "fp 1" }, &message);
    *made
}

fn registration_context(chain: &ChainId) -> palisade_protocol::context::Context {
    if chain.is_zero() { zero(Purpose::Registration) } else { demo(Purpose::Registration) }
}

#[test]
fn a_providers_registration_breaks_each_rule_alone() {
    let judged = |made: ProviderRegistration| made.verify(&registration_context(&made.chain));
    let named = |operator: &str| judged(provider(true, |made| made.operator = operator.to_owned()));
    for operator in ["a", " ~", &"o".repeat(64)] {
        assert_eq!(named(operator), Ok(()), "{operator:?}");
    }
    for operator in ["", &"o".repeat(65), "tab\t", "\u{7f}", "größe"] {
        assert_eq!(named(operator), Err(BadProvider::Operator), "{operator:?}");
    }
    let secret = BlsSecretKey::from_key_material(&sha256(&[b"another"]).0).unwrap();
    let bls = || BlsRegistration { key: secret.public_key(), possession: secret.prove_possession() };
    assert_eq!(judged(provider(true, |made| made.bls = Some(bls()))), Ok(()));
    assert_eq!(judged(provider(true, |made| made.bls = None)), Err(BadProvider::Bls));
    assert_eq!(judged(provider(false, |_| ())), Ok(()));
    assert_eq!(judged(provider(false, |made| made.bls = Some(bls()))), Err(BadProvider::Bls));
    let stolen = provider(true, |made| made.bls.as_mut().unwrap().key = secret.public_key());
    assert_eq!(judged(stolen), Err(BadProvider::Possession));
    let mut unsigned = provider(true, |_| ());
    unsigned.backing.vout += 1;
    assert_eq!(judged(unsigned), Err(BadProvider::Signature), "the backing is signed as well");
    let elsewhere = provider(true, |_| ()).verify(&demo(Purpose::Registration));
    assert_eq!(elsewhere, Err(BadProvider::Signature));
}

#[test]
fn a_backing_breaks_each_rule_alone() {
    let vector = vectors("provider");
    let (header, note) = (header(&vector["header"]), text(&vector["cases"][0]["text"]));
    let good = provider(true, |_| ()).backing;
    assert_eq!(good.verify(&header, note), Ok(()));
    let mut elsewhere = good.clone();
    elsewhere.proof.index += 2;
    let refused = elsewhere.verify(&header, note);
    assert!(matches!(refused, Err(BadBacking::NotIncluded(InclusionRefused::IndexBeyondTree { .. }))));
    let mut nowhere = good.clone();
    nowhere.vout = 9;
    assert_eq!(nowhere.verify(&header, note), Err(BadBacking::NoOutput(9)));
    let unmeant = good.verify(&header, "another text");
    assert_eq!(unmeant, Err(BadBacking::Signature(Bip322Invalid::Signature)));
    let mut of_another_owner = good;
    of_another_owner.vout = 0;
    let refused = of_another_owner.verify(&header, note);
    assert!(matches!(refused, Err(BadBacking::Signature(Bip322Invalid::ScriptUnsupported { .. }))));
}

#[test]
fn a_name_of_a_chain_has_one_to_thirty_two_of_its_letters() {
    let longest = "a".repeat(32);
    for good in ["a", "0-z", &longest] {
        assert_eq!(good.parse::<ChainId>().unwrap().to_bytes()[1..], *good.as_bytes());
    }
    let too_long = "a".repeat(33);
    for bad in ["", &too_long, "A", "a b", "a_b", "ä", "a\n"] {
        assert!(bad.parse::<ChainId>().is_err(), "{bad:?}");
        let bytes = [&[u8::try_from(bad.len()).unwrap()], bad.as_bytes()].concat();
        assert_eq!(ChainId::from_bytes(&bytes), Err(DecodeError::Invalid("chain id")), "{bad:?}");
    }
}

#[test]
fn bytes_of_the_right_length_without_meaning_name_what_they_are_not() {
    let none = |tag| Err(DecodeError::UnknownVariant { what: "Message", tag });
    assert_eq!(Message::from_bytes(&[0]), none(0));
    assert_eq!(Message::from_bytes(&[14]), none(14));
    assert!(RelativeBlocks::from_bytes(&[0, 1]).is_ok() && RelativeBlocks::from_bytes(&[255, 255]).is_ok());
    assert!(matches!(RelativeBlocks::from_bytes(&[0, 0]), Err(DecodeError::Invalid(_))));
    for (number, good) in [(0, false), (1, true), (9_999, true), (10_000, false)] {
        let read = BasisPoints::from_bytes(&u16::to_be_bytes(number));
        assert_eq!(read.is_ok(), good, "{number}");
        assert!(good || matches!(read, Err(DecodeError::Invalid(_))), "{number}");
    }
    let all = bitcoin::Amount::MAX_MONEY;
    assert_eq!(bitcoin::Amount::from_bytes(&all.to_sat().to_be_bytes()), Ok(all));
    let more = bitcoin::Amount::from_bytes(&(all.to_sat() + 1).to_be_bytes());
    assert!(matches!(more, Err(DecodeError::Invalid(_))), "{more:?}");
    let no_key = <GovernanceKey as Wire>::from_bytes(&[0xff; 32]);
    assert_eq!(no_key, Err(DecodeError::Invalid("x-only public key")));
    assert_eq!(GovernanceKey::from_bytes([0xff; 32]), Err(NotAKey));
}
