//! Everybody else: a hub in this process, a node, and the holder, provider and committee whose keys the world knows.

use bitcoin::{Amount, OutPoint, Transaction, TxOut};
use palisade_checkpointer::Pass;
use palisade_checkpointer::report::Reporter;
use palisade_hub::bitcoind::{Auth, BitcoinRpc};
use palisade_hub::client::HubClient;
use palisade_hub::daemon::shutdown::Shutdown;
use palisade_hub::engine::Hub;
use palisade_hub::ledger::stake::Stake;
use palisade_hub::replica::Replica;
use palisade_protocol::context::ChainId;
use palisade_protocol::inclusion::InclusionProof;
use palisade_protocol::message::Message;
use palisade_protocol::outputs::Leaf;
use palisade_protocol::registration::StakeRegistration;
use palisade_protocol::stake::StakeId;
use palisade_protocol::transactions::{sighash, witness};
use palisade_regtest::Node;
use palisade_regtest::hub::{make_blocks, serve};
use palisade_world::{COVENANT, Wish, World, address, key_path, keypair, schnorr, unbonding};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// A stake that the world's provider "anna" can lose.
pub const WISH: Wish<'static> = Wish { holder: "alice", sat: 500_000, providers: &["anna"], lock: 300 };

/// A hub that makes blocks in this process until it is dropped.
pub struct TestHub {
    pub hub: Arc<Hub>,
    pub client: HubClient,
    stop: Shutdown,
    maker: tokio::task::JoinHandle<()>,
}

impl TestHub {
    /// `signer` names the key that signs the blocks; an honest one is "hub".
    pub async fn start(directory: &Path, world: &World, signer: &'static str) -> Self {
        let replica = Replica::open(directory, world.ledger.genesis().clone()).unwrap();
        let (ledger, store) = replica.into_parts();
        let hub = Hub::new(ledger, store);
        let stop = Shutdown::manual();
        let client = HubClient::new(serve(&hub, &stop).await.parse().unwrap());
        let every = Duration::from_millis(10);
        let maker = tokio::spawn(make_blocks(hub.clone(), keypair(signer), every, stop.clone()));
        Self { hub, client, stop, maker }
    }

    /// Stops; on return nobody writes to its directory.
    pub async fn stop(&mut self) {
        self.stop.trigger();
        (&mut self.maker).await.unwrap();
    }

    /// How many messages of each kind are in the log.
    pub fn logged(&self, kind: fn(&Message) -> bool) -> usize {
        let blocks = self.hub.store().blocks(palisade_protocol::units::Height(0), u32::MAX).unwrap();
        let messages = blocks.iter().flat_map(|block| &block.messages);
        messages.filter(|message| kind(&message.decode().unwrap())).count()
    }
}

impl Drop for TestHub {
    fn drop(&mut self) {
        self.stop.trigger();
    }
}

/// A node, a hub, and a world that knows everybody's keys and makes their messages.
pub struct Party {
    pub node: Node,
    pub world: World,
    pub hub: TestHub,
    pub folder: tempfile::TempDir,
}

impl Party {
    /// Node with coins, hub, and a reporter that has told the hub all headers.
    pub async fn new() -> (Self, Reporter) {
        Self::of(World::new(1_000_000)).await
    }

    /// The same in a world with other rules.
    pub async fn of(world: World) -> (Self, Reporter) {
        let node = Node::temporary().await.unwrap();
        node.mine(110).await.unwrap();
        let folder = tempfile::tempdir().unwrap();
        let hub = TestHub::start(folder.path(), &world, "hub").await;
        let party = Self { node, world, hub, folder };
        let mut reporter = party.reporter();
        settle(&mut reporter).await;
        (party, reporter)
    }

    pub fn rpc(&self) -> BitcoinRpc {
        BitcoinRpc::new(self.node.rpc_url(), Auth::Cookie(self.node.cookie_path())).unwrap()
    }

    /// A daemon's directory and its copy of the log.
    pub fn replica(&self, name: &str) -> (std::path::PathBuf, Replica) {
        let directory = self.folder.path().join(name);
        std::fs::create_dir_all(&directory).unwrap();
        let replica = Replica::open(&directory, self.world.ledger.genesis().clone()).unwrap();
        (directory, replica)
    }

    pub fn reporter(&self) -> Reporter {
        self.reporter_at(self.hub.client.url().as_str(), "report")
    }

