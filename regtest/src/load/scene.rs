//! Where the load falls: a world in which chain zero has final blocks, and what honest parties will send on top of it.

use palisade_protocol::context::{ChainId, Terms};
use palisade_protocol::message::Message;
use palisade_protocol::units::Height;
use palisade_world::{Wish, World};

/// Those who vote on chain zero, with equal power.
pub const VOTERS: [&str; 4] = ["anna", "bert", "carl", "dora"];
/// Whose the stakes are.
pub const HOLDER: &str = "alice";
/// What a stake holds.
pub const STAKE_SAT: u64 = 1_000_000;
/// How long a stake is locked, in blocks.
pub const LOCK: u16 = 60_000;
/// Every so many blocks are voted on.
pub const VOTED_EVERY: u64 = 2;
/// Blocks in an epoch: twenty seconds.
const EPOCH_LENGTH: u64 = 100;
/// Epochs for which nonces are committed: as many as the ledger takes at once.
pub const EPOCHS: u64 = 60;

/// A network without its processes.
#[derive(Debug)]
pub struct Scene {
    /// Everything that is in the log before the hub starts, and everybody's keys.
    pub world: World,
    /// Good registrations that are not in the log, for holders to send.
    pub registrations: Vec<Message>,
}

/// Voters with power, coins for the flood (which `prepare` makes), and registrations for honest holders.
pub fn set<T>(registrations: usize, prepare: impl FnOnce(&mut World) -> T) -> (Scene, T) {
    let power = STAKE_SAT * VOTERS.len() as u64;
    let terms = Terms { epoch_length: EPOCH_LENGTH, voted_every: VOTED_EVERY, minimum_power_sat: power };
    let mut world = World::with(terms, &palisade_world::COVENANT, 3);
    world.mine(20);
    for name in VOTERS {
        world.register_provider(&ChainId::zero(), name);
        world.active_stake(&Wish { holder: HOLDER, sat: STAKE_SAT, providers: &[name], lock: LOCK });
        world.commit(&ChainId::zero(), name, 1..EPOCHS);
    }
    let registrations = (0..registrations).map(|index| {
        let providers = [VOTERS[index % VOTERS.len()]];
        let wish = Wish { holder: HOLDER, sat: STAKE_SAT, providers: &providers, lock: LOCK };
        Message::Stake(Box::new(world.registration(&wish)))
    });
    let registrations = registrations.collect();
    let prepared = prepare(&mut world);
    // The first set votes in epoch 1.
    world.finalise_until(&VOTERS, EPOCH_LENGTH + 5 * VOTED_EVERY);
    assert!(world.ledger.chains()[0].last_final().is_some_and(|(height, _)| height > Height(EPOCH_LENGTH)));
    (Scene { world, registrations }, prepared)
}
