//! Proofs of finality, with one part of them replaced, and at the heights at which their sets expire.

use palisade_hub::ledger::Ledger;
use palisade_hub::proofs;
use palisade_protocol::hash::Hash32;
use palisade_protocol::proof::{
    BadBlock, BadCheckpoint, BadStep, FinalityProof, LeafPath, Proven, Refused, TrustRoot, set_leaf,
};
use palisade_protocol::state::Section;
use palisade_protocol::tree::leaf_hash;
use palisade_protocol::units::{BtcHeight, Epoch, Height};
use palisade_world::World;
use palisade_world::anchored::{DEV, Proof, ZERO, anchor, dev, end_of, headers, proof, stored, world};

type Change = fn(&mut FinalityProof);

#[test]
fn a_proof_with_a_part_from_elsewhere_is_refused_for_that_part() {
    let Proof { root, proof: good, headers, .. } = proof(&[3, 6, 8], 3);
    let broken = |change: Change| {
        let mut broken = good.clone();
        change(&mut broken);
        broken.verify(&root, &headers).unwrap_err()
    };
    let steps: [(BadStep, Change); 4] = [
        (BadStep::State, |proof| proof.steps[0].state.sections[0].0[0] ^= 1),
        (BadStep::NextSet, |proof| proof.steps[0].place = proof.steps[1].place.clone()),
        (BadStep::OtherBlock, |proof| proof.steps[0].certificate.set = proof.steps[1].certificate.set),
        (BadStep::OtherBlock, |proof| proof.steps[0].certificate.ballot.block.0[0] ^= 1),
    ];
    for (place, (wanted, change)) in steps.into_iter().enumerate() {
        let found = broken(change);
        assert!(matches!(&found, Refused::Step { why, .. } if *why == wanted), "{place}: {found}");
    }
    let checkpoints: [(BadCheckpoint, Change); 3] = [
        (BadCheckpoint::State, |proof| proof.checkpoints[0].state.sections[0].0[0] ^= 1),
        (BadCheckpoint::NotMembers, |proof| proof.checkpoints[0].signers.swap(0, 1)),
        (BadCheckpoint::NotMembers, |proof| proof.checkpoints[0].signers.truncate(1)),
    ];
    for (place, (wanted, change)) in checkpoints.into_iter().enumerate() {
        let found = broken(change);
        assert!(matches!(&found, Refused::Checkpoint { why, .. } if *why == wanted), "{place}: {found}");
    }
    let blocks: [(BadBlock, Change); 3] = [
        (BadBlock::OtherChain, |proof| proof.block.incarnation = 1),
        (BadBlock::Set, |proof| proof.block.set_place = proof.steps[0].place.clone()),
        (BadBlock::Record, |proof| proof.block.record.among_headers = None),
    ];
    for (place, (wanted, change)) in blocks.into_iter().enumerate() {
        let found = broken(change);
        assert!(matches!(&found, Refused::Block { why, .. } if *why == wanted), "{place}: {found}");
    }
    let few = |count| good.verify(&root, &headers[..count]).unwrap_err();
    assert!(matches!(few(10), Refused::TooFewHeaders(10)));
    assert!(!matches!(few(11), Refused::TooFewHeaders(_)));
}

#[test]
fn a_step_to_an_older_set_of_the_same_state_is_no_step() {
    let Proof { world, root, mut proof, headers } = proof(&[3, 6, 8], 3);
    let mut ledger = Ledger::new(world.ledger.genesis().clone());
    for block in
        world.log.iter().take_while(|block| block.header.height <= proof.steps[1].state.header.height)
    {
        ledger.replay(block).unwrap();
    }
    let (sets, older) = (ledger.tree().section(Section::Sets), proof.steps[0].next);
    let leaf = leaf_hash(&set_leaf(&older, &world.ledger.chains()[0].terms));
    let index = (0..sets.len()).find(|index| sets.leaf(*index as u64) == Some(leaf)).unwrap();
    let siblings = sets.path(index).unwrap();
    proof.steps[1].next = older;
    proof.steps[1].place = LeafPath::new(index as u64, sets.len() as u64, &siblings).unwrap();
    let refused = proof.verify(&root, &headers).unwrap_err();
    assert!(matches!(refused, Refused::Step { why: BadStep::NextSet, .. }), "{refused}");
}

#[test]
fn a_block_whose_certificate_is_in_the_very_block_that_an_anchor_names_is_proven_without_a_way_to_that_block()
{
    let mut world = world(105);
    world.finalise_until(&ZERO, 115);
    certify(&mut world);
    world.finalise_until(&ZERO, 125);
    anchor(&mut world, 5).unwrap();
    let (root, proof) = proven(&mut world);
    assert_eq!((proof.block.record.header.height, &proof.block.record.among_headers), (Height(115), &None));
    assert_eq!(verified(&world, &root, &proof).unwrap().height, Height(200));
}

fn certify(world: &mut World) {
    let certificate = world.certificate(&dev(), &DEV, Height(200), Hash32([7; 32]));
    world.send(&certificate).unwrap();
}

