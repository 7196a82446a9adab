//! Reorganisations of each depth at each moment of a stake's life.

use palisade_world::player::model::K;
use palisade_world::player::{Act, Player};

/// What happens to the first stake, told by the acts that lead there.
fn moments() -> Vec<(&'static str, Vec<Act>)> {
    let registered = [Act::Register { choice: 3, lock: 0, confirmed: false }, Act::Quorum { stake: 0 }];
    let broadcast = |stake| Act::Broadcast { stake, told: true };
    let spend = |how| Act::Spend { stake: 0, how, told: true };
    let staked = || [registered.to_vec(), vec![broadcast(0)]].concat();
    let then = |acts: &[Act]| [staked(), vec![Act::Mine { blocks: K }], acts.to_vec()].concat();
    let expand = Act::Expand { stake: 0, choice: 1, signed: true };
    let leak = Act::Leak { name: 0 };
    vec![
        ("a stake comes", staked()),
        ("a stake comes that is registered afterwards", {
            let confirmed = Act::Register { choice: 3, lock: 0, confirmed: true };
            vec![confirmed, Act::Quorum { stake: 0 }]
        }),
        ("a stake has power", then(&[])),
        ("the key of an active stake is out", then(std::slice::from_ref(&leak))),
        ("an early exit", then(&[spend(0)])),
        ("an early exit whose wait is over", then(&[spend(0), Act::Mine { blocks: 150 }])),
        ("an early exit is withdrawn", then(&[spend(0), Act::Mine { blocks: 150 }, spend(4)])),
        ("a slashing", then(&[leak.clone(), spend(2)])),
        ("a slashing of an early exit", then(&[spend(0), leak, spend(5)])),
        ("an expansion", then(&[expand.clone(), broadcast(1)])),
        ("an expansion has power", then(&[expand, broadcast(1), Act::Mine { blocks: K }])),
        ("a lock is over", then(&[Act::Mine { blocks: 60 }])),
        ("a withdrawal", then(&[Act::Mine { blocks: 200 }, spend(3)])),
        ("a breach", then(&[spend(6)])),
    ]
}

/// What follows a reorganisation: what is on the new branch is told, what is not comes again, and all of it gets deep.
fn go_on(player: &mut Player) {
    player.play(&Act::TellAll);
    player.play(&Act::Mine { blocks: 1 });
    player.play(&Act::Broadcast { stake: 0, told: true });
    for _ in 0..=K {
        player.play(&Act::Mine { blocks: 1 });
    }
    player.play(&Act::TellAll);
    if player.model.tripped {
        player.play(&Act::Resume { accept: 2 });
        player.play(&Act::Mine { blocks: K });
    }
    assert!(!player.model.tripped);
}

/// The player compares states, power and breaker with the naive model after every message.
#[test]
fn power_is_what_the_facts_say_after_a_reorganisation_of_each_depth_at_each_moment() {
    let moments = moments();
    let (mut tripped, mut unharmed) = (0, 0);
    for (name, acts) in &moments {
        let mut before = Player::without_sets();
        // Blocks that may go.
        before.play(&Act::Mine { blocks: K + 10 });
        acts.iter().for_each(|act| before.play(act));
        for age in [0, K - 1] {
            for depth in 1..=K + 10 {
                // Everything comes again in the first block of the other branch, or nothing does.
                for keep in [0, 2] {
                    let mut player = before.clone();
                    (0..age).for_each(|_| player.play(&Act::Mine { blocks: 1 }));
                    player.play(&Act::Reorg { depth, keep });
                    assert_eq!(player.model.tripped, depth > K, "{name}, {depth} blocks");
                    if depth > K {
                        tripped += 1
                    } else {
                        unharmed += 1
                    }
                    go_on(&mut player);
                }
            }
        }
    }
    assert_eq!((tripped, unharmed), (moments.len() as u32 * 4 * 10, moments.len() as u32 * 4 * K));
}
