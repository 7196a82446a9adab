//! Many voters with one signer, each before a hub that lies to it in one place: nobody has anything signed, and nobody
//! sends anything.

use super::network::{self, listen};
use super::*;
use crate::signer::request::CommitRequest;
use crate::voter::config::{DEFAULT, VoterConfig};
use palisade_hub::api::{self, Door};
use palisade_hub::daemon::config::parse;
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::message::Message;
use palisade_regtest::liar::{Liar, leaves, versions};
use palisade_regtest::world::{Wish, World, bls_secret, pair};
use std::path::Path;
use std::time::Duration;
use tempfile::TempDir;
use tokio::task::JoinHandle;

/// A log whose last block is the first that deserves a vote, the hub that shows it, and the only operator's signer.
struct Scene {
    dir: TempDir,
    world: World,
    hub: Arc<palisade_hub::engine::Hub>,
    hub_url: String,
    node_url: String,
    shutdown: Shutdown,
}

/// A voter behind its own liar.
struct Lied {
    name: String,
    liar: Liar,
    voter: Arc<Voter>,
    shutdown: Shutdown,
    work: JoinHandle<anyhow::Result<()>>,
}

impl Scene {
    async fn start() -> Self {
        let dir = TempDir::new().unwrap();
        let mut world = World::new(400_000);
        world.mine(1);
        world.register_provider(&ChainId::zero(), "anna");
        world.active_stake(&Wish { holder: "holder", sat: 500_000, providers: &["anna"], lock: 2_000 });
        let shutdown = Shutdown::manual();
        let signer = signer(&dir.path().join("signer"), &world);
        // All that a voter wants to commit to is in the log, so that it has nothing to send but votes.
        for epoch in 0..40 {
            let request = CommitRequest { chain: ChainId::zero(), epoch: Epoch(epoch) };
            let commitment = signer.commit(&request).unwrap();
            // The first epochs may be closed to commitments.
            let _ = world.send(&Message::Commitment(commitment));
        }
        let socket = dir.path().join("socket/signer");
        let listener = server::open(&socket).unwrap();
        tokio::spawn(server::serve(signer, listener, server::own_uid().unwrap(), shutdown.clone()));
        let height = first_height(&mut world);
        world.close_until(height.0);
        world.mine(1);
        world.register_provider(&ChainId::zero(), "otto");
        assert_eq!(world.close().0.height, height);

        std::fs::write(dir.path().join("cookie"), "__cookie__:x").unwrap();
        let (node_url, _) = listen(network::node(&world)).await;
        let hub = network::hub_of(&world, &dir.path().join("hub"));
        let (hub_url, _) = listen(api::router(Door { hub: hub.clone(), follower: false })).await;
        // Every voter begins with a copy of the log that lacks the last block.
        let log = dir.path().join("log");
        std::fs::create_dir_all(&log).unwrap();
        let mut replica = Replica::open(&log, world.ledger.genesis().clone()).unwrap();
        for block in &world.log[..world.log.len() - 1] {
            replica.take(block).unwrap();
        }
        Self { dir, world, hub, hub_url, node_url, shutdown }
    }

    fn last_block(&self) -> &Block {
        self.world.log.last().unwrap()
    }

    fn config(&self, number: usize, hub: &str) -> VoterConfig {
        let at = |name: &str| format!("{:?}", self.dir.path().join(name).display().to_string());
        let text = DEFAULT
            .replace("\"voter-data\"", &at(&format!("voter {number}")))
            .replace("\"signer-socket/signer\"", &at("socket/signer"))
            .replace("\"bitcoind.cookie\"", &at("cookie"))
            .replace("http://127.0.0.1:8200", hub.trim_end_matches('/'))
            .replace("http://127.0.0.1:18443", &self.node_url);
        parse(Path::new("voter.toml"), &text).unwrap()
    }

    /// A voter that goes on from the log without the last block, and is told a lie from the start.
    async fn lied(&self, number: usize, name: String, lie: impl FnOnce(&Liar)) -> Lied {
        let liar = Liar::start(&self.hub_url).await;
        lie(&liar);
        let config = self.config(number, liar.url());
        std::fs::create_dir_all(&config.data_dir).unwrap();
        std::fs::copy(self.dir.path().join("log/log.sqlite"), config.data_dir.join("log.sqlite")).unwrap();
        let health = Health::new("test", "0", config.network).unwrap();
        let voter = Arc::new(Voter::open(&config, self.world.ledger.genesis().clone(), health).unwrap());
        let mut lied =
            Lied { name, liar, voter, shutdown: Shutdown::manual(), work: tokio::spawn(async { Ok(()) }) };
        lied.work();
        lied
    }