    pub fn reporter_at(&self, hub: &str, name: &str) -> Reporter {
        let (directory, replica) = self.replica(name);
        Reporter::open(&directory, replica, HubClient::new(hub.parse().unwrap()), self.rpc()).unwrap()
    }

    /// Makes coins on the node for what the world is going to build, tells the hub the block, and gives them to the world.
    pub async fn make_coins(&mut self, reporter: &mut Reporter, wanted: &[(&str, u64)]) {
        let mut transactions = Vec::new();
        for (name, sat) in wanted {
            transactions.push(self.node.fund_many(&[coin_of(name, *sat)]).await.unwrap());
        }
        let hash = self.node.mine(1).await.unwrap()[0];
        let block = self.node.rpc().block(hash).await.unwrap().unwrap();
        for tx in transactions {
            let txid = tx.compute_txid();
            let index = block.txdata.iter().position(|own| own.compute_txid() == txid).unwrap();
            let proof = InclusionProof::from_block(&block, index as u32).unwrap();
            self.world.coins.push((OutPoint { txid, vout: 0 }, tx.output[0].clone(), proof));
        }
        settle(reporter).await;
    }

    pub async fn register_provider(&mut self, reporter: &mut Reporter, name: &str) {
        self.make_coins(reporter, &[(name, 10_000)]).await;
        let message = self.world.provider_registration(&ChainId::zero(), name);
        self.hub.client.submit(&message).await.unwrap();
    }

    /// Registers a stake before it is broadcast. Gives its id and the staking transaction, signed.
    pub async fn register(&mut self, reporter: &mut Reporter, wish: &Wish<'_>) -> (StakeId, Transaction) {
        self.make_coins(reporter, &[(wish.holder, wish.sat + 1_000)]).await;
        let registration = self.world.registration(wish);
        let tx = self.signed(&registration, wish.holder);
        let receipt = self.hub.client.submit(&Message::Stake(Box::new(registration))).await.unwrap();
        (StakeId(receipt.id), tx)
    }

    /// The staking transaction of a registration of the world's, signed.
    pub fn signed(&self, registration: &StakeRegistration, holder: &str) -> Transaction {
        let mut tx = registration.staking_tx.clone();
        let value = tx.output[0].value + Amount::from_sat(1_000);
        let coin = TxOut { value, script_pubkey: address(holder) };
        tx.input[0].witness = key_path(holder, &tx, 0, &[coin]);
        tx
    }

    /// A stake as the hub knows it.
    pub fn stake(&self, id: &StakeId) -> Stake {
        self.hub.hub.ledger().stakes().find(id).unwrap().1.clone()
    }

    /// A quorum of the committee signs.
    pub async fn sign_quorum(&self, id: &StakeId) {
        for member in &COVENANT[..3] {
            let answer = self.world.answer(member, &self.stake(id));
            self.hub.client.submit(&answer).await.unwrap();
        }
    }

    /// Sends a transaction and mines it.
    pub async fn confirm(&self, tx: &Transaction) {
        self.node.rpc().send_raw_transaction(tx).await.unwrap();
        self.node.mine(1).await.unwrap();
    }

    /// The unbonding transaction of a stake, with the signatures of holder and committee.
    pub fn unbonding(&self, id: &StakeId, holder: &str) -> Transaction {
        unbonding(&self.stake(id), holder)
    }

    /// The withdrawal of an unbonding output.
    pub fn withdrawal(&self, id: &StakeId, holder: &str) -> Transaction {
        let stake = self.stake(id);
        let coin = palisade_protocol::stake::unbonding_coin(&stake.presigned.unbonding);
        let output = stake.contract.unbonding_output();
        let spent = TxOut { value: coin.value, script_pubkey: output.script_pubkey() };
        let lock = stake.contract.unbonding_time;
        let mut tx = palisade_protocol::transactions::spend::withdrawal(
            coin,
            lock,
            address(holder),
            Amount::from_sat(500),
        )
        .unwrap();
        let digest = sighash(&tx, 0, &[spent], &output, Leaf::Timelock).unwrap();
        let signature = schnorr(holder, &digest);
        tx.input[0].witness = witness::timelock(&output, &signature).unwrap();
        tx
    }
}

/// Passes until nothing is left to do.
pub async fn settle(reporter: &mut Reporter) {
    while reporter.pass().await.unwrap() == Pass::Worked {}
}

fn coin_of(name: &str, sat: u64) -> TxOut {
    TxOut { value: Amount::from_sat(sat), script_pubkey: address(name) }
}
