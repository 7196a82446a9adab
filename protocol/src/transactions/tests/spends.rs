//! What Bitcoin takes.

use super::*;
use crate::transactions::witness::{self, CovenantSignatures, NoWitness};
use bitcoin::secp256k1::schnorr::Signature;
use bitcoin::sighash::{Prevouts, SighashCache, TapSighashType};

/// What the module under test makes of the same signers.
fn ours(parties: &Parties, path: &Path, signers: &Signers) -> Result<Witness, NoWitness> {
    let digest = path.digest();
    let signature = |pair: &KeyPair| Signature::from_slice(&sign(pair, &digest)).unwrap();
    let covenant: CovenantSignatures = signers
        .members
        .iter()
        .map(|i| (CovenantKey::from(parties.members[*i].public()), signature(&parties.members[*i])))
        .collect();
    let own = signature(&parties.staker);
    match path.leaf {
        Leaf::Timelock => witness::timelock(&path.output, &own),
        Leaf::Unbonding => witness::unbonding(&path.output, &parties.keys, &own, &covenant),
        Leaf::Slashing => {
            let provider = &parties.providers[signers.providers[0]];
            let signed = (ProviderKey::from(provider.public()), &signature(provider));
            witness::slashing(&path.output, &parties.keys, &own, signed, &covenant)
        }
    }
}

#[test]
fn every_path_of_every_output_is_spent_with_the_stack_of_the_rules() {
    for_every_path(|parties, path| {
        let signers = parties.honest(path);
        let stack = parties.stack(path, &signers);
        assert!(path.core_accepts(&stack));
        assert_eq!(ours(parties, path, &signers).unwrap().to_vec(), stack);
    });
}

#[test]
fn any_one_provider_and_the_last_quorum_of_members_slash() {
    for_every_path(|parties, path| {
        if path.leaf != Leaf::Slashing {
            return;
        }
        let last = (parties.members.len() - parties.quorum()..parties.members.len()).collect::<Vec<_>>();
        for provider in 0..parties.providers.len() {
            let signers = Signers { members: last.clone(), providers: vec![provider] };
            let stack = parties.stack(path, &signers);
            assert!(path.core_accepts(&stack), "provider {provider}");
            assert_eq!(ours(parties, path, &signers).unwrap().to_vec(), stack);
        }
    });
}

#[test]
fn exactly_the_subsets_of_three_of_a_committee_of_five_move_coins() {
    let parties = Parties::new(3, 5, 3);
    for path in parties.paths().iter().filter(|path| path.leaf != Leaf::Timelock) {
        for bits in 0_u32..32 {
            let members: Vec<_> = (0..5).filter(|i| bits >> i & 1 == 1).collect();
            let (count, signers) = (members.len(), Signers { members, providers: vec![1] });
            assert_eq!(
                path.core_accepts(&parties.stack(path, &signers)),
                count == 3,
                "{} {bits:05b}",
                path.name
            );
            match ours(&parties, path, &signers) {
                Ok(witness) => {
                    assert!(count >= 3 && path.core_accepts(&witness.to_vec()), "{} {bits:05b}", path.name)
                }
                Err(refused) => {
                    assert_eq!(refused, NoWitness::BelowQuorum { found: count, quorum: 3 });
                    assert!(count < 3);
                }
            }
        }
    }
}

#[test]
fn signatures_of_strangers_do_not_count_for_a_quorum() {
    let parties = Parties::new(3, 5, 1);
    let path = &parties.paths()[1];
    let signature = Signature::from_slice(&sign(&parties.staker, &path.digest())).unwrap();
    let strangers =
        (0..5).map(|i| (CovenantKey::from(key_pair(&format!("stranger {i}")).public()), signature));
    let covenant = strangers.collect();
    let refused = witness::unbonding(&path.output, &parties.keys, &signature, &covenant);
    assert_eq!(refused, Err(NoWitness::BelowQuorum { found: 0, quorum: 3 }));
}

#[test]
fn an_output_without_the_leaf_has_no_witness() {
    let parties = Parties::new(1, 1, 1);
    let slash = &parties.paths()[2];
    let path = Path { output: parties.change(), ..slash.clone() };
    let signature = Signature::from_slice(&sign(&parties.staker, &[1; 32])).unwrap();
    let covenant = [(CovenantKey::from(parties.members[0].public()), signature)].into();
    let provider = (ProviderKey::from(parties.providers[0].public()), &signature);
    let refused = witness::slashing(&path.output, &parties.keys, &signature, provider, &covenant);
    assert_eq!(refused, Err(NoWitness::NoLeaf));
    let refused = witness::unbonding(&parties.unbonding(), &parties.keys, &signature, &covenant);
    assert_eq!(refused, Err(NoWitness::NoLeaf));
    assert!(sighash(&path.tx, 0, &path.spent, &path.output, Leaf::Slashing).is_err());
    assert!(sighash(&path.tx, 0, &[], &parties.staking(), Leaf::Slashing).is_err());
    assert!(sighash(&path.tx, 1, &path.spent, &parties.staking(), Leaf::Slashing).is_err());
}

#[test]
fn both_inputs_of_an_expansion_are_valid_together() {
    for (quorum, members) in COMMITTEES {
        let parties = Parties::new(quorum, members, 3);
        let path = parties.paths().pop().unwrap();
        let mut tx = path.tx.clone();
        tx.input[0].witness = Witness::from_slice(&parties.stack(&path, &parties.honest(&path)));
        let digest = SighashCache::new(&tx)
            .taproot_key_spend_signature_hash(1, &Prevouts::All(&path.spent), TapSighashType::Default)
            .unwrap();
        tx.input[1].witness = Witness::from_slice(&[sign(&wallet_key(), &digest.to_byte_array())]);
        assert!(core_accepts(&tx, 0, &path.spent));
        assert!(core_accepts(&tx, 1, &path.spent));
        tx.output.pop();
        assert!(!core_accepts(&tx, 0, &path.spent), "the committee has signed the change too");
    }
}

#[test]
fn the_coins_move_on_from_stake_to_unbonding_to_slashing_to_the_holder() {
    let parties = Parties::new(6, 9, 3);
    let leave = &parties.paths()[1];
    let unbonded = Coin {
        outpoint: OutPoint { txid: leave.tx.compute_txid(), vout: 0 },
        value: leave.tx.output[0].value,
    };
    let slash = slashing::build(unbonded, &parties.split(unbonded.value)).unwrap();
    let slash =
        Path { spent: leave.tx.output.clone(), ..Path::new("", parties.unbonding(), Leaf::Slashing, slash) };
    assert!(slash.core_accepts(&parties.stack(&slash, &parties.honest(&slash))));
    let change = Coin {
        outpoint: OutPoint { txid: slash.tx.compute_txid(), vout: 1 },
        value: slash.tx.output[1].value,
    };
    let home = spend::withdrawal(change, blocks(UNBONDING_TIME), anyone(), Amount::from_sat(500)).unwrap();
    let spent = vec![slash.tx.output[1].clone()];
    let home = Path { spent, ..Path::new("", parties.change(), Leaf::Timelock, home) };
    assert!(home.core_accepts(&parties.stack(&home, &parties.honest(&home))));
}
