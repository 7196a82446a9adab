//! A storm: many stakes come to Bitcoin in one block, and shipped daemons on a real bitcoind have to tell the hub of each.

use super::figures::Memory;
use crate::Node;
use crate::demo::network::{make_checkpointer, text};
use crate::demo::report::log::Log;
use crate::hub_process::HubProcess;
use crate::process::{Daemon, metric};
use anyhow::{Context as _, ensure};
use bitcoin::Transaction;
use palisade_protocol::context::ChainId;
use palisade_protocol::message::Message;
use palisade_protocol::stake::StakeId;
use palisade_world::{Wish, World};
use serde::Serialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::time::{Duration, Instant};

const HOLDER: &str = "alice";
const PROVIDER: &str = "anna";
const STAKE_SAT: u64 = 500_000;
/// The watcher's usual time between two passes.
const INTERVAL_MS: u64 = 1_000;
const LOOK_AGAIN: Duration = Duration::from_millis(50);
const PATIENCE: Duration = Duration::from_secs(120);

/// What a storm has shown.
#[derive(Debug, Serialize)]
pub struct Weathered {
    /// Stakes in one Bitcoin block.
    pub stakes: usize,
    /// From that block until the hub knew of all of them, in milliseconds.
    pub told_ms: u128,
    /// From the k-th block after it until all were active.
    pub active_ms: u128,
    /// The longest pass of the watcher, and its interval.
    pub watcher_ms: [u64; 2],
    /// The longest time between two hub blocks, and their interval.
    pub block_ms: [u128; 2],
    /// Memory of the hub before and after.
    pub memory: [Memory; 2],
    /// What must not be.
    pub failures: Vec<String>,
}

impl fmt::Display for Weathered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { stakes, told_ms, active_ms, watcher_ms, block_ms, memory, .. } = self;
        writeln!(
            f,
            "{stakes} stakes in one Bitcoin block: told in {told_ms} ms, active {active_ms} ms after the k-th block"
        )?;
        writeln!(f, "longest pass of the watcher {} ms, its interval {} ms", watcher_ms[0], watcher_ms[1])?;
        writeln!(f, "longest time between hub blocks {} ms, their interval {} ms", block_ms[0], block_ms[1])?;
        let ratio = memory[1].peak as f64 / memory[0].peak as f64;
        write!(f, "peak memory of the hub {} kB, {ratio:.2} times that before", memory[1].peak)
    }
}

/// The processes.
struct Coast {
    hub: HubProcess,
    node: Node,
    watcher: (Daemon, String),
    reporter: (Daemon, String),
}

/// Brings so many signed stakes to Bitcoin in one block, and waits until all are active.
pub async fn weather(count: usize) -> anyhow::Result<Weathered> {
    let mut world = World::new(STAKE_SAT);
    world.mine(20);
    world.register_provider(&ChainId::zero(), PROVIDER);
    let stakes = signed_stakes(&mut world, count);
    world.close();
    let mut coast = Coast::open(&world).await?;
    // Both daemons begin with the whole log, which is not the storm.
    world.mine(1);
    coast.node.follow(&world).await?;
    coast.have_read(&world).await?;
    let process = coast.hub.daemon.process_id().context("a running hub")?;
    let before = Memory::of(process)?;
    let mut watch = Watch::default();
    // The storm itself: one block, and those that make it deep.
    let k = world.stake(&stakes[0].0).k;
    world.mempool.extend(stakes.iter().map(|(_, tx)| tx.clone()));
    world.mine(1);
    coast.node.follow(&world).await?;
    let began = Instant::now();
    coast.until(&mut watch, "the hub knows of every stake", |states| !states.contains_key("PENDING")).await?;
    coast.until_told(&mut watch, count).await?;
    let told_ms = began.elapsed().as_millis();
    world.mine(k);
    coast.node.follow(&world).await?;
    let began = Instant::now();
    coast.until(&mut watch, "every stake is active", |states| states.get("ACTIVE") == Some(&count)).await?;
    let active_ms = began.elapsed().as_millis();
    let log = Log::read(&coast.hub.client).await?;
    let interval = world.ledger.genesis().document().block_interval_ms;
    let memory = [before, Memory::of(process)?];
    let repeated = metric(&coast.reporter.1, "palisade_report_repeated_total").await?;
    let repeated = repeated.context("no palisade_report_repeated_total")?;
    coast.close().await?;
    let mut failures = told_once(&log, &stakes);
    // The log takes nothing twice: that something was sent again only the reporter knows.
    failures.extend((repeated > 0).then(|| format!("{repeated} facts were told that the log had already")));
    Ok(Weathered {
        stakes: count,
        told_ms,
        active_ms,
        watcher_ms: [watch.pass_ms, INTERVAL_MS],
        block_ms: [watch.block.as_millis(), interval.into()],
        memory,
        failures,
    })
}

/// Stakes that a quorum has signed, with the transactions that are to be broadcast.
fn signed_stakes(world: &mut World, count: usize) -> Vec<(StakeId, Transaction)> {
    let wish = Wish { holder: HOLDER, sat: STAKE_SAT, providers: &[PROVIDER], lock: 2_000 };
    let mut stakes = Vec::new();
    for coin in world.many_coins(HOLDER, STAKE_SAT + 1_000, count) {
        let registration = world.registration_with(&wish, coin).0;
        let tx = registration.staking_tx.clone();
        let id = world.send(&Message::Stake(Box::new(registration))).expect("a good registration");
        world.sign_quorum(&StakeId(id));
        stakes.push((StakeId(id), tx));
    }
    stakes
}

