//! The voter as a running process: one task that follows, one that commits, and one for the votes of each chain.

use super::Voter;
use super::config::VoterConfig;
use super::journal::Journal;
use super::meters::Meters;
use super::source::{Agreeing, DevChain};
use super::{Moment, status::Status};
use crate::signer::client::SignerClient;
use anyhow::ensure;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::get;
use axum::{Json, Router};
use palisade_hub::client::HubClient;
use palisade_hub::daemon::api::ApiError;
use palisade_hub::daemon::config as files;
use palisade_hub::daemon::genesis::read_genesis_for;
use palisade_hub::daemon::health::Health;
use palisade_hub::daemon::lock::DirLock;
use palisade_hub::daemon::serve::{self, Gate, Limits, Server};
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_hub::replica::Replica;
use palisade_protocol::context::ChainId;
use palisade_protocol::genesis::Genesis;
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Pause between two questions to a hub that does not answer yet.
const PAUSE: Duration = Duration::from_secs(1);

/// Runs until it is told to stop.
pub async fn run(config_file: &Path, shutdown: Shutdown) -> anyhow::Result<()> {
    let config: VoterConfig = files::load(config_file)?;
    let genesis = read_genesis_for(config.network, &config.genesis_file)?;
    let _lock = DirLock::acquire(&config.data_dir)?;
    let health = Health::new("palisade-finality-provider", env!("CARGO_PKG_VERSION"), config.network)?;
    let server = Server::bind(&config.listen).await?;
    tracing::info!(address = %server.address(), hub = %config.hub.url(), "listening");
    let (routes, gate) = serve::gated(health.clone(), Limits::default());
    let stopped = shutdown.clone();
    let work = async {
        let done = work(&config, genesis, gate, health, &shutdown).await;
        shutdown.trigger();
        done
    };
    let ((), worked) = tokio::join!(server.run(routes, &stopped), work);
    worked
}

/// Replays the log, opens the doors, and votes.
async fn work(
    config: &VoterConfig,
    genesis: Arc<Genesis>,
    gate: Gate,
    health: Health,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let replica = tokio::select! {
        replica = Replica::open_in_sight(&config.data_dir, genesis, &health) => replica?,
        () = shutdown.requested() => return Ok(()),
    };
    let voter = Arc::new(Voter::open(config, replica, health)?);
    gate.open(Router::new().route("/status", get(status)).with_state(voter.clone()));
    voter.work(config.nodes(), shutdown).await
}

async fn status(State(voter): State<Arc<Voter>>) -> Result<Json<Status>, ApiError> {
    let broken = |why| ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "storage", why);
    voter.status().await.map(Json).map_err(broken)
}

impl Voter {
    /// Opens the journal beside the log. The caller holds the lock of the data directory.
    pub fn open(config: &VoterConfig, replica: Replica, health: Health) -> anyhow::Result<Self> {
        let height = replica.ledger().tip().map(|(height, _)| height);
        Ok(Self {
            genesis: replica.ledger().genesis().clone(),
            replica: RwLock::new(replica),
            journal: Journal::open(&config.data_dir.join("journal.sqlite"))?,
            signer: SignerClient::new(&config.signer_socket),
            hub: HubClient::new(config.hub.url().clone()),
            bitcoin: config.bitcoin_rpc()?,
            meters: Meters::new(&health)?,
            health,
            news: watch::Sender::new(height),
            moment: Mutex::new(Moment::default()),
            others: config.chains().into_iter().collect(),
            epochs_ahead: config.epochs_ahead,
            refusals: config.data_dir.join("refusals"),
        })
    }

    /// All tasks, until they are told to stop or one of them cannot go on.
    pub async fn work(
        self: &Arc<Self>,
        nodes: BTreeMap<ChainId, Agreeing<DevChain>>,
        shutdown: &Shutdown,
    ) -> anyhow::Result<()> {
        if !self.meet_hub(shutdown).await? {
            return Ok(());
        }
        // Until the hub's first answer shows how far its log is.
        self.moment().behind = true;
        let mut tasks = JoinSet::new();
        macro_rules! task {
            ($voter:ident, $shutdown:ident, $work:expr) => {{
                let ($voter, $shutdown) = (self.clone(), shutdown.clone());
                tasks.spawn(async move { $work });
            }};
        }
        task!(voter, shutdown, voter.follow(&shutdown).await);
        task!(voter, shutdown, voter.commit(&shutdown).await);
        task!(voter, shutdown, voter.vote_zero(&shutdown).await);
        task!(voter, shutdown, voter.checkpoint(&shutdown).await);
        for (chain, nodes) in nodes {
            task!(voter, shutdown, voter.vote_chain(&chain, &nodes, &shutdown).await);
        }
        while let Some(ended) = tasks.join_next().await {
            let ended = ended.map_err(anyhow::Error::from).and_then(|done| done);
            if ended.is_err() || !shutdown.is_requested() {
                shutdown.trigger();
            }
            ended?;
        }
        Ok(())
    }

    /// Waits for hub and Bitcoin node, and refuses those of another genesis or network. `false` if told to stop meanwhile.
    async fn meet_hub(&self, shutdown: &Shutdown) -> anyhow::Result<bool> {
        loop {
            let met = tokio::select! {
                met = self.try_meeting() => met,
                () = shutdown.requested() => return Ok(false),
            };
            match met? {
                None => return Ok(true),
                Some(why) => tracing::warn!(why, "waiting"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn try_meeting(&self) -> anyhow::Result<Option<String>> {
        match self.bitcoin.check_network(self.genesis.network()).await {
            Ok(()) => self.health.recover("bitcoin"),
            Err(why) if why.can_be_retried() => {
                self.health.degrade("bitcoin", &why);
                return Ok(Some(why.to_string()));
            }
            Err(why) => return Err(why.into()),
        }
        match self.hub.genesis().await {
            Ok(document) => {
                let found = Genesis::new(document)?.id();
                let own = self.genesis.id();
                ensure!(found == own, "the hub at {} is {found}, not {own}", self.hub.url());
                self.health.recover("hub");
                Ok(None)
            }
            Err(why) => {
                self.health.degrade("hub", &why);
                Ok(Some(why.to_string()))
            }
        }
    }
}
