//! The file that holds a hub's genesis document.

use super::network::Network;
use anyhow::{Context as _, ensure};
use palisade_protocol::genesis::{Genesis, GenesisDocument};
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

/// Longest genesis document.
const MAX_BYTES: u64 = 1 << 20;

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
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_BYTES + 1).read_to_end(&mut bytes)?;
    ensure!(bytes.len() as u64 <= MAX_BYTES, "more than {MAX_BYTES} bytes");
    let document: GenesisDocument = serde_json::from_slice(&bytes)?;
    Ok(Arc::new(Genesis::new(document)?))
}
