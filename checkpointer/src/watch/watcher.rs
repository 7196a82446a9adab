//! The watcher at work: what it knows, in which order it looks, and what it has to do with the hub.

use super::book::{Book, Job, Mark};
use super::payer::Payer;
use super::votes::Votes;
use crate::shell::{FileError, Pass, PassError, Work};
use crate::wallet::Lack;
use bitcoin::{BlockHash, Txid};
use palisade_hub::bitcoind::BitcoinRpc;
use palisade_hub::client::{HubClient, HubError};
use palisade_hub::ledger::Ledger;
use palisade_hub::replica::{Replica, ReplicaError};
use palisade_protocol::context::ChainId;
use palisade_protocol::curve::KeyPair;
use palisade_protocol::finality::evidence::{Evidence, LeakedKey};
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::message::Message;
use palisade_protocol::params::Profile;
use palisade_protocol::stake::StakeId;
use palisade_protocol::units::Height;
use prometheus::{IntGauge, Registry};
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::{Duration, Instant};

/// How long the hub may take before Bitcoin is looked at again.
const HUB_PATIENCE: Duration = Duration::from_secs(5);
/// Blocks of the own log that are read at a time.
const LOG_PAGE: u32 = 500;
/// Heights of a chain whose votes are looked at again, because votes come late.
const VOTES_OVERLAP: u64 = 100;
/// Pages of a chain's votes that are looked at in one pass.
const VOTE_PAGES: usize = 20;

/// What a watcher counts.
#[derive(Debug, Clone)]
pub struct Meters {
    /// Keys that are out.
    pub(super) keys: IntGauge,
    /// Stakes that are to be slashed and are not yet.
    pub(super) open: IntGauge,
    /// Stakes that cannot be slashed, because the committee has not signed.
    pub(super) stuck: IntGauge,
    /// Stakes whose slashing is deep.
    pub(super) slashed: IntGauge,
    /// Height of the newest Bitcoin block that was read.
    pub(super) height: IntGauge,
    /// Confirmed coins of the wallet that pays for slashings.
    pub(super) coins: IntGauge,
    /// Slashings that no child pays for although that is needed.
    pub(super) unpaid: IntGauge,
}

impl Meters {
    fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            keys: IntGauge::new("watch_leaked_keys", "Provider keys that are out.")?,
            open: IntGauge::new("watch_open_jobs", "Stakes to be slashed whose slashing is not deep yet.")?,
            stuck: IntGauge::new(
                "watch_stuck_jobs",
                "Of these, stakes that no quorum of the committee has signed.",
            )?,
            slashed: IntGauge::new("watch_slashed_stakes", "Stakes whose slashing is deep.")?,
            height: IntGauge::new("watch_btc_height", "Height of the newest Bitcoin block that was read.")?,
            coins: IntGauge::new(
                "watch_wallet_sat",
                "Confirmed coins of the wallet that pays for slashings.",
            )?,
            unpaid: IntGauge::new(
                "watch_unpaid_jobs",
                "Slashings that pay too little, and for which nothing can be paid.",
            )?,
        })
    }

    /// Shows them in a registry.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        [&self.keys, &self.open, &self.stuck, &self.slashed, &self.height, &self.coins, &self.unpaid]
            .into_iter()
            .try_for_each(|meter| registry.register(Box::new(meter.clone())))
    }
}

/// A watcher between two passes.
pub struct Watcher {
    pub(super) replica: Replica,
    hub: HubClient,
    pub(super) bitcoin: BitcoinRpc,
    pub(super) book: Book,
    pub(super) mark: Option<Mark>,
    pub(super) keys: BTreeMap<ProviderKey, KeyPair>,
    pub(super) jobs: BTreeMap<StakeId, Job>,
    /// Next block of the own log to be read.
    log: Height,
    /// The hub's log broke the rules at this point: it is not followed any more.
    distrust: Option<String>,
    votes: BTreeMap<ChainId, Votes>,
    /// Spends in the mempool that were looked at.
    pub(super) seen: BTreeSet<Txid>,
    /// Slashings that were sent since the start.
    pub(super) sent: BTreeSet<Txid>,
    /// Why slashings did not go out, or nothing was paid for them, when the jobs were last looked at.
    pub(super) stranded: Vec<String>,
    /// Who pays for slashings, if anybody does.
    pub(super) payer: Option<Payer>,
    /// When, and at which tip, the jobs were last looked at.
    pub(super) stepped: Option<(BlockHash, Instant)>,
    pub(super) meters: Meters,
}

impl Work for Watcher {
    /// Short, because a hub that is gone must not make a slashing late.
    const MAX_BACKOFF: Duration = Duration::from_secs(5);

    fn bitcoin(&self) -> &BitcoinRpc {
        &self.bitcoin
    }

    fn ledger(&self) -> &Ledger {
        self.replica.ledger()
    }

    fn poverty(&self) -> Option<String> {
        let unusable = self.payer.as_ref().and_then(Payer::trouble);
        unusable.map(str::to_owned).or_else(|| self.lack().map(|lack| lack.to_string()))
    }

    fn stranded(&self) -> Option<String> {
        Self::stranded(self)
    }

    async fn pass(&mut self) -> Result<Pass, PassError> {
        Self::pass(self).await
    }
}

impl Watcher {
    /// A watcher that goes on with what its book in `directory` says.
    pub fn open(
        directory: &Path,
        replica: Replica,
        hub: HubClient,
        bitcoin: BitcoinRpc,
        payer: Option<Payer>,
    ) -> anyhow::Result<Self> {
        let book = Book::open(&directory.join(super::BOOK_FILE))?;
        Ok(Self {
            mark: book.mark()?,
            keys: book.leaked()?,
            jobs: book.jobs()?,
            book,
            replica,
            hub,
            bitcoin,
            log: Height(0),
            distrust: None,
            votes: BTreeMap::new(),
            seen: BTreeSet::new(),
            sent: BTreeSet::new(),
            stranded: Vec::new(),
            payer,
            stepped: None,
            meters: Meters::new()?,
        })
    }

