//! The signer as a running process.

use super::config::SignerConfig;
use super::record::{Origin, Record};
use super::server;
use super::{ChainSigner, Signer};
use crate::keys;
use anyhow::Context as _;
use palisade_hub::daemon::config as files;
use palisade_hub::daemon::genesis::read_genesis_for;
use palisade_hub::daemon::health::Health;
use palisade_hub::daemon::lock::DirLock;
use palisade_hub::daemon::password::PasswordSource;
use palisade_hub::daemon::serve::{self, Limits, Server};
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_protocol::context::ChainIdentity;
use palisade_protocol::genesis::Genesis;
use std::path::Path;
use std::sync::Arc;

/// Runs until it is told to stop.
pub async fn run(config_file: &Path, shutdown: Shutdown) -> anyhow::Result<()> {
    let config: SignerConfig = files::load(config_file)?;
    let genesis = read_genesis_for(config.network, &config.genesis_file)?;
    let _lock = DirLock::acquire(&config.data_dir)?;
    let signer = Arc::new(open(&config, &genesis)?);
    let door = server::open(&config.socket)?;
    let uid = server::own_uid().context("own user id")?;
    tracing::info!(socket = %config.socket.display(), "answering");
    let answering = server::serve(signer, door, uid, shutdown.clone());
    match &config.listen {
        None => answering.await,
        Some(listen) => {
            let health = Health::new("palisade-signer", env!("CARGO_PKG_VERSION"), config.network)?;
            let server = Server::bind(listen).await?;
            tracing::info!(address = %server.address(), "listening");
            let routes = serve::router(axum::Router::new(), health, Limits::default());
            let ((), ()) = tokio::join!(server.run(routes, &shutdown), answering);
        }
    }
    Ok(())
}

/// Opens keys and record. The caller holds the lock of the data directory.
fn open(config: &SignerConfig, genesis: &Genesis) -> anyhow::Result<Signer> {
    let network = genesis.network();
    let password = PasswordSource::usual(config.password_file.clone()).read("Password of the keys: ")?;
    let zero = ChainIdentity { incarnation: config.zero_incarnation, ..genesis.zero() };
    let secret = keys::open_provider(&config.zero_key_file, &zero.id, &password, network)?;
    let mut chains = vec![ChainSigner::new(zero, genesis.document().zero, secret)];
    for chain in &config.chains {
        let secret = keys::open_provider(&chain.key_file, &chain.id, &password, network)?;
        chains.push(ChainSigner::new(chain.identity(genesis), chain.terms(), secret));
    }
    let bls = keys::open_bls(&config.bls_key_file, &password, network)?;
    let (record, origin) = Record::open(&config.data_dir)?;
    match origin {
        Origin::Existing => tracing::info!(record = %record.id(), "record opened"),
        Origin::New => tracing::info!(record = %record.id(), "record begun, with a new seed"),
        Origin::PutAside { why, to } => tracing::error!(
            record = %record.id(), why, aside = %to.display(),
            "the record cannot be trusted and was put aside; a new one was begun. Epochs that the old one committed to are sat out"
        ),
    }
    for chain in &chains {
        tracing::info!(chain = %chain.identity.id, key = %chain.key(), "key opened");
    }
    Ok(Signer::new(genesis, chains, bls, record)?)
}
