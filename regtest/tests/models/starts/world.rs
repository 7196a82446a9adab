//! The world of a state: small parameters, four providers, and each act as real messages.

use super::{Act, Check, Starts, State, chain, check, demo, rule};
use palisade_hub::ledger::chains::FixedSet;
use palisade_hub::ledger::stake::Stake;
use palisade_hub::ledger::state::StakeState;
use palisade_hub::ledger::{Ledger, Rejected};
use palisade_protocol::context::{ChainId, Terms};
use palisade_protocol::finality::certificate::Certificate;
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::governance::{AcceptedPower, Action, Resume};
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::params::ParamsDocument;
use palisade_protocol::units::{Epoch, Height, RelativeBlocks};
use palisade_world::{COVENANT, Wish, World, provider_key};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

const ZERO: &str = "zoe";
pub(super) const NAMES: [&str; 4] = ["anna", "bert", "carl", "dora"];
const POWERS: [u64; NAMES.len()] = [3, 2, 2, 1];
const UNIT: u64 = 100_000;
/// What opens the chain.
pub(super) const MINIMUM: u64 = 5 * UNIT;
/// Blocks of Bitcoin that a set lives.
pub(super) const LIFETIME: u32 = 2;
const K: u32 = 1;
/// An epoch is one height: height h has the set of epoch h.
const LENGTH: u64 = 1;

/// As small as the rules let parameters be.
fn small(params: &mut ParamsDocument) {
    (params.k, params.w, params.margin_blocks) = (K, K, 1);
    params.set_lifetime_blocks = LIFETIME;
    params.unbonding_blocks = RelativeBlocks::new(2 * (K as u16 + LIFETIME as u16) + 1).expect("blocks");
}

/// Everybody has power, nobody has nonces, and the chain has not started.
fn closed(minimum_power_sat: u64) -> World {
    let never = bitcoin::Amount::MAX_MONEY.to_sat();
    let zero = Terms { epoch_length: 2, voted_every: 1, minimum_power_sat: never };
    let mut world = World::with_params(zero, &COVENANT, 3, small);
    world.mine(1);
    world.register_provider(&ChainId::zero(), ZERO);
    world.register_chain(&demo(), Terms { epoch_length: LENGTH, voted_every: LENGTH, minimum_power_sat });
    for (name, power) in NAMES.iter().zip(POWERS) {
        world.register_provider(&demo(), name);
        let wish = Wish { holder: "alice", sat: power * UNIT, providers: &[ZERO, name], lock: 2_000 };
        world.active_stake(&wish);
    }
    // What is older than the beginning no rollback takes away.
    world.mine(K + 2);
    world.close();
    world
}

impl State {
    /// The stake that gives a provider its power.
    fn active_stake(&self, place: usize) -> Option<&Stake> {
        let key = provider_key(NAMES[place]);
        let mut stakes = self.world.ledger.stakes().iter();
        stakes.find(|stake| stake.state == StakeState::Active && stake.providers.contains(&key))
    }
}

impl Starts {
    pub(super) fn begin(&self) -> State {
        let minimum = if self.without == Some(Check::Minimum) { 1 } else { MINIMUM };
        let begin = State {
            world: Arc::new(closed(minimum)),
            here: [self.open; NAMES.len()],
            out: Default::default(),
            shut: false,
            blocks: self.blocks,
            faults: self.faults,
            ends: OnceLock::new(),
            broken: None,
        };
        let before = if self.open { 3 } else { 0 };
        let by_the_rules = Self { without: None, ..*self };
        let began = (0..before).fold(begin, |state, _| by_the_rules.step(&state, Act::GoOn));
        assert_eq!((began.chain().newest().is_some(), began.broken), (self.open, None));
        State { blocks: self.blocks, ..began }
    }

    pub(super) fn can(&self, state: &State, act: Act) -> bool {
        if act.is_fault() && state.faults == 0 {
            return false;
        }
        match act {
            Act::GoOn | Act::DeepRollback => true,
            Act::Come(place) => !state.here[place] && !state.out[place],
            Act::Away(place) => state.here[place] && !state.out[place],
            Act::Exit(place) => state.active_stake(place).is_some(),
            Act::Leak(place) => !state.out[place],
            Act::Resume => {
                let waits = state.world.ledger.breaker().is_some() || state.chain().paused;
                waits && self.without != Some(Check::Resume)
            }
        }
    }

    /// One block of Bitcoin, and one of the hub.
    pub(super) fn step(&self, state: &State, act: Act) -> State {
        let mut next = state.clone();
        next.ends = OnceLock::new();
        next.blocks = next.blocks.saturating_sub(1);
        next.faults -= u8::from(act.is_fault());
        let mut world = (*state.world).clone();
        self.act(&mut next, &mut world, act);
        commit(&next, &mut world, act);
        let late = if next.shut { None } else { self.certify(&next, &mut world) };
        let closing = world.ledger.clone();
        world.close();
        next.world = Arc::new(world);
        let ledger = &next.world.ledger;
        let (ruled, fixed) = (rule::opening(&closing, self.without), rule::opened(&closing, ledger));
        next.shut |= ruled.is_none() && fixed.is_some();
        next.broken = late
            .or_else(|| check::finals(&state.world.ledger, &closing))
            .or_else(|| check::sets(&state.world.ledger, &closing, ledger))
            .or_else(|| check::continued(&closing, ledger))
            .or_else(|| check::opening(&closing, ruled.as_ref().or(fixed.as_ref())?, &next))
            .or_else(|| (self.without.is_none() && ruled != fixed).then_some("a chain starts by its rule"));
        next
    }

