//! One real bitcoind on regtest: started, mined on, reorganised and stopped.
//!
//! The node has no wallet. The harness mines to a key of its own and spends its coinbases ([`Node::fund`]). Other
//! chains than the node's are built out here and submitted as blocks ([`Node::reorg`]): the node is never told
//! what to believe.
//!
//! A node that is dropped is killed, and its data directory, when temporary, removed. Only [`Node::stop`] leaves a
//! data directory that holds everything the node knew.

mod funding;
mod mining;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::File;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use bitcoin::Amount;
use palisade_hub::bitcoind::{Auth, BitcoinRpc, RpcError};
use rand::Rng;
use serde::Deserialize;
use serde_json::json;

use crate::bitcoind::{NoBitcoind, bitcoind_path};

pub use mining::Reorg;

/// How long a node may take to start or to stop. It takes half a second; a loaded machine is given more.
const PATIENCE: Duration = Duration::from_secs(120);
/// Time between two looks at a node that starts or stops.
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Ports below the range that Linux hands to outgoing connections, so that nothing takes a node's port by chance
/// while the node restarts.
const PORTS: std::ops::Range<u16> = 20_000..32_768;
/// How many ports are tried when others take them between our look and the node's start.
const PORT_ATTEMPTS: usize = 8;

/// Why the node did not do what the harness wanted.
#[derive(Debug, thiserror::Error)]
pub enum NodeError {
    /// No program to run.
    #[error(transparent)]
    NoBitcoind(#[from] NoBitcoind),
    /// The operating system refused something.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: String,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The process ended when it should have started.
    #[error("bitcoind ended at once: {complaint}")]
    Ended {
        /// What it wrote to its standard error.
        complaint: String,
    },
    /// The node did not start or stop in time.
    #[error("bitcoind did not {what} within {} s", PATIENCE.as_secs())]
    TooSlow {
        /// `start` or `stop`.
        what: &'static str,
    },
    /// The node did not answer as it should.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The harness's own mature coinbases do not suffice.
    #[error("the harness can spend {found}, but needs {wanted}; mine more blocks")]
    NotEnoughFunds {
        /// Outputs and fee.
        wanted: Amount,
        /// Mature and unspent.
        found: Amount,
    },
    /// A branch must have more work than the one it replaces, and fork above the genesis block.
    #[error("{new_blocks} new blocks cannot replace {depth} below a tip at height {tip}")]
    ImpossibleReorg {
        /// Blocks to be replaced.
        depth: u32,
        /// Blocks of the new branch.
        new_blocks: u32,
        /// Height of the present tip.
        tip: u32,
    },
    /// The node did not follow a longer branch, so one of its blocks breaks a rule. The node tells nobody which,
    /// because it judges a side branch only when the last block has come; its log does.
    #[error("bitcoind stayed at block {found} instead of following to {wanted}; its debug.log says why")]
    NotFollowed {
        /// Last block of the branch.
        wanted: bitcoin::BlockHash,
        /// Tip of the node.
        found: bitcoin::BlockHash,
    },
}

/// A running bitcoind.
pub struct Node {
    program: PathBuf,
    datadir: PathBuf,
    port: u16,
    process: Option<Child>,
    /// Flags besides those that every node of ours has.
    more: Vec<OsString>,
    /// How the last process ended, if it ended by itself.
    ended: Option<ExitStatus>,
    rpc: BitcoinRpc,
    /// Change of our own spends, which may still wait in the mempool. Locked while coins are chosen, so that two
    /// spends at once do not choose the same.
    change: tokio::sync::Mutex<Vec<funding::Coin>>,
    /// Removed after the process has ended, hence the last field.
    _temporary: Option<tempfile::TempDir>,
}

impl Node {
    /// Starts a node in a new directory that is removed with it.
    pub async fn temporary() -> Result<Self, NodeError> {
        let folder = tempfile::Builder::new()
            .prefix("palisade bitcoind ")
            .tempdir()
            .map_err(|source| NodeError::System { what: "making a temporary directory".into(), source })?;
        let path = folder.path().to_owned();
        Self::start(&path, Some(folder), free_port()?).await
    }

    /// Starts a node in a directory that is kept; made when missing, continued when a node ran in it before.
    pub async fn in_directory(datadir: &Path) -> Result<Self, NodeError> {
        std::fs::create_dir_all(datadir).map_err(|source| system("making", datadir, source))?;
        let datadir = datadir.canonicalize().map_err(|source| system("finding", datadir, source))?;
        Self::start(&datadir, None, free_port()?).await
    }

