//! What an anchor costs a wallet, whatever coins that has: before a node that takes each version in the place of the one before.

use bitcoin::{Address, Amount, FeeRate, Network, OutPoint, TxOut};
use palisade_checkpointer::anchor::build::{CannotBuild, Terms, build};
use palisade_checkpointer::anchor::flight::Version;
use palisade_checkpointer::config::WalletConfig;
use palisade_checkpointer::wallet::{Purpose, Wallet};
use palisade_hub::bitcoind::Acceptance;
use palisade_hub::daemon::password::Password;
use palisade_hub::daemon::private_file;
use palisade_protocol::anchor::Anchor;
use palisade_protocol::hash::Hash32;
use palisade_protocol::units::Epoch;
use palisade_regtest::Node;
use palisade_staker::bump::Price;
use palisade_staker::purse::{INPUT, PurseError, sign_all};
use palisade_world::bls_secret;
use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};
use std::collections::BTreeSet;
use std::path::Path;

/// A new wallet, and its address.
fn wallet(dir: &Path) -> (WalletConfig, Address) {
    private_file::create_dir(dir).unwrap();
    private_file::create(&dir.join("password"), b"anchors").unwrap();
    let config = WalletConfig {
        key_file: dir.join("anchor.key.json"),
        password_file: Some(dir.join("password")),
        max_fee_sat: 50_000,
        bump_after_blocks: 2,
    };
    let password = Password::new("anchors".to_owned()).unwrap();
    let made =
        Wallet::create(Purpose::Anchor, &config.key_file, &dir.join("data"), Network::Regtest, &password);
    (config, made.unwrap())
}

/// Wallets with these confirmed coins.
async fn wallets(node: &Node, dir: &Path, coins: &[Vec<u64>]) -> Vec<Wallet> {
    let made: Vec<_> = (0..coins.len()).map(|n| wallet(&dir.join(n.to_string()))).collect();
    let outputs = coins.iter().zip(&made).flat_map(|(coins, (_, address))| {
        let script_pubkey = address.script_pubkey();
        coins
            .iter()
            .map(move |sat| TxOut { value: Amount::from_sat(*sat), script_pubkey: script_pubkey.clone() })
    });
    node.fund_many(&outputs.collect::<Vec<_>>()).await.unwrap();
    node.mine(1).await.unwrap();
    let mut wallets = Vec::new();
    for (n, (config, _)) in made.iter().enumerate() {
        let data = dir.join(n.to_string()).join("data");
        let mut wallet = Wallet::open(Purpose::Anchor, config, &data, Network::Regtest).unwrap();
        wallet.purse.sync(node.rpc(), 0).await.unwrap();
        wallets.push(wallet);
    }
    wallets
}

/// An anchor that so many members may have signed.
fn anchor(epoch: u64, members: usize) -> Anchor {
    let signature = bls_secret("anna").sign(b"a checkpoint");
    Anchor {
        epoch: Epoch(epoch),
        header: Hash32([7; 32]),
        bitmap: vec![0x80; members.div_ceil(8)],
        signature,
    }
}

fn price(rate: FeeRate) -> Price {
    Price { rate, least: FeeRate::BROADCAST_MIN, ceiling: Amount::from_sat(1_000_000) }
}

fn next(wallet: &mut Wallet, old: Option<&Version>) -> Result<Version, CannotBuild> {
    let price = price(FeeRate::from_sat_per_vb_u32(2));
    let taken = BTreeSet::new();
    build(wallet, &anchor(1, 4), &Terms { price, old, taken: &taken, height: 0 })
}

fn coins(version: &Version) -> BTreeSet<OutPoint> {
    version.transaction.input.iter().map(|input| input.previous_output).collect()
}

fn rate(version: &Version) -> f64 {
    version.fee.to_sat() as f64 / version.transaction.vsize() as f64
}

/// What more than one anchor of a wallet showed.
#[derive(Default)]
struct Seen {
    replaced: usize,
    took_more: usize,
    without_change: usize,
}

