//! One look after another: what became of what is under way, and what to anchor next.

use super::build::{CannotBuild, build, inputs};
use super::flight::{Flight, Flights, Version};
use crate::config::AnchorProcess;
use crate::shell::{Pass, PassError, Work, meet};
use crate::wallet::Wallet;
use bitcoin::{Amount, FeeRate};
use palisade_hub::bitcoind::{BitcoinRpc, RpcError};
use palisade_hub::client::{HubClient, HubError};
use palisade_hub::ledger::Ledger;
use palisade_hub::ledger::chains::Chain;
use palisade_hub::replica::Replica;
use palisade_protocol::anchor::Anchor;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::units::Epoch;
use prometheus::{IntCounter, IntGauge, Registry};
use std::time::Duration;

/// Blocks within which an anchor should confirm.
const FEE_TARGET: u16 = 2;
/// What is paid while the node cannot say, as on regtest.
const FALLBACK_RATE: FeeRate = FeeRate::from_sat_per_vb_u32(2);
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
    wallet: Wallet,
    flights: Flights,
    replica: Replica,
    hub: HubClient,
    bitcoin: BitcoinRpc,
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

    async fn pass(&mut self) -> Result<Pass, PassError> {
        Self::pass(self).await
    }
}

/// Where a flight is.
enum Place {
    /// One of its transactions is in a block, so deep.
    Mined(u32),
    /// None is.
    Waiting,
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
        let coins = self.wallet.purse.coins(&Default::default());
        let total: Amount = coins.iter().map(|coin| coin.output.value).sum();
        self.meters.coins.set(i64::try_from(total.to_sat()).unwrap_or(i64::MAX));
        self.meters.flying.set(i64::try_from(waiting).unwrap_or(i64::MAX));
        let age = self.replica.ledger().blocks_without_anchor().unwrap_or(0);
        self.meters.age.set(age.into());
    }

    /// Ends flights that are deep in Bitcoin; gives those that are in no block, back on the wire.
    async fn look_at_flights(&mut self) -> Result<Vec<Flight>, PassError> {
        let ledger = self.replica.ledger();
        let deep = ledger.params_at(ledger.btc_height()).1.k();
        let mut waiting = Vec::new();
        for flight in self.flights.open_ones()? {
            match self.place_of(&flight).await? {
                Place::Mined(depth) if depth >= deep => self.flights.end(flight.id)?,
                Place::Mined(_) => {}
                Place::Waiting => {
                    if self.send_again(&flight).await? {
                        waiting.push(flight);
                    }
                }
            }
        }
        Ok(waiting)
    }

    async fn place_of(&self, flight: &Flight) -> Result<Place, PassError> {
        for version in flight.versions.iter().rev() {
            let found = self.bitcoin.raw_transaction(version.txid()).await?;
            let Some(block) = found.and_then(|found| found.mined_in) else { continue };
            if self.bitcoin.height_of(block).await?.is_some() {
                // As deep as the ledger knows: by then it has heard of the anchor too.
                let known = self.replica.ledger().bitcoin();
                let depth = known.height_of(&block).and_then(|height| known.depth_of(height));
                return Ok(Place::Mined(depth.unwrap_or(0)));
            }
        }
        Ok(Place::Waiting)
    }

    /// Sends the newest version, in case the node does not have it. A flight whose coin is gone is over.
    async fn send_again(&self, flight: &Flight) -> Result<bool, PassError> {
        let Some(newest) = flight.versions.last() else { return Ok(false) };
        match self.bitcoin.send_raw_transaction(&newest.transaction).await {
            Ok(_) => Ok(true),
            Err(RpcError::Refused { message, .. }) if message.contains("missingorspent") => {
                let why = self.why_gone(flight.id, newest).await?;
                tracing::warn!(txid = %newest.txid(), why, "an anchor can never confirm; another one will be made");
                self.flights.end(flight.id)?;
                Ok(false)
            }
            // An older version is still in the mempool and pays as much, or the node wants more than it pays: it is
            // replaced when its time comes.
            Err(why @ RpcError::Refused { .. }) => {
                tracing::debug!(txid = %newest.txid(), %why, "the node does not take an anchor again");
                Ok(true)
            }
            Err(why) => Err(why.into()),
        }
    }

    /// Why a version's coins are not there. A reorganisation can take away the transaction that made one, or leave two anchors of
    /// ours that spend the same.
    async fn why_gone(&self, flight: i64, version: &Version) -> Result<&'static str, PassError> {
        let others = self.flights.open_ones()?;
        let others = || others.iter().filter(|own| own.id != flight).flat_map(|own| &own.versions);
        for coin in inputs(version) {
            if others().any(|own| inputs(own).any(|other| other == coin)) {
                return Ok(
                    "another anchor of this wallet spent its coin: Bitcoin was reorganised between the two",
                );
            }
            let found = self.bitcoin.raw_transaction(coin.txid).await?;
            if found.and_then(|found| found.mined_in).is_none() {
                return Ok("a reorganisation of Bitcoin took the transaction away that made its coin");
            }
        }
        Ok("another transaction spent its coin")
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

    /// Replaces a transaction once there is a newer checkpoint, or when it has waited long enough.
    async fn hurry(&mut self, flight: &Flight) -> Result<Pass, PassError> {
        let Some(newest) = flight.versions.last() else { return Ok(Pass::Idle) };
        let newer = self.checkpoint(Some(newest.epoch)).await?;
        // After a reorg the wallet still counts what the lost block spent: then other coins must pay.
        let replaceable = inputs(newest).all(|coin| self.wallet.purse.holds(coin));
        let tip = self.bitcoin.tip().await?.height;
        let is_late = tip >= newest.height.saturating_add(self.bump_after);
        let same = || Anchor::find(&newest.transaction).ok().map(|(_, anchor)| anchor);
        match newer.or_else(|| same().filter(|_| is_late && replaceable)) {
            Some(anchor) => self.put(&anchor, Some(flight).filter(|_| replaceable)).await,
            None => Ok(Pass::Idle),
        }
    }

    async fn put(&mut self, anchor: &Anchor, replaces: Option<&Flight>) -> Result<Pass, PassError> {
        let estimate = self.bitcoin.estimate_fee_rate(FEE_TARGET, FALLBACK_RATE).await?;
        let height = self.bitcoin.tip().await?.height;
        let old = replaces.and_then(|flight| flight.versions.last());
        let version = build(&mut self.wallet, anchor, estimate, old, self.max_fee, height)?;
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