    async fn start(
        datadir: &Path,
        temporary: Option<tempfile::TempDir>,
        first_port: u16,
    ) -> Result<Self, NodeError> {
        let mut node = Self::new(bitcoind_path()?, datadir.to_owned(), first_port, temporary)?;
        for _ in 1..PORT_ATTEMPTS {
            match node.launch().await {
                Err(NodeError::Ended { complaint }) if complaint.contains("Unable to start HTTP server") => {
                    node.port = free_port()?;
                    node.rpc = client(node.port, datadir)?;
                }
                result => return result.map(|()| node),
            }
        }
        node.launch().await.map(|()| node)
    }

    fn new(
        program: PathBuf,
        datadir: PathBuf,
        port: u16,
        temporary: Option<tempfile::TempDir>,
    ) -> Result<Self, NodeError> {
        let rpc = client(port, &datadir)?;
        let change = tokio::sync::Mutex::default();
        Ok(Self {
            program,
            datadir,
            port,
            process: None,
            ended: None,
            more: Vec::new(),
            rpc,
            change,
            _temporary: temporary,
        })
    }

    /// Runs the program and waits until it answers.
    async fn launch(&mut self) -> Result<(), NodeError> {
        self.start_under(&[]).await
    }

    /// Starts the program, that has ended, by another command, which is given the program's own as its last arguments and must
    /// become it. Waits until it answers.
    pub async fn start_under(&mut self, wrapper: &[OsString]) -> Result<(), NodeError> {
        self.spawn_under(wrapper)?;
        self.answers().await
    }

    /// The same, and waits for nothing. Gives its process.
    pub fn spawn_under(&mut self, wrapper: &[OsString]) -> Result<u32, NodeError> {
        let errors = self.datadir.join("stderr.log");
        let stderr = File::create(&errors).map_err(|source| system("writing", &errors, source))?;
        let own = self.start_args();
        let mut words = wrapper.iter().chain(&own);
        let child = Command::new(words.next().unwrap_or(&own[0]))
            .args(words)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .spawn()
            .map_err(|source| system("running", &self.program, source))?;
        Ok(self.process.insert(child).id())
    }

    /// Waits until the program answers.
    async fn answers(&mut self) -> Result<(), NodeError> {
        let errors = self.datadir.join("stderr.log");
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if self.ended().is_some() {
                let complaint = std::fs::read_to_string(&errors).unwrap_or_default().trim().to_owned();
                return Err(NodeError::Ended { complaint });
            }
            match is_ready(&self.rpc).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if error.can_be_retried() => {}
                Err(error) => return Err(error.into()),
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Err(NodeError::TooSlow { what: "start" })
    }

    /// Stops the node as its user would, and waits until it has written everything to disk. It can be restarted.
    pub async fn stop(&mut self) -> Result<(), NodeError> {
        let Some(child) = &mut self.process else { return Ok(()) };
        self.rpc.stop().await?;
        let deadline = Instant::now() + PATIENCE;
        while Instant::now() < deadline {
            if child.try_wait().is_ok_and(|ended| ended.is_some()) {
                self.process = None;
                return Ok(());
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Err(NodeError::TooSlow { what: "stop" })
    }

    /// Stops the node and starts it again in the same directory and on the same port, with a new cookie.
    pub async fn restart(&mut self) -> Result<(), NodeError> {
        self.stop().await?;
        self.launch().await
    }

    /// Restarts the node with other flags besides its own, as `-minrelaytxfee=0.0002`.
    pub async fn restart_with(&mut self, flags: &[&str]) -> Result<(), NodeError> {
        self.stop().await?;
        self.more = flags.iter().map(OsString::from).collect();
        self.launch().await
    }

    /// How it ended, if it has, or was killed, since it was started last.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        if let Some(status) = self.process.as_mut().and_then(|child| child.try_wait().ok().flatten()) {
            (self.process, self.ended) = (None, Some(status));
        }
        self.ended.filter(|_| self.process.is_none())
    }

    /// Kills the node at once.
    pub fn kill(&mut self) -> Result<(), NodeError> {
        if let Some(mut child) = self.process.take() {
            let ended = child.kill().and_then(|()| child.wait());
            self.ended = Some(ended.map_err(|source| system("killing", &self.program, source))?);
        }
        Ok(())
    }

    /// Kills the node and starts it again. What is in blocks is there again; what waited in the mempool is not.
    ///
    /// A node gets the blocks that it had not yet written from its peers. This one has none, so it writes them first.
    pub async fn kill_and_start(&mut self) -> Result<(), NodeError> {
        self.rpc.call::<serde_json::Value>("gettxoutsetinfo", json!(["none"])).await?;
        self.kill()?;
        self.launch().await
    }

    /// The node's RPC.
    pub fn rpc(&self) -> &BitcoinRpc {
        &self.rpc
    }

