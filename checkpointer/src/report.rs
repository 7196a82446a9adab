//! The reporter: brings what happens on Bitcoin into the hub's log.
//!
//! What the ledger lacks is sent; what was sent before does not matter. So a fact that is lost, or that a rollback
//! withdrew, is sent again by itself, and several reporters do no harm. Facts go before headers: a stake must not lapse
//! because its inclusion was told late.
//!
//! [`plan`] decides, [`mark`] remembers how far everything is told, [`Reporter`] asks and sends.

pub mod mark;
pub mod plan;
mod reporter;

pub use reporter::Reporter;

use crate::config::Config;
use crate::shell::Shell;
use anyhow::Context as _;
use palisade_hub::daemon::config as files;
use palisade_hub::daemon::shutdown::Shutdown;
use std::path::Path;

/// Runs until it is told to stop.
pub async fn run(config_file: &Path, shutdown: Shutdown) -> anyhow::Result<()> {
    let config: Config = files::load(config_file)?;
    let process = config.report.as_ref().context("the configuration has no table [report]")?;
    let shell = Shell::open(&config, process, "palisade-checkpointer-report").await?;
    shell
        .work(shutdown, |replica, hub, bitcoin, health| {
            let reporter = Reporter::open(&process.data_dir, replica, hub, bitcoin)?;
            reporter.meters().register(health.registry())?;
            Ok(reporter)
        })
        .await
}
