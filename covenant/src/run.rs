//! The member as a running process: follow the log, judge what is new, record, answer.

use crate::audit::{Act, Audit, Record};
use crate::config::Config;
use crate::judge::{Policy, judge};
use crate::sign::Signer;
use anyhow::{Context as _, ensure};
use palisade_hub::client::{HubClient, HubError};
use palisade_hub::daemon::config as files;
use palisade_hub::daemon::health::Health;
use palisade_hub::daemon::keyfile::{self, KdfCost};
use palisade_hub::daemon::lock::DirLock;
use palisade_hub::daemon::password::PasswordSource;
use palisade_hub::daemon::serve::{self, Limits, Server};
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_hub::ledger::Ledger;
use palisade_hub::ledger::stake::Stake;
use palisade_hub::ledger::state::StakeState;
use palisade_hub::replica::{Replica, ReplicaError};
use palisade_hub::run::read_genesis;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::covenant::MAX_REASON;
use palisade_protocol::curve::KeyPair;
use palisade_protocol::genesis::Genesis;
use palisade_protocol::message::Message;
use palisade_protocol::stake::StakeId;
use prometheus::{IntCounterVec, IntGauge, Opts};
use std::path::Path;
use std::time::Duration;

/// Purpose of a member's key file.
pub const KEY_PURPOSE: &str = "covenant";
/// How long a request for blocks waits for one.
const WAIT: Duration = Duration::from_secs(10);
/// Pause after a hub that cannot be reached or lies.
const PAUSE: Duration = Duration::from_millis(500);

/// A member: its key, its policy, and what it did so far.
#[derive(Debug)]
pub struct Member {
    signer: Signer,
    policy: Policy,
    audit: Audit,
}

impl Member {
    /// A member over its audit log.
    pub fn new(signer: Signer, policy: Policy, audit: Audit) -> Self {
        Self { signer, policy, audit }
    }

    /// Everything that the ledger wants of this member and does not have yet. Each answer is in the audit log when this
    /// returns; one that was recorded before comes back the same, to the byte.
    pub fn answers(&mut self, ledger: &Ledger) -> anyhow::Result<Vec<(Act, Message)>> {
        let mut answers = Vec::new();
        let member = self.signer.member();
        for stake in ledger.stakes().iter() {
            if stake.contract.keys.committee().index_of(&member).is_none() {
                continue;
            }
            let answered = stake.signatures.contains_key(&member) || stake.refusals.contains_key(&member);
            if !answered && stake.state == StakeState::Pending {
                answers.push(self.answer(ledger, stake)?);
            }
            let wanted = stake.expansion.is_some() && stake.state == StakeState::Verified;
            if wanted && stake.signatures.contains_key(&member) && !stake.consents.contains_key(&member) {
                answers.extend(self.consent(ledger, stake)?);
            }
        }
        Ok(answers)
    }

    fn answer(&mut self, ledger: &Ledger, stake: &Stake) -> anyhow::Result<(Act, Message)> {
        for act in [Act::Signed, Act::Refused] {
            if let Some(bytes) = self.audit.answer(&stake.id, act)? {
                return Ok((act, Message::from_bytes(&bytes)?));
            }
        }
        let window = ledger.btc_height().minus(self.policy.window_blocks);
        let signed = self.audit.signed_since(window)?;
        let (act, message, reason) = match judge(ledger, stake, &self.policy, signed) {
            Ok(sighashes) => (Act::Signed, self.signer.agree(ledger, stake, &sighashes)?, String::new()),
            Err(why) => {
                let mut reason = why.to_string();
                reason.truncate(MAX_REASON);
                (Act::Refused, self.signer.refuse(ledger, &stake.id, reason.clone()), reason)
            }
        };
        self.record(ledger, stake, act, &reason, &message)?;
        Ok((act, message))
    }

    fn consent(&mut self, ledger: &Ledger, stake: &Stake) -> anyhow::Result<Option<(Act, Message)>> {
        if let Some(bytes) = self.audit.answer(&stake.id, Act::Consented)? {
            return Ok(Some((Act::Consented, Message::from_bytes(&bytes)?)));
        }
        // The old stake may have left meanwhile: then there is nothing to consent to.
        let Ok(sighash) = ledger.expansion_sighash(&stake.id) else { return Ok(None) };
        let message = self.signer.consent(&stake.id, &sighash);
        self.record(ledger, stake, Act::Consented, "", &message)?;
        Ok(Some((Act::Consented, message)))
    }