fn proven(world: &mut World) -> (TrustRoot, FinalityProof) {
    world.close();
    let (_dir, store) = stored(world, 0, &[]);
    let root = proofs::root(&world.ledger, None).unwrap();
    (root, proofs::plan(&world.ledger, &dev(), Height(200)).unwrap().fill(&store).unwrap())
}

fn verified(world: &World, root: &TrustRoot, proof: &FinalityProof) -> Result<Proven, Refused> {
    proof.verify(root, headers(world, proof.headers_from))
}

/// Everything is anchored so many blocks after the expiry of all sets but those of the last epochs, which live ten blocks longer.
fn anchored_after_expiry(blocks: u32) -> (World, TrustRoot, FinalityProof, BtcHeight) {
    let mut world = world(105);
    certify(&mut world);
    world.finalise_until(&ZERO, 110);
    world.mine(10);
    world.finalise_until(&ZERO, 165);
    let expiry = |epoch| world.ledger.chains()[0].sets[&Epoch(epoch)].set.header().expiry;
    let first = expiry(1);
    assert_eq!([expiry(5), expiry(7)], [first, first.plus(10)]);
    assert_eq!(world.ledger.chain(&dev()).unwrap().sets[&Epoch(4)].set.header().expiry, first);
    world.mine(first.0 + blocks - 1 - world.btc_height());
    anchor(&mut world, 7).unwrap();
    let anchored = world.ledger.anchors().get(Epoch(7)).unwrap().place.height;
    assert_eq!(anchored, first.plus(blocks));
    let (root, proof) = proven(&mut world);
    (world, root, proof, first)
}

#[test]
fn an_anchor_in_the_last_block_of_a_sets_life_is_in_time_and_one_in_the_next_is_not() {
    let (mut world, root, proof, _) = anchored_after_expiry(0);
    world.mine(2);
    assert_eq!(verified(&world, &root, &proof).unwrap().depth, 2);
    let (world, root, proof, first) = anchored_after_expiry(1);
    let refused = verified(&world, &root, &proof).unwrap_err();
    assert!(matches!(refused, Refused::Expired { expiry, .. } if expiry == first), "{refused}");
}

/// The steps to the block's set are anchored in time, the block's certificate itself is not.
#[test]
fn a_block_whose_own_certificate_is_anchored_too_late_is_not_proven_however_early_its_set_was() {
    for (late, is_proven) in [(0, true), (1, false)] {
        let mut world = world(105);
        let expiry = world.ledger.chain(&dev()).unwrap().sets[&Epoch(4)].set.header().expiry;
        // Chain zero's newer sets live longer; those before are under an anchor of their time.
        world.mine(30);
        world.finalise_until(&ZERO, 125);
        anchor(&mut world, 5).unwrap();
        world.mine(30);
        world.finalise_until(&ZERO, 145);
        anchor(&mut world, 6).unwrap();
        world.mine(expiry.0 + late - 1 - world.btc_height());
        certify(&mut world);
        world.finalise_until(&ZERO, 165);
        anchor(&mut world, 7).unwrap();
        world.mine(10);
        let (root, proof) = proven(&mut world);
        let verdict = verified(&world, &root, &proof);
        match is_proven {
            true => assert_eq!(verdict.unwrap().height, Height(200)),
            false => {
                let refused = verdict.unwrap_err();
                let Refused::Expired { what, expiry: found } = &refused else { panic!("{refused}") };
                assert_eq!((what.as_str(), *found), ("the block of chain dev", expiry));
            }
        }
    }
}

#[test]
fn signatures_need_no_anchor_while_their_set_lives() {
    let Proof { mut world, root, mut proof, .. } = proof(&[3, 6, 8], 1);
    proof.steps.iter_mut().for_each(|step| step.under = None);
    let sets = proof.steps.iter().map(|step| step.certificate.set.expiry);
    let first = sets.chain([proof.block.certificate.set.expiry]).min().unwrap();
    world.mine(first.0 - world.btc_height());
    assert!(verified(&world, &root, &proof).is_ok());
    world.mine(1);
    let refused = verified(&world, &root, &proof).unwrap_err();
    assert!(matches!(refused, Refused::Expired { expiry, .. } if expiry == first), "{refused}");
}

#[test]
fn a_checkpoint_is_in_a_block_of_its_sets_life() {
    let (mut world, root, mut proof, _) = anchored_after_expiry(10);
    // Its own set lives until that very block; others do not.
    let refused = verified(&world, &root, &proof).unwrap_err();
    assert!(matches!(refused, Refused::Expired { .. }), "{refused}");
    let again = world.anchor(&ZERO, Epoch(7), end_of(&world, 7));
    let tx = world.mine_anchor(&again);
    proof.checkpoints[0].inclusion = world.proof(&tx);
    let refused = verified(&world, &root, &proof).unwrap_err();
    assert!(matches!(refused, Refused::Checkpoint { why: BadCheckpoint::Late { .. }, .. }), "{refused}");
}
