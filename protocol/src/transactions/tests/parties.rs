//! Everybody who signs for a stake, every path by which its outputs are spent, and the stack of each.
//!
//! Shared: the tests of this crate judge the stacks by Bitcoin Core's interpreter, those of `regtest` by a node, so
//! nothing here is named but what this crate makes public, and `key_pair`, which whoever includes this file brings along.
//! Stacks are put together from the scripts' rules alone.

use super::key_pair;
use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, OutPoint, ScriptBuf, Transaction, TxOut, Txid};
use palisade_protocol::curve::KeyPair;
use palisade_protocol::keys::{CovenantKey, ProviderKey, StakerKey};
use palisade_protocol::outputs::{Leaf, Output};
use palisade_protocol::params::Profile;
use palisade_protocol::scripts::{Committee, StakeKeys};
use palisade_protocol::transactions::slashing::{self, Split};
use palisade_protocol::transactions::{Coin, sighash, spend, unbonding};
use palisade_protocol::units::RelativeBlocks;

/// The committees and numbers of providers that every test goes through.
pub(super) const COMMITTEES: [(u8, usize); 4] = [(1, 1), (3, 5), (6, 9), (14, 20)];
pub(super) const PROVIDERS: [usize; 3] = [1, 3, 8];
pub(super) const LOCK: u16 = 2_000;
pub(super) const UNBONDING_TIME: u16 = 144;
pub(super) const VALUE: Amount = Amount::from_sat(10_000_000);

pub(super) fn blocks(n: u16) -> RelativeBlocks {
    RelativeBlocks::new(n).unwrap()
}

/// Everybody who signs for one stake, in the order of their keys.
pub(super) struct Parties {
    pub(super) staker: KeyPair,
    pub(super) providers: Vec<KeyPair>,
    pub(super) members: Vec<KeyPair>,
    pub(super) keys: StakeKeys,
}

impl Parties {
    pub(super) fn new(quorum: u8, members: usize, providers: usize) -> Self {
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

    pub(super) fn quorum(&self) -> usize {
        self.keys.committee().quorum().into()
    }

    pub(super) fn staking(&self) -> Output {
        Output::staking(&self.keys, blocks(LOCK))
    }

    pub(super) fn unbonding(&self) -> Output {
        Output::unbonding(&self.keys, blocks(UNBONDING_TIME))
    }

    pub(super) fn change(&self) -> Output {
        Output::slashing_change(self.keys.staker(), blocks(UNBONDING_TIME))
    }

    /// Every path by which an output of a stake can be spent.
    pub(super) fn paths(&self) -> Vec<Path> {
        let coin = coin(1, VALUE);
        let (lock, fee) = (blocks(UNBONDING_TIME), Amount::from_sat(1_000));
        let leave = |profile| unbonding::build(coin, &self.keys, lock, fee, profile).unwrap();
        let slash = |value, profile| {
            slashing::build(Coin { value, ..coin }, &Split { profile, ..self.split(value) }).unwrap()
        };
        let [compatible, bumpable] = [Profile::Compatible, Profile::Bumpable];
        let withdraw =
            |lock| spend::withdrawal(coin, blocks(lock), anyone(), Amount::from_sat(1_000)).unwrap();
        let expand =
            spend::expansion(coin.outpoint, funding().outpoint, new_stake(self), Some(wallet(5_000)));
        vec![
            Path::new("withdrawal", self.staking(), Leaf::Timelock, withdraw(LOCK)),
            Path::new("unbonding", self.staking(), Leaf::Unbonding, leave(compatible)),
            Path::new("bumpable unbonding", self.staking(), Leaf::Unbonding, leave(bumpable)),
            Path::new("slashing", self.staking(), Leaf::Slashing, slash(VALUE, compatible)),
            Path::new("bumpable slashing", self.staking(), Leaf::Slashing, slash(VALUE, bumpable)),
            Path::new("unbonded withdrawal", self.unbonding(), Leaf::Timelock, withdraw(UNBONDING_TIME)),
            Path::new("unbonded slashing", self.unbonding(), Leaf::Slashing, slash(VALUE, compatible)),
            Path::new("bumpable unbonded slashing", self.unbonding(), Leaf::Slashing, slash(VALUE, bumpable)),
            Path::new("change withdrawal", self.change(), Leaf::Timelock, withdraw(UNBONDING_TIME)),
            Path::new("expansion", self.staking(), Leaf::Unbonding, expand).with_funding(),
        ]
    }

    pub(super) fn split(&self, value: Amount) -> Split<'static> {
        Split {
            slashed: value / 10,
            slash_script: bitcoin::Script::from_bytes(&[0x6a, 0x01, 0x2a]),
            fee: Amount::from_sat(1_000),
            change_script: self.change().script_pubkey(),
            profile: Profile::Compatible,
        }
    }

