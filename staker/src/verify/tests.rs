use super::*;
use crate::testing::{key, registration, world};
use palisade_protocol::message::Message;
use palisade_protocol::units::BtcHeight;
use palisade_world::{COVENANT, World};

/// A world in which our stake is registered and so many members have signed.
fn signed(members: usize) -> (World, StakeRecord) {
    let mut world = world();
    let (registration, record) = registration(&mut world).unwrap();
    world.send(&Message::Stake(Box::new(registration))).unwrap();
    for member in &COVENANT[..members] {
        let answer = world.answer(member, world.stake(&record.id.unwrap()));
        world.send(&answer).unwrap();
    }
    (world, record)
}

#[test]
fn a_quorum_that_has_signed_our_stake_gives_us_the_early_exit() {
    let (world, record) = signed(3);
    let signatures = quorum(&world.ledger, &record, &key()).unwrap();
    assert_eq!(signatures.len(), 3);
    assert_eq!(in_time(&world.ledger, &record, 0), Ok(()));
    let contract = record.contract().unwrap();
    let tx = exit::unbond(&contract, &record.presigned().unwrap(), &key(), &signatures).unwrap();
    crate::testing::judge_by_core(&tx, &contract.txout());
}

#[test]
fn fewer_than_a_quorum_is_waited_for() {
    for members in 0..3 {
        let (world, record) = signed(members);
        let refused = quorum(&world.ledger, &record, &key()).unwrap_err();
        assert_eq!(refused, NotSafe::NoQuorum { signed: members, quorum: 3 });
        assert!(refused.is_waiting());
        assert!(in_time(&world.ledger, &record, 0).unwrap_err().is_waiting());
    }
}

/// A way in which the copy of the log could be wrong, although its roots fit.
type Lie = fn(&mut Stake);

#[test]
fn no_altered_field_of_the_log_makes_us_broadcast() {
    let (world, record) = signed(4);
    let stake = world.stake(&record.id.unwrap());
    let context = world.ledger.contexts().covenant;
    assert!(quorum_of(stake, &context, &record, &key()).is_ok());
    let lies: [(&str, Lie); 11] = [
        ("another place", |stake| stake.contract.coin.outpoint.vout += 1),
        ("another value", |stake| stake.contract.coin.value = bitcoin::Amount::from_sat(1)),
        ("another lock", |stake| stake.contract.lock = stake.contract.unbonding_time),
        ("another unbonding transaction", |stake| {
            stake.presigned.unbonding.lock_time = bitcoin::absolute::LockTime::from_consensus(1)
        }),
        ("another slashing", |stake| stake.presigned.slashing = stake.presigned.unbonding_slashing.clone()),
        ("another list of providers", |stake| stake.providers.clear()),
        ("another list of former providers", |stake| stake.former = stake.providers.clone()),
        ("the signature of another on the exit", |stake| {
            let [first, second] = two(stake);
            stake.signatures.get_mut(&first).unwrap().unbonding = stake.signatures[&second].unbonding;
        }),
        ("the adaptor signatures of another", |stake| {
            let [first, second] = two(stake);
            stake.signatures.get_mut(&first).unwrap().slashing = stake.signatures[&second].slashing.clone();
        }),
        ("adaptor signatures on the other output", |stake| {
            let [first, _] = two(stake);
            let own = stake.signatures.get_mut(&first).unwrap();
            own.unbonding_slashing = own.slashing.clone();
        }),
        ("somebody who is no member", |stake| {
            let stranger = CovenantKey::from(palisade_world::keypair("stranger").x_only_public_key().0);
            let [first, _] = two(stake);
            let own = stake.signatures[&first].clone();
            stake.signatures.insert(stranger, own);
        }),
    ];
    for (what, lie) in lies {
        let mut altered = stake.clone();
        lie(&mut altered);
        let refused = quorum_of(&altered, &context, &record, &key()).unwrap_err();
        assert!(!refused.is_waiting(), "{what}: {refused}");
    }
}

fn two(stake: &Stake) -> [CovenantKey; 2] {
    let mut members = stake.signatures.keys().copied();
    [members.next().unwrap(), members.next().unwrap()]
}

#[test]
fn a_stake_that_is_over_exposed_or_late_is_not_broadcast() {
    let (world, record) = signed(3);
    let stake = world.stake(&record.id.unwrap());
    let tip = world.btc_height();
    assert_eq!(in_time_at(stake, tip), Ok(()));
    for state in [StakeState::Lapsed, StakeState::Rejected, StakeState::Exposed, StakeState::Withdrawn] {
        let altered = Stake { state, ..stake.clone() };
        assert!(
            matches!(in_time_at(&altered, tip), Err(NotSafe::Over { state: found, .. }) if found == state)
        );
    }
    for (left, ok) in [(7, true), (6, false), (1, false)] {
        let late = Stake { lapses_at: BtcHeight(tip + left), ..stake.clone() };
        assert_eq!(in_time_at(&late, tip).is_ok(), ok, "{left} blocks left");
    }
}

#[test]
fn an_unknown_stake_and_another_key_are_refused() {
    let (world, mut record) = signed(3);
    let other = crate::testing::keys().staking(1).unwrap();
    assert!(matches!(quorum(&world.ledger, &record, &other), Err(NotSafe::NoExit(NoExit::Refused(_)))));
    // A record from before the registration is known by its coins.
    let id = record.id.take().unwrap();
    assert_eq!(quorum(&world.ledger, &record, &key()).unwrap().len(), 3);
    let early = StakeRecord { presigned: None, ..record.clone() };
    assert_eq!(quorum(&world.ledger, &early, &key()), Err(NotSafe::Incomplete(id)));
    record.outpoint.vout += 1;
    assert_eq!(quorum(&world.ledger, &record, &key()), Err(NotSafe::NotRegistered));
}

#[test]
fn a_stake_that_was_not_sent_is_gone_on_with_until_the_margin_before_it_lapses() {
    let (world, record) = signed(0);
    let (stake, tip) = (world.stake(&record.id.unwrap()), world.btc_height());
    let last = resumable_until(stake).unwrap();
    assert_eq!(last, stake.lapses_at.0 - 7);
    assert_eq!(possible(&world.ledger, &record, 0), Ok(()));
    // Also while the committee has not signed: nobody waits for what comes too late.
    for (tip, ok) in [(tip, true), (last, true), (last + 1, false)] {
        assert_eq!(possible_at(stake, tip).is_ok(), ok, "{tip}");
        assert_eq!(in_time_at(stake, tip).unwrap_err().is_waiting(), ok, "{tip}");
    }
    // The hub may be behind the own node.
    for (node, ok) in [(last, true), (last + 1, false)] {
        assert_eq!(possible(&world.ledger, &record, node).is_ok(), ok, "{node}");
        assert_eq!(in_time(&world.ledger, &record, node).unwrap_err().is_waiting(), ok, "{node}");
    }
    let unknown = StakeRecord { id: None, outpoint: record.staking_tx.input[0].previous_output, ..record };
    assert_eq!(possible(&world.ledger, &unknown, 0), Ok(()), "it may come");
    for altered in [Stake { lapsed: true, ..stake.clone() }, Stake { ever_included: true, ..stake.clone() }] {
        assert_eq!(resumable_until(&altered), None);
    }
}
