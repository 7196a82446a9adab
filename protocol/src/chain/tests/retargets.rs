//! Changes of the target: Bitcoin's own, and mined ones at the bounds.

use super::*;

#[derive(serde::Deserialize)]
struct Vectors {
    retargets: Vec<Period>,
    run: Run,
}

#[derive(serde::Deserialize)]
struct Period {
    height: u32,
    first: String,
    last: String,
    next: String,
}

#[derive(serde::Deserialize)]
struct Run {
    height: u32,
    headers: Vec<String>,
}

fn vectors() -> Vectors {
    serde_json::from_str(include_str!("../../../tests/vectors/mainnet-headers.json")).unwrap()
}

fn header(hex: &str) -> Header {
    let header = bitcoin::consensus::encode::deserialize_hex(hex).unwrap();
    assert!(is_met(&header));
    header
}

#[test]
fn targets_change_as_they_did_on_bitcoins_main_chain() {
    let rules = HeaderRules::mainnet();
    let periods = vectors().retargets;
    assert_eq!(periods.len(), 8);
    for Period { height, first, last, next } in periods {
        let (first, last, next) = (header(&first), header(&last), header(&next));
        assert_eq!(rules.period_before(height), Some(2_016));
        assert_eq!(next.prev_blockhash, last.block_hash());
        assert_ne!(next.bits, last.bits);
        assert_eq!(rules.next_target(last.bits, first.time, last.time), next.bits, "height {height}");
    }
}

#[test]
fn targets_change_as_they_did_on_signet() {
    // Times and targets of signet's first two periods, as rust-bitcoin's tests have them.
    let genesis = bitcoin::constants::genesis_block(bitcoin::Network::Signet).header;
    let (second, third) =
        (CompactTarget::from_consensus(503_394_215), CompactTarget::from_consensus(503_397_348));
    let rules = HeaderRules::signet();
    assert_eq!(rules.next_target(genesis.bits, genesis.time, 1_599_332_177), second);
    assert_eq!(rules.next_target(second, 1_599_332_844, 1_600_591_200), third);
}

#[test]
fn a_run_of_bitcoins_headers_is_followed_and_an_altered_one_refused() {
    let run = vectors().run;
    let headers: Vec<Header> = run.headers.iter().map(|hex| header(hex)).collect();
    let base = BtcHeight(run.height + 10);
    let chain = HeaderChain::new(HeaderRules::mainnet(), base, &headers[..11]).unwrap();
    let mut followed = chain.clone();
    followed.accept(&headers[11..]).unwrap();
    assert_eq!(followed.tip().height, BtcHeight(554_408));
    assert_eq!(followed.median_time_past(BtcHeight(554_404)), Some(headers[9].time));
    for index in 11..headers.len() {
        let mut altered = headers.clone();
        altered[index].nonce ^= 1;
        let before = chain.clone();
        let mut chain = chain.clone();
        assert!(chain.accept(&altered[11..]).is_err());
        assert_eq!(chain, before);
    }
}

#[test]
fn a_period_changes_the_target_by_its_length_and_at_most_fourfold() {
    // From a target four times harder than the limit: seven gaps of a period, and what the target becomes.
    let check = |gaps_s: [u32; 8], expected: u32| {
        let mut branch = Branch::quick();
        branch.grow(&gaps_s, 1);
        assert_eq!(branch.0[16].bits, CompactTarget::from_consensus(expected), "{gaps_s:?}");
        assert_eq!(branch.followed().tip().height, BtcHeight(16));
    };
    check([2, 2, 2, 2, 2, 2, 4, 99], QUARTER); // 16 s, as meant; the gap before the retarget block does not count
    check([2, 2, 2, 2, 2, 2, 2, 2], 0x1f6f_ffc8); // even gaps of 2 s are 14 s: the well-known slip of one
    check([4, 4, 4, 4, 4, 4, 8, 1], 0x2000_ffff); // twice as long
    check([9, 9, 9, 9, 9, 9, 9, 1], 0x2001_f7ff); // 63 s, not yet at the bound
    check([99, 99, 99, 99, 99, 99, 99, 1], LIMIT); // at the bound, and at the limit
    check([1, 1, 1, 1, 1, 1, 1, 1], 0x1f37_ffe4); // 7 s
    check([1, 1, 1, 1, 1, 1, 0, 1], 0x1f2f_ffe8); // 6 s
    check([1, 1, 1, 0, 0, 0, 0, 1], 0x1f1f_fff0); // 3 s count as 4
}

#[test]
fn a_period_that_runs_backwards_in_time_counts_as_the_shortest() {
    let rules = rules();
    let limit = CompactTarget::from_consensus(LIMIT);
    let shortest = rules.next_target(limit, 1_000_000, 1_000_000 + TIMESPAN_S / 4);
    for last_s in [1_000_003, 1_000_000, 999_999, 0] {
        assert_eq!(rules.next_target(limit, 1_000_000, last_s), shortest);
    }
    assert_eq!(rules.next_target(shortest, 0, u32::MAX), rules.next_target(shortest, 0, TIMESPAN_S * 4));
}

#[test]
fn rules_whose_arithmetic_could_overflow_are_refused() {
    let check = |limit: u32, interval, spacing_s, expected: Result<(), RulesRefused>| {
        let rules = HeaderRules::private(CompactTarget::from_consensus(limit), interval, spacing_s);
        assert_eq!(rules.map(|_| ()), expected);
    };
    let bad_limit = |limit| Err(RulesRefused::BadLimit(CompactTarget::from_consensus(limit)));
    let bad_period = |interval, spacing_s| Err(RulesRefused::BadPeriod { interval, spacing_s });
    check(LIMIT, 8, 2, Ok(()));
    check(0x2002_0000, 8, 2, bad_limit(0x2002_0000)); // one bit too many for 64 seconds
    check(0x1d00_ffff, 2_016, 600, Ok(()));
    check(0x207f_ffff, 2, 2, bad_limit(0x207f_ffff));
    check(0, 8, 2, bad_limit(0));
    check(0x2100_0100, 8, 2, bad_limit(0x2100_0100));
    check(LIMIT, 1, 9, bad_period(1, 9));
    check(LIMIT, 3, 1, bad_period(3, 1));
    check(LIMIT, 8, 0, bad_period(8, 0));
    check(0x1d00_ffff, 65_536, 16_384, bad_period(65_536, 16_384));
}
