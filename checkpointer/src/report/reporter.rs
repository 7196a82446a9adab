//! The reporter at work: asks its node and its replica, and sends what the plan says.

use super::mark::{Mark, MarkFile};
use super::plan;
use crate::shell::{FileError, Pass, PassError, Work, meet};
use bitcoin::Block;
use palisade_hub::bitcoind::{BitcoinRpc, MAX_HEADERS};
use palisade_hub::client::{HubClient, HubError, Receipt};
use palisade_hub::ledger::{Event, Ledger};
use palisade_hub::replica::Replica;
use palisade_protocol::chain::check_not_from_future;
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::{Headers, Message};
use palisade_protocol::units::{BtcHeight, Height};
use prometheus::{IntCounter, IntGauge, Registry};
use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};
use tokio::task::JoinSet;

/// Blocks that are read and held at a time.
const BLOCKS: u32 = 16;
/// Messages that wait for the hub's answer at a time.
const IN_FLIGHT: usize = 64;
/// Plans for one batch of blocks. Three suffice (inclusions, spends, spends of unbonding outputs) unless stakes are
/// registered meanwhile.
const PLANS: usize = 10;
/// Events of the own log that are read at a time.
const EVENTS: u32 = 1_000;
/// Rules of the ledger by which a fact is refused for good. It never should be; if it is, the others must not wait.
const NEVER_TAKEN: [&str; 7] =
    ["encoding", "inclusion", "not-staking", "matured", "spend", "anchor", "set-expired"];
/// Refused messages that are remembered.
const MAX_REFUSED: usize = 10_000;

/// What a reporter counts.
#[derive(Debug, Clone)]
pub struct Meters {
    lag: IntGauge,
    told: IntGauge,
    sent: IntCounter,
    repeated: IntCounter,
    refused: IntCounter,
}

impl Meters {
    fn new() -> Result<Self, prometheus::Error> {
        Ok(Self {
            lag: IntGauge::new("report_lag_blocks", "Bitcoin blocks of our node that are not told yet.")?,
            told: IntGauge::new("report_told_height", "Bitcoin height up to which everything is told.")?,
            sent: IntCounter::new("report_messages_total", "Messages that the hub took.")?,
            repeated: IntCounter::new("report_repeated_total", "Messages that the hub's log had already.")?,
            refused: IntCounter::new("report_refused_total", "Messages that the hub refused for good.")?,
        })
    }

    /// Shows them in a registry.
    pub fn register(&self, registry: &Registry) -> Result<(), prometheus::Error> {
        registry.register(Box::new(self.lag.clone()))?;
        registry.register(Box::new(self.told.clone()))?;
        registry.register(Box::new(self.sent.clone()))?;
        registry.register(Box::new(self.repeated.clone()))?;
        registry.register(Box::new(self.refused.clone()))
    }
}

/// A reporter between two passes.
pub struct Reporter {
    replica: Replica,
    hub: HubClient,
    bitcoin: BitcoinRpc,
    file: MarkFile,
    mark: Mark,
    /// Messages that the hub refused for good: they must not keep the others waiting.
    refused: BTreeSet<Hash32>,
    /// The hub has shown that it is ours.
    met: bool,
    meters: Meters,
}

impl Work for Reporter {
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

impl Reporter {
    /// A reporter that goes on where the mark in `directory` stands.
    pub fn open(
        directory: &Path,
        replica: Replica,
        hub: HubClient,
        bitcoin: BitcoinRpc,
    ) -> anyhow::Result<Self> {
        let file = MarkFile::open(&directory.join("report.sqlite"))?;
        let base = replica.ledger().bitcoin().base();
        let mark = file.read()?.unwrap_or(Mark { event: 0, stakes: 0, height: base });
        Ok(Self {
            replica,
            hub,
            bitcoin,
            file,
            mark,
            refused: BTreeSet::new(),
            met: false,
            meters: Meters::new()?,
        })
    }

    /// Its counters.
    pub fn meters(&self) -> &Meters {
        &self.meters
    }

    /// Its copy of the log and the ledger that follows.
    pub fn replica(&self) -> &Replica {
        &self.replica
    }

    /// How far everything is told.
    pub fn mark(&self) -> Mark {
        self.mark
    }

    /// One look: facts of blocks that the ledger knows, and when all are told, headers of blocks that it does not.
    pub async fn pass(&mut self) -> Result<Pass, PassError> {
        if !self.met {
            meet(&self.hub, &self.replica).await?;
            self.met = true;
        }
        self.replica.catch_up(&self.hub).await?;
        self.take_rollbacks()?;
        let node_tip = self.bitcoin.tip().await?;
        let shared = self.shared_height(node_tip.height).await?;
        // Blocks that our node does not have (it is behind, or on a branch with less work) cannot be read.
        if self.mark.height <= shared.next() {
            self.look_back().await?;
        }
        self.meters.told.set(self.mark.height.minus(1).0.into());
        self.meters.lag.set(i64::from(node_tip.height) + 1 - i64::from(self.mark.height.0));
        if self.mark.height <= shared {
            return self.tell_blocks(shared).await;
        }
        self.tell_headers(shared).await
    }

