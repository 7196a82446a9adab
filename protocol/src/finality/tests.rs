//! One table for each of finality's refusals: a row breaks one rule, and the same input unbroken is accepted.

use super::certificate::{BadCertificate, Certificate};
use super::commitment::{self, Commitment, nonce_tree};
use super::evidence::{Equivocation, Evidence, LeakedKey, NoEvidence, SignedBallot};
use super::set::{BadSet, MAX_MEMBERS, Member, Set};
use super::tally::{GoodVote, Tally, VoteRefused};
use super::vote::{BadVote, Ballot, Vote};
use crate::context::{Context, Terms};
use crate::curve::KeyPair;
use crate::curve::testing::{ORDER, key_pair};
use crate::eots::{self, SecretNonce};
use crate::hash::Hash32;
use crate::keys::{BadSignature, ProviderKey};
use crate::nonce::{self, NonceSeed};
use crate::units::{BtcHeight, Epoch, Height};
use bitcoin::Amount;

const TERMS: Terms = Terms { epoch_length: 20, voted_every: 5, minimum_power_sat: 1 };
const CONTEXT: Context = Hash32([9; 32]);
const ELSEWHERE: Context = Hash32([8; 32]);
const EPOCH: Epoch = Epoch(3);
const BALLOT: Ballot = Ballot { context: CONTEXT, height: Height(65), block: Hash32([1; 32]) };

/// Four members of powers 3, 3, 2 and 1, in the order of their keys. Two thirds are 6.
fn pairs() -> Vec<KeyPair> {
    let mut pairs: Vec<_> = (0..4).map(|i| key_pair(&format!("member {i}"))).collect();
    pairs.sort_by_key(|pair| pair.public().serialize());
    pairs
}

fn nonces(pair: &KeyPair) -> Vec<SecretNonce> {
    let seed = NonceSeed::from_bytes([7; 32]);
    (0..4).map(|place| nonce::derive(pair, &seed, &CONTEXT, Height(60 + 5 * place))).collect()
}

fn members() -> Vec<Member> {
    let member = |(pair, power): (KeyPair, u64)| Member {
        key: pair.public().into(),
        power: Amount::from_sat(power),
        bls_hash: Hash32([5; 32]),
        nonce_root: nonce_tree(nonces(&pair).iter().map(SecretNonce::public)).root(),
    };
    pairs().into_iter().zip([3, 3, 2, 1]).map(member).collect()
}

fn set_of(context: Context, epoch: Epoch) -> Set {
    Set::new(context, epoch, BtcHeight(100), members()).unwrap()
}

fn set() -> Set {
    set_of(CONTEXT, EPOCH)
}

/// A member's vote with the nonce of the second voted height, whatever the ballot's height is.
fn vote(who: usize, ballot: Ballot) -> Vote {
    let pair = &pairs()[who];
    let mut nonces = nonces(pair);
    let path = nonce_tree(nonces.iter().map(SecretNonce::public)).path(1).unwrap();
    let secret = nonces.swap_remove(1);
    let nonce = secret.public();
    let signature = eots::sign(pair, secret, &ballot.message());
    Vote { ballot, key: pair.public().into(), nonce, signature, path }
}

fn other_block() -> Ballot {
    Ballot { block: Hash32([2; 32]), ..BALLOT }
}

fn stranger() -> ProviderKey {
    key_pair("stranger").public().into()
}

/// The certificate of a ballot by members 0, 1 and 3, who have 7 of 9.
fn certificate(ballot: Ballot) -> Certificate {
    let votes = [0, 1, 3].map(|who| vote(who, ballot));
    Certificate::assemble(ballot, &set(), &votes)
}

#[test]
fn a_certificate_breaks_each_rule_alone() {
    let good = certificate(BALLOT);
    assert_eq!(good.verify(&TERMS), Ok(()));
    let check = |change: fn(&mut Certificate), why: BadCertificate| {
        let mut broken = good.clone();
        change(&mut broken);
        assert_eq!(broken.verify(&TERMS), Err(why));
    };
    check(|made| made.set.context = ELSEWHERE, BadCertificate::WrongSet);
    check(|made| made.set.epoch = EPOCH.next(), BadCertificate::WrongSet);
    check(|made| made.voters.swap(0, 1), BadCertificate::Order);
    check(|made| made.voters.insert(1, made.voters[0].clone()), BadCertificate::Order);
    check(|made| made.voters[0].member.power = Amount::from_sat(4), BadCertificate::NotMembers);
    check(|made| made.voters[0].member.bls_hash = Hash32::ZERO, BadCertificate::NotMembers);
    check(|made| made.voters[2].index = 2, BadCertificate::NotMembers);
    check(|made| made.voters[2].index = 4, BadCertificate::NotMembers);
    check(|made| made.voters.clear(), BadCertificate::NotMembers);
    check(|made| made.set.members_root = Hash32::ZERO, BadCertificate::NotMembers);
    check(|made| made.set.count = 5, BadCertificate::NotMembers);
    check(|made| made.members_proof.push(Hash32::ZERO), BadCertificate::NotMembers);
    check(|made| made.members_proof.clear(), BadCertificate::NotMembers);
    check(|made| made.set.nonces_root = Hash32::ZERO, BadCertificate::NotRoots);
    check(|made| made.nonces_proof.push(Hash32::ZERO), BadCertificate::NotRoots);
    check(|made| made.nonces_proof.clear(), BadCertificate::NotRoots);
    let vote = |index, why| BadCertificate::Vote { index, why };
    check(|made| made.voters[1].path[0] = Hash32::ZERO, vote(1, BadVote::Nonce));
    check(|made| made.voters[2].signature = made.voters[0].signature, vote(3, BadVote::Signature));
    let (power, total) = (Amount::from_sat(7), Amount::from_sat(11));
    check(|made| made.set.total = Amount::from_sat(11), BadCertificate::NoQuorum { power, total });
}

