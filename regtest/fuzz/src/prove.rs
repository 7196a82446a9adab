//! What every target must show, and what runs without libFuzzer: its corpus gets through, and mutations of it break nothing.

use crate::mutate::Mutator;
use crate::{Outcome, Target};
use std::panic::{AssertUnwindSafe, catch_unwind};

/// A target that is broken on purpose, behind a word that no corpus holds: whoever looks for crashes must find this one, letter by
/// letter, by the ways that inputs take through it.
pub const BROKEN: Target = Target {
    name: "broken-on-purpose",
    what: "that a crash is found and reported",
    corpus: || vec![b"calm".to_vec()],
    run: |bytes| {
        assert!(!matches!(bytes, [b's', b't', b'o', b'r', b'm', ..]), "a storm");
        (bytes != b"").into()
    },
};

/// An input that does not do what it must.
#[derive(Debug, thiserror::Error)]
pub enum Broken {
    /// It made the target panic.
    #[error("{target} panics on {}", hex::encode(input))]
    Panic {
        /// The target's name.
        target: &'static str,
        /// The input.
        input: Vec<u8>,
    },
    /// It stands in the corpus and is refused.
    #[error("{target} refuses number {place} of its own corpus")]
    Refused {
        /// The target's name.
        target: &'static str,
        /// Its place in the corpus.
        place: usize,
    },
    /// There is none.
    #[error("{0} has an empty corpus")]
    NoCorpus(&'static str),
}

/// Runs one input.
pub fn run(target: &Target, input: &[u8]) -> Result<Outcome, Broken> {
    let ran = catch_unwind(AssertUnwindSafe(|| (target.run)(input)));
    ran.map_err(|_| Broken::Panic { target: target.name, input: input.to_vec() })
}

/// The corpus, all of which is accepted.
pub fn corpus(target: &Target) -> Result<Vec<Vec<u8>>, Broken> {
    let corpus = (target.corpus)();
    if corpus.is_empty() {
        return Err(Broken::NoCorpus(target.name));
    }
    for (place, input) in corpus.iter().enumerate() {
        if run(target, input)? != Outcome::Accepted {
            return Err(Broken::Refused { target: target.name, place });
        }
    }
    Ok(corpus)
}

/// Runs so many mutations of the corpus, the same in every run.
pub fn survives(target: &Target, corpus: &[Vec<u8>], mutations: usize) -> Result<(), Broken> {
    let mut mutator = Mutator::new(target.name);
    (0..mutations).try_for_each(|_| run(target, &mutator.mutated(corpus)).map(drop))
}
