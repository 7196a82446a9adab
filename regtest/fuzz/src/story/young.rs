//! A proof from the first days of the other chain: the certificate stands in the very block that the only anchor names, and nothing
//! is anchored about the steps behind that.

use super::{DEV, ZERO, dev, keep, scratch};
use bitcoin::block::Header;
use palisade_hub::proofs;
use palisade_hub::store::{FILE, Store};
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::proof::FinalityProof;
use palisade_protocol::units::{Epoch, Height};
use palisade_world::World;

/// What the anchor of epoch 5 names.
const ANCHORED: u64 = 115;
/// The first block of the other chain whose set was fixed in that epoch.
const PROVEN: u64 = 250;

/// The proof, and the headers that it needs. The world is at the beginning of its first finality.
pub(super) fn proof(mut world: World) -> (FinalityProof, Vec<Header>) {
    let certify = |world: &mut World, height: u64| {
        let certificate = world.certificate(&dev(), &DEV, Height(height), Hash32([7; 32]));
        world.send(&certificate).expect("a good certificate");
    };
    world.finalise_until(&ZERO, 105);
    (200..PROVEN).step_by(5).for_each(|height| certify(&mut world, height));
    world.finalise_until(&ZERO, ANCHORED);
    certify(&mut world, PROVEN);
    world.finalise_until(&ZERO, 125);
    let header = world.ledger.own_header(Epoch(5)).expect("the epoch is over");
    let tx = world.mine_anchor(&world.anchor(&ZERO, Epoch(5), header));
    let inclusion = world.proof(&tx);
    world.send(&Message::Anchor(inclusion)).expect("a good anchor");
    world.finalise_until(&ZERO, 145);
    let dir = scratch::dir();
    let path = dir.path().join(FILE);
    keep(&path, &world, Height(0), &[]);
    let store = Store::open(&path).expect("a log");
    let plan = proofs::plan(&world.ledger, &dev(), Height(PROVEN)).expect("a plan");
    let proof = plan.fill(&store).expect("a proof");
    let headers = world.chain[proof.headers_from.0 as usize..].iter().map(|block| block.header).collect();
    (proof, headers)
}
