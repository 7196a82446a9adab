//! Under what premise finality must go on, as the state's own sets say it, and how that ends.

use super::world::{NAMES, TERMS};
use super::{Act, Sets, State};
use palisade_hub::ledger::chains::FixedSet;
use palisade_protocol::hash::Hash32;
use palisade_protocol::units::{Epoch, Height};
use palisade_world::provider_key;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How it ends when nothing more goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ends {
    /// Blocks become final.
    Final,
    /// None does, and the set that has to vote is one of which a third or more is faulty, or one that has expired.
    Faulty,
    /// None does, and nothing excuses it.
    Stuck,
}

/// Of how many last states finality went on, of how many of these without some member of a set, and how often the premise failed.
#[derive(Debug, Clone, Default)]
pub(super) struct Asked(Arc<[AtomicUsize; 3]>);

impl Asked {
    fn count(&self, state: &State, ends: Ends) {
        let places: &[usize] = match ends {
            Ends::Final if state.lacks_a_voter() => &[0, 1],
            Ends::Final => &[0],
            Ends::Faulty => &[2],
            Ends::Stuck => &[],
        };
        for place in places {
            self.0[*place].fetch_add(1, Ordering::Relaxed);
        }
    }

    pub(super) fn counts(&self) -> [usize; 3] {
        [0, 1, 2].map(|place: usize| self.0[place].load(Ordering::Relaxed))
    }
}

impl State {
    /// The height that waits for its certificate, and the epoch whose set has to give it.
    pub(super) fn awaited(&self) -> Option<(Height, Epoch)> {
        let height = self.zero().awaited()?;
        Some((height, TERMS.epoch_of(height)))
    }

    /// The sets that have to vote, as far as they are fixed.
    fn to_vote(&self) -> impl Iterator<Item = &FixedSet> {
        let first = self.awaited().map(|(_, epoch)| epoch);
        let sets = first.map(|first| self.zero().sets.range(first..));
        sets.into_iter().flatten().map(|(_, fixed)| fixed)
    }

    /// Whether those of whom this is so hold less than a third of a set.
    fn is_less_than_a_third(fixed: &FixedSet, is: impl Fn(usize) -> bool) -> bool {
        let power = |place: usize| {
            fixed.set.find(&provider_key(NAMES[place])).map_or(0, |(_, own)| own.power.to_sat())
        };
        let held: u64 = (0..NAMES.len()).filter(|place| is(*place)).map(power).sum();
        3 * held < fixed.set.header().total.to_sat()
    }

    /// Whether a member gives no votes under a set, and no rule makes it: its key is out, it is away or mute, or it was away and came
    /// too late, so that a carried-over set names it without nonces.
    fn fails_in(&self, fixed: &FixedSet, place: usize) -> bool {
        let found = fixed.set.find(&provider_key(NAMES[place]));
        let without_nonces = found.is_some_and(|(_, own)| own.nonce_root == Hash32::ZERO);
        self.out[place] || self.away[place] || self.mute[place] || (self.late[place] && without_nonces)
    }

    /// The premise for one set: less than a third of it is faulty, and it has not expired.
    fn can_certify(&self, fixed: &FixedSet) -> bool {
        Self::is_less_than_a_third(fixed, |place| self.fails_in(fixed, place))
            && self.world.ledger.btc_height() <= fixed.set.header().expiry
    }

    /// The premise for all sets that are fixed and have to vote.
    pub(super) fn is_sound_enough(&self) -> bool {
        self.to_vote().all(|fixed| self.can_certify(fixed))
    }

    /// Somebody in a set that has to vote is away or mute.
    pub(super) fn lacks_a_voter(&self) -> bool {
        let is_in = |place: &usize| {
            self.to_vote().any(|fixed| fixed.set.find(&provider_key(NAMES[*place])).is_some())
        };
        (0..NAMES.len()).filter(is_in).any(|place| self.away[place] || self.mute[place])
    }

    /// Two epochs have become final since.
    fn has_come_far_from(&self, before: &State) -> bool {
        let last = |state: &State| state.zero().last_final().map_or(0, |(height, _)| height.0);
        last(self) >= last(before) + 2 * TERMS.epoch_length
    }
}

impl Sets {
    /// Whether blocks become final over two epochs, if everybody stays as they are and nothing more goes wrong: so the sets have to
    /// vote that are fixed from now on, and each of them is asked for the premise when its turn comes. Asked once of a state.
    pub(super) fn goes_on(&self, state: &State) -> Ends {
        *state.goes_on.get_or_init(|| {
            let ends = self.ask_goes_on(state);
            self.asked.count(state, ends);
            ends
        })
    }

    fn ask_goes_on(&self, state: &State) -> Ends {
        let mut now = state.clone();
        // Two epochs to be in a set again, one more for each decision; twice, for a set that can only be waited out.
        for _ in 0..24 {
            if now.to_vote().next().is_some_and(|fixed| !now.can_certify(fixed)) {
                return Ends::Faulty;
            }
            now = self.undisturbed(now, &[Act::Resume], Act::GoOn);
            if now.has_come_far_from(state) {
                return Ends::Final;
            }
        }
        Ends::Stuck
    }

    /// The same when Bitcoin goes on too, so that sets expire, and governance decides what there is to decide. Who is away or out is in
    /// no set that is chosen then; who is mute is.
    pub(super) fn comes_back(&self, state: &State) -> Ends {
        if self.goes_on(state) == Ends::Final {
            return Ends::Final;
        }
        let mut now = state.clone();
        let from = state.world.ledger.next_height();
        for block in 1..33 {
            let act = if block % 8 == 0 { Act::RunAhead } else { Act::GoOn };
            now = self.undisturbed(now, &[Act::Resume, Act::Recover], act);
            if now.has_come_far_from(state) {
                return Ends::Final;
            }
            let chosen = now.to_vote().next().filter(|fixed| !fixed.carried_over && fixed.hub_height >= from);
            if chosen.is_some_and(|fixed| !State::is_less_than_a_third(fixed, |place| now.mute[place])) {
                return Ends::Faulty;
            }
        }
        Ends::Stuck
    }

    /// A block in which governance decides one of these, if there is anything to decide.
    fn undisturbed(&self, now: State, decisions: &[Act], act: Act) -> State {
        let act = decisions.iter().copied().find(|act| self.can(&now, *act)).unwrap_or(act);
        self.step(&State { blocks: 1, faults: 1, ..now }, act)
    }
}
