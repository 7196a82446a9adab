//! Voters whose sources of the development chain lie, forget, or are of another chain with the same name.

use super::network::{DEV, Network, Running, dev, listen};
use super::*;
use axum::Json;
use axum::Router;
use axum::extract::Path as UrlPath;
use axum::http::StatusCode;
use axum::routing::get;
use palisade_protocol::finality::vote::Ballot;
use palisade_protocol::hash::sha256;
use palisade_regtest::devchain::{self, DevBlock, DevChain};
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use tokio::task::JoinHandle;

/// A node of the development chain that shows what it likes, with links that fit.
#[derive(Clone)]
struct Node {
    chain: Arc<DevChain>,
    hub: Arc<palisade_hub::engine::Hub>,
    /// Which history it shows; 0 is the true one.
    history: Arc<AtomicU8>,
    /// Whether it shows what the hub calls final, wherever that is.
    adapts: bool,
    /// The last height that it shows, while the chain makes no block.
    paused_at: Arc<AtomicU64>,
    /// What it does to a list of blocks; without that it has no door for lists.
    bends: Arc<Mutex<Option<Bend>>>,
}

type Bend = fn(&mut Vec<DevBlock>);

#[derive(serde::Deserialize)]
struct Range {
    from: u64,
    limit: u64,
}

impl Node {
    fn new(network: &Network, history: u8, adapts: bool) -> Self {
        let history = Arc::new(AtomicU8::new(history));
        let paused_at = Arc::new(AtomicU64::new(u64::MAX));
        let (chain, hub) = (network.devchain.clone(), network.hub.clone());
        Self { chain, hub, history, adapts, paused_at, bends: Arc::default() }
    }

    async fn serve(&self) -> (String, JoinHandle<()>) {
        let (tip, block, list) = (self.clone(), self.clone(), self.clone());
        let tip = async move || {
            let height = tip.chain.tip().unwrap().height;
            Json(tip.block(height.min(tip.paused_at.load(Ordering::SeqCst))))
        };
        let block = async move |UrlPath(height): UrlPath<u64>| {
            block.block(height).map(Json).ok_or(StatusCode::NOT_FOUND)
        };
        let list = async move |Query(Range { from, limit }): Query<Range>| {
            let bend = list.bends.lock().unwrap().ok_or(StatusCode::NOT_FOUND)?;
            let mut blocks: Vec<DevBlock> = (from..from + limit).map_while(|at| list.block(at)).collect();
            bend(&mut blocks);
            Ok::<_, StatusCode>(Json(blocks))
        };
        let router = Router::new().route("/tip", get(tip)).route("/blocks/{height}", get(block));
        listen(router.route("/blocks", get(list))).await
    }

    fn block(&self, height: u64) -> Option<DevBlock> {
        if height > self.paused_at.load(Ordering::SeqCst) {
            return None;
        }
        let (hash, below) = (self.hash(height)?, height.checked_sub(1));
        Some(DevBlock {
            height,
            hash,
            parent: below.and_then(|below| self.hash(below)).unwrap_or(Hash32::ZERO),
        })
    }

    fn hash(&self, height: u64) -> Option<Hash32> {
        let honest = self.chain.block(height)?.hash;
        let ledger = self.hub.ledger();
        let certified = &ledger.chain(&dev()).unwrap().certified;
        match (certified.get(&Height(height)), self.history.load(Ordering::SeqCst)) {
            (Some(certified), _) if self.adapts => Some(*certified),
            (_, 0) => Some(honest),
            _ if height == 0 => Some(honest),
            (_, history) => Some(sha256(&[&honest.0, &[history]])),
        }
    }
}

fn dev_votes(status: &Status) -> u64 {
    status.chains[1].votes
}

