//! `providers`: whom one can choose.

use crate::session::Session;
use bitcoin::Amount;
use palisade_hub::daemon::exit::Failure;
use palisade_hub::ledger::Ledger;
use palisade_protocol::context::ChainId;
use palisade_protocol::keys::ProviderKey;
use serde::Serialize;
use std::fmt;

/// All registered providers, chain by chain, the strongest first.
#[derive(Debug, Serialize)]
pub struct Listing {
    /// The chains.
    pub chains: Vec<ChainListing>,
}

/// Providers of one chain.
#[derive(Debug, Serialize)]
pub struct ChainListing {
    /// The chain.
    pub chain: ChainId,
    /// Whether it is the hub's own, of which every stake names exactly one.
    pub zero: bool,
    /// Its providers.
    pub providers: Vec<Entry>,
}

/// One provider.
#[derive(Debug, Serialize)]
pub struct Entry {
    /// The key to name.
    pub key: ProviderKey,
    /// Who runs it, by their own word.
    pub operator: String,
    /// Power, in sat.
    pub power_sat: u64,
    /// Its key is out: it cannot be chosen.
    pub exposed: bool,
    /// For how many epochs it has committed nonces: with none it cannot vote.
    pub epochs_committed: usize,
}

/// A provider by its key, and as the log knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Named {
    /// The key.
    pub key: ProviderKey,
    /// The chain that it votes on.
    pub chain: Option<ChainId>,
    /// Who runs it, by their own word.
    pub operator: Option<String>,
}

impl Named {
    /// Names keys as a ledger knows them.
    pub fn all(keys: &[ProviderKey], ledger: &Ledger) -> Vec<Self> {
        let name = |key: &ProviderKey| {
            let known = ledger.providers().get(key);
            let (chain, operator) = known.map(|known| (known.chain.clone(), known.operator.clone())).unzip();
            Self { key: *key, chain, operator }
        };
        keys.iter().map(name).collect()
    }
}

impl fmt::Display for Named {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.chain, &self.operator) {
            (Some(chain), Some(operator)) => write!(f, "{chain}: {operator} ({})", self.key),
            _ => self.key.fmt(f),
        }
    }
}

/// The listing of a ledger.
pub fn list(ledger: &Ledger) -> Listing {
    let chains = ledger.chains().iter().map(|chain| {
        let own = ledger.providers().iter().filter(|provider| provider.chain == *chain.id());
        let mut providers: Vec<Entry> = own
            .map(|provider| Entry {
                key: provider.key,
                operator: provider.operator.clone(),
                power_sat: provider.power.to_sat(),
                exposed: provider.exposed_at.is_some(),
                epochs_committed: provider.roots.len(),
            })
            .collect();
        providers.sort_by_key(|entry| (entry.exposed, std::cmp::Reverse(entry.power_sat), entry.key));
        ChainListing { chain: chain.id().clone(), zero: chain.id().is_zero(), providers }
    });
    Listing { chains: chains.collect() }
}

/// Asks for the newest state and lists it.
pub async fn providers(session: &mut Session) -> Result<Listing, Failure> {
    session.catch_up().await?;
    Ok(list(session.ledger()))
}

impl fmt::Display for Listing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for chain in &self.chains {
            let note = if chain.zero {
                " (the hub's own chain: choose exactly one)"
            } else {
                " (choose at most one)"
            };
            writeln!(f, "{}{note}", chain.chain)?;
            if chain.providers.is_empty() {
                writeln!(f, "  nobody yet")?;
            }
            for entry in &chain.providers {
                let power = Amount::from_sat(entry.power_sat);
                let note = if entry.exposed {
                    ", key is out: do not choose"
                } else if entry.epochs_committed == 0 {
                    ", not ready to vote"
                } else {
                    ""
                };
                writeln!(f, "  {}  {}, {power}{note}", entry.key, entry.operator)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use palisade_world::{Wish, World, provider_key};

    #[test]
    fn providers_are_listed_by_chain_the_strongest_first() {
        let mut world = World::new(1_000_000);
        world.mine(1);
        for name in ["anna", "bert"] {
            world.register_provider(&ChainId::zero(), name);
        }
        world.active_stake(&Wish { holder: "alice", sat: 500_000, providers: &["bert"], lock: 300 });
        let listing = list(&world.ledger);
        let keys: Vec<_> = listing.chains[0].providers.iter().map(|entry| entry.key).collect();
        assert_eq!(keys, [provider_key("bert"), provider_key("anna")]);
        let text = listing.to_string();
        assert!(
            text.contains("choose exactly one") && text.contains("bert, 0.00500000 BTC, not ready"),
            "{text}"
        );
    }
}
