//! Stories of the anchorer.

use crate::party::{Party, WISH, settle};
use bitcoin::{Amount, FeeRate, Transaction, Txid};
use palisade_checkpointer::anchor::Anchorer;
use palisade_checkpointer::config::{AnchorProcess, Process, WalletConfig};
use palisade_checkpointer::report::Reporter;
use palisade_checkpointer::wallet::{Purpose, Wallet};
use palisade_checkpointer::{Pass, PassError};
use palisade_hub::bitcoind::BitcoinRpc;
use palisade_hub::client::HubClient;
use palisade_hub::daemon::endpoint::ListenAddr;
use palisade_hub::daemon::interval::Interval;
use palisade_hub::daemon::password::Password;
use palisade_hub::daemon::private_file;
use palisade_hub::ledger::anchors::Anchored;
use palisade_protocol::anchor::Anchor;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::ChainId;
use palisade_protocol::units::Epoch;
use palisade_regtest::in_time;
use serde_json::json;
use std::path::PathBuf;

/// What everybody else pays, when many do.
const MARKET: FeeRate = FeeRate::from_sat_per_vb_u32(20);
/// The only provider of chain zero.
const ANNA: &str = "anna";

/// A party whose chain zero has a set, a wallet that pays for anchors, and the reporter.
pub struct Scene {
    pub party: Party,
    pub reporter: Reporter,
    pub config: AnchorProcess,
}

impl Scene {
    pub async fn new(coins: &[u64]) -> Self {
        let (mut party, mut reporter) = Party::new().await;
        party.register_provider(&mut reporter, ANNA).await;
        let (id, staking) =
            party.register(&mut reporter, &palisade_world::Wish { sat: 1_000_000, ..WISH }).await;
        party.sign_quorum(&id).await;
        party.confirm(&staking).await;
        party.node.mine(6).await.unwrap();
        settle(&mut reporter).await;
        let config = config(&party);
        let password = Password::new("anchors".to_owned()).unwrap();
        let network = bitcoin::Network::Regtest;
        let address = Wallet::create(
            Purpose::Anchor,
            &config.wallet.key_file,
            &config.process.data_dir,
            network,
            &password,
        )
        .unwrap();
        for sat in coins {
            party.node.fund(&address, Amount::from_sat(*sat)).await.unwrap();
        }
        party.node.mine(1).await.unwrap();
        settle(&mut reporter).await;
        let scene = Self { party, reporter, config };
        scene.commit().await;
        scene
    }

    /// Commits to as many epochs as may be.
    async fn commit(&self) {
        let first = self.party.hub.hub.ledger().first_open_epoch(&ChainId::zero()).0;
        for epoch in first..first + 60 {
            let message = self.party.world.commitment(&ChainId::zero(), ANNA, Epoch(epoch));
            // The set of the first epochs may be fixed meanwhile.
            let _ = self.party.hub.client.submit(&message).await;
        }
    }

    pub fn anchorer(&self) -> Anchorer {
        self.anchorer_at(self.party.hub.client.url().as_str())
    }

    /// One that asks the hub at an address.
    pub fn anchorer_at(&self, hub: &str) -> Anchorer {
        self.anchorer_with(hub, self.party.rpc())
    }

    /// One that asks the hub at an address, and a node.
    pub fn anchorer_with(&self, hub: &str, node: BitcoinRpc) -> Anchorer {
        let (_, replica) = self.party.replica("anchor");
        let hub = HubClient::new(hub.parse().unwrap());
        Anchorer::open(&self.config, self.wallet(), replica, hub, node).unwrap()
    }

    /// The wallet that pays.
    pub fn wallet(&self) -> Wallet {
        let (own, data) = (&self.config.wallet, &self.config.process.data_dir);
        Wallet::open(Purpose::Anchor, own, data, bitcoin::Network::Regtest).unwrap()
    }

    /// Votes on every voted block until one more epoch is over and final, and signs its checkpoint. Gives the epoch.
    pub async fn one_more_epoch(&self) -> Epoch {
        let before = self.last_ended();
        while self.last_ended() == before {
            in_time("the next final block", self.vote()).await;
        }
        let (epoch, header) = {
            let ledger = self.party.hub.hub.ledger();
            let epoch = ledger.chains()[0].last_ended().unwrap();
            (epoch, ledger.own_header(epoch).unwrap())
        };
        let share = self.party.world.share(ANNA, epoch, header);
        self.party.hub.client.post("checkpoints", share.to_bytes()).await.unwrap();
        epoch
    }

    fn last_ended(&self) -> Option<Epoch> {
        self.party.hub.hub.ledger().chains()[0].last_ended()
    }

