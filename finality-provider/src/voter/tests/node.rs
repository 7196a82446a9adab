//! An operator whose hub and whose own Bitcoin node do not say the same: no vote, until they do.

use super::network::{self, Network, Running};
use super::*;
use crate::voter::judge::{NotJudged, deep_height};
use palisade_hub::ledger::state::StakeState;
use palisade_protocol::message::{Message, OutputSpent};
use palisade_protocol::stake::StakeId;
use palisade_protocol::units::BtcHeight;
use palisade_world::{Wish, World, unbonding};

/// Hub blocks in which a voter that votes would have voted twice at least.
const A_WHILE: u64 = 15;
const LEAVING: &str = "the one who leaves";

/// A world with a second stake, which is not needed for chain zero to go on.
fn two_stakes() -> (World, StakeId) {
    let mut world = network::world();
    let wish = Wish { holder: LEAVING, sat: 400_000, providers: &["anna", "dev anna"], lock: 2_000 };
    let stake = world.active_stake(&wish);
    world.close();
    (world, stake)
}

/// A voter at work in such a world, its node and its hub agreed.
async fn agreed(world: &World) -> (Network, Running) {
    let network = Network::of(world).await;
    let voter = network.voter().await;
    voter.until("blocks are final", |status| status.chains[0].votes >= 2).await;
    (network, voter)
}

fn votes(status: &Status) -> Vec<u64> {
    status.chains.iter().map(|chain| chain.votes).collect()
}

/// The voter knows as much of the hub's Bitcoin as the world, and votes.
async fn votes_go_on(voter: &Running, world: &World) {
    let height = BtcHeight(world.btc_height());
    voter.until("the headers come", |_| voter.voter.with_ledger(Ledger::btc_height) == height).await;
    let before = voter.status().await.chains[0].votes;
    let goes_on = |status: &Status| status.chains[0].votes >= before + 2 && status.not_judged.is_none();
    voter.until("votes go on", goes_on).await;
    voter.until("all is well", |_| !voter.health().contains("degraded")).await;
}

/// Chain zero gets no vote while the hub makes some blocks more.
async fn no_vote_for_a_while(voter: &Running) {
    let before = voter.status().await;
    let later = before.height.unwrap().plus(A_WHILE);
    voter.until("the hub goes on", |status| status.height >= Some(later)).await;
    assert_eq!(voter.status().await.chains[0].votes, before.chains[0].votes);
}

/// The voter says this of the newest header, wherever it is asked, and does not vote.
async fn is_not_judged(voter: &Running, why: NotJudged) {
    let words = why.to_string();
    let says = |status: &Status| {
        status.not_judged.as_ref() == Some(&words) && status.chains[0].waiting.as_ref() == Some(&words)
    };
    voter.until(&words, says).await;
    assert!(voter.health().contains(&words), "{}", voter.health());
    no_vote_for_a_while(voter).await;
    let status = voter.status().await;
    assert!(says(&status), "{status}");
    assert!(status.refusals.is_empty(), "the hub's blocks reproduce");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spend_that_the_hub_keeps_back_stops_votes_from_depth_k_on_until_it_is_told() {
    let (mut world, id) = two_stakes();
    let (network, voter) = agreed(&world).await;
    let stake = world.stake(&id).clone();
    let (outpoint, unbonding) = (stake.contract.coin.outpoint, unbonding(&stake, LEAVING));
    world.mempool.push(unbonding.clone());
    world.mine(stake.k);
    network.node.follow(&world).await.unwrap();
    network.tell(&mut world).await;
    votes_go_on(&voter, &world).await;

    world.mine(1);
    network.node.follow(&world).await.unwrap();
    network.tell(&mut world).await;
    is_not_judged(&voter, NotJudged::MissingSpend(outpoint)).await;

    let spent = OutputSpent { stake: id, outpoint, proof: world.proof(&unbonding) };
    world.send(&Message::Spent(spent)).unwrap();
    network.tell(&mut world).await;
    votes_go_on(&voter, &world).await;
    let state = network.hub.ledger().stakes().find(&id).unwrap().1.state;
    assert_eq!(state, StakeState::Unbonding);
    voter.stop().await;
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_on_a_branch_that_is_not_the_own_nodes_best_gets_no_vote_and_a_lost_branchs_spend_is_forgotten()
{
    let (mut world, id) = two_stakes();
    let (network, voter) = agreed(&world).await;
    let stake = world.stake(&id).clone();
    // The node's branch holds a spend, right at the depth at which facts count.
    let mut rival = world.clone();
    rival.reorg(stake.k, &[unbonding(&stake, LEAVING)]).unwrap();
    network.node.follow(&rival).await.unwrap();
    world.reorg(stake.k, &[]).unwrap();
    network.tell(&mut world).await;
    let height = deep_height(&world.ledger);
    let other = |world: &World| NotJudged::OtherBitcoin {
        height,
        hub: world.block_hash(height.0),
        own: rival.block_hash(height.0),
    };
    is_not_judged(&voter, other(&world)).await;

    // The node has the hub's branch, too, and holds to its own.
    for block in &world.chain[height.0 as usize..] {
        network.node.rpc().submit_block(block).await.unwrap();
    }
    assert_eq!(network.node.rpc().tip().await.unwrap().hash, rival.block_hash(rival.btc_height()));
    is_not_judged(&voter, other(&world)).await;

    world.mine(1);
    network.node.follow(&world).await.unwrap();
    network.tell(&mut world).await;
    votes_go_on(&voter, &world).await;
    assert!(network.hub.ledger().breaker().is_none(), "k blocks change nothing");
    voter.stop().await;
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_is_behind_or_away_gets_no_vote_cast_and_when_it_is_back_votes_go_on() {
    let mut world = network::world();
    let (mut network, voter) = agreed(&world).await;
    let tip = BtcHeight(world.btc_height());
    let k = world.ledger.params_at(tip).1.k();
    world.mine(k + 3);
    network.tell(&mut world).await;
    is_not_judged(&voter, NotJudged::NodeBehind(tip.plus(3))).await;
    network.node.follow(&world).await.unwrap();
    votes_go_on(&voter, &world).await;

    network.node.stop().await.unwrap();
    let url = network.node.rpc_url();
    let away = |status: &Status| {
        status.chains.iter().all(|chain| chain.waiting.as_ref().is_some_and(|why| why.contains(&url)))
    };
    voter.until("the node is away", away).await;
    assert!(voter.health().contains(&url), "{}", voter.health());
    let before = votes(&voter.status().await);
    no_vote_for_a_while(&voter).await;
    assert_eq!(votes(&voter.status().await), before, "on no chain");
    network.node.restart().await.unwrap();
    votes_go_on(&voter, &world).await;
    voter.stop().await;
    network.stop().await;
}
