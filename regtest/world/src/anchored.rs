//! Chain zero and another chain, four operators of both, and their anchors on Bitcoin: where many stories begin.

use crate::{Wish, World};
use bitcoin::block::Header;
use palisade_hub::ledger::Rejected;
use palisade_hub::proofs;
use palisade_hub::store::Store;
use palisade_protocol::context::{ChainId, Terms};
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::proof::{FinalityProof, TrustRoot};
use palisade_protocol::units::{BtcHeight, Epoch, Height};

/// Operators of chain zero.
pub const ZERO: [&str; 4] = ["anna", "bert", "carl", "dora"];
/// The same operators on the other chain.
pub const DEV: [&str; 4] = ["dev anna", "dev bert", "dev carl", "dev dora"];
const LAST: u64 = 24;

/// The other chain.
pub fn dev() -> ChainId {
    "dev".parse().expect("a name")
}

/// Four operators of equal power on chain zero and on another chain, and final blocks of chain zero up to `height`.
pub fn world(height: u64) -> World {
    world_of(World::new(4_000_000), height)
}

/// The same in a new world that opens at their power.
pub fn world_of(mut world: World, height: u64) -> World {
    world.mine(20);
    let terms = Terms { epoch_length: 50, voted_every: 5, minimum_power_sat: 4_000_000 };
    world.register_chain(&dev(), terms);
    for (zero, other) in ZERO.into_iter().zip(DEV) {
        world.register_provider(&ChainId::zero(), zero);
        world.register_provider(&dev(), other);
        world.active_stake(&Wish { holder: "alice", sat: 1_000_000, providers: &[zero, other], lock: 2_000 });
        world.commit(&ChainId::zero(), zero, 1..LAST);
        world.commit(&dev(), other, 4..8);
    }
    world.finalise_until(&ZERO, height);
    world
}

/// The header at the end of an epoch.
pub fn end_of(world: &World, epoch: u64) -> Hash32 {
    world.ledger.own_header(Epoch(epoch)).expect("the epoch is over")
}

/// Mines the epoch's anchor and tells the ledger.
pub fn anchor(world: &mut World, epoch: u64) -> Result<Hash32, Rejected> {
    let anchor = world.anchor(&ZERO, Epoch(epoch), end_of(world, epoch));
    let tx = world.mine_anchor(&anchor);
    let proof = world.proof(&tx);
    world.send(&Message::Anchor(proof))
}

/// The log on disk, with the digests of the block at `height`.
pub fn stored(world: &World, height: u64, digests: &[Hash32]) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("log.sqlite")).unwrap();
    for block in &world.log {
        let digests = if block.header.height == Height(height) { digests } else { &[] };
        store.append(block, &[], digests).unwrap();
    }
    (dir, store)
}

/// The headers of the best chain from a height on.
pub fn headers(world: &World, from: BtcHeight) -> Vec<Header> {
    world.chain[from.0 as usize..].iter().map(|block| block.header).collect()
}

/// Chain zero final over many epochs, its anchors on Bitcoin, and a block of the other chain with its proof.
pub struct Proof {
    /// After all of it.
    pub world: World,
    /// What a verifier trusts.
    pub root: TrustRoot,
    /// The proof of the block.
    pub proof: FinalityProof,
    /// The headers that it needs.
    pub headers: Vec<Header>,
}

/// Anchors the given epochs, mining `spread` Bitcoin blocks in each epoch, and asks for the proof of a block that is
/// recorded in epoch 5.
pub fn proof(anchored: &[u64], spread: u32) -> Proof {
    let mut world = world(105);
    for epoch in 5..12 {
        world.mine(spread);
        if epoch == 5 {
            let certificate = world.certificate(&dev(), &DEV, Height(200), Hash32([7; 32]));
            world.send(&certificate).unwrap();
        }
        world.finalise_until(&ZERO, (epoch + 1) * 20 + 5);
        if anchored.contains(&epoch) {
            anchor(&mut world, epoch).unwrap();
        }
    }
    world.close();
    let (_dir, store) = stored(&world, 0, &[]);
    let root = proofs::root(&world.ledger, None).unwrap();
    let proof = proofs::plan(&world.ledger, &dev(), Height(200)).unwrap().fill(&store).unwrap();
    let headers = headers(&world, proof.headers_from);
    Proof { world, root, proof, headers }
}
