use super::*;
use crate::when::Moment;
use bitcoin::{Network, Sequence, Transaction, TxOut};
use palisade_protocol::context::ChainId;
use palisade_protocol::message::Message;
use palisade_protocol::stake::StakeId;
use palisade_regtest::world::{Wish, World, transaction};

fn calendar() -> Calendar {
    Calendar::from(Moment(1_795_262_400), Network::Signet)
}

fn view(world: &World) -> View<'_> {
    View { ledger: &world.ledger, book: &[], calendar: calendar() }
}

/// A world with an active stake of alice's.
fn active() -> (World, StakeId) {
    let mut world = World::new(1_000_000);
    world.mine(1);
    world.register_provider(&ChainId::zero(), "anna");
    let wish = Wish { holder: "alice", sat: 500_000, providers: &["anna"], lock: 300 };
    let id = world.active_stake(&wish);
    (world, id)
}

#[test]
fn each_state_says_what_comes_next() {
    let (world, id) = active();
    let stake = world.stake(&id);
    let words = |state, broadcast| words::next(&Stake { state, ..stake.clone() }, broadcast, view(&world));
    let matures = stake.matures_at().unwrap().0;
    assert_eq!(
        words(StakeState::Active, true),
        format!(
            "active; has power until block {}, about 22 Nov 2026; can be withdrawn from block {matures}, about 23 Nov 2026; `unbond` leaves early",
            matures - 144
        )
    );
    for (state, broadcast, part) in [
        (StakeState::Pending, false, "waits for the committee: 3 of 3"),
        (StakeState::Verified, true, "gains power at block"),
        (StakeState::Ending, true, "has no power any more; can be withdrawn from block"),
        (StakeState::Unbonding, true, "left early"),
        (StakeState::Exposed, true, "will be slashed"),
        (StakeState::Withdrawable, true, "can be withdrawn now"),
        (StakeState::Slashed, true, "the rest can be withdrawn from block"),
        (StakeState::Rejected, true, "the committee refused it; can be withdrawn from block"),
        (StakeState::Lapsed, true, "came too late"),
    ] {
        let found = words(state, broadcast);
        assert!(found.contains(part), "{state}: {found}");
    }
    let before = Stake { included: None, state: StakeState::Verified, ..stake.clone() };
    let said = |broadcast| words::next(&before, broadcast, view(&world));
    assert!(
        said(true).contains("waits for its first block, and gains power 6 blocks (about 60 minutes) after")
    );
    assert!(said(false).contains("nothing is locked yet: `stake --resume"));
    let lapsed = Stake { state: StakeState::Lapsed, ..before.clone() };
    assert!(words::next(&lapsed, false, view(&world)).contains("was never sent; nothing is locked"));
    assert!(words::next(&lapsed, true, view(&world)).contains("not in a block in time to count"));
}

#[test]
fn a_stake_that_the_log_does_not_have_is_told_from_the_book() {
    let mut world = crate::testing::world();
    let mut record = crate::testing::registration(&mut world).unwrap().1;
    let told = describe(&record, Seen::default(), view(&world));
    assert_eq!((told.state, told.signed), (None, [0, 3]));
    assert!(told.next.contains("nothing is locked"), "{}", told.next);
    record.broadcast = true;
    let told = describe(&record, Seen::default(), view(&world));
    assert!(told.next.contains("withdrawable 300 blocks (about 2 days) after its block"), "{}", told.next);
    let status = Status {
        btc_height: 7,
        hub_height: None,
        hub_silent: None,
        node_silent: None,
        node_behind: None,
        stakes: vec![told],
        calendar: calendar(),
    };
    assert!(status.to_string().ends_with("(Bitcoin height 7, hub height -)"));
}

/// A withdrawal of an output after its timelock, as far as the ledger looks.
fn withdrawal(coin: Coin, blocks: u16) -> Transaction {
    let output = TxOut { value: coin.value, script_pubkey: crate::testing::script() };
    let mut tx = transaction(vec![coin.outpoint], vec![output]);
    tx.input[0].sequence = Sequence::from_height(blocks);
    tx
}

