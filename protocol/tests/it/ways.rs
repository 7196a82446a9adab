//! Every way to spend an output of ours, as miniscript's policies see it (design, section 10, invariant 1): coins leave only by
//! the leaves, and docs/protocol.md, section 2.3, lists all satisfactions.
//!
//! Policies are lifted from the bytes of the leaves that the outputs commit to, and from the descriptor; ways are all minimal
//! sets of signatures and ages that satisfy a policy.

use bitcoin::XOnlyPublicKey;
use bitcoin::relative::LockTime;
use miniscript::descriptor::{Descriptor, Tr};
use miniscript::policy::{Liftable as _, Semantic};
use miniscript::{Miniscript, Tap};
use palisade_protocol::curve::KeyPair;
use palisade_protocol::hash::sha256;
use palisade_protocol::keys::{CovenantKey, ProviderKey, StakerKey};
use palisade_protocol::outputs::{Leaf, NUMS, Output};
use palisade_protocol::scripts::{Committee, StakeKeys};
use palisade_protocol::units::RelativeBlocks;
use std::collections::BTreeSet;

type Policy = Semantic<XOnlyPublicKey>;
/// What must come together: keys that sign, and an age of the coin.
type Way = BTreeSet<String>;

const LOCK: u16 = 4_320;
const UNBONDING: u16 = 1_008;
/// Providers, members of the committee, quorum.
const SIZES: [(usize, usize, u8); 5] = [(1, 1, 1), (2, 3, 2), (3, 5, 3), (8, 5, 4), (2, 9, 6)];

fn blocks(blocks: u16) -> RelativeBlocks {
    RelativeBlocks::new(blocks).unwrap()
}

fn point(name: &str) -> XOnlyPublicKey {
    let pair = KeyPair::from_secret_bytes(&sha256(&[name.as_bytes()]).0).unwrap();
    pair.public().to_string().parse().unwrap()
}

/// Everybody who has a key in a stake.
struct Parties {
    staker: XOnlyPublicKey,
    providers: Vec<XOnlyPublicKey>,
    members: Vec<XOnlyPublicKey>,
    quorum: u8,
}

impl Parties {
    fn new((providers, members, quorum): (usize, usize, u8)) -> Self {
        let keys = |role: &str, count: usize| (0..count).map(|i| point(&format!("{role} {i}"))).collect();
        Self {
            staker: point("holder"),
            providers: keys("provider", providers),
            members: keys("member", members),
            quorum,
        }
    }

    /// The outputs that can hold coins of a stake, with the leaves that each is to have and the lock of its timelock leaf.
    fn outputs(&self) -> [(Output, Vec<Leaf>, u16); 3] {
        let members = self.members.iter().copied().map(CovenantKey::from).collect();
        let committee = Committee::new(members, self.quorum).unwrap();
        let providers = self.providers.iter().copied().map(ProviderKey::from).collect();
        let staker = StakerKey::from(self.staker);
        let keys = StakeKeys::new(staker, providers, committee).unwrap();
        let all = vec![Leaf::Slashing, Leaf::Unbonding, Leaf::Timelock];
        [
            (Output::staking(&keys, blocks(LOCK)), all, LOCK),
            (Output::unbonding(&keys, blocks(UNBONDING)), vec![Leaf::Slashing, Leaf::Timelock], UNBONDING),
            (Output::slashing_change(staker, blocks(UNBONDING)), vec![Leaf::Timelock], UNBONDING),
        ]
    }

    /// The satisfactions of a leaf that section 2.3 lists.
    fn listed(&self, leaf: Leaf, lock: u16) -> BTreeSet<Way> {
        let staker = Way::from([self.staker.to_string()]);
        let with = |more: &Way| staker.union(more).cloned().collect::<Way>();
        let quorums = choose(&self.members, self.quorum.into());
        match leaf {
            Leaf::Timelock => [with(&Way::from([age(lock)]))].into(),
            Leaf::Unbonding => quorums.iter().map(with).collect(),
            Leaf::Slashing => {
                let one = choose(&self.providers, 1);
                let both = quorums.iter().flat_map(|quorum| one.iter().map(move |one| quorum | one));
                both.map(|both| with(&both)).collect()
            }
        }
    }
}

fn age(lock: u16) -> String {
    format!("{lock} blocks old")
}

/// All sets of so many of these keys.
fn choose(keys: &[XOnlyPublicKey], count: usize) -> BTreeSet<Way> {
    let Some((first, rest)) = keys.split_first() else {
        return if count == 0 { [Way::new()].into() } else { BTreeSet::new() };
    };
    let mut sets = choose(rest, count);
    if count > 0 {
        sets.extend(choose(rest, count - 1).into_iter().map(|set| &set | &Way::from([first.to_string()])));
    }
    sets
}

/// All ways to satisfy a policy, none of which holds another one.
fn ways(policy: &Policy) -> BTreeSet<Way> {
    match policy {
        Policy::Unsatisfiable => BTreeSet::new(),
        Policy::Trivial => [Way::new()].into(),
        Policy::Key(key) => [Way::from([key.to_string()])].into(),
        Policy::Older(lock) => match LockTime::from(*lock) {
            LockTime::Blocks(blocks) => [Way::from([age(blocks.value())])].into(),
            LockTime::Time(_) => panic!("no leaf counts time"),
        },
        Policy::Thresh(thresh) => {
            let mut found = vec![BTreeSet::from([Way::new()])];
            found.resize(thresh.k() + 1, BTreeSet::new());
            for sub in thresh.iter() {
                let sub = ways(sub);
                for taken in (1..=thresh.k()).rev() {
                    let more: Vec<Way> = found[taken - 1]
                        .iter()
                        .flat_map(|have| sub.iter().map(move |way| have | way))
                        .collect();
                    found[taken].extend(more);
                }
            }
            minimal(found.pop().unwrap())
        }
        other => panic!("no leaf asks for {other}"),
    }
}

