//! The network around one operator: hub, Bitcoin node, development chain, signer.

use super::*;
use crate::signer::request::CommitRequest;
use crate::voter::config::{DEFAULT, VoterConfig};
use axum::Router;
use palisade_hub::api::{self, Door};
use palisade_hub::client::HubClient;
use palisade_hub::daemon::config::parse;
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_hub::daemon::template::Template;
use palisade_hub::engine::Hub;
use palisade_protocol::context::{ChainIdentity, Terms};
use palisade_protocol::finality::vote::Ballot;
use palisade_protocol::governance::{Action, NewChain};
use palisade_protocol::units::Epoch;
use palisade_regtest::Node;
use palisade_regtest::devchain::{self, DevChain};
use palisade_regtest::hub::make_blocks;
use palisade_world::{Wish, World, bls_secret, pair};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tempfile::TempDir;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

pub(super) const DEV: &str = "dev";
const DEV_TERMS: Terms = Terms { epoch_length: 50, voted_every: 5, minimum_power_sat: 400_000 };

pub(super) fn dev() -> ChainId {
    DEV.parse().unwrap()
}

/// Everything but the voter.
pub(super) struct Network {
    dir: TempDir,
    pub(super) hub: Arc<Hub>,
    pub(super) node: Node,
    lie: Arc<Mutex<Option<Hash32>>>,
    deaf: Arc<AtomicBool>,
    pub(super) devchain: Arc<DevChain>,
    hub_url: String,
    config: VoterConfig,
    shutdown: Shutdown,
    signer: Mutex<Option<SignerThreads>>,
    making: Vec<JoinHandle<()>>,
}

/// A signer on threads of its own: they end with its connections, as a process does.
struct SignerThreads(Option<Runtime>);

impl Drop for SignerThreads {
    fn drop(&mut self) {
        self.0.take().into_iter().for_each(Runtime::shutdown_background);
    }
}

/// A voter at work.
pub(super) struct Running {
    pub(super) voter: Arc<Voter>,
    shutdown: Shutdown,
    work: JoinHandle<anyhow::Result<()>>,
}

pub(super) async fn listen(router: Router) -> (String, JoinHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    (url, tokio::spawn(async move { axum::serve(listener, router).await.unwrap() }))
}

/// One operator's keys are registered on both chains; one stake names both.
pub(super) fn world() -> World {
    let mut world = World::new(400_000);
    world.mine(1);
    let chain =
        NewChain { id: dev(), genesis: devchain::genesis(DEV), terms: DEV_TERMS, first_epoch: Epoch(0) };
    world.govern(Action::RegisterChain(chain)).unwrap();
    world.register_provider(&ChainId::zero(), "anna");
    world.register_provider(&dev(), "dev anna");
    let wish = Wish { holder: "holder", sat: 500_000, providers: &["anna", "dev anna"], lock: 2_000 };
    world.active_stake(&wish);
    world.close();
    world
}

/// A voter's configuration: its data in `data` of a directory that holds the signer's socket.
pub(super) fn config_text(dir: &Path, data: &str, hub: &str, node: &Node) -> String {
    let fill = || {
        Template::new(DEFAULT)
            .path("data_dir", dir.join(data))?
            .path("signer_socket", dir.join("socket/signer"))?
            .text("hub.url", hub)?
            .text("bitcoin.rpc_url", node.rpc_url())?
            .path("bitcoin.cookie_file", node.cookie_path())
    };
    fill().unwrap().finish()
}

/// The same with sources of the development chain.
fn config(dir: &Path, data: &str, hub: &str, node: &Node, dev_urls: &[&str]) -> VoterConfig {
    let source = |url: &&str| format!("\n[[sources]]\nchain = \"{DEV}\"\nurl = \"{url}\"\n");
    let text = config_text(dir, data, hub, node) + &dev_urls.iter().map(source).collect::<String>();
    parse(Path::new("voter.toml"), &text).unwrap()
}

impl Network {
    pub(super) async fn start() -> Self {
        Self::of(&world()).await
    }

    /// A hub that goes on from a world's log, and a node that has its blocks.
    pub(super) async fn of(world: &World) -> Self {
        Self::within(TempDir::new().unwrap(), world, Duration::from_millis(20)).await
    }

