//! The network of the demo: a real bitcoind and every shipped daemon, each started with a user's flags.

use crate::demo::tell::{Tell, Waiting};
use crate::node::{Node, free_port};
use crate::process::{Daemon, json_tool};
use anyhow::{Context as _, bail, ensure};
use bitcoin::address::NetworkUnchecked;
use bitcoin::{Address, Amount};
use palisade_hub::client::HubClient;
use palisade_protocol::params::Profile;
use rand::RngCore as _;
use serde_json::Value;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Hub blocks in an epoch of chain zero, as regtest has it.
pub const EPOCH: u64 = 20;
/// Members of the covenant, and how many of them must sign.
pub const COVENANT: (usize, u8) = (5, 3);
/// Coins that pay for anchors, and as many for slashings in times of high fees.
const FEE_COINS: Amount = Amount::from_sat(10_000_000);
/// Members of governance, and how many of them must sign.
const GOVERNANCE: (usize, u8) = (3, 2);

/// Everything that runs.
pub struct Network {
    /// Where everything lives.
    pub dir: PathBuf,
    /// The real bitcoind.
    pub node: Node,
    /// The hub, as anybody reaches it.
    pub hub: HubClient,
    /// The hub's address.
    pub hub_url: String,
    daemons: Vec<Daemon>,
    /// Sockets have short names only.
    sockets: tempfile::TempDir,
}

/// A chain that operators vote on beside chain zero.
#[derive(Debug, Clone)]
pub struct OtherChain {
    /// Its name.
    pub id: String,
    /// Hash of its genesis block.
    pub genesis: String,
    /// Heights in an epoch.
    pub epoch_length: u64,
    /// Every so many heights are voted on.
    pub voted_every: u64,
    /// Where its blocks are read.
    pub source: String,
}

impl Network {
    /// Starts bitcoind, hub, covenant and checkpointer in a directory.
    pub async fn start(dir: &Path, tell: &Tell) -> anyhow::Result<Self> {
        Self::start_in_profile(dir, tell, Profile::Compatible).await
    }

    /// The same for transactions of this profile.
    pub async fn start_in_profile(dir: &Path, tell: &Tell, profile: Profile) -> anyhow::Result<Self> {
        std::fs::create_dir_all(dir).with_context(|| format!("directory {}", dir.display()))?;
        let node = Node::in_directory(&dir.join("bitcoin")).await?;
        tell.line(format!("bitcoind runs on {}", node.rpc_url()));
        // Coins for everybody: the first blocks pay most.
        node.mine(120).await?;
        write_private(&password(dir), &random_hex())?;
        let hub_url = format!("http://127.0.0.1:{}", free_port()?);
        let covenant = make_covenant(dir, &hub_url).await?;
        let governance = make_governance(dir).await?;
        make_hub(dir, &hub_url, &covenant, &governance, profile).await?;
        let hub = HubClient::new(hub_url.parse()?);
        let mut network = Self {
            dir: dir.to_owned(),
            node,
            hub,
            hub_url,
            daemons: Vec::new(),
            sockets: short_directory()?,
        };
        network.run("palisade-hub", &["run"], "hub/hub.toml", "hub/hub.address").await?;
        tell.line(format!("hub serves {}", network.hub_url));
        for member in 0..COVENANT.0 {
            network.run_member(member).await?;
        }
        tell.line(format!("covenant of {} members runs; {} must sign", COVENANT.0, COVENANT.1));
        network.start_checkpointer().await?;
        network.wait_for_bitcoin().await?;
        tell.line("checkpointer has told the hub what is on Bitcoin");
        Ok(network)
    }

    /// The genesis document.
    pub fn genesis(&self) -> PathBuf {
        self.dir.join("hub/genesis.json")
    }

    /// A short private directory for sockets.
    pub fn sockets(&self) -> &Path {
        self.sockets.path()
    }

    /// The file with everybody's password.
    pub fn password(&self) -> PathBuf {
        password(&self.dir)
    }

    async fn start_checkpointer(&mut self) -> anyhow::Result<()> {
        let (dir, genesis) = (self.dir.join("checkpointer"), self.genesis());
        let wallets = make_checkpointer(&dir, &genesis, &self.hub_url, &self.node, &self.password()).await?;
        for wallet in wallets {
            self.node.fund(&wallet.assume_checked(), FEE_COINS).await?;
        }
        self.node.mine(1).await?;
        edit(&dir.join("checkpointer.toml"), &[("poll_interval_ms = 1000", "poll_interval_ms = 100")])?;
        let config = "checkpointer/checkpointer.toml";
        self.run("palisade-checkpointer", &["report"], config, "checkpointer/report.address").await?;
        self.run("palisade-checkpointer", &["watch"], config, "checkpointer/watch.address").await?;
        self.run("palisade-checkpointer", &["anchor"], config, "checkpointer/anchor.address").await
    }

