//! The harness and the RPC client, against a real bitcoind.

use std::collections::HashSet;
use std::process::Command;

use bitcoin::hashes::Hash;
use bitcoin::opcodes::all::OP_RETURN;
use bitcoin::script::{Builder, PushBytesBuf};
use bitcoin::{
    Address, Amount, BlockHash, FeeRate, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut,
    Txid, absolute, transaction,
};
use palisade_hub::bitcoind::{Acceptance, BitcoinRpc, RpcError, Tip};
use palisade_protocol::context::ChainId;
use palisade_regtest::Node;
use palisade_regtest::node::NodeError;
use palisade_world::{Wish, World, transaction, unbonding};

const SATS: Amount = Amount::from_sat(20_000);

/// Pays to anybody who says `true`: tests spend it without keys.
fn anyone() -> ScriptBuf {
    ScriptBuf::from_bytes(vec![0x51]).to_p2wsh()
}

fn to_anyone() -> Address {
    Address::from_script(&anyone(), Network::Regtest).unwrap()
}

/// Spends an output of [`anyone`], leaving `fee` sat.
fn spend(
    coin: OutPoint,
    value: Amount,
    sequence: Sequence,
    script_pubkey: ScriptBuf,
    fee: u64,
) -> Transaction {
    let witness = bitcoin::Witness::from_slice(&[[0x51]]);
    Transaction {
        version: transaction::Version::TWO,
        lock_time: absolute::LockTime::ZERO,
        input: vec![TxIn { previous_output: coin, sequence, witness, ..TxIn::default() }],
        output: vec![TxOut { value: value - Amount::from_sat(fee), script_pubkey }],
    }
}

async fn node_with_coins() -> Node {
    let node = Node::temporary().await.unwrap();
    node.mine(101).await.unwrap();
    node
}

async fn tip(node: &Node) -> Tip {
    node.rpc().tip().await.unwrap()
}

#[tokio::test]
async fn mined_blocks_are_found_by_height_hash_and_header() {
    let node = Node::temporary().await.unwrap();
    let rpc = node.rpc();
    rpc.check_network(Network::Regtest).await.unwrap();
    let error = rpc.check_network(Network::Bitcoin).await.unwrap_err();
    assert_eq!(error.to_string(), "bitcoind is on regtest, we are on bitcoin");
    let genesis = bitcoin::constants::genesis_block(Network::Regtest);
    assert_eq!(rpc.block_hash(0).await.unwrap(), Some(genesis.block_hash()));
    assert_eq!(rpc.block(genesis.block_hash()).await.unwrap(), Some(genesis.clone()));

    let hashes = node.mine(12).await.unwrap();
    assert_eq!(tip(&node).await, Tip { height: 12, hash: hashes[11] });
    assert_eq!(rpc.block_hash(12).await.unwrap(), Some(hashes[11]));
    assert_eq!(rpc.block_hash(13).await.unwrap(), None);
    assert_eq!(rpc.height_of(hashes[4]).await.unwrap(), Some(5));
    assert_eq!(rpc.height_of(BlockHash::all_zeros()).await.unwrap(), None);
    assert_eq!(rpc.header(BlockHash::all_zeros()).await.unwrap(), None);
    assert_eq!(rpc.block(BlockHash::all_zeros()).await.unwrap(), None);

    let headers = rpc.headers(0, 100).await.unwrap();
    assert_eq!(headers.len(), 13);
    assert_eq!(headers[0], genesis.header);
    assert_eq!(rpc.header(hashes[6]).await.unwrap(), Some(headers[7]));
    assert_eq!(rpc.headers(7, 2).await.unwrap(), headers[7..9]);
    assert_eq!(rpc.headers(13, 1).await.unwrap(), []);
}

