//! Which anchor of an epoch is its checkpoint (docs/protocol.md, section 9.2): of those that a quorum signed, that are on the best
//! chain and that the ledger was told of, the first in Bitcoin's order, whichever was told first. Reporters look at the best chain
//! and tell of all that the ledger lacks, so that then it is the first of all.
//!
//! Anchors of one epoch come in any order, by a quorum for the hub's own header or for a false one, or by too few; each is told at
//! once, later, again, or never; Bitcoin loses blocks, and what was in them may come again. The ledger gets real transactions in real
//! blocks; what it should make of them is worked out from the chain alone.

use super::{breaks, holds, more};
use bitcoin::{Amount, Transaction, TxOut};
use palisade_hub::ledger::Rejected;
use palisade_protocol::anchor::BadAnchor;
use palisade_protocol::context::{ChainId, Terms};
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::units::Epoch;
use palisade_world::{COVENANT, Wish, World};
use stateright::{Model, Property};
use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock};

const NAMES: [&str; 3] = ["anna", "bert", "carl"];
const EPOCH: Epoch = Epoch(1);
const FALSE: Hash32 = Hash32([6; 32]);

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Own,
    False,
    /// The own header, by two thirds.
    Weak,
}

/// A check that a variant of the model goes without.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Check {
    /// Reporters tell of every anchor that is on Bitcoin.
    Told,
    /// Two thirds are no quorum. What the ledger refuses for that reason is taken all the same.
    Quorum,
}

struct Anchors {
    without: Option<Check>,
    blocks: u32,
    rollbacks: u8,
}

#[derive(Clone)]
struct State {
    world: Arc<World>,
    made: Vec<(Kind, Transaction)>,
    /// Which of them the ledger was told of since they are where they are.
    told: BTreeSet<usize>,
    /// Those of them that the ledger refused and that are taken all the same.
    taken: BTreeSet<usize>,
    /// Reporters have looked at the best chain as it is.
    reported: bool,
    rollbacks: u8,
    /// What the ledger said, if it should have said something else.
    broken: Option<&'static str>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Act {
    Mine(Kind, bool),
    Tell(usize),
    /// Reporters look.
    Report,
    /// Bitcoin loses so many blocks; of the anchors in them this one comes again in the next.
    Rollback(u32, Option<usize>),
}

/// An epoch of three providers of equal power is over.
static START: LazyLock<World> = LazyLock::new(|| {
    let terms = Terms { epoch_length: 2, voted_every: 1, minimum_power_sat: 1 };
    let mut world = World::with(terms, &COVENANT, 3);
    world.mine(1);
    for name in NAMES {
        world.register_provider(&ChainId::zero(), name);
        world.active_stake(&Wish { holder: "alice", sat: 100_000, providers: &[name], lock: 2_000 });
        world.commit(&ChainId::zero(), name, 1..4);
    }
    world.close_until(5);
    world
});

