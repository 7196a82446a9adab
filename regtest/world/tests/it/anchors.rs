//! Stories of anchors: which of them count, what a reorg does to them, and what can be proven from them with files alone.

use palisade_hub::ledger::{Event, Rejected};
use palisade_hub::timestamps;
use palisade_hub::timestamps::NoFile;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::ChainId;
use palisade_protocol::finality::certificate::Certificate;
use palisade_protocol::hash::{Hash32, sha256};
use palisade_protocol::inclusion::InclusionProof;
use palisade_protocol::message::Message;
use palisade_protocol::proof::{BadBlock, BadStep, FinalityProof, Refused, TrustRoot};
use palisade_protocol::units::{BtcHeight, Epoch, Height};
use palisade_world::World;
use palisade_world::anchored::{DEV, Proof, ZERO, anchor, dev, end_of, proof, stored, world, world_of};

fn rule(answer: Result<Hash32, Rejected>) -> &'static str {
    answer.unwrap_err().rule()
}

#[test]
fn the_first_anchor_in_bitcoins_order_is_the_checkpoint_whichever_is_told_first() {
    let mut world = world(85);
    let header = end_of(&world, 3);
    let payload = world.anchor(&ZERO, Epoch(3), header);
    let (first, second) = (world.mine_anchor(&payload), world.mine_anchor(&payload));
    let (first, second) = (world.proof(&first), world.proof(&second));
    let wanted = |world: &World, proof: &InclusionProof| {
        world.ledger.wants_anchor(&proof.transaction, proof.block_hash, proof.index)
    };
    assert!(wanted(&world, &first) && wanted(&world, &second));
    world.send(&Message::Anchor(second.clone())).unwrap();
    assert!(wanted(&world, &first) && !wanted(&world, &second));
    let told = world.ledger.anchors().get(Epoch(3)).unwrap().clone();
    assert_eq!(told.outpoint.txid, second.transaction.compute_txid());
    world.send(&Message::Anchor(first.clone())).unwrap();
    let told = world.ledger.anchors().get(Epoch(3)).unwrap().clone();
    assert_eq!(told.outpoint.txid, first.transaction.compute_txid());
    assert_eq!((told.header, told.signers.len()), (header, 4));
    assert_eq!(rule(world.send(&Message::Anchor(second))), "repeated");
    assert_eq!(rule(world.send(&Message::Anchor(first))), "repeated");
}

#[test]
fn an_anchor_without_quorum_or_of_no_set_or_too_late_is_no_checkpoint() {
    let mut world = world(85);
    let header = end_of(&world, 3);
    let told = |world: &mut World, names: &[&str], epoch: u64| {
        let anchor = world.anchor(names, Epoch(epoch), header);
        let tx = world.mine_anchor(&anchor);
        let proof = world.proof(&tx);
        rule(world.send(&Message::Anchor(proof)))
    };
    assert_eq!(told(&mut world, &ZERO[..2], 3), "anchor");
    // The set of epoch 4 is fixed, and the epoch is not over.
    assert_eq!(told(&mut world, &ZERO, 4), "not-in-order");
    let expiry = world.ledger.chains()[0].sets[&Epoch(3)].set.header().expiry;
    world.mine(expiry.0 - world.btc_height());
    assert_eq!(told(&mut world, &ZERO, 3), "set-expired");
    assert!(world.ledger.anchors().get(Epoch(3)).is_none());
}

#[test]
fn an_anchor_that_is_not_on_bitcoin_yet_is_judged_by_the_same_rules() {
    let world = world(85);
    let header = end_of(&world, 3);
    let judged = |names: &[&str], epoch: u64| {
        let anchor = world.anchor(names, Epoch(epoch), header);
        world.ledger.judge_anchor(&anchor).map_err(|why| why.rule())
    };
    assert_eq!(judged(&ZERO, 3), Ok(()));
    assert_eq!(judged(&ZERO[..2], 3), Err("anchor"));
    assert_eq!(judged(&ZERO, 4), Err("not-in-order"));
}

#[test]
fn blocks_without_an_anchor_are_counted_from_the_first_set_and_then_from_the_newest_anchor() {
    let mut world = World::new(4_000_000);
    world.mine(20);
    assert_eq!(world.ledger.blocks_without_anchor(), None, "chain zero has no set");
    let mut world = world_of(world, 85);
    let first = world.ledger.blocks_without_anchor().unwrap();
    world.mine(3);
    assert_eq!(world.ledger.blocks_without_anchor(), Some(first + 3));
    anchor(&mut world, 3).unwrap();
    assert_eq!(world.ledger.blocks_without_anchor(), Some(0));
    world.mine(2);
    assert_eq!(world.ledger.blocks_without_anchor(), Some(2));
}

