//! A small development chain for regtest.

use clap::Parser;
use palisade_hub::daemon::endpoint::ListenAddr;
use palisade_hub::daemon::exit::{self, Failure, Format};
use palisade_hub::daemon::health::Health;
use palisade_hub::daemon::lock::DirLock;
use palisade_hub::daemon::network::Network;
use palisade_hub::daemon::serve::{self, Limits, Server};
use palisade_hub::daemon::shutdown::{self, Shutdown};
use palisade_regtest::devchain::{self, DevChain};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// A chain of blocks for finality providers to vote on.
#[derive(Parser)]
struct Cli {
    /// Name of the chain.
    #[arg(long, default_value = "dev")]
    name: String,
    /// Directory for its blocks and its address file.
    #[arg(long)]
    dir: PathBuf,
    /// Milliseconds between blocks.
    #[arg(long, default_value_t = 200)]
    interval_ms: u64,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    exit::finish(carry_out(cli), Format::Text)
}

fn carry_out(cli: Cli) -> Result<(), Failure> {
    let ended = shutdown::run(|shutdown| run(cli, shutdown)).map_err(Failure::failed)?;
    Ok(ended?)
}

async fn run(cli: Cli, shutdown: Shutdown) -> anyhow::Result<()> {
    // Two of them on one file would fork a chain that never forks.
    let _lock = DirLock::acquire(&cli.dir)?;
    let (chain, disk) = DevChain::open(&cli.dir.join("blocks"), &cli.name)?;
    let listen: ListenAddr = toml::from_str(&format!(
        "address = \"127.0.0.1:0\"\naddress_file = {}",
        toml::Value::String(cli.dir.join("address").display().to_string())
    ))?;
    let server = Server::bind(&listen).await?;
    let network: Network = "regtest".parse()?;
    let health = Health::new("palisade-devchain", env!("CARGO_PKG_VERSION"), network)?;
    let routes = serve::router(devchain::router(chain.clone()), health, Limits::default());
    let every = Duration::from_millis(cli.interval_ms.max(1));
    let ((), made) =
        tokio::join!(server.run(routes, &shutdown), chain.run(&cli.name, disk, every, &shutdown));
    made
}
