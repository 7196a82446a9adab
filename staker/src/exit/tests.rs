use super::*;
use crate::testing::{LOCK, key, keys, registration, script, try_core, world};
use palisade_protocol::keys::CovenantKey;
use palisade_world::{COVENANT, keypair};

fn stake() -> (Contract, Presigned) {
    let (_, record) = registration(&mut world()).unwrap();
    (record.contract().unwrap(), record.presigned().unwrap())
}

fn rate() -> FeeRate {
    FeeRate::from_sat_per_kwu(500)
}

/// Signatures of so many members on the unbonding transaction.
fn covenant(contract: &Contract, presigned: &Presigned, members: usize) -> CovenantSignatures {
    let hash = contract.sighashes(presigned).unwrap().unbonding;
    let member = |name: &&str| {
        let pair = keypair(name);
        (CovenantKey::from(pair.x_only_public_key().0), sign(&pair, &hash))
    };
    COVENANT[..members].iter().map(member).collect()
}

#[test]
fn every_place_where_coins_can_lie_is_left_by_the_holder_alone() {
    let (contract, presigned) = stake();
    let exits = Exit::all(&contract, Some(&presigned));
    assert_eq!(exits.len(), 4);
    for exit in &exits {
        let (tx, fee) = exit.withdraw(&key(), &script(), rate()).unwrap();
        try_core(&tx, &exit.txout()).unwrap();
        assert_eq!(tx.output[0].value + fee, exit.coin.value);
        assert_eq!(rate().fee_wu(tx.weight()), Some(fee), "the fee is for the size that it has");
    }
    assert_eq!(prove(&contract, Some(&presigned), &key(), &script()), Ok(()));
}

#[test]
fn the_same_is_refused_by_us_and_by_core_where_it_does_not_work() {
    let (contract, presigned) = stake();
    let exit = Exit::of_stake(&contract);
    let owner = key().x_only_public_key().0;
    let (good, _) = exit.withdraw(&key(), &script(), rate()).unwrap();
    let spoil = |change: &dyn Fn(&mut Transaction)| {
        let mut tx = good.clone();
        change(&mut tx);
        tx
    };
    let item = |tx: &mut Transaction, index: usize, new: &[u8]| {
        let mut items: Vec<Vec<u8>> = tx.input[0].witness.iter().map(<[u8]>::to_vec).collect();
        items[index] = new.to_vec();
        tx.input[0].witness = Witness::from_slice(&items);
    };
    let other = Exit::of_unbonding(&contract, &presigned);
    let other_script = other.output.leaf(Leaf::Timelock).unwrap().to_bytes();
    let other_control = other.output.control_block(Leaf::Timelock).unwrap().serialize();
    let cases: [(&str, Transaction); 7] = [
        ("a block early", spoil(&|tx| tx.input[0].sequence = bitcoin::Sequence::from_height(LOCK - 1))),
        ("no wait at all", spoil(&|tx| tx.input[0].sequence = bitcoin::Sequence::MAX)),
        ("version 1", spoil(&|tx| tx.version = Version::ONE)),
        ("another amount", spoil(&|tx| tx.output[0].value = Amount::from_sat(1_000))),
        ("another script", spoil(&|tx| item(tx, 1, &other_script))),
        ("another control block", spoil(&|tx| item(tx, 2, &other_control))),
        ("no signature", spoil(&|tx| item(tx, 0, &[]))),
    ];
    assert!(exit.judge(&good, &owner).is_ok() && try_core(&good, &exit.txout()).is_ok());
    for (what, tx) in cases {
        assert!(matches!(exit.judge(&tx, &owner), Err(NoExit::Refused(_))), "{what}: we");
        assert!(try_core(&tx, &exit.txout()).is_err(), "{what}: Core");
    }
}

#[test]
fn a_key_that_is_not_the_owners_proves_nothing() {
    let (contract, presigned) = stake();
    let other = keys().staking(1).unwrap();
    let refused = prove(&contract, Some(&presigned), &other, &script()).unwrap_err();
    assert_eq!(refused, NoExit::Refused("its script is not the timelock of the holder"));
}

#[test]
fn the_early_exit_takes_exactly_a_quorum_however_many_have_signed() {
    let (contract, presigned) = stake();
    for members in 0..=5 {
        let signatures = covenant(&contract, &presigned, members);
        match unbond(&contract, &presigned, &key(), &signatures) {
            Ok(tx) => {
                assert!(members >= 3);
                try_core(&tx, &contract.txout()).unwrap();
                let full = tx.input[0].witness.iter().take(5).filter(|item| !item.is_empty()).count();
                assert_eq!(full, 3);
            }
            Err(why) => {
                assert_eq!(why, NoExit::Witness(NoWitness::BelowQuorum { found: members, quorum: 3 }));
            }
        }
    }
}

#[test]
fn an_early_exit_with_a_bad_signature_is_refused_by_us_and_by_core() {
    let (contract, presigned) = stake();
    let good = covenant(&contract, &presigned, 3);
    let tx = unbond(&contract, &presigned, &key(), &good).unwrap();
    for index in 0..tx.input[0].witness.len() {
        let mut items: Vec<Vec<u8>> = tx.input[0].witness.iter().map(<[u8]>::to_vec).collect();
        match items[index].last_mut() {
            Some(byte) => *byte ^= 1,
            None => items[index] = vec![1; 64],
        }
        let mut spoiled = tx.clone();
        spoiled.input[0].witness = Witness::from_slice(&items);
        assert!(judge_unbonding_leaf(&spoiled, &[contract.txout()], &contract).is_err(), "item {index}: we");
        assert!(try_core(&spoiled, &contract.txout()).is_err(), "item {index}: Core");
    }
}
