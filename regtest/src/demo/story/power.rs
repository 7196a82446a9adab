//! Power as the hub tells it, with the moment at which it did.

use super::Story;
use crate::demo::report::PowerAt;
use crate::demo::tell::btc;
use anyhow::Context as _;
use serde_json::Value;
use std::time::Duration;

impl Story {
    /// The power of an operator's two keys, all read between the same two hub blocks.
    pub(super) async fn power(&self, operator: usize) -> anyhow::Result<Vec<PowerAt>> {
        let keys = [self.operators[operator].zero.clone(), self.operators[operator].other.clone()];
        let (status, providers) = self.providers_at_once().await?;
        let btc_height = u32::try_from(status["btc_height"].as_u64().context("a Bitcoin height")?)?;
        let hub_height = status["height"].as_u64().context("a hub height")?;
        let read = |key: String| {
            let own = providers.iter().find(|own| own["key"] == *key).context("a registered key")?;
            Ok(PowerAt { btc_height, hub_height, sat: own["sat"].as_u64().context("power")?, key })
        };
        keys.into_iter().map(read).collect()
    }

    /// What governance can accept for each chain: the power that its keys have now.
    pub(super) async fn power_of_chains(&self) -> anyhow::Result<Vec<(String, u64)>> {
        let (_, providers) = self.providers_at_once().await?;
        let of = |chain: &str| {
            let own = providers.iter().filter(|own| own["chain"] == *chain && own["exposed_at"].is_null());
            own.filter_map(|own| own["sat"].as_u64()).sum()
        };
        Ok(["zero", &self.chain.id].map(|chain| (chain.to_owned(), of(chain))).to_vec())
    }

    /// All providers, and the hub's status at the same hub block.
    async fn providers_at_once(&self) -> anyhow::Result<(Value, Vec<Value>)> {
        loop {
            let before = self.network.view("status").await?;
            let providers = self.network.view("providers").await?;
            let after = self.network.view("status").await?;
            if before["height"] == after["height"] {
                return Ok((after, providers.as_array().context("a list of providers")?.clone()));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The amounts alone, to compare.
pub(super) fn sats(power: &[PowerAt]) -> Vec<u64> {
    power.iter().map(|at| at.sat).collect()
}

/// The amounts as people read them.
pub(super) fn each(sats: &[u64]) -> String {
    sats.iter().map(|sat| btc(*sat).to_string()).collect::<Vec<_>>().join(" and ")
}