    /// Starts the development chain and has governance register it, with this much power to open.
    pub async fn start_chain(&mut self, minimum_power: u64) -> anyhow::Result<OtherChain> {
        let dir = self.dir.join("devchain");
        std::fs::create_dir_all(&dir)?;
        let own = text(&dir);
        let mut daemon = Daemon::start("palisade-devchain", &["--dir", &own], &dir.join("devchain.log"))?;
        let address = daemon.address(&dir.join("address")).await?;
        self.daemons.push(daemon);
        let chain = OtherChain {
            id: "dev".to_owned(),
            genesis: crate::devchain::genesis("dev").to_string(),
            epoch_length: 50,
            voted_every: 5,
            source: format!("http://{address}"),
        };
        let (length, every) = (chain.epoch_length.to_string(), chain.voted_every.to_string());
        let power = minimum_power.to_string();
        let terms = ["--epoch-length", &length, "--voted-every", &every, "--minimum-power", &power];
        let names = ["register-chain", "--id", &chain.id, "--genesis-block", &chain.genesis];
        self.govern(&[&names[..], &terms].concat()).await?;
        Ok(chain)
    }

    /// Governance decides something, with just enough of its keys.
    pub async fn govern(&self, decision: &[&str]) -> anyhow::Result<Value> {
        let members: Vec<usize> = (0..usize::from(GOVERNANCE.1)).collect();
        self.govern_by(&members, decision).await
    }

    /// The same with the keys of these members.
    pub async fn govern_by(&self, members: &[usize], decision: &[&str]) -> anyhow::Result<Value> {
        let (genesis, password) = (text(&self.genesis()), text(&self.password()));
        let keys = members.iter().map(|member| text(&governance_key(&self.dir, *member)));
        let keys: Vec<String> = keys.collect();
        let mut args = vec!["--json", "governance"];
        args.extend(decision);
        args.extend(["--genesis", &genesis, "--hub", &self.hub_url, "--password-file", &password, "--yes"]);
        keys.iter().for_each(|key| args.extend(["--key", key]));
        json_tool("palisade-hub", &args).await
    }

    /// Starts a daemon with its configuration and waits until it listens.
    pub async fn run(
        &mut self,
        program: &str,
        args: &[&str],
        config: &str,
        address: &str,
    ) -> anyhow::Result<()> {
        let (config, address) = (self.dir.join(config), self.dir.join(address));
        let log = address.with_extension("log");
        let config = text(&config);
        let args: Vec<&str> = args.iter().copied().chain(["--config", &config]).collect();
        let mut daemon = Daemon::start(program, &args, &log)?;
        daemon.address(&address).await?;
        self.daemons.push(daemon);
        Ok(())
    }

    /// Starts a covenant member.
    pub async fn run_member(&mut self, member: usize) -> anyhow::Result<()> {
        let [config, address] =
            ["toml", "address"].map(|ending| format!("covenant-{member}/covenant.{ending}"));
        self.run("palisade-covenant", &["run"], &config, &address).await
    }

    /// Starts a hub that follows the network's, as the guide has it. Gives its URL, which stays.
    pub async fn run_follower(&mut self) -> anyhow::Result<String> {
        let dir = self.dir.join("follower");
        std::fs::create_dir(&dir)?;
        let address = format!("127.0.0.1:{}", free_port()?);
        let config = self.follower_config(&dir, &address);
        std::fs::write(dir.join("follower.toml"), config)?;
        self.run("palisade-hub", &["run"], "follower/follower.toml", "follower/follower.address").await?;
        Ok(format!("http://{address}"))
    }

    /// The configuration of a hub that follows the network's, in a directory.
    pub fn follower_config(&self, dir: &Path, address: &str) -> String {
        format!(
            "network = \"regtest\"\ndata_dir = {:?}\ngenesis_file = {:?}\n[listen]\naddress = {address:?}\naddress_file = {:?}\n\
             [follow]\nurl = {:?}\n",
            dir.join("data"),
            self.genesis(),
            dir.join("follower.address"),
            self.hub_url
        )
    }

    /// Kills a daemon, named by the place of its address without the ending.
    pub async fn kill(&mut self, name: &str) -> anyhow::Result<()> {
        self.daemon(name)?.kill().await
    }

