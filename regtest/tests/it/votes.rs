//! Votes that a hub keeps.

use palisade_hub::store::Store;
use palisade_protocol::context::ChainId;
use palisade_protocol::hash::Hash32;
use palisade_protocol::units::Height;
use palisade_regtest::world::World;

#[test]
fn whoever_has_a_key_that_is_out_can_make_a_hub_keep_no_more_than_two_votes_at_a_height() {
    let mut world = World::new(1_000_000);
    world.mine(1);
    for name in ["anna", "bert"] {
        world.register_provider(&ChainId::zero(), name);
        world.commit(&ChainId::zero(), name, 1..4);
    }
    let vote = |name, height, block| world.vote(&ChainId::zero(), name, Height(height), Hash32([block; 32]));
    let flood: Vec<_> = (1..50).map(|block| vote("anna", 25, block)).collect();
    let others = [vote("anna", 30, 1), vote("bert", 25, 1)];
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("log.sqlite")).unwrap();
    // All at once, and one after the other.
    store.keep_votes(&flood[..25]).unwrap();
    flood[20..].iter().for_each(|vote| store.keep_votes([vote]).unwrap());
    store.keep_votes(&others).unwrap();
    store.keep_votes(&others).unwrap();
    let context = others[0].ballot.context;
    let kept = store.votes(&context, Height(0), 500).unwrap();
    let count = |name, height| {
        let key = vote(name, height, 1).key;
        kept.iter().filter(|vote| vote.key == key && vote.ballot.height == Height(height)).count()
    };
    assert_eq!((count("anna", 25), count("anna", 30), count("bert", 25), kept.len()), (2, 1, 1, 4));
    let [(first, second)] = store.double_votes().unwrap().try_into().unwrap();
    assert!(first != second && flood.contains(&first) && flood.contains(&second));
}