#[tokio::test]
async fn funding_pays_several_at_once_and_uses_its_own_change() {
    let node = node_with_coins().await;
    let rpc = node.rpc();
    let outputs: Vec<TxOut> =
        (1..=200u64).map(|n| TxOut { value: SATS * n, script_pubkey: anyone() }).collect();
    let many = node.fund_many(&outputs).await.unwrap();
    assert_eq!(many.output[..200], outputs);
    assert_eq!(many.output.len(), 201, "change comes last");
    // Two coinbases are mature, and four more spends work only with change that is not mined yet.
    let mut txids = HashSet::from([many.compute_txid()]);
    for _ in 0..4 {
        txids.insert(node.fund(&to_anyone(), Amount::from_int_btc(15)).await.unwrap());
    }
    assert_eq!(txids.len(), 5);
    let entry = rpc.mempool_entry(many.compute_txid()).await.unwrap().unwrap();
    assert!(entry.fee.to_sat() >= 2 * entry.vsize && entry.fee.to_sat() <= 2 * entry.vsize + 2, "{entry:?}");
    assert!(entry.descendants > 1 && entry.descendant_fees > entry.fee, "{entry:?}");

    node.mine(1).await.unwrap();
    assert_eq!(rpc.mempool_entry(many.compute_txid()).await.unwrap(), None);
    let found = rpc.raw_transaction(many.compute_txid()).await.unwrap().unwrap();
    assert_eq!((found.transaction, found.mined_in), (many, Some(tip(&node).await.hash)));
    let scan = rpc.scan_tx_out_set(&format!("addr({})", to_anyone())).await.unwrap();
    assert_eq!((scan.tip, scan.unspent.len()), (tip(&node).await, 204));
    assert_eq!(rpc.raw_transaction(Txid::all_zeros()).await.unwrap(), None);
}

#[tokio::test]
async fn funding_without_mature_coins_says_what_is_missing() {
    let node = Node::temporary().await.unwrap();
    node.mine(99).await.unwrap();
    let fund = async || node.fund(&to_anyone(), Amount::from_int_btc(1)).await;
    let error = fund().await.unwrap_err();
    assert!(matches!(error, NodeError::NotEnoughFunds { found: Amount::ZERO, .. }), "{error}");
    node.mine(1).await.unwrap();
    fund().await.unwrap();
}

#[tokio::test]
async fn a_longer_branch_of_seven_blocks_is_followed() {
    let node = node_with_coins().await;
    let rpc = node.rpc();
    let kept = node.fund(&to_anyone(), SATS).await.unwrap();
    let lost = node.fund(&to_anyone(), SATS * 2).await.unwrap();
    let hashes = node.mine(7).await.unwrap();
    let old_tip = tip(&node).await;
    let stale = hashes[0];
    assert_eq!(rpc.height_of(stale).await.unwrap(), Some(old_tip.height - 6));
    let keep = rpc.raw_transaction(kept).await.unwrap().unwrap().transaction;

    let reorg = node.reorg(7, 8, &[keep]).await.unwrap();

    assert_eq!((reorg.fork_height, reorg.old_tip), (old_tip.height - 7, old_tip));
    assert_eq!(reorg.removed, [lost]);
    assert_eq!(tip(&node).await, reorg.new_tip);
    assert_eq!(reorg.new_tip.height, old_tip.height + 1);
    assert_eq!(rpc.height_of(stale).await.unwrap(), None);
    assert!(rpc.block(stale).await.unwrap().is_some(), "the node still has the block, off its best chain");
    let mined = |txid| async move { rpc.raw_transaction(txid).await.unwrap().unwrap().mined_in };
    assert_eq!(mined(kept).await, rpc.block_hash(old_tip.height - 6).await.unwrap());
    assert_eq!(mined(lost).await, None, "it waits in the mempool again");
    let headers = rpc.headers(reorg.fork_height - 10, 100).await.unwrap();
    for (parents, child) in headers.windows(11).zip(&headers[11..]) {
        let mut times: Vec<u32> = parents.iter().map(|header| header.time).collect();
        times.sort_unstable();
        assert!(child.time > times[5], "median time");
    }
    node.mine(1).await.unwrap();
    assert_eq!(mined(lost).await, Some(tip(&node).await.hash));
}

#[tokio::test]
async fn a_transaction_that_a_reorg_made_invalid_is_not_found_any_more() {
    let node = node_with_coins().await;
    let rpc = node.rpc();
    let coin = OutPoint::new(node.fund(&to_anyone(), SATS).await.unwrap(), 0);
    node.mine(1).await.unwrap();
    let lost = spend(coin, SATS, Sequence::MAX, anyone(), 1_000);
    let rival = spend(coin, SATS, Sequence::MAX, anyone(), 2_000);
    node.mine_block_with(std::slice::from_ref(&lost)).await.unwrap();
    let reorg = node.reorg(1, 2, std::slice::from_ref(&rival)).await.unwrap();
    assert_eq!(reorg.removed, [lost.compute_txid()]);
    assert_eq!(rpc.raw_transaction(lost.compute_txid()).await.unwrap(), None);
    let error = rpc.send_raw_transaction(&lost).await.unwrap_err();
    assert!(error.to_string().contains("bad-txns-inputs-missingorspent"), "{error}");
    rpc.send_raw_transaction(&rival).await.unwrap();
}