#[test]
fn votes_for_a_height_that_is_not_voted_on_make_no_certificate() {
    let between = Ballot { height: Height(66), ..BALLOT };
    let why = BadCertificate::Vote { index: 0, why: BadVote::NotVoted(Height(66)) };
    assert_eq!(certificate(between).verify(&TERMS), Err(why));
}

#[test]
fn two_thirds_of_the_power_make_no_certificate_and_a_satoshi_more_does() {
    let by = |who: &[usize]| {
        let votes: Vec<_> = who.iter().map(|who| vote(*who, BALLOT)).collect();
        Certificate::assemble(BALLOT, &set(), &votes).verify(&TERMS)
    };
    let (power, total) = (Amount::from_sat(6), Amount::from_sat(9));
    assert_eq!(by(&[0, 1]), Err(BadCertificate::NoQuorum { power, total }));
    assert_eq!(by(&[0, 1, 3]), Ok(()));
}

#[test]
fn a_set_breaks_each_rule_alone() {
    let made = |members: Vec<Member>| Set::new(CONTEXT, EPOCH, BtcHeight(100), members).map(|_| ());
    let after = |change: fn(&mut Vec<Member>)| {
        let mut members = members();
        change(&mut members);
        made(members)
    };
    assert_eq!(after(|_| ()), Ok(()));
    assert_eq!(after(Vec::clear), Err(BadSet::Size(0)));
    let crowd = |count: usize| {
        let key = |i| ProviderKey::from(key_pair(&format!("one of many {i}")).public());
        let mut crowd: Vec<_> = (0..count).map(|i| Member { key: key(i), ..members()[0] }).collect();
        crowd.sort_by_key(|member| member.key);
        made(crowd)
    };
    assert_eq!(crowd(MAX_MEMBERS), Ok(()));
    assert_eq!(crowd(MAX_MEMBERS + 1), Err(BadSet::Size(MAX_MEMBERS + 1)));
    assert_eq!(after(|members| members.swap(0, 1)), Err(BadSet::Order));
    assert_eq!(after(|members| members[1].key = members[0].key), Err(BadSet::Order));
    let idle = members()[2].key;
    assert_eq!(after(|members| members[2].power = Amount::ZERO), Err(BadSet::NoPower(idle)));
    // The others have 6.
    let most = Amount::MAX - Amount::from_sat(6);
    let first = |power: Amount| {
        let mut members = members();
        members[0].power = power;
        made(members)
    };
    assert_eq!(first(most), Ok(()));
    assert_eq!(first(most + Amount::ONE_SAT), Err(BadSet::Overflow));
}

#[test]
fn a_vote_breaks_each_rule_alone() {
    let (good, member) = (vote(0, BALLOT), members()[0]);
    assert_eq!(good.verify(&member, &TERMS), Ok(()));
    let after = |change: fn(&mut Vote)| {
        let mut broken = good.clone();
        change(&mut broken);
        broken.verify(&member, &TERMS)
    };
    let between = vote(0, Ballot { height: Height(66), ..BALLOT });
    assert_eq!(between.verify(&member, &TERMS), Err(BadVote::NotVoted(Height(66))));
    // The nonce of the second voted height signs a ballot of the third: nothing else is wrong.
    let later = vote(0, Ballot { height: Height(70), ..BALLOT });
    assert_eq!(later.verify(&member, &TERMS), Err(BadVote::Nonce));
    assert_eq!(after(|vote| vote.path.push(Hash32::ZERO)), Err(BadVote::Nonce));
    assert_eq!(after(|vote| vote.path.truncate(1)), Err(BadVote::Nonce));
    let without = Member { nonce_root: Hash32::ZERO, ..member };
    assert_eq!(good.verify(&without, &TERMS), Err(BadVote::Nonce), "as in a set that was carried over");
    assert_eq!(after(|vote| vote.ballot = other_block()), Err(BadVote::Signature));
    assert_eq!(after(|vote| vote.ballot.context = ELSEWHERE), Err(BadVote::Signature));
    assert_eq!(after(|vote| vote.key = stranger()), Err(BadVote::Signature));
}

