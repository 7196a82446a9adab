//! Every way that coins of a stake move, judged by Bitcoin Core's interpreter, and every way that they must not.
//!
//! The stacks here are put together from the scripts' rules alone; `witness` must make the same ones.

mod building;
mod descriptors;
mod refusals;
mod slashing_checks;
mod spends;

use super::{Coin, sighash, slashing, spend, unbonding};
use crate::curve::KeyPair;
use crate::curve::testing::key_pair;
use crate::keys::{CovenantKey, ProviderKey, StakerKey};
use crate::outputs::{Leaf, Output};
use crate::scripts::{Committee, StakeKeys};
use crate::transactions::slashing::Split;
use crate::units::RelativeBlocks;
use bitcoin::consensus::encode::serialize;
use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut, Txid, Witness};

/// The committees and numbers of providers that every test goes through.
const COMMITTEES: [(u8, usize); 4] = [(1, 1), (3, 5), (6, 9), (14, 20)];
const PROVIDERS: [usize; 3] = [1, 3, 8];
const LOCK: u16 = 2_000;
const UNBONDING_TIME: u16 = 144;
const VALUE: Amount = Amount::from_sat(10_000_000);

fn blocks(n: u16) -> RelativeBlocks {
    RelativeBlocks::new(n).unwrap()
}

/// Everybody who signs for one stake, in the order of their keys.
struct Parties {
    staker: KeyPair,
    providers: Vec<KeyPair>,
    members: Vec<KeyPair>,
    keys: StakeKeys,
}

impl Parties {
    fn new(quorum: u8, members: usize, providers: usize) -> Self {
        let staker = key_pair("staker");
        let providers = sorted("provider", providers);
        let members = sorted("member", members);
        let committee = members.iter().map(|pair| CovenantKey::from(pair.public())).collect();
        let keys = StakeKeys::new(
            StakerKey::from(staker.public()),
            providers.iter().map(|pair| ProviderKey::from(pair.public())).collect(),
            Committee::new(committee, quorum).unwrap(),
        );
        Self { staker, providers, members, keys: keys.unwrap() }
    }

    fn quorum(&self) -> usize {
        self.keys.committee().quorum().into()
    }

    fn staking(&self) -> Output {
        Output::staking(&self.keys, blocks(LOCK))
    }

    fn unbonding(&self) -> Output {
        Output::unbonding(&self.keys, blocks(UNBONDING_TIME))
    }

    fn change(&self) -> Output {
        Output::slashing_change(self.keys.staker(), blocks(UNBONDING_TIME))
    }

    /// Every path by which an output of a stake can be spent.
    fn paths(&self) -> Vec<Path> {
        let coin = coin(1, VALUE);
        let leave =
            unbonding::build(coin, &self.keys, blocks(UNBONDING_TIME), Amount::from_sat(1_000)).unwrap();
        let slash = |value| slashing::build(Coin { value, ..coin }, &self.split(value)).unwrap();
        let withdraw =
            |lock| spend::withdrawal(coin, blocks(lock), anyone(), Amount::from_sat(1_000)).unwrap();
        let expand =
            spend::expansion(coin.outpoint, funding().outpoint, new_stake(self), Some(wallet(5_000)));
        vec![
            Path::new("withdrawal", self.staking(), Leaf::Timelock, withdraw(LOCK)),
            Path::new("unbonding", self.staking(), Leaf::Unbonding, leave),
            Path::new("slashing", self.staking(), Leaf::Slashing, slash(VALUE)),
            Path::new("unbonded withdrawal", self.unbonding(), Leaf::Timelock, withdraw(UNBONDING_TIME)),
            Path::new("unbonded slashing", self.unbonding(), Leaf::Slashing, slash(VALUE)),
            Path::new("change withdrawal", self.change(), Leaf::Timelock, withdraw(UNBONDING_TIME)),
            Path::new("expansion", self.staking(), Leaf::Unbonding, expand).with_funding(),
        ]
    }

    fn split(&self, value: Amount) -> Split<'static> {
        Split {
            slashed: value / 10,
            slash_script: bitcoin::Script::from_bytes(&[0x6a, 0x01, 0x2a]),
            fee: Amount::from_sat(1_000),
            change_script: self.change().script_pubkey(),
        }
    }

    /// The first quorum of members, the first provider and the holder: what a leaf wants.
    fn honest(&self, path: &Path) -> Signers {
        let committee = path.leaf != Leaf::Timelock;
        let count = if committee { self.quorum() } else { 0 };
        Signers { members: (0..count).collect(), providers: vec![0] }
    }

    /// The stack of a path: committee and providers from the last key to the first, who does not sign left empty.
    fn stack(&self, path: &Path, signers: &Signers) -> Vec<Vec<u8>> {
        let digest = path.digest();
        let signed = |pairs: &[KeyPair], who: &[usize]| -> Vec<Vec<u8>> {
            let one = |i: usize| if who.contains(&i) { sign(&pairs[i], &digest) } else { Vec::new() };
            (0..pairs.len()).rev().map(one).collect()
        };
        let mut stack = Vec::new();
        if path.leaf != Leaf::Timelock {
            stack.extend(signed(&self.members, &signers.members));
        }
        if path.leaf == Leaf::Slashing {
            stack.extend(signed(&self.providers, &signers.providers));
        }
        stack.push(sign(&self.staker, &digest));
        stack.extend(path.reveal(path.leaf));
        stack
    }
}

