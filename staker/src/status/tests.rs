use super::*;
use crate::record::Origin;
use crate::when::Moment;
use bitcoin::{Network, Sequence, Transaction, TxOut};
use palisade_protocol::context::ChainId;
use palisade_protocol::governance::Action;
use palisade_protocol::message::Message;
use palisade_protocol::params::ParamsDocument;
use palisade_protocol::units::BtcHeight;
use palisade_world::{Wish, World, provider_key, transaction};

fn calendar() -> Calendar {
    Calendar::from(Moment(1_795_262_400), Network::Signet)
}

fn view(world: &World) -> View<'_> {
    View { ledger: &world.ledger, book: &[], calendar: calendar(), tip: world.btc_height() }
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
            "active; has power until block {}, about 21 Nov 2026; can be withdrawn from block {matures}, about 23 Nov 2026; `unbond` leaves early",
            matures - 244
        )
    );
    for (state, broadcast, part) in [
        (StakeState::Pending, false, "waits for the committee: 3 signed, 3 are needed"),
        (StakeState::Verified, true, "gains power at block"),
        (StakeState::Ending, true, "has no power any more; can be withdrawn from block"),
        (StakeState::Unbonding, true, "left early"),
        (StakeState::Exposed, true, "will be slashed"),
        (StakeState::Withdrawable, true, "can be withdrawn from block"),
        (StakeState::Slashed, true, "the rest can be withdrawn from block"),
        (StakeState::Rejected, true, "the committee refused it; can be withdrawn from block"),
        (StakeState::Lapsed, true, "holds it, too late to count: `stake --resume"),
    ] {
        let found = words(state, broadcast);
        assert!(found.contains(part), "{state}: {found}");
    }
    let before = Stake { included: None, ever_included: false, state: StakeState::Verified, ..stake.clone() };
    let said = |broadcast| words::next(&before, broadcast, view(&world));
    assert!(
        said(true).contains("waits for its first block, and gains power 6 blocks (about 60 minutes) after")
    );
    assert!(said(false).contains("nothing is locked yet: `stake --resume"));
    let lapsed = Stake { state: StakeState::Lapsed, ..before.clone() };
    assert!(words::next(&lapsed, false, view(&world)).contains("was never sent; nothing is locked"));
    assert!(
        words::next(&lapsed, true, view(&world))
            .contains("no block held it in time to count: `stake --resume")
    );
}

#[test]
fn a_begun_stake_says_until_when_it_can_be_gone_on_with_and_when_it_lapses() {
    let mut world = crate::testing::world();
    let (registration, mut record) = crate::testing::registration(&mut world).unwrap();
    world.send(&Message::Stake(Box::new(registration))).unwrap();
    let id = record.id.unwrap();
    let lapses = world.stake(&id).lapses_at.0;
    for signed in [false, true] {
        if signed {
            world.sign_quorum(&id);
        }
        record.broadcast = false;
        let told = describe(&record, Seen::default(), view(&world));
        assert_eq!((told.resumable_until, told.lapses_at), (Some(lapses - 7), Some(lapses)));
        let at = |height| calendar().height(height, world.btc_height());
        let words =
            format!("`stake --resume {id}` goes on until {}; lapses at {}", at(lapses - 7), at(lapses));
        assert!(told.next.ends_with(&words) && told.next.contains("nothing is locked yet"), "{}", told.next);
        let late = words::next(world.stake(&id), false, View { tip: lapses - 6, ..view(&world) });
        assert!(late.contains("too late to go on") && !late.contains("--resume"), "{late}");
        record.broadcast = true;
        let told = describe(&record, Seen::default(), view(&world));
        assert_eq!((told.resumable_until, told.lapses_at), (None, Some(lapses)));
        assert!(told.change_sat.is_some());
        let words = format!("lapses at {} if no block before that holds it", at(lapses));
        assert!(told.next.contains(&words), "{}", told.next);
    }
    // The node has it in a block before the log does: its change has come back.
    let found = Seen { found: Some(Found::Block(world.btc_height())), ..Seen::default() };
    assert_eq!(describe(&record, found, view(&world)).change_sat, None);
    world.include(&id, &record.staking_tx);
    let told = describe(&record, Seen::default(), view(&world));
    assert_eq!((told.resumable_until, told.lapses_at, told.change_sat), (None, None, None));
    assert!(!told.next.contains("lapses"), "{}", told.next);
}

