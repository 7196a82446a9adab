//! One look after another: what became of what is under way, and what to anchor next.

use super::build::{ANCHOR, CannotBuild, Terms, build, inputs};
use super::flight::{Flight, Flights};
use crate::config::AnchorProcess;
use crate::shell::{Pass, PassError, Work, meet};
use crate::wallet::{self, Lack, Wallet};
use bitcoin::Amount;
use palisade_hub::bitcoind::BitcoinRpc;
use palisade_hub::client::{HubClient, HubError};
use palisade_hub::ledger::Ledger;
use palisade_hub::ledger::chains::Chain;
use palisade_hub::replica::Replica;
use palisade_protocol::anchor::Anchor;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::units::Epoch;
use prometheus::{IntCounter, IntGauge, Registry};
use std::time::Duration;

/// Epochs that are asked for before the newest, when that has no quorum yet.
const LOOK_BACK: u64 = 3;

/// What an anchorer counts.
#[derive(Debug, Clone)]
pub struct Meters {
    sent: IntCounter,
    replaced: IntCounter,
    flying: IntGauge,
    coins: IntGauge,
    age: IntGauge,
}

impl Meters {
    fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            sent: IntCounter::new("anchors_sent_total", "Anchor transactions that were sent.")?,
            replaced: IntCounter::new("anchors_replaced_total", "Those that replaced another.")?,
            flying: IntGauge::new("anchors_unconfirmed", "Anchor transactions that are in no block.")?,
            coins: IntGauge::new("anchor_wallet_sat", "Confirmed coins of the wallet.")?,
            age: IntGauge::new("blocks_without_anchor", "Bitcoin blocks since the newest anchor.")?,
        })
    }

    /// Shows them in a registry.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.sent.clone()))?;
        registry.register(Box::new(self.replaced.clone()))?;
        registry.register(Box::new(self.flying.clone()))?;
        registry.register(Box::new(self.coins.clone()))?;
        registry.register(Box::new(self.age.clone()))
    }
}

/// An anchorer between two passes.
pub struct Anchorer {
    pub(super) wallet: Wallet,
    pub(super) flights: Flights,
    pub(super) replica: Replica,
    hub: HubClient,
    pub(super) bitcoin: BitcoinRpc,
    bump_after: u32,
    max_fee: Amount,
    met: bool,
    meters: Meters,
}

impl Work for Anchorer {
    const MAX_BACKOFF: Duration = Duration::from_secs(30);

    fn bitcoin(&self) -> &BitcoinRpc {
        &self.bitcoin
    }

    fn ledger(&self) -> &Ledger {
        self.replica.ledger()
    }

    fn poverty(&self) -> Option<String> {
        self.lack().map(|lack| lack.to_string())
    }

    async fn pass(&mut self) -> Result<Pass, PassError> {
        Self::pass(self).await
    }
}

impl Anchorer {
    /// An anchorer that goes on with what its files in the process's directory say.
    pub fn open(
        config: &AnchorProcess,
        wallet: Wallet,
        replica: Replica,
        hub: HubClient,
        bitcoin: BitcoinRpc,
    ) -> anyhow::Result<Self> {
        let flights = Flights::open(&config.process.data_dir.join(super::FLIGHTS_FILE))?;
        let (bump_after, max_fee) =
            (config.wallet.bump_after_blocks, Amount::from_sat(config.wallet.max_fee_sat));
        let meters = Meters::new()?;
        Ok(Self { wallet, flights, replica, hub, bitcoin, bump_after, max_fee, met: false, meters })
    }

    /// Its counters.
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// What its coins lack to pay for one anchor at the ceiling.
    pub fn lack(&self) -> Option<Lack> {
        self.wallet.lack(1, self.max_fee, ANCHOR, Amount::ZERO)
    }

    /// One look.
    pub async fn pass(&mut self) -> Result<Pass, PassError> {
        if !self.met {
            meet(&self.hub, &self.replica).await?;
            self.met = true;
        }
        self.replica.catch_up(&self.hub).await?;
        let birthday = self.replica.ledger().genesis().document().base_height.0;
        self.wallet.purse.sync(&self.bitcoin, birthday).await?;
        let waiting = self.look_at_flights().await?;
        self.measure(waiting.len());
        match waiting.last() {
            None => self.start().await,
            Some(newest) => self.hurry(newest).await,
        }
    }

    fn measure(&self, waiting: usize) {
        let total = self.wallet.purse.total(&Default::default());
        self.meters.coins.set(i64::try_from(total.to_sat()).unwrap_or(i64::MAX));
        self.meters.flying.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        let age = self.replica.ledger().blocks_without_anchor().unwrap_or(0);
        self.meters.age.set(age.into());
    }

