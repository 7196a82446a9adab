//! The voter's metrics.

mod ages;

use ages::Ages;
use palisade_hub::daemon::health::Health;
use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts};

/// What is counted.
#[derive(Debug)]
pub struct Meters {
    /// Height of the own log.
    pub height: IntGauge,
    /// Votes that the signer gave, by chain.
    pub votes: IntCounterVec,
    /// Certified heights of sets with this key at which it did not vote, by chain.
    pub missed: IntCounterVec,
    /// Epochs in the ledger for which nonces are committed and no set is fixed, by chain.
    pub epochs_ahead: IntGaugeVec,
    /// How long ago the signer gave a vote, by chain.
    pub since_vote: Ages,
    /// How long ago the hub took a commitment, by chain.
    pub since_commitment: Ages,
    /// Blocks of the hub's that did not reproduce.
    pub refused_blocks: IntCounter,
    /// Whether the newest header deserves a vote.
    pub judged: IntGauge,
}

impl Meters {
    /// Registers all.
    pub fn new(health: &Health) -> Result<Self, prometheus::Error> {
        let by_chain = ["chain"];
        let meters = Self {
            height: IntGauge::new("height", "Height of the newest block of the own log.")?,
            votes: IntCounterVec::new(Opts::new("votes_total", "Votes cast since the start."), &by_chain)?,
            missed: IntCounterVec::new(
                Opts::new(
                    "votes_missed_total",
                    "Heights that became final without this key's vote since the start.",
                ),
                &by_chain,
            )?,
            epochs_ahead: IntGaugeVec::new(
                Opts::new("epochs_ahead", "Epochs without a set for which nonces are committed."),
                &by_chain,
            )?,
            since_vote: Ages::new(
                "seconds_since_vote",
                "Seconds since the newest vote, or since the start without one.",
            )?,
            since_commitment: Ages::new(
                "seconds_since_commitment",
                "Seconds since the hub took the newest commitment, or since the start without one.",
            )?,
            refused_blocks: IntCounter::new("refused_blocks_total", "Hub blocks that did not reproduce.")?,
            judged: IntGauge::new("judged", "1 while the newest hub header deserves a vote.")?,
        };
        let registry = health.registry();
        registry.register(Box::new(meters.height.clone()))?;
        registry.register(Box::new(meters.votes.clone()))?;
        registry.register(Box::new(meters.missed.clone()))?;
        registry.register(Box::new(meters.epochs_ahead.clone()))?;
        registry.register(Box::new(meters.since_vote.clone()))?;
        registry.register(Box::new(meters.since_commitment.clone()))?;
        registry.register(Box::new(meters.refused_blocks.clone()))?;
        registry.register(Box::new(meters.judged.clone()))?;
        Ok(meters)
    }
}
