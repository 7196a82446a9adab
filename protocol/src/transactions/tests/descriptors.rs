//! Our outputs are standard descriptors: another library finds the same scripts and makes the same witnesses.

use super::*;
use bitcoin::TapLeafHash;
use bitcoin::taproot::Signature;
use miniscript::descriptor::{DefiniteDescriptorKey, Descriptor};
use std::collections::BTreeMap;

type Signatures = BTreeMap<(DefiniteDescriptorKey, TapLeafHash), Signature>;

fn descriptor(output: &Output) -> Descriptor<DefiniteDescriptorKey> {
    let parsed: Descriptor<DefiniteDescriptorKey> = output.descriptor().parse().unwrap();
    parsed.sanity_check().unwrap();
    assert_eq!(parsed.script_pubkey(), output.script_pubkey());
    parsed
}

/// The signatures of these signers for the leaf of the path, as miniscript looks them up.
fn signatures(parties: &Parties, path: &Path, signers: &Signers) -> Signatures {
    let digest = path.digest();
    let leaf = path.output.leaf_hash(path.leaf).unwrap();
    let members = signers.members.iter().map(|i| &parties.members[*i]);
    let providers = signers.providers.iter().map(|i| &parties.providers[*i]);
    let sign = |pair: &KeyPair| {
        let key: DefiniteDescriptorKey = pair.public().to_string().parse().unwrap();
        let signature = pair.sign_bip340(&digest, &[0; 32]);
        let sighash_type = bitcoin::sighash::TapSighashType::Default;
        ((key, leaf), Signature { signature, sighash_type })
    };
    [&parties.staker].into_iter().chain(members).chain(providers).map(sign).collect()
}

/// The witness that miniscript plans and fills in; `None` where it finds no way.
fn planned(path: &Path, signatures: Signatures) -> Option<Vec<Vec<u8>>> {
    let sequence = path.tx.input[0].sequence;
    let age = sequence.to_relative_lock_time();
    let (stack, script_sig) = match age {
        Some(age) => {
            let have = (signatures, age);
            descriptor(&path.output).plan(&have).ok()?.satisfy(&have).unwrap()
        }
        None => descriptor(&path.output).plan(&signatures).ok()?.satisfy(&signatures).unwrap(),
    };
    assert!(script_sig.is_empty());
    Some(stack)
}

#[test]
fn miniscript_plans_the_witness_that_we_make() {
    for_every_path(|parties, path| {
        let signers = parties.honest(path);
        let ours = parties.stack(path, &signers);
        assert_eq!(planned(path, signatures(parties, path, &signers)).unwrap(), ours);
    });
}

#[test]
fn miniscript_and_core_find_no_way_where_somebody_is_missing() {
    for_every_path(|parties, path| {
        if path.leaf == Leaf::Timelock {
            let mut early = path.clone();
            early.tx.input[0].sequence = bitcoin::Sequence(path.tx.input[0].sequence.0 - 1);
            let signers = parties.honest(path);
            assert_eq!(planned(&early, signatures(parties, &early, &signers)), None);
            assert!(!early.core_accepts(&parties.stack(&early, &signers)));
            return;
        }
        let mut short = parties.honest(path);
        short.members.pop();
        assert_eq!(planned(path, signatures(parties, path, &short)), None);
        assert!(!path.core_accepts(&parties.stack(path, &short)));
        if path.leaf == Leaf::Slashing {
            let nobody = Signers { providers: vec![], ..parties.honest(path) };
            assert_eq!(planned(path, signatures(parties, path, &nobody)), None);
            assert!(!path.core_accepts(&parties.stack(path, &nobody)));
        }
    });
}
