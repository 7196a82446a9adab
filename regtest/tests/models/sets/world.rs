//! The world of a state: small parameters, four providers, and each act as real messages.

use super::{Act, Check, Sets, State, check, without};
use palisade_finality_provider::signer::request::LastVote;
use palisade_finality_provider::voter::ballots::{self, Voting};
use palisade_hub::ledger::chains::Chain;
use palisade_hub::ledger::stake::Stake;
use palisade_hub::ledger::state::StakeState;
use palisade_protocol::context::{ChainId, Terms};
use palisade_protocol::finality::evidence::{Evidence, LeakedKey};
use palisade_protocol::governance::{AcceptedPower, Action, FinalBlock, Recovery, Resume};
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::params::ParamsDocument;
use palisade_protocol::stake::StakeId;
use palisade_protocol::units::{BtcHeight, Epoch, Height, RelativeBlocks};
use palisade_world::{COVENANT, Wish, World, provider_key, secret};
use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

pub(super) const NAMES: [&str; 4] = ["anna", "bert", "carl", "dora"];
const POWERS: [u64; NAMES.len()] = [3, 2, 2, 1];
const UNIT: u64 = 100_000;
pub(super) const TERMS: Terms = Terms { epoch_length: 2, voted_every: 1, minimum_power_sat: 1 };
const LOCK: u16 = 2_000;
/// Blocks of Bitcoin that a set lives.
pub(super) const LIFETIME: u32 = 3;
pub(super) const K: u32 = 1;
/// Epochs that nonces are committed for ahead of those with a set.
const AHEAD: u64 = 2;

/// As small as the rules let parameters be.
fn small(params: &mut ParamsDocument) {
    (params.k, params.w, params.margin_blocks) = (K, K, 1);
    params.set_lifetime_blocks = LIFETIME;
    params.unbonding_blocks = RelativeBlocks::new(2 * (K as u16 + LIFETIME as u16) + 1).expect("blocks");
}

/// Chain zero has its first set, of all four, and the first voted block is made.
pub(super) fn begin(without: Option<Check>) -> World {
    let mut world = World::with_params(TERMS, &COVENANT, 3, small);
    world.mine(1);
    for (name, power) in NAMES.iter().zip(POWERS) {
        world.register_provider(&ChainId::zero(), name);
        world.active_stake(&Wish { holder: "alice", sat: power * UNIT, providers: &[name], lock: LOCK });
        world.commit(&ChainId::zero(), name, 1..2 + AHEAD);
    }
    if without == Some(Check::TwoThirds) {
        without::pause_another_chain(&mut world);
    }
    world.close_until(3);
    world
}

impl State {
    pub(super) fn zero(&self) -> &Chain {
        &self.world.ledger.chains()[0]
    }

    pub(super) fn is_tripped(&self) -> bool {
        self.world.ledger.breaker().is_some()
    }

    pub(super) fn is_lost(&self) -> bool {
        self.zero().is_lost(self.world.ledger.btc_height())
    }
}

impl Sets {
    pub(super) fn can(&self, state: &State, act: Act) -> bool {
        if act.is_fault() && state.faults == 0 {
            return false;
        }
        match act {
            Act::Exit(place) => active_stake(state, place).is_some(),
            Act::Expand => active_stake(state, NAMES.len() - 1).is_some() && !state.out[0],
            Act::Leak(place) => !state.out[place],
            Act::Away(place) => !state.away[place] && !state.out[place],
            Act::Back(place) => state.away[place],
            Act::Mute(place) => !state.mute[place] && !state.out[place],
            Act::Resume => state.world.ledger.breaker().is_some() && self.without != Some(Check::Resume),
            Act::Recover => state.is_lost() && self.without != Some(Check::Recovery),
            Act::GoOn | Act::RunAhead | Act::DeepRollback => true,
        }
    }

    /// One hub block.
    pub(super) fn step(&self, state: &State, act: Act) -> State {
        let mut next = state.clone();
        next.goes_on = OnceLock::new();
        next.blocks = next.blocks.saturating_sub(1);
        next.faults -= u8::from(act.is_fault());
        let mut world = (*state.world).clone();
        self.act(&mut next, &mut world, act);
        self.commit(&mut next, &mut world);
        self.go_without(&mut next, &mut world);
        vote(&mut next, &mut world);
        let closing = world.ledger.clone();
        world.close();
        let decided = std::mem::replace(&mut next.decided, false);
        next.world = Arc::new(world);
        let ledger = &next.world.ledger;
        next.broken = check::sets(&state.world.ledger, &closing, ledger)
            .or_else(|| check::power(state, &next))
            .or_else(|| check::share(state, &next, decided))
            .or_else(|| check::nobody_is_out(&next, &closing, ledger));
        // Until a set is chosen.
        next.decided = decided && next.zero().accepted.is_some();
        next
    }

    fn act(&self, next: &mut State, world: &mut World, act: Act) {
        match act {
            Act::GoOn => {}
            Act::Exit(place) => {
                let stake = active_stake(next, place).expect("it can");
                let unbonding = stake.presigned.unbonding.clone();
                world.spend(&stake.id, stake.contract.coin.outpoint, &unbonding).expect("a good proof");
            }
            Act::Expand => expand(world, &active_stake(next, NAMES.len() - 1).expect("it can").id),
            Act::Leak(place) => {
                next.out[place] = true;
                if self.without != Some(Check::Evidence) {
                    let (key, secret) = (provider_key(NAMES[place]), secret(NAMES[place]).secret_bytes());
                    let leaked = Evidence::Key(LeakedKey { key, secret });
                    world.send(&Message::Evidence(leaked)).expect("good evidence");
                }
            }
            Act::Away(place) => (next.away[place], next.late[place]) = (true, true),
            Act::Back(place) => next.away[place] = false,
            Act::Mute(place) => next.mute[place] = true,
            Act::RunAhead => world.mine(LIFETIME + 1),
            Act::DeepRollback => {
                world.reorg(K + 1, &[]).expect("more work");
            }
            Act::Resume => {
                next.decided = true;
                resume(world);
            }
            Act::Recover => {
                let zero = next.zero();
                let last_final = zero.last_final().map(|(height, hash)| FinalBlock { height, hash });
                let incarnation = zero.identity.incarnation + 1;
                let recovery = Recovery { chain: zero.id().clone(), incarnation, last_final };
                world.govern(Action::RecoveryRoot(recovery)).expect("it is lost");
            }
        }
    }