    /// Its counters.
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// The stakes that it has slashed or is going to.
    pub fn jobs(&self) -> &BTreeMap<StakeId, Job> {
        &self.jobs
    }

    /// The ledger that follows from its copy of the log.
    pub fn ledger(&self) -> &Ledger {
        self.replica.ledger()
    }

    /// What the coins of the wallet that pays lack, where there is one and slashings can be paid for: for all that are under way at
    /// once, and for one at any time.
    pub fn lack(&self) -> Option<Lack> {
        let can_be_paid = self.ledger().params().iter().any(|params| params.profile() == Profile::Bumpable);
        let open = self.jobs.values().filter(|job| job.ended.is_none()).count() as u64;
        self.payer.as_ref().filter(|_| can_be_paid)?.lack(open.max(1))
    }

    /// How many slashings are not on their way into a block, and why the first is not.
    pub fn stranded(&self) -> Option<String> {
        let first = self.stranded.first()?;
        Some(format!("{} of the slashings that are due are not on their way: {first}", self.stranded.len()))
    }

    /// One look at everything, Bitcoin first: what the hub does comes last, and its failing is told last.
    pub async fn pass(&mut self) -> Result<Pass, PassError> {
        self.read_log()?;
        let tip = self.bitcoin.tip().await?;
        let looked = self.look_back(tip).await?;
        let read = self.read_blocks(tip).await?;
        self.read_mempool().await?;
        self.open_jobs()?;
        self.step_jobs(tip).await?;
        self.meters.keys.set(self.keys.len() as i64);
        let visited = self.visit_hub().await?;
        Ok(if looked && read { visited } else { Pass::Worked })
    }

    /// Takes note that a key is out. `source` says where that was seen.
    pub fn learn(&mut self, evidence: &Evidence, source: &'static str) -> Result<(), FileError> {
        let key = evidence.key();
        if self.keys.contains_key(&key) {
            return Ok(());
        }
        let Ok(secret) = evidence.secret() else { return Ok(()) };
        self.book.keep_leaked(&secret)?;
        tracing::warn!(provider = %key, source, "a provider's key is out");
        self.keys.insert(key, secret);
        Ok(())
    }

    /// Evidence in the own log. After a start the whole log is read: it was replayed anyway.
    fn read_log(&mut self) -> Result<(), FileError> {
        loop {
            let blocks = self.replica.store().blocks(self.log, LOG_PAGE)?;
            let Some(last) = blocks.last() else { return Ok(()) };
            self.log = last.header.height.next();
            for message in blocks.iter().flat_map(|block| &block.messages) {
                if let Ok(Message::Evidence(evidence)) = message.decode() {
                    self.learn(&evidence, "log")?;
                }
            }
        }
    }

    /// Follows the log, looks at votes, and tells the hub what it does not know. Bounded in time.
    async fn visit_hub(&mut self) -> Result<Pass, PassError> {
        if let Some(why) = &self.distrust {
            return Err(PassError::Log(why.clone()));
        }
        let before = self.ledger().next_height();
        let visit = async {
            match self.replica.catch_up(&self.hub).await {
                // What follows from the valid part goes on.
                Err(why @ ReplicaError::Invalid(_)) => self.distrust = Some(why.to_string()),
                followed => followed?,
            }
            self.tell_keys().await?;
            self.read_votes().await
        };
        let visited = tokio::time::timeout(HUB_PATIENCE, visit).await;
        if self.ledger().next_height() > before {
            return Ok(Pass::Worked);
        }
        let slow = || HubError::Unreachable {
            url: self.hub.url().to_string(),
            why: format!("no answer within {} s", HUB_PATIENCE.as_secs()),
        };
        visited.unwrap_or_else(|_| Err(slow().into())).map(|()| Pass::Idle)
    }

    async fn tell_keys(&self) -> Result<(), PassError> {
        for (key, secret) in &self.keys {
            let known = self.ledger().providers().get(key).is_none_or(|own| own.exposed_at.is_some());
            if known {
                continue;
            }
            let leaked = LeakedKey { key: *key, secret: *secret.secret_bytes() };
            match self.hub.submit(&Message::Evidence(Evidence::Key(leaked))).await {
                Ok(receipt) => tracing::info!(provider = %key, hub_height = %receipt.height, "told the hub"),
                Err(why) if why.rule() == Some("repeated") => {}
                Err(why) => return Err(why.into()),
            }
        }
        Ok(())
    }

    async fn read_votes(&mut self) -> Result<(), PassError> {
        let chains: Vec<ChainId> = self.ledger().chains().iter().map(|chain| chain.id().clone()).collect();
        for chain in chains {
            let mut from = self.votes.entry(chain.clone()).or_default().newest().minus(VOTES_OVERLAP);
            for _ in 0..VOTE_PAGES {
                let page = self.hub.votes(chain.as_str(), from).await?;
                let Some(last) = page.iter().map(|vote| vote.ballot.height).max() else { break };
                let votes = self.votes.entry(chain.clone()).or_default();
                let found: Vec<Evidence> = page.into_iter().filter_map(|vote| votes.look_at(vote)).collect();
                for evidence in found {
                    self.learn(&evidence, "votes")?;
                }
                // A page may end amid the votes of one height: the next begins with that height.
                if last <= from {
                    break;
                }
                from = last;
            }
        }
        Ok(())
    }
}
