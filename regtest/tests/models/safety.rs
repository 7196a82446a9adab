//! Conflicting certificates cost keys (design, section 10, invariant 3), whatever the order of votes.
//!
//! A hub that has its key twice makes two logs that part at some height of chain zero, with the same sets from then on, with other
//! nonce roots, with other members, or with sets that are carried over because the breaker has tripped on one of them. Faulty members vote for everything; honest ones see both logs, and vote whenever the
//! production rules call a vote due on one of them (`ballots::due` on a real ledger, which takes the certificates there are).
//! Whoever wants both branches final puts certificates together that no voter can be spared in: more voters would only expose
//! more. What counts is what `Certificate::verify` accepts under a set that the branch's own ledger has fixed; what comes out is
//! what `Evidence` extracts from votes that anybody can see.
//!
//! Not here: time. No set expires, and no voter judges Bitcoin.

mod branches;
mod logs;
mod tests;

use branches::{BRANCHES, Branches, Members, Place};
use stateright::{Model, Property};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A check that a variant of the model goes without: it accepts what the production code refuses for that reason alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Check {
    /// Two thirds are not enough.
    MoreThanTwoThirds,
    /// A vote has the nonce of its height.
    NonceOfHeight,
    /// Nonce roots are those that the set was fixed with.
    RootsOfSet,
    /// A set is one that the ledger has fixed.
    FixedSet,
    /// One incarnation of a chain is accepted.
    OneContext,
    /// The honest vote only behind the certificate of the voted height before.
    CertificateBefore,
    /// The honest vote once at a height.
    OneMessage,
    /// The honest vote only for descendants of their own last vote.
    OwnBranch,
}

/// How much of every set may be faulty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Faulty {
    /// At most two thirds.
    TwoThirds,
    /// All of it.
    All,
}

struct Safety {
    branches: Arc<Branches>,
    faulty: Faulty,
    without: Option<Check>,
    /// The last height that is voted on.
    last: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    faulty: Members,
    /// Who signed each certificate above the parting, by branch.
    certified: [BTreeMap<u64, Members>; BRANCHES],
    /// What each honest member voted for.
    voted: Vec<BTreeSet<Place>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Act {
    Vote(usize, Place),
    Certify(Place, Members),
}

impl Safety {
    fn may_be_faulty(&self, faulty: Members) -> bool {
        self.faulty == Faulty::All || self.branches.sets().all(|set| !set.exceeds(faulty, 2))
    }

    /// Certificates up to the first one that lacks, on a branch.
    fn in_order(&self, state: &State, branch: usize) -> usize {
        let parting = self.branches.parting;
        (parting..).take_while(|height| state.certified[branch].contains_key(height)).count()
    }

    /// What an honest member may vote for on a branch.
    fn due(&self, state: &State, member: usize, branch: usize) -> Vec<Place> {
        let newest = state.voted[member].last().filter(|_| self.without != Some(Check::OneMessage));
        let held = self.in_order(state, branch);
        let held = match self.without {
            // As though it held certificates that there are not.
            Some(Check::CertificateBefore) => held..(self.last - self.branches.parting + 1) as usize,
            _ => held..held + 1,
        };
        // As though its last vote were on this branch.
        let seen = |last: Place| {
            if self.without == Some(Check::OwnBranch) { Place { branch, ..last } } else { last }
        };
        let due = held.filter_map(|held| self.branches.due(member, branch, held, newest.copied().map(seen)));
        due.filter(|place| place.height <= self.last).collect()
    }

    /// Who can sign for a block: the faulty, and the honest who voted for it.
    fn signers(&self, state: &State, place: Place) -> Members {
        let honest = (0..state.voted.len()).filter(|member| state.voted[*member].contains(&place));
        honest.fold(state.faulty, |signers, member| signers | 1 << member)
    }

    fn accepts(&self, state: &State, place: Place, voters: Members) -> bool {
        self.branches.accepts(place, voters, state.faulty)
    }

    fn certify(&self, state: &State, place: Place, acts: &mut Vec<Act>) {
        let signers = self.signers(state, place);
        for voters in (1..=signers).filter(|voters| voters & !signers == 0) {
            let spared = (0..8).map(|member| 1 << member).filter(|one| voters & one != 0);
            let mut without_one = spared.map(|one| voters & !one);
            if self.accepts(state, place, voters)
                && !without_one.any(|fewer| self.accepts(state, place, fewer))
            {
                acts.push(Act::Certify(place, voters));
            }
        }
    }

