//! Each rule has a header that breaks only that rule.

use super::*;
use HeaderRefused::*;

/// Ten blocks: one retarget, to a target four times harder, lies behind, and the next is not due.
fn ten_blocks() -> Branch {
    let mut branch = Branch::quick();
    branch.grow(&[1; 2], 1);
    branch
}

/// After `branch`, a good header is accepted; altered by `alter` and mined again, it is refused as `expected` says.
fn check(branch: &Branch, alter: impl Fn(&mut Header), expected: impl Fn(&Header) -> HeaderRefused) {
    let mut chain = branch.followed();
    let before = chain.clone();
    let good = branch.next(1, 1);
    let mut bad = good;
    alter(&mut bad);
    let bad = search(bad, true);
    assert_ne!(bad, good);
    let refused = expected(&bad);
    assert_eq!(refused.can_be_retried(), matches!(refused, UnknownPrevious(_)), "its parent may come");
    assert_eq!(chain.check(&[bad]), Err(refused.clone()));
    assert_eq!(chain.accept(&[bad]), Err(refused));
    assert_eq!(chain.check(&[good]), Ok(()));
    assert_eq!(chain, before, "what is refused, or only looked at, changes nothing");
    assert!(chain.accept(&[good]).is_ok());
    assert_eq!(chain.tip(), Tip { height: BtcHeight(branch.0.len() as u32), hash: good.block_hash() });
}

#[test]
fn a_header_must_follow_a_block_of_the_best_chain() {
    let elsewhere = BlockHash::from_byte_array([7; 32]);
    check(&ten_blocks(), |header| header.prev_blockhash = elsewhere, |_| UnknownPrevious(elsewhere));
}

#[test]
fn a_header_must_state_the_target_that_the_rules_demand() {
    let bits = CompactTarget::from_consensus;
    let check_at = |blocks: usize, found: CompactTarget| {
        let branch = Branch(ten_blocks().0[..blocks].to_vec());
        let (height, required) = (BtcHeight(blocks as u32), branch.required());
        check(&branch, |header| header.bits = found, |_| WrongTarget { height, found, required });
    };
    check_at(7, bits(QUARTER)); // one block too early
    check_at(8, bits(LIMIT)); // the old target at the retarget
    check_at(9, bits(LIMIT)); // the old target after the retarget
    check_at(10, bits(0x1f7f_ffbf)); // harder than demanded is wrong as well
    check_at(10, bits(0x2000_7fff)); // nearly the same, in a coarser form
}

#[test]
fn a_target_in_another_form_is_refused_even_where_its_value_is_the_same() {
    let limit = CompactTarget::from_consensus(0x2001_0000);
    let same = CompactTarget::from_consensus(0x2100_0100);
    assert_eq!(Target::from_compact(limit), Target::from_compact(same));
    let genesis = mined(BlockHash::all_zeros(), limit, 1_000_000, 0);
    let rules = HeaderRules::private(limit, 8, 2).unwrap();
    let mut chain = HeaderChain::new(rules, BtcHeight(0), &[genesis]).unwrap();
    let header = mined(genesis.block_hash(), same, 1_000_001, 0);
    let refused = WrongTarget { height: BtcHeight(1), found: same, required: limit };
    assert_eq!(chain.accept(&[header]), Err(refused));
}

#[test]
fn a_header_must_meet_its_target() {
    let branch = ten_blocks();
    let mut chain = branch.followed();
    let good = branch.next(1, 1);
    let bad = search(good, false);
    let refused = InsufficientWork { height: BtcHeight(11), hash: bad.block_hash() };
    assert_eq!(chain.accept(&[bad]), Err(refused));
    assert_eq!(chain, branch.followed());
    assert!(chain.accept(&[good]).is_ok());
}

#[test]
fn a_time_must_exceed_the_median_of_the_eleven_before_it() {
    // Heights with one, ten, eleven and more than eleven blocks below.
    for blocks in [1, 10, 11, 12] {
        let mut branch = Branch::genesis();
        branch.grow(&[3, 1, 4, 1, 5, 9, 2, 6, 5, 3, 5][..blocks - 1], 1);
        let (height, median_s) = (BtcHeight(blocks as u32), branch.median_s());
        for time_s in [median_s, median_s - 1, 0] {
            check(&branch, |header| header.time = time_s, |_| TooOld { height, time_s, median_s });
        }
        let mut chain = branch.followed();
        assert_eq!(chain.median_time_past(chain.tip().height), Some(median_s));
        let earliest = mined(branch.0.last().unwrap().block_hash(), branch.required(), median_s + 1, 1);
        assert!(chain.accept(&[earliest]).is_ok(), "just above the median, though below the newest block");
    }
}

