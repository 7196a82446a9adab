//! Two certificates at one height give more than a third of their set away, and nobody who is honest (design, section 10,
//! invariant 3).
//!
//! Members of random power vote for one of two blocks, for both, for none, or try to vote for the second one with the
//! nonce of another height. What the certificates show is worked out here with numbers only.

mod heights;

use bitcoin::Amount;
use palisade_protocol::context::{Context, Terms};
use palisade_protocol::curve::KeyPair;
use palisade_protocol::eots::{self, SecretNonce};
use palisade_protocol::finality::certificate::{BadCertificate, Certificate};
use palisade_protocol::finality::commitment::nonce_tree;
use palisade_protocol::finality::evidence::{Equivocation, Evidence, SignedBallot};
use palisade_protocol::finality::set::{Member, Set};
use palisade_protocol::finality::tally::Tally;
use palisade_protocol::finality::vote::{Ballot, Vote};
use palisade_protocol::hash::{Hash32, sha256};
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::nonce::{self, NonceSeed};
use palisade_protocol::units::{BtcHeight, Epoch, Height};
use proptest::prelude::*;
use std::collections::BTreeMap;

const TERMS: Terms = Terms { epoch_length: 20, voted_every: 5, minimum_power_sat: 1 };
const CONTEXT: Context = Hash32([9; 32]);
const EPOCH: Epoch = Epoch(3);
const PLACES: u64 = 4;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Conduct {
    Silent,
    First,
    Second,
    Both,
    /// Votes for the first block, and for the second with the nonce of the next height.
    Evades,
}

#[derive(Debug)]
struct Party {
    pair: KeyPair,
    power: u64,
    conduct: Conduct,
}

impl Party {
    fn key(&self) -> ProviderKey {
        ProviderKey::from(self.pair.public())
    }

    fn is_honest(&self) -> bool {
        !matches!(self.conduct, Conduct::Both | Conduct::Evades)
    }

    fn vote(&self, ballot: Ballot, place: u64) -> Vote {
        vote(&self.pair, ballot, place)
    }
}

/// The nonces of the epoch in which a place lies: the first epoch has the places below [`PLACES`].
fn nonces(pair: &KeyPair, place: u64) -> Vec<SecretNonce> {
    let seed = NonceSeed::from_bytes([7; 32]);
    let first = place / PLACES * PLACES;
    (first..first + PLACES).map(|place| nonce::derive(pair, &seed, &CONTEXT, height(place))).collect()
}

/// A member of the set of the epoch in which a place lies.
fn member(pair: &KeyPair, power: u64, place: u64) -> Member {
    let nonce_root = nonce_tree(nonces(pair, place).iter().map(SecretNonce::public)).root();
    let power = Amount::from_sat(power);
    Member { key: pair.public().into(), power, bls_hash: Hash32::ZERO, nonce_root }
}

/// A vote with the nonce of a place, whichever the ballot's is.
fn vote(pair: &KeyPair, ballot: Ballot, place: u64) -> Vote {
    let (mut nonces, index) = (nonces(pair, place), (place % PLACES) as usize);
    let path = nonce_tree(nonces.iter().map(SecretNonce::public)).path(index).unwrap();
    let secret = nonces.remove(index);
    let (key, nonce) = (pair.public().into(), secret.public());
    Vote { ballot, key, nonce, signature: eots::sign(pair, secret, &ballot.message()), path }
}

fn height(place: u64) -> Height {
    TERMS.first_height(EPOCH).plus(place * TERMS.voted_every)
}

fn ballot(place: u64, block: u8) -> Ballot {
    Ballot { context: CONTEXT, height: height(place), block: Hash32([block; 32]) }
}

/// Members in the order of their keys. Most sets weigh so little that two thirds are often met exactly.
fn parties() -> impl Strategy<Value = Vec<Party>> {
    let unequal = prop_oneof![3 => 1..4u64, 1 => 1..1_000_000u64, 1 => 1..30_000_000_000_000u64];
    let powers = prop_oneof![
        3 => prop::collection::vec(1..4u64, 2..10),
        1 => prop::collection::vec(unequal, 1..10),
    ];
    let conduct = prop_oneof![
        1 => Just(Conduct::Silent),
        2 => Just(Conduct::First),
        2 => Just(Conduct::Second),
        4 => Just(Conduct::Both),
        1 => Just(Conduct::Evades),
    ];
    (any::<u64>(), powers, prop::collection::vec(conduct, 10)).prop_map(|(seed, powers, conducts)| {
        let party = |(place, (power, conduct)): (u64, (u64, Conduct))| {
            let secret = sha256(&[&seed.to_be_bytes(), &place.to_be_bytes()]).0;
            Party { pair: KeyPair::from_secret_bytes(&secret).unwrap(), power, conduct }
        };
        let mut parties: Vec<_> = (0..).zip(powers.into_iter().zip(conducts)).map(party).collect();
        parties.sort_by_key(Party::key);
        parties
    })
}

/// The set, as it was fixed with this expiry: sets that differ in nothing else agree.
fn set(parties: &[Party], expiry: u32) -> Set {
    let members = parties.iter().map(|party| member(&party.pair, party.power, 0)).collect();
    Set::new(CONTEXT, EPOCH, BtcHeight(expiry), members).unwrap()
}

fn total(parties: &[Party], counts: impl Fn(&Party) -> bool) -> u128 {
    parties.iter().filter(|party| counts(party)).map(|party| u128::from(party.power)).sum()
}