#[test]
fn what_can_be_withdrawn_now_is_decided_by_the_own_nodes_height() {
    let unbond: fn(&Stake) -> Transaction = |stake| stake.presigned.unbonding.clone();
    for spends in [[].as_slice(), &[unbond]] {
        let (world, record) = spent(spends);
        let stake = world.stake(&record.id.unwrap());
        let due = stake.withdrawable_at().unwrap().0;
        // The state is the log's, which is a block behind the node or ahead of it.
        for state in [stake.state, StakeState::Ending, StakeState::Withdrawable] {
            let stake = Stake { state, ..stake.clone() };
            for (tip, now) in [(due - 2, false), (due - 1, true), (due, true)] {
                let view = View { tip, ..view(&world) };
                let said = words::next(&stake, true, view);
                let gains = state == StakeState::Verified;
                assert!(gains || said.contains("can be withdrawn now: `withdraw ") == now, "{tip}: {said}");
                assert!(gains || said.contains(&format!("from block {due}")) != now, "{tip}: {said}");
                assert_eq!(describe(&record, Seen::default(), view).can_withdraw, now);
            }
        }
    }
}

/// What the holder keeps of a stake of the world.
fn record_of(world: &World, id: &StakeId, staking_tx: &Transaction) -> StakeRecord {
    let stake = world.stake(id);
    let expands = stake.expands.and_then(|old| world.ledger.stakes().get(old)).map(|old| old.id);
    let (providers, former) = (&stake.providers, &stake.former);
    let origin = Origin { key_index: 0, staking_tx, providers, former, expands };
    let mut record = StakeRecord::new(&stake.contract, origin);
    record.id = Some(*id);
    record.presigned = Some(stake.presigned.clone().into());
    record
}

#[test]
fn an_expansion_of_a_stake_that_went_elsewhere_is_said_to_be_dead_and_is_not_offered() {
    type Spend = fn(&Stake, &Transaction) -> Transaction;
    let cases: [(Spend, &str); 4] = [
        (|old, _| old.presigned.unbonding.clone(), "left early"),
        (|old, _| old.presigned.slashing.clone(), "was slashed"),
        (|old, _| withdrawal(old.contract.coin, 300), "was withdrawn"),
        (|_, beside| beside.clone(), "went into stake"),
    ];
    for (spend, how) in cases {
        let (mut world, old) = active();
        let wish = Wish { holder: "alice", sat: 600_000, providers: &["anna"], lock: 300 };
        let [(new, new_tx), (beside, beside_tx)] = [0, 1].map(|more| {
            let expansion = world.expansion(&old, &Wish { sat: wish.sat + more, ..wish }, &[]);
            let tx = expansion.staking_tx.clone();
            (StakeId(world.send(&Message::Stake(Box::new(expansion))).unwrap()), tx)
        });
        let old_tx = transaction(Vec::new(), Vec::new());
        let book = [record_of(&world, &old, &old_tx), record_of(&world, &new, &new_tx)];
        let told = |world: &World, seen| describe(&book[1], seen, View { book: &book, ..view(world) });
        let before = told(&world, Seen::default());
        assert!(before.rival.is_none() && before.next.contains("--resume"), "{}", before.next);
        let coin = book[0].outpoint;
        let waits = Rival::Waiting { coin, txid: book[0].presigned().unwrap().unbonding.compute_txid() };
        let waiting = told(&world, Seen { rival: Some(waits), ..Seen::default() }).next;
        assert!(
            waiting.starts_with(&format!("of stake {old}, which this one expands, the early exit")),
            "{waiting}"
        );

        let tx = spend(world.stake(&old), &beside_tx);
        world.spend(&old, coin, &tx).unwrap();
        let after = told(&world, Seen::default());
        let (txid, height) = (tx.compute_txid(), world.btc_height());
        assert_eq!(after.rival, Some(Rival::Confirmed { coin, txid, height }));
        let outlook = format!("cannot confirm, unless Bitcoin takes block {height} back");
        let words = format!("the expansion {outlook}: stake {old}, which it expands, {how}");
        let backs = calendar().height(world.stake(&new).lapses_at.0, world.btc_height());
        let free = format!("is free again, and can back another registration from {backs} on");
        assert!(after.next.starts_with(&words) && after.next.ends_with(&free), "{}", after.next);
        assert!(after.next.contains(&tx.compute_txid().to_string()) && !after.next.contains("--resume"));
        assert_eq!((after.resumable_until, after.lapses_at, after.change_sat), (None, None, None));
        if how == "went into stake" {
            assert!(after.next.contains(&beside.to_string()), "{}", after.next);
            let gone = record_of(&world, &beside, &beside_tx);
            assert_eq!(describe(&gone, Seen::default(), view(&world)).rival, None);
        }
    }
}