    /// Votes on the next voted block, once it is there, and waits until it is final.
    async fn vote(&self) {
        let mut tips = self.party.hub.hub.tips();
        let next = loop {
            let zero = self.party.hub.hub.ledger().chains()[0].clone();
            if let Some(opened) = zero.opened_at {
                break zero
                    .last_final()
                    .map_or(zero.terms.first_height(opened), |(height, _)| height.plus(5));
            }
            tips.changed().await.unwrap();
        };
        let there = tips.wait_for(|tip| tip.is_some_and(|(tip, _)| tip >= next)).await;
        there.unwrap();
        let block = self.party.hub.hub.store().blocks(next, 1).unwrap().remove(0).header.hash();
        let vote = self.party.world.vote(&ChainId::zero(), ANNA, next, block);
        self.party.hub.client.vote(&vote).await.unwrap();
        while self.party.hub.hub.ledger().chains()[0].last_final().map(|(height, _)| height) < Some(next) {
            tips.changed().await.unwrap();
        }
    }

    pub async fn mempool(&self) -> Vec<Txid> {
        self.party.node.rpc().call("getrawmempool", json!([])).await.unwrap()
    }

    pub async fn transaction(&self, txid: Txid) -> Transaction {
        self.party.node.rpc().raw_transaction(txid).await.unwrap().unwrap().transaction
    }

    /// The one transaction of the mempool, which must carry an anchor; and its fee.
    pub async fn flying(&self) -> (Txid, Epoch, Amount) {
        let [txid] = self.mempool().await[..] else { panic!("{:?}", self.mempool().await) };
        let (_, anchor) = Anchor::find(&self.transaction(txid).await).unwrap();
        let entry = self.party.node.rpc().mempool_entry(txid).await.unwrap().unwrap();
        (txid, anchor.epoch, entry.fee)
    }

    /// The transaction among those in the mempool that anchors an epoch, and its fee.
    async fn anchor_in_mempool(&self, epoch: Epoch) -> (Txid, Amount) {
        for txid in self.mempool().await {
            let found = Anchor::find(&self.transaction(txid).await).is_ok_and(|(_, own)| own.epoch == epoch);
            if found {
                return (txid, self.party.node.rpc().mempool_entry(txid).await.unwrap().unwrap().fee);
            }
        }
        panic!("no anchor of epoch {epoch} waits");
    }

    pub fn recorded(&self, epoch: Epoch) -> Option<Anchored> {
        self.party.hub.hub.ledger().anchors().get(epoch).cloned()
    }
}

