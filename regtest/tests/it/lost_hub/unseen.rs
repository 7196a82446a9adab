//! A block that no follower keeps is seen by nobody: when the hub is lost with it, no header that somebody has seen is signed twice.

use super::false_followers::{COMMON, Follower, OWN, makes_blocks, worlds};
use super::{all_blocks, until_said, until_well};
use palisade_hub::client::HubClient;
use palisade_hub::handing::OTHER_BLOCK;
use palisade_hub::store::{FILE, Store};
use palisade_protocol::block::Block;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::hash::Hash32;
use palisade_protocol::units::Height;
use palisade_regtest::hub_process::HubProcess;
use palisade_regtest::liar::{Instead, flipped};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;
use tokio::task::JoinHandle;

/// Bytes of a block before its signature.
const HEADER: usize = 140;

/// The newest block on a disk.
fn newest(data: &Path) -> Block {
    let log = Store::open(&data.join(FILE)).unwrap();
    let tip = log.tip().unwrap().unwrap();
    log.blocks(tip, 1).unwrap().remove(0)
}

/// Hash of the block that the hub calls its newest.
async fn tip(hub: &HubClient) -> Option<Hash32> {
    let status: Value = hub.get_json("status", &[]).await.unwrap();
    status["hash"].as_str().map(|hash| hash.parse().unwrap())
}

/// Has a digest recorded. Gives the block, when that may be seen; none if there is no answer.
fn stamp(hub: &HubClient, digest: [u8; 32]) -> JoinHandle<Option<u64>> {
    let door = hub.url().join("timestamps").unwrap();
    tokio::spawn(async move {
        let asked = reqwest::Client::new().post(door).json(&json!({ "digest": Hash32(digest) })).send();
        let answer: Value = asked.await.ok()?.json().await.ok()?;
        answer["hub_height"].as_u64()
    })
}

