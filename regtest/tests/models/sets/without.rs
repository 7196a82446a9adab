//! What variants do that a check would refuse, on a real ledger.

use super::world::{NAMES, TERMS};
use super::{Check, Sets, State};
use bitcoin::Amount;
use palisade_hub::ledger::stake::Stake;
use palisade_hub::ledger::state::StakeState;
use palisade_protocol::context::ChainId;
use palisade_protocol::finality::commitment::{self, Commitment};
use palisade_protocol::governance::{AcceptedPower, Action, Resume};
use palisade_protocol::hash::sha256;
use palisade_protocol::message::Message;
use palisade_protocol::units::{Epoch, Height};
use palisade_world::{Wish, World, provider_key, schnorr};

/// A chain whose next set has nobody, so that it waits for governance, again at each block: governance can then accept power for
/// chain zero in every block, whose sets are held against nothing.
pub(super) fn pause_another_chain(world: &mut World) {
    let chain: ChainId = "demo".parse().expect("a name");
    world.register_chain(&chain, TERMS);
    world.register_provider(&chain, "emil");
    world.active_stake(&Wish { holder: "alice", sat: 10_000, providers: &[NAMES[0], "emil"], lock: 2_000 });
    world.commit(&chain, "emil", 0..1);
    world.close();
    let certificate = world.certificate(&chain, &["emil"], Height(0), sha256(&[b"a block"]));
    world.send(&certificate).expect("a good certificate");
    world.close();
    assert!(world.ledger.chain(&chain).is_some_and(|chain| chain.paused));
}

impl Sets {
    /// Before anybody votes.
    pub(super) fn go_without(&self, next: &mut State, world: &mut World) {
        match self.without {
            Some(Check::TwoThirds) if world.ledger.breaker().is_none() => {
                let accepted = vec![AcceptedPower { chain: ChainId::zero(), power: Amount::ONE_SAT }];
                // Refused where the other chain does not wait any more.
                drop(world.govern(Action::Resume(Resume { accepted })));
            }
            Some(Check::HeldPower) => next.given = std::array::from_fn(|place| held(next, world, place)),
            Some(Check::Root) => (0..NAMES.len()).for_each(|place| take_for_committed(next, world, place)),
            _ => {}
        }
    }
}

/// What stakes would give a provider that are only held because the breaker has been tripped for a block.
fn held(before: &State, world: &World, place: usize) -> u64 {
    let (ledger, key) = (&world.ledger, provider_key(NAMES[place]));
    if !before.is_tripped() || ledger.breaker().is_none() {
        return 0;
    }
    let tip = ledger.btc_height();
    let is_held = |stake: &&Stake| {
        let is_deep = stake.deep_at().is_some_and(|deep| deep <= tip);
        stake.state == StakeState::Verified && !stake.activated && is_deep && stake.providers.contains(&key)
    };
    ledger.stakes().iter().filter(is_held).map(|stake| stake.contract.coin.value.to_sat()).sum()
}

/// Who has sent no nonces for the next epoch without a set gets a root there that nobody has nonces under.
fn take_for_committed(next: &mut State, world: &mut World, place: usize) {
    let epoch: Epoch = world.ledger.first_open_epoch(&ChainId::zero());
    let key = provider_key(NAMES[place]);
    let provider = world.ledger.providers().get(&key).expect("registered");
    if provider.roots.contains_key(&epoch) || provider.exposed_at.is_some() {
        return;
    }
    let root = sha256(&[b"no nonces", NAMES[place].as_bytes(), &epoch.0.to_be_bytes()]);
    let context = world.ledger.chains()[0].commitment;
    let signature = schnorr(NAMES[place], &commitment::message(&context, epoch, &root));
    let commitment = Commitment { key, epoch, root, signature };
    world.send(&Message::Commitment(commitment)).expect("a good commitment");
    next.without_nonces.insert((place, epoch));
}
