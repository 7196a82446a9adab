//! How a chain other than zero starts, goes on, and starts again (docs/protocol.md, section 7.2): who opens it, that each epoch has
//! one set and each height one block, and that those who hold enough bring it back once its set has expired.
//!
//! A state is a real ledger with its Bitcoin and its log. Each step is one block of Bitcoin and one of the hub: something happens or
//! nothing does, whoever is there commits nonces, and the next height is certified if those who are there have a quorum of its set.
//! The members of sets that the chain has left behind sign on, whether they are there or not. What happens: providers come, go away,
//! leave with their coins, or lose their keys; a rollback deeper than k; and governance resumes, and accepts what is left.
//!
//! Whether the chain comes back is asked with everybody staying as they are ([`premise`]).
//!
//! Not here: chain zero, which never opens, so that sets count without its certificates; and the chain's own clock: the block of a
//! height is there once the height has a set. States are told apart as in the model of sets ([`view`]).

mod check;
mod premise;
mod rule;
mod tests;
mod view;
mod world;

use palisade_hub::ledger::Ledger;
use palisade_hub::ledger::chains::Chain;
use palisade_protocol::context::ChainId;
use palisade_world::World;
use premise::Ends;
use stateright::{Model, Property};
use std::sync::{Arc, OnceLock};
use view::View;
use world::NAMES;

/// A check or a duty that a variant of the model goes without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    /// A chain starts with the power that governance has registered it with. It has registered it with next to none.
    Minimum,
    /// A chain starts again with more than two thirds of what the members of its last set hold. Anybody starts it again.
    TwoThirds,
    /// What they hold is what they hold now. It is what they had in the set.
    HeldNow,
    /// A chain starts again when its newest set has expired. It does at any time.
    Expired,
    /// No set is fixed while the breaker is tripped.
    Tripped,
    /// No set is fixed while the chain waits for governance.
    Paused,
    /// Nobody believes what is signed under a set after its expiry. The log takes the certificate.
    OldSets,
    /// Evidence is in the log when a set is fixed. The hub keeps it out.
    Evidence,
    /// Governance resumes.
    Resume,
}

struct Starts {
    without: Option<Check>,
    /// Whether everybody is there in the beginning, and the chain open.
    open: bool,
    blocks: u8,
    faults: u8,
}

#[derive(Clone)]
struct State {
    world: Arc<World>,
    /// Who commits and votes.
    here: [bool; NAMES.len()],
    /// Whose key is out, whether the ledger knows or not.
    out: [bool; NAMES.len()],
    /// In a variant: the chain has no set where the ledger has fixed one, so nobody votes.
    shut: bool,
    /// Blocks and faults that are left.
    blocks: u8,
    faults: u8,
    /// Whether the chain comes back from here, once that was asked.
    ends: OnceLock<Ends>,
    /// What did not hold when the last block was closed.
    broken: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Act {
    GoOn,
    Come(usize),
    Away(usize),
    Exit(usize),
    Leak(usize),
    DeepRollback,
    Resume,
}

impl Act {
    fn is_fault(self) -> bool {
        !matches!(self, Self::GoOn | Self::Come(_) | Self::Resume)
    }
}

seen_by_view!(State);

fn demo() -> ChainId {
    "demo".parse().expect("a name")
}

fn chain(ledger: &Ledger) -> &Chain {
    ledger.chain(&demo()).expect("registered")
}

impl State {
    /// All that the rules can still tell of this state, with heights counted from now. Bert and carl have the same power, so that
    /// states in which they have changed places are one.
    fn view(&self) -> View {
        view::view(self, [0, 1, 2, 3]).min(view::view(self, [0, 2, 1, 3]))
    }

    fn chain(&self) -> &Chain {
        chain(&self.world.ledger)
    }

    fn has_started_again(&self) -> bool {
        let first = self.chain().sets.keys().next();
        self.chain().opened_at.as_ref() > first
    }

    /// Its newest set has expired.
    fn is_over(&self) -> bool {
        let expiry = self.chain().newest().map(|(_, fixed)| fixed.set.header().expiry);
        expiry.is_some_and(|expiry| self.world.ledger.btc_height() > expiry)
    }
}

impl Model for Starts {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        vec![self.begin()]
    }

    fn actions(&self, state: &State, acts: &mut Vec<Act>) {
        if state.blocks == 0 {
            return;
        }
        acts.push(Act::GoOn);
        let of = |act: fn(usize) -> Act| (0..NAMES.len()).map(act);
        let all = of(Act::Come).chain(of(Act::Away)).chain(of(Act::Exit)).chain(of(Act::Leak));
        acts.extend(all.chain([Act::DeepRollback, Act::Resume]).filter(|act| self.can(state, *act)));
    }

    fn next_state(&self, state: &State, act: Act) -> Option<State> {
        Some(self.step(state, act))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(SOUND, |_, state: &State| state.broken.is_none()),
            Property::always(COMES_BACK, |model: &Self, state: &State| {
                state.blocks > 0 || model.ends(state) != Ends::Stuck
            }),
            Property::sometimes(STARTED, |_, state: &State| state.chain().newest().is_some()),
            Property::sometimes(AGAIN, |_, state: &State| state.has_started_again()),
            Property::sometimes(BACK, |model: &Self, state: &State| {
                state.blocks == 0 && state.is_over() && model.ends(state) == Ends::Final
            }),
            Property::sometimes(TOO_FEW, |model: &Self, state: &State| {
                state.blocks == 0 && model.ends(state) == Ends::Weak
            }),
            Property::sometimes(PAUSED, |_, state: &State| state.chain().paused && state.is_over()),
            Property::sometimes(TRIPPED, |_, state: &State| {
                state.world.ledger.breaker().is_some() && state.is_over()
            }),
        ]
    }
}

const SOUND: &str = "sets and final blocks are what the rules say";
const COMES_BACK: &str = "whatever happened, governance and those who are there get blocks final, if they hold enough to start the chain";
const STARTED: &str = "the chain starts";
const AGAIN: &str = "the chain starts again";
const BACK: &str = "a chain whose set has expired comes back";
const TOO_FEW: &str = "those who are there are too few to start the chain";
const PAUSED: &str = "a chain that waits for governance has no set left";
const TRIPPED: &str = "under a tripped breaker a chain has no set left";
