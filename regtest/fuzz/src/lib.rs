//! Hostile bytes for every decoder of bytes from outside, and for every endpoint.
//!
//! A [`Target`] is one door. Its corpus is what production makes: messages that parties of a [`story`] signed, files that our
//! own programs wrote, answers of the real doors. [`prove`] shows that the corpus gets through, and what else is promised
//! holds: what is decoded has one encoding, a refused message changes no state, a refusal at a door has its form.
//!
//! `palisade-fuzz` runs all targets under libFuzzer (docs/fuzzing.md); the tests of this crate run each for a moment.

mod checkpointer;
mod covenant;
pub mod forms;
mod hub;
mod mutate;
mod process;
mod protocol;
pub mod prove;
mod provider;
mod rows;
pub mod runner;
mod scratch;
mod staker;
pub mod story;
mod talk;
mod texts;
mod whole;

pub use process::bitcoind::answered as answered_by_bitcoind;

/// What became of an input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It was turned down, as most are.
    Refused,
    /// It was taken for what it claims to be.
    Accepted,
}

impl<T, E> From<Result<T, E>> for Outcome {
    fn from(result: Result<T, E>) -> Self {
        result.is_ok().into()
    }
}

impl From<bool> for Outcome {
    fn from(accepted: bool) -> Self {
        if accepted { Self::Accepted } else { Self::Refused }
    }
}

/// One door for bytes from outside.
#[derive(Debug, Clone, Copy)]
pub struct Target {
    /// Its name, by crate and door.
    pub name: &'static str,
    /// What a run proves.
    pub what: &'static str,
    /// Inputs that are accepted, as production makes them.
    pub corpus: fn() -> Vec<Vec<u8>>,
    /// Takes one input. Panics when a promise is broken.
    pub run: fn(&[u8]) -> Outcome,
}

/// All targets.
pub fn all() -> Vec<Target> {
    [
        protocol::log::TARGETS,
        protocol::bitcoin::TARGETS,
        protocol::documents::TARGETS,
        hub::TARGETS,
        process::TARGETS,
        provider::TARGETS,
        covenant::TARGETS,
        checkpointer::TARGETS,
        staker::TARGETS,
    ]
    .concat()
}

/// A target by its name; the one that breaks on purpose too.
pub fn find(name: &str) -> Option<Target> {
    all().into_iter().chain([prove::BROKEN]).find(|target| target.name == name)
}