#[test]
fn a_batch_is_bounded_linked_and_not_empty() {
    let mut branch = ten_blocks();
    let mut chain = branch.followed();
    branch.grow(&[1, 1, 1], 1);
    let new = &branch.0[11..];
    let check = |chain: &mut HeaderChain, batch: &[Header], refused: HeaderRefused| {
        let before = chain.clone();
        assert!(!refused.can_be_retried());
        assert_eq!(chain.accept(batch), Err(refused));
        assert_eq!(*chain, before);
    };
    check(&mut chain, &[], Empty);
    check(&mut chain, &vec![new[0]; MAX_BATCH + 1], TooMany(MAX_BATCH + 1));
    check(&mut chain, &[new[0], new[2]], NotLinked { index: 1 });
    check(&mut chain, &[new[0], new[1], new[1]], NotLinked { index: 2 });
    check(&mut chain, &[branch.0[4], new[0]], NotLinked { index: 1 });
    check(&mut chain, &branch.0[..11], NothingNew(BtcHeight(10)));
    let broken = search(Header { time: 0, ..new[2] }, true);
    let refused =
        TooOld { height: BtcHeight(13), time_s: 0, median_s: Branch(branch.0[..13].to_vec()).median_s() };
    check(&mut chain, &[new[0], new[1], broken], refused);

    let (from, to) = (chain.tip(), Tip { height: BtcHeight(13), hash: new[2].block_hash() });
    assert_eq!(
        chain.accept(&branch.0[5..]),
        Ok(Accepted::Extended { from, to }),
        "known headers may come first"
    );
    assert_eq!(chain, branch.followed());
}

#[test]
fn a_full_batch_is_accepted_and_no_retarget_changes_regtests_target() {
    let genesis = bitcoin::constants::genesis_block(bitcoin::Network::Regtest).header;
    let mut headers = vec![genesis];
    for _ in 0..MAX_BATCH + 100 {
        let last = headers.last().unwrap();
        headers.push(mined(last.block_hash(), genesis.bits, last.time + 1, 0));
    }
    let mut chain = HeaderChain::new(HeaderRules::regtest(), BtcHeight(0), &[genesis]).unwrap();
    assert_eq!(chain.accept(&headers[1..]), Err(TooMany(2_100)));
    chain.accept(&headers[1..=MAX_BATCH]).unwrap();
    chain.accept(&headers[1_000..]).unwrap();
    assert_eq!(chain.tip().height, BtcHeight(2_100));
    assert_eq!((chain.depth_of(BtcHeight(2_000)), chain.depth_of(BtcHeight(2_101))), (Some(100), None));
    assert_eq!(chain.hash_at(BtcHeight(2_016)), Some(headers[2_016].block_hash()));
    assert_eq!(chain.hash_at(BtcHeight(2_101)), None);
}

#[test]
fn heights_end_without_overflow() {
    let bits = CompactTarget::from_consensus(0x207f_ffff);
    let mut headers: Vec<Header> = Vec::new();
    for time in 0..13 {
        let below = headers.last().map_or(BlockHash::all_zeros(), Header::block_hash);
        headers.push(mined(below, bits, time, 0));
    }
    let below_end = BtcHeight(u32::MAX - 1);
    let mut chain = HeaderChain::new(HeaderRules::regtest(), below_end, &headers[..11]).unwrap();
    assert_eq!(chain.accept(&headers[11..]), Err(HeightsEnd(BtcHeight(u32::MAX))));
    chain.accept(&headers[11..12]).unwrap();
    assert_eq!(chain.accept(&headers[12..]), Err(HeightsEnd(BtcHeight(u32::MAX))));
    assert_eq!(chain.height_of(&headers[11].block_hash()), Some(BtcHeight(u32::MAX)));
    let last = HeaderChain::new(HeaderRules::regtest(), BtcHeight(u32::MAX), &headers[1..12]).unwrap();
    assert_eq!(last.hash_at(BtcHeight(u32::MAX)), Some(headers[11].block_hash()));
}

#[test]
fn a_time_in_the_future_is_judged_by_the_callers_clock() {
    let header = Branch::genesis().0[0];
    let check = |now_s, expected| assert_eq!(check_not_from_future(&[header], now_s), expected);
    check(1_000_000 - MAX_FUTURE_S, Ok(()));
    check(u32::MAX, Ok(()));
    let refused = FromFuture { hash: header.block_hash(), time_s: 1_000_000, latest_s: 999_999 };
    check(999_999 - MAX_FUTURE_S, Err(refused));
}