    fn act(&self, next: &mut State, world: &mut World, act: Act) {
        match act {
            Act::Exit(place) => {
                let stake = next.active_stake(place).expect("it can");
                let (id, coin) = (stake.id, stake.contract.coin.outpoint);
                let unbonding = stake.presigned.unbonding.clone();
                world.spend(&id, coin, &unbonding).expect("a good proof");
                return;
            }
            Act::DeepRollback => {
                world.reorg(K + 1, &[]).expect("more work");
                return;
            }
            Act::GoOn => {}
            Act::Come(place) => next.here[place] = true,
            Act::Away(place) => next.here[place] = false,
            Act::Leak(place) => {
                next.out[place] = true;
                if self.without != Some(Check::Evidence) {
                    world.leak(NAMES[place]);
                }
            }
            Act::Resume => resume(world),
        }
        world.mine(1);
    }

    /// Whoever is there votes for the next height. Members of sets that are left behind sign too, for the heights that they did not
    /// get final; what is wrong if the log takes that.
    fn certify(&self, next: &State, world: &mut World) -> Option<&'static str> {
        let own = chain(&world.ledger);
        let awaited = own.awaited()?;
        let is_open = |fixed: &&FixedSet| !own.certified.contains_key(&height(fixed));
        let open: Vec<FixedSet> = own.sets.values().filter(is_open).cloned().collect();
        let (behind, rest): (Vec<_>, Vec<_>) = open.into_iter().partition(|fixed| height(fixed) < awaited);
        for fixed in rest.iter().filter(|fixed| height(fixed) == awaited) {
            let there = |place: &usize| next.here[*place] && !next.out[*place];
            // Refused where the set has expired, or votes pause.
            drop(certificate(world, fixed, there).map(|message| world.send(&message)));
        }
        let last = chain(&world.ledger).last_final().map(|(last, _)| last);
        let mut broken = None;
        for fixed in behind {
            let late = certificate(world, &fixed, |_| true).expect("all of them are a quorum");
            let is_late = matches!(world.send(&late), Err(Rejected::Expired(_)));
            if is_late && self.without == Some(Check::OldSets) && last > Some(height(&fixed)) {
                broken = Some(check::IN_ORDER);
            }
        }
        broken
    }
}

fn height(fixed: &FixedSet) -> Height {
    Height(fixed.set.header().epoch.0)
}

/// The certificate of these of a set's members, if they are a quorum.
fn certificate(world: &World, fixed: &FixedSet, votes: impl Fn(&usize) -> bool) -> Option<Message> {
    let is_member = |place: &usize| fixed.set.find(&provider_key(NAMES[*place]));
    let voters: Vec<usize> =
        (0..NAMES.len()).filter(votes).filter(|place| is_member(place).is_some()).collect();
    let power = voters.iter().filter_map(|place| Some(is_member(place)?.1.power));
    let power = power.fold(bitcoin::Amount::ZERO, |sum, own| sum + own);
    if !fixed.set.header().is_quorum(power) {
        return None;
    }
    let votes: Vec<Vote> = voters.iter().map(|place| vote(world, *place, height(fixed))).collect();
    Some(Message::Certificate(Box::new(Certificate::assemble(votes[0].ballot, &fixed.set, &votes))))
}

/// A vote, made once for all states.
fn vote(world: &World, place: usize, height: Height) -> Vote {
    static MADE: LazyLock<Mutex<HashMap<(usize, Height), Vote>>> = LazyLock::new(Mutex::default);
    let made = || world.vote(&demo(), NAMES[place], height, Hash32([height.0 as u8 + 1; 32]));
    MADE.lock().unwrap().entry((place, height)).or_insert_with(made).clone()
}

/// Whoever is there commits for the first epoch without a set, whatever power it has; who has just come, for the one after.
fn commit(next: &State, world: &mut World, act: Act) {
    let first = world.ledger.first_open_epoch(&demo());
    for place in (0..NAMES.len()).filter(|place| next.here[*place]) {
        let epoch = if act == Act::Come(place) { first.next() } else { first };
        let own = world.ledger.providers().get(&provider_key(NAMES[place])).expect("registered");
        if own.exposed_at.is_none() && !own.roots.contains_key(&epoch) {
            world.send(&commitment(world, place, epoch)).expect("a good commitment");
        }
    }
}

/// A commitment, made once for all states.
fn commitment(world: &World, place: usize, epoch: Epoch) -> Message {
    static MADE: LazyLock<Mutex<HashMap<(usize, Epoch), Message>>> = LazyLock::new(Mutex::default);
    let made = || world.commitment(&demo(), NAMES[place], epoch);
    MADE.lock().unwrap().entry((place, epoch)).or_insert_with(made).clone()
}

/// Governance looks at what is left, and accepts that.
fn resume(world: &mut World) {
    let power = eligible(&world.ledger, world.ledger.first_open_epoch(&demo()));
    let accepted = vec![AcceptedPower { chain: demo(), power }];
    world.govern(Action::Resume(Resume { accepted })).expect("something waits");
}

fn eligible(ledger: &Ledger, epoch: Epoch) -> bitcoin::Amount {
    let members = ledger.providers().eligible(&demo(), epoch);
    members.iter().fold(bitcoin::Amount::ZERO, |sum, member| sum + member.power)
}
