//! Chain zero is lost and starts again under a new trust root; governance hands over; a chain opens where it is
//! (docs/protocol.md, sections 7.1, 7.2 and 8.4).

use super::refusals::governance::recovery;
use bitcoin::Amount;
use palisade_hub::ledger::Event;
use palisade_hub::ledger::chains::Chain;
use palisade_hub::proofs::{self, NoProof};
use palisade_hub::votes;
use palisade_protocol::anchor::Anchor;
use palisade_protocol::context::{ChainId, Terms};
use palisade_protocol::governance::{Action, Governors, NewChain, Resume};
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::proof::Refused;
use palisade_protocol::units::{Epoch, Height};
use palisade_world::anchored::{DEV, ZERO, anchor, dev, headers, stored, world};
use palisade_world::{Wish, World, governance_key, provider_key};

fn zero(world: &World) -> &Chain {
    &world.ledger.chains()[0]
}

/// Nobody votes for so long that the set of the next voted block expires; governance gives chain zero a new root.
fn recovered(mut world: World) -> World {
    world.mine(101);
    let last = zero(&world).last_final();
    let (registration, answers) = (zero(&world).registration, world.ledger.contexts().covenant);
    world.govern(Action::RecoveryRoot(recovery(&world))).unwrap();
    let (_, events) = world.close();
    assert!(events.contains(&Event::Recovered { chain: ChainId::zero(), incarnation: 1 }));
    let own = zero(&world);
    assert_eq!((own.identity.incarnation, own.last_final(), own.opened_at), (1, last, None));
    assert!(own.newest().is_none() && !own.is_lost(world.ledger.btc_height()));
    assert_ne!(own.registration, registration);
    assert_eq!(world.ledger.contexts().covenant, answers, "what is not about finality stays as it was");
    assert!(
        ZERO.iter().all(|name| world.ledger.providers().get(&provider_key(name)).unwrap().roots.is_empty())
    );
    world
}

/// All commit anew, and the first set of the new incarnation is fixed.
fn restarted(mut world: World) -> World {
    let first = world.ledger.first_open_epoch(&ChainId::zero()).0;
    for name in ZERO {
        world.commit(&ChainId::zero(), name, first..first + 8);
    }
    world.close_until(first * 20 + 1);
    assert_eq!(zero(&world).newest().unwrap().0, Epoch(first + 1));
    world
}

#[test]
fn chain_zero_that_is_lost_starts_again_and_its_final_blocks_stay_final() {
    let before = world(85);
    let (height, block) = zero(&before).last_final().unwrap();
    let old = before.certificate(&ChainId::zero(), &ZERO, height.plus(5), Hash32([1; 32]));
    let vote = before.vote(&ChainId::zero(), "anna", height.plus(5), Hash32([1; 32]));
    assert_eq!(zero(&before).awaited(), Some(height.plus(5)));
    let mut world = restarted(recovered(before));
    // What was signed for the incarnation before counts nowhere.
    assert_eq!(world.send(&old).unwrap_err().rule(), "certificate");
    let judged = votes::judge(vec![vote], &world.ledger).remove(0);
    assert_eq!(judged.err().map(|why| why.rule()), Some("unknown-chain"));
    // The first voted block of the new first set needs none before it, and those in between become final with it.
    let first = zero(&world).terms.first_height(zero(&world).opened_at.unwrap());
    assert!(first > height.plus(5));
    assert_eq!(zero(&world).awaited(), Some(first));
    world.finalise_until(&ZERO, first.0 + 12);
    assert_eq!(zero(&world).last_final().unwrap().0, first.plus(10));
    assert_eq!(zero(&world).certified[&height], block);
    // It cannot be lost while the new set lives.
    assert!(!zero(&world).is_lost(world.ledger.btc_height()));
    assert_eq!(world.govern(Action::RecoveryRoot(recovery(&world))).unwrap_err().rule(), "decision");
}

#[test]
fn what_a_set_anchored_before_the_recovery_counts_after_it_and_under_its_old_incarnation_only() {
    let mut before = world(85);
    let header = before.ledger.own_header(Epoch(3)).unwrap();
    let old = before.anchor(&ZERO, Epoch(3), header);
    let shares = ZERO.map(|name| recovered(before.clone()).share(name, Epoch(3), header));
    let new = Anchor::assemble(&zero(&before).sets[&Epoch(3)].set, header, &shares).unwrap();
    // Both are on Bitcoin before the set expires, and told after the recovery.
    let mined = [new, old].map(|anchor| before.mine_anchor(&anchor));
    let mut world = recovered(before);
    let told = mined.map(|tx| {
        let proof = world.proof(&tx);
        world.send(&Message::Anchor(proof)).map(|_| ()).map_err(|why| why.rule())
    });
    assert_eq!(told, [Err("anchor"), Ok(())]);
}

