use super::*;
use palisade_protocol::context::{ChainId, Terms};
use palisade_protocol::finality::evidence::{Evidence, LeakedKey};
use palisade_protocol::finality::tally::Tally;
use palisade_protocol::governance::{Action, NewChain};
use palisade_protocol::message::Message;
use palisade_protocol::units::Epoch;
use palisade_world::{Wish, World, provider_key, secret};

/// Anna and Bert on chain zero, with nonces up to epoch 7, and a log whose newest block is `tip`.
pub(in crate::voter) fn world(tip: u64) -> World {
    let mut world = World::new(500_000);
    world.mine(1);
    for (name, sat) in [("anna", 400_000), ("bert", 100_000)] {
        world.register_provider(&ChainId::zero(), name);
        world.active_stake(&Wish { holder: "holder", sat, providers: &[name], lock: 2_000 });
        world.commit(&ChainId::zero(), name, 1..8);
    }
    world.close_until(tip + 1);
    world
}

fn certify(world: &mut World, chain: &ChainId, name: &str, height: u64, block: Hash32) {
    let known = world.ledger.chain(chain).unwrap();
    let epoch = known.terms.epoch_of(Height(height));
    let mut tally = Tally::new(known.sets[&epoch].set.clone(), known.terms);
    let vote = world.vote(chain, name, Height(height), block);
    let ballot = vote.ballot;
    tally.add(vote).unwrap();
    let certificate = tally.certificate(ballot).expect("a quorum");
    world.send(&Message::Certificate(Box::new(certificate))).unwrap();
    world.close();
}

fn certify_zero(world: &mut World, height: u64) {
    let block = world.log[height as usize].header.hash();
    certify(world, &ChainId::zero(), "anna", height, block);
}

fn voting(name: &str) -> Voting {
    Voting { key: provider_key(name), last: None, btc_tip: BtcHeight(0), held: None }
}

fn ask(world: &World, chain: &ChainId, voting: &Voting) -> Result<Height, NotDue> {
    due(&world.ledger, world.ledger.chain(chain).unwrap(), voting).map(|due| due.height)
}

fn ask_zero(world: &World, voting: &Voting) -> Result<Height, NotDue> {
    ask(world, &ChainId::zero(), voting)
}

#[test]
fn heights_are_voted_in_order_each_behind_the_certificate_of_the_one_before() {
    let mut world = world(40);
    let mut anna = voting("anna");
    for height in [20, 25, 30, 35, 40] {
        // However long the log is, nothing but the next height is due.
        assert_eq!(ask_zero(&world, &anna), Ok(Height(height)));
        let block = world.log[height as usize].header.hash();
        anna.last = Some(LastVote { height: Height(height), block });
        assert_eq!(ask_zero(&world, &anna), Err(NotDue::Voted(Height(height))));
        certify_zero(&mut world, height);
    }
    assert_eq!(ask_zero(&world, &anna), Ok(Height(45)));
}

#[test]
fn a_certificate_that_is_held_before_the_log_has_it_makes_the_next_height_due_in_an_epoch_whose_set_is_final()
{
    let mut world = world(60);
    let context = world.ledger.chains()[0].vote;
    let block = |world: &World, height: u64| world.log[height as usize].header.hash();
    let held =
        |world: &World, height: u64| Held { context, height: Height(height), block: block(world, height) };
    let last =
        |world: &World, height: u64| Some(LastVote { height: Height(height), block: block(world, height) });
    for height in [20, 25, 30] {
        let anna = Voting { last: last(&world, height), held: Some(held(&world, height)), ..voting("anna") };
        assert_eq!(ask_zero(&world, &anna), Ok(Height(height + 5)));
    }
    // Hub block 20 fixed the set of epoch 2, and the log does not call it final yet.
    let anna = Voting { last: last(&world, 35), held: Some(held(&world, 35)), ..voting("anna") };
    let not_final = NotDue::SetNotFinal { epoch: Epoch(2), fixed_by: Height(20) };
    assert_eq!(ask_zero(&world, &anna), Err(not_final));
    certify_zero(&mut world, 20);
    assert_eq!(ask_zero(&world, &anna), Ok(Height(40)));
    // What the key voted for is another block, or the certificate is another chain's or an old one.
    let other = Voting { last: Some(LastVote { height: Height(35), block: Hash32([7; 32]) }), ..anna };
    let certified = block(&world, 35);
    assert_eq!(ask_zero(&world, &other), Err(NotDue::OtherBranch { height: Height(35), certified }));
    let ahead = Voting { last: last(&world, 30), ..anna };
    assert_eq!(
        ask_zero(&world, &ahead),
        Err(NotDue::Voted(Height(25))),
        "of what it has not voted on itself"
    );
    let elsewhere = Held { context: world.ledger.chains()[0].commitment, ..held(&world, 35) };
    for held in [elsewhere, held(&world, 20)] {
        let bert = Voting { held: Some(held), ..voting("bert") };
        assert_eq!(ask_zero(&world, &bert), Ok(Height(25)));
    }
}