/// Longest times that were seen.
#[derive(Debug, Default)]
struct Watch {
    pass_ms: u64,
    block: Duration,
    newest: Option<(u64, Instant)>,
}

impl Coast {
    async fn open(world: &World) -> anyhow::Result<Self> {
        let node = Node::of(world).await?;
        let hub = HubProcess::start(world).await;
        let dir = hub.at("checkpointer");
        let (genesis, url, password) = (hub.at("genesis.json"), hub.client.url(), hub.at("password"));
        make_checkpointer(&dir, &genesis, url.as_str().trim_end_matches('/'), &node, &password).await?;
        let (mut reporter, mut watcher) = (start(&dir, "report")?, start(&dir, "watch")?);
        let told = reporter.address(&dir.join("report.address")).await?;
        let read = watcher.address(&dir.join("watch.address")).await?;
        Ok(Self { hub, node, watcher: (watcher, read), reporter: (reporter, told) })
    }

    /// Waits until reporter and watcher have read the world's newest block.
    async fn have_read(&self, world: &World) -> anyhow::Result<()> {
        let (reporter, watcher) = (&self.reporter.1, &self.watcher.1);
        let heights = [(reporter, "palisade_report_told_height"), (watcher, "palisade_watch_btc_height")];
        let (began, tip) = (Instant::now(), u64::from(world.btc_height()));
        for (address, name) in heights {
            while metric(address, name).await?.with_context(|| format!("no {name}"))? != tip {
                ensure!(began.elapsed() < PATIENCE, "{name} does not reach the node's tip");
                tokio::time::sleep(LOOK_AGAIN).await;
            }
        }
        Ok(())
    }

    /// Waits until the states of all stakes are as wanted, and looks at the clocks meanwhile.
    async fn until(
        &mut self,
        watch: &mut Watch,
        what: &str,
        holds: impl Fn(&BTreeMap<String, usize>) -> bool,
    ) -> anyhow::Result<()> {
        let began = Instant::now();
        while !holds(&self.states().await?) {
            self.look(watch).await?;
            ensure!(began.elapsed() < PATIENCE, "waited in vain until {what}: {:?}", self.states().await?);
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Ok(())
    }

    /// Waits until the log says of so many stakes that they are on Bitcoin.
    async fn until_told(&mut self, watch: &mut Watch, count: usize) -> anyhow::Result<()> {
        let began = Instant::now();
        loop {
            let page = stakes(&self.hub).await?;
            let told = page.iter().filter(|stake| !stake["included"].is_null()).count();
            if told == count {
                return Ok(());
            }
            self.look(watch).await?;
            ensure!(began.elapsed() < PATIENCE, "the hub was told of {told} stakes of {count}");
            tokio::time::sleep(LOOK_AGAIN).await;
        }
    }

    async fn states(&self) -> anyhow::Result<BTreeMap<String, usize>> {
        let mut found = BTreeMap::new();
        for stake in stakes(&self.hub).await? {
            *found.entry(stake["state"].as_str().context("a state")?.to_owned()).or_default() += 1;
        }
        Ok(found)
    }

    async fn look(&mut self, watch: &mut Watch) -> anyhow::Result<()> {
        self.hub.daemon.check()?;
        self.reporter.0.check()?;
        self.watcher.0.check()?;
        let pass_ms = metric(&self.watcher.1, "palisade_pass_ms").await?.context("no palisade_pass_ms")?;
        watch.pass_ms = watch.pass_ms.max(pass_ms);
        let status: Value = self.hub.client.get_json("status", &[]).await?;
        let (height, now) = (status["height"].as_u64().context("a height")?, Instant::now());
        match watch.newest {
            Some((newest, _)) if newest == height => {}
            Some((newest, then)) => {
                // Several blocks may have come since the last look.
                let blocks = u32::try_from(height - newest)?;
                watch.block = watch.block.max((now - then) / blocks);
                watch.newest = Some((height, now));
            }
            None => watch.newest = Some((height, now)),
        }
        Ok(())
    }

    async fn close(mut self) -> anyhow::Result<()> {
        self.watcher.0.end().await?;
        self.reporter.0.end().await?;
        self.hub.daemon.end().await?;
        Ok(self.node.stop().await?)
    }
}

fn start(dir: &Path, which: &str) -> anyhow::Result<Daemon> {
    let config = text(&dir.join("checkpointer.toml"));
    let log = dir.join(which).with_extension("log");
    Daemon::start("palisade-checkpointer", &[which, "--config", &config], &log)
}

/// All stakes as the hub shows them.
async fn stakes(hub: &HubProcess) -> anyhow::Result<Vec<Value>> {
    let mut all = Vec::new();
    loop {
        let page: Value = hub.client.get_json("stakes", &[("offset", all.len().to_string())]).await?;
        let found = page["stakes"].as_array().context("a page of stakes")?;
        if found.is_empty() {
            return Ok(all);
        }
        all.extend(found.iter().cloned());
    }
}

/// Each stake's inclusion stands in the log once.
fn told_once(log: &Log, stakes: &[(StakeId, Transaction)]) -> Vec<String> {
    let mut told: BTreeMap<StakeId, usize> = stakes.iter().map(|(id, _)| (*id, 0)).collect();
    for message in log.blocks().iter().flat_map(|block| &block.messages) {
        if let Ok(Message::Included(own)) = message.decode() {
            *told.entry(own.stake).or_default() += 1;
        }
    }
    let odd = told.into_iter().filter(|(_, times)| *times != 1);
    odd.map(|(id, times)| format!("stake {id} was told {times} times")).collect()
}
