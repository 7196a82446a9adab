//! The shipped hub on a log that begins with a world's, and what is sent to it.

use super::Post;
use palisade_hub::client::HubClient;
use palisade_hub::config::DEFAULT;
use palisade_hub::daemon::keyfile::{self, KdfCost, KeyLabel};
use palisade_hub::daemon::password::Password;
use palisade_hub::daemon::private_file;
use palisade_hub::daemon::secret::Secret;
use palisade_hub::daemon::template::Template;
use palisade_hub::replica::Replica;
use palisade_hub::run::KEY_PURPOSE;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::{ChainId, Terms};
use palisade_protocol::governance::{Action, NewChain};
use palisade_protocol::hash::{Hash32, sha256};
use palisade_protocol::message::Message;
use palisade_protocol::units::{Epoch, Height};
use palisade_regtest::process::Daemon;
use palisade_regtest::world::{Wish, World, keypair, secret};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

const ZERO: [&str; 4] = ["anna", "bert", "carl", "dora"];
/// Who votes on the other chain, with equal power.
pub const DEV: [&str; 4] = ["dev anna", "dev bert", "dev carl", "dev dora"];
const TERMS: Terms = Terms { epoch_length: 200, voted_every: 5, minimum_power_sat: 4_000_000 };
/// The epoch that is voted in, and in how many rounds things are sent.
const EPOCH: Epoch = Epoch(1);
const ROUNDS: u64 = 5;
/// So much of each kind is sent in a round: voted heights, stakes, providers, digests.
const SHARE: [u64; 4] = [4, 5, 2, 12];

/// The chain that is voted on.
pub fn dev() -> ChainId {
    "dev".parse().unwrap()
}

/// A hub that runs, and the world that its log begins with.
pub struct Scene {
    pub world: World,
    pub daemon: Daemon,
    pub hub: HubClient,
    dir: tempfile::TempDir,
}

impl Scene {
    /// A world with a set that votes, and coins for all that is going to be registered; the hub goes on from there.
    pub async fn start() -> Self {
        let world = world();
        let dir = tempfile::tempdir().unwrap();
        install(dir.path(), &world);
        let config = dir.path().join("hub.toml");
        let args = [Path::new("run"), Path::new("--config"), &config];
        let mut daemon = Daemon::start("palisade-hub", &args, &dir.path().join("hub.log")).unwrap();
        let hub = client(&mut daemon, dir.path()).await;
        Self { world, daemon, hub, dir }
    }

    /// Starts the hub again after it was killed.
    pub async fn start_again(&mut self) {
        self.daemon.start_again(Some(&address(self.dir.path()))).unwrap();
        self.hub = client(&mut self.daemon, self.dir.path()).await;
    }

    /// What is sent, round by round.
    pub fn posts(&mut self) -> Vec<Vec<Post>> {
        (0..ROUNDS).map(|round| self.round(round)).collect()
    }

    fn round(&mut self, round: u64) -> Vec<Post> {
        let numbers = |kind: usize| round * SHARE[kind]..(round + 1) * SHARE[kind];
        let mut posts = Vec::new();
        for number in numbers(0) {
            let height = self.first_height().plus(number * TERMS.voted_every);
            let vote = |name: &&str| self.world.vote(&dev(), name, height, sha256(&[&height.0.to_be_bytes()]));
            posts.extend(DEV.iter().map(vote).map(|vote| Post::Vote(Box::new(vote))));
        }
        for number in numbers(1) {
            let registration = self.world.registration(&wish(number));
            posts.push(Post::Message(Box::new(Message::Stake(Box::new(registration)))));
        }
        for number in numbers(2) {
            let registration = self.world.provider_registration(&ChainId::zero(), &newcomer(number));
            posts.push(Post::Message(Box::new(registration)));
        }
        posts.extend(numbers(3).map(|number| Post::Digest(sha256(&[b"digest", &number.to_be_bytes()]))));
        posts
    }

    /// The first height that is voted on.
    pub fn first_height(&self) -> Height {
        TERMS.first_height(EPOCH)
    }

    /// Bytes of all votes that the hub serves.
    pub async fn votes(&self) -> BTreeSet<Vec<u8>> {
        let votes = self.hub.votes("dev", Height(0)).await.unwrap();
        assert!(votes.len() < 500, "all on one page");
        votes.iter().map(|vote| vote.to_bytes()).collect()
    }
}

fn wish(number: u64) -> Wish<'static> {
    Wish { holder: "alice", sat: 20_000 + number, providers: &["anna"], lock: 300 }
}

fn newcomer(number: u64) -> String {
    format!("newcomer {number}")
}

fn world() -> World {
    let mut world = World::new(4_000_000);
    let coins = (0..ROUNDS * SHARE[1]).map(|number| world.fund("alice", wish(number).sat + 1_000));
    let mut coins: Vec<_> = coins.collect();
    coins.extend((0..ROUNDS * SHARE[2]).map(|number| world.fund(&newcomer(number), 10_000)));
    let chain = NewChain { id: dev(), genesis: Hash32([5; 32]), terms: TERMS };
    world.govern(Action::RegisterChain(chain)).unwrap();
    for (zero, other) in ZERO.into_iter().zip(DEV) {
        world.register_provider(&ChainId::zero(), zero);
        world.register_provider(&dev(), other);
        world.active_stake(&Wish { holder: "alice", sat: 1_000_000, providers: &[zero, other], lock: 2_000 });
    }
    for name in DEV {
        world.commit(&dev(), name, EPOCH.0..EPOCH.0 + 2);
    }
    world.close();
    assert!(world.ledger.chain(&dev()).unwrap().sets.contains_key(&EPOCH));
    world.coins = coins;
    world
}

/// Everything that `palisade-hub init` makes, with the world's genesis and key, and the world's log.
fn install(dir: &Path, world: &World) {
    let genesis = world.ledger.genesis();
    std::fs::write(dir.join("genesis.json"), serde_json::to_string(genesis.document()).unwrap()).unwrap();
    private_file::create(&dir.join("password"), b"correct horse").unwrap();
    let password = Password::new("correct horse".to_owned()).unwrap();
    let key = keypair("hub").x_only_public_key().0;
    let label = KeyLabel::new(KEY_PURPOSE, &key.to_string()).unwrap();
    let own = Secret::new(secret("hub").secret_bytes());
    let cost = KdfCost::for_network(bitcoin::Network::Regtest);
    keyfile::create(&dir.join("hub.key.json"), &label, &own, &password, cost, &mut rand::rngs::OsRng).unwrap();
    let at = |name: &str| dir.join(name);
    let config = Template::new(DEFAULT).path("data_dir", at("hub-data")).unwrap();
    let config = config.path("genesis_file", at("genesis.json")).unwrap();
    let config = config.path("key_file", at("hub.key.json")).unwrap();
    let config = config.path("password_file", at("password")).unwrap();
    let config = config.text("listen.address", "127.0.0.1:0").unwrap();
    let config = config.path("listen.address_file", address(dir)).unwrap();
    std::fs::write(at("hub.toml"), config.finish()).unwrap();
    private_file::create_dir(&dir.join("hub-data")).unwrap();
    let mut log = Replica::open(&dir.join("hub-data"), genesis.clone()).unwrap();
    world.log.iter().for_each(|block| drop(log.take(block).unwrap()));
}

fn address(dir: &Path) -> PathBuf {
    dir.join("hub.address")
}

async fn client(daemon: &mut Daemon, dir: &Path) -> HubClient {
    let address = daemon.address(&address(dir)).await.unwrap();
    HubClient::new(format!("http://{address}/").parse().unwrap())
}
