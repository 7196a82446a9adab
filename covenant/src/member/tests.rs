use super::*;
use crate::fixtures::{PROVIDERS, anything, expansion, member, wish, world};
use palisade_hub::replica::{Replica, ReplicaError};
use palisade_protocol::block::Block;
use palisade_protocol::message::ExpansionConsent;
use palisade_world::{COVENANT, Wish, World};

/// The member's answer about a stake, and what it did.
fn answer(member: &mut Member, world: &World, id: &StakeId) -> Option<(Act, Message)> {
    match member.answer(&world.ledger, world.stake(id)).unwrap() {
        Answer::None => None,
        Answer::Given(act, message) => Some((act, message)),
        Answer::Waits(why) => panic!("{why}"),
    }
}

/// Whether the member signs; if it does not, it waits.
fn signs(member: &mut Member, world: &World, id: &StakeId) -> bool {
    match member.answer(&world.ledger, world.stake(id)).unwrap() {
        Answer::Given(Act::Signed, _) => true,
        Answer::Waits(_) => false,
        other => panic!("{other:?}"),
    }
}

/// Registers a stake of which no more than a coin of 1,000 sat is known to exist.
fn register_dust(world: &mut World, sat: u64) -> StakeId {
    let (coin, _, proof) = world.fund("mallory", 1_000);
    let wish = Wish { holder: "mallory", ..wish(sat, &PROVIDERS) };
    let (registration, _) = world.registration_with(&wish, (coin, proof));
    StakeId(world.send(&Message::Stake(Box::new(registration))).unwrap())
}

/// Wishes in and out of the limits: what the ledger accepts the member signs, and the ledger takes its answer.
#[test]
fn every_accepted_registration_is_signed_and_the_ledger_takes_the_answer() {
    let dir = tempfile::tempdir().unwrap();
    let (mut world, mut member) = (world(), member(dir.path(), anything()));
    let (mut signed, mut rejected) = (0, 0);
    for sat in [9_999, 10_000, 10_001, 77_777, 1_000_000, 500_000_000_000, 500_000_000_001] {
        for lock in [299, 300, 4_321, 65_535] {
            for providers in [&PROVIDERS[..1], &PROVIDERS[..], &PROVIDERS[1..]] {
                // What a stake is worth is its transaction's business, which is not mined here.
                let (coin, _, proof) = world.fund("alice", 10_000);
                let wish = Wish { holder: "alice", sat, providers, lock };
                let (registration, _) = world.registration_with(&wish, (coin, proof));
                let sent = world.send(&Message::Stake(Box::new(registration)));
                let Ok(id) = sent.map(StakeId) else {
                    rejected += 1;
                    continue;
                };
                let (act, message) = answer(&mut member, &world, &id).expect("a pending stake is judged");
                assert_eq!(act, Act::Signed, "{sat} sat, {lock} blocks, {providers:?}: {message:?}");
                world.send(&message).unwrap();
                assert!(answer(&mut member, &world, &id).is_none(), "nothing is answered twice");
                signed += 1;
            }
        }
    }
    assert_eq!((signed, rejected), (5 * 3 * 2, 7 * 4 * 3 - 5 * 3 * 2));
}

#[test]
fn an_answer_that_was_recorded_and_not_sent_comes_back_to_the_byte() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = world();
    let (small, _) = world.register_stake(&wish(50_000, &PROVIDERS));
    let (large, _) = world.register_stake(&wish(60_000, &PROVIDERS));
    let policy = Policy { max_stake_sat: 50_000, ..anything() };
    let before = {
        let mut member = member(dir.path(), policy.clone());
        [small, large].map(|id| answer(&mut member, &world, &id).unwrap())
    };
    // The process ended before anything was sent. Meanwhile the policy has turned round.
    let other = Policy { max_stake_sat: 0, ..policy };
    let mut member = member(dir.path(), other);
    let after = [small, large].map(|id| answer(&mut member, &world, &id).unwrap());
    assert_eq!(before, after);
    assert_eq!(after.each_ref().map(|(act, _)| *act), [Act::Signed, Act::Refused]);
    for (_, message) in &after {
        world.send(message).unwrap();
    }
    assert!(world.stake(&large).refusals.values().all(|why| why.contains("limit of 0.00050000 BTC")));
}

