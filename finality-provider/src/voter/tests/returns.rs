//! An operator that was away too long, or whose signer lost its record: while others with a quorum go on, it comes back by itself.

use super::network::{self, Network, Running};
use super::*;
use palisade_protocol::message::Message;
use palisade_world::{Wish, World, provider_key};

/// Hub blocks in an epoch of chain zero.
const EPOCH: u64 = 20;

/// Otto has four times the power of anna.
fn world() -> World {
    let mut world = network::world();
    world.register_provider(&ChainId::zero(), "otto");
    let wish = Wish { holder: "olga", sat: 2_000_000, providers: &["otto"], lock: 2_000 };
    world.active_stake(&wish);
    world.close();
    world
}

/// How many epochs of chain zero anna has committed nonces for.
fn committed(network: &Network) -> usize {
    network.hub.ledger().providers().get(&provider_key("anna")).unwrap().roots.len()
}

/// The root that a set of chain zero names for anna.
fn root_in(network: &Network, epoch: Epoch) -> Option<Hash32> {
    let ledger = network.hub.ledger();
    let set = &ledger.chains()[0].sets.get(&epoch)?.set;
    Some(set.find(&provider_key("anna"))?.1.nonce_root)
}

/// The first hub block from a height on that holds a commitment of anna's.
fn commits_at(network: &Network, from: Height) -> Option<Height> {
    let blocks = network.hub.store().blocks(from, u32::MAX).unwrap();
    let is_annas = |message: Message| match message {
        Message::Commitment(own) => own.key == provider_key("anna"),
        _ => false,
    };
    let holds = |block: &&Block| block.messages.iter().any(|own| is_annas(own.decode().unwrap()));
    blocks.iter().find(holds).map(|block| block.header.height)
}