#[test]
fn a_chain_zero_that_never_made_a_block_final_is_recovered_too_and_one_that_has_not_opened_is_not_lost() {
    let mut world = World::new(1_000_000);
    world.mine(120);
    assert!(!zero(&world).is_lost(world.ledger.btc_height()));
    world.register_provider(&ChainId::zero(), "anna");
    world.active_stake(&Wish { holder: "alice", sat: 1_000_000, providers: &["anna"], lock: 2_000 });
    world.commit(&ChainId::zero(), "anna", 1..4);
    world.close_until(21);
    assert!(zero(&world).newest().is_some());
    world.mine(101);
    let recovery = recovery(&world);
    assert_eq!(recovery.last_final, None);
    world.govern(Action::RecoveryRoot(recovery)).unwrap();
    world.close();
    assert_eq!(zero(&world).identity.incarnation, 1);
}

#[test]
fn the_breaker_and_the_minimum_hold_for_the_new_first_set_too() {
    let mut world = world(85);
    world.mine(10);
    world.reorg(7, &[]).unwrap();
    let mut world = recovered(world);
    let first = world.ledger.first_open_epoch(&ChainId::zero()).0;
    for name in ZERO {
        world.commit(&ChainId::zero(), name, first..first + 8);
    }
    world.close_until(first * 20 + 1);
    assert!(zero(&world).newest().is_none(), "the breaker is tripped");
    world.govern(Action::Resume(Resume { accepted: vec![] })).unwrap();
    world.close_until((first + 1) * 20 + 1);
    assert_eq!(zero(&world).newest().unwrap().0, Epoch(first + 2));
}

/// Every stake leaves early.
fn all_leave(world: &mut World) {
    let ids: Vec<_> = world.ledger.stakes().iter().map(|stake| stake.id).collect();
    for id in ids {
        let stake = world.stake(&id);
        let (outpoint, exit) = (stake.contract.coin.outpoint, stake.presigned.unbonding.clone());
        world.spend(&id, outpoint, &exit).unwrap();
    }
    assert!(world.ledger.providers().iter().all(|provider| provider.power == Amount::ZERO));
}

#[test]
fn when_all_stakes_have_left_no_set_of_nobody_is_fixed_and_new_stakes_and_a_recovery_root_lead_to_final_blocks()
 {
    let mut world = world(85);
    all_leave(&mut world);
    // The set goes on, carried over, until it expires: its members' keys are still worth their stakes' unbonding outputs.
    world.finalise_until(&ZERO, 110);
    assert!(world.ledger.breaker().is_some());
    let (_, carried) = zero(&world).newest().unwrap();
    assert!(carried.carried_over && carried.set.header().total.to_sat() == 4_000_000);
    let mut world = recovered(world);
    world.govern(Action::Resume(Resume { accepted: vec![] })).unwrap();

    let first = world.ledger.first_open_epoch(&ChainId::zero()).0;
    for name in ZERO {
        world.commit(&ChainId::zero(), name, first..first + 8);
    }
    world.close_until((first + 1) * 20 + 1);
    assert!(zero(&world).newest().is_none(), "nobody has power");
    let wish = |name| Wish { holder: "bob", sat: 1_000_000, providers: name, lock: 2_000 };
    for name in &ZERO[..3] {
        world.active_stake(&wish(std::slice::from_ref(name)));
    }
    world.close_until((first + 2) * 20 + 1);
    assert!(zero(&world).newest().is_none(), "three have less than the minimum");
    world.active_stake(&wish(&ZERO[3..4]));
    world.close_until((first + 3) * 20 + 1);
    let opened = zero(&world).opened_at.unwrap();
    assert_eq!(opened, Epoch(first + 4));
    world.finalise_until(&ZERO, opened.0 * 20 + 12);
    assert_eq!(zero(&world).last_final().unwrap().0, Height(opened.0 * 20 + 10));
}

