//! Followers that hide, lie, or hold another history: a hub that asks them signs nothing twice.

use super::{all_blocks, until_said};
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_hub::engine::Hub;
use palisade_protocol::block::Block;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::hash::Hash32;
use palisade_protocol::units::Height;
use palisade_regtest::hub;
use palisade_regtest::hub_process::HubProcess;
use palisade_regtest::in_time;
use palisade_regtest::liar::{Liar, flipped};
use palisade_world::World;
use std::sync::Arc;
use std::time::Duration;

/// Where the state root of a block begins.
const STATE_ROOT: usize = 8 + 32 + 32;

/// Blocks that all have.
pub(super) const COMMON: u64 = 5;
/// Blocks of the hub's own log.
pub(super) const OWN: u64 = 10;

/// A follower that begins with a world's log, and can lie about it.
pub(super) struct Follower {
    pub(super) hub: Arc<Hub>,
    /// Its own door.
    pub(super) url: String,
    /// Another one that can lie.
    pub(super) liar: Liar,
    stop: Shutdown,
    _dir: tempfile::TempDir,
}

impl Follower {
    pub(super) async fn of(world: &World) -> Self {
        let (dir, stop) = (tempfile::tempdir().unwrap(), Shutdown::manual());
        let hub = world.hub(dir.path());
        let url = hub::serve_follower(&hub, &stop).await;
        Self { hub, liar: Liar::start(&url).await, url, stop, _dir: dir }
    }

    /// Follows from now on.
    pub(super) fn follow(&self, leader: &HubProcess) {
        hub::follow(&self.hub, leader.client.clone(), &self.stop);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        self.stop.trigger();
    }
}

pub(super) fn worlds() -> (World, World) {
    let mut own = World::new(1_000_000);
    own.close_until(COMMON);
    let mut other = own.clone();
    own.close_until(OWN);
    // The same key has signed something else at these heights.
    other.stamp(&[Hash32([7; 32])]);
    other.close_until(OWN + 5);
    (own, other)
}

/// What a hub shows of its own log while no follower has answered: the newest block may be one that none has.
fn below_tip(world: &World) -> &[Block] {
    world.log.split_last().unwrap().1
}

/// The hub has made no block for ten intervals and more, and shows just this log.
async fn makes_nothing(hub: &HubProcess, log: &[Block]) {
    let none = hub.client.blocks(Height(log.len() as u64), Duration::from_secs(3)).await.unwrap();
    assert_eq!(none, [], "a block was made");
    assert_eq!(all_blocks(&hub.client).await, log);
}

pub(super) async fn makes_blocks(hub: &HubProcess, above: usize) {
    let made = async {
        while hub.client.blocks(Height(above as u64), Duration::from_secs(5)).await.unwrap().is_empty() {}
    };
    in_time("new blocks", made).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn another_history_that_the_hub_has_signed_ends_all_signing_and_says_where_both_part() {
    let (own, other) = worlds();
    for (hub_has, follower_has) in [(&own, &other), (&other, &own)] {
        let follower = Follower::of(follower_has).await;
        let hub = HubProcess::start_with_followers(hub_has, &[follower.liar.url()]).await;
        let said = until_said(&hub.client, "ALARM").await;
        let [ours, theirs] = [hub_has, follower_has].map(|world| world.log[COMMON as usize].header.hash());
        let wanted = format!(
            "two headers are signed at height {COMMON}: {ours} in the own log, {theirs} at {}",
            follower.liar.url()
        );
        assert!(said.contains(&wanted), "{said}");
        makes_nothing(&hub, below_tip(hub_has)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_false_block_is_not_taken_and_nothing_is_signed_until_the_next_start_with_an_honest_follower() {
    let own = worlds().0;
    let mut longer = own.clone();
    longer.close_until(OWN + 5);
    let follower = Follower::of(&longer).await;
    for (place, kept, wanted) in [
        // Above the own log: what is right before it may be taken.
        (OWN + 2, &longer.log[..OWN as usize + 2], "shows blocks that are not valid"),
        // In the place of the own newest block.
        (OWN - 1, below_tip(&own), "which this hub has not signed"),
    ] {
        let block = &longer.log[place as usize];
        follower.liar.replace_block(block, &flipped(&block.to_bytes(), STATE_ROOT));
        let mut hub = HubProcess::start_with_followers(&own, &[follower.liar.url()]).await;
        let said = until_said(&hub.client, wanted).await;
        assert!(said.contains(follower.liar.url()) && follower.liar.told() > 0, "{said}");
        follower.liar.be_honest();
        makes_nothing(&hub, kept).await;
        hub.daemon.kill().await.unwrap();
        hub.start_again().await;
        follower.follow(&hub);
        makes_blocks(&hub, longer.log.len()).await;
        assert!(all_blocks(&hub.client).await.starts_with(&longer.log));
        hub.daemon.check().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn followers_that_are_behind_or_empty_are_waited_for_until_one_has_all_and_one_that_does_not_answer_too()
 {
    let own = worlds().0;
    let empty = World::new(1_000_000);
    let mut older = empty.clone();
    older.log.extend_from_slice(&own.log[..COMMON as usize]);
    let (behind, empty) = (Follower::of(&older).await, Follower::of(&empty).await);
    let hub = HubProcess::start_with_followers(&own, &[behind.liar.url(), empty.liar.url()]).await;
    let said = until_said(&hub.client, "nobody sees it, and no other is made").await;
    for (follower, next) in [(&behind, COMMON), (&empty, 0)] {
        let why = format!("{} does not keep block {} (", follower.liar.url(), OWN - 1);
        assert!(said.contains(&why) && said.contains(&format!("block {next} comes first")), "{said}");
    }
    behind.follow(&hub);
    makes_blocks(&hub, own.log.len()).await;
    assert!(all_blocks(&hub.client).await.starts_with(&own.log));
    drop(hub);
    // One that says that it has blocks, and shows none.
    let mut longer = own.clone();
    longer.close_until(OWN + 5);
    let (behind, hiding) = (Follower::of(&older).await, Follower::of(&longer).await);
    hiding.liar.hide_blocks(Height(COMMON));
    let hub = HubProcess::start_with_followers(&own, &[behind.liar.url(), hiding.liar.url()]).await;
    let said = until_said(&hub.client, "gives no answer").await;
    assert!(said.contains(hiding.liar.url()) && !said.contains(behind.liar.url()), "{said}");
    makes_nothing(&hub, below_tip(&own)).await;
    hiding.liar.be_honest();
    hiding.follow(&hub);
    makes_blocks(&hub, longer.log.len()).await;
    assert!(all_blocks(&hub.client).await.starts_with(&longer.log));
}
