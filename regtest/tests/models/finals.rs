//! What is final stays final (docs/protocol.md, section 7.4): a log takes one block a height, whatever certificates it is told of.
//!
//! A chain other than zero, of whose blocks the hub sees nothing but certificates. More than a third of its set is faulty, so that
//! there are two valid certificates for each height; anybody tells the ledger of any of them, in any order. The ledger is the real
//! one, and so are the certificates.

use super::{breaks, holds};
use palisade_hub::ledger::Rejected;
use palisade_protocol::context::{ChainId, Terms};
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::units::Height;
use palisade_world::{COVENANT, Wish, World};
use stateright::{Model, Property};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, LazyLock};

const ZERO: &str = "zoe";
const NAMES: [&str; 4] = ["anna", "bert", "carl", "dora"];
/// Heights that are certified: two epochs.
const HEIGHTS: u64 = 4;

/// A check that a variant of the model goes without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    /// Another block at a height that has a final one is refused. The log takes it in its place.
    OneBlock,
}

struct Finals {
    without: Option<Check>,
}

/// One of two blocks at a height.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Block {
    height: u64,
    second: bool,
}

#[derive(Clone)]
struct State {
    world: Arc<World>,
    /// What a certificate was accepted for, ever.
    accepted: BTreeSet<Block>,
    /// What the log has instead of what the ledger says.
    replaced: BTreeMap<u64, bool>,
    /// What was told and refused as a conflict.
    refused: BTreeSet<Block>,
}

type View = (Vec<Option<bool>>, BTreeSet<Block>, BTreeSet<Block>);

fn chain() -> ChainId {
    "demo".parse().expect("a name")
}

impl Block {
    fn hash(self) -> Hash32 {
        Hash32([2 * self.height as u8 + u8::from(self.second) + 1; 32])
    }
}

/// Four providers of equal power, and sets for both epochs.
static START: LazyLock<World> = LazyLock::new(|| {
    let terms = Terms { epoch_length: 2, voted_every: 1, minimum_power_sat: 1 };
    let mut world = World::with(terms, &COVENANT, 3);
    world.register_provider(&ChainId::zero(), ZERO);
    world.register_chain(&chain(), terms);
    for name in NAMES {
        world.register_provider(&chain(), name);
        world.active_stake(&Wish { holder: "alice", sat: 100_000, providers: &[ZERO, name], lock: 2_000 });
        world.commit(&chain(), name, 0..HEIGHTS / 2 + 1);
    }
    world.close();
    world
});

impl State {
    fn final_at(&self, height: u64) -> Option<bool> {
        let own = self.world.ledger.chain(&chain()).expect("registered");
        let said =
            own.certified.get(&Height(height)).map(|hash| *hash == Block { height, second: true }.hash());
        self.replaced.get(&height).copied().or(said)
    }

    fn view(&self) -> View {
        (
            (0..HEIGHTS).map(|height| self.final_at(height)).collect(),
            self.accepted.clone(),
            self.refused.clone(),
        )
    }
}

seen_by_view!(State);

/// By those who are faulty, and one who is not.
fn certificate(world: &World, block: Block) -> Message {
    let honest = NAMES[usize::from(block.second)];
    world.certificate(&chain(), &[honest, "carl", "dora"], Height(block.height), block.hash())
}

impl Model for Finals {
    type State = State;
    type Action = Block;

    fn init_states(&self) -> Vec<State> {
        let (accepted, replaced, refused) = Default::default();
        vec![State { world: Arc::new(START.clone()), accepted, replaced, refused }]
    }

    fn actions(&self, state: &State, acts: &mut Vec<Block>) {
        let own = state.world.ledger.chain(&chain()).expect("registered");
        let has_set = |height: &u64| own.sets.contains_key(&own.terms.epoch_of(Height(*height)));
        let heights = (0..HEIGHTS).filter(has_set);
        acts.extend(heights.flat_map(|height| [false, true].map(|second| Block { height, second })));
    }

    fn next_state(&self, before: &State, block: Block) -> Option<State> {
        let mut state = before.clone();
        let mut world = (*before.world).clone();
        match world.send(&certificate(&world, block)) {
            Ok(_) => drop(state.accepted.insert(block)),
            Err(Rejected::Conflict(_)) => {
                state.refused.insert(block);
                if self.without == Some(Check::OneBlock) {
                    state.accepted.insert(block);
                    state.replaced.insert(block.height, block.second);
                }
            }
            Err(_) => return None,
        }
        world.close();
        state.world = Arc::new(world);
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(STAYS, |_, state: &State| {
                state.accepted.iter().all(|block| state.final_at(block.height) == Some(block.second))
            }),
            Property::always(IN_ORDER, |_, state: &State| {
                let finals: Vec<_> = (0..HEIGHTS).map(|height| state.final_at(height).is_some()).collect();
                finals.is_sorted_by(|a, b| a >= b)
            }),
            Property::sometimes(BOTH, |_, state: &State| {
                (0..HEIGHTS).all(|height| state.final_at(height).is_some())
                    && state.refused.len() >= HEIGHTS as usize
            }),
        ]
    }
}

const STAYS: &str = "what a log took for final stays final";
const IN_ORDER: &str = "no height is final before the one below";
const BOTH: &str = "all heights are final, and for each another certificate was told";

#[test]
fn what_is_final_stays_final_whatever_other_certificates_are_told() {
    holds("finals", Finals { without: None }, &[STAYS, IN_ORDER], &[BOTH]);
}

#[test]
fn without_the_refusal_of_another_block_at_a_height_a_counterexample_is_found() {
    breaks("finals without OneBlock", Finals { without: Some(Check::OneBlock) }, STAYS);
}
