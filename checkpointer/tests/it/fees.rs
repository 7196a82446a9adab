//! Slashings in times of high fees: a child pays for them, up to a ceiling.

use crate::party::{Party, settle};
use crate::watch::{leak, stake, watch, watcher, watcher_with, with_stakes};
use bitcoin::script::PushBytesBuf;
use bitcoin::{Amount, FeeRate, OutPoint, ScriptBuf, Transaction, TxOut};
use palisade_checkpointer::config::WalletConfig;
use palisade_checkpointer::report::Reporter;
use palisade_checkpointer::wallet::{Purpose, Wallet};
use palisade_checkpointer::watch::job::Outcome;
use palisade_checkpointer::watch::payer::Payer;
use palisade_hub::bitcoind::Acceptance;
use palisade_hub::daemon::password::Password;
use palisade_hub::daemon::private_file;
use palisade_protocol::message::Message;
use palisade_protocol::stake::StakeId;
use palisade_protocol::transactions::bump;
use palisade_world::{World, address, key_path};
use std::path::PathBuf;

/// What everybody else pays.
const MARKET: FeeRate = FeeRate::from_sat_per_vb_u32(20);

/// Two active stakes whose presigned transactions can be bumped, and a wallet for the watcher; the first stake has left early.
pub struct Scene {
    pub party: Party,
    reporter: Reporter,
    ids: [StakeId; 2],
    config: WalletConfig,
}

impl Scene {
    pub async fn new(coins: &[u64]) -> Self {
        let (party, reporter) = Box::pin(Party::of(World::bumpable(1_000_000))).await;
        // Coins for those who crowd the mempool.
        party.node.mine(80).await.unwrap();
        let (party, mut reporter, ids) = Box::pin(with_stakes((party, reporter))).await;
        let at = |name: &str| -> PathBuf { party.folder.path().join(name) };
        private_file::create(&at("password"), b"slashings").unwrap();
        let config = WalletConfig {
            key_file: at("watch.key.json"),
            password_file: Some(at("password")),
            max_fee_sat: 100_000,
            bump_after_blocks: 1,
        };
        let password = Password::new("slashings".to_owned()).unwrap();
        let (network, data) = (bitcoin::Network::Regtest, at("watch-wallet"));
        let address = Wallet::create(Purpose::Watch, &config.key_file, &data, network, &password).unwrap();
        for sat in coins {
            party.node.fund(&address, Amount::from_sat(*sat)).await.unwrap();
        }
        party.confirm(&party.unbonding(&ids[0], "alice")).await;
        settle(&mut reporter).await;
        Self { party, reporter, ids, config }
    }

    pub fn payer(&self) -> Option<Payer> {
        let data = self.party.folder.path().join("watch-wallet");
        let wallet = Wallet::open(Purpose::Watch, &self.config, &data, bitcoin::Network::Regtest).unwrap();
        Some(Payer::new(wallet, &self.config))
    }

    pub fn hub(&self) -> String {
        self.party.hub.client.url().to_string()
    }

    pub async fn key_is_out(&self) {
        self.party.hub.client.submit(&Message::Evidence(leak())).await.unwrap();
    }

    /// The slashing of the unbonding output of the first stake, and that of the second stake.
    pub fn slashings(&self) -> [Transaction; 2] {
        let [left, stayed] = self.ids.map(|id| self.party.stake(&id).presigned);
        [left.unbonding_slashing, stayed.slashing]
    }

    pub async fn waits(&self, tx: &Transaction) -> bool {
        self.party.node.rpc().mempool_entry(tx.compute_txid()).await.unwrap().is_some()
    }

    pub async fn is_mined(&self, tx: &Transaction) -> bool {
        let found = self.party.node.rpc().raw_transaction(tx.compute_txid()).await.unwrap();
        found.is_some_and(|found| found.mined_in.is_some())
    }

    /// Whether a child of a transaction is in the mempool.
    pub async fn is_paid_for(&self, tx: &Transaction) -> bool {
        let spends = self.party.node.rpc().spends_in_mempool(&[bump::handle(tx).unwrap()]).await.unwrap();
        spends[0].is_some()
    }