/// Judges the certificate of these votes, beside what numbers say of it and beside the tally; gives it if it is valid.
fn judged(parties: &[Party], set: &Set, ballot: Ballot, votes: &[Vote], evaded: bool) -> Option<Certificate> {
    let certificate = Certificate::assemble(ballot, set, votes);
    let power = total(parties, |party| votes.iter().any(|vote| vote.key == party.key()));
    let enough = power * 3 > total(parties, |_| true) * 2;
    let verdict = certificate.verify(&TERMS);
    if votes.is_empty() {
        assert!(verdict.is_err());
    } else if !enough {
        assert!(matches!(verdict, Err(BadCertificate::NoQuorum { .. })), "{verdict:?}");
        no_forgery_verifies(&certificate);
    } else if evaded {
        assert!(matches!(verdict, Err(BadCertificate::Vote { .. })), "{verdict:?}");
    } else {
        assert_eq!(verdict, Ok(()));
    }
    let mut tally = Tally::new(set.clone(), TERMS);
    let counted = votes.iter().filter(|vote| tally.add((*vote).clone()).is_ok()).count();
    assert_eq!(counted == votes.len(), !evaded);
    if !evaded {
        assert_eq!(tally.certificate(ballot).is_some(), enough);
    }
    (enough && !evaded).then_some(certificate)
}

/// Voters who are too few stay so, whatever they claim to weigh and however often they stand there.
fn no_forgery_verifies(certificate: &Certificate) {
    let mut heavier = certificate.clone();
    heavier.voters[0].member.power = certificate.set.total;
    assert_eq!(heavier.verify(&TERMS), Err(BadCertificate::NotMembers));
    let mut repeated = certificate.clone();
    repeated.voters = certificate.voters.iter().flat_map(|voter| vec![voter.clone(); 3]).collect();
    assert_eq!(repeated.verify(&TERMS), Err(BadCertificate::Order));
}

/// The keys that follow from two certificates, and from nothing else.
fn exposed(first: &Certificate, second: &Certificate) -> BTreeMap<ProviderKey, KeyPair> {
    let votes = |certificate: &Certificate| -> Vec<Vote> {
        certificate.voters.iter().map(|voter| voter.vote(certificate.ballot)).collect()
    };
    let seconds = votes(second);
    let pairs =
        votes(first).into_iter().flat_map(|vote| seconds.iter().map(move |other| (vote.clone(), other)));
    let evidence = pairs.filter_map(|(vote, other)| Evidence::from_votes(&vote, other));
    evidence.map(|evidence| (evidence.key(), evidence.secret().expect("the key is out"))).collect()
}

/// Every vote that anybody gave, at the height in question and at all others.
fn history(parties: &[Party], place: u64, given: [&[Vote]; 2]) -> Vec<Vote> {
    let elsewhere = (0..PLACES).filter(|other| *other != place);
    let others =
        elsewhere.flat_map(|other| parties.iter().map(move |party| party.vote(ballot(other, 3), other)));
    given.concat().into_iter().chain(others).collect()
}

/// No two votes, put together in any way, give an honest member's key away.
fn the_honest_stay_hidden(parties: &[Party], votes: &[Vote]) {
    let side = |vote: &Vote| SignedBallot { ballot: vote.ballot, signature: vote.signature };
    for honest in parties.iter().filter(|party| party.is_honest()) {
        let key = honest.key();
        for own in votes.iter().filter(|vote| vote.key == key) {
            for other in votes {
                let made = Evidence::from_votes(own, other);
                assert!(made.is_none_or(|evidence| evidence.secret().is_err()));
                let (first, second) = (side(own), side(other));
                let forged = Equivocation { key, nonce: own.nonce, first, second };
                assert!(Evidence::Equivocation(Box::new(forged)).secret().is_err());
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn two_certificates_at_one_height_expose_more_than_a_third_and_nobody_who_is_honest(
        parties in parties(),
        place in 0..PLACES - 1,
        expiries in any::<[u32; 2]>(),
    ) {
        use Conduct::*;
        let sets = expiries.map(|expiry| set(&parties, expiry));
        let [a, b] = [1, 2].map(|block| ballot(place, block));
        let for_first = parties.iter().filter(|party| matches!(party.conduct, First | Both | Evades));
        let for_first: Vec<_> = for_first.map(|party| party.vote(a, place)).collect();
        let for_second = |evade: bool| -> Vec<_> {
            let votes = parties.iter().filter_map(|party| match party.conduct {
                Second | Both => Some(party.vote(b, place)),
                Evades if evade => Some(party.vote(b, place + 1)),
                _ => None,
            });
            votes.collect()
        };
        let first = judged(&parties, &sets[0], a, &for_first, false);
        let (all, plain) = (for_second(true), for_second(false));
        if all.len() > plain.len() {
            judged(&parties, &sets[1], b, &all, true);
        }
        let second = judged(&parties, &sets[1], b, &plain, false);
        if let (Some(first), Some(second)) = (first, second) {
            let keys = exposed(&first, &second);
            let out = total(&parties, |party| keys.contains_key(&party.key()));
            assert!(out * 3 > total(&parties, |_| true), "{out} is a third or less");
            for party in &parties {
                let found = keys.get(&party.key()).map(KeyPair::secret_bytes);
                assert!(found.is_none_or(|secret| *secret == *party.pair.secret_bytes()));
                assert_eq!(keys.contains_key(&party.key()), party.conduct == Both);
            }
        }
        the_honest_stay_hidden(&parties, &history(&parties, place, [&for_first, &all]));
    }
}