    /// Starts a daemon again that was killed.
    pub async fn start_again(&mut self, name: &str) -> anyhow::Result<()> {
        let address = self.dir.join(name).with_extension("address");
        let daemon = self.daemon(name)?;
        daemon.start_again(Some(&address))?;
        daemon.address(&address).await.map(|_| ())
    }

    /// Starts a daemon that was killed in another directory, with a user's arguments; its address is written there.
    pub async fn start_in(&mut self, name: &str, dir: &Path, args: &[&str]) -> anyhow::Result<()> {
        let address = dir.join(Path::new(name).file_name().context("a name")?).with_extension("address");
        let daemon = self.daemon(name)?;
        daemon.start_in(dir, args)?;
        daemon.address(&address).await.map(|_| ())
    }

    /// All that were started here.
    pub fn daemons_mut(&mut self) -> impl Iterator<Item = &mut Daemon> {
        self.daemons.iter_mut()
    }

    fn daemon(&mut self, name: &str) -> anyhow::Result<&mut Daemon> {
        let log = self.dir.join(name).with_extension("log");
        self.daemons
            .iter_mut()
            .find(|daemon| daemon.log() == log)
            .with_context(|| format!("no daemon {name}"))
    }

    /// Fails if a daemon has ended.
    pub fn check(&mut self) -> anyhow::Result<()> {
        self.daemons.iter_mut().try_for_each(Daemon::check)
    }

    /// A view of the hub's, for people.
    pub async fn view(&self, path: &str) -> anyhow::Result<Value> {
        Ok(self.hub.get_json(path, &[]).await?)
    }

    /// A stake as the hub shows it.
    pub async fn stake(&self, id: &str) -> anyhow::Result<Value> {
        self.view(&format!("stakes/{id}")).await
    }

    /// Waits until the hub knows the node's tip.
    pub async fn wait_for_bitcoin(&mut self) -> anyhow::Result<u32> {
        let tip = self.node.rpc().tip().await?;
        let wanted = tip.hash.to_string();
        self.until("the hub knows Bitcoin's tip", |status| status["btc_tip"] == wanted).await?;
        Ok(tip.height)
    }

    /// Mines blocks and waits until the hub knows them.
    pub async fn mine(&mut self, count: u32) -> anyhow::Result<u32> {
        self.node.mine(count).await?;
        self.wait_for_bitcoin().await
    }

    /// Waits until the hub's status is as wanted.
    pub async fn until(&mut self, what: &str, holds: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        self.until_view("status", what, holds).await
    }

    /// Waits until a stake is in a state.
    pub async fn until_state(&mut self, id: &str, state: &str) -> anyhow::Result<Value> {
        self.until_view(&format!("stakes/{id}"), &format!("stake {id} is {state}"), |stake| {
            stake["state"] == state
        })
        .await
    }

