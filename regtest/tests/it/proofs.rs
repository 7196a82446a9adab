//! Every rule of a proof from files (docs/protocol.md, section 9.4), each broken alone beside the proof that is accepted.

use palisade_protocol::anchor::{Anchor, BadAnchor};
use palisade_protocol::finality::set::Member;
use palisade_protocol::hash::Hash32;
use palisade_protocol::proof::{BadBlock, BadCheckpoint, BadStep, Proven, ProvenState, Refused};
use palisade_protocol::tree::Tree;
use palisade_protocol::units::Epoch;
use palisade_world::anchored::{Proof, ZERO, headers, proof};
use std::sync::LazyLock;

/// A proof with one checkpoint, of epoch 6.
static GOOD: LazyLock<Proof> = LazyLock::new(|| proof(&[6], 3));

fn good() -> Proof {
    let Proof { world, root, proof, headers } = &*GOOD;
    Proof { world: world.clone(), root: root.clone(), proof: proof.clone(), headers: headers.clone() }
}

fn judged(Proof { root, proof, headers, .. }: &Proof) -> Result<Proven, Refused> {
    proof.verify(root, headers)
}

/// What is said of the proof after a change.
fn after(change: fn(&mut Proof)) -> Refused {
    let mut changed = good();
    change(&mut changed);
    judged(&changed).expect_err("it must be refused")
}

macro_rules! check {
    ($($change:expr => $why:pat,)+) => {$(
        let refused = after($change);
        assert!(matches!(refused, $why), "{}: {refused}", stringify!($why));
    )+};
}

#[test]
fn the_files_break_each_rule_alone() {
    assert!(judged(&good()).is_ok());
    check! {
        |made| made.proof.genesis.governance_quorum = 0 => Refused::Genesis(_),
        |made| made.proof.genesis.block_interval_ms += 1 => Refused::OtherHub { .. },
        |made| made.root.hub = Hash32::ZERO => Refused::OtherHub { .. },
        |made| made.headers.truncate(10) => Refused::TooFewHeaders(10),
        |made| made.headers[3].time += 1 => Refused::Base(_),
        |made| made.headers.swap(15, 16) => Refused::Headers(_),
        |made| made.root.btc_height = made.root.btc_height.plus(1) => Refused::RootBlock(_),
        |made| made.root.btc_header.time += 1 => Refused::RootBlock(_),
        |made| made.root.set.context = Hash32::ZERO => Refused::RootSet,
        |made| made.root.incarnation = 1 => Refused::RootSet,
        |made| made.proof.steps[0].certificate.set.context = Hash32::ZERO => Refused::OtherRoot,
    }
}

#[test]
fn a_step_breaks_each_rule_alone() {
    check! {
        |made| made.proof.steps[1].state.header.height = made.proof.steps[0].state.header.height
            => Refused::Step { epoch: Epoch(2), why: BadStep::NotFirst(_) },
        |made| drop(made.proof.steps.remove(1)) => Refused::Step { epoch: Epoch(2), why: BadStep::NotFirst(_) },
        |made| made.proof.steps[1].state.sections[5] = Hash32::ZERO
            => Refused::Step { epoch: Epoch(2), why: BadStep::State },
        |made| made.proof.steps[1].certificate.ballot.block = Hash32::ZERO
            => Refused::Step { why: BadStep::OtherBlock, .. },
        |made| made.root.set.expiry = made.root.set.expiry.plus(1)
            => Refused::Step { epoch: Epoch(1), why: BadStep::OtherBlock },
        |made| made.proof.steps[1].certificate.voters[0].path[0] = Hash32::ZERO
            => Refused::Step { why: BadStep::Certificate(_), .. },
        |made| made.proof.steps[1].next.expiry = made.proof.steps[1].next.expiry.plus(1)
            => Refused::Step { why: BadStep::NextSet, .. },
        // The set that voted is in the state as well, and is not the next.
        |made| (made.proof.steps[1].next, made.proof.steps[1].place)
            = (made.proof.steps[0].next, made.proof.steps[0].place.clone())
            => Refused::Step { why: BadStep::NextSet, .. },
    }
}

/// Another anchor by these members, in a block after so many more, in place of the one that the proof has.
fn anchored(names: &[&str], epoch: Epoch, header: Hash32, wait: u32) -> Proof {
    let mut made = good();
    let world = &mut made.world;
    if wait > 0 {
        world.mine(wait);
    }
    let anchor = world.anchor(names, epoch, header);
    let tx = world.mine_anchor(&anchor);
    let members = world.ledger.chains()[0].sets[&epoch].set.members();
    let places: Vec<usize> = anchor.signers().into_iter().map(usize::from).collect();
    let tree = Tree::from_leaves(members.iter().map(Member::leaf));
    let checkpoint = &mut made.proof.checkpoints[0];
    let all = std::mem::take(&mut checkpoint.signers);
    checkpoint.signers = places.iter().map(|place| all[*place].clone()).collect();
    checkpoint.members_proof = tree.multi_path(&places);
    checkpoint.inclusion = world.proof(&tx);
    made.headers = headers(world, made.proof.headers_from);
    made
}

/// The epoch and the header that the proof's own anchor names.
fn named() -> (Epoch, Hash32) {
    let (_, anchor) = Anchor::find(&GOOD.proof.checkpoints[0].inclusion.transaction).expect("an anchor");
    (anchor.epoch, anchor.header)
}

