//! Operators of the demo: each runs a signer and a voter, with a key for chain zero and one for the development chain.

use crate::demo::network::{Network, OtherChain, edit, string, text};
use crate::process::{Daemon, json_tool, wait_for};
use anyhow::Context as _;
use bitcoin::{Address, Amount, Txid};
use serde_json::Value;
use std::path::{Path, PathBuf};

/// What backs a registration, until its key has power.
pub const BACKING_SAT: u64 = 20_000;

/// Somebody who votes.
#[derive(Debug)]
pub struct Operator {
    /// Their name.
    pub name: String,
    /// Key for chain zero.
    pub zero: String,
    /// Key for the other chain.
    pub other: String,
    dir: PathBuf,
    socket: PathBuf,
    running: Option<(Daemon, Daemon)>,
}

impl Operator {
    /// Its key on a chain.
    pub fn key(&self, chain: &str) -> &str {
        if chain == "zero" { &self.zero } else { &self.other }
    }

    /// Makes the keys and configurations of an operator, and sends the coins that back the registrations: gives these two
    /// transactions too.
    pub async fn new(network: &Network, name: &str, chain: &OtherChain) -> anyhow::Result<(Self, Vec<Txid>)> {
        let dir = network.dir.join(format!("operator-{name}"));
        let socket = network.sockets().join(name).join("signer");
        let (own, genesis, password) = (text(&dir), text(&network.genesis()), text(&network.password()));
        let (rpc, cookie) = (network.node.rpc_url(), text(&network.node.cookie_path()));
        let place = text(&socket);
        let args = [
            "--json",
            "init",
            "--dir",
            &own,
            "--genesis",
            &genesis,
            "--hub",
            &network.hub_url,
            "--bitcoin",
            &rpc,
            "--cookie",
            &cookie,
            "--socket",
            &place,
            "--listen",
            "127.0.0.1:0",
            "--signer-listen",
            "127.0.0.1:0",
            "--password-file",
            &password,
        ];
        let made = json_tool("palisade-finality-provider", &args).await?;
        let address: Address<_> = string(&made, "funding_address")?.parse()?;
        let address = address.require_network(bitcoin::Network::Regtest)?;
        let mut backings = Vec::new();
        for _ in 0..2 {
            backings.push(network.node.fund(&address, Amount::from_sat(BACKING_SAT)).await?);
        }
        let (signer, voter) = (text(&dir.join("signer.toml")), text(&dir.join("voter.toml")));
        let (length, every) = (chain.epoch_length.to_string(), chain.voted_every.to_string());
        let args = [
            "--json",
            "add-chain",
            "--id",
            &chain.id,
            "--genesis-block",
            &chain.genesis,
            "--epoch-length",
            &length,
            "--voted-every",
            &every,
            "--source",
            &chain.source,
            "--signer-config",
            &signer,
            "--config",
            &voter,
        ];
        let added = json_tool("palisade-finality-provider", &args).await?;
        let (zero, other) = (string(&made, "key")?, string(&added, "key")?);
        Ok((Self { name: name.to_owned(), zero, other, dir, socket, running: None }, backings))
    }

    /// Starts signer and voter.
    pub async fn start(&mut self) -> anyhow::Result<()> {
        let program = "palisade-finality-provider";
        let (signer, voter) = (self.config("signer"), self.config("voter"));
        let mut signer =
            Daemon::start(program, &["signer", "--config", &signer], &self.dir.join("signer.log"))?;
        let socket = self.socket.clone();
        wait_for("the signer listens", || Ok(socket.exists()), || signer.check()).await?;
        let address = self.dir.join("voter.address");
        let _ = std::fs::remove_file(&address);
        let mut voter = Daemon::start(program, &["run", "--config", &voter], &self.dir.join("voter.log"))?;
        voter.address(&address).await?;
        self.running = Some((signer, voter));
        Ok(())
    }

    /// Stops voter and signer.
    pub async fn stop(&mut self) -> anyhow::Result<()> {
        if let Some((signer, voter)) = self.running.take() {
            voter.stop().await?;
            signer.stop().await?;
        }
        Ok(())
    }

    /// Kills the signer and starts it again.
    pub async fn kill_signer(&mut self) -> anyhow::Result<()> {
        let (signer, _) = self.running.as_mut().context("a running operator")?;
        signer.kill().await?;
        signer.start_again(None)
    }

    /// Kills the voter and starts it again.
    pub async fn kill_voter(&mut self) -> anyhow::Result<()> {
        let (address, (_, voter)) =
            (self.dir.join("voter.address"), self.running.as_mut().context("a running operator")?);
        voter.kill().await?;
        voter.start_again(Some(&address))?;
        voter.address(&address).await.map(|_| ())
    }

    /// Has the voter follow another hub from its next start on.
    pub fn follow(&self, from: &str, to: &str) -> anyhow::Result<()> {
        let line = |url: &str| format!("\nurl = \"{url}");
        edit(&self.dir.join("voter.toml"), &[(&line(from), &line(to))])
    }

    /// Signer and voter, while they run.
    pub fn daemons_mut(&mut self) -> impl Iterator<Item = &mut Daemon> {
        self.running.iter_mut().flat_map(|(signer, voter)| [signer, voter])
    }

    /// Fails if a process of the operator has ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        self.running.iter_mut().try_for_each(|(signer, voter)| signer.check().and_then(|()| voter.check()))
    }

    /// Registers both keys.
    pub async fn register(&self, chain: &OtherChain) -> anyhow::Result<()> {
        for id in ["zero", &chain.id] {
            let config = self.config("voter");
            let args = ["--json", "register", "--chain", id, "--operator", &self.name, "--config", &config];
            json_tool("palisade-finality-provider", &args).await?;
        }
        Ok(())
    }

    /// What the voter says of itself.
    pub async fn status(&self) -> anyhow::Result<Value> {
        json_tool("palisade-finality-provider", &["--json", "status", "--config", &self.config("voter")])
            .await
    }

    /// Where its voter keeps the hub blocks that it refused.
    pub fn refusals(&self) -> PathBuf {
        self.dir.join("voter-data/refusals")
    }

    /// The signer's socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Where its keys and records are.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    fn config(&self, which: &str) -> String {
        text(&self.dir.join(format!("{which}.toml")))
    }
}