/// What is told of a stake of ours of 500,000 sat, and what the ledger has, after spends of its outputs: the stake's, then
/// the early exit's.
fn after(spends: &[fn(&Stake) -> Transaction]) -> (StakeStatus, Stake) {
    let mut world = crate::testing::world();
    let (registration, mut record) = crate::testing::registration(&mut world).unwrap();
    let tx = registration.staking_tx.clone();
    world.send(&Message::Stake(Box::new(registration))).unwrap();
    let id = record.id.unwrap();
    world.sign_quorum(&id);
    world.include(&id, &tx);
    record.broadcast = true;
    let stake = world.stake(&id).clone();
    let unbonded = unbonding_coin(&stake.presigned.unbonding).outpoint;
    for (outpoint, spend) in [stake.contract.coin.outpoint, unbonded].into_iter().zip(spends) {
        world.spend(&id, outpoint, &spend(&stake)).unwrap();
    }
    (describe(&record, Seen::default(), view(&world)), world.stake(&id).clone())
}

#[test]
fn the_coins_are_shown_where_they_are_and_old_heights_are_not() {
    let unbond: fn(&Stake) -> Transaction = |stake| stake.presigned.unbonding.clone();
    let slash: fn(&Stake) -> Transaction = |stake| stake.presigned.slashing.clone();
    let slash_left: fn(&Stake) -> Transaction = |stake| stake.presigned.unbonding_slashing.clone();
    let withdraw: fn(&Stake) -> Transaction = |stake| withdrawal(stake.contract.coin, 300);
    let withdraw_left: fn(&Stake) -> Transaction =
        |stake| withdrawal(unbonding_coin(&stake.presigned.unbonding), 144);
    for (spends, sat, wait, words) in [
        ([].as_slice(), Some(500_000), Some(300), "gains power"),
        (&[unbond], Some(498_000), Some(144), "left early in block"),
        (&[slash], Some(448_000), Some(144), "slashed"),
        (&[unbond, slash_left], Some(446_200), Some(144), "slashed"),
        (&[withdraw], None, None, "withdrawn by"),
        (&[unbond, withdraw_left], None, None, "withdrawn by"),
    ] {
        let (told, stake) = after(spends);
        assert_eq!(told.coin.as_ref().map(|coin| coin.amount_sat), sat, "{}", told.next);
        let last = stake.unbonding_spend.or(stake.spend);
        let made_by = last.map_or(stake.contract.coin.outpoint.txid, |spend| spend.txid);
        assert!(told.coin.iter().all(|coin| coin.outpoint.txid == made_by), "{}", told.next);
        let begun = last.map_or(stake.included.unwrap(), |spend| spend.place).height.0;
        assert_eq!(told.withdraw_at, wait.map(|wait| begun + wait), "{}", told.next);
        let is_staked = spends.is_empty();
        assert_eq!((told.active_at.is_some(), told.ends_at.is_some()), (is_staked, is_staked));
        assert!(told.next.contains(words), "{}", told.next);
        let gone = sat.is_none();
        assert_eq!(gone, told.next.contains(&made_by.to_string()), "{}", told.next);
    }
}

#[test]
fn a_stake_that_went_into_another_names_it() {
    let (mut world, old) = active();
    let wish = Wish { holder: "alice", sat: 600_000, providers: &["anna"], lock: 300 };
    let expansion = world.expansion(&old, &wish, &[]);
    let tx = expansion.staking_tx.clone();
    let new = StakeId(world.send(&Message::Stake(Box::new(expansion))).unwrap());
    let outpoint = world.stake(&old).contract.coin.outpoint;
    world.spend(&old, outpoint, &tx).unwrap();
    let said = words::next(world.stake(&old), true, view(&world));
    assert!(
        said.contains(&format!("went into stake {new}")) && said.contains(&tx.compute_txid().to_string()),
        "{said}"
    );
}

#[test]
fn what_waits_and_what_can_never_come_is_told_before_everything_else() {
    let mut world = crate::testing::world();
    let mut record = crate::testing::registration(&mut world).unwrap().1;
    record.broadcast = true;
    let coin = record.staking_tx.input[0].previous_output;
    let rival = Some(Rival::Confirmed { coin });
    let told = describe(&record, Seen { waiting: None, rival }, view(&world));
    assert!(
        told.next.contains("can never confirm") && told.next.contains(&coin.to_string()),
        "{}",
        told.next
    );
    let unbonding = record.presigned().unwrap().unbonding.compute_txid();
    let (book, calendar) = ([record.clone()], calendar());
    for (txid, part) in [
        (unbonding, "the early exit is sent and waits for its first confirmation"),
        (record.outpoint.txid, "the expansion into stake"),
        (coin.txid, "a transaction that moves its coins"),
    ] {
        let said = words::moves(&record, &txid, &book, calendar);
        assert!(said.starts_with(part) && said.contains(&txid.to_string()), "{said}");
        assert_eq!(words::is_own(&record, &txid, &book), txid != coin.txid);
    }
}