#[test]
fn the_window_counts_what_was_signed_before_a_restart_and_what_waits_is_signed_when_it_has_moved_on() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = world();
    let policy = Policy { max_window_sat: 100_000, ..anything() };
    let [first, waits, fits] =
        [60_000, 50_000, 40_000].map(|sat| world.register_stake(&wish(sat, &PROVIDERS)).0);
    let signed = |world: &World, ids: &[StakeId]| -> Vec<bool> {
        let mut member = member(dir.path(), policy.clone());
        ids.iter().map(|id| signs(&mut member, world, id)).collect()
    };
    assert_eq!(signed(&world, &[first, waits]), [true, false]);
    assert_eq!(signed(&world, &[fits, waits]), [true, false]);
    world.mine(9);
    assert_eq!(signed(&world, &[waits]), [false]);
    world.mine(1);
    assert_eq!(signed(&world, &[waits]), [true]);
}

#[test]
fn dust_that_fills_the_window_keeps_nobody_out_who_shows_coins() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = world();
    let policy = Policy { max_stake_sat: 1_000_000, max_window_sat: 10_000_000, ..anything() };
    let mut member = member(dir.path(), policy);
    let dust: Vec<StakeId> = (0..10).map(|_| register_dust(&mut world, 1_000_000)).collect();
    let signed = dust.iter().filter(|id| signs(&mut member, &world, id)).count();
    assert_eq!(signed, 5, "half of the window");
    for _ in 0..5 {
        let (honest, _) = world.register_stake(&wish(1_000_000, &PROVIDERS));
        assert!(signs(&mut member, &world, &honest));
    }
    let (late, _) = world.register_stake(&wish(1_000_000, &PROVIDERS));
    assert!(!signs(&mut member, &world, &late), "the limit holds for all together");
    assert!(world.stake(&late).refusals.is_empty());
    world.mine(10);
    assert!(signs(&mut member, &world, &late));
}

#[test]
fn an_expansion_takes_what_it_adds() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = world();
    let old = world.active_stake(&wish(90_000, &PROVIDERS));
    let mut member = member(dir.path(), Policy { max_window_sat: 20_000, ..anything() });
    let mut register = |sat| {
        let registration = expansion(&mut world, &old, &wish(sat, &PROVIDERS));
        StakeId(world.send(&Message::Stake(Box::new(registration))).unwrap())
    };
    let (same, more, most) = (register(90_000), register(110_000), register(110_001));
    assert!(signs(&mut member, &world, &same) && signs(&mut member, &world, &more));
    assert_eq!(answer(&mut member, &world, &most).unwrap().0, Act::Refused, "no window would hold it");
}

#[test]
fn only_members_of_the_stakes_own_committee_answer() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = world();
    let (id, _) = world.register_stake(&wish(50_000, &PROVIDERS));
    let audit = Audit::open(&dir.path().join("audit.sqlite")).unwrap();
    let mut stranger = Member::new(Signer::new(palisade_world::pair("stranger")), anything(), audit);
    assert_eq!(answer(&mut stranger, &world, &id), None);
}

#[test]
fn a_stake_with_its_quorum_is_answered_too_and_one_with_power_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let (mut world, mut member) = (world(), member(dir.path(), anything()));
    let (id, tx) = world.register_stake(&wish(50_000, &PROVIDERS));
    for name in &COVENANT[1..4] {
        let answer = world.answer(name, world.stake(&id));
        world.send(&answer).unwrap();
    }
    assert_eq!(world.stake(&id).state, StakeState::Verified);
    assert_eq!(member.wanted(world.stake(&id)), Some(Wanted::Answer));
    world.include(&id, &tx);
    world.mine(6);
    assert_eq!(world.stake(&id).state, StakeState::Active);
    assert_eq!(answer(&mut member, &world, &id), None);
}

