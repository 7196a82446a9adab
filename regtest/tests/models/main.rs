//! Models of the protocol, of which all states are tried: each asks one question, and who decides in it is the production code.
//!
//! Each model says what it leaves out. A model without one of its checks must find a counterexample, so that both the check and
//! the model are worth something. What a run looked at it prints (`--nocapture`); `PALISADE_MODEL_FAULTS=1` makes it look at
//! more, for minutes. docs/operations/models.md has the bounds and what was found.

/// States between which no rule can tell are one: they are compared, hashed and shown by what `view` gives of them.
macro_rules! seen_by_view {
    ($state:ty) => {
        impl PartialEq for $state {
            fn eq(&self, other: &Self) -> bool {
                self.view() == other.view()
            }
        }

        impl std::hash::Hash for $state {
            fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
                self.view().hash(state);
            }
        }

        impl std::fmt::Debug for $state {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                self.view().fmt(f)
            }
        }
    };
}

mod anchors;
mod finals;
mod safety;
mod sets;
mod slashing;
mod starts;

use stateright::{Checker, HasDiscoveries, Model};
use std::fmt::Debug;
use std::hash::Hash;
use std::time::Instant;

/// A model all of whose states can be tried, by several threads.
trait Tried:
    Model<State: Debug + Hash + PartialEq + Clone + Send + Sync, Action: Debug + Clone + PartialEq>
    + Send
    + Sync
    + 'static
{
}

impl<M> Tried for M where
    M: Model<State: Debug + Hash + PartialEq + Clone + Send + Sync, Action: Debug + Clone + PartialEq>
        + Send
        + Sync
        + 'static
{
}

/// How much more than usual is looked at.
fn more() -> u8 {
    std::env::var("PALISADE_MODEL_FAULTS").map_or(0, |text| text.parse().expect("a small number"))
}

/// Tries all states, and says how many.
fn run<M: Tried>(name: &str, model: M, until: HasDiscoveries) -> impl Checker<M> {
    let started = Instant::now();
    let checker = model.checker().threads(2).finish_when(until).spawn_bfs().join();
    println!(
        "{name}: {} states, {} different, depth {}, in {:.1} s",
        checker.state_count(),
        checker.unique_state_count(),
        checker.max_depth(),
        started.elapsed().as_secs_f32()
    );
    checker
}

/// These hold in every state, and what should be possible is.
fn holds<M: Tried>(name: &str, model: M, always: &[&'static str], possible: &[&'static str]) {
    let checker = run(name, model, HasDiscoveries::AnyOf(always.iter().copied().collect()));
    for property in always {
        checker.assert_no_discovery(property);
    }
    for property in possible {
        checker.assert_any_discovery(property);
    }
}

/// The model breaks a property, in this state.
fn breaks<M: Tried>(name: &str, model: M, property: &'static str) -> M::State {
    let checker = run(name, model, HasDiscoveries::AnyOf([property].into()));
    let path = checker.assert_any_discovery(property);
    let last = path.last_state().clone();
    println!("    not \"{property}\": {:?}", path.into_actions());
    last
}