fn minimal(ways: BTreeSet<Way>) -> BTreeSet<Way> {
    let holds_another = |way: &Way| ways.iter().any(|other| other != way && other.is_subset(way));
    ways.iter().filter(|way| !holds_another(way)).cloned().collect()
}

/// The policy of a leaf, from the bytes of its script.
fn of_leaf(output: &Output, leaf: Leaf) -> Policy {
    let script = output.leaf(leaf).unwrap();
    // Parsed as sane: each way has a signature, and no stranger can alter a witness.
    let parsed = Miniscript::<XOnlyPublicKey, Tap>::parse(script).unwrap();
    assert_eq!(parsed.encode(), *script);
    parsed.lift().unwrap()
}

fn tree(output: &Output) -> Tr<XOnlyPublicKey> {
    let Descriptor::Tr(tree) = output.descriptor().parse().unwrap() else { panic!("taproot") };
    assert_eq!(tree.script_pubkey(), output.script_pubkey());
    tree
}

fn either(policies: impl IntoIterator<Item = Policy>) -> Policy {
    let all = policies.into_iter().map(std::sync::Arc::new).collect();
    Policy::Thresh(miniscript::Threshold::or_n(all))
}

#[test]
fn each_leaf_is_satisfied_in_the_ways_that_are_listed_and_in_no_other() {
    for size in SIZES {
        let parties = Parties::new(size);
        for (output, leaves, lock) in parties.outputs() {
            for leaf in leaves {
                assert_eq!(ways(&of_leaf(&output, leaf)), parties.listed(leaf, lock), "{leaf:?} of {size:?}");
            }
        }
    }
    // How many ways the demo's sizes have: three providers, three of five members.
    let [(staking, ..), (unbonding, ..), (change, ..)] = Parties::new((3, 5, 3)).outputs();
    let count = |output, leaf| ways(&of_leaf(output, leaf)).len();
    let of_staking = [Leaf::Slashing, Leaf::Unbonding, Leaf::Timelock].map(|leaf| count(&staking, leaf));
    assert_eq!(of_staking, [30, 10, 1]);
    assert_eq!([Leaf::Slashing, Leaf::Timelock].map(|leaf| count(&unbonding, leaf)), [30, 1]);
    assert_eq!(count(&change, Leaf::Timelock), 1);
}

#[test]
fn an_output_is_spent_by_its_leaves_or_by_the_key_that_nobody_has() {
    let nobody = XOnlyPublicKey::from_slice(&NUMS).unwrap();
    for size in SIZES {
        for (output, leaves, _) in Parties::new(size).outputs() {
            let tree = tree(&output);
            assert_eq!(*tree.internal_key(), nobody);
            let scripts: BTreeSet<_> = tree.iter_scripts().map(|(_, script)| script.encode()).collect();
            let own: BTreeSet<_> = leaves.iter().map(|leaf| output.leaf(*leaf).unwrap().clone()).collect();
            assert_eq!(scripts, own);
            let by_leaf = leaves.iter().map(|leaf| of_leaf(&output, *leaf));
            let expected = either(by_leaf.chain([Policy::Key(nobody)]));
            assert_eq!(ways(&tree.lift().unwrap()), ways(&expected), "{size:?}");
        }
    }
}

/// What each output's leaves ask for together, whatever else there is.
fn by_leaves(output: &Output, leaves: &[Leaf]) -> Policy {
    either(leaves.iter().map(|leaf| of_leaf(output, *leaf)))
}

#[test]
fn nothing_moves_without_the_holder_and_before_the_lock_is_over_nothing_without_a_quorum() {
    for size in SIZES.into_iter().filter(|(providers, members, _)| providers + members < 8) {
        let parties = Parties::new(size);
        let quorum = of_quorum(&parties);
        for (output, leaves, lock) in parties.outputs() {
            let policy = by_leaves(&output, &leaves);
            assert!(policy.clone().entails(Policy::Key(parties.staker)).unwrap());
            assert_eq!(policy.relative_timelocks(), [u32::from(lock)]);
            let young = policy.clone().at_age(LockTime::from_height(lock - 1));
            assert!(young.clone().entails(quorum.clone()).unwrap(), "{size:?}");
            assert_eq!(young.is_unsatisfiable(), leaves == [Leaf::Timelock]);
            // Once it is, the holder needs nobody.
            let old = policy.at_age(LockTime::from_height(lock));
            assert_eq!(old.minimum_n_keys(), Some(1));
        }
    }
}

fn of_quorum(parties: &Parties) -> Policy {
    let members = parties.members.iter().map(|key| std::sync::Arc::new(Policy::Key(*key))).collect();
    Policy::Thresh(miniscript::Threshold::new(parties.quorum.into(), members).unwrap())
}

#[test]
fn before_the_lock_is_over_the_unbonding_output_moves_only_with_a_provider_too() {
    let parties = Parties::new((2, 3, 2));
    let [_, (unbonding, leaves, lock), _] = parties.outputs();
    let young = by_leaves(&unbonding, &leaves).at_age(LockTime::from_height(lock - 1));
    let provider = either(parties.providers.iter().map(|key| Policy::Key(*key)));
    assert!(young.entails(provider).unwrap());
}