fn consents(member: &mut Member, world: &World, id: &StakeId) -> Option<ExpansionConsent> {
    match answer(member, world, id)? {
        (Act::Consented, Message::Consent(consent)) => Some(consent),
        other => panic!("{other:?}"),
    }
}

#[test]
fn consent_comes_after_a_quorum_has_signed_the_new_stake_and_while_the_old_one_is_there() {
    let dir = tempfile::tempdir().unwrap();
    let (mut world, mut member) = (world(), member(dir.path(), anything()));
    let old = world.active_stake(&wish(50_000, &PROVIDERS));
    let register = |world: &mut World, sat| {
        let registration = expansion(world, &old, &wish(sat, &PROVIDERS));
        StakeId(world.send(&Message::Stake(Box::new(registration))).unwrap())
    };
    let (first, second) = (register(&mut world, 60_000), register(&mut world, 70_000));
    for id in [first, second] {
        let (act, own) = answer(&mut member, &world, &id).unwrap();
        assert_eq!(act, Act::Signed);
        world.send(&own).unwrap();
        for name in &COVENANT[1..3] {
            assert_eq!(member.wanted(world.stake(&id)), None, "no consent before the quorum");
            let other = world.answer(name, world.stake(&id));
            world.send(&other).unwrap();
        }
        assert_eq!(member.wanted(world.stake(&id)), Some(Wanted::Consent));
    }
    let consent = consents(&mut member, &world, &first).unwrap();
    assert_eq!(consents(&mut member, &world, &first), Some(consent.clone()), "the recorded one again");
    world.send(&Message::Consent(consent)).unwrap();
    assert_eq!(member.wanted(world.stake(&first)), None);
    // The old stake leaves early instead.
    let stake = world.stake(&old);
    let (outpoint, unbonding) = (stake.contract.coin.outpoint, stake.presigned.unbonding.clone());
    world.spend(&old, outpoint, &unbonding).unwrap();
    assert_eq!(consents(&mut member, &world, &second), None);
}

#[test]
fn an_answer_in_the_log_that_the_audit_log_lacks_is_strange() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = world();
    let (id, _) = world.register_stake(&wish(50_000, &PROVIDERS));
    let mut own = member(dir.path(), anything());
    let before = world.clone();
    let (_, message) = answer(&mut own, &world, &id).unwrap();
    world.send(&message).unwrap();
    assert!(!own.is_strange(world.stake(&id)).unwrap());
    let elsewhere = tempfile::tempdir().unwrap();
    let mut twin = member(elsewhere.path(), anything());
    assert!(twin.is_strange(world.stake(&id)).unwrap());
    // It signed the same stake itself, and what the log holds is not that: the key is used elsewhere.
    answer(&mut twin, &before, &id).unwrap();
    assert!(twin.is_strange(world.stake(&id)).unwrap());
}

