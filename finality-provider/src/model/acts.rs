//! What may happen, and what comes of it.

use super::disk::{Disk, Left, Which};
use super::process::{Job, Process};
use super::voter::{self, Source};
use super::{Ask, Block, Callers, Check, FIRST, LAST, Machine, Operator, State, Vote};

/// A process: its machine, and its place there.
pub(super) type At = (usize, usize);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Act {
    /// A voter makes up its mind on a source that shows these two blocks, and sends its request.
    Ask {
        signer: At,
        below: Block,
        top: Block,
    },
    /// A request arrives.
    Arrive {
        number: usize,
        at: At,
    },
    /// Anybody's request arrives.
    Demand {
        ask: Ask,
        at: At,
    },
    Commit {
        epoch: u8,
        at: At,
    },
    Step(At),
    Release(At),
    /// The next epoch begins.
    GoOn(Block),
    Kill(At),
    PowerCut {
        machine: usize,
        record: Left,
        mark: Left,
    },
    Start(usize),
    Copy(usize),
    Restore {
        machine: usize,
        which: Which,
        in_place: bool,
    },
    Lose {
        machine: usize,
        which: Which,
    },
    /// The keys are restored on another machine, and the first one goes on.
    SecondMachine,
    /// The disk is, while it runs.
    ByteCopy,
}

impl Operator {
    pub(super) fn act_on_process(&self, state: &State, process: &Process, at: At, acts: &mut Vec<Act>) {
        acts.push(Act::Kill(at));
        if process.has_step() {
            acts.push(Act::Step(at));
        }
        if process.releasable(self.without).is_some() {
            acts.push(Act::Release(at));
        }
        // One request at a time holds the record, and the question for the last vote is one.
        if process.work.is_some() {
            return;
        }
        if matches!(self.callers, Callers::Voters(voters) if state.asked.len() < voters) {
            let sources = Block::BOTH.into_iter().flat_map(|below| Block::BOTH.map(|top| (below, top)));
            acts.extend(sources.map(|(below, top)| Act::Ask { signer: at, below, top }));
        }
        acts.extend((0..state.asked.len()).map(|number| Act::Arrive { number, at }));
        acts.extend(state.hub.open_epoch().map(|epoch| Act::Commit { epoch, at }));
        if self.callers == Callers::Anyone {
            // It asks for the commitment to any epoch, also one whose set names another root.
            acts.extend((FIRST..=LAST).map(|epoch| Act::Commit { epoch, at }));
            let born = 0..state.born;
            let asks = (FIRST..=LAST).flat_map(|height| born.clone().map(move |root| (height, root)));
            let asks = asks.flat_map(|(height, root)| {
                Block::BOTH.map(|block| Ask { height, block, parent: Block::A, root })
            });
            acts.extend(asks.map(|ask| Act::Demand { ask, at }));
        }
    }

    pub(super) fn act_on_machine(
        &self,
        state: &State,
        machine: &Machine,
        number: usize,
        acts: &mut Vec<Act>,
    ) {
        let cuts = machine.disk.power_cuts();
        acts.extend(cuts.map(|(record, mark)| Act::PowerCut { machine: number, record, mark }));
        if machine.running.is_empty() || (self.without == Some(Check::Lock) && machine.running.len() < 2) {
            acts.push(Act::Start(number));
        }
        if state.faults > 0 {
            if machine.disk.copy.is_none() && machine.disk.now.record.is_some() {
                acts.push(Act::Copy(number));
            }
            acts.extend(Which::ALL.map(|which| Act::Lose { machine: number, which }));
            if machine.disk.copy.is_some() {
                for in_place in [false, true] {
                    acts.extend(Which::ALL.map(|which| Act::Restore { machine: number, which, in_place }));
                }
            }
        }
    }

    /// Nothing where the act cannot happen.
    pub(super) fn act(&self, state: &mut State, act: Act) -> Option<()> {
        match act {
            Act::Ask { signer: (machine, place), below, top } => {
                let signer = &state.machines[machine].running[place];
                let source = Source::new(&state.hub, below, top);
                state.asked.push(voter::ask(&state.hub, &self.keys, signer, source, self.without)?);
            }
            Act::Arrive { number, at } => {
                let ask = state.asked.remove(number);
                state.process(at).take_vote(ask, &self.keys, self.without);
            }
            Act::Demand { ask, at } => state.process(at).take_vote(ask, &self.keys, self.without),
            Act::Commit { epoch, at } => state.process(at).take_commit(epoch, &self.keys),
            Act::Step((machine, place)) => {
                let Machine { disk, running } = &mut state.machines[machine];
                running[place].step(disk);
            }
            Act::Release(at) => self.release(state, at)?,
            Act::GoOn(block) => state.hub.go_on(block),
            Act::Kill((machine, place)) => drop(state.machines[machine].running.remove(place)),
            Act::PowerCut { machine, record, mark } => {
                state.machines[machine].running.clear();
                state.machines[machine].disk.power_cut(record, mark);
            }
            Act::Start(machine) => self.start(state, machine)?,
            Act::Copy(machine) => state.machines[machine].disk.make_copy(),
            Act::Restore { .. } | Act::Lose { .. } | Act::SecondMachine | Act::ByteCopy => {
                state.faults -= 1;
                state.befall(act);
            }
        }
        Some(())
    }

    fn start(&self, state: &mut State, number: usize) -> Option<()> {
        let machine = &mut state.machines[number];
        let newborn = if self.without == Some(Check::FreshSeed) { 0 } else { state.born };
        let existing = Process::open(&machine.disk, &self.keys, self.without);
        let process = match existing {
            Some(process) => process,
            None if newborn == self.seeds => return None,
            None => {
                // The old files are put aside, under whoever has them open, where somebody may take them for a backup.
                if machine.disk.now.record.is_some() && machine.disk.copy.is_none() {
                    machine.disk.make_copy();
                }
                machine.lose(Which::Both);
                state.born = newborn + 1;
                Process::begin(&mut machine.disk, newborn)
            }
        };
        machine.running.push(process);
        Some(())
    }

    fn release(&self, state: &mut State, at: At) -> Option<()> {
        let process = state.process(at);
        let seed = process.seed;
        let job = process.releasable(self.without)?;
        process.release();
        match job {
            Job::Root(epoch) => state.hub.take_root(epoch, seed),
            Job::Vote(Ask { height, block, root, .. }) => {
                state.left.insert(Vote { height, block, seed, root });
            }
        }
        Some(())
    }
}

impl Machine {
    /// Files lose their names; whoever has them open goes on with them.
    fn lose(&mut self, which: Which) {
        for process in &mut self.running {
            process.record_lost |= which.record();
            process.mark_lost |= which.mark();
        }
        self.disk.lose(which);
    }
}

impl State {
    fn process(&mut self, (machine, place): At) -> &mut Process {
        &mut self.machines[machine].running[place]
    }

    /// What is no doing of the signer's.
    fn befall(&mut self, act: Act) {
        match act {
            Act::Lose { machine, which } => self.machines[machine].lose(which),
            Act::Restore { machine, which, in_place } => {
                let machine = &mut self.machines[machine];
                if !in_place {
                    machine.lose(which);
                }
                machine.disk.restore(which);
            }
            Act::SecondMachine => {
                self.machines.push(Machine { disk: Disk::default(), running: Vec::new() });
            }
            Act::ByteCopy => {
                let disk = self.machines[0].disk.clone();
                self.machines.push(Machine { disk, running: Vec::new() });
            }
            _ => {}
        }
    }
}