    /// Where the ledger's Bitcoin was rolled back, facts were withdrawn: from the fork on all blocks are read again.
    fn take_rollbacks(&mut self) -> Result<(), PassError> {
        let mut mark = self.mark;
        loop {
            let store = self.replica.store();
            let page = store.events(mark.event, EVENTS).map_err(FileError::from)?;
            if page.is_empty() {
                break;
            }
            for (seq, _, json) in page {
                mark.event = seq;
                if let Ok(Event::Bitcoin { fork: Some(fork), .. }) = serde_json::from_value(json) {
                    tracing::info!(%fork, "Bitcoin was reorganised");
                    mark.height = mark.height.min(fork);
                }
            }
        }
        self.move_mark(mark)
    }

    fn move_mark(&mut self, mark: Mark) -> Result<(), PassError> {
        // Most passes of an idle ledger move the cursor over blocks that change nothing for us.
        if mark != self.mark {
            self.file.write(&mark)?;
            self.mark = mark;
        }
        Ok(())
    }

    /// The last height at which the ledger's best chain and our node's hold the same block.
    async fn shared_height(&self, node_height: u32) -> Result<BtcHeight, PassError> {
        let chain = self.replica.ledger().bitcoin();
        let tip = chain.tip();
        if self.bitcoin.height_of(tip.hash).await?.is_some() {
            return Ok(tip.height);
        }
        let mut height = tip.height.min(BtcHeight(node_height));
        loop {
            let Some(own) = chain.hash_at(height) else {
                return Err(PassError::Apart(format!(
                    "our node's chain leaves the hub's below its base at height {}: \
                     one of the two is on another network, or the node is still far behind",
                    chain.base()
                )));
            };
            if self.bitcoin.block_hash(height.0).await? == Some(own) {
                return Ok(height);
            }
            height = height.minus(1);
        }
    }

    /// Stakes that were registered since the last look may stand in blocks that were read before. What has left them stands in
    /// none of those: before a stake is in the log nobody signs for its coins to leave, and what waited its timelock out is not
    /// taken any more.
    async fn look_back(&mut self) -> Result<(), PassError> {
        let known = self.replica.ledger().stakes().len();
        for index in self.mark.stakes..known {
            if let Some(height) = self.missed(index).await? {
                let block = self.read_blocks(height, height.next()).await?;
                self.tell(&block).await?;
            }
        }
        self.move_mark(Mark { stakes: known, ..self.mark })
    }

    /// The block that holds a stake, if it was read before the stake was known and the ledger lacks that.
    async fn missed(&self, index: usize) -> Result<Option<BtcHeight>, PassError> {
        let ledger = self.replica.ledger();
        let Some(stake) = ledger.stakes().get(index).filter(|stake| stake.included.is_none()) else {
            return Ok(None);
        };
        let found = self.bitcoin.raw_transaction(stake.contract.coin.outpoint.txid).await?;
        let height = found.and_then(|found| ledger.bitcoin().height_of(&found.mined_in?));
        Ok(height.filter(|height| *height < self.mark.height))
    }

    /// Reads some blocks, tells what they show, and moves the mark behind them.
    async fn tell_blocks(&mut self, shared: BtcHeight) -> Result<Pass, PassError> {
        let first = self.mark.height;
        let end = shared.next().min(first.plus(BLOCKS));
        let blocks = self.read_blocks(first, end).await?;
        self.tell(&blocks).await?;
        self.move_mark(Mark { height: end, ..self.mark })?;
        Ok(Pass::Worked)
    }

    /// Tells what blocks show, until the ledger lacks nothing of it.
    async fn tell(&mut self, blocks: &[Block]) -> Result<(), PassError> {
        let mut plans = 0;
        loop {
            let messages = self.plan(blocks);
            if messages.is_empty() {
                return Ok(());
            }
            if plans == PLANS {
                let why = "the hub says that it took messages, but its log lacks them".to_owned();
                return Err(HubError::Malformed(why).into());
            }
            self.send(messages).await?;
            plans += 1;
        }
    }

    async fn read_blocks(&self, first: BtcHeight, end: BtcHeight) -> Result<Vec<Block>, PassError> {
        let chain = self.replica.ledger().bitcoin();
        let mut blocks = Vec::new();
        for hash in (first.0..end.0).filter_map(|height| chain.hash_at(BtcHeight(height))) {
            let block = self.bitcoin.block(hash).await?;
            let pruned = || PassError::Apart(format!("our node does not have block {hash}"));
            blocks.push(block.ok_or_else(pruned)?);
        }
        Ok(blocks)
    }

