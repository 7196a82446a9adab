use super::*;
use palisade_protocol::context::Terms;
use palisade_protocol::governance::{Action, NewChain};
use palisade_protocol::units::Epoch;
use palisade_world::{Wish, World, provider_key};

fn own(world: &World, chain: &ChainId, name: &str) -> ChainKey {
    let known = world.ledger.chain(chain).unwrap();
    ChainKey {
        chain: chain.clone(),
        key: provider_key(name),
        vote: known.vote,
        epoch_length: known.terms.epoch_length,
        voted_every: known.terms.voted_every,
        last: None,
    }
}

#[test]
fn epochs_of_chain_zero_are_committed_from_the_first_without_a_set() {
    let mut world = World::new(100_000);
    world.mine(1);
    let zero = ChainId::zero();
    assert_eq!(wanted_epochs(&world.ledger, &own(&world, &zero, "anna"), None, 8), None, "not registered");
    world.register_provider(&zero, "anna");
    let anna = own(&world, &zero, "anna");
    assert_eq!(wanted_epochs(&world.ledger, &anna, None, 8), Some(1..9));
    world.active_stake(&Wish { holder: "holder", sat: 100_000, providers: &["anna"], lock: 2_000 });
    world.commit(&zero, "anna", 1..4);
    world.close_until(21);
    // S(2) was fixed at height 20.
    assert_eq!(wanted_epochs(&world.ledger, &anna, None, 8), Some(3..11));
}

#[test]
fn a_chain_that_has_not_opened_is_committed_to_from_where_its_own_tip_is() {
    let mut world = World::new(100_000);
    world.mine(1);
    let dev: ChainId = "dev".parse().unwrap();
    let terms = Terms { epoch_length: 50, voted_every: 5, minimum_power_sat: 100_000 };
    let chain = NewChain { id: dev.clone(), genesis: Hash32([5; 32]), terms, first_epoch: Epoch(0) };
    world.govern(Action::RegisterChain(chain)).unwrap();
    world.register_provider(&dev, "dev anna");
    let anna = own(&world, &dev, "dev anna");
    assert_eq!(wanted_epochs(&world.ledger, &anna, None, 8), None, "nobody knows where it is");
    assert_eq!(wanted_epochs(&world.ledger, &anna, Some(Height(149)), 8), Some(3..11));
    // A source that lies leads no further than the hub's own time allows.
    assert_eq!(wanted_epochs(&world.ledger, &anna, Some(Height(50 * 60)), 8), Some(61..65));
    let far = wanted_epochs(&world.ledger, &anna, Some(Height(u64::MAX)), 8).unwrap();
    assert!(far.is_empty(), "{far:?}");
}

#[test]
fn only_the_same_root_is_committed() {
    let mut world = World::new(100_000);
    world.mine(1);
    world.register_provider(&ChainId::zero(), "anna");
    let Message::Commitment(commitment) = world.commitment(&ChainId::zero(), "anna", Epoch(2)) else {
        panic!("a commitment")
    };
    assert!(!is_committed(&world.ledger, &commitment));
    world.commit(&ChainId::zero(), "anna", 2..3);
    assert!(is_committed(&world.ledger, &commitment));
    let other = Commitment { root: Hash32([9; 32]), ..commitment };
    assert!(!is_committed(&world.ledger, &other), "a root of a lost record must be replaced");
}