#[tokio::test]
async fn a_branch_that_is_not_longer_is_refused_before_it_is_built() {
    let node = Node::temporary().await.unwrap();
    node.mine(3).await.unwrap();
    for (depth, new_blocks) in [(0, 1), (2, 2), (4, 9)] {
        let error = node.reorg(depth, new_blocks, &[]).await.unwrap_err();
        assert!(matches!(error, NodeError::ImpossibleReorg { tip: 3, .. }), "{error}");
    }
    let new_tip = node.reorg(3, 4, &[]).await.unwrap().new_tip;
    assert_eq!((new_tip.height, tip(&node).await), (4, new_tip));
}

#[tokio::test]
async fn an_invalid_block_is_refused_with_the_nodes_reason() {
    let node = node_with_coins().await;
    let coin = OutPoint::new(node.fund(&to_anyone(), SATS).await.unwrap(), 0);
    let thief = Transaction {
        input: vec![TxIn { previous_output: coin, ..TxIn::default() }],
        ..spend(coin, SATS, Sequence::MAX, anyone(), 0)
    };
    let error = node.mine_block_with(std::slice::from_ref(&thief)).await.unwrap_err();
    assert!(error.to_string().contains("bad-txns-inputs-missingorspent"), "{error}");
    let error = node.reorg(1, 2, &[thief]).await.unwrap_err();
    assert!(
        matches!(error, NodeError::NotFollowed { .. }),
        "the node only looks once the branch is longer: {error}"
    );
    let mut block = node.rpc().block(tip(&node).await.hash).await.unwrap().unwrap();
    node.rpc().submit_block(&block).await.expect("the node has it already");
    block.txdata.push(block.txdata[0].clone());
    let error = node.rpc().submit_block(&block).await.unwrap_err();
    assert_eq!(error.to_string(), "bitcoind refused submitblock: bad-txnmrklroot (code 0)");
    assert_eq!(tip(&node).await.height, 101);
}

#[tokio::test]
async fn a_refused_transaction_comes_with_the_nodes_reason() {
    let node = node_with_coins().await;
    let rpc = node.rpc();
    let coin = OutPoint::new(node.fund(&to_anyone(), SATS).await.unwrap(), 0);
    node.mine(1).await.unwrap();
    let early = spend(coin, SATS, Sequence::from_height(2), anyone(), 1_000);
    let refused = |reason: &str| vec![Acceptance::Refused { reason: reason.into() }];
    let judged = async |tx: &Transaction| rpc.test_mempool_accept(std::slice::from_ref(tx)).await.unwrap();

    assert_eq!(judged(&early).await, refused("non-BIP68-final"));
    let error = rpc.send_raw_transaction(&early).await.unwrap_err();
    assert!(error.to_string().contains("non-BIP68-final (code -26)"), "{error}");
    assert!(!error.can_be_retried());

    node.mine(1).await.unwrap();
    let vsize = early.vsize() as u64;
    assert_eq!(judged(&early).await, [Acceptance::Allowed { vsize, fee: Amount::from_sat(1_000) }]);
    rpc.send_raw_transaction(&early).await.unwrap();
    rpc.send_raw_transaction(&early).await.expect("in the mempool already");
    assert_eq!(rpc.tx_out(coin, true).await.unwrap(), None);
    assert_eq!(rpc.tx_out(coin, false).await.unwrap().unwrap().confirmations, 2);

    let child =
        spend(OutPoint::new(early.compute_txid(), 0), early.output[0].value, Sequence::MAX, anyone(), 500);
    node.mine_block_with(&[early.clone(), child.clone()]).await.unwrap();
    rpc.send_raw_transaction(&child).await.expect("in the chain already");
    rpc.send_raw_transaction(&early).await.expect("in the chain already, and all its outputs are spent");
    let made = rpc.tx_out(OutPoint::new(child.compute_txid(), 0), true).await.unwrap().unwrap();
    assert_eq!((made.output, made.confirmations, made.coinbase), (child.output[0].clone(), 1, false));
}

#[tokio::test]
async fn anchors_that_burn_an_amount_and_pay_a_high_fee_are_sent() {
    let node = node_with_coins().await;
    let coin = OutPoint::new(node.fund(&to_anyone(), Amount::from_int_btc(1)).await.unwrap(), 0);
    let payload = PushBytesBuf::try_from(vec![7; 101]).unwrap();
    let burn = Builder::new().push_opcode(OP_RETURN).push_slice(payload).into_script();
    let anchor = spend(coin, Amount::from_int_btc(1), Sequence::MAX, burn, 90_000_000);
    node.rpc().send_raw_transaction(&anchor).await.unwrap();
    let rate = FeeRate::from_sat_per_vb_u32(3);
    assert_eq!(node.rpc().estimate_fee_rate(2, rate).await.unwrap(), rate, "regtest has no estimate");
}

