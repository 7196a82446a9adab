//! Commitments, sets, votes, certificates and evidence.

use super::{array, bytes, decoded, demo, hash, hashes, json, message, pair, text, vectors};
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::{Purpose, Terms};
use palisade_protocol::eots::PublicNonce;
use palisade_protocol::finality::certificate::{BadCertificate, Certificate};
use palisade_protocol::finality::commitment::{self, Commitment, nonce_tree};
use palisade_protocol::finality::evidence::Evidence;
use palisade_protocol::finality::set::{Member, Set};
use palisade_protocol::finality::tally::{Tally, VoteRefused};
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::message::Message;
use palisade_protocol::units::BtcHeight;
use serde_json::Value;

fn vector() -> &'static Value {
    vectors("finality")
}

fn terms() -> Terms {
    let terms: Terms = json(&vector()["terms"]);
    assert_eq!(terms.check(), Ok(()));
    terms
}

fn votes() -> Vec<Vote> {
    vector()["votes"].as_array().unwrap().iter().map(decoded).collect()
}

fn set() -> Set {
    let members: Vec<Member> = vector()["members"].as_array().unwrap().iter().map(decoded).collect();
    let epoch = terms().epoch_of(votes()[0].ballot.height);
    Set::new(demo(Purpose::Vote), epoch, BtcHeight(json(&vector()["expiry"])), members).unwrap()
}

#[test]
fn a_commitment_signs_the_root_over_the_epochs_nonces() {
    let nonces: Vec<PublicNonce> = json(&vector()["nonces"]);
    assert_eq!(nonces.len() as u64, terms().voted_heights());
    let made: Commitment = decoded(&vector()["commitment"]);
    let context = demo(Purpose::Commitment);
    assert_eq!(context, hash(&vector()["commitment_context"]));
    assert_eq!(nonce_tree(nonces).root(), made.root);
    assert_eq!(commitment::message(&context, made.epoch, &made.root), array(&vector()["commitment_message"]));
    assert_eq!(made.verify(&context), Ok(()));
}

#[test]
fn a_set_has_the_leaves_the_header_and_the_hash() {
    let set = set();
    assert_eq!(
        set.members().iter().map(Member::leaf).collect::<Vec<_>>(),
        hashes(&vector()["member_leaves"])
    );
    assert_eq!(
        set.members().iter().map(Member::nonce_leaf).collect::<Vec<_>>(),
        hashes(&vector()["nonce_leaves"])
    );
    assert_eq!(set.header().to_bytes(), bytes(&vector()["set_header"]));
    assert_eq!(set.hash(), hash(&vector()["set_hash"]));
}

#[test]
fn votes_become_the_certificate_and_too_few_do_not() {
    let mut tally = Tally::new(set(), terms());
    let ballot = votes()[0].ballot;
    assert_eq!(ballot.message(), bytes(&vector()["vote_message"]));
    votes().into_iter().for_each(|vote| assert!(tally.add(vote).is_ok()));
    let made = tally.certificate(ballot).expect("a quorum");
    assert_eq!(made, decoded::<Certificate>(&vector()["certificate"]));
    assert_eq!(made.verify(&terms()), Ok(()));
    let weak = decoded::<Certificate>(&vector()["too_weak"]).verify(&terms());
    assert!(matches!(weak, Err(BadCertificate::NoQuorum { .. })), "{weak:?}");
}

#[test]
fn evidence_gives_the_key_away_in_both_forms() {
    let secret = pair(text(&vector()["leaked_name"]));
    for name in ["evidence", "leaked"] {
        let evidence: Evidence = decoded(&vector()[name]);
        assert_eq!(evidence.secret().unwrap().secret_bytes(), secret.secret_bytes(), "{name}");
    }
    // The same bytes in a message of the log.
    let in_block = vectors("hub")["messages"].as_array().unwrap().iter().map(message);
    let of_log = in_block.filter(|found| matches!(found, Message::Evidence(_) | Message::Commitment(_)));
    assert_eq!(of_log.count(), 2);
}

#[test]
fn a_vote_of_the_vectors_is_counted_once() {
    let mut tally = Tally::new(set(), terms());
    let vote = votes().remove(0);
    assert!(tally.add(vote.clone()).is_ok());
    assert!(tally.add(vote.clone()).is_ok(), "a repetition changes nothing");
    let mut other = vote;
    other.ballot.block.0[0] ^= 1;
    assert!(matches!(tally.add(other), Err(VoteRefused::Bad(_))), "a vote that the key did not sign");
}
