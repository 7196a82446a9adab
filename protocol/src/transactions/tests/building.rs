//! What the builders build, and when they refuse.

use super::*;
use crate::params::Profile;
use crate::transactions::{CannotBuild, bump};
use bitcoin::transaction::Version;
use bitcoin::{FeeRate, Sequence, Weight};

const DUST: u64 = 330;

/// BIP 433, written out.
fn pay_to_anchor() -> TxOut {
    let script_pubkey = ScriptBuf::from_hex("51024e73").unwrap();
    TxOut { value: Amount::from_sat(240), script_pubkey }
}

#[test]
fn an_unbonding_transaction_pays_all_but_the_exact_fee_into_the_unbonding_output() {
    let parties = Parties::new(3, 5, 3);
    let coin = coin(1, VALUE);
    let build =
        |profile| unbonding::build(coin, &parties.keys, blocks(144), Amount::from_sat(1_234), profile);
    let tx = build(Profile::Compatible).unwrap();
    assert_eq!((tx.version, tx.lock_time.to_consensus_u32()), (Version::TWO, 0));
    let [input] = tx.input.as_slice() else { panic!("one input") };
    assert_eq!((input.previous_output, input.sequence), (coin.outpoint, Sequence::MAX));
    assert!(input.script_sig.is_empty() && input.witness.is_empty());
    let value = VALUE - Amount::from_sat(1_234);
    let left = TxOut { value, script_pubkey: parties.unbonding().script_pubkey() };
    assert_eq!(tx.output, std::slice::from_ref(&left));
    let left = TxOut { value: value - Amount::from_sat(240), ..left };
    let bumpable = Transaction { version: Version(3), output: vec![left, pay_to_anchor()], ..tx };
    assert_eq!(build(Profile::Bumpable), Ok(bumpable));
}

#[test]
fn an_unbonding_output_is_never_dust() {
    let parties = Parties::new(1, 1, 1);
    let of = |fee, profile| {
        unbonding::build(coin(1, VALUE), &parties.keys, blocks(144), Amount::from_sat(fee), profile)
    };
    let build = |fee| of(fee, Profile::Compatible);
    let bumpable = |fee| of(fee, Profile::Bumpable).map(|tx| tx.output[0].value.to_sat());
    assert_eq!(bumpable(VALUE.to_sat() - DUST - 240), Ok(DUST));
    assert!(bumpable(VALUE.to_sat() - DUST - 239).is_err());
    assert_eq!(of(u64::MAX, Profile::Bumpable), Err(CannotBuild::Overflow));
    assert_eq!(build(VALUE.to_sat() - DUST).unwrap().output[0].value, Amount::from_sat(DUST));
    for (fee, left) in [(VALUE.to_sat() - DUST + 1, DUST - 1), (VALUE.to_sat(), 0), (VALUE.to_sat() + 1, 0)] {
        let (left, least) = (Amount::from_sat(left), Amount::from_sat(DUST));
        assert_eq!(build(fee), Err(CannotBuild::TooSmall { what: "the unbonding output", left, least }));
    }
}

#[test]
fn a_slashing_burns_first_and_leaves_the_rest_under_a_timelock() {
    let parties = Parties::new(3, 5, 3);
    let split = parties.split(VALUE);
    let tx = slashing::build(coin(1, VALUE), &split).unwrap();
    assert_eq!((tx.version, tx.lock_time.to_consensus_u32(), tx.input.len()), (Version::TWO, 0, 1));
    assert_eq!(tx.input[0].sequence, Sequence::MAX);
    let burned = TxOut { value: split.slashed, script_pubkey: split.slash_script.to_owned() };
    let value = VALUE - split.slashed - split.fee;
    let change = TxOut { value, script_pubkey: parties.change().script_pubkey() };
    assert_eq!(tx.output, [burned.clone(), change.clone()]);
    let bumpable = slashing::build(coin(1, VALUE), &Split { profile: Profile::Bumpable, ..split });
    let change = TxOut { value: value - Amount::from_sat(240), ..change };
    let output = vec![burned, change, pay_to_anchor()];
    assert_eq!(bumpable, Ok(Transaction { version: Version(3), output, ..tx }));
}

#[test]
fn neither_output_of_a_slashing_is_dust() {
    let parties = Parties::new(1, 1, 1);
    let change_of = |value: u64, slashed: u64| {
        let split = Split { slashed: Amount::from_sat(slashed), ..parties.split(VALUE) };
        slashing::build(coin(1, Amount::from_sat(value)), &split).map(|tx| tx.output[1].value.to_sat())
    };
    let what = "the change of the slashing";
    let least = Amount::from_sat(DUST);
    // The fee is 1,000.
    assert_eq!(change_of(2_000 + DUST, 1_000), Ok(DUST));
    for (value, left) in [(2_000 + DUST - 1, DUST - 1), (2_000, 0), (1_999, 0), (0, 0)] {
        let left = Amount::from_sat(left);
        assert_eq!(change_of(value, 1_000), Err(CannotBuild::TooSmall { what, left, least }));
    }
    let split = Split { fee: Amount::MAX, ..parties.split(VALUE) };
    for profile in [Profile::Compatible, Profile::Bumpable] {
        let split = Split { profile, ..split.clone() };
        assert_eq!(slashing::build(coin(1, VALUE), &split), Err(CannotBuild::Overflow));
    }
}

