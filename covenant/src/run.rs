//! The member as a running process: follow the log, answer what is new, deliver the answers.

use crate::audit::{Act, Audit};
use crate::config::Config;
use crate::member::{Answer, CannotAnswer, Member};
use crate::sign::Signer;
use crate::window::Wait;
use anyhow::{Context as _, ensure};
use palisade_hub::client::{HubClient, HubError, Receipt};
use palisade_hub::daemon::genesis::read_genesis_for;
use palisade_hub::daemon::health::Health;
use palisade_hub::daemon::keyfile::{self, KdfCost};
use palisade_hub::daemon::lock::DirLock;
use palisade_hub::daemon::password::PasswordSource;
use palisade_hub::daemon::serve::{self, Gate, Limits, Server};
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_hub::ledger::{Event, Ledger};
use palisade_hub::replica::{Replica, ReplicaError};
use palisade_protocol::curve::KeyPair;
use palisade_protocol::genesis::Genesis;
use palisade_protocol::message::Message;
use palisade_protocol::stake::StakeId;
use palisade_protocol::units::Height;
use prometheus::{IntCounterVec, IntGauge, Opts};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{JoinSet, block_in_place};

/// Purpose of a member's key file.
pub const KEY_PURPOSE: &str = "covenant";
/// How long a request for blocks waits for one.
const WAIT: Duration = Duration::from_secs(10);
/// Pause after a hub that cannot be reached.
const PAUSE: Duration = Duration::from_millis(500);
/// Pause after a hub that lies: the own log was replayed to get rid of what it said.
const LONG_PAUSE: Duration = Duration::from_secs(2);
/// So many new blocks in one answer, or fewer, are those that the hub made since the answer before.
const NEAR: u64 = 16;
/// Answers that are made and delivered at a time. The hub says that it took one when its block is on disk, so one after
/// the other would be one a block.
const BATCH: usize = 64;
/// An answer that is not in the log after this many blocks is sent again.
const RESEND_BLOCKS: u64 = 10;

/// Runs until it is told to stop.
pub async fn run(config: &Config, restored: bool, shutdown: Shutdown) -> anyhow::Result<()> {
    let genesis = read_genesis_for(config.network, &config.genesis_file)?;
    let signer = open_key(config, &genesis)?;
    tracing::info!(hub = %genesis.id(), member = %signer.member(), "starting");
    let _lock = DirLock::acquire(&config.data_dir)?;
    let audit = Audit::open(&config.data_dir.join(AUDIT_FILE))?;
    let member = Member::new(signer, config.policy.clone(), audit);
    let health = Health::new("palisade-covenant", env!("CARGO_PKG_VERSION"), config.network)?;
    let server = Server::bind(&config.listen).await?;
    let (routes, gate) = serve::gated(health.clone(), Limits::default());
    let stopped = shutdown.clone();
    let work = async {
        let done = work(config, genesis, (member, restored), gate, health, &shutdown).await;
        shutdown.trigger();
        done
    };
    let ((), worked) = tokio::join!(server.run(routes, &stopped), work);
    worked
}

/// Replays the log, and sits down at the desk.
async fn work(
    config: &Config,
    genesis: Arc<Genesis>,
    (member, restored): (Member, bool),
    gate: Gate,
    health: Health,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let replica = tokio::select! {
        replica = Replica::open_in_sight(&config.data_dir, genesis, &health) => replica?,
        () = shutdown.requested() => return Ok(()),
    };
    let mut desk = Desk::new(member, replica, HubClient::new(config.hub.url().clone()), health)?;
    desk.restored = restored;
    gate.open(axum::Router::new());
    desk.work(shutdown).await
}

/// The audit log's file in the data directory.
pub const AUDIT_FILE: &str = "audit.sqlite";

fn open_key(config: &Config, genesis: &Genesis) -> anyhow::Result<Signer> {
    let password =
        PasswordSource::usual(config.password_file.clone()).read("Password of the covenant key: ")?;
    let weakest = KdfCost::for_network(genesis.network());
    let (label, secret) = keyfile::open::<32>(&config.key_file, KEY_PURPOSE, &password, weakest)?;
    let key = KeyPair::from_secret_bytes(secret.expose()).context("covenant key")?;
    ensure!(key.public().to_string() == label.public_id(), "the key file's label names another key");
    Ok(Signer::new(key))
}

struct Meters {
    height: IntGauge,
    btc_height: IntGauge,
    waiting: IntGauge,
    answers: IntCounterVec,
}