/// Height, anchors with their places and whether they were told, which headers are void and whether reporters have looked, what is
/// recorded, and what is left.
type View =
    (u32, Vec<(Kind, Option<(u32, usize)>, bool)>, [bool; 3], Option<usize>, u8, Option<&'static str>);

impl State {
    /// Height and place in the block of an anchor that is on the best chain.
    fn place(&self, made: usize) -> Option<(u32, usize)> {
        let txid = self.made[made].1.compute_txid();
        let blocks = (0..).zip(&self.world.chain).skip(START.chain.len());
        blocks.into_iter().find_map(|(height, block)| {
            let index = block.txdata.iter().position(|tx| tx.compute_txid() == txid)?;
            Some((height, index))
        })
    }

    /// The first in Bitcoin's order of those that count.
    fn first(&self, counts: impl Fn(usize) -> bool) -> Option<usize> {
        let all = (0..self.made.len()).filter(|made| counts(*made));
        all.filter_map(|made| Some((self.place(made)?, made))).min().map(|(_, made)| made)
    }

    /// What is recorded: by the ledger, or taken although it refused that.
    fn recorded(&self) -> Option<usize> {
        let found = self.world.ledger.anchors().get(EPOCH).map(|found| found.outpoint.txid);
        self.first(|made| self.taken.contains(&made) || Some(self.made[made].1.compute_txid()) == found)
    }

    fn is_void(&self, header: Hash32) -> bool {
        self.world.ledger.anchors().void().any(|(epoch, void)| epoch == EPOCH && *void == header)
    }

    fn header(&self, kind: Kind) -> Hash32 {
        if kind == Kind::False { FALSE } else { self.world.ledger.own_header(EPOCH).expect("it is over") }
    }

    fn view(&self) -> View {
        let made = |made: usize| (self.made[made].0, self.place(made), self.told.contains(&made));
        let [own, other] = [Kind::Own, Kind::False].map(|kind| self.is_void(self.header(kind)));
        let flags = [own, other, self.reported];
        let all = (0..self.made.len()).map(made).collect();
        (self.world.btc_height(), all, flags, self.recorded(), self.rollbacks, self.broken)
    }
}

seen_by_view!(State);

impl Anchors {
    fn tell(&self, state: &mut State, world: &mut World, made: usize) {
        let (kind, tx) = &state.made[made];
        let answer = world.send(&Message::Anchor(world.proof(tx)));
        let lacks_quorum = matches!(answer, Err(Rejected::Anchor(BadAnchor::NoQuorum { .. })));
        let is_known = answer.as_ref().is_err_and(|why| why.rule() == "repeated");
        let is_expected = match kind {
            Kind::Weak => lacks_quorum || is_known,
            Kind::Own | Kind::False => answer.is_ok() || is_known,
        };
        if !is_expected {
            state.broken = Some(answer.err().map_or("taken", |why| why.rule()));
        }
        if lacks_quorum && self.without == Some(Check::Quorum) {
            state.taken.insert(made);
        }
        state.told.insert(made);
    }

    /// Of everything on the best chain that the ledger lacks, in the order in which it stands there.
    fn report(&self, state: &mut State, world: &mut World) {
        let on_chain = |made: &usize| state.place(*made).is_some();
        let lacking = (0..state.made.len()).filter(|made| on_chain(made) && !state.told.contains(made));
        if self.without != Some(Check::Told) {
            for made in lacking.collect::<Vec<_>>() {
                self.tell(state, world, made);
            }
        }
        state.reported = true;
    }
}

impl Model for Anchors {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        let (made, told, taken) = Default::default();
        let (world, rollbacks) = (Arc::new(START.clone()), self.rollbacks);
        vec![State { world, made, told, taken, reported: false, rollbacks, broken: None }]
    }

    fn actions(&self, state: &State, acts: &mut Vec<Act>) {
        let grown = state.world.btc_height() - START.btc_height();
        if grown < self.blocks {
            let kinds = [Kind::Own, Kind::False, Kind::Weak];
            acts.extend(kinds.into_iter().flat_map(|kind| [Act::Mine(kind, true), Act::Mine(kind, false)]));
        }
        let on_chain = (0..state.made.len()).filter(|made| state.place(*made).is_some());
        acts.extend(on_chain.map(Act::Tell));
        if !state.reported {
            acts.push(Act::Report);
        }
        for depth in (1..=grown.min(2)).filter(|_| state.rollbacks > 0) {
            let kept = state.world.btc_height() - depth;
            let lost = (0..state.made.len())
                .filter(|made| state.place(*made).is_some_and(|(height, _)| height > kept));
            acts.extend(lost.map(Some).chain([None]).map(|again| Act::Rollback(depth, again)));
        }
    }

    fn next_state(&self, before: &State, act: Act) -> Option<State> {
        let mut state = before.clone();
        let mut world = (*before.world).clone();
        match act {
            Act::Mine(kind, told) => {
                let names = if kind == Kind::Weak { &NAMES[..2] } else { &NAMES[..] };
                let script_pubkey = world.anchor(names, EPOCH, state.header(kind)).script();
                let tx = world.pay(TxOut { value: Amount::ZERO, script_pubkey });
                world.mine(1);
                state.made.push((kind, tx));
                state.reported = false;
                if told {
                    self.tell(&mut state, &mut world, before.made.len());
                }
            }
            Act::Tell(made) => self.tell(&mut state, &mut world, made),
            Act::Report => self.report(&mut state, &mut world),
            Act::Rollback(depth, again) => {
                state.rollbacks -= 1;
                let kept = world.btc_height() - depth;
                let stays = |made: &usize| before.place(*made).is_some_and(|(height, _)| height <= kept);
                state.told.retain(stays);
                state.taken.retain(stays);
                state.reported = false;
                let again: Vec<_> = again.map(|made| state.made[made].1.clone()).into_iter().collect();
                world.reorg(depth, &again).expect("more work");
            }
        }
        state.world = Arc::new(world);
        (state != *before).then_some(state)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(FIRST, |_, state: &State| {
                let counts = |made: usize| state.made[made].0 != Kind::Weak;
                !state.reported || state.recorded() == state.first(counts)
            }),
            Property::always(TOLD, |_, state: &State| {
                let counts = |made: usize| state.told.contains(&made) && state.made[made].0 != Kind::Weak;
                state.recorded() == state.first(counts)
            }),
            Property::always(ANSWERS, |_, state: &State| state.broken.is_none()),
            Property::always(VOID, |_, state: &State| {
                let told = |made: &usize| state.told.contains(made) && state.made[*made].0 != Kind::Weak;
                let headers = (0..state.made.len()).filter(told).map(|made| state.header(state.made[made].0));
                let recorded = state.world.ledger.anchors().get(EPOCH).map(|found| found.header);
                headers.into_iter().all(|header| (Some(header) == recorded) != state.is_void(header))
            }),
            Property::sometimes(ALARM, |_, state: &State| {
                state.world.ledger.anchors().get(EPOCH).is_some_and(|found| found.header == FALSE)
            }),
        ]
    }
}

const FIRST: &str = "once reporters have looked, the first checkpoint in Bitcoin's order is recorded";
const TOLD: &str =
    "of the checkpoints that were told the first in Bitcoin's order is recorded, whichever was told first";
const ANSWERS: &str = "anchors are refused for want of a quorum, or because they say nothing new";
const VOID: &str = "of the headers that quorums anchored one is recorded and the others are void";
const ALARM: &str = "a header that is not the hub's own is recorded";

fn anchors(without: Option<Check>) -> Anchors {
    Anchors { without, blocks: 3 + u32::from(more()), rollbacks: 1 }
}

#[test]
fn the_first_checkpoint_in_bitcoins_order_is_recorded_in_whatever_order_they_come_are_told_and_are_lost() {
    holds("anchors", anchors(None), &[FIRST, TOLD, ANSWERS, VOID], &[ALARM]);
}

#[test]
fn without_any_one_of_the_checks_a_counterexample_is_found() {
    for without in [Check::Told, Check::Quorum] {
        breaks(&format!("anchors without {without:?}"), anchors(Some(without)), FIRST);
    }
}
