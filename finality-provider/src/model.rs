//! A model of voter, signer and disk, of which all states are tried: every order of requests, writes, crashes, lost and
//! restored files, second starts and lying sources, up to a number of faults.
//!
//! Who decides is the production code: what a claim comes to and under which root a vote is signed (`signer::rules`), which
//! record is trusted (`signer::record::trust`), what nonces follow from a seed, what a voter may ask for (`ballots::Standing`)
//! and of which block (`ChainSource::votable`). The model itself is only what these decide about, and in which steps it happens:
//! pages that are written, synchronised and lost (`disk`), a claim cut in five (`process`), roots that sets name (`hub`).
//!
//! Beside the tests of the crate, because these functions are private. What a run looked at it prints (`--nocapture`);
//! `PALISADE_MODEL_FAULTS=1` makes it look at more, for minutes.
//!
//! The order of a claim's steps is the model's own: that the signer keeps it is what the kills of `regtest` show on real disks.

mod acts;
mod disk;
mod hub;
mod keys;
mod process;
mod symmetry;
mod voter;

use acts::Act;
use disk::Disk;
use hub::Hub;
use keys::{Keys, Seed};
use palisade_protocol::hash::Hash32;
use process::Process;
use stateright::{Model, Property};
use std::collections::BTreeSet;

/// The first epoch that is voted in, and the last. Each has one height, of the same number.
const FIRST: u8 = 1;
const LAST: u8 = 2;
/// Most records that can be born.
const SEEDS: u8 = 3;

/// The two blocks that sources show at a height.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Block {
    A,
    B,
}

impl Block {
    const BOTH: [Self; 2] = [Self::A, Self::B];

    fn flipped(self, flip: bool) -> Self {
        match (self, flip) {
            (Self::A, true) => Self::B,
            (Self::B, true) => Self::A,
            (same, false) => same,
        }
    }

    fn hash(self, height: u8) -> Hash32 {
        Hash32([height * 2 + self as u8 + 1; 32])
    }
}

/// A vote that is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Ask {
    height: u8,
    block: Block,
    /// The block before it, as the source says.
    parent: Block,
    /// Whose root is said to be the set's.
    root: Seed,
}

/// A vote that has left the signer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Vote {
    height: u8,
    block: Block,
    /// Seed and height make the nonce.
    seed: Seed,
    /// The root that it was asked for under.
    root: Seed,
}

/// A check of the production code that a variant of the model goes without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    /// The row is written before the signature leaves.
    RecordFirst,
    /// The row is synchronised before the signature leaves.
    SyncFirst,
    /// A height that was signed for another block is refused.
    OneMessage,
    /// A new record draws a new seed, which is in no backup.
    FreshSeed,
    /// The root of the set is the record's own, and the nonce is under it.
    OwnRoot,
    /// One process a record.
    Lock,
    /// The record is trusted only as its mark describes it.
    Mark,
    /// The mark says which rows it describes.
    Contents,
    /// A voter asks only for descendants of what is final and of its own last vote.
    Ancestors,
}

/// Who asks the signer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Callers {
    /// Voters with honest logs and lying sources, each with one request on its way at most.
    Voters(usize),
    /// Somebody who has the socket, and asks for anything.
    Anyone,
}

struct Operator {
    keys: Keys,
    callers: Callers,
    without: Option<Check>,
    /// What may happen besides crashes and restarts, which may happen at any time.
    faults: u8,
    /// Records that are born at most: what would come after is cut off.
    seeds: u8,
    /// Whether one of the faults is a byte copy of the disk to another machine.
    byte_copy: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Machine {
    disk: Disk,
    /// One, but where there is no lock.
    running: Vec<Process>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    machines: Vec<Machine>,
    hub: Hub,
    /// Requests of voters on their way.
    asked: Vec<Ask>,
    left: BTreeSet<Vote>,
    /// Records that were born.
    born: Seed,
    faults: u8,
}

impl Model for Operator {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        let mut disk = Disk::default();
        let mut process = Process::begin(&mut disk, 0);
        process.take_commit(FIRST, &self.keys);
        while process.has_step() {
            process.step(&mut disk);
        }
        process.release();
        disk.renumber();
        let machines = vec![Machine { disk, running: vec![process] }];
        let (hub, asked, left, born) = (Hub::new(), Vec::new(), BTreeSet::new(), 1);
        vec![State { machines, hub, asked, left, born, faults: self.faults }]
    }

    fn actions(&self, state: &State, acts: &mut Vec<Act>) {
        for (number, machine) in state.machines.iter().enumerate() {
            for (place, process) in machine.running.iter().enumerate() {
                self.act_on_process(state, process, (number, place), acts);
            }
            self.act_on_machine(state, machine, number, acts);
        }
        if state.hub.epoch() < LAST {
            acts.extend(Block::BOTH.map(Act::GoOn));
        }
        if state.faults > 0 && state.machines.len() == 1 {
            acts.push(Act::SecondMachine);
            if self.byte_copy {
                acts.push(Act::ByteCopy);
            }
        }
    }

    fn next_state(&self, before: &State, act: Act) -> Option<State> {
        let mut state = before.clone();
        self.act(&mut state, act)?;
        state.simplify();
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_NONCE, |_, state: &State| {
                !pairs(&state.left)
                    .any(|(a, b)| (a.height, a.seed) == (b.height, b.seed) && a.block != b.block)
            }),
            Property::always(ONE_MESSAGE, |_, state: &State| {
                !pairs(&state.left).any(|(a, b)| a.height == b.height && a.block != b.block)
            }),
            Property::always(ONE_COUNTS, |_, state: &State| {
                let votes = state.left.iter().filter(|vote| state.hub.names(vote));
                let votes = votes.copied().collect();
                !pairs(&votes).any(|(a, b)| a.height == b.height && a.block != b.block)
            }),
            Property::always(DESCENDS, |_, state: &State| {
                let parent = |ask: &Ask| state.hub.certified(ask.height - 1).unwrap_or(Block::A);
                state.asked.iter().all(|ask| ask.parent == parent(ask))
            }),
            Property::sometimes(A_VOTE, |_, state: &State| !state.left.is_empty()),
            Property::sometimes(RETURNS, |_, state: &State| {
                state.left.iter().any(|vote| vote.seed > 0 && state.hub.names(vote))
            }),
        ]
    }
}

const ONE_NONCE: &str = "no nonce signs two messages";
const ONE_MESSAGE: &str = "no two messages of one height leave";
const ONE_COUNTS: &str = "no two messages of one height leave under the root that its set names";
const DESCENDS: &str = "a voter asks for descendants of what is final";
const A_VOTE: &str = "a vote leaves";
const RETURNS: &str = "a vote of a new record counts";

fn pairs(votes: &BTreeSet<Vote>) -> impl Iterator<Item = (&Vote, &Vote)> {
    votes.iter().flat_map(|a| votes.iter().map(move |b| (a, b)))
}

mod tests;
