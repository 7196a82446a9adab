//! The file that holds a hub's genesis document.

use super::bounded;
use super::network::Network;
use anyhow::{Context as _, ensure};
use palisade_protocol::genesis::{Genesis, GenesisDocument};
use std::path::Path;
use std::sync::Arc;

/// Longest genesis document.
const MAX_BYTES: usize = 1 << 20;

/// Reads and checks a genesis document.
pub fn read_genesis(path: &Path) -> anyhow::Result<Arc<Genesis>> {
    parse(path).with_context(|| format!("genesis document {}", path.display()))
}

/// The same for a process that is configured for a network: it must be the document's.
pub fn read_genesis_for(network: Network, path: &Path) -> anyhow::Result<Arc<Genesis>> {
    let genesis = read_genesis(path)?;
    let found = genesis.network();
    ensure!(
        found == network.bitcoin(),
        "the configuration is for {network}, the genesis document {} for {found}",
        path.display()
    );
    Ok(genesis)
}

fn parse(path: &Path) -> anyhow::Result<Arc<Genesis>> {
    let bytes = bounded::read(path, MAX_BYTES)?.with_context(|| format!("more than {MAX_BYTES} bytes"))?;
    let document: GenesisDocument = serde_json::from_slice(&bytes)?;
    Ok(Arc::new(Genesis::new(document)?))
}
