//! The watcher: once a provider's key is out, every stake that names it is slashed, on Bitcoin, without the hub.
//!
//! A key comes out by two votes at one height, by a slashing of somebody else's stake (the committee's signatures in it
//! give the key away), by a leak; and it reaches us by our copy of the log, by the hub's votes, by our own node's blocks
//! and mempool, or by a file. What slashes is in our copy of the log. A hub that lies or is gone stops nothing.
//!
//! [`recover`], [`votes`], [`slash`] and [`job`] decide; [`book`] remembers; [`Watcher`] asks its node and acts; [`payer`] pays where that is
//! needed.

pub mod book;
pub mod job;
pub mod payer;
pub mod recover;
mod scan;
pub mod slash;
mod slasher;
pub mod votes;
mod watcher;

pub use watcher::Watcher;

use crate::config::Config;
use crate::shell::Shell;
use crate::wallet::{Purpose, Wallet};
use anyhow::{Context as _, bail};
use palisade_hub::daemon::bounded;
use palisade_hub::daemon::config as files;
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::finality::evidence::Evidence;
use palisade_protocol::message::{MAX_MESSAGE, Message};
use payer::Payer;
use std::path::{Path, PathBuf};

/// The book's file in the process's directory.
pub(crate) const BOOK_FILE: &str = "watch.sqlite";

/// Runs until it is told to stop.
pub async fn run(config_file: &Path, evidence: &[PathBuf], shutdown: Shutdown) -> anyhow::Result<()> {
    let config: Config = files::load(config_file)?;
    let process = config.watch.as_ref().context("the configuration has no table [watch]")?;
    let evidence: Vec<Evidence> =
        evidence.iter().map(|file| read_evidence(file)).collect::<Result<_, _>>()?;
    let shell = Shell::open(&config, &process.process, "palisade-checkpointer-watch").await?;
    let directory = &process.process.data_dir;
    let payer = process.wallet.as_ref().map(|own| -> anyhow::Result<Payer> {
        Ok(Payer::new(Wallet::open(Purpose::Watch, own, directory, config.network.bitcoin())?, own))
    });
    let payer = payer.transpose()?;
    shell
        .work(shutdown, |replica, hub, bitcoin, health| {
            let mut watcher = Watcher::open(directory, replica, hub, bitcoin, payer)?;
            for evidence in &evidence {
                watcher.learn(evidence, "file")?;
            }
            watcher.meters().register(health.registry())?;
            Ok(watcher)
        })
        .await
}

/// Reads a file that holds an evidence message in hex, as the hub's log has it.
pub fn read_evidence(path: &Path) -> anyhow::Result<Evidence> {
    let named = || format!("evidence {}", path.display());
    let text = bounded::read(path, 2 * MAX_MESSAGE + 2).with_context(named)?;
    let text = text.with_context(|| format!("{}: longer than a message can be", named()))?;
    let bytes = hex::decode(text.trim_ascii()).with_context(named)?;
    let Message::Evidence(evidence) = Message::from_bytes(&bytes).with_context(named)? else {
        bail!("{}: the message is no evidence", named());
    };
    evidence.secret().with_context(named)?;
    Ok(evidence)
}
