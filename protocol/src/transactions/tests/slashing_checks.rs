//! Each rule of the check of somebody else's slashing transaction, at its limit.

use super::*;
use crate::params::tests::document;
use crate::params::{Params, ParamsDocument, Profile};
use crate::transactions::slashing::{BadSlashing, check};
use crate::units::BasisPoints;
use bitcoin::Sequence;
use bitcoin::transaction::Version;

/// A tenth is burned, the least fee is 1,000.
fn params() -> Params {
    Params::new(document()).unwrap()
}

fn bumpable() -> Params {
    Params::new(ParamsDocument { profile: Profile::Bumpable, ..document() }).unwrap()
}

fn change() -> ScriptBuf {
    Parties::new(1, 1, 1).change().script_pubkey()
}

fn honest(value: Amount, params: &Params) -> Transaction {
    slashing::build(coin(1, value), &Split::of(value, change(), params)).unwrap()
}

fn judged(tx: &Transaction, value: Amount, params: &Params) -> Result<(), BadSlashing> {
    check(tx, coin(1, value), &change(), params)
}

/// What the check says of the honest transaction after a change.
fn after(alter: impl FnOnce(&mut Transaction)) -> Result<(), BadSlashing> {
    after_by(&params(), alter)
}

fn after_by(params: &Params, alter: impl FnOnce(&mut Transaction)) -> Result<(), BadSlashing> {
    let mut tx = honest(VALUE, params);
    alter(&mut tx);
    judged(&tx, VALUE, params)
}

#[test]
fn what_we_build_is_accepted_for_every_rate_and_value() {
    for rate in [1_000, 1_001, 3_333, 5_000] {
        let params =
            Params::new(ParamsDocument { slash_rate_bp: BasisPoints::new(rate).unwrap(), ..document() })
                .unwrap();
        let bumpable = ParamsDocument { profile: Profile::Bumpable, ..params.document().clone() };
        let bumpable = Params::new(bumpable).unwrap();
        for value in (VALUE.to_sat()..VALUE.to_sat() + 40).map(Amount::from_sat) {
            for params in [&params, &bumpable] {
                assert_eq!(judged(&honest(value, params), value, params), Ok(()), "{rate} {value}");
            }
        }
    }
}

#[test]
fn each_profile_takes_its_own_versions_only() {
    for (params, own) in [(params(), &[1, 2][..]), (bumpable(), &[3])] {
        for version in [-1, 0, 1, 2, 3, 4] {
            let judged = after_by(&params, |tx| tx.version = Version(version));
            let wrong = Err(BadSlashing::Version(version, params.profile()));
            assert_eq!(judged, if own.contains(&version) { Ok(()) } else { wrong });
        }
    }
}

#[test]
fn the_last_output_of_a_bumpable_slashing_is_exactly_what_anybody_spends_to_pay_for_it() {
    let params = bumpable();
    let alterations: [fn(&mut Transaction); 5] = [
        |tx| tx.output[2].value += Amount::ONE_SAT,
        |tx| tx.output[2].value -= Amount::ONE_SAT,
        |tx| tx.output[2].script_pubkey = anyone(),
        |tx| tx.output[2].script_pubkey = ScriptBuf::from_bytes(vec![0x51]),
        |tx| tx.output.swap(1, 2),
    ];
    for alter in alterations {
        assert_eq!(after_by(&params, alter), Err(BadSlashing::BumpOutput));
    }
    assert_eq!(after_by(&params, |tx| tx.output.swap(0, 1)), Err(BadSlashing::SlashScript));
}

#[test]
fn a_locktime_is_refused() {
    let lock = bitcoin::absolute::LockTime::from_consensus(1);
    assert_eq!(after(|tx| tx.lock_time = lock), Err(BadSlashing::Locktime));
}

#[test]
fn it_spends_the_coin_alone_with_a_final_and_empty_input() {
    let alterations: [fn(&mut Transaction); 6] = [
        |tx| tx.input[0].previous_output.vout = 1,
        |tx| tx.input[0].sequence = Sequence::ENABLE_RBF_NO_LOCKTIME,
        |tx| tx.input[0].script_sig = ScriptBuf::from_bytes(vec![0x51]),
        |tx| tx.input[0].witness = Witness::from_slice(&[[1]]),
        |tx| tx.input.clear(),
        |tx| tx.input.push(tx.input[0].clone()),
    ];
    for alter in alterations {
        assert_eq!(after(alter), Err(BadSlashing::Input(coin(1, VALUE).outpoint)));
    }
}

#[test]
fn it_has_as_many_outputs_as_the_profile_says() {
    for (params, wanted) in [(params(), 2), (bumpable(), 3)] {
        for found in [0, 1, 2, 3, 4] {
            let resized = |tx: &mut Transaction| tx.output.resize(found, tx.output[1].clone());
            if found != wanted {
                let refused = Err(BadSlashing::OutputCount { found, wanted });
                assert_eq!(after_by(&params, resized), refused);
            }
        }
    }
}

#[test]
fn the_burned_part_goes_to_the_slashing_script() {
    assert_eq!(after(|tx| tx.output[0].script_pubkey = anyone()), Err(BadSlashing::SlashScript));
    assert_eq!(after(|tx| tx.output.swap(0, 1)), Err(BadSlashing::SlashScript));
}

