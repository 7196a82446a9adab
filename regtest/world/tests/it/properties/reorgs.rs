//! Reorganisations of each depth at each moment of a stake's life, without sets and with them.

use palisade_protocol::hash::Hash32;
use palisade_world::player::model::K;
use palisade_world::player::{Act, Player};

/// What happens to the next stake, which is of this number, told by the acts that lead there.
fn moments(stake: usize) -> Vec<(&'static str, Vec<Act>)> {
    let registered = [Act::Register { choice: 3, lock: 0, confirmed: false }, Act::Quorum { stake }];
    let broadcast = |stake| Act::Broadcast { stake, told: true };
    let spend = |how| Act::Spend { stake, how, told: true };
    let staked = || [registered.to_vec(), vec![broadcast(stake)]].concat();
    let then = |acts: &[Act]| [staked(), vec![Act::Mine { blocks: K }], acts.to_vec()].concat();
    let expand = Act::Expand { stake, choice: 1, signed: true };
    let expanded = broadcast(stake + 1);
    let leak = Act::Leak { name: 0 };
    vec![
        ("a stake comes", staked()),
        ("a stake comes that is registered afterwards", {
            let confirmed = Act::Register { choice: 3, lock: 0, confirmed: true };
            vec![confirmed, Act::Quorum { stake }]
        }),
        ("a stake has power", then(&[])),
        ("the key of an active stake is out", then(std::slice::from_ref(&leak))),
        ("an early exit", then(&[spend(0)])),
        ("an early exit whose wait is over", then(&[spend(0), Act::Mine { blocks: 250 }])),
        ("an early exit is withdrawn", then(&[spend(0), Act::Mine { blocks: 250 }, spend(4)])),
        ("a slashing", then(&[leak.clone(), spend(2)])),
        ("a slashing of an early exit", then(&[spend(0), leak, spend(5)])),
        ("an expansion", then(&[expand.clone(), expanded.clone()])),
        ("an expansion has power", then(&[expand, expanded, Act::Mine { blocks: K }])),
        ("a key gets out that the stake names no more", super::forgotten(stake).to_vec()),
        ("a lock is over", then(&[Act::Mine { blocks: 60 }])),
        ("a withdrawal", then(&[Act::Mine { blocks: 300 }, spend(3)])),
        ("a breach", then(&[spend(6)])),
    ]
}

/// What follows a reorganisation: what is on the new branch is told, what is not comes again, and all of it gets deep.
fn go_on(player: &mut Player, stake: usize) {
    player.play(&Act::TellAll);
    player.play(&Act::Mine { blocks: 1 });
    player.play(&Act::Broadcast { stake, told: true });
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
    let moments = moments(0);
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
                    go_on(&mut player, 0);
                }
            }
        }
    }
    assert_eq!((tripped, unharmed), (moments.len() as u32 * 4 * 10, moments.len() as u32 * 4 * K));
}

/// Stakes that nothing happens to, so that sets stand whatever becomes of the next one.
const BASE: [Act; 3] = [Act::Stake { choice: 4 }, Act::Stake { choice: 2 }, Act::Stake { choice: 1 }];

/// Moments in a world with sets of both chains, the newest of which has the stake's power of that moment.
fn moments_with_sets() -> Vec<(&'static str, Vec<Act>)> {
    let stake = BASE.len();
    let epoch = Act::Close { blocks: 20 };
    let begin = [&BASE[..], &[Act::Close { blocks: 21 }, Act::Certify { blocks: 1 }]].concat();
    let staked = Act::Stake { choice: 3 };
    let anchored =
        |mined: &[Act]| [&[staked.clone(), epoch.clone(), Act::Anchor { told: true }], mined].concat();
    let leave = |blocks| {
        vec![staked.clone(), Act::Spend { stake, how: 0, told: false }, Act::Mine { blocks }, Act::TellAll]
    };
    let more = [
        ("an anchor is told", anchored(&[])),
        ("an anchor is told as deep as may be lost", anchored(&[Act::Mine { blocks: K - 1 }])),
        ("an anchor is k deep", anchored(&[Act::Mine { blocks: K }])),
        ("an exit is told when it is k deep", leave(K)),
        ("headers of 40 blocks come late, and with them an exit", leave(40)),
    ];
    let all = moments(stake).into_iter().chain(more);
    all.map(|(name, acts)| (name, [&begin, &acts[..], std::slice::from_ref(&epoch)].concat())).collect()
}

fn sets(player: &Player) -> Vec<Vec<Hash32>> {
    let chains = player.world.ledger.chains().iter();
    chains.map(|chain| chain.sets.values().map(|fixed| fixed.set.hash()).collect()).collect()
}

/// The player compares each set with the power of its moment, and what is recorded of anchors with the best chain.
#[test]
fn sets_and_anchors_are_what_the_facts_say_after_a_reorganisation_of_each_depth_at_each_moment() {
    for (name, acts) in &moments_with_sets() {
        let mut before = Player::with_sets();
        acts.iter().for_each(|act| before.play(act));
        let fixed = sets(&before);
        assert!(fixed.iter().all(|sets| !sets.is_empty()), "{name}");
        let tripped = before.model.tripped;
        for depth in 1..=K + 10 {
            // Everything comes again, nothing does, or nothing does and the other branch is long when it is told.
            for (keep, more) in [(0, 0), (2, 0), (2, 40)] {
                let mut player = before.clone();
                player.play(&Act::Overtake { depth, keep, more });
                assert_eq!(player.model.tripped, tripped || depth > K, "{name}, {depth} blocks");
                // While the breaker is tripped sets are carried over, and when it is not they follow the power.
                player.play(&Act::Close { blocks: 20 });
                player.play(&Act::Certify { blocks: 1 });
                go_on(&mut player, BASE.len());
                player.play(&Act::Close { blocks: 20 });
                player.play(&Act::Certify { blocks: 1 });
                let now = sets(&player);
                assert!(now.iter().zip(&fixed).all(|(now, fixed)| now.starts_with(fixed)), "{name}");
                assert_eq!(now[0].len(), fixed[0].len() + 2, "{name}");
            }
        }
    }
}