#[test]
fn a_tally_refuses_for_each_reason_alone() {
    let judged = |vote: Vote, set: &Set| GoodVote::judge(vote, set, &TERMS).map(|_| ());
    assert_eq!(judged(vote(0, BALLOT), &set()), Ok(()));
    assert_eq!(judged(vote(0, BALLOT), &set_of(ELSEWHERE, EPOCH)), Err(VoteRefused::WrongSet));
    assert_eq!(judged(vote(0, BALLOT), &set_of(CONTEXT, EPOCH.next())), Err(VoteRefused::WrongSet));
    let key = members()[0].key;
    let others = Set::new(CONTEXT, EPOCH, BtcHeight(100), members()[1..].to_vec()).unwrap();
    assert_eq!(judged(vote(0, BALLOT), &others), Err(VoteRefused::NotMember(key)));
    let unsigned = Vote { ballot: other_block(), ..vote(0, BALLOT) };
    assert_eq!(judged(unsigned, &set()), Err(VoteRefused::Bad(BadVote::Signature)));

    let mut tally = Tally::new(set(), TERMS);
    assert!(!tally.has(&vote(0, BALLOT)));
    for repeated in [vote(0, BALLOT), vote(0, BALLOT), vote(1, other_block())] {
        assert_eq!(tally.add(repeated.clone()), Ok(()));
        assert!(tally.has(&repeated) && !tally.has(&vote(0, other_block())));
        assert_eq!(tally.power_for(&BALLOT), Amount::from_sat(3));
    }
    let evidence = Evidence::from_votes(&vote(0, BALLOT), &vote(0, other_block())).unwrap();
    assert_eq!(tally.add(vote(0, other_block())), Err(VoteRefused::Equivocation(Box::new(evidence))));
    assert_eq!(tally.power_for(&BALLOT), Amount::from_sat(3), "the first vote stands");
}

#[test]
fn two_votes_that_lack_one_thing_are_no_equivocation() {
    let pair = pairs().swap_remove(0);
    let key = ProviderKey::from(pair.public());
    let side = |vote: Vote| SignedBallot { ballot: vote.ballot, signature: vote.signature };
    let (first, second) = (side(vote(0, BALLOT)), side(vote(0, other_block())));
    let good = Equivocation { key, nonce: vote(0, BALLOT).nonce, first, second };
    let secret = |made: Equivocation| Evidence::Equivocation(Box::new(made)).secret();
    assert_eq!(*secret(good.clone()).unwrap().secret_bytes(), *pair.secret_bytes());
    let check = |change: fn(&mut Equivocation)| {
        let mut broken = good.clone();
        change(&mut broken);
        let key = broken.key;
        assert_eq!(secret(broken).map(|_| ()), Err(NoEvidence(key)));
    };
    check(|made| made.second = made.first);
    check(|made| made.second.ballot = made.first.ballot);
    check(|made| made.second.signature = made.first.signature);
    check(|made| made.key = stranger());
    check(|made| made.nonce = vote(1, BALLOT).nonce);
    check(|made| made.second.ballot.height = Height(70));
    assert_eq!(Evidence::from_votes(&vote(0, BALLOT), &vote(0, BALLOT)), None);
    assert_eq!(Evidence::from_votes(&vote(0, BALLOT), &vote(1, other_block())), None);
    let renonced = Vote { nonce: vote(1, BALLOT).nonce, ..vote(0, other_block()) };
    assert_eq!(Evidence::from_votes(&vote(0, BALLOT), &renonced), None);
}

#[test]
fn a_leaked_key_is_the_secret_of_that_key_and_nothing_else() {
    let pair = pairs().swap_remove(0);
    let key = ProviderKey::from(pair.public());
    let judged = |secret: [u8; 32]| Evidence::Key(LeakedKey { key, secret }).secret().map(|_| ());
    assert_eq!(judged(*pair.secret_bytes()), Ok(()));
    let other = *key_pair("stranger").secret_bytes();
    let shown = format!("{:?}", LeakedKey { key, secret: *pair.secret_bytes() });
    assert_eq!(shown, format!("LeakedKey({key})"), "the scalar is not shown");
    for secret in [other, [0; 32], ORDER, [0xff; 32]] {
        assert_eq!(judged(secret), Err(NoEvidence(key)));
    }
}

#[test]
fn a_commitment_is_signed_by_its_key_for_one_epoch_one_root_and_one_chain() {
    let (pair, root) = (pairs().swap_remove(0), Hash32([3; 32]));
    let signature = pair.sign_bip340(&commitment::message(&CONTEXT, EPOCH, &root), &[0; 32]);
    let good = Commitment { key: pair.public().into(), epoch: EPOCH, root, signature };
    assert_eq!(good.verify(&CONTEXT), Ok(()));
    assert_eq!(good.verify(&ELSEWHERE), Err(BadSignature));
    let changes: [fn(&mut Commitment); 3] =
        [|made| made.key = stranger(), |made| made.epoch = EPOCH.next(), |made| made.root = Hash32::ZERO];
    for change in changes {
        let mut broken = good.clone();
        change(&mut broken);
        assert_eq!(broken.verify(&CONTEXT), Err(BadSignature));
    }
}