    /// The bytes of the signer's record.
    fn record(&self) -> Vec<u8> {
        std::fs::read(self.dir.path().join("signer/record.sqlite")).unwrap()
    }

    fn votes(&self) -> Vec<Vote> {
        let context = self.hub.ledger().chains()[0].vote;
        self.hub.store().votes(&context, Height(0), 10).unwrap()
    }
}

impl Lied {
    fn work(&mut self) {
        let (worker, stop) = (self.voter.clone(), self.shutdown.clone());
        self.work = tokio::spawn(async move { worker.work(&[], &stop).await });
    }

    /// Whether the voter heard the lie and either says what is wrong and why it casts no vote, or has ended.
    fn is_refused(&self) -> bool {
        let silent = self.voter.moment().waiting.contains_key(&ChainId::zero());
        let degraded = !self.voter.health.report().reasons.is_empty();
        self.liar.told() > 0 && (self.work.is_finished() || silent && degraded)
    }

    /// What of its doings shows outside.
    fn check_idle(&self) {
        let name = &self.name;
        assert_eq!(self.liar.posted(), Vec::<String>::new(), "{name}");
        assert!(self.voter.journal.voted(&ChainId::zero()).unwrap().is_empty(), "{name}");
    }
}

fn signer(dir: &Path, world: &World) -> Arc<Signer> {
    std::fs::create_dir_all(dir).unwrap();
    let genesis = world.ledger.genesis();
    let chains = vec![ChainSigner::new(genesis.zero(), genesis.document().zero, pair("anna"))];
    Arc::new(Signer::new(genesis, chains, bls_secret("anna"), Record::open(dir).unwrap().0).unwrap())
}

/// Closes blocks until chain zero has opened, and gives the first height to be voted on.
fn first_height(world: &mut World) -> Height {
    loop {
        world.close();
        let zero = &world.ledger.chains()[0];
        if let Some(epoch) = zero.opened_at {
            return zero.terms.first_height(epoch);
        }
    }
}

async fn until(what: &str, holds: impl Fn() -> bool) {
    let started = Instant::now();
    let mut ticks = tokio::time::interval(Duration::from_millis(5));
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(60), "{what} never happened");
        ticks.tick().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_altered_field_of_the_hubs_answers_gets_anything_signed_or_sent() {
    let scene = Scene::start().await;
    let context = scene.world.ledger.contexts().hub;
    let truth = scene.last_block();
    let record = scene.record();
    let mut voters = Vec::new();
    for (name, bytes) in versions(truth, &context) {
        voters.push(scene.lied(voters.len(), name, |liar| liar.replace_block(truth, &bytes)).await);
    }
    assert!(voters.len() > 40, "{}", voters.len());
    let blocks = voters.len();
    let genesis = serde_json::to_value(scene.world.ledger.genesis().document()).unwrap();
    for field in leaves(&genesis) {
        let lie = |liar: &Liar| liar.alter_field("/genesis", &field);
        voters.push(scene.lied(voters.len(), field.clone(), lie).await);
    }
    assert!(voters.len() - blocks > 30, "{}", voters.len());
    for voter in &voters {
        until(&voter.name, || voter.is_refused()).await;
    }
    for voter in &voters {
        voter.check_idle();
    }
    assert!(scene.record() == record, "the signer's record was written");
    assert_eq!(scene.votes(), []);

    // The truth, to the same voters: each sends the vote that it kept back.
    for voter in &mut voters {
        voter.liar.be_honest();
        if voter.work.is_finished() {
            voter.work();
        }
    }
    for voter in &voters {
        until(&voter.name, || !voter.liar.posted().is_empty()).await;
        // It is sent again as long as no certificate comes.
        assert!(voter.liar.posted().iter().all(|path| path == "/votes"), "{:?}", voter.liar.posted());
        let voted = voter.voter.journal.voted(&ChainId::zero()).unwrap();
        assert_eq!(voted, BTreeMap::from([(truth.header.height, truth.header.hash())]), "{}", voter.name);
    }
    assert!(scene.record() != record);
    let [vote] = &scene.votes()[..] else { panic!("one vote") };
    assert_eq!(vote.ballot.block, truth.header.hash());
    for voter in voters {
        voter.shutdown.trigger();
        voter.work.await.unwrap().unwrap();
    }
    scene.shutdown.trigger();
}