    /// Anchors the newest checkpoint, if it is not anchored.
    async fn start(&mut self) -> Result<Pass, PassError> {
        let newest = self.replica.ledger().anchors().iter().next_back().map(|(epoch, _)| epoch);
        let flying = self.flights.open_ones()?;
        let flying = flying.iter().flat_map(|flight| &flight.versions).map(|version| version.epoch).max();
        match self.checkpoint(newest.max(flying)).await? {
            Some(anchor) => self.put(&anchor, None).await,
            None => Ok(Pass::Idle),
        }
    }

    /// Replaces a transaction once there is a newer checkpoint, or when it has waited long enough and is still needed: somebody
    /// else's anchor may have come into a block meanwhile.
    async fn hurry(&mut self, flight: &Flight) -> Result<Pass, PassError> {
        let Some(newest) = flight.versions.last() else { return Ok(Pass::Idle) };
        let newer = self.checkpoint(Some(newest.epoch)).await?;
        // After a reorg the wallet still counts what the lost block spent: then other coins must pay.
        let replaceable = inputs(newest).next().is_some_and(|coin| self.wallet.purse.holds(coin));
        let is_needed = self.replica.ledger().anchors().from(newest.epoch).next().is_none();
        let tip = self.bitcoin.tip().await?.height;
        let is_late = tip >= newest.height.saturating_add(self.bump_after);
        let same = || Anchor::find(&newest.transaction).ok().map(|(_, anchor)| anchor);
        match newer.or_else(|| same().filter(|_| is_late && is_needed && replaceable)) {
            Some(anchor) => self.put(&anchor, Some(flight).filter(|_| replaceable)).await,
            None => Ok(Pass::Idle),
        }
    }

    async fn put(&mut self, anchor: &Anchor, replaces: Option<&Flight>) -> Result<Pass, PassError> {
        let price = wallet::price(&self.bitcoin, self.max_fee).await?;
        let height = self.bitcoin.tip().await?.height;
        let old = replaces.and_then(|flight| flight.versions.last());
        let taken = self.taken(replaces).await?;
        let version = build(&mut self.wallet, anchor, &Terms { price, old, taken: &taken, height })?;
        self.flights.record(replaces.map(|flight| flight.id), &version)?;
        let (epoch, txid, fee_sat) = (anchor.epoch.0, version.txid(), version.fee.to_sat());
        self.bitcoin.send_raw_transaction(&version.transaction).await?;
        self.meters.sent.inc();
        if replaces.is_some() {
            self.meters.replaced.inc();
        }
        tracing::info!(epoch, %txid, fee_sat, replaces = ?old.map(|old| old.txid()), "anchor sent");
        Ok(Pass::Idle)
    }

    /// The newest checkpoint above an epoch that a quorum has signed: judged by our own copy of the log.
    async fn checkpoint(&self, above: Option<Epoch>) -> Result<Option<Anchor>, PassError> {
        let zero = self.replica.ledger().chains().first();
        let Some(newest) = zero.and_then(Chain::last_ended) else { return Ok(None) };
        let wanted = (0..LOOK_BACK).filter_map(|back| newest.0.checked_sub(back)).map(Epoch);
        for epoch in wanted.take_while(|epoch| above.is_none_or(|above| *epoch > above)) {
            if let Some(anchor) = self.ask(epoch).await? {
                return Ok(Some(anchor));
            }
        }
        Ok(None)
    }

    async fn ask(&self, epoch: Epoch) -> Result<Option<Anchor>, PassError> {
        let view: serde_json::Value = match self.hub.get_json(&format!("checkpoints/{epoch}"), &[]).await {
            Ok(view) => view,
            Err(HubError::Refused { .. }) => return Ok(None),
            Err(why) => return Err(why.into()),
        };
        let Some(payload) = view["payload"].as_str() else { return Ok(None) };
        let ledger = self.replica.ledger();
        let anchor = hex::decode(payload).ok().and_then(|bytes| Anchor::from_bytes(&bytes).ok());
        let good = anchor.filter(|anchor| {
            anchor.epoch == epoch
                && ledger.own_header(epoch) == Some(anchor.header)
                && ledger.judge_anchor(anchor).is_ok()
        });
        match good {
            Some(anchor) => Ok(Some(anchor)),
            None => {
                Err(HubError::Malformed(format!("the checkpoint of epoch {epoch} does not verify")).into())
            }
        }
    }
}

impl From<CannotBuild> for PassError {
    fn from(why: CannotBuild) -> Self {
        match why {
            CannotBuild::Purse(why) => why.into(),
            other => Self::Wallet(other.to_string()),
        }
    }
}