#[test]
fn the_burned_output_must_be_relayed_by_nodes() {
    let parties = Parties::new(1, 1, 1);
    let scripts = [
        (ScriptBuf::new_op_return([1]), 0),
        (ScriptBuf::new_p2wpkh(&bitcoin::WPubkeyHash::all_zeros()), 294),
        (anyone(), DUST),
        (ScriptBuf::new_p2pkh(&bitcoin::PubkeyHash::all_zeros()), 546),
    ];
    for (script, least) in scripts {
        let build = |slashed| {
            let split =
                Split { slashed: Amount::from_sat(slashed), slash_script: &script, ..parties.split(VALUE) };
            slashing::build(coin(1, VALUE), &split)
        };
        assert_eq!(build(least).unwrap().output[0].value.to_sat(), least);
        if let Some(left) = least.checked_sub(1) {
            let (left, least) = (Amount::from_sat(left), Amount::from_sat(least));
            let what = "the slashing output";
            assert_eq!(build(left.to_sat()), Err(CannotBuild::TooSmall { what, left, least }));
        }
    }
}

#[test]
fn a_withdrawal_waits_by_its_sequence_and_is_never_dust() {
    let build = |fee| spend::withdrawal(coin(1, VALUE), blocks(144), anyone(), Amount::from_sat(fee));
    let tx = build(1_000).unwrap();
    assert_eq!((tx.version, tx.input[0].sequence), (Version::TWO, Sequence(144)));
    assert_eq!(tx.output, [wallet(VALUE.to_sat() - 1_000)]);
    assert!(build(VALUE.to_sat() - DUST).is_ok());
    for (fee, left) in [(VALUE.to_sat() - DUST + 1, DUST - 1), (VALUE.to_sat() + 1, 0)] {
        let (left, least) = (Amount::from_sat(left), Amount::from_sat(DUST));
        assert_eq!(build(fee), Err(CannotBuild::TooSmall { what: "the withdrawn amount", left, least }));
    }
}

#[test]
fn an_expansion_has_the_old_stake_first_and_the_new_stake_first() {
    let parties = Parties::new(1, 1, 1);
    let (old, funds) = (coin(1, VALUE).outpoint, funding().outpoint);
    for change in [None, Some(wallet(5_000))] {
        let tx = spend::expansion(old, funds, new_stake(&parties), change.clone());
        assert_eq!(tx.version, Version::TWO);
        let inputs: Vec<_> = tx.input.iter().map(|input| (input.previous_output, input.sequence)).collect();
        assert_eq!(inputs, [(old, Sequence::MAX), (funds, Sequence::MAX)]);
        assert_eq!(tx.output, [new_stake(&parties)].into_iter().chain(change).collect::<Vec<_>>());
    }
}

#[test]
fn the_least_fee_of_presigned_transactions_pays_a_sat_for_each_vbyte_of_the_largest() {
    let largest = Parties::new(20, 20, 8);
    let presigned =
        largest.paths().into_iter().filter(|path| path.leaf != Leaf::Timelock && path.spent.len() == 1);
    for path in presigned {
        let mut tx = path.tx.clone();
        // The longest slashing script is that of an 83-byte OP_RETURN.
        if path.leaf == Leaf::Slashing {
            tx.output[0].script_pubkey = ScriptBuf::from_bytes(vec![0x6a; 83]);
        }
        tx.input[0].witness = Witness::from_slice(&largest.stack(&path, &largest.honest(&path)));
        let vsize = tx.vsize() as u64;
        println!("{}: {vsize}", path.name);
        assert!(vsize <= crate::params::MIN_PRESIGNED_FEE, "{}: {vsize} vbytes", path.name);
    }
}

#[test]
fn a_child_spends_the_last_output_of_a_bumpable_transaction_alone_and_pays_for_both() {
    let parties = Parties::new(1, 1, 1);
    let build = |profile| {
        unbonding::build(coin(1, VALUE), &parties.keys, blocks(144), Amount::from_sat(0), profile).unwrap()
    };
    let parent = build(Profile::Bumpable);
    let place = OutPoint { txid: parent.compute_txid(), vout: 1 };
    assert_eq!(bump::handle(&parent), Some(place));
    assert_eq!(bump::handle(&build(Profile::Compatible)), None);
    let altered = |alter: fn(&mut Transaction)| {
        let mut parent = parent.clone();
        alter(&mut parent);
        bump::handle(&parent)
    };
    assert_eq!(altered(|tx| tx.version = Version::TWO), None);
    assert_eq!(altered(|tx| tx.output[1].value = Amount::from_sat(239)), None);
    assert_eq!(
        altered(|tx| tx.output[1].script_pubkey.push_opcode(bitcoin::opcodes::all::OP_PUSHNUM_1)),
        None
    );
    assert_eq!(altered(|tx| tx.output.swap(0, 1)), None);
    assert_eq!(altered(|tx| tx.output.clear()), None);

    let child = bump::child(place, &[coin(2, VALUE).outpoint], pay_to_anchor());
    let spent: Vec<_> = child.input.iter().map(|input| input.previous_output).collect();
    assert_eq!((spent, child.version), (vec![place, coin(2, VALUE).outpoint], Version(3)));
    let rate = FeeRate::from_sat_per_vb_u32(5);
    let fee = |paid| {
        bump::child_fee(
            rate,
            Weight::from_vb_unchecked(200),
            Amount::from_sat(paid),
            Weight::from_vb_unchecked(100),
        )
    };
    // Whatever the parent has paid is taken off, and a child never pays less than nothing.
    assert_eq!([0, 300, 1_500, 1_501].map(fee), [1_500, 1_200, 0, 0].map(|sat| Some(Amount::from_sat(sat))));
    let endless = bump::child_fee(rate, Weight::MAX, Amount::ZERO, Weight::from_wu(1));
    assert_eq!(endless, None);
}
