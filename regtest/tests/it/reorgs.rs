//! Bitcoin changes its mind under the shipped hub and the shipped checkpointer, on a real node.

mod depths;
mod network;
mod witness;

use bitcoin::Transaction;
use palisade_protocol::stake::StakeId;
use palisade_regtest::hub_process::{HubProcess, key_file};
use palisade_regtest::process::{Daemon, tool};
use palisade_regtest::{Node, in_time};
use palisade_world::{GOVERNANCE, Wish, World};
use serde_json::Value;
use std::time::Duration;

const K: u32 = 6;

/// What runs, and the world whose blocks the node has.
struct Scene {
    world: World,
    node: Node,
    hub: HubProcess,
    report: Daemon,
}

impl Scene {
    /// Hub, node and report on a world's log and blocks.
    async fn start(world: World) -> Self {
        let (node, hub) = (Node::of(&world).await.unwrap(), HubProcess::start(&world).await);
        let at = |name: &str| hub.at(name).display().to_string();
        let cookie = node.cookie_path().display().to_string();
        let init = [
            ["--dir", &at("checkpointer")],
            ["--genesis", &at("genesis.json")],
            ["--hub", hub.client.url().as_str()],
            ["--bitcoin", &node.rpc_url()],
            ["--cookie", &cookie],
            ["--password-file", &at("password")],
        ];
        tool("palisade-checkpointer", &[&["init"], init.as_flattened()].concat()).await.unwrap();
        let config = hub.at("checkpointer/checkpointer.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        let text = text.replace("127.0.0.1:8210", "127.0.0.1:0");
        std::fs::write(&config, text.replace("poll_interval_ms = 1000", "poll_interval_ms = 50")).unwrap();
        let args = ["report", "--config", &config.display().to_string()];
        let report = Daemon::start("palisade-checkpointer", &args, &hub.at("report.log")).unwrap();
        Self { world, node, hub, report }
    }

    async fn view(&self, path: &str) -> Value {
        self.hub.client.get_json(path, &[]).await.unwrap()
    }

    /// Waits until a view of the hub's is as wanted.
    async fn until(&mut self, path: &str, what: &str, holds: impl Fn(&Value) -> bool) {
        let mut ticks = tokio::time::interval(Duration::from_millis(20));
        let wait = async {
            while !holds(&self.view(path).await) {
                ticks.tick().await;
            }
        };
        in_time(what, wait).await;
        self.report.check().unwrap();
    }

    async fn until_state(&mut self, id: &StakeId, state: &str) {
        self.until(&format!("stakes/{id}"), state, |stake| stake["state"] == state).await;
    }

    /// Hands the world's blocks to the node, and waits until the hub knows its tip.
    async fn follow(&mut self) {
        let tip = self.node.follow(&self.world).await.unwrap().hash.to_string();
        self.until("status", "the hub knows the tip", |status| status["btc_tip"] == tip).await;
    }

    /// Mines a transaction to depth k.
    async fn mine(&mut self, tx: &Transaction) {
        self.world.mempool.push(tx.clone());
        self.world.mine(1 + K);
        self.follow().await;
    }

    /// Power of the only provider, and why the breaker is tripped.
    async fn power(&self) -> (u64, Option<String>) {
        let providers = self.view("providers").await;
        let breaker = self.view("status").await["breaker"].as_str().map(str::to_owned);
        (providers["providers"][0]["sat"].as_u64().unwrap_or_else(|| panic!("{providers}")), breaker)
    }

    /// Governance resumes, and says what power it accepts.
    async fn resume(&self, accepted: &str) {
        let at = |name: &str| self.hub.at(name).display().to_string();
        for name in GOVERNANCE[..2].iter().filter(|name| !self.hub.at(name).exists()) {
            key_file(&self.hub.at(name), "governance", name);
        }
        let flags = [
            ["--accept", accepted],
            ["--genesis", &at("genesis.json")],
            ["--hub", self.hub.client.url().as_str()],
            ["--password-file", &at("password")],
            ["--key", &at(GOVERNANCE[0])],
            ["--key", &at(GOVERNANCE[1])],
        ];
        tool("palisade-hub", &[&["governance", "resume", "--yes"], flags.as_flattened()].concat())
            .await
            .unwrap();
    }
}

/// Two stakes that the committee has signed and nobody has sent.
fn world() -> (World, [(StakeId, Transaction); 2]) {
    let mut world = World::new(400_000);
    world.register_provider(&palisade_protocol::context::ChainId::zero(), "anna");
    let stakes = [("alice", 500_000), ("bob", 300_000)].map(|(holder, sat)| {
        let stake = world.register_stake(&Wish { holder, sat, providers: &["anna"], lock: 2_000 });
        world.sign_quorum(&stake.0);
        stake
    });
    world.close();
    (world, stakes)
}

#[tokio::test]
async fn k_blocks_change_no_power_one_more_trips_the_breaker_and_governance_gives_power_back() {
    let (world, [(alice, first), (bob, second)]) = world();
    let mut scene = Scene::start(world).await;
    scene.mine(&first).await;
    scene.until_state(&alice, "ACTIVE").await;
    assert_eq!(scene.power().await, (500_000, None));

    // The stake's own block stays, all above it are others.
    scene.world.reorg(K, &[]).unwrap();
    scene.follow().await;
    assert_eq!(scene.power().await, (500_000, None));

    scene.mine(&second).await;
    scene.until_state(&bob, "ACTIVE").await;
    assert_eq!(scene.power().await, (800_000, None));
    scene.world.reorg(K + 1, &[]).unwrap();
    scene.follow().await;
    scene.until_state(&bob, "VERIFIED").await;
    let (power, breaker) = scene.power().await;
    assert!(power == 500_000 && breaker.is_some(), "{power}, {breaker:?}");

    // Mined again and deep again: no power before governance resumes.
    scene.mine(&second).await;
    let path = format!("stakes/{bob}");
    scene.until(&path, "the stake is in a block", |stake| stake["included"].is_object()).await;
    assert_eq!(scene.view(&path).await["state"], "VERIFIED");
    assert_eq!(scene.power().await, (500_000, breaker));
    scene.resume("zero=500000").await;
    scene.until_state(&bob, "ACTIVE").await;
    assert_eq!(scene.power().await, (800_000, None));
}
