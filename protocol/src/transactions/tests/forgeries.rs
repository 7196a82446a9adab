//! What must not spend: tables that this crate's tests try on Bitcoin Core's interpreter, and those of `regtest` on a node.

use super::parties::*;
use bitcoin::hashes::Hash as _;
use bitcoin::sighash::{Prevouts, SighashCache, TapSighashType};
use bitcoin::transaction::Version;
use bitcoin::{Amount, ScriptBuf, Sequence};
use palisade_protocol::outputs::Leaf;
use palisade_protocol::transactions::{Coin, sighash};

/// A stack that must not spend; `None` where the path has no such case.
pub(super) type Forge = fn(&Parties, &Path) -> Option<Vec<Vec<u8>>>;

/// The honest stack with one element replaced.
pub(super) fn replaced(parties: &Parties, path: &Path, at: usize, element: Vec<u8>) -> Option<Vec<Vec<u8>>> {
    let mut stack = parties.stack(path, &parties.honest(path));
    *stack.get_mut(at)? = element;
    Some(stack)
}

/// The stack with these members in place of the first quorum.
pub(super) fn members(parties: &Parties, path: &Path, count: usize) -> Option<Vec<Vec<u8>>> {
    let possible = path.leaf != Leaf::Timelock && count <= parties.members.len();
    possible.then(|| parties.stack(path, &Signers { members: (0..count).collect(), ..parties.honest(path) }))
}

/// The stack with these providers in place of the first.
pub(super) fn providers(parties: &Parties, path: &Path, providers: Vec<usize>) -> Option<Vec<Vec<u8>>> {
    let possible = path.leaf == Leaf::Slashing && providers.iter().all(|i| *i < parties.providers.len());
    possible.then(|| parties.stack(path, &Signers { providers, ..parties.honest(path) }))
}

/// Where the holder's signature stands: before script and control block.
pub(super) fn staker_place(parties: &Parties, path: &Path) -> usize {
    parties.stack(path, &parties.honest(path)).len() - 3
}

pub(super) fn leaves(path: &Path) -> impl Iterator<Item = Leaf> + '_ {
    [Leaf::Timelock, Leaf::Unbonding, Leaf::Slashing]
        .into_iter()
        .filter(|leaf| *leaf != path.leaf && path.output.leaf(*leaf).is_some())
}

pub(super) const FORGERIES: &[(&str, Forge)] = &[
    ("a member short", |all, path| members(all, path, all.quorum() - 1)),
    ("no member", |all, path| members(all, path, 0)),
    ("a member too many", |all, path| members(all, path, all.quorum() + 1)),
    ("all members", |all, path| {
        members(all, path, all.members.len()).filter(|_| all.quorum() < all.members.len())
    }),
    ("members in ascending order", |all, path| {
        let mut stack = members(all, path, all.quorum()).filter(|_| all.members.len() > 1)?;
        stack[..all.members.len()].reverse();
        Some(stack)
    }),
    ("one member's signature twice", |all, path| {
        let mut stack = members(all, path, all.quorum()).filter(|_| all.quorum() > 1)?;
        let last = all.members.len() - 1;
        stack[last - 1] = stack[last].clone();
        Some(stack)
    }),
    ("a member's signature with a sighash byte that says all", |all, path| {
        let mut stack = members(all, path, all.quorum())?;
        stack[all.members.len() - 1].push(1);
        Some(stack)
    }),
    ("no provider", |all, path| providers(all, path, vec![])),
    ("two providers", |all, path| providers(all, path, vec![0, 1])),
    ("all providers", |all, path| {
        providers(all, path, (0..all.providers.len()).collect()).filter(|_| all.providers.len() > 1)
    }),
    ("a provider in another's place", |all, path| {
        let mut stack = providers(all, path, vec![0]).filter(|_| all.providers.len() > 1)?;
        let first = staker_place(all, path) - 1;
        stack.swap(first, first - 1);
        Some(stack)
    }),
    ("a member for the provider", |all, path| {
        let place = providers(all, path, vec![0]).map(|_| staker_place(all, path) - 1)?;
        replaced(all, path, place, sign(&all.members[0], &path.digest()))
    }),
    ("no holder", |all, path| replaced(all, path, staker_place(all, path), Vec::new())),
    ("a provider for the holder", |all, path| {
        replaced(all, path, staker_place(all, path), sign(&all.providers[0], &path.digest()))
    }),
    ("a member for the holder", |all, path| {
        replaced(all, path, staker_place(all, path), sign(&all.members[0], &path.digest()))
    }),
    ("a bit of the holder's signature", |all, path| {
        let mut signature = sign(&all.staker, &path.digest());
        signature[40] ^= 1;
        replaced(all, path, staker_place(all, path), signature)
    }),
    ("the holder's signature for another leaf", |all, path| {
        let digest = sighash(&path.tx, 0, &path.spent, &path.output, leaves(path).next()?).unwrap();
        replaced(all, path, staker_place(all, path), sign(&all.staker, &digest))
    }),
    ("a member's signature for another leaf", |all, path| {
        let mut stack = members(all, path, all.quorum())?;
        let digest = sighash(&path.tx, 0, &path.spent, &path.output, leaves(path).next()?).unwrap();
        stack[all.members.len() - 1] = sign(&all.members[0], &digest);
        Some(stack)
    }),
    ("another leaf's script under this leaf's control block", |all, path| {
        let other = leaves(path).next()?;
        let mut stack = all.stack(&Path { leaf: other, ..path.clone() }, &all.honest(path));
        *stack.last_mut()? = path.reveal(path.leaf)[1].clone();
        Some(stack)
    }),
    ("a script of the holder alone", |all, path| {
        let script = bitcoin::script::Builder::new()
            .push_x_only_key(&all.staker.public())
            .push_opcode(bitcoin::opcodes::all::OP_CHECKSIG);
        let control = path.reveal(path.leaf)[1].clone();
        Some(vec![sign(&all.staker, &path.digest()), script.into_bytes(), control])
    }),
    ("something more at the bottom", |all, path| {
        let mut stack = all.stack(path, &all.honest(path));
        stack.insert(0, vec![1]);
        Some(stack)
    }),
    ("an element short", |all, path| {
        let mut stack = all.stack(path, &all.honest(path));
        stack.remove(0);
        Some(stack)
    }),
    ("no witness", |_, _| Some(Vec::new())),
];

