//! The shipped hub on a log that begins with a world's, and what other daemons need beside it. What does not go as tests expect is
//! a panic.

use crate::process::Daemon;
use palisade_hub::client::HubClient;
use palisade_hub::config::DEFAULT;
use palisade_hub::daemon::keyfile::{self, KdfCost, KeyLabel};
use palisade_hub::daemon::password::Password;
use palisade_hub::daemon::private_file;
use palisade_hub::daemon::secret::Secret;
use palisade_hub::daemon::template::Template;
use palisade_hub::run::KEY_PURPOSE;
use palisade_world::{World, keypair, secret};
use std::path::{Path, PathBuf};

const PASSWORD: &str = "correct horse";

/// A hub that runs in a directory of its own, which holds `genesis.json` and `password` too.
#[derive(Debug)]
pub struct HubProcess {
    /// The process.
    pub daemon: Daemon,
    /// Its door.
    pub client: HubClient,
    dir: tempfile::TempDir,
}

impl HubProcess {
    /// Starts a hub that goes on where a world's log ends.
    pub async fn start(world: &World) -> Self {
        Self::start_with_followers(world, &[]).await
    }

    /// The same of a hub that asks these followers first.
    pub async fn start_with_followers(world: &World, followers: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        install(dir.path(), world, followers);
        let config = dir.path().join("hub.toml");
        let args = [Path::new("run"), Path::new("--config"), &config];
        let mut daemon = Daemon::start("palisade-hub", &args, &dir.path().join("hub.log")).expect("a hub");
        let client = client(&mut daemon, dir.path()).await;
        Self { daemon, client, dir }
    }

    /// Starts it again after it was killed.
    pub async fn start_again(&mut self) {
        self.daemon.start_again(Some(&address(self.dir.path()))).expect("a hub");
        self.client = client(&mut self.daemon, self.dir.path()).await;
    }

    /// Its directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// A file in its directory.
    pub fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }
}

/// Everything that `palisade-hub init` makes, with the world's genesis and key, and the world's log.
fn install(dir: &Path, world: &World, followers: &[&str]) {
    let genesis = world.ledger.genesis();
    let at = |name: &str| dir.join(name);
    std::fs::write(at("genesis.json"), serde_json::to_string(genesis.document()).expect("JSON"))
        .expect("a disk");
    private_file::create(&at("password"), PASSWORD.as_bytes()).expect("a disk");
    key_file(&at("hub.key.json"), KEY_PURPOSE, "hub");
    let config = Template::new(DEFAULT).path("data_dir", at("hub-data")).expect("a template");
    let config = config.path("genesis_file", at("genesis.json")).expect("a template");
    let config = config.path("key_file", at("hub.key.json")).expect("a template");
    let config = config.path("password_file", at("password")).expect("a template");
    let config = config.text("listen.address", "127.0.0.1:0").expect("a template");
    let config = config.path("listen.address_file", address(dir)).expect("a template");
    let named: Vec<toml::Value> = followers.iter().map(|url| (*url).into()).collect();
    let config = match followers {
        [] => config,
        _ => config.replace("followers", &[("followers", named.into())]).expect("a template"),
    };
    std::fs::write(at("hub.toml"), config.finish()).expect("a disk");
    private_file::create_dir(&at("hub-data")).expect("a disk");
    drop(world.replica(&at("hub-data")));
}

/// Writes the key of a name in the world into a file.
pub fn key_file(path: &Path, purpose: &str, name: &str) {
    let password = Password::new(PASSWORD.to_owned()).expect("a password");
    let label = KeyLabel::new(purpose, &keypair(name).x_only_public_key().0.to_string()).expect("a label");
    let own = Secret::new(secret(name).secret_bytes());
    let cost = KdfCost::for_network(bitcoin::Network::Regtest);
    keyfile::create(path, &label, &own, &password, cost, &mut rand::rngs::OsRng).expect("a disk");
}

fn address(dir: &Path) -> PathBuf {
    dir.join("hub.address")
}

async fn client(daemon: &mut Daemon, dir: &Path) -> HubClient {
    let address = daemon.address(&address(dir)).await.expect("a hub that listens");
    HubClient::new(format!("http://{address}/").parse().expect("an address"))
}
