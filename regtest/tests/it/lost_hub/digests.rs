//! Digests of timestamps outlive the hub that recorded them.

use super::{FOLLOWER, HUB, follower, kill_when_followed};
use crate::timestamps::verify;
use palisade_hub::client::HubClient;
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_hub::digests::follow;
use palisade_protocol::hash::{Hash32, sha256};
use palisade_regtest::demo::story::Story;
use palisade_regtest::liar::Liar;
use palisade_regtest::{hub, in_time};
use palisade_world::World;
use serde_json::Value;
use std::time::Duration;

/// The file of a digest, as soon as a hub can make it.
async fn file(hub: &HubClient, digest: &Hash32) -> Vec<u8> {
    let made = async {
        loop {
            match hub.get_bytes(&format!("timestamps/{digest}/ots")).await {
                Ok(file) => return file,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    in_time("the file of a digest", made).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_digest_whose_file_nobody_fetched_is_not_lost_with_the_hub() {
    let dir = tempfile::tempdir().unwrap();
    let mut story = Story::until_timestamped(&dir.path().join("network")).await.unwrap();
    let follower = follower(story.network_mut()).await;
    let network = story.network_mut();
    let document = network.dir.join("document.txt");
    let digest = sha256(&[&std::fs::read(&document).unwrap()]);
    let place: Value = network.view(&format!("timestamps/{digest}")).await.unwrap();
    let proof = network.dir.join("document.txt.ots");
    std::fs::remove_file(&proof).unwrap();

    // The follower has it while there is no other hub.
    let of_follower = in_time("the follower has the digest", file(&follower, &digest)).await;
    kill_when_followed(network, &follower).await;
    std::fs::remove_dir_all(network.dir.join("hub/hub-data")).unwrap();
    assert_eq!(file(&follower, &digest).await, of_follower);

    // And so has the hub that was rebuilt from it, when it is the only one.
    network.start_again(HUB).await.unwrap();
    let rebuilt = file(&network.hub.clone(), &digest).await;
    network.kill(FOLLOWER).await.unwrap();
    assert_eq!(rebuilt, of_follower);
    let now: Value = network.view(&format!("timestamps/{digest}")).await.unwrap();
    assert_eq!((&now["hub_height"], &now["place"]), (&place["hub_height"], &place["place"]));
    std::fs::write(&proof, rebuilt).unwrap();
    let cookie = std::fs::read_to_string(network.node.cookie_path()).unwrap();
    let node = network.node.rpc_url().replace("http://", &format!("http://{}@", cookie.trim()));
    let (verified, said) = verify(&node, &proof).await.unwrap();
    assert!(verified && said.contains("Success! Bitcoin block"), "{said}");
    network.start_again(FOLLOWER).await.unwrap();
    story.stop().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn digests_that_do_not_give_the_root_in_the_own_log_are_not_kept() {
    let mut world = World::new(1_000_000);
    world.close();
    let mut digests: Vec<Hash32> = (1..=5).map(|byte| Hash32([byte; 32])).collect();
    world.stamp(&digests);
    let height = world.close().0.height;
    world.close_until(6);
    let (there, here, stop) =
        (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap(), Shutdown::manual());
    let leader = world.hub(there.path());
    leader.store().keep_digests(height, &digests).unwrap();
    let liar = Liar::start(&hub::serve(&leader, &stop).await).await;
    let own = world.hub(here.path());
    let sources = [HubClient::new(liar.url().parse().unwrap())];
    type Lie = fn(&mut Vec<Value>);
    let lies: [Lie; 4] = [
        |shown| shown[4] = Hash32([9; 32]).to_string().into(),
        |shown| drop(shown.pop()),
        |shown| shown.swap(0, 1),
        |shown| shown.extend_from_within(..),
    ];
    for lie in lies {
        liar.tell(move |path, answer| {
            let shown = answer["digests"].as_array_mut().filter(|_| path.starts_with("/batches/"));
            shown.map(lie).is_some()
        });
        let told = async {
            while liar.told() == 0 {
                tokio::time::sleep(Duration::from_millis(10)).await
            }
        };
        tokio::select! {
            never = follow(&sources, &own) => match never {},
            () = in_time("the lie is told", told) => {}
        }
        assert_eq!(own.store().digests(height).unwrap(), []);
    }
    // Whoever asks two takes them from the honest one.
    let honest = Liar::start(&hub::serve(&leader, &stop).await).await;
    let sources = [sources[0].clone(), HubClient::new(honest.url().parse().unwrap())];
    let kept = async {
        while own.store().digests(height).unwrap().is_empty() {
            tokio::time::sleep(Duration::from_millis(10)).await
        }
    };
    tokio::select! {
        never = follow(&sources, &own) => match never {},
        () = in_time("the digests are kept", kept) => {}
    }
    assert_eq!(own.store().digests(height).unwrap(), std::mem::take(&mut digests));
    stop.trigger();
}