/// Sends anchors of a wallet, each in the place of the one before, until its coins are used up.
async fn use_up(node: &Node, wallet: &mut Wallet, seen: &mut Seen) {
    let mut old: Option<Version> = None;
    let (needed, available, wanted) = loop {
        let new = match next(wallet, old.as_ref()) {
            Ok(new) => new,
            Err(CannotBuild::Purse(PurseError::NotEnough { needed, available, rate })) => {
                break (needed, available, rate);
            }
            Err(why) => panic!("{why}"),
        };
        if let Some(old) = &old {
            let vsize = new.transaction.vsize() as u64;
            assert!(new.fee.to_sat() >= old.fee.to_sat() + vsize, "{old:?} {new:?}");
            assert!(rate(&new) > rate(old), "{old:?} {new:?}");
            assert!(!coins(&new).is_disjoint(&coins(old)), "one of them at most confirms");
            seen.replaced += 1;
            seen.took_more += usize::from(coins(&new).len() > coins(old).len());
        }
        seen.without_change += usize::from(new.transaction.output.len() == 1);
        node.rpc().send_raw_transaction(&new.transaction).await.unwrap();
        if let Some(old) = &old {
            assert_eq!(node.rpc().mempool_entry(old.txid()).await.unwrap(), None);
        }
        old = Some(new);
    };
    // What is said to be missing is: all that coins are worth would not have paid, if the common one costs what it holds.
    assert!(needed > available, "{needed} {available}");
    let own = wallet.purse.coins(&BTreeSet::new());
    let worth: Amount = own.iter().map(|coin| coin.worth(wanted)).sum();
    let base = wanted.fee_vb(120).unwrap() + wanted.fee_wu(INPUT).unwrap();
    assert!(worth < base, "{worth} would have paid for {base}");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_version_of_an_anchor_pays_enough_more_from_any_wallet_until_its_coins_are_used_up() {
    let node = Node::temporary().await.unwrap();
    node.mine(110).await.unwrap();
    let mut draw = StdRng::seed_from_u64(116);
    let mut shapes: Vec<Vec<u64>> =
        (1..=8).map(|count| (0..count).map(|_| draw.gen_range(600..6_000)).collect()).collect();
    // The change would be dust: of the first anchor, and only once it is replaced.
    shapes.extend([vec![500], vec![500, 700], vec![1_000, 900], vec![450, 450, 450]]);
    let dir = tempfile::tempdir().unwrap();
    let mut seen = Seen::default();
    for wallet in &mut wallets(&node, dir.path(), &shapes).await {
        use_up(&node, wallet, &mut seen).await;
    }
    assert!(seen.replaced > 20 && seen.took_more > 8 && seen.without_change > 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn coins_that_cost_more_than_they_hold_pay_for_no_anchor_and_are_not_taken_beside_another() {
    let node = Node::temporary().await.unwrap();
    node.mine(110).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let small = vec![1_100; 8];
    let shapes = [small.clone(), [small, vec![50_000]].concat(), Vec::new()];
    let [mut poor, mut mixed, mut empty] = wallets(&node, dir.path(), &shapes).await.try_into().ok().unwrap();
    let twenty = FeeRate::from_sat_per_vb_u32(20);
    let taken = BTreeSet::new();
    let at = |wallet: &mut Wallet, rate| {
        build(wallet, &anchor(1, 4), &Terms { price: price(rate), old: None, taken: &taken, height: 0 })
    };
    for wallet in [&mut poor, &mut empty] {
        let why = at(wallet, twenty).unwrap_err();
        let said = why.to_string();
        let CannotBuild::Purse(PurseError::NotEnough { needed, available, .. }) = why else {
            panic!("{said}")
        };
        assert_eq!(available, Amount::ZERO, "{said}");
        // Of one coin with nothing else it would be enough.
        assert!((3_000..3_600).contains(&needed.to_sat()), "{said}");
        assert!(said.contains(&format!("{needed} is needed with the fee at 20 sat/vB")), "{said}");
    }
    // What is cheap enough is spent: at 2 sat/vB each of them holds more than it costs.
    assert!(at(&mut poor, FeeRate::from_sat_per_vb_u32(2)).is_ok());
    for _ in 0..8 {
        let version = at(&mut mixed, twenty).unwrap();
        let [input] = version.transaction.input.as_slice() else { panic!("{version:?}") };
        let value = mixed.purse.coin(input.previous_output).unwrap().output.value;
        assert_eq!(value.to_sat(), 50_000);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn where_more_is_wanted_than_may_be_paid_an_anchor_pays_nearly_all_that_may_be() {
    let node = Node::temporary().await.unwrap();
    node.mine(110).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    // One coin that is a little more than the ceiling leaves no change at first; two small ones are needed together.
    let shapes =
        [vec![20_000], vec![20_200], vec![21_000], vec![26_000], vec![500_000], vec![15_000, 15_000]];
    for wallet in &mut wallets(&node, dir.path(), &shapes).await {
        let taken = BTreeSet::new();
        let price =
            Price { ceiling: Amount::from_sat(20_000), ..price(FeeRate::from_sat_per_vb_u32(10_000)) };
        let terms = Terms { price, old: None, taken: &taken, height: 0 };
        let version = build(wallet, &anchor(1, 4), &terms).unwrap();
        assert!((14_000..=20_000).contains(&version.fee.to_sat()), "{version:?}");
        let verdict = node.rpc().test_mempool_accept(&[version.transaction]).await.unwrap().remove(0);
        assert!(matches!(verdict, Acceptance::Allowed { fee, .. } if fee == version.fee), "{verdict:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_anchor_of_any_size_pays_the_rate_that_was_asked_for() {
    let node = Node::temporary().await.unwrap();
    node.mine(110).await.unwrap();
    let dir = tempfile::tempdir().unwrap();
    let mut wallet = wallets(&node, dir.path(), &[vec![40_000; 8]]).await.remove(0);
    let places: Vec<OutPoint> =
        wallet.purse.coins(&BTreeSet::new()).iter().map(|coin| coin.outpoint).collect();
    for members in [1, 8, 9, 24, 25, 60] {
        let output = TxOut { value: Amount::ZERO, script_pubkey: anchor(3, members).script() };
        for inputs in 1..=places.len() {
            for sat_vb in [2, 7, 50] {
                let rate = FeeRate::from_sat_per_vb_u32(sat_vb);
                let funded = wallet.purse.fund(&output, rate, &BTreeSet::new(), &places[..inputs]).unwrap();
                assert_eq!(funded.transaction.input.len(), inputs);
                let signed = sign_all(&funded, &wallet.keys).unwrap();
                let verdict = node.rpc().test_mempool_accept(&[signed]).await.unwrap().remove(0);
                let Acceptance::Allowed { vsize, fee } = verdict else { panic!("{verdict:?}") };
                let asked = f64::from(sat_vb) * vsize as f64;
                let off = (fee.to_sat() as f64 - asked) / asked;
                assert!((0.0..0.01).contains(&off), "{members} members, {inputs} inputs, {sat_vb}: {off}");
            }
        }
    }
}