/// Has one digest after the other recorded, so that no block is empty, until the hub answers no more. Gives the highest block
/// that it has told.
fn stamp_always(hub: &HubClient) -> JoinHandle<u64> {
    let hub = hub.clone();
    tokio::spawn(async move {
        let mut highest = 0;
        for number in 0_u64.. {
            let mut digest = [7; 32];
            digest[..8].copy_from_slice(&number.to_be_bytes());
            match stamp(&hub, digest).await.unwrap() {
                Some(height) => highest = height,
                None => break,
            }
        }
        highest
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn what_no_follower_keeps_nobody_sees_and_no_header_is_seen_twice_when_the_hub_is_lost() {
    let own = worlds().0;
    let follower = Follower::of(&own).await;
    let mut hub = HubProcess::start_with_followers(&own, &[follower.liar.url()]).await;
    follower.follow(&hub);
    let told = stamp_always(&hub.client);
    makes_blocks(&hub, own.log.len() + 2).await;
    follower.liar.answer_instead(Instead::Cut);
    let said = until_said(&hub.client, "nobody sees it, and no other is made").await;
    let seen = all_blocks(&hub.client).await;
    let next = Height(seen.len() as u64);
    assert!(said.contains(&format!("to block {next}")), "{said}");
    assert_eq!(tip(&hub.client).await, seen.last().map(|block| block.header.hash()));

    // All is lost but the key.
    hub.daemon.kill().await.unwrap();
    let lost = newest(&hub.at("hub-data"));
    assert!(lost.header.height == next && !lost.messages.is_empty(), "{lost:?}");
    assert!(told.await.unwrap() < next.0, "a digest was answered that nobody but the hub had");
    std::fs::remove_dir_all(hub.at("hub-data")).unwrap();
    follower.liar.be_honest();
    hub.start_again().await;
    follower.follow(&hub);
    makes_blocks(&hub, seen.len() + 2).await;
    let now = all_blocks(&hub.client).await;
    assert!(now.starts_with(&seen), "a header was signed twice");
    assert_ne!(now[seen.len()].header, lost.header, "only a block that differs shows anything");
    assert!(!follower.hub.has(&lost.header).unwrap());
    until_well(&hub.client, "followers: ").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_follower_of_two_is_enough_and_without_any_answers_wait_also_over_a_start() {
    let own = worlds().0;
    let (first, second) = (Follower::of(&own).await, Follower::of(&own).await);
    let mut hub = HubProcess::start_with_followers(&own, &[first.liar.url(), second.liar.url()]).await;
    first.follow(&hub);
    second.follow(&hub);
    makes_blocks(&hub, own.log.len()).await;
    first.liar.answer_instead(Instead::Cut);
    let said = until_said(&hub.client, "Blocks are made: another one keeps them").await;
    assert!(said.contains(first.liar.url()) && !said.contains(second.liar.url()), "{said}");
    makes_blocks(&hub, all_blocks(&hub.client).await.len() + 1).await;

    second.liar.answer_instead(Instead::Cut);
    let said = until_said(&hub.client, "nobody sees it").await;
    assert!(said.contains(first.liar.url()) && said.contains(second.liar.url()), "{said}");
    let seen = all_blocks(&hub.client).await;
    let next = Height(seen.len() as u64);
    let answer = stamp(&hub.client, [9; 32]);
    // Ten intervals.
    assert_eq!(hub.client.blocks(next, Duration::from_secs(2)).await.unwrap(), []);
    assert!(!answer.is_finished(), "a digest was answered that is in no block that a follower keeps");

    // A start shows it no sooner.
    answer.abort();
    hub.daemon.kill().await.unwrap();
    let held = newest(&hub.at("hub-data"));
    assert_eq!(held.header.height, next);
    hub.start_again().await;
    until_said(&hub.client, "nobody sees it").await;
    assert_eq!(all_blocks(&hub.client).await, seen);
    assert_eq!(tip(&hub.client).await, seen.last().map(|block| block.header.hash()));
    let answer = stamp(&hub.client, [10; 32]);
    first.liar.be_honest();
    first.follow(&hub);
    let height = answer.await.unwrap().unwrap();
    let now = all_blocks(&hub.client).await;
    assert!(now.starts_with(&seen) && now[seen.len()] == held && height > next.0);
    second.liar.be_honest();
    second.follow(&hub);
    until_well(&hub.client, "followers: ").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_follower_is_handed_its_leaders_next_block_and_takes_nothing_else() {
    let (own, other) = worlds();
    let follower = Follower::of(&own).await;
    let client = HubClient::new(follower.url.parse().unwrap());
    let mut longer = own.clone();
    longer.stamp(&[Hash32([8; 32])]);
    longer.close_until(OWN + 3);
    let next = &longer.log[OWN as usize];
    let refused = async |bytes: Vec<u8>| {
        let why = client.post("blocks", bytes).await.unwrap_err();
        (why.rule().unwrap().to_owned(), why.can_be_retried())
    };
    let short = |rule: &str, retry| (rule.to_owned(), retry);
    let bytes = next.to_bytes();
    // Another history of the same hub, above and below the own tip.
    let foreign = &other.log[OWN as usize];
    let unsigned = flipped(&bytes, HEADER);
    let emptied = Block { messages: Vec::new(), ..next.clone() };
    let long = [&bytes[..], &vec![0; 32 << 20]].concat();
    for (wanted, sent) in [
        (short("encoding", false), Vec::new()),
        (short("encoding", false), bytes[..HEADER].to_vec()),
        (short("encoding", false), bytes[..bytes.len() - 1].to_vec()),
        (short("encoding", false), [&bytes[..], &[0]].concat()),
        (short("signature", false), unsigned),
        (short("behind", true), longer.log[OWN as usize + 1].to_bytes()),
        (short("block", false), emptied.to_bytes()),
        (short("block", false), foreign.to_bytes()),
        (short(OTHER_BLOCK, false), other.log[COMMON as usize].to_bytes()),
        (short("body-too-large", false), long),
    ] {
        assert_eq!(refused(sent).await, wanted);
        assert_eq!(follower.hub.shown(), Some(Height(OWN - 1)));
    }
    // In its turn, twice, and one that it has long since.
    for block in [&longer.log[1], next, next, &longer.log[OWN as usize + 1]] {
        client.hand(block).await.unwrap();
    }
    assert_eq!(follower.hub.shown(), Some(Height(OWN + 1)));
    let maker = HubProcess::start(&own).await;
    assert_eq!(maker.client.hand(next).await.unwrap_err().rule(), Some("maker"));
}
