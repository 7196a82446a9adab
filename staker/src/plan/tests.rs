use super::*;
use crate::when::Moment;
use bitcoin::Network;
use palisade_protocol::context::ChainId;
use palisade_protocol::hash::Hash32;
use palisade_world::provider_key;

fn named(name: &str) -> Named {
    Named { key: provider_key(name), chain: Some(ChainId::zero()), operator: Some(name.into()) }
}

fn plan() -> Plan {
    Plan {
        amount: Amount::from_sat(50_000_000),
        lock_blocks: 2_000,
        fee: Some(Amount::from_sat(308)),
        change: Amount::from_sat(88_800_000),
        spare: None,
        counted_from: 112,
        included: false,
        k: 6,
        active_at: 118,
        ends_at: 1_968,
        withdraw_at: 2_112,
        unbonding_fee: Amount::from_sat(2_000),
        unbonding_blocks: 244,
        slashed: Amount::from_sat(5_000_000),
        slashing_fee: Amount::from_sat(2_000),
        providers: vec![named("anna")],
        former: Vec::new(),
        payout: Some("bcrt1p".into()),
        confirmed_first: false,
        breaker: None,
        expansion: None,
        tip: 111,
        calendar: Calendar::from(Moment(1_795_262_400), Network::Signet),
    }
}

fn expansion() -> Expansion {
    Expansion {
        stake: StakeId(Hash32([1; 32])),
        amount: Amount::from_sat(40_000_000),
        withdraw_at: None,
        active: true,
        keep: vec![named("anna")],
        lose: Vec::new(),
    }
}

fn expanding(expansion: Expansion) -> String {
    Plan { expansion: Some(expansion), ..plan() }.to_string()
}

#[test]
fn the_holder_is_told_what_it_means_before_coins_are_locked() {
    let anna = provider_key("anna");
    let expected = format!(
            "\
Lock 0.50000000 BTC for 2,000 blocks (about 14 days).
  fee:           0.00000308 BTC
  change:        0.88800000 BTC come back to the wallet with the same transaction
  if confirmed:  in the next block, 112; each block that it comes later moves the heights below by one
  power:         from block 118, about 21 Nov 2026 on, 6 blocks (about 60 minutes) after the stake's
  power until:   block 1968, about 4 Dec 2026
  withdraw:      from block 2112, about 5 Dec 2026
  leave early:   any time, for a fee of 0.00002000 BTC, then wait 244 blocks (about 41 hours)
  power to:      zero: anna ({anna})
  rewards to:    bcrt1p
  risk:          if one of these providers signs two blocks at one height, 0.05000000 BTC are burned, 0.00002000 BTC go to miners, and the rest waits 244 blocks (about 41 hours)
"
        );
    assert_eq!(plan().to_string(), expected);
    let confirmed = Plan { included: true, change: Amount::ZERO, ..plan() }.to_string();
    assert!(confirmed.contains("confirmed:     in block 112\n"), "{confirmed}");
    assert!(!confirmed.contains("next block") && !confirmed.contains("change"), "{confirmed}");
}

#[test]
fn a_script_is_told_all_that_a_person_is() {
    let told = serde_json::to_value(Plan { expansion: Some(expansion()), ..plan() }).unwrap();
    for (field, expected) in [
        ("/amount_sat", 50_000_000.into()),
        ("/fee_sat", 308.into()),
        ("/change_sat", 88_800_000.into()),
        ("/counted_from", 112.into()),
        ("/included", false.into()),
        ("/active_at", 118.into()),
        ("/ends_at", 1_968.into()),
        ("/withdraw_at", 2_112.into()),
        ("/unbonding_fee_sat", 2_000.into()),
        ("/unbonding_blocks", 244.into()),
        ("/slashed_sat", 5_000_000.into()),
        ("/slashing_fee_sat", 2_000.into()),
        ("/providers/0/operator", "anna".into()),
        ("/payout", "bcrt1p".into()),
        ("/expansion/amount_sat", 40_000_000.into()),
        ("/expansion/keep/0/key", serde_json::to_value(provider_key("anna")).unwrap()),
    ] {
        assert_eq!(told.pointer(field), Some(&expected), "{field}");
    }
}

#[test]
fn locking_before_the_committee_has_signed_is_warned_of() {
    assert!(!plan().to_string().contains("WARNING"));
    let text = Plan { confirmed_first: true, ..plan() }.to_string();
    assert!(text.contains("WARNING") && text.contains("nothing can leave before block 2112"), "{text}");
}

#[test]
fn an_expansion_says_what_is_new_and_who_has_power_in_between() {
    let text = expanding(expansion());
    assert!(text.contains("of it new:     0.10000000 BTC"), "{text}");
    assert!(!text.contains("until now") && !text.contains("still named"), "{text}");
    let (anna, bert) = (named("anna"), named("bert"));
    let counts = format!("from then until block 118 0.40000000 BTC go on counting for {anna}");
    assert!(text.contains(&format!("{counts}\n")), "{text}");
    let text = expanding(Expansion { lose: vec![bert.clone()], ..expansion() });
    assert!(text.contains(&format!("{counts}; {bert} has none from that block on")), "{text}");
    let text = expanding(Expansion { keep: Vec::new(), lose: vec![bert], ..expansion() });
    assert!(text.contains("until block 118 nobody has power by these coins; zero: bert"), "{text}");
    let text = expanding(Expansion { active: false, ..expansion() });
    assert!(text.contains("until then:    nobody has power by these coins, unless"), "{text}");
    let there = Plan { included: true, expansion: Some(expansion()), ..plan() }.to_string();
    assert!(!there.contains("until then"), "{there}");
}

#[test]
fn an_expansion_says_who_can_still_be_slashed_and_whether_the_lock_ends_earlier() {
    for (before, earlier) in [(2_111, false), (2_112, false), (2_113, true)] {
        let expansion = Some(Expansion { withdraw_at: Some(before), ..expansion() });
        let text = Plan { former: vec![named("bert")], expansion, ..plan() }.to_string();
        assert_eq!(text.contains("EARLIER"), earlier, "{text}");
        let bert = provider_key("bert");
        assert!(
            text.contains(&format!(
                "still named:   zero: bert ({bert}): no power, but it can still be slashed"
            )),
            "{text}"
        );
    }
}