fn config(party: &Party) -> AnchorProcess {
    let at = |name: &str| -> PathBuf { party.folder.path().join(name) };
    private_file::create(&at("password"), b"anchors").unwrap();
    AnchorProcess {
        process: Process {
            data_dir: at("anchor"),
            poll_interval_ms: Interval::from_ms(100).unwrap(),
            listen: ListenAddr::any_loopback_port(),
        },
        wallet: WalletConfig {
            key_file: at("anchor.key.json"),
            password_file: Some(at("password")),
            max_fee_sat: 50_000,
            bump_after_blocks: 2,
        },
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_goes_out_is_replaced_by_a_newer_one_and_survives_restart_and_reorg() {
    let mut scene = Scene::new(&[1_000_000]).await;
    let first = scene.one_more_epoch().await;
    assert_eq!(scene.anchorer().pass().await.unwrap(), Pass::Idle);
    let (old, epoch, fee) = scene.flying().await;
    assert_eq!(epoch, first);
    // Started again, it knows what is under way.
    assert_eq!(scene.anchorer().pass().await.unwrap(), Pass::Idle);
    assert_eq!(scene.flying().await, (old, epoch, fee));

    // A newer checkpoint covers the older one, and pays more than it.
    let second = scene.one_more_epoch().await;
    scene.anchorer().pass().await.unwrap();
    let (new, epoch, more) = scene.flying().await;
    assert!(new != old && epoch == second && more > fee, "{old} {new} {fee} {more}");

    scene.party.node.mine(1).await.unwrap();
    settle(&mut scene.reporter).await;
    assert_eq!(scene.recorded(second).unwrap().outpoint.txid, new);
    assert!(scene.recorded(first).is_none());
    scene.anchorer().pass().await.unwrap();
    assert!(scene.mempool().await.is_empty(), "one anchor is enough");

    // A branch without it: it goes back on the wire, and is told again.
    let branch = scene.party.node.reorg(1, 2, &[]).await.unwrap();
    assert_eq!(branch.removed, [new]);
    settle(&mut scene.reporter).await;
    assert!(scene.recorded(second).is_none());
    scene.anchorer().pass().await.unwrap();
    scene.party.node.mine(1).await.unwrap();
    settle(&mut scene.reporter).await;
    assert!(scene.recorded(second).is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_that_waits_too_long_pays_more_up_to_the_ceiling() {
    let mut scene = Scene::new(&[20_000, 20_000]).await;
    let epoch = scene.one_more_epoch().await;
    scene.anchorer().pass().await.unwrap();
    let mut fees = vec![scene.flying().await.2];
    scene.config.wallet.max_fee_sat = 2_000;
    let stopped = loop {
        // Blocks without it: miners want more.
        for _ in 0..2 {
            scene.party.node.mine_block_with(&[]).await.unwrap();
        }
        settle(&mut scene.reporter).await;
        match scene.anchorer().pass().await {
            Ok(_) => {
                let (_, same, fee) = scene.flying().await;
                assert_eq!(same, epoch);
                fees.push(fee);
            }
            Err(why) => break why,
        }
    };
    assert!(fees.len() > 2 && fees.is_sorted() && fees.iter().all(|fee| fee.to_sat() <= 2_000), "{fees:?}");
    assert!(matches!(&stopped, PassError::Wallet(why) if why.contains("max_fee_sat")), "{stopped}");
    assert_eq!(stopped.part(), "wallet");
    assert_eq!(scene.flying().await.2, *fees.last().unwrap(), "the last one stays under way");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raised_minimum_of_nodes_strands_no_anchor() {
    let mut scene = Scene::new(&[1_000_000]).await;
    scene.one_more_epoch().await;
    scene.anchorer().pass().await.unwrap();
    let (cheap, _, fee) = scene.flying().await;
    // The node starts again, and forgets what pays too little.
    scene.party.node.restart_with(&["-minrelaytxfee=0.0002"]).await.unwrap();
    assert!(scene.mempool().await.is_empty());
    scene.anchorer().pass().await.unwrap();
    assert!(scene.mempool().await.is_empty(), "it is not late yet");
    for _ in 0..2 {
        scene.party.node.mine_block_with(&[]).await.unwrap();
    }
    settle(&mut scene.reporter).await;
    scene.anchorer().pass().await.unwrap();
    let (dear, _, more) = scene.flying().await;
    let size = scene.party.node.rpc().mempool_entry(dear).await.unwrap().unwrap().vsize;
    assert!(dear != cheap && more > fee && more.to_sat() >= 20 * size, "{fee} {more} {size}");
    scene.party.node.mine(1).await.unwrap();
    assert!(scene.mempool().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_mempool_strands_no_anchor_that_was_sent_before_it_filled_or_after() {
    let mut scene = Scene::new(&[1_000_000, 1_000_000]).await;
    // Coins for those who crowd the mempool.
    scene.party.node.mine(80).await.unwrap();
    settle(&mut scene.reporter).await;
    scene.party.node.restart_with(&["-maxmempool=5"]).await.unwrap();
    scene.one_more_epoch().await;
    scene.anchorer().pass().await.unwrap();
    let (cheap, first, fee) = scene.flying().await;
    scene.party.node.crowd(MARKET).await.unwrap();
    assert!(!scene.mempool().await.contains(&cheap), "what pays less than all others is thrown out");

    // Late, it is replaced by one that is taken, and is in the next block, which has room for a fifth of what waits.
    let second = scene.one_more_epoch().await;
    scene.anchorer().pass().await.unwrap();
    let (dear, more) = scene.anchor_in_mempool(second).await;
    assert!(dear != cheap && second > first && more > fee, "{fee} {more}");
    scene.party.node.mine(1).await.unwrap();
    settle(&mut scene.reporter).await;
    assert_eq!(scene.recorded(second).unwrap().outpoint.txid, dear);

    // One that is made while it is full.
    scene.party.node.crowd(MARKET).await.unwrap();
    let third = scene.one_more_epoch().await;
    scene.anchorer().pass().await.unwrap();
    let (last, _) = scene.anchor_in_mempool(third).await;
    scene.party.node.mine(1).await.unwrap();
    settle(&mut scene.reporter).await;
    assert_eq!(scene.recorded(third).unwrap().outpoint.txid, last);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_coins_nothing_is_sent_and_the_reason_names_what_is_missing() {
    let scene = Scene::new(&[]).await;
    scene.one_more_epoch().await;
    let why = scene.anchorer().pass().await.unwrap_err();
    assert!(matches!(&why, PassError::Wallet(why) if why.contains("is needed")), "{why}");
    assert!(scene.mempool().await.is_empty());
}
