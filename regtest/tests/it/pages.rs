//! Lists that are longer than an answer of the shipped hub: whoever turns the pages has all of it, once.

use crate::doors::listen;
use palisade_protocol::context::{ChainId, Terms};
use palisade_protocol::governance::{Action, NewChain};
use palisade_protocol::hash::Hash32;
use palisade_protocol::units::{Epoch, Height};
use palisade_regtest::hub_process::HubProcess;
use palisade_world::{Wish, World};
use serde_json::Value;
use std::time::Duration;

/// Entries of a list, and blocks, in an answer.
const LISTED: usize = 1_000;
const PAGE: usize = 500;

/// One stake and one provider more than an answer holds, and a log of more than two pages.
fn world() -> World {
    let mut world = World::new(1_000_000);
    world.mine(1);
    let dev: ChainId = "dev".parse().unwrap();
    let terms = Terms { epoch_length: 50, voted_every: 5, minimum_power_sat: 150_000 };
    let chain = NewChain { id: dev.clone(), genesis: Hash32([5; 32]), terms, first_epoch: Epoch(0) };
    world.govern(Action::RegisterChain(chain)).unwrap();
    world.register_provider(&ChainId::zero(), "anna");
    for number in 0..LISTED {
        world.register_provider(&dev, &format!("provider {number}"));
        world.close();
    }
    for _ in 0..=LISTED {
        world.register_stake(&Wish { holder: "alice", sat: 50_000, providers: &["anna"], lock: 2_000 });
    }
    world.close();
    world
}

/// All entries of a list, by the page, with the sizes of the pages.
async fn all(hub: &HubProcess, list: &str, name: &str) -> (Vec<String>, Vec<usize>) {
    let (mut found, mut sizes) = (Vec::new(), Vec::new());
    loop {
        let query = [("offset", found.len().to_string())];
        let page: Value = hub.client.get_json(list, &query).await.unwrap();
        assert_eq!((&page["offset"], &page["total"]), (&found.len().into(), &(LISTED + 1).into()));
        let entries = page[list].as_array().unwrap();
        sizes.push(entries.len());
        if entries.is_empty() {
            return (found, sizes);
        }
        found.extend(entries.iter().map(|entry| entry[name].as_str().unwrap().to_owned()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_turns_the_pages_of_a_hub_has_everything_once() {
    let world = world();
    let hub = HubProcess::start(&world).await;
    let stakes: Vec<String> = world.ledger.stakes().iter().map(|stake| stake.id.to_string()).collect();
    let providers: Vec<String> = world.ledger.providers().iter().map(|own| own.key.to_string()).collect();
    assert_eq!(all(&hub, "stakes", "id").await, (stakes, vec![LISTED, 1, 0]));
    assert_eq!(all(&hub, "providers", "key").await, (providers, vec![LISTED, 1, 0]));

    let mut heights = Vec::new();
    while heights.len() < world.log.len() {
        let blocks = hub.client.blocks(Height(heights.len() as u64), Duration::ZERO).await.unwrap();
        assert!(blocks.len() <= PAGE);
        heights.extend(blocks.iter().map(|block| block.header.height.0));
    }
    assert!(heights.iter().copied().eq(0..heights.len() as u64), "each height once, in order");

    // Each registration is an event, and so is the lapse of a stake that never came.
    let url = hub.client.url().as_str().trim_end_matches('/').to_owned();
    let count = 5 * PAGE;
    let events = listen(&url, 0, count).await;
    assert!(events.iter().map(|(id, _)| *id).take(count).eq(1..=count as u64), "each event once, in order");
}