    fn record(
        &mut self,
        ledger: &Ledger,
        stake: &Stake,
        act: Act,
        reason: &str,
        message: &Message,
    ) -> anyhow::Result<()> {
        let (btc_height, amount) = (ledger.btc_height(), stake.contract.coin.value);
        self.audit.append(&Record { stake: stake.id, act, btc_height, amount, reason, message })?;
        tracing::info!(stake = %stake.id, sat = amount.to_sat(), ?act, reason, "judged");
        Ok(())
    }
}

/// Runs until it is told to stop.
pub async fn run(config_file: &Path, shutdown: Shutdown) -> anyhow::Result<()> {
    let config: Config = files::load(config_file)?;
    let genesis = read_genesis(&config.genesis_file)?;
    ensure!(
        genesis.network() == config.network.bitcoin(),
        "the configuration is for {}, the genesis document for {}",
        config.network,
        genesis.network()
    );
    let signer = open_key(&config, &genesis)?;
    tracing::info!(hub = %genesis.id(), member = %signer.member(), "starting");
    let _lock = DirLock::acquire(&config.data_dir)?;
    let audit = Audit::open(&config.data_dir.join("audit.sqlite"))?;
    let replica = Replica::open(&config.data_dir, genesis)?;
    let member = Member::new(signer, config.policy.clone(), audit);
    let health = Health::new("palisade-covenant", env!("CARGO_PKG_VERSION"), config.network)?;
    let meters = Meters::new(&health)?;
    let server = Server::bind(&config.listen).await?;
    let routes = serve::router(axum::Router::new(), health.clone(), Limits::default());
    let hub = HubClient::new(config.hub.url().clone());
    let work = async {
        let done = follow(member, replica, hub, &health, &meters, &shutdown).await;
        shutdown.trigger();
        done
    };
    let (served, worked) = tokio::join!(server.run(routes, &shutdown), work);
    served?;
    worked
}

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
    answers: IntCounterVec,
}

impl Meters {
    fn new(health: &Health) -> anyhow::Result<Self> {
        let height = IntGauge::new("height", "Height of the newest block of the own log.")?;
        let answers = IntCounterVec::new(Opts::new("answers_total", "Answers that the hub took."), &["act"])?;
        health.registry().register(Box::new(height.clone()))?;
        health.registry().register(Box::new(answers.clone()))?;
        Ok(Self { height, answers })
    }
}

async fn follow(
    mut member: Member,
    mut replica: Replica,
    hub: HubClient,
    health: &Health,
    meters: &Meters,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    loop {
        let followed = tokio::select! {
            followed = replica.follow(&hub, WAIT) => followed,
            () = shutdown.requested() => return Ok(()),
        };
        match followed {
            Ok(_) => health.recover("log"),
            Err(why) => pause(health, &why).await,
        }
        meters.height.set(replica.ledger().tip().map_or(0, |(height, _)| height.0 as i64));
        for (act, message) in member.answers(replica.ledger())? {
            let submitted = tokio::select! {
                submitted = hub.submit(&message) => submitted,
                () = shutdown.requested() => return Ok(()),
            };
            match submitted {
                Ok(_) => meters.answers.with_label_values(&[&format!("{act:?}").to_lowercase()]).inc(),
                Err(HubError::Refused { rule, .. }) if rule == "repeated" => {}
                // What is in the audit log and not in the message log is sent again on the next round.
                Err(why) => tracing::warn!(%why, ?act, "answer not taken"),
            }
        }
    }
}

async fn pause(health: &Health, why: &ReplicaError) {
    health.degrade("log", why);
    match why {
        ReplicaError::Invalid(_) => {
            tracing::error!(%why, "the hub lies or runs other rules: nothing is signed")
        }
        _ => tracing::warn!(%why, "no blocks"),
    }
    tokio::time::sleep(PAUSE).await;
}

/// The audit log of a configuration, for reading.
pub fn audit(config_file: &Path) -> anyhow::Result<Audit> {
    let config: Config = files::load(config_file)?;
    let path = config.data_dir.join("audit.sqlite");
    ensure!(path.exists(), "{} does not exist: the member has not run yet", path.display());
    Ok(Audit::open(&path)?)
}

/// What a member did about a stake, for people.
pub fn describe(stake: &StakeId, act: Act) -> String {
    match act {
        Act::Signed => format!("signed stake {stake}"),
        Act::Refused => format!("refused stake {stake}"),
        Act::Consented => format!("consented to the expansion {stake}"),
    }
}
