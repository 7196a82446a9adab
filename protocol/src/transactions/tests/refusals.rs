//! What Bitcoin refuses. Each case changes one thing of a spend that is valid otherwise.

use super::*;
use bitcoin::Sequence;
use bitcoin::transaction::Version;

/// A stack that must not spend; `None` where the path has no such case.
type Forge = fn(&Parties, &Path) -> Option<Vec<Vec<u8>>>;

/// The honest stack with one element replaced.
fn replaced(parties: &Parties, path: &Path, at: usize, element: Vec<u8>) -> Option<Vec<Vec<u8>>> {
    let mut stack = parties.stack(path, &parties.honest(path));
    *stack.get_mut(at)? = element;
    Some(stack)
}

/// The stack with these members in place of the first quorum.
fn members(parties: &Parties, path: &Path, count: usize) -> Option<Vec<Vec<u8>>> {
    let possible = path.leaf != Leaf::Timelock && count <= parties.members.len();
    possible.then(|| parties.stack(path, &Signers { members: (0..count).collect(), ..parties.honest(path) }))
}

/// The stack with these providers in place of the first.
fn providers(parties: &Parties, path: &Path, providers: Vec<usize>) -> Option<Vec<Vec<u8>>> {
    let possible = path.leaf == Leaf::Slashing && providers.iter().all(|i| *i < parties.providers.len());
    possible.then(|| parties.stack(path, &Signers { providers, ..parties.honest(path) }))
}

/// Where the holder's signature stands: before script and control block.
fn staker_place(parties: &Parties, path: &Path) -> usize {
    parties.stack(path, &parties.honest(path)).len() - 3
}

fn leaves(path: &Path) -> impl Iterator<Item = Leaf> + '_ {
    [Leaf::Timelock, Leaf::Unbonding, Leaf::Slashing]
        .into_iter()
        .filter(|leaf| *leaf != path.leaf && path.output.leaf(*leaf).is_some())
}

const FORGERIES: &[(&str, Forge)] = &[
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

#[test]
fn no_forged_stack_spends() {
    for_every_path(|parties, path| {
        for (name, forge) in FORGERIES {
            let Some(stack) = forge(parties, path) else { continue };
            assert!(!path.core_accepts(&stack), "{name}");
        }
    });
}

#[test]
fn every_forgery_is_tried_on_a_committee_of_six_of_nine_and_three_providers() {
    let parties = Parties::new(6, 9, 3);
    for (name, forge) in FORGERIES {
        assert!(parties.paths().iter().any(|path| forge(&parties, path).is_some()), "{name}");
    }
}

#[test]
fn nobody_spends_by_key() {
    for_every_path(|parties, path| {
        let mut cache = bitcoin::sighash::SighashCache::new(&path.tx);
        let spent = bitcoin::sighash::Prevouts::All(&path.spent);
        let kind = bitcoin::sighash::TapSighashType::Default;
        let digest = cache.taproot_key_spend_signature_hash(0, &spent, kind).unwrap().to_byte_array();
        for pair in [&parties.staker, &parties.providers[0], &parties.members[0]] {
            assert!(!path.core_accepts(&[sign(pair, &digest)]));
        }
    });
}

/// A change of transaction or coins after all have signed.
type Alter = fn(&mut Path);

const ALTERATIONS: &[(&str, Alter)] = &[
    ("the coin's value", |path| path.spent[0].value += Amount::ONE_SAT),
    ("an output's value", |path| path.tx.output[0].value -= Amount::ONE_SAT),
    ("an output's script", |path| path.tx.output[0].script_pubkey = ScriptBuf::new_op_return([7])),
    ("an output more", |path| path.tx.output.push(wallet(330))),
    ("the locktime", |path| path.tx.lock_time = bitcoin::absolute::LockTime::from_height(1).unwrap()),
    ("the sequence", |path| path.tx.input[0].sequence = Sequence(path.tx.input[0].sequence.0 - 1)),
    ("the version", |path| path.tx.version = Version(3)),
    ("the coin", |path| path.tx.input[0].previous_output.vout = 1),
    ("an input more", |path| {
        path.tx.input.push(path.tx.input[0].clone());
        path.tx.input.last_mut().unwrap().previous_output = coin(77, VALUE).outpoint;
        path.spent.push(wallet(100_000));
    }),
];

#[test]
fn nothing_of_a_signed_transaction_can_be_altered() {
    for_every_path(|parties, path| {
        let stack = parties.stack(path, &parties.honest(path));
        for (name, alter) in ALTERATIONS {
            let mut altered = path.clone();
            alter(&mut altered);
            assert!(!altered.core_accepts(&stack), "{name}");
        }
    });
}

/// Each is signed as it stands, so that only the timelock can object.
#[test]
fn a_timelock_opens_at_its_block_and_not_by_tricks_of_sequence_or_version() {
    const TIME_TYPE: u32 = 1 << 22;
    const DISABLED: u32 = 1 << 31;
    for_every_path(|parties, path| {
        if path.leaf != Leaf::Timelock {
            return;
        }
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
        for (version, sequence, opens) in cases {
            let mut tried = path.clone();
            tried.tx.version = version;
            tried.tx.input[0].sequence = Sequence(sequence);
            let stack = parties.stack(&tried, &parties.honest(&tried));
            assert_eq!(tried.core_accepts(&stack), opens, "version {version}, sequence {sequence:#x}");
        }
    });
}

#[test]
fn the_shortest_and_the_longest_locks_are_kept_to_the_block() {
    let parties = Parties::new(1, 1, 1);
    // The numbers around which a script's encoding of integers changes.
    for lock in [1, 2, 16, 17, 127, 128, 255, 256, 32_767, 32_768, 65_535] {
        let output = Output::staking(&parties.keys, blocks(lock));
        let tx = spend::withdrawal(coin(1, VALUE), blocks(lock), anyone(), Amount::from_sat(1_000)).unwrap();
        let path = Path::new("withdrawal", output, Leaf::Timelock, tx);
        assert!(path.core_accepts(&parties.stack(&path, &parties.honest(&path))), "{lock}");
        let mut early = path.clone();
        early.tx.input[0].sequence = Sequence::from_height(lock - 1);
        assert!(!early.core_accepts(&parties.stack(&early, &parties.honest(&early))), "{lock}");
    }
}