#[test]
fn providers_and_former_ones_are_told_by_name_while_there_are_coins() {
    let (mut world, old) = active();
    world.register_provider(&ChainId::zero(), "bert");
    let wish = Wish { holder: "alice", sat: 600_000, providers: &["bert"], lock: 300 };
    let expansion = world.expansion(&old, &wish, &["anna"]);
    let tx = expansion.staking_tx.clone();
    let new = StakeId(world.send(&Message::Stake(Box::new(expansion))).unwrap());
    let mut status = whole(describe(&record_of(&world, &new, &tx), Seen::default(), view(&world)));
    let text = status.to_string();
    let [anna, bert] = ["anna", "bert"].map(|name| format!("zero: {name} ({})", provider_key(name)));
    assert!(text.contains(&format!("\n  provider: {bert}\n")), "{text}");
    assert!(text.contains(&format!("former provider, no power, can still be slashed: {anna}\n")), "{text}");
    let json = serde_json::to_value(&status.stakes[0]).unwrap();
    let operator = |list: &str| json[list][0]["operator"].as_str().unwrap().to_owned();
    assert_eq!([operator("providers"), operator("former")], ["bert", "anna"]);
    (status.stakes[0].coin, status.stakes[0].change_sat) = (None, None);
    assert!(!status.to_string().contains("provider"));
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
    let mut status = whole(told);
    assert!(status.to_string().ends_with("(Bitcoin height 7, hub height -)"));
    status.node_height = Some(8);
    let said = status.to_string();
    assert!(said.contains("height 8 at your node") && said.contains("7 in the hub's log"), "{said}");
    assert!(!said.contains("WARNING"));
    status.not_backed_up = vec![record.name()];
    let said = status.to_string();
    assert!(said.contains("WARNING: the last backup") && said.contains(&record.name()), "{said}");
}

/// What is told of a single stake.
fn whole(told: StakeStatus) -> Status {
    Status {
        btc_height: 7,
        node_height: None,
        hub_height: None,
        hub_silent: None,
        node_silent: None,
        node_behind: None,
        spare_sat: None,
        breaker: None,
        stakes: vec![told],
        not_backed_up: Vec::new(),
        calendar: calendar(),
    }
}

/// A withdrawal of an output after its timelock, as far as the ledger looks.
fn withdrawal(coin: Coin, blocks: u16) -> Transaction {
    let output = TxOut { value: coin.value, script_pubkey: crate::testing::script() };
    let mut tx = transaction(vec![coin.outpoint], vec![output]);
    tx.input[0].sequence = Sequence::from_height(blocks);
    tx
}

/// A stake of ours of 500,000 sat after spends of its outputs: the stake's, then the early exit's.
fn spent(spends: &[fn(&Stake) -> Transaction]) -> (World, StakeRecord) {
    spent_in(crate::testing::world(), spends)
}

fn spent_in(mut world: World, spends: &[fn(&Stake) -> Transaction]) -> (World, StakeRecord) {
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
    (world, record)
}