#[test]
fn an_older_audit_log_that_is_filled_from_the_log_counts_what_was_signed_since_and_signs_nothing_again() {
    let [before, after] = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let mut world = world();
    let policy = Policy { max_stake_sat: 60_000, max_window_sat: 120_000, ..anything() };
    let mut own = member(before.path(), policy.clone());
    // One to be signed, one to be refused, and one of which the hub never heard the answer.
    let ids = [50_000, 70_000, 40_000].map(|sat| world.register_stake(&wish(sat, &PROVIDERS)).0);
    let answers = ids.map(|id| answer(&mut own, &world, &id).unwrap());
    assert_eq!(answers.each_ref().map(|(act, _)| *act), [Act::Signed, Act::Refused, Act::Signed]);
    for (_, message) in &answers[..2] {
        world.send(message).unwrap();
    }

    // The backup is from before all three. Until it is filled, nothing of the window is known.
    let mut restored = member(after.path(), policy);
    assert!(restored.is_strange(world.stake(&ids[0])).unwrap());
    for id in &ids {
        restored.adopt(&world.ledger, world.stake(id)).unwrap();
        restored.adopt(&world.ledger, world.stake(id)).unwrap();
        assert!(!restored.is_strange(world.stake(id)).unwrap());
    }
    assert_eq!(ids[..2].iter().filter_map(|id| answer(&mut restored, &world, id)).count(), 0);
    let entries = restored.audit.entries().unwrap();
    assert_eq!(
        entries.iter().map(|entry| (entry.stake, entry.act)).collect::<Vec<_>>(),
        [(ids[0], Act::Signed), (ids[1], Act::Refused)]
    );
    assert!(entries.iter().all(|entry| entry.reason == FROM_LOG));
    // The third is judged again, and the window counts what was signed before the restore.
    assert_eq!(answer(&mut restored, &world, &ids[2]).unwrap().0, Act::Signed);
    let signed = restored.audit.signed_since(world.ledger.btc_height()).unwrap();
    assert_eq!(signed.iter().map(|(_, amount)| amount.to_sat()).collect::<Vec<_>>(), [50_000, 40_000]);
}

#[test]
fn answers_of_another_key_are_not_taken_for_ones_own() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = world();
    let (id, _) = world.register_stake(&wish(50_000, &PROVIDERS));
    answer(&mut member(dir.path(), anything()), &world, &id).unwrap();
    // Another member of the committee is started on the same audit log.
    let audit = Audit::open(&dir.path().join("audit.sqlite")).unwrap();
    let mut other = Member::new(Signer::new(palisade_world::pair(COVENANT[1])), anything(), audit);
    let why = other.answer(&world.ledger, world.stake(&id)).unwrap_err();
    assert!(matches!(why, CannotAnswer::OtherKey { found: Some(_), .. }), "{why}");
    let sent = world.answer(COVENANT[1], world.stake(&id));
    world.send(&sent).unwrap();
    let why = other.is_strange(world.stake(&id)).unwrap_err().to_string();
    assert!(why.contains("is not by our key") && why.contains("own data directory"), "{why}");
}

/// A hub that alters anything in the block of a registration, a byte at a time: the replica refuses the block, and the
/// member sees no stake to answer.
#[test]
fn a_block_that_was_altered_anywhere_gets_nothing_signed() {
    let dir = tempfile::tempdir().unwrap();
    let mut world = world();
    world.close();
    let (id, _) = world.register_stake(&wish(50_000, &PROVIDERS));
    world.close();
    let mut replica = Replica::open(dir.path(), world.ledger.genesis().clone()).unwrap();
    replica.take(&world.log[0]).unwrap();
    let member = member(dir.path(), anything());
    let good = world.log[1].to_bytes();
    let (mut parsed, mut malformed) = (0, 0);
    for place in (0..good.len()).step_by(5) {
        let mut bytes = good.clone();
        bytes[place] ^= 1 << (place % 8);
        let Ok(block) = Block::from_bytes(&bytes) else {
            malformed += 1;
            continue;
        };
        parsed += 1;
        assert!(matches!(replica.take(&block), Err(ReplicaError::Invalid(_))), "byte {place}");
        assert!(replica.ledger().stakes().is_empty(), "byte {place}");
    }
    assert!(parsed > 100 && malformed > 0, "{parsed} {malformed}");
    assert!(member.audit.entries().unwrap().is_empty());
    replica.take(&world.log[1]).unwrap();
    assert!(member.wanted(replica.ledger().stakes().find(&id).unwrap().1).is_some());
}

#[test]
fn a_reason_is_cut_where_a_character_ends() {
    let long = "ä".repeat(MAX_REASON);
    assert_eq!(shortened(long).len(), MAX_REASON);
    let odd = format!("x{}", "ä".repeat(MAX_REASON));
    assert_eq!(shortened(odd).len(), MAX_REASON - 1);
}