#[test]
fn a_reorg_takes_an_anchor_away_and_it_can_come_back() {
    let mut world = world(85);
    anchor(&mut world, 3).unwrap();
    let root = |world: &mut World| world.close().0.state_root;
    let (tx, with) = (world.chain.last().unwrap().txdata[1].clone(), root(&mut world));
    world.reorg(1, &[]).unwrap();
    assert!(world.ledger.anchors().get(Epoch(3)).is_none());
    assert_ne!(root(&mut world), with);
    world.mempool.push(tx.clone());
    world.mine(1);
    let proof = world.proof(&tx);
    world.send(&Message::Anchor(proof)).unwrap();
    assert_eq!(world.ledger.anchors().get(Epoch(3)).unwrap().place.height, BtcHeight(world.btc_height()));
    world.mine(1);
    world.reorg(1, &[]).unwrap();
    assert!(world.ledger.anchors().get(Epoch(3)).is_some(), "a reorg above it leaves it");
}

#[test]
fn a_second_header_that_a_quorum_anchored_is_void_and_an_alarm() {
    let mut world = world(85);
    anchor(&mut world, 3).unwrap();
    world.close();
    let false_header = Hash32([6; 32]);
    let payload = world.anchor(&ZERO, Epoch(3), false_header);
    let tx = world.mine_anchor(&payload);
    let proof = world.proof(&tx);
    world.send(&Message::Anchor(proof.clone())).unwrap();
    let (_, events) = world.close();
    let txid = tx.compute_txid();
    let (epoch, header) = (Epoch(3), false_header);
    assert!(events.contains(&Event::VoidAnchor { epoch, header, txid }));
    assert!(events.contains(&Event::ForeignAnchor { epoch, header, txid }));
    assert_eq!(world.ledger.anchors().get(Epoch(3)).unwrap().header, end_of(&world, 3));
    assert_eq!(rule(world.send(&Message::Anchor(proof))), "repeated");
}

#[test]
fn a_batch_is_signed_by_the_hub_for_one_block_and_is_the_only_one_there() {
    let mut world = world(0);
    let (context, hub) = (world.ledger.contexts().hub, palisade_world::keypair("hub"));
    let next = world.ledger.next_height();
    let batch = |height, digests: &[Hash32], key| timestamps::batch(height, digests, &context, key);
    let digests = [Hash32([1; 32]), Hash32([2; 32])];
    let good = batch(next, &digests, &hub);
    let stranger = palisade_world::keypair("stranger");
    let mut refused = |batch| rule(world.send(&Message::Batch(batch)));
    assert_eq!(refused(batch(next.next(), &digests, &hub)), "batch");
    assert_eq!(refused(batch(next, &[], &hub)), "batch");
    assert_eq!(refused(batch(next, &digests, &stranger)), "batch");
    world.send(&Message::Batch(good.clone())).unwrap();
    assert_eq!(rule(world.send(&Message::Batch(batch(next, &digests[..1], &hub)))), "repeated");
    world.close();
    assert_eq!(rule(world.send(&Message::Batch(good))), "batch");
}

#[test]
fn a_digest_leads_by_a_standard_file_to_the_block_that_holds_the_anchor() {
    // One digest in the block that the anchor names, one in an earlier epoch, one behind the last anchor.
    for (height, covered) in [(75, true), (33, true), (76, false)] {
        let digests: Vec<Hash32> = (0..5u8).map(|n| sha256(&[&[n]])).collect();
        let mut world = world(height);
        world.stamp(&digests);
        world.finalise_until(&ZERO, 85);
        anchor(&mut world, 3).unwrap();
        world.finalise_until(&ZERO, 90);
        let (_dir, store) = stored(&world, height, &digests);
        for digest in &digests {
            let found = store.find_digest(digest).unwrap().unwrap();
            let plan = timestamps::plan(*digest, found, &world.ledger);
            if !covered {
                assert!(matches!(plan, Err(NoFile::NotAnchored(at)) if at == Height(height)));
                continue;
            }
            let file = plan.unwrap().fill(&store);
            let header = |height: u32| world.chain.get(height as usize).map(|block| block.header);
            let attested = file.unwrap().verify(digest, header).unwrap();
            assert_eq!(attested.height, world.ledger.anchors().get(Epoch(3)).unwrap().place.height.0);
        }
        assert_eq!(store.find_digest(&Hash32([9; 32])).unwrap(), None);
    }
}

#[test]
fn a_block_of_another_chain_is_proven_final_and_anchored_from_files_alone() {
    let Proof { world, root, proof, headers } = proof(&[3, 6, 8], 3);
    let proof = FinalityProof::parse(&proof.to_bytes()).unwrap();
    let proven = proof.verify(&root, &headers).unwrap();
    assert_eq!((proven.chain.id, proven.height, proven.block), (dev(), Height(200), Hash32([7; 32])));
    assert_eq!((proven.power, proven.total), (proven.total, bitcoin::Amount::from_sat(4_000_000)));
    let anchored = world.ledger.anchors().get(Epoch(6)).unwrap();
    assert_eq!((proven.anchor, proven.anchor_height), (anchored.outpoint.txid, anchored.place.height));
    assert_eq!(proven.depth, world.btc_height() - anchored.place.height.0);
    // Fewer headers make it less deep; without the anchor's block it is no proof.
    let fewer = &headers[..headers.len() - 2];
    assert_eq!(proof.verify(&root, fewer).unwrap().depth, proven.depth - 2);
    let without = headers.len() - proven.depth as usize - 1;
    assert!(matches!(proof.verify(&root, &headers[..without]), Err(Refused::Checkpoint { .. })));
}