#[test]
fn the_coins_are_shown_where_they_are_and_old_heights_are_not() {
    let unbond: fn(&Stake) -> Transaction = |stake| stake.presigned.unbonding.clone();
    let slash: fn(&Stake) -> Transaction = |stake| stake.presigned.slashing.clone();
    let slash_left: fn(&Stake) -> Transaction = |stake| stake.presigned.unbonding_slashing.clone();
    let withdraw: fn(&Stake) -> Transaction = |stake| withdrawal(stake.contract.coin, 300);
    let withdraw_left: fn(&Stake) -> Transaction =
        |stake| withdrawal(unbonding_coin(&stake.presigned.unbonding), 244);
    for (spends, sat, wait, words) in [
        ([].as_slice(), Some(500_000), Some(300), "gains power"),
        (&[unbond], Some(498_000), Some(244), "left early in block"),
        (&[slash], Some(448_000), Some(244), "slashed"),
        (&[unbond, slash_left], Some(446_200), Some(244), "slashed"),
        (&[withdraw], None, None, "withdrawn by"),
        (&[unbond, withdraw_left], None, None, "withdrawn by"),
    ] {
        let (world, record) = spent(spends);
        let (told, stake) =
            (describe(&record, Seen::default(), view(&world)), world.stake(&record.id.unwrap()));
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
fn while_the_breaker_is_tripped_nothing_is_said_to_gain_power_without_governance() {
    let mut stopped = crate::testing::world();
    stopped.mine(10);
    stopped.reorg(7, &[]).unwrap();
    let [(running, record), (stopped, same)] =
        [crate::testing::world(), stopped].map(|world| spent_in(world, &[]));
    let told = |world: &World, record: &StakeRecord| describe(record, Seen::default(), view(world));
    assert!(
        !told(&running, &record).next.contains("governance") && words::breaker(&running.ledger).is_none()
    );
    let next = told(&stopped, &same).next;
    assert!(next.contains("gains power at") && next.contains("once governance has resumed"), "{next}");
    let status = Status { breaker: words::breaker(&stopped.ledger), ..whole(told(&stopped, &same)) };
    assert!(status.to_string().contains("WARNING: the hub's circuit breaker is tripped"), "{status}");
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
    let rival = Some(Rival::Final { coin });
    let told = describe(&record, Seen { rival, ..Seen::default() }, view(&world));
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
        (coin.txid, "a withdrawal is sent"),
        (record.presigned().unwrap().slashing.compute_txid(), "a slashing is sent"),
    ] {
        let said = words::moves(&record, &txid, &book, calendar);
        assert!(said.starts_with(part) && said.contains(&txid.to_string()), "{said}");
        assert_eq!(standing::is_agreed(&record, &txid, &book), txid != coin.txid);
    }
}

#[test]
fn a_stake_that_lapsed_says_where_its_transaction_is_and_what_can_be_done() {
    let mut world = crate::testing::world();
    let (registration, mut record) = crate::testing::registration(&mut world).unwrap();
    world.send(&Message::Stake(Box::new(registration))).unwrap();
    let id = record.id.unwrap();
    world.mine(world.stake(&id).lapses_at.0 - world.btc_height());
    assert_eq!(world.stake(&id).state, StakeState::Lapsed);
    let block = world.btc_height() - 3;
    let [anew, due] = [format!("`stake --resume {id}`"), format!("from block {}", block + 300)];
    for (broadcast, found, included_at, said) in [
        (false, None, None, ["was never sent", "nothing is locked"]),
        (true, None, None, ["in time to count", &format!("{anew} sends it again")]),
        (true, Some(Found::Mempool), None, ["in your node's mempool", &anew]),
        (false, Some(Found::Mempool), None, ["in your node's mempool", &anew]),
        (true, Some(Found::Block(block)), Some(block), [&format!("{anew} registers it anew"), &due]),
        (false, Some(Found::Block(block)), Some(block), [&format!("{anew} registers it anew"), &due]),
    ] {
        record.broadcast = broadcast;
        let told = describe(&record, Seen { found, ..Seen::default() }, view(&world));
        assert!(said.iter().all(|part| told.next.contains(*part)), "{said:?}: {}", told.next);
        assert_eq!((told.included_at, told.can_withdraw), (included_at, false));
        assert_eq!(told.withdraw_at, included_at.map(|block| block + 300));
    }
    let late = View { tip: block + 299, ..view(&world) };
    let told = describe(&record, Seen { found: Some(Found::Block(block)), ..Seen::default() }, late);
    assert!(told.can_withdraw && told.next.contains(&format!("now: `withdraw {id}`")), "{}", told.next);

    // Other exits than those that were agreed on, or another committee: nobody is told to register it anew.
    let now = world.ledger.params_at(world.ledger.btc_height()).1.document().clone();
    let mut other = now.clone();
    other.quorum += 1;
    for changed in [ParamsDocument { unbonding_fee_sat: now.unbonding_fee_sat + 500, ..now }, other] {
        let mut world = world.clone();
        let from_height = BtcHeight(world.btc_height() + 1);
        let params = Box::new(ParamsDocument { from_height, ..changed });
        world.govern(Action::SetParams(params)).unwrap();
        world.mine(2);
        let block = world.btc_height();
        for found in [None, Some(Found::Mempool), Some(Found::Block(block))] {
            record.broadcast = true;
            let told = describe(&record, Seen { found, ..Seen::default() }, view(&world));
            let never = told.next.contains("cannot be registered anew and gains no power");
            assert!(never && !told.next.contains("registers it anew"), "{}", told.next);
            assert!(told.next.contains("can be withdrawn"), "{}", told.next);
        }
    }
}