/// Anna's first commitment from a height on puts her into a set two epochs later at most, under her signer's root, and she votes.
async fn is_back(network: &Network, voter: &Running, from: Height) {
    voter.until("nonces are committed again", |_| commits_at(network, from).is_some()).await;
    let at = commits_at(network, from).unwrap().0 / EPOCH;
    let latest = Epoch(at + 2);
    voter.until("the set of two epochs later is fixed", |_| network.newest_zero_epoch() >= latest).await;
    let named = [at + 1, at + 2].map(Epoch).map(|epoch| (epoch, root_in(network, epoch)));
    let own = network.signers_root(latest).await;
    assert_eq!(named[1].1, Some(own), "the set of epoch {latest} has no place for it: {named:?}");
    let first = Height(latest.0 * EPOCH);
    let votes = |status: &Status| status.chains[0].last_vote >= Some(first);
    voter.until("it votes under the new nonces", votes).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_operator_that_was_away_longer_than_its_nonces_reach_is_in_a_set_again_within_two_epochs() {
    const AHEAD: u64 = 3;
    let network = Network::of(&world()).await;
    let otto = network.another("otto");
    let voter = network.voter_ahead(AHEAD);
    voter.until("it votes", |status| status.chains[0].votes >= 2).await;
    voter.stop().await;
    let last = network.newest_zero_epoch().0 + AHEAD;
    let is_used_up = |_: &Status| network.newest_zero_epoch().0 > last + 1 && committed(&network) == 0;
    otto.until("all of its nonces are used up", is_used_up).await;
    let newest = network.newest_zero_epoch();
    assert_eq!(root_in(&network, newest), None, "the chain goes on without it");

    // Until its new nonces are in the log it says that it has none, and stays up.
    network.is_deaf(true);
    let from = network.hub.ledger().next_height();
    let voter = network.voter_ahead(AHEAD);
    voter.until("it says so", |_| voter.health().contains("nonces: none are committed ahead for zero")).await;
    network.is_deaf(false);
    is_back(&network, &voter, from).await;
    voter.until("it is well again", |_| !voter.health().contains("nonces")).await;

    // Its record is lost: the same happens, and nobody does anything.
    let (record, from) = (network.record_id().await, network.hub.ledger().next_height());
    network.lose_record().await;
    assert_ne!(network.record_id().await, record);
    // Chain dev needs it, and waits until its set has expired.
    let rings = || voter.health().contains("chain zero: those in the log for epochs");
    voter.until("it says so", |_| rings()).await;
    is_back(&network, &voter, from.next()).await;
    voter.until("it is well after that", |_| !rings()).await;
    voter.stop().await;
    otto.stop().await;
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_signers_of_one_key_expose_it_never_and_the_one_whose_nonces_are_replaced_says_that_there_is_another()
 {
    let network = Network::of(&world()).await;
    let otto = network.another("otto");
    let voter = network.voter().await;
    voter.until("it votes", |status| status.chains[0].votes >= 2).await;
    let rival = network.another("anna");
    voter.until("it says so", |_| voter.health().contains("another signer has this key")).await;
    let epoch = network.newest_zero_epoch().0 + 3;
    otto.until("epochs go by", |_| network.newest_zero_epoch().0 >= epoch).await;
    assert!(voter.health().contains("another signer has this key"), "{}", voter.health());
    assert!(!network.hub.ledger().providers().is_exposed(&provider_key("anna")));
    for voter in [rival, voter, otto] {
        voter.stop().await;
    }
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_whose_signer_is_suddenly_another_providers_votes_on_nothing_and_says_whose_key_it_has() {
    let network = Network::of(&world()).await;
    let otto = network.another("otto");
    let voter = network.voter().await;
    voter.until("it votes", |status| status.chains[0].votes >= 2).await;
    voter.stop().await;
    let voter = network.voter_with_signer_of("otto");
    let [theirs, ours] = ["otto", "anna"].map(provider_key);
    let alarm =
        format!("keys: chain zero: the signer has the key {theirs}, and this voter has voted with {ours}");
    voter.until("it says so", |_| voter.health().contains(&alarm)).await;
    let newest = voter.voter.journal.newest_vote(&ChainId::zero()).unwrap().unwrap();
    let epoch = network.newest_zero_epoch().0 + 2;
    otto.until("epochs go by", |_| network.newest_zero_epoch().0 >= epoch).await;
    assert_eq!(voter.voter.journal.newest_vote(&ChainId::zero()).unwrap(), Some(newest));
    assert!(voter.health().contains(&alarm), "{}", voter.health());
    voter.stop().await;

    // Its own signer again: nothing was lost.
    let voter = network.voter().await;
    voter.until("it is well again", |_| !voter.health().contains("keys: ")).await;
    let first = Height(network.newest_zero_epoch().0 * EPOCH);
    voter.until("it votes again", |status| status.chains[0].last_vote >= Some(first)).await;
    for voter in [voter, otto] {
        voter.stop().await;
    }
    network.stop().await;
}

/// A quorum needs anna and otto.
fn world_of_two() -> World {
    let mut world = network::world();
    world.register_provider(&ChainId::zero(), "otto");
    world.active_stake(&Wish { holder: "olga", sat: 500_000, providers: &["otto"], lock: 2_000 });
    world.close();
    world
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_whose_disk_was_rolled_back_votes_on_nothing_until_it_has_a_new_record() {
    let network = Network::of(&world_of_two()).await;
    let otto = network.another("otto");
    let voter = network.voter().await;
    voter.until("it votes", |status| status.chains[0].votes >= 2).await;
    voter.stop().await;
    let last = network.last_vote().await;
    let awaited = || network.hub.ledger().chains()[0].awaited().unwrap();
    otto.until("the height above its last vote is waited for", |_| Some(awaited()) > last).await;
    // It has voted there, and then its disk was put back.
    network.vote_without_record(awaited(), Hash32([9; 32])).await;

    let voter = network.voter().await;
    let alarm = format!("record: ALARM: the hub holds a vote of this signer at height {}", awaited());
    voter.until("it says so", |_| voter.health().contains(&alarm)).await;
    let blocks = network.hub.ledger().next_height().plus(EPOCH);
    otto.until("an epoch has gone by", |_| network.hub.ledger().next_height() > blocks).await;
    assert!(voter.health().contains(&alarm));
    assert_eq!(network.last_vote().await, last, "nothing was signed");

    network.lose_record().await;
    voter.until("the new record lacks nothing", |_| !voter.health().contains("record: ")).await;
    voter.stop().await;
    otto.stop().await;
    network.stop().await;
}