#[tokio::test]
async fn a_restarted_node_keeps_its_chain_and_its_address_and_gets_a_new_cookie() {
    let folder = tempfile::tempdir().unwrap();
    let datadir = folder.path().join("a folder with spaces");
    let mut node = Node::in_directory(&datadir).await.unwrap();
    node.mine(101).await.unwrap();
    let waiting = node.fund(&to_anyone(), SATS).await.unwrap();
    let (before, url) = (tip(&node).await, node.rpc_url());
    let cookie = std::fs::read_to_string(node.cookie_path()).unwrap();

    node.restart().await.unwrap();
    assert_eq!((tip(&node).await, node.rpc_url()), (before, url));
    assert_ne!(std::fs::read_to_string(node.cookie_path()).unwrap(), cookie);
    assert!(node.rpc().raw_transaction(waiting).await.unwrap().is_some(), "the mempool is kept too");

    node.stop().await.unwrap();
    let error = node.rpc().tip().await.unwrap_err();
    assert!(matches!(error, RpcError::Unreachable { .. }), "{error}");
    drop(node);
    let again = Node::in_directory(&datadir).await.unwrap();
    assert_eq!(tip(&again).await, before);
    again.fund(&to_anyone(), SATS).await.expect("a harness that starts later finds the coins of the first");
}

#[tokio::test]
async fn a_dropped_node_is_dead_and_its_temporary_directory_gone() {
    let node = Node::temporary().await.unwrap();
    let (url, datadir) = (node.rpc_url(), node.datadir().to_owned());
    let process = format!("/proc/{}", node.process_id().unwrap());
    assert!(std::fs::exists(&process).unwrap() && datadir.is_dir());
    drop(node);
    assert!(!std::fs::exists(&process).unwrap(), "killed and waited for");
    assert!(!datadir.exists());
    let user = palisade_hub::bitcoind::Auth::UserPass { user: String::new(), password: String::new() };
    let error = BitcoinRpc::new(url, user).unwrap().tip().await.unwrap_err();
    assert!(matches!(error, RpcError::Unreachable { .. }), "{error}");
}

#[tokio::test]
async fn the_commands_for_a_report_work_for_somebody_else() {
    let folder = tempfile::tempdir().unwrap();
    let mut node = Node::in_directory(folder.path()).await.unwrap();
    let tip = node.mine(3).await.unwrap()[2];
    let (start, cli) = (node.start_args(), node.cli_args());
    node.stop().await.unwrap();

    let mut process = Command::new(&start[0]).args(&start[1..]).spawn().unwrap();
    let answer = Command::new(&cli[0])
        .args(&cli[1..])
        .args(["-rpcwait", "-rpcwaittimeout=120", "getbestblockhash"])
        .output()
        .unwrap();
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(String::from_utf8_lossy(&answer.stdout).trim(), tip.to_string());
}

#[tokio::test]
async fn a_node_takes_the_blocks_of_a_world_and_follows_its_branches_but_takes_no_theft() {
    let mut world = World::new(400_000);
    world.register_provider(&ChainId::zero(), "anna");
    let id = world.active_stake(&Wish { holder: "alice", sat: 500_000, providers: &["anna"], lock: 300 });
    let node = Node::of(&world).await.unwrap();
    let is_unspent = async |coin| node.rpc().tx_out(coin, false).await.unwrap().is_some();

    let (coin, exit) = (world.stake(&id).contract.coin.outpoint, unbonding(world.stake(&id), "alice"));
    world.spend(&id, coin, &exit).unwrap();
    let (lost, ..) = world.fund("bob", SATS.to_sat());
    node.follow(&world).await.unwrap();
    assert!(is_unspent(lost).await && !is_unspent(coin).await);

    // Exit and payment are gone, and the money of the payment is there again.
    world.reorg(2, &[]).unwrap();
    let (paid, ..) = world.fund("bob", SATS.to_sat());
    assert_ne!(paid, lost);
    node.follow(&world).await.unwrap();
    assert!(is_unspent(paid).await && is_unspent(coin).await && !is_unspent(lost).await);

    world.mempool.push(transaction(vec![coin], vec![TxOut::minimal_non_dust(ScriptBuf::new())]));
    world.mine(1);
    let refused = node.follow(&world).await.unwrap_err();
    assert!(matches!(refused, NodeError::Rpc(RpcError::Refused { method: "submitblock", .. })), "{refused}");
}
