//! Who is in a set: the strongest, and those with nonces for its epoch (docs/protocol.md, sections 7.1 and 7.2).

use palisade_hub::ledger::Rejected;
use palisade_hub::votes;
use palisade_protocol::context::{ChainId, Terms};
use palisade_protocol::finality::commitment::{self, Commitment};
use palisade_protocol::finality::set::MAX_MEMBERS;
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::units::{Epoch, Height};
use palisade_world::{COVENANT, Wish, World, provider_key, schnorr};
use std::collections::BTreeSet;

/// A world whose chain zero has just fixed its first set, and the names of its providers, two more than a set holds. Each has what
/// its number gives.
fn crowd(sat: impl Fn(usize) -> u64) -> (World, Vec<String>) {
    let zero = ChainId::zero();
    let terms = Terms { epoch_length: 20, voted_every: 5, minimum_power_sat: 1 };
    let mut world = World::with(terms, &COVENANT, 3);
    world.mine(1);
    let names: Vec<String> = (0..MAX_MEMBERS + 2).map(|number| format!("provider {number}")).collect();
    for (number, name) in names.iter().enumerate() {
        world.register_provider(&zero, name);
        world.commit(&zero, name, 1..3);
        let wish = Wish { holder: "alice", sat: sat(number), providers: &[name], lock: 2_000 };
        world.active_stake(&wish);
    }
    world.close();
    (world, names)
}

#[test]
fn among_providers_of_equal_power_those_with_the_lower_keys_are_in_the_set() {
    let (world, names) = crowd(|_| 20_000);
    let mut keys: Vec<_> = names.iter().map(|name| provider_key(name)).collect();
    keys.sort_unstable();
    keys.truncate(MAX_MEMBERS);
    let members = world.ledger.chains()[0].sets[&Epoch(1)].set.members().iter();
    assert!(members.map(|member| member.key).eq(keys));
}

#[test]
fn a_set_has_the_sixty_strongest_and_the_others_are_told_why_not() {
    // The weakest registers in the middle.
    let (world, names) = crowd(|number| 20_000 + 1_000 * ((number + 30) % (MAX_MEMBERS + 2)) as u64);
    let chain = &world.ledger.chains()[0];
    let fixed = &chain.sets[&Epoch(1)];
    let (set, left_out) = (&fixed.set, &fixed.left_out);
    let mut by_power: Vec<_> = names.iter().map(|name| provider_key(name)).collect();
    by_power.sort_by_key(|key| world.ledger.providers().get(key).unwrap().power);
    let weakest: BTreeSet<_> = by_power.drain(..2).collect();
    assert_eq!(set.members().len(), MAX_MEMBERS);
    assert!(by_power.iter().all(|key| set.find(key).is_some()));
    assert_eq!(left_out.iter().map(|(key, _)| *key).collect::<BTreeSet<_>>(), weakest);
    assert!(left_out.iter().all(|(_, why)| *why == "not among the strongest 60"));
    // The roots of epoch 1 are of no more use; for epoch 2 the strongest have as much as before.
    let of_next = world.ledger.providers().eligible_power(&ChainId::zero());
    assert_eq!(of_next.into_iter().collect::<Vec<_>>(), [(Epoch(2), set.header().total)]);
}

#[test]
fn of_more_nonce_roots_than_are_held_the_lowest_epochs_is_dropped() {
    let zero = ChainId::zero();
    let mut world = World::new(1_000_000);
    world.register_provider(&zero, "anna");
    let most = u64::from(world.ledger.genesis().document().nonce_roots_ahead);
    let first = world.ledger.first_open_epoch(&zero).0;
    let held = |world: &World| {
        let roots = &world.ledger.providers().get(&provider_key("anna")).unwrap().roots;
        (roots.len() as u64, roots.keys().next().unwrap().0)
    };
    world.commit(&zero, "anna", first..first + most);
    assert_eq!(held(&world), (most, first));
    world.commit(&zero, "anna", first + most..first + most + 1);
    assert_eq!(held(&world), (most, first + 1));
    // The dropped one, sent again, would be dropped again.
    let again = world.commitment(&zero, "anna", Epoch(first));
    assert_eq!(world.send(&again).unwrap_err().rule(), "commitment-epoch");
}