    /// What the child of a transaction in the mempool pays.
    pub async fn paid_for(&self, tx: &Transaction) -> Option<Amount> {
        let rpc = self.party.node.rpc();
        let spends = rpc.spends_in_mempool(&[bump::handle(tx).unwrap()]).await.unwrap();
        Some(rpc.mempool_entry(spends[0]?).await.unwrap()?.fee)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_mempool_strands_no_slashing_of_a_stake_or_of_an_unbonding_output() {
    let mut scene = Scene::new(&[300_000, 300_000]).await;
    scene.party.node.restart_with(&["-maxmempool=5"]).await.unwrap();
    scene.party.node.crowd(MARKET).await.unwrap();
    scene.key_is_out().await;
    // Nobody pays: the node takes neither, and the watcher says so.
    let mut poor = watcher(&scene.party, &scene.hub());
    watch(&mut poor).await;
    let told = poor.stranded().unwrap();
    assert!(
        told.starts_with("2 of the slashings that are due are not on their way: the node does not take ")
    );
    drop(poor);
    for tx in scene.slashings() {
        assert!(!scene.waits(&tx).await);
    }
    let mut watcher = watcher_with(&scene.party, &scene.hub(), scene.payer());
    watch(&mut watcher).await;
    assert_eq!(watcher.stranded(), None);
    for tx in scene.slashings() {
        assert!(scene.waits(&tx).await && scene.paid_for(&tx).await.is_some());
    }
    // The next block has room for a fifth of what waits, and has both.
    scene.party.node.mine(1).await.unwrap();
    for tx in scene.slashings() {
        assert!(scene.is_mined(&tx).await);
    }
    settle(&mut scene.reporter).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slashing_below_the_least_that_nodes_relay_goes_out_with_its_child() {
    let mut scene = Scene::new(&[300_000]).await;
    scene.party.node.restart_with(&["-minrelaytxfee=0.0002"]).await.unwrap();
    scene.key_is_out().await;
    let mut watcher = watcher_with(&scene.party, &scene.hub(), scene.payer());
    watch(&mut watcher).await;
    let [left, stayed] = scene.slashings();
    let alone = scene.party.node.rpc().test_mempool_accept(std::slice::from_ref(&stayed)).await.unwrap();
    assert!(matches!(alone[0], Acceptance::Refused { .. }), "{alone:?}");
    // The wallet has one coin: the second slashing waits until the first has confirmed and given its change back.
    assert_eq!([scene.waits(&left).await, scene.waits(&stayed).await], [true, false]);
    for _ in 0..2 {
        scene.party.node.mine(1).await.unwrap();
        watch(&mut watcher).await;
    }
    assert!(scene.is_mined(&left).await && scene.is_mined(&stayed).await);
    settle(&mut scene.reporter).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn where_the_coins_pay_for_two_of_six_slashings_those_go_first_whose_stakes_can_leave_first() {
    let mut scene = Scene::new(&[300_000, 300_000]).await;
    let mut stayed = vec![(scene.ids[1], "bob")];
    for holder in ["carol", "dave", "erin", "frank"] {
        stayed.push((stake(&mut scene.party, &mut scene.reporter, holder).await, holder));
    }
    scene.party.node.mine(6).await.unwrap();
    settle(&mut scene.reporter).await;
    // The watcher has them in the order of their ids: one of the last leaves early too.
    stayed.sort();
    let (second, holder) = stayed.pop().unwrap();
    scene.party.confirm(&scene.party.unbonding(&second, holder)).await;
    settle(&mut scene.reporter).await;
    let left = [scene.ids[0], second].map(|id| scene.party.stake(&id).presigned.unbonding_slashing);
    let waiting: Vec<Transaction> =
        stayed.iter().map(|(id, _)| scene.party.stake(id).presigned.slashing).collect();
    scene.party.node.restart_with(&["-minrelaytxfee=0.0002"]).await.unwrap();
    scene.key_is_out().await;

    let mut watcher = watcher_with(&scene.party, &scene.hub(), scene.payer());
    watch(&mut watcher).await;
    assert!(scene.waits(&left[0]).await && scene.waits(&left[1]).await);
    for tx in &waiting {
        assert!(!scene.waits(tx).await);
    }
    let lack = watcher.lack().unwrap();
    assert_eq!((lack.transactions, lack.unpaid), (6, 4), "{lack}");
    // Each block gives the change of two back.
    for _ in 0..3 {
        scene.party.node.mine(1).await.unwrap();
        watch(&mut watcher).await;
    }
    for tx in left.iter().chain(&waiting) {
        assert!(scene.is_mined(tx).await);
    }
    settle(&mut scene.reporter).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reorganisation_that_parts_slashings_from_the_children_that_paid_for_them_keeps_none_back() {
    let mut scene = Scene::new(&[300_000, 300_000]).await;
    scene.party.node.restart_with(&["-minrelaytxfee=0.0002"]).await.unwrap();
    scene.key_is_out().await;
    let mut watcher = watcher_with(&scene.party, &scene.hub(), scene.payer());
    watch(&mut watcher).await;
    scene.party.node.mine(1).await.unwrap();
    watch(&mut watcher).await;
    let [left, stayed] = scene.slashings();
    assert!(scene.is_mined(&left).await && scene.is_mined(&stayed).await);

    // The new branch has one of the two without its child, and nobody remembers the rest.
    let signed = scene.party.node.rpc().raw_transaction(stayed.compute_txid()).await.unwrap().unwrap();
    scene.party.node.reorg(1, 2, &[signed.transaction]).await.unwrap();
    scene.party.node.stop().await.unwrap();
    std::fs::remove_file(scene.party.node.datadir().join("regtest/mempool.dat")).unwrap();
    scene.party.node.restart().await.unwrap();
    assert!(!scene.waits(&left).await && !scene.is_paid_for(&stayed).await);

    watch(&mut watcher).await;
    assert!(scene.waits(&left).await && scene.is_paid_for(&left).await);
    assert!(!scene.is_paid_for(&stayed).await, "it is in a block");
    assert_eq!(watcher.stranded(), None);
    scene.party.node.mine(7).await.unwrap();
    watch(&mut watcher).await;
    let ended = watcher.jobs().values().map(|job| job.ended.map(|(outcome, _)| outcome));
    assert_eq!(ended.collect::<Vec<_>>(), [Some(Outcome::Slashed); 2]);
    settle(&mut scene.reporter).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slashing_that_waits_pays_more_with_each_block_up_to_the_ceiling() {
    let mut scene = Scene::new(&[300_000, 300_000]).await;
    scene.config.max_fee_sat = 9_000;
    scene.party.node.restart_with(&["-minrelaytxfee=0.0002"]).await.unwrap();
    scene.key_is_out().await;
    let mut watcher = watcher_with(&scene.party, &scene.hub(), scene.payer());
    let [_, stayed] = scene.slashings();
    let mut fees = Vec::new();
    for _ in 0..6 {
        watch(&mut watcher).await;
        fees.push(scene.paid_for(&stayed).await.unwrap().to_sat());
        // A block without it: miners want more.
        scene.party.node.mine_block_with(&[]).await.unwrap();
    }
    assert!(fees.is_sorted() && fees[0] < fees[1] && fees[5] <= 9_000, "{fees:?}");
    assert_eq!(fees[4], fees[5], "no more than the ceiling: {fees:?}");
    // Started again it goes on from what the node has.
    drop(watcher);
    watch(&mut watcher_with(&scene.party, &scene.hub(), scene.payer())).await;
    assert_eq!(scene.paid_for(&stayed).await.unwrap().to_sat(), fees[5]);
}

/// A child of mallory's, from a coin of hers: it pays `fee`, and weighs as much as it may.
async fn pinned(party: &Party, parent: &Transaction, fee: u64) -> Transaction {
    let coin = TxOut { value: Amount::from_sat(100_000), script_pubkey: address("mallory") };
    let funding = party.node.fund_many(std::slice::from_ref(&coin)).await.unwrap();
    party.node.mine_block_with(std::slice::from_ref(&funding)).await.unwrap();
    let change = TxOut { value: coin.value + bump::BUMP_VALUE - Amount::from_sat(fee), ..coin.clone() };
    let handle = bump::handle(parent).unwrap();
    let mut child = bump::child(handle, &[OutPoint::new(funding.compute_txid(), 0)], change);
    let filling = ScriptBuf::new_op_return(PushBytesBuf::try_from(vec![7; 780]).unwrap());
    child.output.push(TxOut { value: Amount::ZERO, script_pubkey: filling });
    let spent = [parent.output[handle.vout as usize].clone(), coin];
    child.input[1].witness = key_path("mallory", &child, 1, &spent);
    child
}

#[tokio::test(flavor = "multi_thread")]
async fn a_strangers_large_and_cheap_child_keeps_no_slashing_back() {
    let mut scene = Scene::new(&[300_000, 300_000]).await;
    scene.key_is_out().await;
    let mut first = watcher(&scene.party, &scene.hub());
    watch(&mut first).await;
    let [_, stayed] = scene.slashings();
    let signed =
        scene.party.node.rpc().raw_transaction(stayed.compute_txid()).await.unwrap().unwrap().transaction;
    let pin = pinned(&scene.party, &signed, 4_000).await;
    scene.party.node.rpc().submit_package(&signed, &pin).await.unwrap();
    scene.party.node.restart_with(&["-minrelaytxfee=0.0002"]).await.unwrap();
    drop(first);
    let mut watcher = watcher_with(&scene.party, &scene.hub(), scene.payer());
    watch(&mut watcher).await;
    let paid = scene.paid_for(&stayed).await.unwrap();
    assert!(paid.to_sat() > 4_000, "{paid}");
    scene.party.node.mine(1).await.unwrap();
    assert!(scene.is_mined(&stayed).await && !scene.is_mined(&pin).await);
    settle(&mut scene.reporter).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_exit_that_outbids_the_slashing_is_slashed_where_it_arrives() {
    let mut scene = Scene::new(&[300_000, 300_000]).await;
    scene.config.max_fee_sat = 20_000;
    let leave = scene.party.unbonding(&scene.ids[1], "bob");
    let push = pinned(&scene.party, &leave, 60_000).await;
    scene.party.node.rpc().submit_package(&leave, &push).await.unwrap();
    scene.key_is_out().await;
    let mut watcher = watcher_with(&scene.party, &scene.hub(), scene.payer());
    watch(&mut watcher).await;
    assert!(scene.waits(&leave).await, "the ceiling keeps the watcher from paying more");
    scene.party.node.mine(1).await.unwrap();
    assert!(scene.is_mined(&leave).await);
    watch(&mut watcher).await;
    let arrived = scene.party.stake(&scene.ids[1]).presigned.unbonding_slashing;
    assert!(scene.waits(&arrived).await);
    scene.party.node.mine(1).await.unwrap();
    assert!(scene.is_mined(&arrived).await);
    settle(&mut scene.reporter).await;
}