#[test]
fn each_root_proves_the_blocks_of_its_own_time_and_no_other_root_does() {
    let mut world = world(105);
    let certify = |world: &mut World, height: u64| {
        let certificate = world.certificate(&dev(), &DEV, Height(height), Hash32([7; 32]));
        world.send(&certificate).unwrap();
    };
    certify(&mut world, 200);
    world.finalise_until(&ZERO, 125);
    anchor(&mut world, 5).unwrap();
    world.finalise_until(&ZERO, 130);
    let mut world = restarted(recovered(world));
    // The other chain's sets expired too: it began again by itself.
    certify(&mut world, 300);
    let first = zero(&world).opened_at.unwrap().0;
    world.finalise_until(&ZERO, (first + 1) * 20 + 5);
    anchor(&mut world, first).unwrap();
    world.close();

    let (_dir, store) = stored(&world, 0, &[]);
    let roots = [0, 1].map(|incarnation| proofs::root(&world.ledger, Some(incarnation)).unwrap());
    assert_eq!(proofs::root(&world.ledger, None).unwrap(), roots[1]);
    assert!(matches!(proofs::root(&world.ledger, Some(2)), Err(NoProof::NotOpen)));
    let made =
        |height: u64| proofs::plan(&world.ledger, &dev(), Height(height)).unwrap().fill(&store).unwrap();
    let old = made(200);
    let headers_of = |proof: &palisade_protocol::proof::FinalityProof| headers(&world, proof.headers_from);
    assert_eq!(old.verify(&roots[0], headers_of(&old)).unwrap().height, Height(200));
    let refused = old.verify(&roots[1], headers(&world, old.headers_from)).unwrap_err();
    assert!(matches!(refused, Refused::OtherRoot), "{refused}");
    let new = made(300);
    assert_eq!(new.verify(&roots[1], headers_of(&new)).unwrap().height, Height(300));
    let refused = new.verify(&roots[0], headers_of(&old));
    assert!(refused.is_err(), "{refused:?}");
}

fn decided(world: &World, action: Action, names: &[&str]) -> Message {
    Message::Governance(world.decision_by(names, action))
}

fn registered(name: &str, first_epoch: u64) -> Action {
    let terms = Terms { epoch_length: 50, voted_every: 5, minimum_power_sat: 150_000 };
    let (id, genesis) = (name.parse().expect("a name"), Hash32([5; 32]));
    Action::RegisterChain(NewChain { id, genesis, terms, first_epoch: Epoch(first_epoch) })
}

#[test]
fn who_governs_hands_over_and_has_no_say_afterwards() {
    let mut world = World::new(1_000_000);
    world.mine(1);
    let new = ["new 0", "new 1", "governance 0"];
    let action = Action::RotateKeys(Governors::new(new.map(governance_key).to_vec(), 2).unwrap());
    let before = world.close().0.state_root;
    let rotation = decided(&world, action, &["governance 0", "governance 1", "new 1"]);
    world.send(&rotation).unwrap();
    assert_ne!(world.close().0.state_root, before);
    assert_eq!(world.ledger.governors().keys().len(), 3);
    for (names, rule) in [
        (&["governance 0", "governance 1"][..], Some("governance")),
        (&["governance 1", "governance 2"], Some("governance")),
        (&["new 1"], Some("governance")),
        (&["governance 0", "new 0"], None),
    ] {
        let answer = world.clone().send(&decided(&world, registered("dev", 0), names));
        assert_eq!(answer.err().map(|why| why.rule()), rule, "{names:?}");
    }
    // Back, by those who govern now.
    let old = ["governance 0", "governance 1", "governance 2"];
    let action = Action::RotateKeys(Governors::new(old.map(governance_key).to_vec(), 2).unwrap());
    world.send(&decided(&world, action, &["new 0", "new 1", "governance 1", "governance 2"])).unwrap();
    world.send(&decided(&world, registered("dev", 0), &old)).unwrap();
}

/// Whoever had the power to open a chain could open it at an epoch that it never comes to, and end it so.
#[test]
fn a_chain_that_has_not_opened_takes_nonces_for_where_it_can_be_and_not_for_epochs_far_away() {
    let mut world = World::new(1_000_000);
    world.mine(1);
    world.govern(registered("dev", 1_000)).unwrap();
    world.register_provider(&dev(), "dev anna");
    world.register_provider(&ChainId::zero(), "anna");
    let wish = Wish { holder: "alice", sat: 200_000, providers: &["anna", "dev anna"], lock: 2_000 };
    world.active_stake(&wish);
    let refused = |world: &World, epoch: u64| {
        let commitment = world.commitment(&dev(), "dev anna", Epoch(epoch));
        world.clone().send(&commitment).err().map(|why| why.rule())
    };
    // 64 epochs ahead of where it was.
    for (epoch, rule) in
        [(999, Some("commitment-epoch")), (1_000, None), (1_064, None), (1_065, Some("commitment-epoch"))]
    {
        assert_eq!(refused(&world, epoch), rule, "{epoch}");
    }
    for epoch in [1 << 40, u64::MAX / 50, u64::MAX - 1, u64::MAX] {
        assert_eq!(refused(&world, epoch), Some("commitment-epoch"), "{epoch}");
    }
    // Its epochs last two of the hub's or more: after eight of those it can be four further.
    world.close_until(8 * 20);
    assert_eq!((refused(&world, 1_068), refused(&world, 1_069)), (None, Some("commitment-epoch")));
    world.commit(&dev(), "dev anna", 1_000..1_001);
    world.close();
    let opened = world.ledger.chain(&dev()).unwrap();
    assert_eq!(opened.opened_at, Some(Epoch(1_000)));
    assert_eq!((refused(&world, 1_065), refused(&world, 1_066)), (None, Some("commitment-epoch")));
}
