mod never_twice;

use super::*;
use palisade_protocol::finality::set::Member;
use palisade_protocol::finality::vote::BadVote;
use palisade_world::{World, bls_secret, pair};
use std::path::Path;
use tempfile::TempDir;

/// A signer of chain zero and of a chain `dev`, with the record in `dir`.
pub(super) fn signer(dir: &Path) -> Signer {
    signer_of(dir, Hash32([9; 32]))
}

/// The same, of the chain `dev` with this first block.
fn signer_of(dir: &Path, dev_genesis: Hash32) -> Signer {
    let genesis = World::new(1_000).ledger.genesis().clone();
    let zero = genesis.zero();
    let dev = ChainIdentity { id: dev(), genesis: dev_genesis, ..zero.clone() };
    let terms = Terms { epoch_length: 50, voted_every: 5, minimum_power_sat: 1 };
    let chains = vec![
        ChainSigner::new(zero, genesis.document().zero, pair("zero key")),
        ChainSigner::new(dev, terms, pair("dev key")),
    ];
    Signer::new(&genesis, chains, bls_secret("bls"), Record::open(dir).unwrap().0).unwrap()
}

pub(super) fn dev() -> ChainId {
    "dev".parse().unwrap()
}

fn commit(signer: &Signer, chain: ChainId, epoch: u64) -> Hash32 {
    signer.commit(&CommitRequest { chain, epoch: Epoch(epoch) }).unwrap().root
}

fn request(height: u64, block: u8, root: Hash32) -> VoteRequest {
    VoteRequest { chain: ChainId::zero(), height: Height(height), block: Hash32([block; 32]), root }
}

fn rule(outcome: Result<Vote, Refused>) -> &'static str {
    outcome.unwrap_err().rule()
}

#[test]
fn a_commitment_and_a_vote_verify_as_the_protocol_says() {
    let dir = TempDir::new().unwrap();
    let signer = signer(dir.path());
    for (chain, height) in [(ChainId::zero(), 45), (dev(), 145)] {
        let own = signer.chain(&chain).unwrap();
        let epoch = own.terms.epoch_of(Height(height));
        let commitment = signer.commit(&CommitRequest { chain: chain.clone(), epoch }).unwrap();
        commitment.verify(&own.commitment).unwrap();
        assert_eq!(
            commit(&signer, chain.clone(), epoch.0),
            commitment.root,
            "asked again, it is the same root"
        );
        let root = commitment.root;
        let request =
            VoteRequest { chain: chain.clone(), height: Height(height), block: Hash32([1; 32]), root };
        let vote = signer.vote(&request).unwrap();
        let power = bitcoin::Amount::ONE_SAT;
        let member = Member { key: own.key, power, bls_hash: Hash32::ZERO, nonce_root: root };
        vote.verify(&member, &own.terms).unwrap();
        let other_root = Member { nonce_root: Hash32([7; 32]), ..member };
        assert_eq!(vote.verify(&other_root, &own.terms), Err(BadVote::Nonce));
        assert_eq!(vote.ballot.context, own.vote);
    }
}

#[test]
fn a_height_is_signed_for_one_block_and_repeats_give_the_same_bytes() {
    let dir = TempDir::new().unwrap();
    let signer = signer(dir.path());
    let root = commit(&signer, ChainId::zero(), 2);
    let vote = signer.vote(&request(40, 1, root)).unwrap();
    assert_eq!(rule(signer.vote(&request(40, 2, root))), "already-voted");
    assert_eq!(signer.vote(&request(40, 1, root)).unwrap(), vote);
    signer.vote(&request(45, 2, root)).unwrap();
    // Lower heights than the last are not refused for being lower: each height stands for itself.
    signer.vote(&request(40, 1, root)).unwrap();
}

#[test]
fn one_height_of_two_chains_is_two_heights() {
    let dir = TempDir::new().unwrap();
    let signer = signer(dir.path());
    let zero = commit(&signer, ChainId::zero(), 5);
    let dev_root = commit(&signer, dev(), 2);
    signer.vote(&request(100, 1, zero)).unwrap();
    let other = VoteRequest { chain: dev(), ..request(100, 2, dev_root) };
    signer.vote(&other).unwrap();
    assert_eq!(
        rule(signer.vote(&VoteRequest { chain: dev(), ..request(100, 1, dev_root) })),
        "already-voted"
    );
}

#[test]
fn two_chains_with_one_name_and_one_key_share_neither_heights_nor_nonces() {
    let dir = TempDir::new().unwrap();
    let [one, other] = [9, 8].map(|byte| Hash32([byte; 32]));
    let vote = |genesis, block| {
        let signer = signer_of(dir.path(), genesis);
        let root = commit(&signer, dev(), 2);
        signer.vote(&VoteRequest { chain: dev(), ..request(100, block, root) })
    };
    let first = vote(one, 1).unwrap();
    let second = vote(other, 2).unwrap();
    assert_eq!(first.key, second.key);
    assert_ne!(first.ballot.context, second.ballot.context);
    assert_ne!(first.nonce, second.nonce);
    // Each remembers its own, however often they take turns.
    assert_eq!(rule(vote(one, 2)), "already-voted");
    assert_eq!(rule(vote(other, 1)), "already-voted");
    assert_eq!(vote(one, 1).unwrap(), first);
}

