//! The smallest stake that accepted parameters allow, before a node: nothing that it can come to is dust, or pays too little.

use super::parties::*;
use super::{Node, key_pair};
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut, Witness};
use palisade_hub::bitcoind::{Acceptance, RpcError};
use palisade_hub::init::default_params;
use palisade_protocol::keys::CovenantKey;
use palisade_protocol::outputs::{Leaf, Output};
use palisade_protocol::params::{Params, ParamsDocument, Profile};
use palisade_protocol::stake::{Contract, Presigned, unbonding_coin};
use palisade_protocol::transactions::Coin;
use palisade_protocol::units::BasisPoints;
use palisade_regtest::node::NodeError;

/// Nodes took nothing below 1 sat/vB, and no longer data, by default until version 30 of Bitcoin Core.
const OLDER_DEFAULTS: [&str; 2] = ["-minrelaytxfee=0.00001", "-datacarriersize=83"];
/// One member and one provider, and as many as may be.
const SIZES: [(u8, usize, usize); 2] = [(1, 1, 1), (20, 20, 8)];
/// From a hundredth of a percent to all but that.
const RATES: [u16; 3] = [1, 1_000, 9_999];

/// `OP_RETURN` and these bytes.
fn op_return(rest: &[u8]) -> ScriptBuf {
    ScriptBuf::from_bytes([&[0x6a], rest].concat())
}

/// A witness program: its version's opcode, and so many bytes.
fn program(version: u8, length: u8) -> ScriptBuf {
    ScriptBuf::from_bytes([vec![version, length], vec![0x4e; length.into()]].concat())
}

/// Burns, and every kind of witness program, the shortest and the longest of those that nobody can spend yet.
fn slash_scripts() -> Vec<ScriptBuf> {
    let longest = [&[0x4c, 80][..], &[7; 80]].concat();
    let key = bitcoin::key::TweakedPublicKey::dangerous_assume_tweaked(key_pair("burn").public());
    let anchor = ScriptBuf::from_bytes(vec![0x51, 0x02, 0x4e, 0x73]);
    let taproot = ScriptBuf::new_p2tr_tweaked(key);
    let programs = [(0, 20), (0, 32), (0x51, 40), (0x52, 2), (0x60, 2), (0x60, 40)];
    let programs = programs.map(|(version, length)| program(version, length));
    [op_return(&[]), op_return(&longest), anchor, taproot].into_iter().chain(programs).collect()
}

/// Scripts of the same beginnings that nodes relay no output to.
fn odd_scripts() -> Vec<ScriptBuf> {
    let data = [[0xac].as_slice(), &[0x4c], &[0x02, 0x01], &[0x61, 0x61]].map(op_return);
    let lengths = [2, 19, 21, 31, 33, 40].map(|length| program(0, length));
    data.into_iter().chain(lengths).collect()
}

/// What the parameters are, but for the smallest stake: the lowest fees that are accepted.
fn document(parties: &Parties, slash_script: &ScriptBuf, rate: u16, profile: Profile) -> ParamsDocument {
    let committee = parties.members.iter().map(|pair| CovenantKey::from(pair.public())).collect();
    let quorum = parties.keys.committee().quorum();
    ParamsDocument {
        unbonding_fee_sat: 830,
        min_slash_fee_sat: 830,
        slash_rate_bp: BasisPoints::new(rate).unwrap(),
        slash_script: slash_script.clone(),
        profile,
        ..default_params(bitcoin::Network::Regtest, committee, quorum).unwrap()
    }
}

/// The parameters with the smallest `min_stake_sat` that is accepted.
fn tightest(document: ParamsDocument) -> Params {
    let with = |min_stake_sat| Params::new(ParamsDocument { min_stake_sat, ..document.clone() });
    let (mut refused, mut accepted) = (0, document.max_stake_sat);
    while accepted - refused > 1 {
        let middle = refused.midpoint(accepted);
        *(if with(middle).is_ok() { &mut accepted } else { &mut refused }) = middle;
    }
    with(accepted).unwrap()
}

/// A stake of the smallest amount, in a block.
struct Case {
    name: String,
    parties: Parties,
    params: Params,
    contract: Contract,
}

impl Case {
    fn all() -> Vec<Self> {
        let mut cases = Vec::new();
        for profile in [Profile::Compatible, Profile::Bumpable] {
            for (quorum, members, providers) in SIZES {
                for script in slash_scripts() {
                    for rate in RATES {
                        let parties = Parties::new(quorum, members, providers);
                        let params = tightest(document(&parties, &script, rate, profile));
                        let sat = params.document().min_stake_sat;
                        let name =
                            format!("{profile:?}, {quorum} of {members}, {script}, {rate} bp, {sat} sat");
                        let coin = Coin { outpoint: OutPoint::null(), value: Amount::from_sat(sat) };
                        let keys = parties.keys.clone();
                        let unbonding_time = params.unbonding_time();
                        let contract = Contract { coin, keys, lock: blocks(LOCK), unbonding_time };
                        cases.push(Self { name, parties, params, contract });
                    }
                }
            }
        }
        cases
    }