    /// Waits until a view of the hub's is as wanted.
    pub async fn until_view(
        &mut self,
        path: &str,
        what: &str,
        holds: impl Fn(&Value) -> bool,
    ) -> anyhow::Result<Value> {
        let _waiting = Waiting::until(what);
        let started = Instant::now();
        loop {
            let view = self.view(path).await?;
            if holds(&view) {
                return Ok(view);
            }
            self.check()?;
            if started.elapsed() > Duration::from_secs(90) {
                bail!("waited 90 s in vain until {what}; last seen: {view}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops every daemon, the last started first, then the node.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stop_daemons().await?;
        Ok(self.node.stop().await?)
    }

    /// Stops every daemon, the last started first; the node goes on.
    pub async fn stop_daemons(&mut self) -> anyhow::Result<()> {
        while let Some(daemon) = self.daemons.pop() {
            daemon.stop().await?;
        }
        Ok(())
    }
}

/// The file with everybody's password.
fn password(dir: &Path) -> PathBuf {
    dir.join("password")
}

async fn make_covenant(dir: &Path, hub_url: &str) -> anyhow::Result<Vec<String>> {
    let mut keys = Vec::new();
    for member in 0..COVENANT.0 {
        keys.push(make_member(dir, hub_url, member).await?);
    }
    Ok(keys)
}

/// Makes the key and the configuration of a covenant member, and gives the public key.
pub async fn make_member(dir: &Path, hub_url: &str, member: usize) -> anyhow::Result<String> {
    let own = text(&dir.join(format!("covenant-{member}")));
    let (genesis, password) = (text(&dir.join("hub/genesis.json")), text(&password(dir)));
    let args = [
        "--json",
        "init",
        "--dir",
        &own,
        "--genesis",
        &genesis,
        "--hub",
        hub_url,
        "--listen",
        "127.0.0.1:0",
        "--password-file",
        &password,
    ];
    string(&json_tool("palisade-covenant", &args).await?, "key")
}

/// Makes the keys and the configuration of a checkpointer whose processes listen on free ports. Gives the address of the wallet that
/// pays for anchors.
pub async fn make_checkpointer(
    dir: &Path,
    genesis: &Path,
    hub_url: &str,
    node: &Node,
    password: &Path,
) -> anyhow::Result<[Address<NetworkUnchecked>; 2]> {
    let [own, genesis, password] = [dir, genesis, password].map(text);
    let (rpc, cookie) = (node.rpc_url(), text(&node.cookie_path()));
    let mut args = vec!["--json", "init", "--dir", &own, "--genesis", &genesis, "--hub", hub_url];
    args.extend(["--bitcoin", &rpc, "--cookie", &cookie, "--password-file", &password]);
    let made = json_tool("palisade-checkpointer", &args).await?;
    let free = "127.0.0.1:0";
    let taken = [("127.0.0.1:8210", free), ("127.0.0.1:8211", free), ("127.0.0.1:8212", free)];
    edit(&dir.join("checkpointer.toml"), &taken)?;
    Ok([string(&made, "address")?.parse()?, string(&made, "watch_address")?.parse()?])
}

async fn make_governance(dir: &Path) -> anyhow::Result<Vec<String>> {
    let mut keys = Vec::new();
    for member in 0..GOVERNANCE.0 {
        keys.push(make_governor(dir, member).await?);
    }
    Ok(keys)
}

/// Makes the key of a governance member, and gives the public one.
pub async fn make_governor(dir: &Path, member: usize) -> anyhow::Result<String> {
    let (file, password) = (text(&governance_key(dir, member)), text(&password(dir)));
    let args = ["--json", "governance", "keygen", "--file", &file, "--password-file", &password];
    string(&json_tool("palisade-hub", &args).await?, "key")
}

/// The key file of a governance member.
pub fn governance_key(dir: &Path, member: usize) -> PathBuf {
    dir.join(format!("governance-{member}.key.json"))
}

async fn make_hub(
    dir: &Path,
    url: &str,
    covenant: &[String],
    governance: &[String],
    profile: Profile,
) -> anyhow::Result<()> {
    let listen = url.strip_prefix("http://").context("an http address")?;
    let (own, password) = (text(&dir.join("hub")), text(&password(dir)));
    let (quorum, decide) = (COVENANT.1.to_string(), GOVERNANCE.1.to_string());
    let mut args = vec!["--json", "init", "--dir", &own, "--listen", listen, "--password-file", &password];
    args.extend(["--quorum", &quorum, "--governance-quorum", &decide, "--minimum-power", "95000000"]);
    covenant.iter().for_each(|key| args.extend(["--covenant", key]));
    governance.iter().for_each(|key| args.extend(["--governance", key]));
    args.extend((profile == Profile::Bumpable).then_some("--bumpable"));
    json_tool("palisade-hub", &args).await.map(|_| ())
}

/// A private directory whose name is short enough for sockets, wherever temporary files are.
fn short_directory() -> anyhow::Result<tempfile::TempDir> {
    let usual = std::env::temp_dir();
    let short = usual.as_os_str().len() <= 40;
    Ok(tempfile::tempdir_in(if short { &usual } else { Path::new("/tmp") })?)
}

fn random_hex() -> String {
    let mut bytes = [0; 16];
    rand::thread_rng().fill_bytes(&mut bytes);
    hex::encode(bytes)
}

fn write_private(path: &Path, contents: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    Ok(file.write_all(contents.as_bytes())?)
}

/// Changes a configuration file as a user would in an editor; what is to be replaced must be there.
pub fn edit(path: &Path, changes: &[(&str, &str)]) -> anyhow::Result<()> {
    let mut text = std::fs::read_to_string(path)?;
    for (from, to) in changes {
        ensure!(text.contains(from), "{} does not contain {from:?}", path.display());
        text = text.replace(from, to);
    }
    Ok(std::fs::write(path, text)?)
}

/// A path as an argument.
pub fn text(path: &Path) -> String {
    path.display().to_string()
}

/// A field of a JSON answer that is a string.
pub fn string(value: &Value, field: &str) -> anyhow::Result<String> {
    Ok(value[field].as_str().with_context(|| format!("no {field} in {value}"))?.to_owned())
}