    /// Whose keys anybody can compute from the votes there are.
    fn exposed(&self, state: &State) -> Members {
        let mut votes = state.voted.clone();
        for (branch, certified) in state.certified.iter().enumerate() {
            for (height, voters) in certified {
                let faulty = (0..votes.len()).filter(|member| state.faulty & voters & 1 << member != 0);
                for member in faulty.collect::<Vec<_>>() {
                    votes[member].insert(Place { height: *height, branch });
                }
            }
        }
        let is_out = |member: &usize| self.branches.gives_away(*member, &votes[*member], state.faulty);
        (0..votes.len()).filter(is_out).fold(0, |exposed, member| exposed | 1 << member)
    }

    /// Heights at which both branches have a certificate, by sets that agree.
    fn at_one_height<'a>(&'a self, state: &'a State) -> impl Iterator<Item = u64> + 'a {
        let both = state.certified[0].keys().filter(|height| state.certified[1].contains_key(height));
        both.copied().filter(|height| self.branches.agree(*height))
    }

    fn conflicts(state: &State) -> bool {
        state.certified.iter().all(|certified| !certified.is_empty())
    }
}

impl Model for Safety {
    type State = State;
    type Action = Act;

    fn init_states(&self) -> Vec<State> {
        let members = self.branches.names.len();
        let all = (0..1 << members).filter(|faulty| self.may_be_faulty(*faulty));
        // Before the branches part, the honest have voted for every height.
        let voted = |faulty: Members| {
            let last = Place { height: self.branches.parting - 1, branch: 0 };
            let honest = |member: usize| faulty & 1 << member == 0 && last.height >= logs::FIRST;
            (0..members).map(|member| honest(member).then_some(last).into_iter().collect()).collect()
        };
        all.map(|faulty| State { faulty, certified: Default::default(), voted: voted(faulty) }).collect()
    }

    fn actions(&self, state: &State, acts: &mut Vec<Act>) {
        for branch in 0..BRANCHES {
            for member in (0..state.voted.len()).filter(|member| state.faulty & 1 << member == 0) {
                let due = self.due(state, member, branch).into_iter();
                acts.extend(due.map(|place| Act::Vote(member, place)));
            }
            for height in self.branches.parting..=self.last {
                if !state.certified[branch].contains_key(&height) {
                    self.certify(state, Place { height, branch }, acts);
                }
            }
        }
    }

    fn next_state(&self, state: &State, act: Act) -> Option<State> {
        let mut next = state.clone();
        match act {
            Act::Vote(member, place) => drop(next.voted[member].insert(place)),
            Act::Certify(place, voters) => drop(next.certified[place.branch].insert(place.height, voters)),
        }
        (next != *state).then_some(next)
    }

    fn properties(&self) -> Vec<Property<Self>> {
        vec![
            Property::always(ONE_HEIGHT, |model: &Self, state: &State| {
                let out = model.exposed(state);
                model.at_one_height(state).all(|height| model.branches.set(height).exceeds(out, 1))
            }),
            Property::always(ANY_HEIGHTS, |model: &Self, state: &State| {
                let shared = model.branches.set(model.branches.parting);
                !Self::conflicts(state) || shared.exceeds(model.exposed(state), 1)
            }),
            Property::always(HONEST, |model: &Self, state: &State| model.exposed(state) & !state.faulty == 0),
            Property::always(ONE_BRANCH, |model: &Self, state: &State| {
                let apart = |place: &&Place| place.height >= model.branches.parting;
                let on = |votes: &BTreeSet<Place>, branch| {
                    votes.iter().filter(apart).any(|place| place.branch == branch)
                };
                !state.voted.iter().any(|votes| on(votes, 0) && on(votes, 1))
            }),
            Property::sometimes(CONFLICT, |_, state: &State| Self::conflicts(state)),
            Property::sometimes(FINAL, |model: &Self, state: &State| {
                state.certified.iter().any(|certified| certified.contains_key(&model.last))
            }),
        ]
    }
}

const ONE_HEIGHT: &str =
    "two certificates at one height by sets that agree expose more than a third of that set";
const ANY_HEIGHTS: &str =
    "conflicting certificates at any heights expose more than a third of the set that parted";
const HONEST: &str = "no honest key comes out";
const ONE_BRANCH: &str = "no honest member votes on both branches";
const CONFLICT: &str = "both branches get a final block";
const FINAL: &str = "the last height becomes final";