#[test]
fn nonces_may_be_committed_for_a_lower_epoch_after_a_higher_one() {
    let mut world = World::new(1_000_000);
    world.register_provider(&ChainId::zero(), "anna");
    world.commit(&ChainId::zero(), "anna", 5..6);
    world.commit(&ChainId::zero(), "anna", 3..4);
    let roots = &world.ledger.providers().get(&provider_key("anna")).unwrap().roots;
    assert!(roots.keys().eq(&[Epoch(3), Epoch(5)]));
}

#[test]
fn whoever_has_lost_all_power_is_not_told_why_it_is_in_no_set() {
    let mut world = World::new(100_000);
    world.mine(1);
    for name in ["anna", "bert", "carl"] {
        world.register_provider(&ChainId::zero(), name);
        world.commit(&ChainId::zero(), name, 1..2);
        let id = world.active_stake(&Wish { holder: "alice", sat: 100_000, providers: &[name], lock: 2_000 });
        if name == "bert" {
            let stake = world.stake(&id).clone();
            world.spend(&id, stake.contract.coin.outpoint, &stake.presigned.unbonding).unwrap();
        }
    }
    world.register_provider(&ChainId::zero(), "dora");
    let wish = Wish { holder: "alice", sat: 100_000, providers: &["dora"], lock: 2_000 };
    world.active_stake(&wish);
    world.close();
    let fixed = &world.ledger.chains()[0].sets[&Epoch(1)];
    assert_eq!(fixed.set.members().len(), 2);
    assert_eq!(fixed.left_out, [(provider_key("dora"), "no nonce root for the epoch")]);
}

#[test]
fn a_root_that_was_replaced_never_comes_back_and_few_can_be_replaced() {
    let zero = ChainId::zero();
    let mut world = World::new(1_000_000);
    world.register_provider(&zero, "anna");
    let epoch = world.ledger.first_open_epoch(&zero);
    let context = world.ledger.chain(&zero).unwrap().commitment;
    let commitment = |root: u8| {
        let (key, root) = (provider_key("anna"), Hash32([root; 32]));
        let signature = schnorr("anna", &commitment::message(&context, epoch, &root));
        Message::Commitment(Commitment { key, epoch, root, signature })
    };
    let rule = |sent: Result<Hash32, Rejected>| sent.err().map(|why| why.rule());
    for newest in 1..=8 {
        assert_eq!(rule(world.send(&commitment(newest))), None);
        for old in 1..=newest {
            assert_eq!(rule(world.send(&commitment(old))), Some("repeated"), "{old} after {newest}");
        }
    }
    assert_eq!(rule(world.send(&commitment(9))), Some("commitment"));
    let held = world.ledger.providers().get(&provider_key("anna")).unwrap().roots.get(&epoch).copied();
    assert_eq!(held, Some(Hash32([8; 32])));
}

#[test]
fn nonces_that_come_by_the_block_that_fixes_a_set_make_a_member_and_later_ones_do_not() {
    let zero = ChainId::zero();
    let mut world = World::new(1);
    world.mine(1);
    for name in ["anna", "bert", "carl", "dora"] {
        world.register_provider(&zero, name);
        world.active_stake(&Wish { holder: "alice", sat: 20_000, providers: &[name], lock: 2_000 });
    }
    world.commit(&zero, "anna", 1..4);
    world.close_until(19);
    for name in ["bert", "carl"] {
        world.commit(&zero, name, 2..3);
        world.close();
    }
    let late = world.commitment(&zero, "dora", Epoch(2));
    assert_eq!(world.send(&late).unwrap_err().rule(), "commitment-epoch");
    let fixed = &world.ledger.chains()[0].sets[&Epoch(2)];
    assert_eq!(fixed.hub_height, Height(20));
    let member = |name: &str| fixed.set.find(&provider_key(name)).is_some();
    assert_eq!(["anna", "bert", "carl", "dora"].map(member), [true, true, true, false]);
    // A vote under nonces that no set names counts nowhere.
    world.close_until(41);
    let rule = |name: &str| {
        let vote = world.vote(&zero, name, Height(40), world.log[40].header.hash());
        votes::judge(vec![vote], &world.ledger).remove(0).err().map(|why| why.rule())
    };
    assert_eq!((rule("carl"), rule("dora")), (None, Some("vote")));
}