    /// The first quorum of members, the first provider and the holder: what a leaf wants.
    pub(super) fn honest(&self, path: &Path) -> Signers {
        let committee = path.leaf != Leaf::Timelock;
        let count = if committee { self.quorum() } else { 0 };
        Signers { members: (0..count).collect(), providers: vec![0] }
    }

    /// The stack of a path: committee and providers from the last key to the first, who does not sign left empty.
    pub(super) fn stack(&self, path: &Path, signers: &Signers) -> Vec<Vec<u8>> {
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

pub(super) fn sorted(role: &str, count: usize) -> Vec<KeyPair> {
    let mut pairs: Vec<_> = (0..count).map(|i| key_pair(&format!("{role} {i}"))).collect();
    pairs.sort_by_key(|pair| pair.public().serialize());
    pairs
}

pub(super) fn sign(pair: &KeyPair, digest: &[u8; 32]) -> Vec<u8> {
    pair.sign_bip340(digest, &[0; 32]).serialize().to_vec()
}

/// Who signs, by place in the order of keys.
pub(super) struct Signers {
    pub(super) members: Vec<usize>,
    pub(super) providers: Vec<usize>,
}

/// One spend: input 0 of `tx` spends `output` by `leaf`.
#[derive(Clone)]
pub(super) struct Path {
    pub(super) name: &'static str,
    pub(super) output: Output,
    pub(super) leaf: Leaf,
    pub(super) tx: Transaction,
    pub(super) spent: Vec<TxOut>,
}

impl Path {
    pub(super) fn new(name: &'static str, output: Output, leaf: Leaf, tx: Transaction) -> Self {
        let spent = vec![TxOut { value: VALUE, script_pubkey: output.script_pubkey() }];
        Self { name, output, leaf, tx, spent }
    }

    pub(super) fn with_funding(mut self) -> Self {
        self.spent.push(wallet(funding().value.to_sat()));
        self
    }

    pub(super) fn digest(&self) -> [u8; 32] {
        sighash(&self.tx, 0, &self.spent, &self.output, self.leaf).unwrap()
    }

    /// Script and control block of a leaf.
    pub(super) fn reveal(&self, leaf: Leaf) -> [Vec<u8>; 2] {
        [self.output.leaf(leaf).unwrap().to_bytes(), self.output.control_block(leaf).unwrap().serialize()]
    }
}

pub(super) fn coin(id: u8, value: Amount) -> Coin {
    Coin { outpoint: OutPoint { txid: Txid::from_byte_array([id; 32]), vout: 0 }, value }
}

/// What the holder's wallet adds to an expansion.
pub(super) fn funding() -> Coin {
    coin(9, Amount::from_sat(1_000_000))
}

pub(super) fn wallet_key() -> KeyPair {
    key_pair("wallet")
}

pub(super) fn wallet(sat: u64) -> TxOut {
    let key = bitcoin::key::TweakedPublicKey::dangerous_assume_tweaked(wallet_key().public());
    TxOut { value: Amount::from_sat(sat), script_pubkey: ScriptBuf::new_p2tr_tweaked(key) }
}

pub(super) fn new_stake(parties: &Parties) -> TxOut {
    let value = VALUE + Amount::from_sat(900_000);
    TxOut { value, script_pubkey: Output::staking(&parties.keys, blocks(LOCK + 1)).script_pubkey() }
}

pub(super) fn anyone() -> ScriptBuf {
    wallet(0).script_pubkey
}
