//! Everybody else: a node, a hub in this process, a reporter that tells it what is on Bitcoin, and a committee that signs.

use bitcoin::secp256k1::{Message as Digest, SECP256K1};
use bitcoin::{Address, Amount, Network, OutPoint, TxOut};
use clap::{Args, Parser};
use palisade_checkpointer::Pass;
use palisade_checkpointer::report::Reporter;
use palisade_hub::bitcoind::{Auth, BitcoinRpc};
use palisade_hub::client::HubClient;
use palisade_hub::daemon::private_file;
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_hub::engine::Hub;
use palisade_hub::ledger::state::StakeState;
use palisade_hub::replica::Replica;
use palisade_protocol::context::ChainId;
use palisade_protocol::governance::Action;
use palisade_protocol::inclusion::InclusionProof;
use palisade_protocol::message::{ExpansionConsent, Message};
use palisade_protocol::stake::StakeId;
use palisade_regtest::Node;
use palisade_regtest::hub::{make_blocks, serve};
use palisade_regtest::in_time;
use palisade_staker::init::Init;
use palisade_staker::session::Session;
use palisade_world::{COVENANT, World, keypair};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How many members of the committee sign what they see.
pub type Signing = watch::Sender<usize>;

/// A network around one holder.
pub struct Party {
    pub node: Node,
    pub hub: Arc<Hub>,
    pub url: String,
    pub signing: Signing,
    pub folder: tempfile::TempDir,
    world: World,
    stop: Shutdown,
}

impl Drop for Party {
    fn drop(&mut self) {
        self.stop.trigger();
    }
}

impl Party {
    /// Node with coins, hub, reporter, a committee of which three of five sign, and the providers named.
    pub async fn new(providers: &[&str]) -> Self {
        Self::of(World::new(1_000_000), providers).await
    }

    /// The same in a world with other rules.
    pub async fn of(mut world: World, providers: &[&str]) -> Self {
        let node = Node::temporary().await.unwrap();
        node.mine(110).await.unwrap();
        let folder = tempfile::Builder::new().prefix("palisade staker ").tempdir().unwrap();
        let replica = Replica::open(folder.path(), world.ledger.genesis().clone()).unwrap();
        let (ledger, store) = replica.into_parts();
        let hub = Hub::new(ledger, store);
        let stop = Shutdown::manual();
        let url = serve(&hub, &stop).await;
        let every = Duration::from_millis(20);
        tokio::spawn(make_blocks(hub.clone(), keypair("hub"), every, stop.clone()));
        let signing = watch::Sender::new(3);
        let party = Self { node, hub, url, signing, folder, world: world.clone(), stop };
        let mut reporter = party.reporter(&world);
        for name in providers {
            party.register_provider(&mut world, &mut reporter, name).await;
        }
        party.write_files(&world);
        party.spawn_reporter(reporter);
        party.spawn_committee(world);
        party
    }

    fn write_files(&self, world: &World) {
        let genesis = serde_json::to_vec(world.ledger.genesis().document()).unwrap();
        std::fs::write(self.folder.path().join("genesis.json"), genesis).unwrap();
        private_file::create(&self.password(), b"correct horse").unwrap();
    }

    pub fn client(&self) -> HubClient {
        HubClient::new(self.url.parse().unwrap())
    }

    pub fn rpc(&self) -> BitcoinRpc {
        BitcoinRpc::new(self.node.rpc_url(), Auth::Cookie(self.node.cookie_path())).unwrap()
    }

    fn reporter(&self, world: &World) -> Reporter {
        let directory = self.folder.path().join("reporter");
        std::fs::create_dir_all(&directory).unwrap();
        let replica = Replica::open(&directory, world.ledger.genesis().clone()).unwrap();
        Reporter::open(&directory, replica, self.client(), self.rpc()).unwrap()
    }

    async fn register_provider(&self, world: &mut World, reporter: &mut Reporter, name: &str) {
        let key = keypair(name).x_only_public_key().0;
        let script_pubkey = Address::p2tr(SECP256K1, key, None, Network::Regtest).script_pubkey();
        let output = TxOut { value: Amount::from_sat(10_000), script_pubkey };
        let tx = self.node.fund_many(&[output]).await.unwrap();
        let hash = self.node.mine(1).await.unwrap()[0];
        let block = self.node.rpc().block(hash).await.unwrap().unwrap();
        let txid = tx.compute_txid();
        let index = block.txdata.iter().position(|own| own.compute_txid() == txid).unwrap();
        let proof = InclusionProof::from_block(&block, index as u32).unwrap();
        world.coins.push((OutPoint { txid, vout: 0 }, tx.output[0].clone(), proof));
        while reporter.pass().await.unwrap() == Pass::Worked {}
        let message = world.provider_registration(&ChainId::zero(), name);
        self.client().submit(&message).await.unwrap();
    }

