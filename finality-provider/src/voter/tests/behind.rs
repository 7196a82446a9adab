//! Operators that were away while the hub went on: with all power, and without being needed.

use super::network::{Network, Running};
use super::*;
use crate::signer::request::{CommitRequest, VoteRequest};
use palisade_protocol::context::Terms;
use palisade_protocol::finality::certificate::Certificate;
use palisade_protocol::finality::vote::Ballot;
use palisade_protocol::message::Message;
use palisade_world::{COVENANT, Wish, World, bls_secret, pair, provider_key};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;

/// Certificates of one chain in a hub block, at most.
const IN_A_BLOCK: usize = 32;

/// A history of chain zero in which shipped signers' nonces are committed.
struct History {
    dir: TempDir,
    world: World,
    signers: Vec<(&'static str, Signer)>,
}

/// A signer of chain zero, with its record where a network looks for it.
fn signer(dir: &Path, world: &World, name: &str) -> Signer {
    let place = if name == "anna" { dir.join("signer") } else { dir.join(name).join("signer") };
    std::fs::create_dir_all(&place).unwrap();
    let genesis = world.ledger.genesis();
    let chains = vec![ChainSigner::new(genesis.zero(), genesis.document().zero, pair(name))];
    Signer::new(genesis, chains, bls_secret(name), Record::open(&place).unwrap().0).unwrap()
}

impl History {
    fn new(terms: Terms, operators: &[(&'static str, u64)]) -> Self {
        let dir = TempDir::new().unwrap();
        let mut world = World::with(terms, &COVENANT, 3);
        world.mine(1);
        for (name, sat) in operators {
            world.register_provider(&ChainId::zero(), name);
            let wish = Wish { holder: "holder", sat: *sat, providers: &[name], lock: 2_000 };
            world.active_stake(&wish);
        }
        let signers = operators.iter().map(|(name, _)| (*name, signer(dir.path(), &world, name))).collect();
        let mut history = Self { dir, world, signers };
        history.commit();
        history
    }

    /// All commit to the epochs that are open, as far as they have not.
    fn commit(&mut self) {
        let zero = ChainId::zero();
        let first = self.world.ledger.first_open_epoch(&zero).0;
        for (_, signer) in &self.signers {
            for epoch in (first..first + 8).map(Epoch) {
                let commitment = signer.commit(&CommitRequest { chain: zero.clone(), epoch }).unwrap();
                let _ = self.world.send(&Message::Commitment(commitment));
            }
        }
    }

    /// Blocks up to a height; who votes has a quorum.
    fn go_on(&mut self, until: u64, who_votes: Option<&str>) {
        while self.world.ledger.next_height() < Height(until) {
            let terms = self.world.ledger.chains()[0].terms;
            let (header, _) = self.world.close();
            if header.height.0.is_multiple_of(terms.epoch_length) {
                self.commit();
            }
            let votes = self.signers.iter().find(|(name, _)| Some(*name) == who_votes);
            let Some((name, signer)) = votes.filter(|_| terms.is_voted(header.height)) else { continue };
            let chain = &self.world.ledger.chains()[0];
            let Some(fixed) = chain.sets.get(&terms.epoch_of(header.height)) else { continue };
            let (height, block) = (header.height, header.hash());
            let root = fixed.set.find(&provider_key(name)).unwrap().1.nonce_root;
            let vote = signer.vote(&VoteRequest { chain: ChainId::zero(), height, block, root }).unwrap();
            let ballot = Ballot { context: chain.vote, height, block };
            let certificate = Certificate::assemble(ballot, &fixed.set, &[vote]);
            self.world.send(&Message::Certificate(Box::new(certificate))).unwrap();
        }
        self.world.close();
    }

    async fn network(self, every: Duration) -> Network {
        let Self { dir, world, signers } = self;
        drop(signers);
        Network::within(dir, &world, every).await
    }
}

fn last_final(network: &Network) -> Height {
    network.hub.ledger().chains()[0].last_final().map_or(Height(0), |(height, _)| height)
}

/// Heights without the operator's vote that its set called for, and its votes.
async fn missed_and_votes(voter: &Running) -> (u64, u64) {
    let status = voter.status().await;
    (status.chains[0].missed, status.chains[0].votes)
}

/// Every hub block is voted on, so heights come as fast as hub blocks do.
#[tokio::test(flavor = "multi_thread")]
async fn finality_that_stood_still_for_hundreds_of_heights_reaches_a_tip_that_is_voted_on_at_every_block() {
    const AWAY: u64 = 400;
    let terms = Terms { epoch_length: 100, voted_every: 1, minimum_power_sat: 400_000 };
    let mut history = History::new(terms, &[("anna", 500_000)]);
    history.go_on(AWAY, None);
    let network = history.network(Duration::from_millis(400)).await;
    let began = network.hub.ledger().next_height();
    let first = network.hub.ledger().chains()[0].awaited().unwrap();
    assert!(began.0 - first.0 > 250, "from {first} to {began}");
    let voter = network.voter().await;
    // Half way it is killed, and its journal lost.
    voter.until("half of it is final", |_| last_final(&network).0 > (first.0 + began.0) / 2).await;
    voter.stop().await;
    network.lose_journal();
    let voter = network.voter().await;
    let near = |_: &Status| last_final(&network).plus(5) >= network.hub.ledger().next_height();
    voter.until("the tip is final", near).await;
    let ended = network.hub.ledger().next_height();

    let certified = network.certified(&ChainId::zero());
    let heights: Vec<u64> = certified.keys().map(|height| height.0).collect();
    assert!(heights.windows(2).all(|pair| pair[1] == pair[0] + 1) && heights[0] == first.0, "no gap");
    // One height a block would never have come here: as many were missing at the end as at the beginning.
    let (made, backlog) = (ended.0 - began.0, began.0 - first.0);
    eprintln!("{} heights became final in {made} hub blocks", heights.len());
    assert!(made < backlog, "{made} hub blocks for {backlog} heights");
    let mut held = Vec::new();
    for block in network.hub.store().blocks(began, u32::MAX).unwrap() {
        let is_certificate = |bytes: &palisade_protocol::block::MessageBytes| {
            matches!(bytes.decode().unwrap(), Message::Certificate(_))
        };
        held.push(block.messages.iter().filter(|bytes| is_certificate(bytes)).count());
    }
    assert!(held.iter().all(|count| *count <= IN_A_BLOCK), "{held:?}");
    assert!(held.iter().any(|count| *count > 1), "{held:?}");
    assert_eq!(network.hub.store().double_votes().unwrap(), []);
    voter.stop().await;
    network.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_voter_thousands_of_blocks_behind_that_nobody_waited_for_signs_nothing_old_and_then_misses_nothing()
{
    const AWAY: u64 = 2_000;
    let terms = Terms { epoch_length: 20, voted_every: 5, minimum_power_sat: 400_000 };
    let mut history = History::new(terms, &[("anna", 400_000), ("otto", 4_000_000)]);
    history.go_on(AWAY, Some("otto"));
    let network = history.network(Duration::from_millis(300)).await;
    let otto = network.another("otto");
    let before = last_final(&network);
    assert!(before.0 + 20 >= AWAY && network.certified(&ChainId::zero()).len() > 380);
    let started = Instant::now();
    let voter = network.voter().await;
    voter.until("it has voted", |status| status.chains[0].votes > 0).await;
    eprintln!("{AWAY} blocks behind: at the tip after {} ms", started.elapsed().as_millis());
    let (missed, _) = missed_and_votes(&voter).await;
    let first = *voter.voter.journal.voted(&ChainId::zero()).unwrap().keys().next().unwrap();
    assert!(first > before, "{first} was final at {before}");
    voter.until("it goes on", |status| status.chains[0].votes >= 8).await;
    // What was missed was missed while it was away.
    assert_eq!(missed_and_votes(&voter).await.0, missed);
    assert!(missed > 300, "its key was in the sets: {missed}");
    assert!(!voter.health().contains("refused"), "{}", voter.health());
    voter.stop().await;
    otto.stop().await;
    network.stop().await;
}
