//! The trusted beginning of a chain.

use super::*;
use BaseRefused::*;

/// Twenty-one blocks, heights 0 to 20.
fn blocks() -> Vec<Header> {
    Branch::genesis().grow(&[2; 20], 1).0.clone()
}

fn check(height: u32, headers: &[Header], expected: BaseRefused) {
    assert_eq!(HeaderChain::new(rules(), BtcHeight(height), headers), Err(expected));
}

#[test]
fn every_supported_network_begins_at_its_genesis_block_and_testnets_are_refused() {
    use bitcoin::Network;
    for network in [Network::Bitcoin, Network::Signet, Network::Regtest] {
        let genesis = bitcoin::constants::genesis_block(network).header;
        let chain =
            HeaderChain::new(HeaderRules::for_network(network).unwrap(), BtcHeight(0), &[genesis]).unwrap();
        assert_eq!(chain.tip(), Tip { height: BtcHeight(0), hash: genesis.block_hash() });
        assert_eq!(chain.total_work(), genesis.work());
    }
    for network in [Network::Testnet, Network::Testnet4] {
        assert_eq!(HeaderRules::for_network(network), Err(RulesRefused::UnsupportedNetwork(network)));
    }
}

#[test]
fn a_base_takes_all_headers_that_the_median_time_needs() {
    let blocks = blocks();
    let wrong = |height, found, wanted| WrongCount { height: BtcHeight(height), found, wanted };
    check(0, &[], wrong(0, 0, 1));
    check(0, &blocks[..2], wrong(0, 2, 1));
    check(8, &blocks[1..=8], wrong(8, 8, 9));
    check(16, &blocks[7..=16], wrong(16, 10, 11));
    check(16, &blocks[5..=16], wrong(16, 12, 11));
}

#[test]
fn a_base_opens_a_retarget_period_where_there_are_any() {
    let blocks = blocks();
    check(17, &blocks[7..=17], NotAtRetarget { height: BtcHeight(17), interval: 8 });
    let bits = CompactTarget::from_consensus(0x207f_ffff);
    let first = mined(BlockHash::all_zeros(), bits, 1, 0);
    let second = mined(first.block_hash(), bits, 2, 0);
    assert!(HeaderChain::new(HeaderRules::regtest(), BtcHeight(1), &[first, second]).is_ok());
}

#[test]
fn the_headers_of_a_base_are_linked_and_carry_work() {
    let good = blocks()[6..=16].to_vec();
    let altered = |index: usize, alter: &dyn Fn(&mut Header)| {
        let mut headers = good.clone();
        alter(&mut headers[index]);
        headers
    };
    let elsewhere = BlockHash::from_byte_array([7; 32]);
    let unlinked =
        altered(10, &|header| *header = search(Header { prev_blockhash: elsewhere, ..*header }, true));
    check(16, &unlinked, NotLinked { index: 10 });
    check(16, &altered(10, &|header| *header = search(*header, false)), InsufficientWork { index: 10 });
    for bits in [0x2002_0000, 0x2100_0100, 0xff00_ffff, 0x1f80_0000, 0, 0x0100_0000] {
        let bits = CompactTarget::from_consensus(bits);
        check(16, &altered(10, &|header| header.bits = bits), BadTarget { index: 10, bits });
    }
}

#[test]
fn a_chain_from_a_later_base_follows_as_one_from_the_genesis_block_does() {
    let mut branch = Branch(blocks());
    let mut late = HeaderChain::new(rules(), BtcHeight(16), &branch.0[6..=16]).unwrap();
    late.accept(&branch.0[17..]).unwrap();
    branch.grow(&[3; 10], 1);
    let mut early = branch.client();
    early.accept(&branch.0[1..]).unwrap();
    late.accept(&branch.0[21..]).unwrap();
    for height in (6..=30).map(BtcHeight) {
        assert_eq!(late.header_at(height), Some(&branch.0[height.0 as usize]));
        assert_eq!(late.header_at(height), early.header_at(height));
        assert_eq!(late.depth_of(height), early.depth_of(height));
    }
    assert_eq!(
        (late.base(), late.hash_at(BtcHeight(5)), late.hash_at(BtcHeight(31))),
        (BtcHeight(16), None, None)
    );
    assert_eq!(late.median_time_past(BtcHeight(16)), early.median_time_past(BtcHeight(16)));
    assert_eq!(
        late.median_time_past(BtcHeight(15)),
        None,
        "the block before the oldest trusted one is missing"
    );
}

#[test]
fn no_branch_forks_off_below_the_base_however_much_work_it_has() {
    let trunk = blocks();
    let mut chain = HeaderChain::new(rules(), BtcHeight(16), &trunk[6..=16]).unwrap();
    let branch_from = |height: usize| {
        let mut branch = Branch(trunk[..=height].to_vec());
        branch.grow(&[1; 20], 2);
        branch.0[height + 1..].to_vec()
    };
    let below = HeaderRefused::BelowBase { fork: BtcHeight(15), base: BtcHeight(16) };
    assert_eq!(chain.accept(&branch_from(15)), Err(below));
    let unknown = HeaderRefused::UnknownPrevious(trunk[5].block_hash());
    assert_eq!(chain.accept(&branch_from(5)), Err(unknown));
    // Near the genesis block the headers to judge such a branch by are there; it is refused all the same.
    let mut early = HeaderChain::new(rules(), BtcHeight(8), &trunk[..=8]).unwrap();
    let below = HeaderRefused::BelowBase { fork: BtcHeight(7), base: BtcHeight(8) };
    assert_eq!(early.accept(&branch_from(7)), Err(below));
    chain.accept(&trunk[17..]).unwrap();
    assert!(matches!(chain.accept(&branch_from(16)), Ok(Accepted::Reorganised { fork: BtcHeight(16), .. })));
}