#[test]
fn a_certificate_of_an_expired_set_needs_an_anchor_of_its_time() {
    // Sets live for 100 blocks; 20 an epoch pass here, so the first ones are long over at the end.
    let good = proof(&[3, 4, 5, 6, 7, 8, 9, 10, 11], 20);
    assert!(good.proof.verify(&good.root, &good.headers).is_ok());
    let mut bare = good.proof.clone();
    bare.steps.iter_mut().for_each(|step| step.under = None);
    let refused = bare.verify(&good.root, &good.headers).unwrap_err();
    assert!(matches!(refused, Refused::Expired { .. }), "{refused}");
    // Anchored only after the first sets' time.
    let late = proof(&[11], 20);
    let refused = late.proof.verify(&late.root, &late.headers).unwrap_err();
    assert!(matches!(refused, Refused::Expired { .. }), "{refused}");
}

/// The attack that this stops: make a block with a set of one's own, anchor it while the true set lives, and buy that set's keys
/// when its coins are long withdrawn. The block is as old as it should be; the signatures are not.
#[test]
fn signatures_that_were_made_after_a_set_expired_prove_nothing_however_old_the_block_is() {
    let Proof { world, root, proof, headers } = proof(&[3, 4, 5, 6, 7, 8, 9, 10, 11], 20);
    let late = |chain: &ChainId, names: &[&str], own: &Certificate| {
        let Message::Certificate(late) = world.certificate(chain, names, own.ballot.height, own.ballot.block)
        else {
            panic!("a certificate")
        };
        let terms = world.ledger.chain(chain).unwrap().terms;
        assert!(late.verify(&terms).is_ok() && *late != *own);
        *late
    };
    let mut forged = proof.clone();
    forged.steps[0].certificate = late(&ChainId::zero(), &ZERO[1..], &proof.steps[0].certificate);
    let refused = forged.verify(&root, &headers).unwrap_err();
    assert!(matches!(refused, Refused::Step { why: BadStep::Under, .. }), "{refused}");
    forged.steps[0].under = None;
    let refused = forged.verify(&root, &headers).unwrap_err();
    assert!(matches!(refused, Refused::Expired { .. }), "{refused}");
    let mut forged = proof.clone();
    forged.block.certificate = late(&dev(), &DEV[1..], &proof.block.certificate);
    let refused = forged.verify(&root, &headers).unwrap_err();
    assert!(matches!(refused, Refused::Block { why: BadBlock::Record, .. }), "{refused}");
}

#[test]
fn every_altered_byte_of_root_and_headers_is_noticed_and_many_of_the_proof() {
    let Proof { root, proof, headers, .. } = proof(&[5], 1);
    let bytes = proof.to_bytes();
    let root_bytes = root.to_bytes();
    for place in 0..root_bytes.len() {
        let mut altered = root_bytes.clone();
        altered[place] ^= 1;
        let refused = TrustRoot::from_bytes(&altered).is_ok_and(|root| proof.verify(&root, &headers).is_ok());
        assert!(!refused, "byte {place} of the root");
    }
    for place in 0..headers.len() {
        let mut altered = headers.clone();
        altered[place].time ^= 1;
        // The last header is nobody's parent: a new time needs a new nonce only, and on regtest every other has enough work.
        let accepted = proof.verify(&root, &altered).is_ok();
        assert!(!accepted || place + 1 == headers.len(), "header {place}");
    }
    // All bytes in turn would take minutes: a prime stride comes by every field.
    for place in (0..bytes.len()).step_by(5) {
        let mut altered = bytes.clone();
        altered[place] ^= 1;
        let accepted =
            FinalityProof::parse(&altered).is_ok_and(|proof| proof.verify(&root, &headers).is_ok());
        assert!(!accepted, "byte {place} of {}", bytes.len());
    }
}

#[test]
fn an_earlier_anchor_takes_the_place_of_the_recorded_one_also_when_a_later_one_of_its_header_is_void_already()
{
    let mut world = world(86);
    let own = end_of(&world, 3);
    let mut mine = |header| {
        let anchor = world.anchor(&ZERO, Epoch(3), header);
        world.mine_anchor(&anchor)
    };
    let [first, second, third] = [Hash32([9; 32]), own, Hash32([9; 32])].map(&mut mine);
    for tx in [&second, &third, &first] {
        let proof = world.proof(tx);
        world.send(&Message::Anchor(proof)).unwrap();
    }
    assert_eq!(world.ledger.anchors().get(Epoch(3)).unwrap().outpoint.txid, first.compute_txid());
    assert!(world.ledger.anchors().void().map(|(_, header)| *header).eq([own]));
}