impl Meters {
    fn new(health: &Health) -> anyhow::Result<Self> {
        let meters = Self {
            height: IntGauge::new("height", "Height of the newest block of the own log.")?,
            btc_height: IntGauge::new("btc_height", "Bitcoin's height in the own log.")?,
            waiting: IntGauge::new("waiting_stakes", "Stakes that lack this member's answer in the log.")?,
            answers: IntCounterVec::new(
                Opts::new("answers_total", "Answers that the hub took, by act."),
                &["act"],
            )?,
        };
        let registry = health.registry();
        for gauge in [&meters.height, &meters.btc_height, &meters.waiting] {
            registry.register(Box::new(gauge.clone()))?;
        }
        registry.register(Box::new(meters.answers.clone()))?;
        Ok(meters)
    }
}

/// A member, its copy of the log, and the hub that both talk to.
pub struct Desk {
    member: Member,
    replica: Replica,
    hub: HubClient,
    health: Health,
    meters: Meters,
    /// Stakes that may lack an answer, each with the height of the own log from which one is sent (again).
    open: BTreeMap<StakeId, Height>,
    /// Those of them that wait for room in the window.
    waiting: BTreeMap<StakeId, Wait>,
    /// The audit log comes from a backup, and was not filled from the own log since.
    restored: bool,
}

impl std::fmt::Debug for Desk {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Desk").field("member", &self.member).finish_non_exhaustive()
    }
}

type Delivery = (StakeId, Act, Result<Receipt, HubError>);