    fn plan(&mut self, blocks: &[Block]) -> Vec<Message> {
        let ledger = self.replica.ledger();
        let mut messages = Vec::new();
        for fact in blocks.iter().flat_map(|block| plan::facts(ledger, block)) {
            match fact {
                Ok(message) if self.refused.contains(&message.id()) => {}
                Ok(message) => messages.push(message),
                Err(why) => tracing::error!(%why, "a fact cannot be told"),
            }
        }
        messages
    }

    /// Headers that the ledger lacks.
    async fn tell_headers(&mut self, shared: BtcHeight) -> Result<Pass, PassError> {
        let above = self.bitcoin.headers(shared.next().0, MAX_HEADERS).await?;
        let full = above.len() >= MAX_HEADERS as usize;
        let ledger = self.replica.ledger();
        let Some(headers) = plan::headers(ledger, shared, above) else {
            if full {
                return Err(PassError::Apart(format!(
                    "our node left the hub's chain at height {shared}, deeper than one batch of headers can tell"
                )));
            }
            return Ok(Pass::Idle);
        };
        check_not_from_future(&headers, now_s()).map_err(|why| PassError::Apart(why.to_string()))?;
        let (count, tip) = (headers.len(), shared.plus(headers.len() as u32));
        let before = ledger.bitcoin().tip();
        self.send(vec![Message::Headers(Headers { headers })]).await?;
        if self.replica.ledger().bitcoin().tip() == before {
            let why = format!("the hub does not take the headers of our node above height {shared}");
            return Err(PassError::Apart(why));
        }
        tracing::info!(count, btc_height = %tip, "told headers");
        Ok(Pass::Worked)
    }

    /// Sends messages that do not depend on each other, and waits until the replica has those that the hub took.
    async fn send(&mut self, messages: Vec<Message>) -> Result<(), PassError> {
        let mut waiting = messages.into_iter();
        let mut flying = JoinSet::new();
        let mut newest = None;
        let mut again = None;
        loop {
            while flying.len() < IN_FLIGHT
                && let Some(message) = waiting.next()
            {
                let hub = self.hub.clone();
                flying.spawn(async move {
                    let answer = hub.submit(&message).await;
                    (message, answer)
                });
            }
            let Some(done) = flying.join_next().await else { break };
            let Ok((message, answer)) = done else { continue };
            match self.judge(&message, answer) {
                Ok(height) => newest = newest.max(height),
                // One that fails must not keep the others from being sent.
                Err(why) => again = Some(why),
            }
        }
        self.follow_to(newest).await?;
        again.map_or(Ok(()), |why| Err(why.into()))
    }

    /// What an answer means: the block that holds the message if the hub took it, an error if it can be sent again.
    fn judge(
        &mut self,
        message: &Message,
        answer: Result<Receipt, HubError>,
    ) -> Result<Option<Height>, HubError> {
        match answer {
            Ok(receipt) => {
                self.meters.sent.inc();
                log_told(message);
                Ok(Some(receipt.height))
            }
            // Somebody else told it first; the log has it.
            Err(why) if why.rule() == Some("repeated") => {
                self.meters.repeated.inc();
                Ok(None)
            }
            // The same, or the ledger's chain has moved: whether it moved shows in the log.
            Err(why @ HubError::Refused { .. }) if matches!(message, Message::Headers(_)) => {
                tracing::debug!(%why, "headers");
                Ok(None)
            }
            Err(why) if why.rule().is_some_and(|rule| NEVER_TAKEN.contains(&rule)) => {
                self.meters.refused.inc();
                tracing::error!(message = %message.id(), %why, "the hub refuses a fact for good");
                if self.refused.len() >= MAX_REFUSED {
                    self.refused.pop_first();
                }
                self.refused.insert(message.id());
                Ok(None)
            }
            Err(why) => Err(why),
        }
    }

    async fn follow_to(&mut self, height: Option<Height>) -> Result<(), PassError> {
        self.replica.catch_up(&self.hub).await?;
        match height {
            Some(height) if self.replica.ledger().next_height() <= height => {
                let why =
                    format!("it said that block {height} holds a message, but does not show that block");
                Err(HubError::Malformed(why).into())
            }
            _ => Ok(()),
        }
    }
}

fn log_told(message: &Message) {
    match message {
        Message::Included(fact) => {
            tracing::info!(stake = %fact.stake, block = %fact.proof.block_hash, "told an inclusion");
        }
        Message::Spent(fact) => {
            let txid = fact.proof.transaction.compute_txid();
            tracing::info!(stake = %fact.stake, outpoint = %fact.outpoint, %txid, "told a spend");
        }
        Message::Anchor(proof) => {
            let txid = proof.transaction.compute_txid();
            tracing::info!(%txid, block = %proof.block_hash, "told an anchor");
        }
        _ => {}
    }
}

/// The computer's clock, in UNIX seconds.
fn now_s() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    u32::try_from(now).unwrap_or(u32::MAX)
}