    /// The same in a directory that may hold the signer's record, of a hub with this time between blocks.
    pub(super) async fn within(dir: TempDir, world: &World, every: Duration) -> Self {
        let hub = world.hub(&dir.path().join("hub"));
        let lie = Arc::new(Mutex::new(None));
        let deaf = Arc::default();
        let state = Lie { hub: hub.clone(), root: lie.clone(), deaf: Arc::clone(&deaf) };
        let door = Door { hub: hub.clone(), follower: false };
        let front = api::router(door).layer(axum::middleware::from_fn_with_state(state, lying));
        let shutdown = Shutdown::manual();
        let (devchain, disk) = DevChain::open(&dir.path().join("devchain"), DEV).unwrap();
        let (hub_url, hub_task) = listen(front).await;
        let node = Node::of(world).await.unwrap();
        let (dev_url, dev_task) = listen(devchain::router(devchain.clone())).await;
        let config = config(dir.path(), "voter", &hub_url, &node, &[&dev_url]);
        let mut making = vec![hub_task, dev_task];
        let (maker, stop) = (hub.clone(), shutdown.clone());
        making.push(tokio::spawn(make_blocks(maker, keypair("hub"), every, stop)));
        let (chain, stop) = (devchain.clone(), shutdown.clone());
        making.push(tokio::spawn(async move {
            chain.run(DEV, disk, Duration::from_millis(20), &stop).await.unwrap();
        }));
        let signer = Mutex::default();
        let network = Self { dir, hub, node, lie, deaf, devchain, hub_url, config, shutdown, signer, making };
        network.start_signer(devchain::genesis(DEV));
        network
    }

    /// A signer for chain zero and for a development chain with this first block.
    pub(super) fn start_signer(&self, dev_genesis: Hash32) {
        let genesis = self.hub.ledger().genesis().clone();
        let zero = genesis.zero();
        let identity = ChainIdentity { id: dev(), genesis: dev_genesis, ..zero.clone() };
        let chains = vec![
            ChainSigner::new(zero, genesis.document().zero, pair("anna")),
            ChainSigner::new(identity, DEV_TERMS, pair("dev anna")),
        ];
        let data = self.dir.path().join("signer");
        std::fs::create_dir_all(&data).unwrap();
        let record = Record::open(&data).unwrap().0;
        let signer = Arc::new(Signer::new(&genesis, chains, bls_secret("anna"), record).unwrap());
        let runtime = Runtime::new().unwrap();
        let _inside = runtime.enter();
        let listener = server::open(&self.config.signer_socket).unwrap();
        runtime.spawn(server::serve(signer, listener, server::own_uid().unwrap(), Shutdown::manual()));
        *self.signer.lock().unwrap() = Some(SignerThreads(Some(runtime)));
    }

    /// Another operator at work: its own signer, which answers as long as the network is there, and its own voter. Both know chain
    /// zero alone.
    pub(super) fn another(&self, name: &str) -> Running {
        let genesis = self.hub.ledger().genesis().clone();
        let own = self.dir.path().join(name);
        std::fs::create_dir_all(own.join("signer")).unwrap();
        let chains = vec![ChainSigner::new(genesis.zero(), genesis.document().zero, pair(name))];
        let record = Record::open(&own.join("signer")).unwrap().0;
        let signer = Arc::new(Signer::new(&genesis, chains, bls_secret(name), record).unwrap());
        let listener = server::open(&own.join("socket/signer")).unwrap();
        tokio::spawn(server::serve(signer, listener, server::own_uid().unwrap(), self.shutdown.clone()));
        let text = config_text(&own, "voter", &self.hub_url, &self.node);
        self.run(&parse(Path::new("voter.toml"), &text).unwrap())
    }

    pub(super) fn stop_signer(&self) {
        let mut signer = self.signer.lock().unwrap().take().unwrap();
        let runtime = signer.0.take();
        // Waits for what is being signed, which nobody may do on this thread.
        std::thread::spawn(move || drop(runtime)).join().unwrap();
    }

    /// The signer's record is lost while it does not run.
    pub(super) async fn lose_record(&self) {
        self.stop_signer();
        std::fs::remove_dir_all(self.dir.path().join("signer")).unwrap();
        self.start_signer(devchain::genesis(DEV));
    }

    /// Where anna's signer voted last on chain zero.
    pub(super) async fn last_vote(&self) -> Option<Height> {
        let identity = SignerClient::new(&self.config.signer_socket).identity().await.unwrap();
        identity.chains[0].last.map(|last| last.height)
    }

    /// Sends the hub a vote by the seed of anna's signer that its record lacks.
    pub(super) async fn vote_without_record(&self, height: Height, block: Hash32) {
        let copy = self.dir.path().join("copy.sqlite");
        std::fs::copy(self.dir.path().join("signer/record.sqlite"), &copy).unwrap();
        let record = rusqlite::Connection::open(copy).unwrap();
        let seed = record.query_row("SELECT seed FROM birth", [], |row| row.get(0)).unwrap();
        let (ballot, terms) = {
            let ledger = self.hub.ledger();
            let zero = &ledger.chains()[0];
            (Ballot { context: zero.vote, height, block }, zero.terms)
        };
        let vote = palisade_world::vote_by_seed(&pair("anna"), seed, &terms, ballot);
        HubClient::new(self.hub_url.parse().unwrap()).vote(&vote).await.unwrap();
    }

    pub(super) async fn record_id(&self) -> Hash32 {
        SignerClient::new(&self.config.signer_socket).identity().await.unwrap().record
    }

    pub(super) async fn voter(&self) -> Running {
        self.run(&self.config)
    }