#[test]
fn a_height_that_became_final_without_the_key_is_passed_over() {
    let mut world = world(40);
    certify_zero(&mut world, 20);
    assert_eq!(ask_zero(&world, &voting("bert")), Ok(Height(25)));
}

#[test]
fn a_key_that_is_in_no_set_has_nothing_to_vote_on() {
    let closed = World::new(500_000);
    assert_eq!(ask_zero(&closed, &voting("anna")), Err(NotDue::NotOpen));
    assert_eq!(ask_zero(&world(20), &voting("carl")), Err(NotDue::NotMember(Epoch(1))));
}

#[test]
fn a_key_that_is_out_votes_no_more_though_its_sets_stand() {
    let mut world = world(40);
    let leaked = LeakedKey { key: provider_key("anna"), secret: secret("anna").secret_bytes() };
    world.send(&Message::Evidence(Evidence::Key(leaked))).unwrap();
    assert_eq!(ask_zero(&world, &voting("anna")), Err(NotDue::Exposed));
    assert_eq!(ask_zero(&world, &voting("bert")), Ok(Height(20)));
}

#[test]
fn nobody_votes_on_another_branch_than_its_own_last_vote() {
    let mut world = world(40);
    let last = LastVote { height: Height(20), block: Hash32([7; 32]) };
    let anna = Voting { last: Some(last), ..voting("anna") };
    assert_eq!(ask_zero(&world, &anna), Err(NotDue::Voted(Height(20))));
    certify_zero(&mut world, 20);
    let certified = world.log[20].header.hash();
    assert_eq!(ask_zero(&world, &anna), Err(NotDue::OtherBranch { height: Height(20), certified }));
}

#[test]
fn nobody_votes_under_an_expired_set_whoever_knows_of_the_block_first() {
    let mut world = world(20);
    let expiry = world.ledger.chains()[0].sets[&Epoch(1)].set.header().expiry;
    let at = |btc_tip| Voting { btc_tip, ..voting("anna") };
    assert_eq!(ask_zero(&world, &at(expiry)), Ok(Height(20)));
    let expired = Err(NotDue::Expired { epoch: Epoch(1), expiry });
    assert_eq!(ask_zero(&world, &at(expiry.next())), expired, "the own node knows");
    world.mine(expiry.next().0 - world.btc_height());
    assert_eq!(ask_zero(&world, &at(BtcHeight(0))), expired, "the hub knows");
}

#[test]
fn a_chain_whose_sets_have_all_expired_is_said_to_have_no_voters() {
    let mut world = world(20);
    let said = |world: &World| expired(&world.ledger, &world.ledger.chains()[0]);
    let (epoch, expiry) = {
        let (epoch, fixed) = world.ledger.chains()[0].newest().unwrap();
        (epoch, fixed.set.header().expiry)
    };
    world.mine(expiry.0 - world.btc_height());
    assert_eq!(said(&world), None, "in its last block it can vote");
    world.mine(1);
    let now = expiry.next();
    let words = format!(
        "chain zero: its newest set, of epoch {epoch}, expired at Bitcoin height {expiry}, now {now}"
    );
    assert!(said(&world).is_some_and(|why| why.starts_with(&words)), "{:?}", said(&world));
}

#[test]
fn a_set_is_used_only_once_the_hub_block_that_fixed_it_is_final() {
    let mut world = world(21);
    let dev: ChainId = "dev".parse().unwrap();
    let terms = Terms { epoch_length: 50, voted_every: 5, minimum_power_sat: 100_000 };
    let chain = NewChain { id: dev.clone(), genesis: Hash32([5; 32]), terms, first_epoch: Epoch(0) };
    world.govern(Action::RegisterChain(chain)).unwrap();
    world.register_provider(&dev, "dev anna");
    let wish = Wish { holder: "holder", sat: 100_000, providers: &["anna", "dev anna"], lock: 2_000 };
    world.active_stake(&wish);
    world.commit(&dev, "dev anna", 4..8);
    let fixed_by = world.ledger.next_height();
    world.close_until(46);
    let anna = voting("dev anna");
    for height in [20, 25] {
        assert_eq!(ask(&world, &dev, &anna), Err(NotDue::SetNotFinal { epoch: Epoch(4), fixed_by }));
        certify_zero(&mut world, height);
    }
    assert_eq!(ask(&world, &dev, &anna), Ok(Height(200)));
    certify(&mut world, &dev, "dev anna", 200, Hash32([9; 32]));
    assert_eq!(ask(&world, &dev, &anna), Ok(Height(205)));
    // Nothing while the breaker is tripped; chain zero goes on.
    world.reorg(7, &[]).unwrap();
    assert_eq!(ask(&world, &dev, &anna), Err(NotDue::Paused));
    assert_eq!(ask_zero(&world, &voting("anna")), Ok(Height(30)));
}