fn sorted(role: &str, count: usize) -> Vec<KeyPair> {
    let mut pairs: Vec<_> = (0..count).map(|i| key_pair(&format!("{role} {i}"))).collect();
    pairs.sort_by_key(|pair| pair.public().serialize());
    pairs
}

fn sign(pair: &KeyPair, digest: &[u8; 32]) -> Vec<u8> {
    pair.sign_bip340(digest, &[0; 32]).serialize().to_vec()
}

/// Who signs, by place in the order of keys.
struct Signers {
    members: Vec<usize>,
    providers: Vec<usize>,
}

/// One spend: input 0 of `tx` spends `output` by `leaf`.
#[derive(Clone)]
struct Path {
    name: &'static str,
    output: Output,
    leaf: Leaf,
    tx: Transaction,
    spent: Vec<TxOut>,
}

impl Path {
    fn new(name: &'static str, output: Output, leaf: Leaf, tx: Transaction) -> Self {
        let spent = vec![TxOut { value: VALUE, script_pubkey: output.script_pubkey() }];
        Self { name, output, leaf, tx, spent }
    }

    fn with_funding(mut self) -> Self {
        self.spent.push(wallet(funding().value.to_sat()));
        self
    }

    fn digest(&self) -> [u8; 32] {
        sighash(&self.tx, 0, &self.spent, &self.output, self.leaf).unwrap()
    }

    /// Script and control block of a leaf.
    fn reveal(&self, leaf: Leaf) -> [Vec<u8>; 2] {
        [self.output.leaf(leaf).unwrap().to_bytes(), self.output.control_block(leaf).unwrap().serialize()]
    }

    /// Whether Bitcoin Core's interpreter lets input 0 be spent with this stack.
    fn core_accepts(&self, stack: &[Vec<u8>]) -> bool {
        let mut tx = self.tx.clone();
        tx.input[0].witness = Witness::from_slice(stack);
        core_accepts(&tx, 0, &self.spent)
    }
}

/// Whether Bitcoin Core's interpreter lets one input of `tx` be spent, all rules in force.
fn core_accepts(tx: &Transaction, input: usize, spent: &[TxOut]) -> bool {
    let all: Vec<_> = spent
        .iter()
        .map(|output| bitcoinconsensus::Utxo {
            script_pubkey: output.script_pubkey.as_bytes().as_ptr(),
            script_pubkey_len: output.script_pubkey.len() as u32,
            value: output.value.to_sat() as i64,
        })
        .collect();
    let own = &spent[input];
    let script = own.script_pubkey.as_bytes();
    bitcoinconsensus::verify(script, own.value.to_sat(), &serialize(tx), Some(&all), input).is_ok()
}

fn coin(id: u8, value: Amount) -> Coin {
    Coin { outpoint: OutPoint { txid: Txid::from_byte_array([id; 32]), vout: 0 }, value }
}

/// What the holder's wallet adds to an expansion.
fn funding() -> Coin {
    coin(9, Amount::from_sat(1_000_000))
}

fn wallet_key() -> KeyPair {
    key_pair("wallet")
}

fn wallet(sat: u64) -> TxOut {
    let key = bitcoin::key::TweakedPublicKey::dangerous_assume_tweaked(wallet_key().public());
    TxOut { value: Amount::from_sat(sat), script_pubkey: ScriptBuf::new_p2tr_tweaked(key) }
}

fn new_stake(parties: &Parties) -> TxOut {
    let value = VALUE + Amount::from_sat(900_000);
    TxOut { value, script_pubkey: Output::staking(&parties.keys, blocks(LOCK + 1)).script_pubkey() }
}

fn anyone() -> ScriptBuf {
    wallet(0).script_pubkey
}

fn for_every_path(check: impl Fn(&Parties, &Path)) {
    for (quorum, members) in COMMITTEES {
        for providers in PROVIDERS {
            let parties = Parties::new(quorum, members, providers);
            for path in parties.paths() {
                println!("{quorum} of {members}, {providers} providers: {}", path.name);
                check(&parties, &path);
            }
        }
    }
}
