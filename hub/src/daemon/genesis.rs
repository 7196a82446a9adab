//! The file that holds a hub's genesis document.

use super::bounded;
use super::config::ConfigError;
use super::network::Network;
use anyhow::Context as _;
use palisade_protocol::genesis::{Genesis, GenesisDocument};
use std::path::Path;
use std::sync::Arc;

/// Longest genesis document.
const MAX_BYTES: usize = 1 << 20;

/// Reads and checks a genesis document.
pub fn read_genesis(path: &Path) -> Result<Arc<Genesis>, ConfigError> {
    parse(path).map_err(|why| refused(path, why))
}

/// The same for a process that is configured for a network: it must be the document's.
pub fn read_genesis_for(network: Network, path: &Path) -> Result<Arc<Genesis>, ConfigError> {
    let genesis = read_genesis(path)?;
    let found = genesis.network();
    if found != network.bitcoin() {
        return Err(refused(path, anyhow::anyhow!("it is for {found}, the configuration for {network}")));
    }
    Ok(genesis)
}

fn refused(path: &Path, why: anyhow::Error) -> ConfigError {
    ConfigError::Genesis { path: path.to_owned(), reason: format!("{why:#}") }
}

fn parse(path: &Path) -> anyhow::Result<Arc<Genesis>> {
    let bytes = bounded::read(path, MAX_BYTES)?.with_context(|| format!("more than {MAX_BYTES} bytes"))?;
    let document: GenesisDocument = serde_json::from_slice(&bytes)?;
    Ok(Arc::new(Genesis::new(document)?))
}

#[cfg(test)]
mod tests {
    use super::super::exit::{Exit, Failure};
    use super::*;

    #[test]
    fn a_document_that_is_missing_or_none_is_a_wrong_configuration() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("genesis.json");
        for written in [None, Some("{}"), Some("text")] {
            written.iter().for_each(|text| std::fs::write(&file, text).unwrap());
            let why = read_genesis_for(Network::from(bitcoin::Network::Regtest), &file).unwrap_err();
            assert!(why.to_string().starts_with(&format!("genesis document {}: ", file.display())), "{why}");
            assert_eq!(Failure::from(anyhow::Error::from(why)).exit(), Exit::Usage);
        }
    }
}
