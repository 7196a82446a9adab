//! The anchorer: puts the newest checkpoint on Bitcoin, from a small wallet of its own.
//!
//! One transaction is under way at a time. While it is not in a block it is replaced by one that pays more: when there is a
//! newer checkpoint, which covers all that the older one does, and after so many Bitcoin blocks. The fee has a ceiling. Every version is on disk before it is on the wire,
//! so after a restart all of them are known. Whatever the hub hands out is judged by our own copy of the log first.
//!
//! [`flight`] remembers, [`build`] makes transactions, [`Anchorer`] asks its node and acts, and looks what became of what it sent.

mod anchorer;
pub mod build;
mod fate;
pub mod flight;

pub use anchorer::Anchorer;

use crate::config::Config;
use crate::shell::Shell;
use crate::wallet::{Purpose, Wallet};
use anyhow::Context as _;
use palisade_hub::daemon::config as files;
use palisade_hub::daemon::shutdown::Shutdown;
use std::path::Path;

/// The file of what is under way, in the process's directory.
pub(crate) const FLIGHTS_FILE: &str = "flights.sqlite";

/// Runs until it is told to stop.
pub async fn run(config_file: &Path, shutdown: Shutdown) -> anyhow::Result<()> {
    let config: Config = files::load(config_file)?;
    let own = config.anchor.as_ref().context("the configuration has no table [anchor]")?;
    let shell = Shell::open(&config, &own.process, "palisade-checkpointer-anchor").await?;
    let wallet = Wallet::open(Purpose::Anchor, &own.wallet, &own.process.data_dir, config.network.bitcoin())?;
    shell
        .work(shutdown, |replica, hub, bitcoin, health| {
            let anchorer = Anchorer::open(own, wallet, replica, hub, bitcoin)?;
            anchorer.meters().register(health.registry())?;
            Ok(anchorer)
        })
        .await
}
