//! The hub as a running process: solo, or following another hub.

use crate::api::{self, Door};
use crate::client::HubClient;
use crate::config::Config;
use crate::daemon::config as files;
use crate::daemon::genesis::read_genesis_for;
use crate::daemon::health::Health;
use crate::daemon::keyfile::{self, KdfCost};
use crate::daemon::lock::DirLock;
use crate::daemon::password::PasswordSource;
use crate::daemon::secret::Erased;
use crate::daemon::serve::{self, Gate, Limits, Server};
use crate::daemon::shutdown::Shutdown;
use crate::digests;
use crate::engine::Hub;
use crate::handing::Handing;
use crate::learning;
use crate::ledger::{Event, Ledger, Trip};
use crate::replica::{Replica, ReplicaError};
use anyhow::{Context as _, ensure};
use bitcoin::secp256k1::{Keypair, SECP256K1};
use palisade_protocol::genesis::Genesis;
use palisade_protocol::keys::HubKey;
use palisade_protocol::units::Height;
use prometheus::{IntCounter, IntGauge, IntGaugeVec, Opts};
use std::convert::Infallible;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::mpsc;

/// Purpose of the hub's key file.
pub const KEY_PURPOSE: &str = "hub";

/// A follower that gets no more blocks than this at once has caught up with its leader.
const NEAR: usize = 2;

/// Runs until it is told to stop.
pub async fn run(config_file: &Path, shutdown: Shutdown) -> anyhow::Result<()> {
    let config: Config = files::load(config_file)?;
    let genesis = read_genesis_for(config.network, &config.genesis_file)?;
    let _lock = DirLock::acquire(&config.data_dir)?;
    // Whatever keeps it from working is said before a door opens.
    let role = match &config.follow {
        Some(leader) => Role::Follower(HubClient::new(leader.url().clone())),
        None => {
            let followers = config.followers().iter().map(|follower| HubClient::new(follower.url().clone()));
            Role::Maker(Arc::new(open_key(&config, &genesis)?), followers.collect())
        }
    };
    let health = Health::new("palisade-hub", env!("CARGO_PKG_VERSION"), config.network)?;
    let server = Server::bind(&config.listen).await?;
    let limits = Limits { body_bytes: palisade_protocol::message::MAX_MESSAGE + 1, ..Limits::default() };
    let (routes, gate) = serve::gated(health.clone(), limits);
    let stopped = shutdown.clone();
    let work = async {
        let done = work(&config, genesis, role, gate, &health, &shutdown).await;
        shutdown.trigger();
        done
    };
    let ((), worked) = tokio::join!(server.run(routes, &stopped), work);
    worked
}

/// Replays the log.
async fn open(config: &Config, genesis: Arc<Genesis>, health: &Health) -> anyhow::Result<Arc<Hub>> {
    let replica = Replica::open_in_sight(&config.data_dir, genesis, health).await?;
    let (ledger, store) = replica.into_parts();
    Ok(Hub::new(ledger, store))
}

/// Replays the log, opens the doors, and does what the hub is for.
async fn work(
    config: &Config,
    genesis: Arc<Genesis>,
    role: Role,
    gate: Gate,
    health: &Health,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let hub = tokio::select! {
        hub = open(config, genesis, health) => hub?,
        () = shutdown.requested() => return Ok(()),
    };
    if matches!(&role, Role::Maker(_, followers) if !followers.is_empty()) {
        hub.hold_back_tip()?;
    }
    let meters = Meters::new(health)?;
    let door = Door { hub: hub.clone(), follower: matches!(role, Role::Follower(_)) };
    gate.open(api::router(door));
    match role {
        Role::Follower(leader) => tokio::select! {
            ended = follow(&leader, &hub, &meters, health, shutdown) => ended,
            never = digests::follow(std::slice::from_ref(&leader), &hub) => match never {},
        },
        Role::Maker(key, followers) => make(&key, followers, hub, &meters, shutdown).await,
    }
}

/// What a hub does: makes blocks and signs them, once it knows what its followers hold, or replays those of another.
enum Role {
    Maker(Arc<Erased<Keypair>>, Vec<HubClient>),
    Follower(HubClient),
}

struct Meters {
    height: IntGauge,
    btc_height: IntGauge,
    tripped: IntGaugeVec,
    unanchored: IntGauge,
    breached: IntGauge,
    events: IntCounter,
    health: Health,
}

