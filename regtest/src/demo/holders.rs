//! Holders of the demo: people with a wallet of their own, who use the shipped staker as anybody would.

use crate::demo::network::{Network, string, text};
use crate::process::{Failed, json_tool, tool};
use anyhow::Context as _;
use bitcoin::{Address, Amount, Transaction, Txid};
use serde_json::Value;
use std::path::PathBuf;

/// Somebody with a wallet.
#[derive(Debug, Clone)]
pub struct Holder {
    /// Their name.
    pub name: String,
    config: PathBuf,
}

impl Holder {
    /// Makes a wallet and puts coins into it. Gives the funding transaction too; it is mined with the next block.
    pub async fn new(network: &Network, name: &str, amount: Amount) -> anyhow::Result<(Self, Txid)> {
        let dir = text(&network.dir.join(format!("holder-{name}")));
        let (genesis, password) = (text(&network.genesis()), text(&network.password()));
        let (rpc, cookie) = (network.node.rpc_url(), text(&network.node.cookie_path()));
        let args = [
            "--json",
            "init",
            "--dir",
            &dir,
            "--hub",
            &network.hub_url,
            "--genesis",
            &genesis,
            "--bitcoin-rpc",
            &rpc,
            "--bitcoin-cookie",
            &cookie,
            "--password-file",
            &password,
        ];
        let made = json_tool("palisade-staker", &args).await?;
        let address: Address<_> = string(&made, "address")?.parse()?;
        let address = address.require_network(bitcoin::Network::Regtest)?;
        let txid = network.node.fund(&address, amount).await?;
        Ok((Self { name: name.to_owned(), config: PathBuf::from(string(&made, "config")?) }, txid))
    }

    /// Runs a command of the staker and gives its JSON answer.
    pub async fn run(&self, args: &[&str]) -> anyhow::Result<Value> {
        let config = text(&self.config);
        let all: Vec<&str> =
            ["--json", "--config", &config].into_iter().chain(args.iter().copied()).collect();
        json_tool("palisade-staker", &all)
            .await
            .with_context(|| format!("{} tries to {}", self.name, args.join(" ")))
    }

    /// Runs a command that must fail, and gives what it said.
    pub async fn fails(&self, args: &[&str]) -> anyhow::Result<String> {
        let config = text(&self.config);
        let all: Vec<&str> = ["--config", &config].into_iter().chain(args.iter().copied()).collect();
        match tool("palisade-staker", &all).await {
            Ok(said) => anyhow::bail!("{} could {}: {said}", self.name, args.join(" ")),
            Err(why) => Ok(why.downcast::<Failed>()?.said),
        }
    }

    /// A signed transaction that a command prints instead of broadcasting it.
    pub async fn signed(&self, args: &[&str]) -> anyhow::Result<Transaction> {
        let answer = self.run(args).await?;
        Ok(bitcoin::consensus::encode::deserialize_hex(&string(&answer, "raw")?)?)
    }
}