#[test]
fn what_is_not_the_signers_business_is_refused_by_name() {
    let dir = TempDir::new().unwrap();
    let signer = signer(dir.path());
    let root = commit(&signer, ChainId::zero(), 2);
    let unknown = VoteRequest { chain: "other".parse().unwrap(), ..request(40, 1, root) };
    assert_eq!(rule(signer.vote(&unknown)), "unknown-chain");
    assert_eq!(rule(signer.vote(&request(41, 1, root))), "not-voted");
    assert_eq!(rule(signer.vote(&request(60, 1, root))), "not-committed");
    assert_eq!(rule(signer.vote(&request(40, 1, Hash32([8; 32])))), "other-root");
    let beyond = CommitRequest { chain: ChainId::zero(), epoch: Epoch(u64::MAX / 20) };
    assert_eq!(signer.commit(&beyond).unwrap_err().rule(), "beyond");
    let nameless = RegisterRequest {
        chain: ChainId::zero(),
        operator: String::new(),
        backing: bitcoin::OutPoint::null(),
    };
    assert_eq!(signer.register(&nameless).unwrap_err().rule(), "operator");
}

#[test]
fn a_crash_between_record_and_signature_leaves_the_block_that_was_claimed() {
    let dir = TempDir::new().unwrap();
    let first = signer(dir.path());
    let root = commit(&first, ChainId::zero(), 2);
    let zero = first.chain(&ChainId::zero()).unwrap();
    // The process ends after the record was written and before anything was signed.
    let claimed = first.record().claim_vote(&zero.key.to_bytes(), &zero.vote, Height(40), Hash32([1; 32]));
    assert_eq!(claimed.unwrap(), Claim::Fresh);
    drop(first);
    let second = signer(dir.path());
    assert_eq!(rule(second.vote(&request(40, 2, root))), "already-voted");
    second.vote(&request(40, 1, root)).unwrap();
}

#[test]
fn a_lost_record_sits_out_its_epochs_and_signs_in_new_ones() {
    let dir = TempDir::new().unwrap();
    let first = signer(dir.path());
    let old_root = commit(&first, ChainId::zero(), 2);
    first.vote(&request(40, 1, old_root)).unwrap();
    drop(first);
    std::fs::remove_file(dir.path().join("record.sqlite")).unwrap();
    let second = signer(dir.path());
    // The set names the lost record's root: whatever is asked for, nothing is signed.
    assert_eq!(rule(second.vote(&request(40, 2, old_root))), "not-committed");
    let new_root = commit(&second, ChainId::zero(), 2);
    assert_ne!(new_root, old_root);
    for block in [1, 2] {
        assert_eq!(rule(second.vote(&request(40, block, old_root))), "other-root");
    }
    let later = commit(&second, ChainId::zero(), 3);
    second.vote(&request(60, 2, later)).unwrap();
}

#[test]
fn a_restored_record_sits_out_its_epochs_and_signs_in_new_ones() {
    let dir = TempDir::new().unwrap();
    let record = dir.path().join("record.sqlite");
    let first = signer(dir.path());
    let old_root = commit(&first, ChainId::zero(), 2);
    drop(first);
    let backup = std::fs::read(&record).unwrap();
    let first = signer(dir.path());
    first.vote(&request(40, 1, old_root)).unwrap();
    drop(first);
    std::fs::write(&record, backup).unwrap();
    let restored = signer(dir.path());
    assert_eq!(rule(restored.vote(&request(40, 2, old_root))), "not-committed");
    let later = commit(&restored, ChainId::zero(), 3);
    restored.vote(&request(60, 2, later)).unwrap();
}

#[test]
fn an_epoch_has_one_checkpoint() {
    let dir = TempDir::new().unwrap();
    let signer = signer(dir.path());
    let ask =
        |header: u8| signer.checkpoint(&CheckpointRequest { epoch: Epoch(2), header: Hash32([header; 32]) });
    let share = ask(1).unwrap();
    share.verify(&signer.checkpoint, &signer.bls_public).unwrap();
    assert_eq!(ask(1).unwrap(), share);
    assert_eq!(ask(2).unwrap_err().rule(), "already-checkpointed");
}

#[test]
fn a_registration_verifies_and_only_chain_zero_names_the_bls_key() {
    let dir = TempDir::new().unwrap();
    let signer = signer(dir.path());
    let backing = bitcoin::OutPoint::null();
    for chain in [ChainId::zero(), dev()] {
        let request = RegisterRequest { chain: chain.clone(), operator: "anna".to_owned(), backing };
        let registered = signer.register(&request).unwrap();
        let context = signer.chain(&chain).unwrap().registration;
        let message = ProviderRegistration::message(
            &context,
            &registered.key,
            "anna",
            registered.bls.as_ref(),
            backing,
        );
        registered.key.verify(&message, &registered.signature).unwrap();
        assert_eq!(registered.bls.is_some(), chain.is_zero());
    }
}

#[test]
fn keys_that_two_chains_share_make_no_signer() {
    let dir = TempDir::new().unwrap();
    let genesis = World::new(1_000).ledger.genesis().clone();
    let chain = |id: &str| {
        let identity = ChainIdentity { id: id.parse().unwrap(), ..genesis.zero() };
        ChainSigner::new(identity, genesis.document().zero, pair("one key"))
    };
    let new = |chains| {
        let record = Record::open(dir.path()).unwrap().0;
        Signer::new(&genesis, chains, bls_secret("bls"), record).unwrap_err()
    };
    let zero = ChainId::zero();
    assert_eq!(new(vec![chain("zero"), chain("dev")]), BadSigner::SharedKey(zero.clone(), dev()));
    assert_eq!(new(vec![chain("zero"), chain("zero")]), BadSigner::ChainTwice(zero));
    assert_eq!(new(vec![chain("dev")]), BadSigner::NoZero);
}