#[test]
fn a_checkpoint_breaks_each_rule_alone() {
    check! {
        |made| drop(made.proof.steps.pop()) => Refused::Checkpoint { why: BadCheckpoint::UnknownSet(_), .. },
        |made| made.proof.checkpoints[0].state.header.btc_height = made.root.btc_height
            => Refused::Checkpoint { why: BadCheckpoint::OtherHeader, .. },
        |made| made.proof.checkpoints[0].state.sections[7] = Hash32::ZERO
            => Refused::Checkpoint { index: 0, why: BadCheckpoint::State },
        |made| made.proof.checkpoints[0].signers[0].power = bitcoin::Amount::from_sat(1)
            => Refused::Checkpoint { why: BadCheckpoint::NotMembers, .. },
        |made| made.proof.checkpoints[0].signers.truncate(3)
            => Refused::Checkpoint { why: BadCheckpoint::NotMembers, .. },
        |made| made.proof.checkpoints[0].members_proof.push(Hash32::ZERO)
            => Refused::Checkpoint { why: BadCheckpoint::NotMembers, .. },
        |made| made.proof.checkpoints[0].inclusion.transaction.output.clear()
            => Refused::Checkpoint { why: BadCheckpoint::Anchor(BadAnchor::NoAnchor), .. },
        |made| made.proof.checkpoints[0].inclusion.block_hash = made.world.block_hash(0)
            => Refused::Checkpoint { why: BadCheckpoint::UnknownBlock(_), .. },
        |made| made.proof.checkpoints[0].inclusion.path[0][0] ^= 1
            => Refused::Checkpoint { why: BadCheckpoint::Inclusion(_), .. },
    }
}

#[test]
fn an_anchor_in_the_proof_is_by_a_quorum_for_the_last_block_of_its_epoch_and_in_time() {
    let (epoch, header) = named();
    assert_eq!(judged(&anchored(&ZERO, epoch, header, 0)).expect("as good").depth, 0);
    assert!(judged(&anchored(&ZERO[..3], epoch, header, 0)).is_ok());
    let weak = judged(&anchored(&ZERO[..2], epoch, header, 0)).unwrap_err();
    let expected = |why: &BadCheckpoint| matches!(why, BadCheckpoint::Anchor(BadAnchor::NoQuorum { .. }));
    assert!(matches!(&weak, Refused::Checkpoint { why, .. } if expected(why)), "{weak}");

    // The first block of the epoch, with its own state.
    let terms = GOOD.world.ledger.chains()[0].terms;
    let first = GOOD.world.ledger.anchors().milestone(terms.first_height(epoch)).expect("it is remembered");
    let mut early = anchored(&ZERO, epoch, first.header.hash(), 0);
    early.proof.checkpoints[0].state = ProvenState { header: first.header, sections: first.sections };
    let early = judged(&early).unwrap_err();
    assert!(matches!(early, Refused::Checkpoint { why: BadCheckpoint::NotLast(_), .. }), "{early}");

    let expiry = GOOD.world.ledger.chains()[0].sets[&epoch].set.header().expiry;
    let left = expiry.0 - GOOD.world.btc_height();
    // One block before, the checkpoint is good: what the tip has left behind by then are the sets of earlier epochs.
    let last = judged(&anchored(&ZERO, epoch, header, left - 1));
    assert!(!matches!(last, Err(Refused::Checkpoint { .. })), "{last:?}");
    let late = judged(&anchored(&ZERO, epoch, header, left)).unwrap_err();
    assert!(matches!(late, Refused::Checkpoint { why: BadCheckpoint::Late { .. }, .. }), "{late}");
}

#[test]
fn a_block_of_another_chain_breaks_each_rule_alone() {
    use palisade_protocol::context::ChainId;
    check! {
        |made| made.proof.block.chain = ChainId::zero() => Refused::Block { why: BadBlock::IsZero, .. },
        |made| made.proof.block.chain = "other".parse().unwrap()
            => Refused::Block { why: BadBlock::OtherChain, .. },
        |made| made.proof.block.genesis = Hash32::ZERO => Refused::Block { why: BadBlock::OtherChain, .. },
        |made| made.proof.block.incarnation = 1 => Refused::Block { why: BadBlock::OtherChain, .. },
        |made| made.proof.block.terms.voted_every = 0 => Refused::Block { why: BadBlock::Terms(_), .. },
        |made| made.proof.block.certificate.voters[0].path[0] = Hash32::ZERO
            => Refused::Block { why: BadBlock::Certificate(_), .. },
        |made| made.proof.block.terms.minimum_power_sat += 1 => Refused::Block { why: BadBlock::Set, .. },
        |made| made.proof.block.step = u16::MAX => Refused::Block { why: BadBlock::Set, .. },
        |made| made.proof.block.set_place = made.proof.steps[0].place.clone()
            => Refused::Block { why: BadBlock::Set, .. },
        |made| made.proof.block.record.checkpoint = 1 => Refused::Block { why: BadBlock::Record, .. },
        |made| made.proof.block.record.message = made.proof.steps[0].place.clone()
            => Refused::Block { why: BadBlock::Record, .. },
        |made| made.proof.block.record.among_headers = None => Refused::Block { why: BadBlock::Record, .. },
        |made| made.proof.block.record.header.btc_height = made.root.btc_height
            => Refused::Block { why: BadBlock::Record, .. },
    }
}
