//! A hub that ends in the middle of a block, and what it is when it starts again.

use palisade_hub::ledger::Ledger;
use palisade_hub::replica::Replica;
use palisade_world::World;
use proptest::sample::Index;

/// Ends a hub in each of these places of a world's log, a block and a message in it: what it finds on its disk gives the state
/// of one that nothing disturbed, and so do all blocks after that.
pub fn check_crashes(world: &World, crashes: &[(Index, Index)]) {
    if crashes.is_empty() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let genesis = world.ledger.genesis();
    let open = || Replica::open(dir.path(), genesis.clone()).unwrap();
    let (mut undisturbed, mut hub) = (Ledger::new(genesis.clone()), open());
    for (place, block) in world.log.iter().enumerate() {
        for (_, message) in crashes.iter().filter(|(at, _)| at.index(world.log.len()) == place) {
            let (mut ledger, store) = hub.into_parts();
            let begun = message.index(block.messages.len() + 1);
            for message in &block.messages[..begun] {
                ledger.apply(message).unwrap();
            }
            drop((ledger, store));
            hub = open();
            assert_eq!(hub.ledger().tree().root(), undisturbed.tree().root(), "before block {place}");
        }
        undisturbed.replay(block).unwrap();
        hub.take(block).unwrap();
        assert_eq!(hub.ledger().tree().root(), undisturbed.tree().root(), "after block {place}");
    }
}