    /// The voter with nonces for so many epochs in advance.
    pub(super) fn voter_ahead(&self, epochs_ahead: u64) -> Running {
        let mut config = config(
            self.dir.path(),
            "voter",
            &self.hub_url,
            &self.node,
            &[self.config.sources[0].url.as_str()],
        );
        config.epochs_ahead = epochs_ahead;
        self.run(&config)
    }

    /// The voter with the signer of another operator.
    pub(super) fn voter_with_signer_of(&self, name: &str) -> Running {
        let dev = self.config.sources[0].url.as_str();
        let mut config = config(self.dir.path(), "voter", &self.hub_url, &self.node, &[dev]);
        config.signer_socket = self.dir.path().join(name).join("socket/signer");
        self.run(&config)
    }

    /// A voter with data of its own, which reads the development chain at another place.
    pub(super) fn voter_with(&self, data: &str, dev_url: &str) -> Running {
        self.voter_of(data, &[dev_url])
    }

    /// The same at several places.
    pub(super) fn voter_of(&self, data: &str, dev_urls: &[&str]) -> Running {
        self.run(&config(self.dir.path(), data, &self.hub_url, &self.node, dev_urls))
    }

    /// Removes the voter's journal, while it is stopped.
    pub(super) fn lose_journal(&self) {
        std::fs::remove_file(self.config.data_dir.join("journal.sqlite")).unwrap();
    }

    fn run(&self, config: &VoterConfig) -> Running {
        let health = Health::new("test", "0", config.network).unwrap();
        let genesis = self.hub.ledger().genesis().clone();
        std::fs::create_dir_all(&config.data_dir).unwrap();
        let replica = Replica::open(&config.data_dir, genesis).unwrap();
        let voter = Arc::new(Voter::open(config, replica, health).unwrap());
        let shutdown = Shutdown::manual();
        let (worker, stop) = (voter.clone(), shutdown.clone());
        let nodes = config.nodes();
        let work = tokio::spawn(async move { worker.work(nodes, &stop).await });
        Running { voter, shutdown, work }
    }

    /// Closes the world's block and sends what it holds to the hub.
    pub(super) async fn tell(&self, world: &mut World) {
        world.close();
        for message in &world.log.last().unwrap().messages {
            self.hub.submit(message.clone()).unwrap().await.unwrap().unwrap();
        }
    }

    pub(super) fn lie(&self, root: Hash32) {
        *self.lie.lock().unwrap() = Some(root);
    }

    pub(super) fn truth(&self) {
        *self.lie.lock().unwrap() = None;
    }

    /// Whether the hub takes no messages.
    pub(super) fn is_deaf(&self, deaf: bool) {
        self.deaf.store(deaf, Ordering::Relaxed);
    }

    pub(super) fn certified(&self, chain: &ChainId) -> BTreeMap<Height, Hash32> {
        self.hub.ledger().chain(chain).unwrap().certified.clone()
    }

    pub(super) fn newest_zero_epoch(&self) -> Epoch {
        self.hub.ledger().chains()[0].newest().unwrap().0
    }

    /// The newest set of chain zero, and the root that it names for the operator.
    pub(super) fn newest_zero_root(&self) -> (Epoch, Hash32) {
        let ledger = self.hub.ledger();
        let (epoch, fixed) = ledger.chains()[0].newest().unwrap();
        (epoch, fixed.set.members()[0].nonce_root)
    }

    /// The signer's own root for an epoch of chain zero.
    pub(super) async fn signers_root(&self, epoch: Epoch) -> Hash32 {
        let request = CommitRequest { chain: ChainId::zero(), epoch };
        SignerClient::new(&self.config.signer_socket).commit(request).await.unwrap().root
    }

    pub(super) fn dev_block(&self, height: Height) -> Hash32 {
        self.devchain.block(height.0).unwrap().hash
    }

    pub(super) fn block(&self, height: Height) -> Block {
        self.hub.store().blocks(height, 1).unwrap().remove(0)
    }

    pub(super) async fn stop(self) {
        self.shutdown.trigger();
        self.making.iter().for_each(JoinHandle::abort);
    }
}

impl Running {
    pub(super) async fn status(&self) -> Status {
        self.voter.status().await.unwrap()
    }

    pub(super) fn health(&self) -> String {
        serde_json::to_string(&self.voter.health.report()).unwrap()
    }

    /// Waits for a condition on the status, for as long as anybody would.
    pub(super) async fn until(&self, what: &str, holds: impl Fn(&Status) -> bool) {
        let started = Instant::now();
        loop {
            let status = self.status().await;
            if !status.chains.is_empty() && holds(&status) {
                return;
            }
            assert!(!self.work.is_finished(), "the voter ended before {what}");
            assert!(started.elapsed() < Duration::from_secs(60), "{what} never happened:\n{status}");
            tokio::task::yield_now().await;
        }
    }

    pub(super) async fn stop(self) {
        self.shutdown.trigger();
        self.work.await.unwrap().unwrap();
    }
}