#[test]
fn no_sat_less_than_the_rate_rounded_down_is_burned() {
    let move_to_change = |sat: u64| {
        after(|tx| {
            tx.output[0].value -= Amount::from_sat(sat);
            tx.output[1].value += Amount::from_sat(sat);
        })
    };
    let least = VALUE / 10;
    assert_eq!(move_to_change(0), Ok(()));
    let found = least - Amount::ONE_SAT;
    assert_eq!(move_to_change(1), Err(BadSlashing::SlashedTooLittle { found, least }));
}

#[test]
fn more_may_be_burned() {
    assert_eq!(
        after(|tx| {
            tx.output[0].value += Amount::from_sat(5);
            tx.output[1].value -= Amount::from_sat(5);
        }),
        Ok(())
    );
}

#[test]
fn the_change_waits_for_the_holder() {
    let other = StakerKey::from(key_pair("thief").public());
    let own = Parties::new(1, 1, 1).keys.staker();
    for output in [Output::slashing_change(other, blocks(144)), Output::slashing_change(own, blocks(143))] {
        let script = output.script_pubkey();
        assert_eq!(after(|tx| tx.output[1].script_pubkey = script), Err(BadSlashing::ChangeScript));
    }
}

#[test]
fn neither_output_is_dust() {
    // Values at which a tenth is below what nodes relay; parameters that admitted such stakes would be refused as a whole.
    let params = Params::new(ParamsDocument { slash_script: anyone(), ..document() }).unwrap();
    for (value, burned, judgement) in [(3_300, 330, Ok(())), (3_290, 329, Err(BadSlashing::Dust(0)))] {
        let value = Amount::from_sat(value);
        let mut tx = honest(VALUE, &params);
        tx.output[0].value = Amount::from_sat(burned);
        tx.output[1].value = value - Amount::from_sat(burned) - Amount::from_sat(1_000);
        assert_eq!(judged(&tx, value, &params), judgement);
    }
    assert_eq!(after(|tx| tx.output[1].value = Amount::from_sat(330)), Ok(()));
    assert_eq!(after(|tx| tx.output[1].value = Amount::from_sat(329)), Err(BadSlashing::Dust(1)));
}

#[test]
fn miners_get_at_least_the_fee() {
    let least = Amount::from_sat(1_000);
    assert_eq!(after(|tx| tx.output[1].value -= Amount::ONE_SAT), Ok(()));
    let found = Amount::from_sat(999);
    assert_eq!(after(|tx| tx.output[1].value += Amount::ONE_SAT), Err(BadSlashing::Fee { found, least }));
    let shared = |sat: u64| after_by(&bumpable(), |tx| tx.output[1].value += Amount::from_sat(sat));
    assert_eq!(shared(0), Ok(()));
    assert_eq!(shared(1), Err(BadSlashing::Fee { found, least }), "what the third output holds is no fee");
    let none = Err(BadSlashing::Fee { found: Amount::ZERO, least });
    assert_eq!(after(|tx| tx.output[1].value = VALUE), none);
    assert_eq!(after(|tx| tx.output[1].value = Amount::MAX), none);
}

#[test]
fn at_a_tie_we_burn_the_sat_more_and_take_a_wallets_sat_less() {
    let rate = BasisPoints::new(1_001).unwrap();
    let params = Params::new(ParamsDocument { slash_rate_bp: rate, ..document() }).unwrap();
    // 10,005,000 * 0.1001 = 1,001,500.5.
    let value = Amount::from_sat(10_005_000);
    assert_eq!(params.slashing_amount(value).to_sat(), 1_001_501);
    assert_eq!(params.slashing_floor(value).to_sat(), 1_001_500);
    let tx = honest(value, &params);
    assert_eq!(tx.output[0].value.to_sat(), 1_001_501);
    let mut wallets = tx.clone();
    wallets.output[0].value -= Amount::ONE_SAT;
    wallets.output[1].value += Amount::ONE_SAT;
    assert_eq!(judged(&wallets, value, &params), Ok(()));
    wallets.output[0].value -= Amount::ONE_SAT;
    let (found, least) = (Amount::from_sat(1_001_499), Amount::from_sat(1_001_500));
    assert_eq!(judged(&wallets, value, &params), Err(BadSlashing::SlashedTooLittle { found, least }));
}

#[test]
fn rounding_is_half_up_to_the_sat() {
    let rate = BasisPoints::new(1_000).unwrap();
    let params = Params::new(ParamsDocument { slash_rate_bp: rate, ..document() }).unwrap();
    for (of, amount, floor) in
        [(100_004, 10_000, 10_000), (100_005, 10_001, 10_000), (100_009, 10_001, 10_000), (0, 0, 0)]
    {
        let of = Amount::from_sat(of);
        assert_eq!(
            (params.slashing_amount(of).to_sat(), params.slashing_floor(of).to_sat()),
            (amount, floor)
        );
    }
    let all = Amount::MAX_MONEY;
    assert_eq!(params.slashing_amount(all), all / 10);
}
