//! How it begins: small parameters, an honest provider with most of the power, one who is not, and one whom the holder can move to.

use bitcoin::Transaction;
use palisade_protocol::context::{ChainId, Terms};
use palisade_protocol::message::Message;
use palisade_protocol::params::ParamsDocument;
use palisade_protocol::stake::StakeId;
use palisade_protocol::units::RelativeBlocks;
use palisade_world::{COVENANT, Wish, World};
use std::sync::LazyLock;

pub(super) const K: u32 = 1;
pub(super) const W: u32 = 1;
pub(super) const MARGIN: u32 = 1;
pub(super) const LIFETIME: u32 = 2;
pub(super) const UNBONDING: u16 = (K + 2 * LIFETIME + W + MARGIN) as u16;
/// So that there is power for some blocks, and for as many more as an exit can be hidden.
const LOCK: u16 = UNBONDING + 4 + LIFETIME as u16;
pub(super) const CULPRIT: &str = "fred";
const NEXT: &str = "bert";
const SAT: u64 = 100_000;
/// Most blocks that any run has.
const EPOCHS: u64 = 40;

fn small(params: &mut ParamsDocument) {
    (params.k, params.w, params.margin_blocks, params.set_lifetime_blocks) = (K, W, MARGIN, LIFETIME);
    params.unbonding_blocks = blocks(UNBONDING);
    params.min_lock_blocks = blocks(UNBONDING + K as u16 + 1);
}

pub(super) fn blocks(blocks: u16) -> RelativeBlocks {
    RelativeBlocks::new(blocks).expect("blocks")
}

pub(super) type Start = (World, StakeId);

/// Everybody is registered, an honest provider holds most of the power, and the stake in question is just in a block.
pub(super) fn begin(signed: bool) -> Start {
    let terms = Terms { epoch_length: 1, voted_every: 1, minimum_power_sat: 1 };
    let mut world = World::with_params(terms, &COVENANT, 3, small);
    world.mine(1);
    for name in ["anna", CULPRIT, NEXT] {
        world.register_provider(&ChainId::zero(), name);
        world.commit(&ChainId::zero(), name, 1..EPOCHS);
    }
    world.active_stake(&Wish { holder: "alice", sat: 20 * SAT, providers: &["anna"], lock: 2_000 });
    // Coins for what may follow, so that making them takes no blocks.
    let coins: Vec<_> = (0..4).map(|_| world.fund("alice", SAT + 1_000)).collect();
    world.coins.extend(coins);
    let wish = Wish { holder: "alice", sat: SAT, providers: &[CULPRIT], lock: LOCK };
    let (id, tx) = world.register_stake(&wish);
    if signed {
        world.sign_quorum(&id);
    }
    world.include(&id, &tx);
    world.close();
    (world, id)
}

pub(super) static START: LazyLock<Start> = LazyLock::new(|| begin(true));

pub(super) fn start() -> &'static World {
    &START.0
}

/// The stake that it begins with.
pub(super) fn stake() -> StakeId {
    START.1
}

/// Registers the next stake at the other provider, signed and consented to; nothing where the ledger refuses it.
pub(super) fn register(world: &mut World, old: &StakeId, former: &[&str]) -> Option<StakeId> {
    let wish = Wish { holder: "alice", sat: SAT, providers: &[NEXT], lock: LOCK };
    let registration = world.expansion(old, &wish, former);
    let id = StakeId(world.send(&Message::Stake(Box::new(registration))).ok()?);
    world.sign_quorum(&id);
    for member in &COVENANT[..3] {
        let consent = world.consent(member, &id).expect("an expansion");
        world.send(&consent).expect("a good consent");
    }
    Some(id)
}

pub(super) fn staking_tx(world: &World, id: &StakeId) -> Transaction {
    world.stake(id).expansion.as_ref().expect("an expansion").tx.clone()
}
