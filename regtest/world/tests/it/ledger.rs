//! Stories of the ledger: stakes, power, sets, finality, equivocation, reorgs. In memory, with real keys and blocks.

use bitcoin::hashes::Hash as _;
use bitcoin::{Amount, BlockHash, OutPoint, Sequence, TxOut};
use palisade_hub::ledger::providers::Providers;
use palisade_hub::ledger::stakes::{Now, Stakes};
use palisade_hub::ledger::state::StakeState::{self, *};
use palisade_hub::ledger::{BadBlock, Event, Ledger, Rejected, Trip};
use palisade_protocol::block::{Block, HubHeader};
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::{ChainId, ChainIdentity, Purpose, Terms};
use palisade_protocol::finality::evidence::Evidence;
use palisade_protocol::finality::tally::{Tally, VoteRefused};
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::governance::{Action, Resume};
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::{Message, StakeIncluded};
use palisade_protocol::stake::StakeId;
use palisade_protocol::state::Section;
use palisade_protocol::units::{BtcHeight, Epoch, Height};
use palisade_world::anchored::dev;
use palisade_world::{Wish, World, provider_key, schnorr, transaction};

const LOCK: u16 = 400;

fn wish<'a>(sat: u64, providers: &'a [&'a str]) -> Wish<'a> {
    Wish { holder: "alice", sat, providers, lock: LOCK }
}

fn world_with_provider() -> World {
    let mut world = World::new(1_000_000);
    world.mine(1);
    world.register_provider(&ChainId::zero(), "anna");
    world
}

fn power(world: &World, name: &str) -> u64 {
    world.ledger.providers().get(&provider_key(name)).expect("registered").power.to_sat()
}

fn states(world: &World, id: &StakeId) -> Vec<StakeState> {
    world.stake(id).history.iter().map(|step| step.state).collect()
}

#[test]
fn a_stake_gains_power_at_depth_k_and_not_before() {
    let mut world = world_with_provider();
    let (id, tx) = world.register_stake(&wish(500_000, &["anna"]));
    assert_eq!(world.stake(&id).state, Pending);
    world.sign_quorum(&id);
    assert_eq!(world.stake(&id).state, Verified);
    world.include(&id, &tx);
    world.mine(5);
    assert_eq!((world.stake(&id).state, power(&world, "anna")), (Verified, 0));
    world.mine(1);
    assert_eq!((world.stake(&id).state, power(&world, "anna")), (Active, 500_000));
    // One unbonding time before the timelock ends the power is gone; at its end the holder may withdraw.
    world.mine(u32::from(LOCK) - 244 - 7);
    assert_eq!(world.stake(&id).state, Active);
    world.mine(1);
    assert_eq!((world.stake(&id).state, power(&world, "anna")), (Ending, 0));
    world.mine(242);
    assert_eq!(world.stake(&id).state, Ending);
    world.mine(1);
    assert_eq!(world.stake(&id).state, Withdrawable);
    assert_eq!(states(&world, &id), [Pending, Verified, Active, Ending, Withdrawable]);
}

#[test]
fn when_the_tip_goes_down_stakes_go_back_and_come_again_at_the_same_heights() {
    let mut world = world_with_provider();
    let [stays, leaves] = [500_000, 400_000].map(|sat| world.active_stake(&wish(sat, &["anna"])));
    let included = world.stake(&stays).included.unwrap().height;
    let unbonding = world.stake(&leaves).presigned.unbonding.clone();
    world.spend(&leaves, world.stake(&leaves).contract.coin.outpoint, &unbonding).unwrap();
    let free = world.btc_height() + 243;
    let (ending, end) = (included.0 + u32::from(LOCK) - 244, included.0 + u32::from(LOCK) - 1);
    let seen = |stakes: &Stakes, providers: &Providers| {
        let state = |id: &StakeId| stakes.find(id).unwrap().1.state;
        (state(&stays), state(&leaves), providers.get(&provider_key("anna")).unwrap().power.to_sat())
    };
    let steps = [
        (ending - 1, (Active, Unbonding, 500_000)),
        (ending, (Ending, Unbonding, 0)),
        (free - 1, (Ending, Unbonding, 0)),
        (free, (Ending, Withdrawable, 0)),
        (end - 1, (Ending, Withdrawable, 0)),
        (end, (Withdrawable, Withdrawable, 0)),
    ];
    let (mut stakes, mut providers) = (world.ledger.stakes().clone(), world.ledger.providers().clone());
    let now = |tip| Now { tip: BtcHeight(tip), hub: Height(0), may_gain: true, cause: "headers" };
    let mut order: Vec<_> = steps.to_vec();
    order.sort_unstable_by_key(|(tip, _)| *tip);
    for _ in 0..2 {
        for (tip, expected) in &order {
            stakes.advance(now(*tip), &mut providers);
            assert_eq!(seen(&stakes, &providers), *expected, "up to {tip}");
        }
        for (tip, expected) in order.iter().rev() {
            stakes.recede(now(*tip), &mut providers);
            assert_eq!(seen(&stakes, &providers), *expected, "down to {tip}");
        }
    }
}

#[test]
fn a_stake_that_never_comes_lapses() {
    let mut world = world_with_provider();
    let (id, tx) = world.register_stake(&wish(500_000, &["anna"]));
    world.mine(59);
    assert_eq!(world.stake(&id).state, Pending);
    world.mine(1);
    assert_eq!(world.stake(&id).state, Lapsed);
    world.sign_quorum(&id);
    world.include(&id, &tx);
    world.mine(10);
    assert_eq!((world.stake(&id).state, power(&world, "anna")), (Lapsed, 0));
}

#[test]
fn leaving_early_ends_power_at_the_first_confirmed_spend() {
    let mut world = world_with_provider();
    let id = world.active_stake(&wish(500_000, &["anna"]));
    let (outpoint, unbonding) =
        (world.stake(&id).contract.coin.outpoint, world.stake(&id).presigned.unbonding.clone());
    world.spend(&id, outpoint, &unbonding).unwrap();
    assert_eq!((world.stake(&id).state, power(&world, "anna")), (Unbonding, 0));
    world.mine(242);
    assert_eq!(world.stake(&id).state, Unbonding);
    world.mine(1);
    assert_eq!(world.stake(&id).state, Withdrawable);
    let source = OutPoint { txid: unbonding.compute_txid(), vout: 0 };
    let output =
        TxOut { value: Amount::from_sat(1_000), script_pubkey: unbonding.output[0].script_pubkey.clone() };
    let mut withdrawal = transaction(vec![source], vec![output]);
    withdrawal.input[0].sequence = Sequence::from_height(244);
    world.spend(&id, source, &withdrawal).unwrap();
    assert_eq!(world.stake(&id).state, Withdrawn);
}

#[test]
fn it_is_known_from_which_block_on_coins_can_be_withdrawn_wherever_they_lie() {
    let mut world = world_with_provider();
    let (id, tx) = world.register_stake(&wish(500_000, &["anna"]));
    let due = |world: &World| world.stake(&id).withdrawable_at().map(|height| height.0);
    assert_eq!(due(&world), None, "it is not on Bitcoin");
    world.sign_quorum(&id);
    world.include(&id, &tx);
    assert_eq!(due(&world), Some(world.btc_height() + u32::from(LOCK)));
    world.mine(6);
    let stake = world.stake(&id).clone();
    let coin = stake.contract.coin.outpoint;
    let unbonding = OutPoint { txid: stake.presigned.unbonding.compute_txid(), vout: 0 };
    let mut slashed = world.clone();
    slashed.spend(&id, coin, &stake.presigned.slashing).unwrap();
    assert_eq!(due(&slashed), Some(slashed.btc_height() + 244), "what a slashing leaves");
    world.spend(&id, coin, &stake.presigned.unbonding).unwrap();
    assert_eq!(due(&world), Some(world.btc_height() + 244));
    world.mine(3);
    let mut slashed = world.clone();
    slashed.spend(&id, unbonding, &stake.presigned.unbonding_slashing).unwrap();
    assert_eq!(due(&slashed), Some(slashed.btc_height() + 244), "what a slashing of the rest leaves");
    let elsewhere = TxOut { value: Amount::from_sat(1_000), script_pubkey: stake.payout.clone() };
    world.spend(&id, unbonding, &transaction(vec![unbonding], vec![elsewhere])).unwrap();
    assert_eq!((world.stake(&id).state, due(&world)), (Breached, None));
    assert!(world.ledger.stakes().breached().map(|stake| stake.id).eq([id]));
}

#[test]
fn a_stake_that_is_leaving_is_exposed_until_it_can_be_withdrawn_if_the_key_gets_out() {
    let mut world = world_with_provider();
    let id = world.active_stake(&wish(500_000, &["anna"]));
    let stake = world.stake(&id).clone();
    world.spend(&id, stake.contract.coin.outpoint, &stake.presigned.unbonding).unwrap();
    world.leak("anna");
    assert_eq!(world.stake(&id).state, Exposed);
    world.mine(242);
    assert_eq!(world.stake(&id).state, Exposed);
    world.mine(1);
    assert_eq!(world.stake(&id).state, Withdrawable);
}

#[test]
fn stakes_and_providers_are_counted_and_stakes_found_by_the_transaction_that_makes_them() {
    let mut world = world_with_provider();
    assert_eq!((world.ledger.stakes().len(), world.ledger.stakes().is_empty()), (0, true));
    let stakes = [500_000, 600_000].map(|sat| world.register_stake(&wish(sat, &["anna"])));
    assert_eq!((world.ledger.stakes().len(), world.ledger.stakes().is_empty()), (2, false));
    for (id, tx) in stakes {
        let txid = tx.compute_txid();
        let made = world.ledger.stakes().of_transaction(&txid);
        assert!(made.map(|stake| stake.id).eq([id]));
    }
    world.register_provider(&ChainId::zero(), "bert");
    let providers = world.ledger.providers();
    assert!(providers.iter().map(|own| own.key).eq([provider_key("anna"), provider_key("bert")]));
    assert_eq!((providers.len(), providers.is_empty()), (2, false));
    assert!(World::new(1_000_000).ledger.providers().is_empty());
}

#[test]
fn a_change_of_any_stake_changes_the_state_that_the_block_commits_to() {
    let mut world = world_with_provider();
    let stakes = [1, 2, 3].map(|n| world.register_stake(&wish(500_000 + n, &["anna"])).0);
    let root = |world: &mut World| {
        world.close();
        world.ledger.tree().section(Section::Stakes).root()
    };
    let mut before = root(&mut world);
    for id in stakes {
        assert_eq!(root(&mut world), before);
        world.sign_quorum(&id);
        let after = root(&mut world);
        assert_ne!(after, before);
        before = after;
    }
}

#[test]
fn a_stake_that_comes_to_depth_k_while_the_breaker_is_tripped_gains_power_when_governance_resumes() {
    let mut world = world_with_provider();
    world.mine(10);
    world.reorg(7, &[]).unwrap();
    assert!(world.ledger.breaker().is_some());
    let (id, tx) = world.register_stake(&wish(500_000, &["anna"]));
    world.sign_quorum(&id);
    world.include(&id, &tx);
    world.mine(8);
    assert_eq!((world.stake(&id).state, power(&world, "anna")), (Verified, 0));
    world.govern(Action::Resume(Resume { accepted: vec![] })).unwrap();
    assert_eq!((world.stake(&id).state, power(&world, "anna")), (Active, 500_000));
}

#[test]
fn a_spend_that_nobody_agreed_on_is_a_breach() {
    let mut world = world_with_provider();
    let id = world.active_stake(&wish(500_000, &["anna"]));
    let outpoint = world.stake(&id).contract.coin.outpoint;
    let theft = transaction(vec![outpoint], vec![TxOut::minimal_non_dust(bitcoin::ScriptBuf::new())]);
    world.spend(&id, outpoint, &theft).unwrap();
    assert_eq!((world.stake(&id).state, power(&world, "anna")), (Breached, 0));
}

#[test]
fn a_reorg_of_k_blocks_changes_no_power_and_one_more_trips_the_breaker() {
    let mut world = world_with_provider();
    let (id, tx) = world.register_stake(&wish(500_000, &["anna"]));
    world.sign_quorum(&id);
    world.include(&id, &tx);
    world.mine(6);
    assert_eq!(world.stake(&id).state, Active);
    world.reorg(6, &[]).unwrap();
    assert_eq!((world.stake(&id).state, world.ledger.breaker().is_some()), (Active, false));

    let (other, other_tx) = world.register_stake(&Wish { holder: "bob", ..wish(300_000, &["anna"]) });
    world.sign_quorum(&other);
    world.include(&other, &other_tx);
    world.mine(6);
    assert_eq!(power(&world, "anna"), 800_000);
    world.reorg(7, &[]).unwrap();
    assert_eq!(world.ledger.breaker().map(Trip::why), Some("rollback"));
    assert_eq!((world.stake(&other).state, power(&world, "anna")), (Verified, 500_000));
    // It is mined again and deep again: no power before governance resumes.
    world.include(&other, &other_tx);
    world.mine(7);
    assert_eq!((world.stake(&other).state, power(&world, "anna")), (Verified, 500_000));
    world.govern(Action::Resume(Resume { accepted: Vec::new() })).unwrap();
    assert_eq!((world.stake(&other).state, power(&world, "anna")), (Active, 800_000));
}

#[test]
fn a_spend_that_is_reorged_out_restores_power_at_depth_k() {
    let mut world = world_with_provider();
    let id = world.active_stake(&wish(500_000, &["anna"]));
    let (outpoint, unbonding) =
        (world.stake(&id).contract.coin.outpoint, world.stake(&id).presigned.unbonding.clone());
    world.spend(&id, outpoint, &unbonding).unwrap();
    world.reorg(1, &[]).unwrap();
    assert_eq!((world.stake(&id).state, power(&world, "anna")), (Verified, 0));
    world.mine(4);
    assert_eq!(power(&world, "anna"), 0);
    world.mine(1);
    assert_eq!((world.stake(&id).state, power(&world, "anna")), (Active, 500_000));
}

/// Four providers of chain zero with committed nonces and power, up to the block that fixes the first set.
fn world_with_set() -> World {
    let mut world = World::new(950_000);
    world.mine(1);
    for (name, sat) in [("anna", 300_000), ("bert", 250_000), ("carl", 250_000), ("dora", 200_000)] {
        world.register_provider(&ChainId::zero(), name);
        world.active_stake(&wish(sat, &[name]));
        world.commit(&ChainId::zero(), name, 1..8);
    }
    world.close();
    world.close_until(21);
    world
}

fn tally(world: &World, chain: &ChainId, epoch: u64) -> Tally {
    let chain = world.ledger.chain(chain).unwrap();
    Tally::new(chain.sets[&Epoch(epoch)].set.clone(), chain.terms)
}

fn certify(world: &mut World, names: &[&str], height: u64) -> Result<Hash32, Rejected> {
    let zero = ChainId::zero();
    let block = world.log[height as usize].header.hash();
    let mut tally = tally(world, &zero, height / 20);
    for name in names {
        tally.add(world.vote(&zero, name, Height(height), block)).unwrap();
    }
    let ballot = world.vote(&zero, names[0], Height(height), block).ballot;
    let certificate = tally.certificate(ballot).expect("a quorum");
    world.send(&Message::Certificate(Box::new(certificate)))
}

#[test]
fn the_first_set_is_fixed_at_the_first_block_of_an_epoch_and_makes_blocks_final() {
    let mut world = world_with_set();
    let zero = world.ledger.chains()[0].clone();
    // Power was there before block 0 was closed, so epoch 0 fixed S(1).
    let set = &zero.sets[&Epoch(1)];
    assert_eq!((set.hub_height, set.set.members().len()), (Height(0), 4));
    assert_eq!(set.set.header().total.to_sat(), 1_000_000);
    world.close_until(31);
    assert_eq!(certify(&mut world, &["anna", "bert", "carl"], 25), Err(Rejected::NotInOrder(Height(20))));
    certify(&mut world, &["anna", "bert", "carl"], 20).unwrap();
    certify(&mut world, &["anna", "carl", "dora"], 25).unwrap();
    assert_eq!(
        certify(&mut world, &["anna", "carl", "dora"], 25),
        Err(Rejected::Repeated("the block is final"))
    );
    let zero = |world: &World| world.ledger.chains()[0].clone();
    assert_eq!((zero(&world).last_final().unwrap().0, zero(&world).last_ended()), (Height(25), None));
    world.close_until(46);
    for height in [30, 35] {
        certify(&mut world, &["anna", "bert", "carl"], height).unwrap();
    }
    assert_eq!(zero(&world).last_ended(), Some(Epoch(1)));
    certify(&mut world, &["anna", "bert", "carl"], 40).unwrap();
    assert_eq!(zero(&world).last_ended(), Some(Epoch(1)));
}

#[test]
fn exactly_two_thirds_are_not_enough() {
    let mut world = World::new(600_000);
    world.mine(1);
    for name in ["anna", "bert", "carl"] {
        world.register_provider(&ChainId::zero(), name);
        world.active_stake(&wish(200_000, &[name]));
        world.commit(&ChainId::zero(), name, 1..3);
    }
    world.close_until(21);
    let zero = ChainId::zero();
    let block = world.log[20].header.hash();
    let mut tally = tally(&world, &zero, 1);
    for (name, enough) in [("anna", false), ("bert", false), ("carl", true)] {
        let vote = world.vote(&zero, name, Height(20), block);
        let ballot = vote.ballot;
        tally.add(vote).unwrap();
        assert_eq!(tally.certificate(ballot).is_some(), enough, "{name}");
    }
}

fn two_votes(world: &World, name: &str, height: u64) -> (Vote, Vote) {
    let zero = ChainId::zero();
    let honest = world.vote(&zero, name, Height(height), world.log[height as usize].header.hash());
    (honest, world.vote(&zero, name, Height(height), Hash32([7; 32])))
}

#[test]
fn two_votes_at_one_height_give_the_key_away_and_end_all_power() {
    let mut world = world_with_set();
    let (honest, other) = two_votes(&world, "dora", 20);
    let mut tally = tally(&world, &ChainId::zero(), 1);
    for _ in 0..2 {
        assert_eq!(tally.add(honest.clone()), Ok(()));
        assert_eq!(tally.power_for(&honest.ballot), Amount::from_sat(200_000));
    }
    assert!(matches!(tally.add(other.clone()), Err(VoteRefused::Equivocation(_))));
    let evidence = Evidence::from_votes(&honest, &other).unwrap();
    assert_eq!(evidence.secret().unwrap().public(), provider_key("dora").point());
    world.send(&Message::Evidence(evidence.clone())).unwrap();
    assert_eq!(power(&world, "dora"), 0);
    let (holder, exposed) =
        world.ledger.stakes().naming(&provider_key("dora")).next().map(|s| (s.id, s.state)).unwrap();
    assert_eq!(exposed, Exposed);
    let repeated = world.send(&Message::Evidence(evidence));
    assert_eq!(repeated, Err(Rejected::Repeated("the key is known to be out")));
    // The next set is without it, at more than two thirds of the one before.
    world.close_until(41);
    let zero = &world.ledger.chains()[0];
    assert!(zero.sets[&Epoch(3)].set.find(&provider_key("dora")).is_none());
    assert!(world.ledger.breaker().is_none());
    let registration = world.registration(&wish(100_000, &["dora"]));
    let refused = world.send(&Message::Stake(Box::new(registration)));
    assert_eq!(refused, Err(Rejected::Exposed(provider_key("dora"))));
    let slashing = world.stake(&holder).presigned.slashing.clone();
    let outpoint = world.stake(&holder).contract.coin.outpoint;
    world.spend(&holder, outpoint, &slashing).unwrap();
    assert_eq!(world.stake(&holder).state, Slashed);
}

#[test]
fn a_set_with_two_thirds_or_less_of_the_one_before_trips_the_breaker_and_chain_zero_goes_on() {
    let mut world = world_with_set();
    for name in ["carl", "dora"] {
        let (honest, other) = two_votes(&world, name, 20);
        world.send(&Message::Evidence(Evidence::from_votes(&honest, &other).unwrap())).unwrap();
    }
    world.close_until(41);
    assert_eq!(world.ledger.breaker().map(Trip::why), Some("set"));
    let zero = &world.ledger.chains()[0];
    let (before, carried) = (&zero.sets[&Epoch(2)], &zero.sets[&Epoch(3)]);
    assert!(carried.carried_over);
    assert_eq!(carried.set.header().total, before.set.header().total);
    assert_eq!(carried.set.header().expiry, before.set.header().expiry);
}

/// Another chain, which opens at 150,000 sat.
fn registered_dev(world: &mut World) -> ChainId {
    let terms = Terms { epoch_length: 50, voted_every: 5, minimum_power_sat: 150_000 };
    world.register_chain(&dev(), terms);
    dev()
}

#[test]
fn another_chain_opens_at_its_minimum_and_gets_its_next_set_with_its_first_certificate() {
    let mut world = world_with_set();
    let id = registered_dev(&mut world);
    world.register_provider(&id, "dev anna");
    world.active_stake(&wish(100_000, &["anna", "dev anna"]));
    world.commit(&id, "dev anna", 4..8);
    world.close();
    assert!(world.ledger.chain(&id).unwrap().newest().is_none(), "less than the minimum");
    world.active_stake(&wish(100_000, &["anna", "dev anna"]));
    world.close();
    let dev = world.ledger.chain(&id).unwrap();
    assert_eq!(dev.sets.keys().collect::<Vec<_>>(), [&Epoch(4)]);
    let block = Hash32([9; 32]);
    let mut tally = tally(&world, &id, 4);
    let vote = world.vote(&id, "dev anna", Height(200), block);
    tally.add(vote.clone()).unwrap();
    let certificate = tally.certificate(vote.ballot).unwrap();
    world.send(&Message::Certificate(Box::new(certificate))).unwrap();
    world.close();
    let dev = world.ledger.chain(&id).unwrap();
    assert_eq!(dev.sets.keys().collect::<Vec<_>>(), [&Epoch(4), &Epoch(5)]);
    assert_eq!(dev.last_final(), Some((Height(200), block)));
}

#[test]
fn while_the_breaker_is_tripped_no_other_chain_opens() {
    let mut world = world_with_set();
    let id = registered_dev(&mut world);
    world.register_provider(&id, "dev anna");
    world.active_stake(&wish(200_000, &["anna", "dev anna"]));
    ["bert", "carl", "dora"].iter().for_each(|name| world.leak(name));
    world.close_until(41);
    assert!(world.ledger.breaker().is_some());
    world.commit(&id, "dev anna", 4..8);
    world.close();
    assert!(world.ledger.chain(&id).unwrap().newest().is_none());
    world.govern(Action::Resume(Resume { accepted: vec![] })).unwrap();
    world.close();
    assert!(world.ledger.chain(&id).unwrap().newest().is_some());
}

#[test]
fn a_registered_chain_is_signed_for_under_its_own_name_and_genesis() {
    let world = palisade_world::anchored::world(20);
    let zero = world.ledger.genesis().zero();
    let dev = ChainIdentity { id: "dev".parse().unwrap(), genesis: Hash32([5; 32]), ..zero };
    assert_eq!(world.identity(&dev.id), dev);
    assert_eq!(world.ledger.chain(&dev.id).unwrap().vote, dev.context(Purpose::Vote));
}

#[test]
fn a_chain_whose_set_expires_while_it_waits_for_governance_starts_again() {
    let mut world = World::new(1_000_000);
    world.mine(1);
    let id = registered_dev(&mut world);
    for (zero, dev) in [("anna", "dev anna"), ("bert", "dev bert")] {
        world.register_provider(&ChainId::zero(), zero);
        world.register_provider(&id, dev);
        world.active_stake(&wish(200_000, &[zero, dev]));
        world.commit(&id, dev, 4..8);
    }
    world.close();
    let certified = |world: &mut World, names: &[&str], epoch: u64| {
        let height = Height(epoch * 50);
        let mut tally = tally(world, &id, epoch);
        for name in names {
            tally.add(world.vote(&id, name, height, Hash32([9; 32]))).unwrap();
        }
        let ballot = world.vote(&id, names[0], height, Hash32([9; 32])).ballot;
        world.send(&Message::Certificate(Box::new(tally.certificate(ballot).expect("a quorum"))))
    };
    certified(&mut world, &["dev anna", "dev bert"], 4).unwrap();
    // Half of the power goes in the block that wants the next set: the chain waits, for longer than its set lives.
    world.leak("dev bert");
    world.close();
    assert!(world.ledger.chain(&id).unwrap().paused);
    // Also when the power has come back.
    world.active_stake(&wish(400_000, &["anna", "dev anna"]));
    world.close();
    assert!(world.ledger.chain(&id).unwrap().paused);
    assert_eq!(world.ledger.chain(&id).unwrap().newest().unwrap().0, Epoch(4));
    world.mine(101);
    world.close();
    assert_eq!(world.ledger.chain(&id).unwrap().newest().unwrap().0, Epoch(4));
    world.govern(Action::Resume(Resume { accepted: Vec::new() })).unwrap();
    world.close();
    let dev = world.ledger.chain(&id).unwrap();
    assert_eq!((dev.newest().unwrap().0, dev.opened_at, dev.paused), (Epoch(5), Some(Epoch(5)), false));
    certified(&mut world, &["dev anna"], 5).unwrap();
}

#[test]
fn the_same_log_gives_the_same_roots_and_an_altered_one_does_not() {
    let mut world = world_with_set();
    world.close_until(26);
    certify(&mut world, &["anna", "bert", "carl"], 20).unwrap();
    world.close();
    let mut replica = Ledger::new(world.ledger.genesis().clone());
    for block in &world.log {
        replica.replay(block).unwrap();
    }
    assert_eq!(replica.tip(), world.ledger.tip());
    assert_eq!(replica.tree().root(), world.ledger.tree().root());
    let mut liar = Ledger::new(world.ledger.genesis().clone());
    let mut altered = world.log[0].clone();
    altered.messages.pop();
    assert!(liar.replay(&altered).is_err());
}

#[test]
fn each_claim_of_a_signed_header_is_checked_and_the_wrong_one_is_named() {
    type Alter = fn(&mut HubHeader);
    let mut world = world_with_provider();
    world.close();
    world.mine(1);
    let (header, _) = world.close();
    assert_eq!(world.ledger.tip(), Some((header.height, header.hash())));
    let replayed = |alter: Alter| {
        let mut ledger = Ledger::new(world.ledger.genesis().clone());
        ledger.replay(&world.log[0]).unwrap();
        let mut block = world.log[1].clone();
        alter(&mut block.header);
        let message = HubHeader::signing_message(&ledger.contexts().hub, &block.header.hash());
        block.signature = schnorr("hub", &message);
        ledger.replay(&block).map(drop)
    };
    assert!(replayed(|_| ()).is_ok());
    let places: [Alter; 2] = [|header| header.height = Height(5), |header| header.previous = Hash32::ZERO];
    for alter in places {
        assert!(matches!(replayed(alter), Err(BadBlock::NotNext(_))));
    }
    let claims: [(&str, Alter); 4] = [
        ("message root", |header| header.message_root = Hash32::ZERO),
        ("state root", |header| header.state_root = Hash32::ZERO),
        ("Bitcoin tip", |header| header.btc_tip = BlockHash::all_zeros()),
        ("Bitcoin height", |header| header.btc_height = BtcHeight(0)),
    ];
    for (name, alter) in claims {
        let said = replayed(alter).unwrap_err().to_string();
        for (other, _) in claims {
            assert_eq!(said.contains(&format!("{other} ")), other == name, "{said}");
        }
    }
}

#[test]
fn each_step_of_a_stake_is_an_event_of_its_block() {
    let mut world = world_with_provider();
    let (id, tx) = world.register_stake(&wish(500_000, &["anna"]));
    world.sign_quorum(&id);
    world.include(&id, &tx);
    world.mine(6);
    let (_, events) = world.close();
    let steps = events.iter().filter_map(|event| match event {
        Event::Stake { id: own, state, btc_height, cause } if *own == id => {
            Some((*state, *btc_height, cause))
        }
        _ => None,
    });
    let history = world.stake(&id).history.iter().map(|step| (step.state, step.btc_height, &step.cause));
    assert_eq!(steps.collect::<Vec<_>>(), history.collect::<Vec<_>>());
    assert_eq!(states(&world, &id), [Pending, Verified, Active]);
    assert!(world.close().1.iter().all(|event| !matches!(event, Event::Stake { .. })), "told once");
}

#[test]
fn a_byte_altered_anywhere_in_a_block_is_noticed() {
    let mut world = world_with_provider();
    let (id, tx) = world.register_stake(&wish(500_000, &["anna"]));
    world.sign_quorum(&id);
    world.include(&id, &tx);
    world.close();
    let honest = world.log[0].to_bytes();
    let fresh = || Ledger::new(world.ledger.genesis().clone());
    assert!(fresh().replay(&Block::from_bytes(&honest).unwrap()).is_ok());
    for at in 0..honest.len() {
        let mut altered = honest.clone();
        altered[at] ^= 1;
        // What does not decode is not replayed; what decodes is refused for its place, signature, messages or roots.
        let accepted = Block::from_bytes(&altered).is_ok_and(|block| fresh().replay(&block).is_ok());
        assert!(!accepted, "byte {at} of {}", honest.len());
    }
}

#[test]
fn what_is_reported_twice_or_wrongly_changes_nothing() {
    let mut world = world_with_provider();
    let (id, tx) = world.register_stake(&wish(500_000, &["anna"]));
    let other = world.fund("bob", 5_000).2;
    let before = world.ledger.clone();
    let wrong = world.send(&Message::Included(StakeIncluded { stake: id, proof: other }));
    assert_eq!(wrong, Err(Rejected::NotStaking));
    world.include(&id, &tx);
    let again = Message::Included(StakeIncluded { stake: id, proof: world.proof(&tx) });
    assert_eq!(world.send(&again), Err(Rejected::Repeated("the stake is known to be on Bitcoin")));
    assert_eq!(before.stakes().find(&id).unwrap().1.included, None);
}