    /// Its address, for a daemon's configuration.
    pub fn rpc_url(&self) -> String {
        url(self.port)
    }

    /// The file with its RPC credentials, for a daemon's configuration.
    pub fn cookie_path(&self) -> PathBuf {
        cookie(&self.datadir)
    }

    /// Its data directory.
    pub fn datadir(&self) -> &Path {
        &self.datadir
    }

    /// Id of its process, while it runs.
    pub fn process_id(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    /// The command that starts a node on this data directory: program and arguments, all paths absolute.
    pub fn start_args(&self) -> Vec<OsString> {
        let mut args = vec![self.program.clone().into_os_string()];
        args.extend(self.flags());
        args
    }

    /// The command that asks such a node something, to be followed by a method and its parameters. The program is
    /// the `bitcoin-cli` beside our bitcoind, or, where there is none, the one on PATH.
    pub fn cli_args(&self) -> Vec<OsString> {
        let beside = self.program.with_file_name("bitcoin-cli");
        let program = if beside.is_file() { beside.into_os_string() } else { "bitcoin-cli".into() };
        vec![program, "-regtest".into(), self.datadir_flag(), format!("-rpcport={}", self.port).into()]
    }

    fn flags(&self) -> Vec<OsString> {
        let own = vec![
            "-regtest".into(),
            self.datadir_flag(),
            format!("-rpcport={}", self.port).into(),
            "-rpcbind=127.0.0.1".into(),
            "-rpcallowip=127.0.0.1".into(),
            // No peers: neither asked for nor let in.
            "-listen=0".into(),
            "-connect=0".into(),
            "-txindex=1".into(),
            "-blockfilterindex=1".into(),
            "-printtoconsole=0".into(),
        ];
        own.into_iter().chain(self.more.iter().cloned()).collect()
    }

    fn datadir_flag(&self) -> OsString {
        let mut flag = OsString::from("-datadir=");
        flag.push(&self.datadir);
        flag
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        if let Some(mut child) = self.process.take() {
            // Fails only when the process has ended already, which is what is wanted.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Whether the node answers and its indexes have caught up with its chain.
async fn is_ready(rpc: &BitcoinRpc) -> Result<bool, RpcError> {
    #[derive(Deserialize)]
    struct Index {
        synced: bool,
    }
    let indexes: BTreeMap<String, Index> = rpc.call("getindexinfo", json!([])).await?;
    Ok(indexes.values().all(|index| index.synced))
}

fn url(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn cookie(datadir: &Path) -> PathBuf {
    datadir.join("regtest").join(".cookie")
}

fn client(port: u16, datadir: &Path) -> Result<BitcoinRpc, RpcError> {
    BitcoinRpc::new(url(port), Auth::Cookie(cookie(datadir)))
}

/// A port that nobody listens on now, and that the system gives to no outgoing connection.
pub fn free_port() -> Result<u16, NodeError> {
    let mut last = None;
    for _ in 0..100 {
        let port = rand::thread_rng().gen_range(PORTS);
        match TcpListener::bind(("127.0.0.1", port)) {
            Ok(_) => return Ok(port),
            Err(error) => last = Some(error),
        }
    }
    let source = last.unwrap_or_else(|| std::io::ErrorKind::AddrInUse.into());
    Err(NodeError::System { what: format!("finding a free port in {PORTS:?}"), source })
}

fn system(what: &str, path: &Path, source: std::io::Error) -> NodeError {
    NodeError::System { what: format!("{what} {}", path.display()), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_port_that_somebody_else_took_first_is_left_to_them() {
        let folder = tempfile::tempdir().unwrap();
        let taken = free_port().unwrap();
        let _somebody = TcpListener::bind(("127.0.0.1", taken)).unwrap();
        let node = Node::start(folder.path(), None, taken).await.unwrap();
        assert_ne!(node.port, taken);
        assert_eq!(node.rpc().tip().await.unwrap().height, 0);
    }

    #[tokio::test]
    async fn a_program_that_ends_at_once_is_an_error_with_its_own_words() {
        let folder = tempfile::tempdir().unwrap();
        let datadir = folder.path().join("missing");
        let mut node =
            Node::new(bitcoind_path().unwrap(), datadir.clone(), free_port().unwrap(), None).unwrap();
        assert!(matches!(node.launch().await, Err(NodeError::System { .. })), "there is no such directory");
        std::fs::create_dir(&datadir).unwrap();
        std::fs::write(datadir.join("bitcoin.conf"), "nonsense").unwrap();
        let error = node.launch().await.unwrap_err();
        assert!(error.to_string().contains("parse error on line 1"), "{error}");
    }
}
