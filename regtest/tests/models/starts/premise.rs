//! What it takes to bring the chain back, and how that ends.

use super::world::{MINIMUM, NAMES};
use super::{Act, Starts, State, rule};
use palisade_world::provider_key;

/// Blocks in which the chain has to come back: a set that names somebody who went away is waited out, and governance decides.
const BLOCKS: usize = 16;
/// Heights that have to become final, so that not only sets that there are give them.
const HEIGHTS: usize = 3;

/// How it ends when nothing more goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// Blocks become final.
    Final,
    /// None does, and those who are there hold too little to start the chain.
    Weak,
    /// None does, and nothing excuses it.
    Stuck,
}

impl State {
    /// Whether those who are there hold what starts the chain: the minimum, or more than two thirds of what the members of the last
    /// set hold now.
    fn is_strong_enough(&self) -> bool {
        let ledger = &self.world.ledger;
        let there = (0..NAMES.len()).filter(|place| self.here[*place] && !self.out[*place]);
        let there: u64 = there.map(|place| rule::held_by(ledger, &provider_key(NAMES[place]))).sum();
        match self.chain().newest() {
            None => there >= MINIMUM,
            Some((_, last)) => 3 * there > 2 * rule::held(ledger, last),
        }
    }

    fn finals(&self) -> usize {
        self.chain().certified.len()
    }
}

impl Starts {
    /// Whether blocks become final if everybody stays as they are, Bitcoin goes on and governance resumes. Asked once of a state.
    pub(super) fn ends(&self, state: &State) -> Ends {
        *state.ends.get_or_init(|| {
            let mut now = state.clone();
            for _ in 0..BLOCKS {
                let act = if self.can(&now, Act::Resume) { Act::Resume } else { Act::GoOn };
                now = self.step(&now, act);
                if now.finals() >= state.finals() + HEIGHTS {
                    return Ends::Final;
                }
            }
            if now.is_strong_enough() { Ends::Stuck } else { Ends::Weak }
        })
    }
}
