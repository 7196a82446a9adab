//! Every depth from one block to ten more than k, over all that can happen to stakes.

use super::{Scene, witness};
use crate::views::serves;
use palisade_regtest::in_time;
use palisade_world::player::model::K;
use palisade_world::player::{Act, Player};
use serde_json::{Value, json};
use std::time::Duration;

/// Stakes in the order of their registration, and what happens to each.
const LEAVES: usize = 0;
const EXPANDED: usize = 1;
const EXPANSION: usize = 2;
const COMES: usize = 3;
const SLASHED: usize = 4;
const SLASHED_AFTER_EXIT: usize = 5;
const STAYS: usize = 6;

/// Places in the lists of providers, and of choices among them.
const ANNA: usize = 0;
const BERT: usize = 1;
const CARL: usize = 2;

/// A log with everything in it that is agreed on beforehand. What happens on Bitcoin is left to the story.
fn prepared() -> Player {
    let mut player = Player::without_sets();
    player.signs = Some(witness::complete);
    let acts = [
        Act::Stake { choice: ANNA },
        Act::Stake { choice: ANNA },
        Act::Expand { stake: EXPANDED, choice: BERT, signed: true },
        Act::Register { choice: BERT, lock: 2, confirmed: false },
        Act::Quorum { stake: COMES },
        Act::Stake { choice: CARL },
        Act::Stake { choice: CARL },
        Act::Stake { choice: ANNA },
        Act::Leak { name: CARL },
    ];
    acts.iter().for_each(|act| player.play(act));
    player.world.close();
    player
}

/// Depths before which the hub is looked at after every block.
const LOOKED_AT: [u32; 2] = [2, K + 2];

/// All that can happen and has not, a block each. The hub shows it after the last block, and before some depths after each.
async fn everything_happens(scene: &mut Scene, player: &mut Player, depth: u32, when: &str) {
    let told = true;
    let begun = [LEAVES, EXPANDED, COMES, SLASHED, SLASHED_AFTER_EXIT, STAYS];
    let acts = begun.map(|stake| Act::Broadcast { stake, told }).into_iter().chain([
        Act::Spend { stake: LEAVES, how: 0, told },
        Act::Spend { stake: SLASHED_AFTER_EXIT, how: 0, told },
        Act::Broadcast { stake: EXPANSION, told },
        Act::Spend { stake: SLASHED, how: 2, told },
        Act::Spend { stake: SLASHED_AFTER_EXIT, how: 5, told },
    ]);
    for act in acts {
        player.play(&act);
        if LOOKED_AT.contains(&depth) {
            agree(scene, player, &format!("{when}, after {act:?}")).await;
        }
    }
    agree(scene, player, when).await;
}

/// What the hub shows of states, of power, and of the breaker.
async fn shown(scene: &Scene) -> Value {
    let (stakes, providers) = (scene.view("stakes").await, scene.view("providers").await);
    let list = |view: &Value, field: &str| -> Vec<Value> {
        view.as_array().unwrap().iter().map(|one| one[field].clone()).collect()
    };
    let tripped = scene.view("status").await["breaker"].is_string();
    json!([list(&stakes["stakes"], "state"), list(&providers["providers"], "sat"), tripped])
}

/// What follows from the facts.
fn wanted(player: &Player) -> Value {
    let power = player.model.power();
    let of = |key| power.get(key).copied().unwrap_or(0);
    let providers: Vec<u64> =
        player.world.ledger.providers().iter().map(|provider| of(&provider.key)).collect();
    let states: Vec<_> = player.model.stakes.iter().map(|stake| stake.now.state).collect();
    json!([states, providers, player.model.tripped])
}

/// Hands the player's blocks to the node; the shipped reporter tells the shipped hub, until that shows what it should.
async fn agree(scene: &mut Scene, player: &Player, what: &str) {
    scene.world.chain.clone_from(&player.world.chain);
    scene.follow().await;
    let (wanted, mut last) = (wanted(player), Value::Null);
    let mut ticks = tokio::time::interval(Duration::from_millis(20));
    let wait = async {
        while last != wanted {
            ticks.tick().await;
            last = shown(scene).await;
            scene.report.check().unwrap();
        }
    };
    in_time(&format!("{what}: {wanted}"), wait).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_reorganisations_of_each_depth_the_shipped_hub_shows_the_power_that_follows_from_bitcoin() {
    let mut player = prepared();
    let mut scene = Scene::start(player.world.clone()).await;
    for depth in 1..=K + 10 {
        everything_happens(&mut scene, &mut player, depth, &format!("before {depth} blocks go")).await;
        // By turns everything comes again at once, and nothing.
        player.play(&Act::Reorg { depth, keep: if depth % 2 == 0 { 0 } else { 2 } });
        player.play(&Act::TellAll);
        agree(&mut scene, &player, &format!("{depth} blocks went")).await;
        assert_eq!(player.model.tripped, depth > K);
        if !player.model.tripped {
            continue;
        }
        let why = scene.view("status").await["breaker"].as_str().unwrap().to_owned();
        assert!(why.contains(&format!("{depth} blocks")), "{why}");
        let metrics = serves(&scene.hub.at("hub.address"), "metrics").await;
        for (why, tripped) in [("rollback", 1), ("set", 0)] {
            let line = format!("\npalisade_breaker_tripped{{why=\"{why}\"}} {tripped}\n");
            assert!(metrics.contains(&line), "{metrics}");
        }
        // Exits and slashings go on, and nobody gains power.
        let when = format!("while the breaker is tripped by {depth} blocks");
        everything_happens(&mut scene, &mut player, depth, &when).await;
        player.play(&Act::Resume { accept: 1 });
        scene.resume("zero=1").await;
        agree(&mut scene, &player, "governance has resumed").await;
    }
}