impl Meters {
    fn new(health: &Health) -> anyhow::Result<Self> {
        let meters = Self {
            height: IntGauge::new("height", "Height of the newest hub block.")?,
            btc_height: IntGauge::new("btc_height", "Height of Bitcoin's tip as the ledger knows it.")?,
            tripped: IntGaugeVec::new(
                Opts::new("breaker_tripped", "1 while the circuit breaker is tripped, by why it is."),
                &["why"],
            )?,
            unanchored: IntGauge::new("blocks_without_anchor", "Bitcoin blocks since the newest anchor.")?,
            breached: IntGauge::new("breached_stakes", "Stakes that the covenant let go against its rules.")?,
            events: IntCounter::new("events_total", "Changes recorded since the process started.")?,
            health: health.clone(),
        };
        let registry = health.registry();
        registry.register(Box::new(meters.height.clone()))?;
        registry.register(Box::new(meters.btc_height.clone()))?;
        registry.register(Box::new(meters.tripped.clone()))?;
        registry.register(Box::new(meters.unanchored.clone()))?;
        registry.register(Box::new(meters.breached.clone()))?;
        registry.register(Box::new(meters.events.clone()))?;
        Ok(meters)
    }

    fn update(&self, hub: &Hub, events: usize) {
        let ledger = hub.ledger();
        self.height.set(ledger.tip().map_or(0, |(height, _)| height.0 as i64));
        self.btc_height.set(ledger.btc_height().0.into());
        let why = ledger.breaker().map(Trip::why);
        for word in Trip::WHYS {
            self.tripped.with_label_values(&[word]).set((why == Some(word)).into());
        }
        self.events.inc_by(events as u64);
        match ledger.breaker() {
            Some(trip) => self.health.degrade("breaker", trip),
            None => self.health.recover("breaker"),
        }
        self.watch_anchors(&ledger);
        self.watch_finality(&ledger);
        self.watch_covenant(&ledger);
    }

    /// A stake that left by the committee's leaf for what nobody registered: the committee is not to be trusted any more.
    fn watch_covenant(&self, ledger: &Ledger) {
        let mut breached = ledger.stakes().breached();
        let (first, others) = (breached.next(), breached.count());
        self.breached.set(first.map_or(0, |_| 1 + others as i64));
        match first {
            Some(stake) => self.health.degrade(
                "covenant",
                format!(
                    "ALARM: stake {} was released by the covenant into something that nobody registered ({others} more)",
                    stake.id
                ),
            ),
            None => self.health.recover("covenant"),
        }
    }

    /// Chain zero finalises itself within an epoch when all is well.
    fn watch_finality(&self, ledger: &Ledger) {
        let Some(zero) = ledger.chains().first() else { return };
        let (Some(opened), Some((tip, _))) = (zero.opened_at, ledger.tip()) else { return };
        let newest = zero.last_final().map_or(zero.terms.first_height(opened), |(height, _)| height);
        let behind = tip.since(newest);
        if behind > 2 * zero.terms.epoch_length {
            let why = format!(
                "chain zero has no final block for {behind} blocks: are more than two thirds voting?"
            );
            self.health.degrade("finality", why);
        } else {
            self.health.recover("finality");
        }
    }

    /// Certificates outlive their set only under an anchor of its time: half of that time without one is an alarm.
    fn watch_anchors(&self, ledger: &Ledger) {
        let blocks = ledger.blocks_without_anchor().unwrap_or(0);
        self.unanchored.set(blocks.into());
        let alarm = ledger.params_at(ledger.btc_height()).1.document().set_lifetime_blocks / 2;
        let void = ledger.anchors().void().count();
        match (blocks > alarm, void) {
            (_, 1..) => self.health.degrade("anchors", "a set has signed two headers of one epoch"),
            (true, _) => {
                let why = format!(
                    "no anchor for {blocks} Bitcoin blocks, alarm at {alarm}: is an anchorer running?"
                );
                self.health.degrade("anchors", why);
            }
            (false, _) => self.health.recover("anchors"),
        }
    }
}

/// Makes blocks, above all that followers hold.
async fn make(
    key: &Arc<Erased<Keypair>>,
    followers: Vec<HubClient>,
    hub: Arc<Hub>,
    meters: &Meters,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    if !learning::learn(&followers, &hub, &meters.health, shutdown).await? {
        return Ok(());
    }
    meters.update(&hub, 0);
    // Of the blocks that it makes itself it has the digests.
    let gathered = async {
        digests::gather(&followers, &hub, Height(0)).await;
        std::future::pending::<Infallible>().await
    };
    let handing = Handing::new(followers.clone(), meters.health.clone());
    tokio::select! {
        ended = solo(key, hub.clone(), &handing, meters, shutdown) => ended,
        never = gathered => match never {},
        never = handing.clone().run() => match never {},
    }
}

/// Makes one block an interval, and judges messages and votes as they come.
async fn solo(
    key: &Arc<Erased<Keypair>>,
    hub: Arc<Hub>,
    handing: &Handing,
    meters: &Meters,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    tokio::select! {
        ended = make_blocks(key, &hub, handing, meters, shutdown) => ended,
        never = hub.clone().judge() => match never {},
    }
}

