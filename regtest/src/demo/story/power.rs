//! Power as the hub tells it, with the moment at which it did.

use super::Story;
use crate::demo::tell::btc;
use anyhow::Context as _;
use palisade_protocol::units::Height;
use serde_json::Value;
use std::time::Duration;

/// The power of an operator's two keys after a hub block.
#[derive(Debug)]
pub(super) struct Power {
    pub keys: [String; 2],
    pub sats: Vec<u64>,
    pub hub_height: Height,
}

impl Story {
    /// The power of an operator's two keys, all read between the same two hub blocks.
    pub(super) async fn power(&self, operator: usize) -> anyhow::Result<Power> {
        let keys = [self.operators[operator].zero.clone(), self.operators[operator].other.clone()];
        let (status, providers) = self.providers_at_once().await?;
        let hub_height = Height(status["height"].as_u64().context("a hub height")?);
        let read = |key: &String| {
            let own = providers.iter().find(|own| own["key"] == **key).context("a registered key")?;
            own["sat"].as_u64().context("power")
        };
        let sats = keys.iter().map(read).collect::<anyhow::Result<_>>()?;
        Ok(Power { keys, sats, hub_height })
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
                return Ok((
                    after,
                    providers["providers"].as_array().context("a list of providers")?.clone(),
                ));
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
}

/// The amounts as people read them.
pub(super) fn each(sats: &[u64]) -> String {
    sats.iter().map(|sat| btc(*sat).to_string()).collect::<Vec<_>>().join(" and ")
}