    /// Whoever is there commits for the coming epochs, whatever power it has.
    fn commit(&self, next: &mut State, world: &mut World) {
        if self.without == Some(Check::CommitWhileTripped) && world.ledger.breaker().is_some() {
            return;
        }
        let first = world.ledger.first_open_epoch(&ChainId::zero());
        for (place, name) in NAMES.into_iter().enumerate() {
            let provider = world.ledger.providers().get(&provider_key(name)).expect("registered");
            if next.away[place] || provider.exposed_at.is_some() {
                continue;
            }
            let lacking = (first.0..first.0 + AHEAD).map(Epoch);
            let has = |epoch: &Epoch| {
                provider.roots.contains_key(epoch) && !next.without_nonces.contains(&(place, *epoch))
            };
            let lacking: Vec<_> = lacking.filter(|epoch| !has(epoch)).collect();
            for epoch in lacking {
                let message = commitment(world, name, epoch);
                world.send(&message).expect("a good commitment");
                next.without_nonces.remove(&(place, epoch));
            }
        }
    }
}

/// A commitment, made once for all states.
fn commitment(world: &World, name: &'static str, epoch: Epoch) -> Message {
    type Made = Mutex<HashMap<(Hash32, &'static str, Epoch), Message>>;
    static MADE: LazyLock<Made> = LazyLock::new(Mutex::default);
    let key = (world.ledger.chains()[0].commitment, name, epoch);
    if let Some(made) = MADE.lock().unwrap().get(&key) {
        return made.clone();
    }
    let made = world.commitment(&ChainId::zero(), name, epoch);
    MADE.lock().unwrap().insert(key, made.clone());
    made
}

/// Those for whom a vote is due vote, and a quorum is certified.
fn vote(next: &mut State, world: &mut World) {
    let zero = &world.ledger.chains()[0];
    let Some(height) = zero.awaited().filter(|height| *height < world.ledger.next_height()) else {
        return;
    };
    let block = |height: u64| world.log[height as usize].header.hash();
    for (place, name) in NAMES.into_iter().enumerate() {
        let last = next.voted[place].map(|height| LastVote { height: Height(height), block: block(height) });
        let voting = Voting { key: provider_key(name), last, btc_tip: BtcHeight(0), held: None };
        let due = ballots::due(&world.ledger, zero, &voting);
        let without_nonces = next.without_nonces.contains(&(place, TERMS.epoch_of(height)));
        let silent = next.away[place] || next.mute[place] || next.out[place] || without_nonces;
        if !silent && due.is_ok_and(|due| due.height == height) {
            next.voted[place] = Some(height.0);
        }
    }
    let Some(fixed) = zero.sets.get(&TERMS.epoch_of(height)) else { return };
    let voters: Vec<&str> = (0..NAMES.len())
        .filter(|place| next.voted[*place] == Some(height.0))
        .map(|place| NAMES[place])
        .filter(|name| fixed.set.find(&provider_key(name)).is_some())
        .collect();
    let power = voters.iter().filter_map(|name| Some(fixed.set.find(&provider_key(name))?.1.power));
    let power = power.fold(bitcoin::Amount::ZERO, |sum, own| sum + own);
    if fixed.set.header().is_quorum(power) {
        let certificate = world.certificate(&ChainId::zero(), &voters, height, block(height.0));
        // Refused where the set has expired since the votes were given.
        drop(world.send(&certificate));
    }
}

/// The stake that gives a provider its power.
fn active_stake(state: &State, place: usize) -> Option<Stake> {
    let key = provider_key(NAMES[place]);
    let mut stakes = state.world.ledger.stakes().iter();
    stakes.find(|stake| stake.state == StakeState::Active && stake.providers.contains(&key)).cloned()
}

fn expand(world: &mut World, old: &StakeId) {
    let (to, from) = (NAMES[0], NAMES[NAMES.len() - 1]);
    let sat = POWERS[NAMES.len() - 1] * UNIT;
    let wish = Wish { holder: "alice", sat, providers: &[to], lock: LOCK };
    let registration = world.expansion(old, &wish, &[from]);
    let tx = registration.staking_tx.clone();
    let new = StakeId(world.send(&Message::Stake(Box::new(registration))).expect("a good expansion"));
    world.sign_quorum(&new);
    for member in &COVENANT[..3] {
        let consent = world.consent(member, &new).expect("an expansion");
        world.send(&consent).expect("a good consent");
    }
    world.include(&new, &tx);
}

/// Governance looks at what is left, and accepts that.
fn resume(world: &mut World) {
    let next = world.ledger.first_open_epoch(&ChainId::zero());
    let eligible = world.ledger.providers().eligible(&ChainId::zero(), next);
    let power = eligible.iter().fold(bitcoin::Amount::ZERO, |sum, member| sum + member.power);
    let accepted = vec![AcceptedPower { chain: ChainId::zero(), power }];
    world.govern(Action::Resume(Resume { accepted })).expect("it is tripped");
}
