//! One test for each rule that a version of the parameters must keep, at its limit.

use super::*;
use crate::curve::testing::key_pair;
use bitcoin::hashes::Hash as _;

/// A version that every rule holds for: k 6, w 20, lifetime 100, margin 18, U 244; a tenth is burned.
pub(crate) fn document() -> ParamsDocument {
    let member = |i| CovenantKey::from(key_pair(&format!("member {i}")).public());
    ParamsDocument {
        from_height: BtcHeight(0),
        k: 6,
        w: 20,
        covenant: (0..5).map(member).collect(),
        quorum: 3,
        unbonding_blocks: RelativeBlocks::new(244).unwrap(),
        unbonding_fee_sat: 1_000,
        slash_rate_bp: BasisPoints::new(1_000).unwrap(),
        slash_script: ScriptBuf::from_bytes(vec![0x6a, 0x01, 0x2a]),
        min_slash_fee_sat: 1_000,
        min_stake_sat: 10_000,
        max_stake_sat: 100_000_000,
        min_lock_blocks: RelativeBlocks::new(300).unwrap(),
        max_lock_blocks: RelativeBlocks::new(65_535).unwrap(),
        lapse_blocks: 60,
        set_lifetime_blocks: 100,
        margin_blocks: 18,
        profile: Profile::Compatible,
    }
}

/// What is said of the document after a change.
fn after(alter: impl FnOnce(&mut ParamsDocument)) -> Result<(), BadParams> {
    let mut altered = document();
    alter(&mut altered);
    Params::new(altered).map(|_| ())
}

fn broken(rule: &'static str, left: u64, right: u64) -> Result<(), BadParams> {
    Err(BadParams::Contradiction { rule, left, right })
}

fn blocks(n: u16) -> RelativeBlocks {
    RelativeBlocks::new(n).unwrap()
}

#[test]
fn the_document_that_the_tests_change_is_accepted() {
    assert_eq!(after(|_| ()), Ok(()));
}

#[test]
fn the_committee_is_a_reachable_majority_of_different_keys() {
    let size = |n| Err(BadParams::Committee(BadKeys::CommitteeSize(n)));
    assert_eq!(after(|p| p.covenant.clear()), size(0));
    let many: Vec<_> =
        (0..21).map(|i| CovenantKey::from(key_pair(&format!("member {i}")).public())).collect();
    assert_eq!(after(|p| (p.covenant, p.quorum) = (many.clone(), 11)), size(21));
    assert_eq!(after(|p| (p.covenant, p.quorum) = (many[..20].to_vec(), 11)), Ok(()));
    for quorum in [0, 2, 6] {
        let bad = BadKeys::Quorum { quorum: quorum.into(), members: 5 };
        assert_eq!(after(|p| p.quorum = quorum), Err(BadParams::Committee(bad)));
    }
    let twice = document().covenant[0];
    let bad = BadKeys::Duplicate(twice.to_string());
    assert_eq!(after(|p| p.covenant[4] = twice), Err(BadParams::Committee(bad)));
}

#[test]
fn a_stake_gains_power_only_under_a_block() {
    assert_eq!(after(|p| p.k = 1), Ok(()));
    assert_eq!(after(|p| p.k = 0), broken("k >= 1", 0, 1));
}

#[test]
fn what_is_final_was_active_before() {
    assert_eq!(after(|p| p.w = 6), Ok(()));
    assert_eq!(after(|p| p.w = 5), broken("w >= k", 5, 6));
}

#[test]
fn a_stake_can_become_active_before_it_lapses() {
    assert_eq!(after(|p| p.lapse_blocks = 7), Ok(()));
    assert_eq!(after(|p| p.lapse_blocks = 6), broken("lapse_blocks > k", 6, 7));
}

#[test]
fn a_set_lives_for_a_block_at_least() {
    assert_eq!(after(|p| p.set_lifetime_blocks = 1), Ok(()));
    assert_eq!(after(|p| p.set_lifetime_blocks = 0), broken("set_lifetime_blocks >= 1", 0, 1));
}