/// The newest block of the log, which was held back, is seen again when a follower has it. Says whether one has.
async fn show_tip(hub: &Hub, handing: &Handing, shutdown: &Shutdown) -> anyhow::Result<bool> {
    let Some((height, _)) = hub.ledger().tip() else { return Ok(true) };
    let tip = tokio::task::block_in_place(|| hub.store().blocks(height, 1))?;
    let block = tip.first().context("the log's newest block is missing")?;
    let handed = handing.handed(block, shutdown).await;
    if handed {
        hub.show_up_to(&block.header);
    }
    Ok(handed)
}

async fn make_blocks(
    key: &Arc<Erased<Keypair>>,
    hub: &Arc<Hub>,
    handing: &Handing,
    meters: &Meters,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    if !show_tip(hub, handing, shutdown).await? {
        return Ok(());
    }
    let genesis = hub.ledger().genesis().clone();
    let every = Duration::from_millis(genesis.document().block_interval_ms.into());
    let mut ticks = tokio::time::interval(every);
    // After a stall one block is made, not all that were missed.
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // One thread makes all blocks: who looks from outside at what it does to the disk sees one order.
    let ((order, mut orders), (made, mut blocks)) = (mpsc::channel(1), mpsc::channel(1));
    let (own, key) = (hub.clone(), key.clone());
    let maker = tokio::task::spawn_blocking(move || {
        while let Some(()) = orders.blocking_recv() {
            if made.blocking_send(own.make_unseen(&key)).is_err() {
                return;
            }
        }
    });
    loop {
        tokio::select! {
            _ = ticks.tick() => {}
            () = shutdown.requested() => return Ok(()),
        }
        let _ = order.send(()).await;
        let Some(block) = blocks.recv().await else { return Ok(maker.await?) };
        let made = block?;
        if !handing.handed(&made.block, shutdown).await {
            return Ok(());
        }
        let height = made.block.header.height;
        let events = hub.show(made);
        events.iter().for_each(|event| log(height.0, event));
        meters.update(hub, events.len());
    }
}

fn open_key(config: &Config, genesis: &Genesis) -> anyhow::Result<Erased<Keypair>> {
    let password = PasswordSource::usual(config.password_file.clone()).read("Password of the hub's key: ")?;
    let weakest = KdfCost::for_network(genesis.network());
    let file = config.key_file.as_ref().context("`key_file` is missing")?;
    let (_, secret) = keyfile::open::<32>(file, KEY_PURPOSE, &password, weakest)?;
    let key = Erased::new(Keypair::from_seckey_slice(SECP256K1, secret.expose())?);
    let found = HubKey::from(key.x_only_public_key().0);
    let wanted = genesis.document().hub_key;
    ensure!(found == wanted, "the key file holds {found}, the genesis document names {wanted}");
    Ok(key)
}

/// Replays another hub's log, and checks every root. A leader that cannot be reached or that lies is asked again: what was
/// replayed before stays true, and stays on show.
async fn follow(
    leader: &HubClient,
    hub: &Arc<Hub>,
    meters: &Meters,
    health: &Health,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    health.degrade("leader", "the leader has not been reached yet");
    loop {
        let page = tokio::select! {
            page = follow_page(leader, hub) => page,
            () = shutdown.requested() => return Ok(()),
        };
        match page {
            Ok(blocks) => {
                match hub.ledger().tip() {
                    Some((height, _)) if blocks > NEAR => {
                        health.degrade(
                            "leader",
                            format!("behind the leader: replaying its log, now at height {height}"),
                        );
                    }
                    _ => health.recover("leader"),
                }
                meters.update(hub, 0);
            }
            Err(why @ ReplicaError::Store(_)) => return Err(why.into()),
            Err(why) => {
                health.degrade("leader", &why);
                tracing::warn!(%why, "no blocks");
                // A false block costs a replay of the own log: a liar is not asked often.
                let pause = Duration::from_secs(if why.can_be_retried() { 1 } else { 30 });
                tokio::select! {
                    () = tokio::time::sleep(pause) => {}
                    () = shutdown.requested() => return Ok(()),
                }
            }
        }
    }
}

/// Asks another hub for what comes next, waits a while if that is nothing yet, and replays and keeps what is right of it. Says
/// how many blocks that were.
pub async fn follow_page(leader: &HubClient, hub: &Arc<Hub>) -> Result<usize, ReplicaError> {
    let next = hub.ledger().next_height();
    let blocks = leader.blocks(next, Duration::from_secs(10)).await?;
    for block in &blocks {
        tokio::task::block_in_place(|| hub.follow_block(block))?;
    }
    Ok(blocks.len())
}

fn log(hub_height: u64, event: &Event) {
    match serde_json::to_string(event) {
        Ok(event) => tracing::info!(hub_height, %event, "changed"),
        Err(why) => tracing::error!(hub_height, %why, "event"),
    }
}