/// The coin that "an input more" spends, which is the wallet's.
pub(super) fn extra() -> Coin {
    coin(77, EXTRA_VALUE)
}
const EXTRA_VALUE: Amount = Amount::from_sat(100_000);

/// A change of transaction or coins after all have signed.
pub(super) type Alter = fn(&mut Path);

pub(super) const ALTERATIONS: &[(&str, Alter)] = &[
    ("the coin's value", |path| path.spent[0].value += Amount::ONE_SAT),
    ("an output's value", |path| path.tx.output[0].value -= Amount::ONE_SAT),
    // Long enough that a node does not find the transaction too small.
    ("an output's script", |path| path.tx.output[0].script_pubkey = ScriptBuf::new_op_return([7; 20])),
    ("an output more", |path| path.tx.output.push(wallet(330))),
    ("the locktime", |path| path.tx.lock_time = bitcoin::absolute::LockTime::from_height(1).unwrap()),
    ("the sequence", |path| path.tx.input[0].sequence = Sequence(path.tx.input[0].sequence.0 - 1)),
    ("the version", |path| path.tx.version = Version(if path.tx.version.0 == 3 { 2 } else { 3 })),
    ("the coin", |path| path.tx.input[0].previous_output.vout ^= 1),
    ("an input more", |path| {
        path.tx.input.push(path.tx.input[0].clone());
        path.tx.input.last_mut().unwrap().previous_output = extra().outpoint;
        path.spent.push(wallet(EXTRA_VALUE.to_sat()));
    }),
];

/// Signatures for a spend by key, by each of those who might hope that the output has their key.
pub(super) fn key_spends(parties: &Parties, path: &Path) -> Vec<Vec<Vec<u8>>> {
    let mut cache = SighashCache::new(&path.tx);
    let spent = Prevouts::All(&path.spent);
    let digest = cache.taproot_key_spend_signature_hash(0, &spent, TapSighashType::Default).unwrap();
    [&parties.staker, &parties.providers[0], &parties.members[0]]
        .map(|pair| vec![sign(pair, &digest.to_byte_array())])
        .to_vec()
}

/// Versions and sequences of a spend by timelock, not signed yet, and whether the script lets each through.
pub(super) fn timelock_tries(path: &Path) -> impl Iterator<Item = (Path, bool)> + '_ {
    const TIME_TYPE: u32 = 1 << 22;
    const DISABLED: u32 = 1 << 31;
    let lock = path.tx.input[0].sequence.0;
    let cases = [
        (Version::TWO, lock, true),
        (Version::TWO, lock + 1, true),
        (Version::TWO, 65_535, true),
        (Version(3), lock, true),
        (Version::TWO, lock - 1, false),
        (Version::TWO, 0, false),
        (Version::TWO, Sequence::MAX.0, false),
        (Version::TWO, Sequence::ENABLE_LOCKTIME_NO_RBF.0, false),
        (Version::TWO, lock | TIME_TYPE, false),
        (Version::TWO, 65_535 | TIME_TYPE, false),
        (Version::TWO, lock | DISABLED, false),
        (Version::ONE, lock, false),
    ];
    cases.into_iter().map(|(version, sequence, opens)| {
        let mut tried = path.clone();
        tried.tx.version = version;
        tried.tx.input[0].sequence = Sequence(sequence);
        (tried, opens)
    })
}