#[test]
fn coins_wait_longer_than_a_set_can_sign_and_be_caught() {
    let rule = "unbonding_blocks >= k + 2 * set_lifetime_blocks + w + margin_blocks";
    assert_eq!(after(|p| p.margin_blocks = 19), broken(rule, 244, 245));
    assert_eq!(after(|p| p.set_lifetime_blocks = 101), broken(rule, 244, 246));
    assert_eq!(after(|p| p.w = 21), broken(rule, 244, 245));
    assert_eq!(after(|p| p.k = 7), broken(rule, 244, 245));
    let most = 2 * u64::from(u32::MAX) + 44;
    assert_eq!(after(|p| p.set_lifetime_blocks = u32::MAX), broken(rule, 244, most));
}

#[test]
fn the_shortest_stake_outlasts_unbonding_and_activation() {
    let rule = "min_lock_blocks > unbonding_blocks + k";
    assert_eq!(after(|p| p.min_lock_blocks = blocks(251)), Ok(()));
    assert_eq!(after(|p| p.min_lock_blocks = blocks(250)), broken(rule, 250, 251));
}

#[test]
fn the_longest_stake_is_not_shorter_than_the_shortest() {
    assert_eq!(after(|p| p.max_lock_blocks = blocks(300)), Ok(()));
    let rule = "max_lock_blocks >= min_lock_blocks";
    assert_eq!(after(|p| p.max_lock_blocks = blocks(299)), broken(rule, 299, 300));
}

#[test]
fn the_largest_stake_is_not_smaller_than_the_smallest_nor_than_bitcoin_allows() {
    assert_eq!(after(|p| p.max_stake_sat = 10_000), Ok(()));
    assert_eq!(after(|p| p.max_stake_sat = 9_999), broken("max_stake_sat >= min_stake_sat", 9_999, 10_000));
    let all = Amount::MAX_MONEY.to_sat();
    assert_eq!(after(|p| p.max_stake_sat = all), Ok(()));
    assert_eq!(after(|p| p.max_stake_sat = all + 1), broken("21,000,000 BTC >= max_stake_sat", all, all + 1));
}

#[test]
fn slashed_coins_go_where_nodes_relay_them() {
    let op_return = |bytes: usize| {
        let mut script = vec![0x6a, 0x4c, u8::try_from(bytes - 3).unwrap()];
        script.resize(bytes, 0);
        ScriptBuf::from_bytes(script)
    };
    let hash = bitcoin::hashes::hash160::Hash::all_zeros();
    let taproot = bitcoin::key::TweakedPublicKey::dangerous_assume_tweaked(key_pair("burn").public());
    let good = [
        op_return(83),
        ScriptBuf::new_p2wpkh(&bitcoin::WPubkeyHash::from_raw_hash(hash)),
        ScriptBuf::new_p2tr_tweaked(taproot),
    ];
    for script in good {
        assert_eq!(after(|p| p.slash_script = script.clone()), Ok(()), "{script}");
    }
    let bad = [
        op_return(84),
        ScriptBuf::new(),
        ScriptBuf::new_p2pkh(&bitcoin::PubkeyHash::from_raw_hash(hash)),
        ScriptBuf::new_p2sh(&bitcoin::ScriptHash::from_raw_hash(hash)),
        ScriptBuf::from_bytes(vec![0x51]),
        // An OP_RETURN whose data is no push, and one whose push is cut short.
        ScriptBuf::from_bytes(vec![0x6a, 0xac]),
        ScriptBuf::from_bytes(vec![0x6a, 0x02, 0x01]),
        // A witness program of version 0 has 20 bytes or 32.
        ScriptBuf::from_bytes([&[0x00, 21][..], &[0; 21]].concat()),
    ];
    for script in bad {
        assert_eq!(after(|p| p.slash_script = script.clone()), Err(BadParams::SlashScript), "{script}");
    }
}

#[test]
fn presigned_transactions_pay_what_nodes_relay() {
    assert_eq!(after(|p| p.unbonding_fee_sat = 830), Ok(()));
    assert_eq!(
        after(|p| p.unbonding_fee_sat = 829),
        broken("unbonding_fee_sat >= fee at 1 sat/vB", 829, 830)
    );
    assert_eq!(after(|p| p.min_slash_fee_sat = 830), Ok(()));
    assert_eq!(
        after(|p| p.min_slash_fee_sat = 829),
        broken("min_slash_fee_sat >= fee at 1 sat/vB", 829, 830)
    );
}

