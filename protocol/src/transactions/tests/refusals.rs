//! What Bitcoin refuses. Each case changes one thing of a spend that is valid otherwise.

use super::forgeries::*;
use super::*;
use bitcoin::Sequence;

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
        for stack in key_spends(parties, path) {
            assert!(!path.core_accepts(&stack));
        }
    });
}

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
    for_every_path(|parties, path| {
        if path.leaf != Leaf::Timelock {
            return;
        }
        for (tried, opens) in timelock_tries(path) {
            let stack = parties.stack(&tried, &parties.honest(&tried));
            let (version, sequence) = (tried.tx.version, tried.tx.input[0].sequence);
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