/// All votes on the development chain that the hub has, by height: one block each.
fn one_block_a_height(network: &Network) -> BTreeMap<Height, Hash32> {
    let context = network.hub.ledger().chain(&dev()).unwrap().vote;
    let mut found = BTreeMap::new();
    for vote in network.hub.store().votes(&context, Height(0), 1_000).unwrap() {
        let Ballot { height, block, .. } = vote.ballot;
        assert_eq!(*found.entry(height).or_insert(block), block, "two blocks at height {height}");
    }
    assert_eq!(network.hub.store().double_votes().unwrap(), []);
    found
}

/// The voter says this of the development chain, and casts no vote there while chain zero goes on.
async fn stands_still(voter: &Running, why: &str) {
    let says =
        |status: &Status| status.chains[1].waiting.as_ref().is_some_and(|waiting| waiting.contains(why));
    voter.until(why, says).await;
    let before = voter.status().await;
    voter.until("chain zero goes on", |status| status.chains[0].votes >= before.chains[0].votes + 3).await;
    let status = voter.status().await;
    assert!(says(&status), "{status}");
    assert_eq!(dev_votes(&status), dev_votes(&before));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wiped_development_chain_with_other_blocks_at_old_heights_gets_no_vote_until_it_is_the_old_one() {
    let network = Network::start().await;
    let node = Node::new(&network, 0, false);
    let (url, serving) = node.serve().await;
    let voter = network.voter_with("voter", &url);
    voter.until("blocks of the development chain are voted for", |status| dev_votes(status) >= 3).await;
    // It begins anew from the same first block, and is as high again.
    node.history.store(1, Ordering::SeqCst);
    stands_still(&voter, "is final or was voted for").await;
    let before = one_block_a_height(&network);
    node.history.store(0, Ordering::SeqCst);
    voter.until("votes go on", |status| dev_votes(status) as usize >= before.len() + 2).await;
    for (height, block) in one_block_a_height(&network) {
        assert_eq!(network.dev_block(height), block);
    }
    voter.stop().await;
    network.stop().await;
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_of_blocks_that_is_none_gets_no_vote_and_an_alarm_until_it_is_one() {
    let network = Network::start().await;
    let node = Node::new(&network, 0, false);
    let (url, serving) = node.serve().await;
    let bend = |bend: Bend| *node.bends.lock().unwrap() = Some(bend);
    bend(|_| ());
    let voter = network.voter_with("voter", &url);
    let bent: [(Bend, &str); 4] = [
        // The last height twice, with two blocks.
        (
            |list| {
                let twin = list.last().map(|last| DevBlock { hash: sha256(&[b"another"]), ..*last });
                list.extend(twin);
            },
            "were asked for",
        ),
        // The last block twice, in the place of the one before it.
        (
            |list| {
                let last = list.len() - 1;
                list.copy_within(last.., last - 1);
            },
            "no block at height",
        ),
        (|list| list.reverse(), "no block at height"),
        (|list| drop(list.drain(..1)), "no block at height"),
    ];
    for (what, why) in bent {
        let before = voter.status().await;
        voter.until("votes go on", |status| dev_votes(status) >= dev_votes(&before) + 2).await;
        bend(what);
        stands_still(&voter, why).await;
        let said = voter.health();
        assert!(said.contains("sources: chain dev: ") && said.contains(why), "{said}");
        bend(|_| ());
    }
    let before = voter.status().await;
    voter.until("votes go on", |status| dev_votes(status) >= dev_votes(&before) + 2).await;
    voter.until("all is well", |_| !voter.health().contains("sources")).await;
    for (height, block) in one_block_a_height(&network) {
        assert_eq!(network.dev_block(height), block);
    }
    voter.stop().await;
    network.stop().await;
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_chain_that_makes_no_blocks_for_a_while_is_no_failure_and_its_next_block_is_voted_for() {
    let network = Network::start().await;
    let node = Node::new(&network, 0, false);
    let (url, serving) = node.serve().await;
    let voter = network.voter_with("voter", &url);
    voter.until("blocks of the development chain are voted for", |status| dev_votes(status) >= 3).await;
    node.paused_at.store(network.devchain.tip().unwrap().height, Ordering::SeqCst);
    let has_come = |status: &Status| {
        let last = status.chains[1].last_vote.map_or(0, |height| height.0);
        last + 5 > node.paused_at.load(Ordering::SeqCst)
    };
    voter.until("the newest voted height before the pause", has_come).await;
    let before = voter.status().await;
    voter.until("chain zero goes on", |status| status.chains[0].votes >= before.chains[0].votes + 10).await;
    assert_eq!(dev_votes(&voter.status().await), dev_votes(&before));
    assert!(!voter.health().contains("dev"), "{}", voter.health());
    node.paused_at.store(u64::MAX, Ordering::SeqCst);
    voter.until("votes go on", |status| dev_votes(status) >= dev_votes(&before) + 3).await;
    let signed = one_block_a_height(&network);
    let heights: Vec<u64> = signed.keys().map(|height| height.0).collect();
    assert!(heights.windows(2).all(|two| two[1] == two[0] + 5), "none is left out: {heights:?}");
    voter.stop().await;
    network.stop().await;
    serving.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn two_voters_on_one_signer_whose_sources_show_different_blocks_get_one_block_a_height_signed() {
    let network = Network::start().await;
    let mut voters = Vec::new();
    for history in [1, 2] {
        let (url, serving) = Node::new(&network, history, true).serve().await;
        voters.push((network.voter_with(&format!("voter {history}"), &url), serving));
    }
    let heights = || network.certified(&dev()).len();
    voters[0].0.until("ten heights are final", |_| heights() >= 10).await;
    for (voter, serving) in voters {
        assert!(!voter.status().await.chains[1].exposed);
        voter.stop().await;
        serving.abort();
    }
    let signed = one_block_a_height(&network);
    // Each block that became final is of one of the lies.
    for (height, block) in network.certified(&dev()) {
        assert_eq!(signed[&height], block);
        let honest = network.dev_block(height);
        assert!([1, 2].map(|history| sha256(&[&honest.0, &[history]])).contains(&block));
    }
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_block_that_one_of_two_nodes_does_not_show_gets_no_vote_until_both_do() {
    let network = Network::start().await;
    let (honest, second) = (Node::new(&network, 0, false), Node::new(&network, 0, false));
    let ((url, serving), (other, also)) = (honest.serve().await, second.serve().await);
    let voter = network.voter_of("voter", &[&url, &other]);
    voter.until("blocks of the development chain are voted for", |status| dev_votes(status) >= 3).await;
    second.history.store(1, Ordering::SeqCst);
    stands_still(&voter, "disagree at height").await;
    let said = voter.health();
    assert!(said.contains("sources: chain dev: ") && said.contains(&url) && said.contains(&other), "{said}");
    let before = voter.status().await;
    second.history.store(0, Ordering::SeqCst);
    voter.until("votes go on", |status| dev_votes(status) >= dev_votes(&before) + 2).await;
    // The second one is behind: what only the first shows waits.
    second.paused_at.store(network.devchain.tip().unwrap().height, Ordering::SeqCst);
    stands_still(&voter, "is not there yet").await;
    for (height, block) in one_block_a_height(&network) {
        assert_eq!(network.dev_block(height), block);
    }
    voter.stop().await;
    network.stop().await;
    serving.abort();
    also.abort();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signer_of_another_chain_with_the_same_name_is_asked_for_nothing() {
    let network = Network::start().await;
    let voter = network.voter().await;
    voter.until("blocks of the development chain are voted for", |status| dev_votes(status) >= 2).await;
    network.stop_signer();
    network.start_signer(Hash32([8; 32]));
    stands_still(&voter, "another genesis, incarnation or terms").await;
    network.stop_signer();
    network.start_signer(devchain::genesis(DEV));
    let before = one_block_a_height(&network).len();
    voter.until("votes go on", |_| one_block_a_height(&network).len() >= before + 2).await;
    voter.stop().await;
    network.stop().await;
}