    /// On a thread of its own: a reporter cannot be handed from thread to thread.
    fn spawn_reporter(&self, mut reporter: Reporter) {
        let stop = self.stop.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        std::thread::spawn(move || {
            runtime.block_on(async {
                let mut ticks = tokio::time::interval(Duration::from_millis(20));
                while !stop.is_requested() {
                    ticks.tick().await;
                    // Node and hub go away when the story ends.
                    let _ = reporter.pass().await;
                }
            });
        });
    }

    fn spawn_committee(&self, world: World) {
        let (hub, client, stop, signing) =
            (self.hub.clone(), self.client(), self.stop.clone(), self.signing.subscribe());
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_millis(20));
            while !stop.is_requested() {
                ticks.tick().await;
                let members = &COVENANT[..*signing.borrow()];
                for message in due(&hub, &world, members) {
                    let _ = client.submit(&message).await;
                }
            }
        });
    }

    /// Two of the three governance members decide.
    pub async fn govern(&self, action: Action) {
        let mut world = self.world.clone();
        world.ledger = self.hub.ledger().clone();
        let decision = Message::Governance(world.decision(action));
        self.client().submit(&decision).await.unwrap();
    }

    pub fn password(&self) -> PathBuf {
        self.folder.path().join("password")
    }

    /// A new wallet. Gives its configuration and its first address.
    pub async fn wallet(&self, name: &str) -> (PathBuf, Address) {
        let dir = self.folder.path().join(name);
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        let init: Init = args(&[
            "--dir",
            &text(&dir),
            "--genesis",
            &text(&self.folder.path().join("genesis.json")),
            "--hub",
            &self.url,
            "--bitcoin",
            &self.node.rpc_url(),
            "--cookie",
            &text(&self.node.cookie_path()),
            "--password-file",
            &text(&self.password()),
        ]);
        let made = init.run().await.unwrap();
        let address: Address<bitcoin::address::NetworkUnchecked> = made.address.parse().unwrap();
        (made.config, address.require_network(Network::Regtest).unwrap())
    }

    /// A wallet with one confirmed coin for each amount.
    pub async fn funded(&self, name: &str, coins: &[u64]) -> PathBuf {
        let (config, address) = self.wallet(name).await;
        for sat in coins {
            self.node.fund(&address, Amount::from_sat(*sat)).await.unwrap();
        }
        self.node.mine(1).await.unwrap();
        config
    }

    /// Mines and waits until the hub knows.
    pub async fn mine(&self, count: u32) {
        self.node.mine(count).await.unwrap();
        let tip = self.node.rpc().tip().await.unwrap();
        self.until("the hub knows the tip", |hub| hub.ledger().bitcoin().tip().hash == tip.hash).await;
    }

    /// Waits until a stake is in a state.
    pub async fn until_state(&self, id: &str, state: StakeState) {
        let id: StakeId = serde_json::from_value(id.into()).unwrap();
        let is = |hub: &Hub| hub.ledger().stakes().find(&id).is_some_and(|(_, stake)| stake.state == state);
        self.until(&format!("the stake is {state}"), is).await;
    }

    /// Waits until something holds of the hub.
    pub async fn until(&self, what: &str, holds: impl Fn(&Hub) -> bool) {
        let mut tips = self.hub.tips();
        let wait = tips.wait_for(|_| holds(&self.hub));
        in_time(what, wait).await.unwrap();
    }
}

/// What members of the committee still owe: signatures on every stake, and consents to expansions.
fn due(hub: &Hub, world: &World, members: &[&str]) -> Vec<Message> {
    let ledger = hub.ledger();
    let mut messages = Vec::new();
    for stake in ledger.stakes().iter() {
        for name in members {
            let member = keypair(name).x_only_public_key().0.into();
            if !stake.signatures.contains_key(&member) {
                messages.push(world.answer(name, stake));
            } else if stake.has_quorum() && stake.expands.is_some() && !stake.consents.contains_key(&member) {
                let digest = Digest::from_digest(ledger.expansion_sighash(&stake.id).unwrap());
                let signature = SECP256K1.sign_schnorr(&digest, &keypair(name));
                messages.push(Message::Consent(ExpansionConsent { stake: stake.id, member, signature }));
            }
        }
    }
    messages
}

/// Arguments of a command, read as the program reads them.
pub fn args<T: Args>(flags: &[&str]) -> T {
    #[derive(Parser)]
    struct Of<T: Args> {
        #[command(flatten)]
        args: T,
    }
    Of::<T>::parse_from(["palisade-staker"].iter().chain(flags)).args
}

pub fn open(config: &Path) -> Session {
    Session::open(config).unwrap()
}
