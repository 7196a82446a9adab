//! What both processes do around their work: open files, serve health, look again and again, and sit outages out.

use crate::config::{Config, Process, bitcoin_rpc};
use anyhow::Context as _;
use palisade_hub::bitcoind::{BitcoinRpc, RpcError};
use palisade_hub::client::{HubClient, HubError};
use palisade_hub::daemon::database::DatabaseError;
use palisade_hub::daemon::genesis::read_genesis_for;
use palisade_hub::daemon::health::Health;
use palisade_hub::daemon::lock::DirLock;
use palisade_hub::daemon::serve::{self, Limits, Server};
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_hub::ledger::Ledger;
use palisade_hub::replica::{Replica, ReplicaError};
use palisade_hub::store::StoreError;
use palisade_protocol::genesis::Genesis;
use palisade_protocol::hash::Hash32;
use palisade_staker::purse::PurseError;
use prometheus::IntGauge;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Why a pass of the work did not come to its end.
#[derive(Debug, thiserror::Error)]
pub enum PassError {
    /// The hub gives no answer that can be used.
    #[error(transparent)]
    Hub(#[from] HubError),
    /// Our Bitcoin node gives none.
    #[error(transparent)]
    Bitcoin(#[from] RpcError),
    /// The hub's log is not valid. A hub that tells the truth again, or another address, makes it well.
    #[error("{0}. What was replayed before stays true, and nothing behind it is believed")]
    Log(String),
    /// The own copy of the log gives no state any more.
    #[error(transparent)]
    Copy(ReplicaError),
    /// Our own files.
    #[error(transparent)]
    Files(#[from] FileError),
    /// The hub is another one than our genesis document's.
    #[error("the hub at {url} is {found}, our genesis document is of {wanted}")]
    OtherHub {
        /// Where it is.
        url: String,
        /// The id of its genesis document.
        found: Hash32,
        /// The id of ours.
        wanted: Hash32,
    },
    /// The wallet cannot pay, or may not pay so much.
    #[error("{0}")]
    Wallet(String),
    /// The hub's and our node's Bitcoin differ in a way that only people can solve.
    #[error("{0}")]
    Apart(String),
}

impl From<PurseError> for PassError {
    fn from(why: PurseError) -> Self {
        match why {
            PurseError::Rpc(why) => why.into(),
            other => Self::Wallet(other.to_string()),
        }
    }
}

/// Our own files cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The copy of the log.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The process's own database cannot be opened.
    #[error(transparent)]
    File(#[from] DatabaseError),
    /// The process's own database.
    #[error("own database: {0}")]
    Sqlite(#[from] rusqlite::Error),
    /// Own bytes that are not what was written.
    #[error("own database holds no {0}")]
    Corrupt(&'static str),
}

impl From<ReplicaError> for PassError {
    fn from(why: ReplicaError) -> Self {
        match why {
            ReplicaError::Hub(why) => Self::Hub(why),
            ReplicaError::Store(why) => Self::Files(why.into()),
            ReplicaError::Invalid(_) => Self::Log(why.to_string()),
            ReplicaError::Unusable { .. } => Self::Copy(why),
        }
    }
}

impl PassError {
    /// The part of the process's world that fails, as `/health` names it.
    pub fn part(&self) -> &'static str {
        match self {
            Self::Hub(_) | Self::OtherHub { .. } => "hub",
            Self::Bitcoin(_) => "bitcoind",
            Self::Log(_) => "log",
            Self::Files(_) | Self::Copy(_) => "files",
            Self::Apart(_) => "bitcoin",
            Self::Wallet(_) => "wallet",
        }
    }

    /// Whether the process must end: trying again cannot help, and going on could hide it.
    fn is_fatal(&self) -> bool {
        match self {
            Self::Copy(_) | Self::Files(_) | Self::OtherHub { .. } => true,
            Self::Bitcoin(why) => matches!(why, RpcError::WrongNetwork { .. } | RpcError::OtherChain { .. }),
            Self::Hub(_) | Self::Log(_) | Self::Apart(_) | Self::Wallet(_) => false,
        }
    }
}

/// Parts that are well when a pass has come to its end. Node and wallet are looked at besides.
const SEEN_BY_PASSES: [&str; 3] = ["hub", "log", "bitcoin"];

/// What one look brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pass {
    /// There is more to do at once.
    Worked,
    /// Nothing to do until something changes.
    Idle,
}

/// Everything that a process has opened before its log is replayed.
pub(crate) struct Shell {
    genesis: Arc<Genesis>,
    data_dir: PathBuf,
    hub: HubClient,
    bitcoin: BitcoinRpc,
    health: Health,
    poll: Duration,
    server: Server,
    _lock: DirLock,
}

impl Shell {
    pub async fn open(config: &Config, process: &Process, name: &'static str) -> anyhow::Result<Self> {
        let genesis = read_genesis_for(config.network, &config.genesis_file)?;
        let lock = DirLock::acquire(&process.data_dir)?;
        let health = Health::new(name, env!("CARGO_PKG_VERSION"), config.network)?;
        Ok(Self {
            genesis,
            data_dir: process.data_dir.clone(),
            hub: HubClient::new(config.hub.url().clone()),
            bitcoin: bitcoin_rpc(&config.bitcoin)?,
            health,
            poll: process.poll_interval_ms.duration(),
            server: Server::bind(&process.listen).await?,
            _lock: lock,
        })
    }

    /// Serves health and metrics, replays the log and repeats passes until the stop. `make` turns what was opened into the work.
    pub async fn work<W: Work>(
        self,
        shutdown: Shutdown,
        make: impl FnOnce(Replica, HubClient, BitcoinRpc, &Health) -> anyhow::Result<W>,
    ) -> anyhow::Result<()> {
        let Self { genesis, data_dir, hub, bitcoin, health, poll, server, _lock } = self;
        let (routes, gate) = serve::gated(health.clone(), Limits::default());
        let stopped = shutdown.clone();
        // The work is as large as its ledger, and this future holds it.
        let begin = Box::pin(async {
            let replica = Replica::open_in_sight(&data_dir, genesis, &health).await;
            let replica = replica.context("own copy of the log")?;
            let network = replica.ledger().network();
            let mut work = make(replica, hub, bitcoin, &health).map_err(in_directory(&data_dir))?;
            let took = IntGauge::new("pass_ms", "How long the newest pass took, in milliseconds.")?;
            health.registry().register(Box::new(took.clone()))?;
            gate.open(axum::Router::new());
            repeat(&mut work, network, poll, &health, &took).await.map_err(in_directory(&data_dir))
        });
        let repeat = async {
            let ended = tokio::select! {
                ended = begin => ended,
                () = shutdown.requested() => Ok(()),
            };
            shutdown.trigger();
            ended
        };
        let ((), ended) = tokio::join!(server.run(routes, &stopped), repeat);
        ended
    }
}

/// Says where the files are that cannot be used: their errors know the database only.
fn in_directory(data_dir: &Path) -> impl Fn(anyhow::Error) -> anyhow::Error {
    move |why| {
        let is_of_files = why.is::<FileError>() || matches!(why.downcast_ref(), Some(PassError::Files(_)));
        if is_of_files { why.context(data_dir.display().to_string()) } else { why }
    }
}

/// Refuses a hub of another genesis. Its log would be refused too, but without saying why.
pub(crate) async fn meet(hub: &HubClient, replica: &Replica) -> Result<(), PassError> {
    let wanted = replica.ledger().genesis().id();
    let genesis = Genesis::new(hub.genesis().await?);
    let found = genesis.map_err(|why| HubError::Malformed(why.to_string()))?.id();
    if found == wanted {
        return Ok(());
    }
    Err(PassError::OtherHub { url: hub.url().to_string(), found, wanted })
}

/// Work that is done in passes. A pass that is dropped halfway loses nothing: what must survive is on disk.
pub(crate) trait Work {
    /// Longest wait between two attempts in an outage.
    const MAX_BACKOFF: Duration;

    /// Our Bitcoin node.
    fn bitcoin(&self) -> &BitcoinRpc;
    /// What follows from our copy of the log.
    fn ledger(&self) -> &Ledger;
    /// Why its wallet could not pay for what may come, if it has one.
    fn poverty(&self) -> Option<String> {
        None
    }
    /// Which slashings it cannot send, or not so that they are mined, if any.
    fn stranded(&self) -> Option<String> {
        None
    }
    /// One look at everything.
    async fn pass(&mut self) -> Result<Pass, PassError>;
}

/// A node that answers can still be far behind: then there is nothing to do only because it shows nothing.
async fn watch_node<W: Work>(work: &W, health: &Health) {
    let known = work.ledger().btc_height().0;
    // A node that fails now is told by the next pass.
    let Ok(progress) = work.bitcoin().progress().await else { return };
    match progress.behind(Some(known)) {
        Some(lag) => health.degrade("bitcoind", lag),
        None => health.recover("bitcoind"),
    }
}

/// A wallet that is too small for high fees is told before they come, a slashing that does not go out at once.
fn watch_sending<W: Work>(work: &W, health: &Health) {
    match work.poverty() {
        Some(why) => health.degrade("wallet", why),
        None => health.recover("wallet"),
    }
    match work.stranded() {
        Some(why) => health.degrade("slashings", why),
        None => health.recover("slashings"),
    }
}

async fn repeat<W: Work>(
    work: &mut W,
    network: bitcoin::Network,
    poll: Duration,
    health: &Health,
    took: &IntGauge,
) -> anyhow::Result<()> {
    let mut backoff = poll;
    let mut met = false;
    loop {
        let began = Instant::now();
        let done = match met {
            true => work.pass().await,
            false => {
                work.bitcoin().check_network(network).await.map(|()| Pass::Worked).map_err(PassError::from)
            }
        };
        took.set(i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX));
        match done {
            Ok(pass) => {
                met = true;
                SEEN_BY_PASSES.iter().for_each(|part| health.recover(part));
                watch_node(work, health).await;
                watch_sending(work, health);
                backoff = poll;
                if pass == Pass::Idle {
                    tokio::time::sleep(poll).await;
                }
            }
            Err(why) if why.is_fatal() => return Err(why.into()),
            Err(why) => {
                watch_sending(work, health);
                health.degrade(why.part(), &why);
                tracing::warn!(part = why.part(), %why, retry_ms = backoff.as_millis() as u64, "waiting");
                tokio::time::sleep(backoff).await;
                backoff = (backoff * 2).min(W::MAX_BACKOFF).max(poll);
            }
        }
    }
}