impl Desk {
    /// A desk at which nothing was done yet.
    pub fn new(member: Member, replica: Replica, hub: HubClient, health: Health) -> anyhow::Result<Self> {
        let meters = Meters::new(&health)?;
        let (open, waiting) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { member, replica, hub, health, meters, open, waiting, restored: false })
    }

    /// Follows and answers until it is told to stop. Fails only if the audit log or the own copy of the log does.
    pub async fn work(&mut self, shutdown: &Shutdown) -> anyhow::Result<()> {
        tokio::select! {
            done = self.follow() => done,
            () = shutdown.requested() => Ok(()),
        }
    }

    /// Whatever is cut off here is on disk, or was not begun.
    async fn follow(&mut self) -> anyhow::Result<()> {
        self.open_all();
        let mut wait = Duration::ZERO;
        loop {
            match self.catch_up(wait).await {
                Ok(()) => {
                    self.health.recover("log");
                    self.look_for_seat();
                    if std::mem::take(&mut self.restored) {
                        block_in_place(|| self.adopt_all())?;
                    }
                    self.answer_all().await?;
                }
                Err(ReplicaError::Store(why)) => return Err(why.into()),
                Err(why) => self.pause(&why).await,
            }
            wait = WAIT;
        }
    }

    /// Follows until the hub has nothing newer but what it made meanwhile, so that nothing is judged on a state that is
    /// long gone.
    async fn catch_up(&mut self, mut wait: Duration) -> Result<(), ReplicaError> {
        loop {
            let before = self.replica.ledger().next_height();
            for (_, event) in self.replica.follow(&self.hub, wait).await? {
                if let Event::Stake { id, .. } = event {
                    self.open.insert(id, Height(0));
                }
            }
            let ledger = self.replica.ledger();
            self.meters.height.set(ledger.tip().map_or(0, |(height, _)| height.0 as i64));
            self.meters.btc_height.set(ledger.btc_height().0.into());
            if ledger.next_height() <= before.plus(NEAR) {
                return Ok(());
            }
            wait = Duration::ZERO;
        }
    }

    /// Whoever is in no committee is asked for nothing: that is no fault, but nobody should take it for work.
    fn look_for_seat(&self) {
        let (ledger, key) = (self.replica.ledger(), self.member.key());
        if ledger.params_at(ledger.btc_height()).1.committee().members().contains(&key) {
            self.health.recover("committee");
        } else {
            self.health
                .degrade("committee", format!("the hub's parameters name no committee with the key {key}"));
        }
    }

    fn open_all(&mut self) {
        let stakes = self.replica.ledger().stakes().iter();
        self.open.extend(stakes.map(|stake| (stake.id, Height(0))));
    }

    async fn pause(&mut self, why: &ReplicaError) {
        self.health.degrade("log", why);
        let ReplicaError::Invalid(_) = why else {
            tracing::warn!(%why, "no blocks");
            return tokio::time::sleep(PAUSE).await;
        };
        tracing::error!(%why, "the hub lies or runs other rules: nothing that it says is signed");
        // What the blocks before the bad one changed was not told.
        self.open_all();
        tokio::time::sleep(LONG_PAUSE).await;
    }

    /// Answers whatever is due, a batch at a time.
    async fn answer_all(&mut self) -> anyhow::Result<()> {
        let now = self.replica.ledger().next_height();
        block_in_place(|| self.tidy())?;
        let due: Vec<StakeId> =
            self.open.iter().filter(|(_, from)| **from <= now).map(|(id, _)| *id).collect();
        for batch in due.chunks(BATCH) {
            let answers = block_in_place(|| self.make(batch, now))?;
            for (id, act, delivered) in self.deliver(answers).await {
                self.open.insert(id, now.plus(RESEND_BLOCKS));
                self.note(&id, act, delivered);
            }
        }
        self.tell_who_waits();
        Ok(())
    }

    /// Holders wait: whoever set the limits should know.
    fn tell_who_waits(&self) {
        match self.waiting.first_key_value() {
            None => self.health.recover("window"),
            Some((stake, why)) => {
                let others = self.waiting.len() - 1;
                self.health
                    .degrade("window", format!("stake {stake} and {others} more wait for room: {why}"));
            }
        }
    }

    /// Closes what is done: the log has the answer, or nobody wants one any more.
    fn tidy(&mut self) -> Result<(), CannotAnswer> {
        let mut open = std::mem::take(&mut self.open);
        let ledger = self.replica.ledger();
        for id in open.keys() {
            if let Some(stake) = stake(ledger, id)
                && self.member.is_strange(stake)?
            {
                let reason = format!(
                    "the log has an answer about stake {id} that the audit log lacks: it was cut, or the key is used elsewhere; after a \
                     restore `run --restored` fills it"
                );
                tracing::error!(stake = %id, reason, "ALARM");
                self.health.degrade("audit", reason);
            }
        }
        open.retain(|id, _| stake(ledger, id).is_some_and(|stake| self.member.wanted(stake).is_some()));
        self.meters.waiting.set(i64::try_from(open.len()).unwrap_or(i64::MAX));
        self.waiting.retain(|id, _| open.contains_key(id));
        self.open = open;
        Ok(())
    }

    fn adopt_all(&mut self) -> Result<(), CannotAnswer> {
        let ledger = self.replica.ledger();
        ledger.stakes().iter().try_for_each(|stake| self.member.adopt(ledger, stake))
    }

    /// What is to be said about these; one that must wait for room is looked at again some blocks later.
    fn make(&mut self, batch: &[StakeId], now: Height) -> Result<Vec<(StakeId, Act, Message)>, CannotAnswer> {
        let ledger = self.replica.ledger();
        let mut answers = Vec::new();
        for stake in batch.iter().filter_map(|id| stake(ledger, id)) {
            match self.member.answer(ledger, stake)? {
                Answer::None => {}
                Answer::Given(act, message) => {
                    self.waiting.remove(&stake.id);
                    answers.push((stake.id, act, message));
                }
                Answer::Waits(why) => {
                    tracing::info!(stake = %stake.id, %why, "waits");
                    self.open.insert(stake.id, now.plus(RESEND_BLOCKS));
                    self.waiting.insert(stake.id, why);
                }
            }
        }
        Ok(answers)
    }

    async fn deliver(&self, answers: Vec<(StakeId, Act, Message)>) -> Vec<Delivery> {
        let mut deliveries = JoinSet::new();
        for (id, act, message) in answers {
            let hub = self.hub.clone();
            deliveries.spawn(async move { (id, act, hub.submit(&message).await) });
        }
        deliveries.join_all().await
    }

    fn note(&self, stake: &StakeId, act: Act, delivered: Result<Receipt, HubError>) {
        match delivered {
            Ok(receipt) => {
                self.meters.answers.with_label_values(&[act.name()]).inc();
                tracing::info!(%stake, ?act, hub_height = receipt.height.0, "the hub took the answer");
            }
            // It was taken before, and the process ended or the connection broke in between.
            Err(why) if why.rule() == Some("repeated") => {}
            Err(why) => tracing::warn!(%stake, ?act, %why, "answer not taken: it is sent again"),
        }
    }
}

fn stake<'a>(ledger: &'a Ledger, id: &StakeId) -> Option<&'a palisade_hub::ledger::stake::Stake> {
    ledger.stakes().find(id).map(|(_, stake)| stake)
}

/// What a member did about a stake, for people.
pub fn describe(stake: &StakeId, act: Act) -> String {
    match act {
        Act::Signed => format!("signed stake {stake}"),
        Act::Refused => format!("refused stake {stake}"),
        Act::Consented => format!("consented to the expansion {stake}"),
    }
}