#[test]
fn the_smallest_stake_outlives_the_unbonding_fee() {
    let rule = "what the smallest stake unbonds to > 0";
    assert_eq!(after(|p| p.min_stake_sat = 1_000), broken(rule, 0, 1));
    assert_eq!(bumpable(1_240), broken(rule, 0, 1));
    assert_eq!(after(|p| p.min_stake_sat = 0), broken(rule, 0, 1));
}

#[test]
fn the_slashed_part_of_the_smallest_stake_is_not_dust() {
    let rule = "slashed part of the smallest stake is not dust";
    let taproot = bitcoin::key::TweakedPublicKey::dangerous_assume_tweaked(key_pair("burn").public());
    let to_taproot = |min_stake_sat| {
        after(|p| {
            p.slash_script = ScriptBuf::new_p2tr_tweaked(taproot);
            p.min_stake_sat = min_stake_sat;
        })
    };
    assert_eq!(to_taproot(4_300), Ok(()));
    assert_eq!(to_taproot(4_299), broken(rule, 329, 330));
    // An OP_RETURN may hold any value, but something must be burned.
    let rate = |bp, min_stake_sat| {
        after(|p| (p.slash_rate_bp, p.min_stake_sat) = (BasisPoints::new(bp).unwrap(), min_stake_sat))
    };
    assert_eq!(rate(1, 11_000), Ok(()));
    assert_eq!(rate(1, 10_999), broken(rule, 0, 1));
}

#[test]
fn the_change_of_the_smallest_slashed_stake_is_not_dust() {
    let rule = "change of the smallest slashed stake is not dust";
    // 1,478 is left after unbonding; 148 are burned and 1,000 paid.
    assert_eq!(after(|p| p.min_stake_sat = 2_478), Ok(()));
    assert_eq!(after(|p| p.min_stake_sat = 2_477), broken(rule, 329, 330));
    // A bumpable transaction has 240 more to leave, here and when it unbonds: 1,744 unbond, 174 are burned.
    assert_eq!(bumpable(2_984), Ok(()));
    assert_eq!(bumpable(2_983), broken(rule, 329, 330));
}

fn bumpable(min_stake_sat: u64) -> Result<(), BadParams> {
    after(|p| (p.profile, p.min_stake_sat) = (Profile::Bumpable, min_stake_sat))
}

#[test]
fn the_smallest_stake_of_accepted_parameters_can_be_presigned() {
    for (profile, smallest) in [(Profile::Compatible, 2_478), (Profile::Bumpable, 2_984)] {
        let params = Params::new(ParamsDocument { min_stake_sat: smallest, profile, ..document() }).unwrap();
        assert!(smallest_contract(&params, smallest).presign(&params).is_ok());
        assert!(smallest_contract(&params, smallest - 1).presign(&params).is_err());
    }
}

fn smallest_contract(params: &Params, sat: u64) -> crate::stake::Contract {
    let staker = crate::keys::StakerKey::from(key_pair("staker").public());
    let provider = crate::keys::ProviderKey::from(key_pair("provider").public());
    let keys = crate::scripts::StakeKeys::new(staker, vec![provider], params.committee().clone()).unwrap();
    let outpoint = bitcoin::OutPoint::null();
    let coin = crate::transactions::Coin { outpoint, value: Amount::from_sat(sat) };
    crate::stake::Contract { coin, keys, lock: blocks(300), unbonding_time: blocks(244) }
}

#[test]
fn the_last_version_that_has_begun_is_in_force() {
    let version =
        |height| Params::new(ParamsDocument { from_height: BtcHeight(height), ..document() }).unwrap();
    let versions = [version(10), version(20), version(20)];
    let at = |height| in_force(&versions, BtcHeight(height)).map(|(place, _)| place);
    assert_eq!([9, 10, 19, 20, 99].map(at), [None, Some(0), Some(0), Some(2), Some(2)]);
}
