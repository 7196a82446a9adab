//! The life of chain zero's sets (docs/protocol.md, sections 6.2, 7.2, 8.3 and 8.4): what each new set is, and that there is always a
//! way to the next final block.
//!
//! A state is a real ledger with its Bitcoin and its log. Each step is one hub block: something happens or nothing does, whoever is
//! there commits nonces and votes as the production rules say (`ballots::due`), the certificate goes in if there is a quorum, and
//! the block is closed. What happens: exits, an expansion to another provider, keys that come out, providers that go away (and come
//! too late with their nonces) or commit nonces and never vote, Bitcoin running ahead of the set's expiry, a rollback deeper than k;
//! and for nothing, as often as they are wanted, decisions of governance.
//!
//! Whether finality goes on is asked with everybody staying as they are: who is away stays away. Its premise is the design's own
//! (section 3): less than a third of every set that votes from then on is faulty. Exits and missing roots shrink sets and can lift a
//! faulty share over that, which the model sees in the sets that are fixed ([`premise`]).
//!
//! States that differ only in absolute heights, in what no rule looks at any more, or in names, count as one ([`State::view`]).

mod check;
mod premise;
mod tests;
pub(crate) mod view;
mod without;
mod world;

use palisade_protocol::units::Epoch;
use palisade_world::World;
use premise::{Asked, Ends};
use stateright::{Model, Property};
use std::collections::BTreeSet;
use std::sync::{Arc, OnceLock};
use view::View;
use world::NAMES;

/// A check or a duty that a variant of the model goes without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    /// Evidence is in the log when the next set is fixed. The hub keeps it out.
    Evidence,
    /// Members commit nonces while the breaker is tripped. They wait until it is over.
    CommitWhileTripped,
    /// Governance resumes.
    Resume,
    /// Governance publishes a recovery root when chain zero is lost.
    Recovery,
    /// A set with at most two thirds of the power of the one before trips the breaker.
    TwoThirds,
    /// While the breaker is tripped no stake gains power.
    HeldPower,
    /// Who has committed no nonces for an epoch is not in its set.
    Root,
}

struct Sets {
    without: Option<Check>,
    blocks: u8,
    faults: u8,
    asked: Asked,
}

#[derive(Clone)]
struct State {
    world: Arc<World>,
    /// The height of each provider's last vote.
    voted: [Option<u64>; NAMES.len()],
    away: [bool; NAMES.len()],
    /// Who commits nonces and never votes.
    mute: [bool; NAMES.len()],
    /// Who was ever away: their nonces can have come too late.
    late: [bool; NAMES.len()],
    /// Whose key is out, whether the ledger knows or not.
    out: [bool; NAMES.len()],
    /// Epochs for which a provider is taken for one who has nonces, and has none.
    without_nonces: BTreeSet<(usize, Epoch)>,
    /// Power that stakes give although they are held while the breaker is tripped.
    given: [u64; NAMES.len()],
    /// Governance has accepted power for the next set that is chosen.
    decided: bool,
    /// Blocks and faults that are left.
    blocks: u8,
    faults: u8,
    /// Whether finality goes on from here, once that was asked.
    goes_on: OnceLock<Ends>,
    /// What did not hold when the last block was closed.
    broken: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Act {
    GoOn,
    Exit(usize),
    /// The last provider's stake moves to the first one.
    Expand,
    Leak(usize),
    Away(usize),
    Back(usize),
    Mute(usize),
    /// Bitcoin finds more blocks than a set lives.
    RunAhead,
    DeepRollback,
    Resume,
    Recover,
}

impl Act {
    fn is_fault(self) -> bool {
        !matches!(self, Self::GoOn | Self::Back(_) | Self::Resume | Self::Recover)
    }
}

seen_by_view!(State);

impl State {
    /// All that the rules can still tell of this state, with heights counted from now. Bert and carl have the same power, so that
    /// states in which they have changed places are one.
    fn view(&self) -> View {
        view::view(self, [0, 1, 2, 3]).min(view::view(self, [0, 2, 1, 3]))
    }
}

impl Model for Sets {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        vec![State {
            world: Arc::new(world::begin(self.without)),
            voted: Default::default(),
            away: Default::default(),
            mute: Default::default(),
            late: Default::default(),
            out: Default::default(),
            without_nonces: BTreeSet::new(),
            given: Default::default(),
            decided: false,
            blocks: self.blocks,
            faults: self.faults,
            goes_on: OnceLock::new(),
            broken: None,
        }]
    }

    fn actions(&self, state: &State, acts: &mut Vec<Act>) {
        if state.blocks == 0 {
            return;
        }
        acts.push(Act::GoOn);
        let of = |act: fn(usize) -> Act| (0..NAMES.len()).map(act);
        let all =
            of(Act::Exit).chain(of(Act::Leak)).chain(of(Act::Away)).chain(of(Act::Back)).chain(of(Act::Mute));
        let single = [Act::Expand, Act::RunAhead, Act::DeepRollback, Act::Resume, Act::Recover];
        acts.extend(all.chain(single).filter(|act| self.can(state, *act)));
    }

    fn next_state(&self, state: &State, act: Act) -> Option<State> {
        Some(self.step(state, act))
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(SOUND, |_, state: &State| state.broken.is_none()),
            Property::always(GOES_ON, |model: &Self, state: &State| {
                state.blocks > 0 || model.goes_on(state) != Ends::Stuck
            }),
            Property::always(COMES_BACK, |model: &Self, state: &State| {
                state.blocks > 0 || model.comes_back(state) != Ends::Stuck
            }),
            Property::sometimes(PASSED, |model: &Self, state: &State| {
                state.blocks == 0 && state.lacks_a_voter() && model.goes_on(state) == Ends::Final
            }),
            Property::sometimes(TRIPPED, |_, state: &State| state.world.ledger.breaker().is_some()),
            Property::sometimes(LOST, |_, state: &State| state.is_lost()),
            Property::sometimes(CARRIED, |_, state: &State| {
                state.zero().newest().is_some_and(|(_, fixed)| fixed.carried_over)
            }),
        ]
    }
}

const SOUND: &str = "sets and power are what the rules say";
const GOES_ON: &str =
    "with less than a third of every set from then on faulty, and none expired, a block becomes final";
const COMES_BACK: &str = "whatever happened, governance and those who are left get a block final, if less than a third of what they have is mute";
const PASSED: &str = "with a member that is away or mute a block becomes final";
const TRIPPED: &str = "the breaker trips";
const LOST: &str = "chain zero is lost";
const CARRIED: &str = "a set is carried over";