    fn presigned(&self) -> Presigned {
        self.contract.presign(&self.params).unwrap_or_else(|why| panic!("{}: {why}", self.name))
    }

    /// A presigned transaction with all signatures that its leaf wants.
    fn signed(&self, tx: &Transaction, output: Output, leaf: Leaf, value: Amount) -> Transaction {
        let spent = vec![TxOut { value, script_pubkey: output.script_pubkey() }];
        let path = Path { name: "smallest", output, leaf, tx: tx.clone(), spent };
        let stack = self.parties.stack(&path, &self.parties.honest(&path));
        let mut tx = path.tx;
        tx.input[0].witness = Witness::from_slice(&stack);
        tx
    }

    fn unbonding(&self) -> Transaction {
        let (tx, coin) = (self.presigned().unbonding, self.contract.coin);
        self.signed(&tx, self.contract.output(), Leaf::Unbonding, coin.value)
    }

    fn slashing(&self) -> Transaction {
        let (tx, coin) = (self.presigned().slashing, self.contract.coin);
        self.signed(&tx, self.contract.output(), Leaf::Slashing, coin.value)
    }

    fn unbonding_slashing(&self) -> Transaction {
        let presigned = self.presigned();
        let coin = unbonding_coin(&presigned.unbonding);
        let output = self.contract.unbonding_output();
        self.signed(&presigned.unbonding_slashing, output, Leaf::Slashing, coin.value)
    }
}

async fn check_taken(node: &Node, name: &str, what: &str, tx: &Transaction) {
    let verdicts = node.rpc().test_mempool_accept(std::slice::from_ref(tx)).await.unwrap();
    let Acceptance::Allowed { vsize, fee } = &verdicts[0] else { panic!("{name}: {what}: {verdicts:?}") };
    assert_eq!(fee.to_sat(), 830, "{name}: {what}");
    assert!(*vsize <= 830, "{name}: {what}: {vsize} vbytes");
}

#[tokio::test]
async fn a_node_takes_every_presigned_transaction_of_the_smallest_stake_that_parameters_allow() {
    let mut node = Node::temporary().await.unwrap();
    node.mine(120).await.unwrap();
    let mut cases = Case::all();
    let outputs: Vec<TxOut> = cases.iter().map(|case| case.contract.txout()).collect();
    let funded = node.fund_many(&outputs).await.unwrap().compute_txid();
    for (vout, case) in (0..).zip(&mut cases) {
        case.contract.coin.outpoint = OutPoint::new(funded, vout);
    }
    node.mine(1).await.unwrap();
    for flags in [OLDER_DEFAULTS.as_slice(), &[]] {
        node.restart_with(flags).await.unwrap();
        for case in &cases {
            check_taken(&node, &case.name, "unbonding", &case.unbonding()).await;
            check_taken(&node, &case.name, "slashing", &case.slashing()).await;
        }
    }
    for case in &cases {
        node.rpc().send_raw_transaction(&case.unbonding()).await.unwrap();
    }
    node.mine(1).await.unwrap();
    for flags in [OLDER_DEFAULTS.as_slice(), &[]] {
        node.restart_with(flags).await.unwrap();
        for case in &cases {
            check_taken(&node, &case.name, "slashing after unbonding", &case.unbonding_slashing()).await;
        }
    }
}

#[tokio::test]
async fn scripts_that_nodes_relay_nothing_to_are_no_slashing_scripts() {
    let node = Node::temporary().await.unwrap();
    node.mine(110).await.unwrap();
    let parties = Parties::new(1, 1, 1);
    let accepted =
        |script: &ScriptBuf| Params::new(document(&parties, script, 1_000, Profile::Compatible)).is_ok();
    for (scripts, relayed) in [(slash_scripts(), true), (odd_scripts(), false)] {
        for script in scripts {
            let output = TxOut { value: Amount::from_sat(10_000), script_pubkey: script.clone() };
            let sent = node.fund_many(&[output]).await;
            match &sent {
                Ok(_) => assert!(relayed, "{script}"),
                Err(NodeError::Rpc(RpcError::Refused { message, .. })) => {
                    assert!(!relayed && message.contains("scriptpubkey"), "{script}: {message}");
                }
                Err(why) => panic!("{script}: {why}"),
            }
            assert_eq!(accepted(&script), relayed, "{script}");
        }
    }
}
