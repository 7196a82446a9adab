//! Genesis documents and the terms of chains.

use super::super::{genesis as sample, pair};
use palisade_protocol::chain::{BaseRefused, RulesRefused};
use palisade_protocol::context::Terms;
use palisade_protocol::genesis::{BadGenesis, Genesis, GenesisDocument, Magic};
use palisade_protocol::governance::BadGovernors;
use palisade_protocol::params::BadParams;
use palisade_protocol::scripts::BadKeys;
use palisade_protocol::units::BtcHeight;

fn document() -> GenesisDocument {
    sample().document().clone()
}

fn after(change: impl FnOnce(&mut GenesisDocument)) -> Result<(), BadGenesis> {
    let mut changed = document();
    change(&mut changed);
    Genesis::new(changed).map(|_| ())
}

#[test]
fn a_genesis_breaks_each_rule_alone() {
    assert_eq!(after(|_| ()), Ok(()));
    let unknown = [1, 2, 3, 4];
    assert_eq!(after(|made| made.network_magic = Magic(unknown)), Err(BadGenesis::Network(unknown)));
    for testnet in [bitcoin::Network::Testnet, bitcoin::Network::Testnet4] {
        let refused = after(|made| made.network_magic = Magic(testnet.magic().to_bytes()));
        assert_eq!(refused, Err(BadGenesis::Rules(RulesRefused::UnsupportedNetwork(testnet))));
    }
    let impossible = |quorum, members| Err(BadGenesis::Governance(BadGovernors { quorum, members }));
    assert_eq!(after(|made| made.governance_quorum = 3), Ok(()));
    assert_eq!(after(|made| made.governance_quorum = 4), impossible(4, 3));
    assert_eq!(after(|made| made.governance_quorum = 0), impossible(0, 3));
    assert_eq!(after(|made| made.governance.clear()), impossible(2, 0));
    let keys = |count| (0..count).map(|i| pair(&format!("one of many {i}")).public().into()).collect();
    assert_eq!(after(|made| made.governance = keys(16)), Ok(()));
    assert_eq!(after(|made| made.governance = keys(17)), impossible(2, 17));
    let terms = "epoch_length must be a multiple of voted_every";
    assert_eq!(after(|made| made.zero.voted_every = 3), Err(BadGenesis::Terms(terms)));
    let base = BaseRefused::WrongCount { height: BtcHeight(1), found: 1, wanted: 2 };
    assert_eq!(after(|made| made.base_height = BtcHeight(1)), Err(BadGenesis::Base(base)));
    let quorum = BadParams::Committee(BadKeys::Quorum { quorum: 1, members: 3 });
    assert_eq!(after(|made| made.params.quorum = 1), Err(BadGenesis::Params(quorum)));
}

#[test]
fn the_numbers_of_a_genesis_have_their_ranges() {
    let range = |what| Err(BadGenesis::Range(what));
    for (ahead, answer) in [(0, false), (1, true), (10_000, true), (10_001, false)] {
        let expected = if answer { Ok(()) } else { range("nonce_roots_ahead") };
        assert_eq!(after(|made| made.nonce_roots_ahead = ahead), expected, "{ahead}");
    }
    for (interval, answer) in [(9, false), (10, true), (600_000, true), (600_001, false)] {
        let expected = if answer { Ok(()) } else { range("block_interval_ms") };
        assert_eq!(after(|made| made.block_interval_ms = interval), expected, "{interval}");
    }
    assert_eq!(after(|made| made.params.from_height = BtcHeight(1)), range("params.from_height"));
}

#[test]
fn the_terms_of_a_chain_break_each_rule_alone() {
    let check = |epoch_length, voted_every, minimum_power_sat, expected: Result<(), &str>| {
        let terms = Terms { epoch_length, voted_every, minimum_power_sat };
        assert_eq!(terms.check(), expected, "{terms:?}");
    };
    check(1, 1, 1, Ok(()));
    check(100_000, 1, u64::MAX, Ok(()));
    check(1_000_000, 10, 1, Ok(()));
    check(20, 0, 1, Err("voted_every must not be 0"));
    check(20, 21, 1, Err("epoch_length must be a multiple of voted_every"));
    check(0, 5, 1, Err("epoch_length must be 1 to 1,000,000"));
    check(1_000_010, 10, 1, Err("epoch_length must be 1 to 1,000,000"));
    check(100_001, 1, 1, Err("an epoch has too many voted heights"));
    check(20, 5, 0, Err("minimum_power_sat must not be 0"));
}
