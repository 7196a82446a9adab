//! Conflicting certificates at any heights, while no set is more than two thirds faulty.
//!
//! Two branches of a chain part at some voted height; the set of the second epoch may differ between them where they part before
//! it is fixed. Honest members keep the duties of docs/protocol.md, section 7.3: one vote a height, on what descends from their
//! last one, while they hold the certificate of the voted height before on that branch. The others vote as they like.

use super::{CONTEXT, EPOCH, PLACES, TERMS, ballot, exposed, member, vote};
use palisade_protocol::curve::KeyPair;
use palisade_protocol::finality::certificate::Certificate;
use palisade_protocol::finality::evidence::Evidence;
use palisade_protocol::finality::set::Set;
use palisade_protocol::finality::vote::{Ballot, Vote};
use palisade_protocol::hash::sha256;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::units::BtcHeight;
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

/// Voted heights of two epochs.
const ALL: u64 = 2 * PLACES;
/// The state that fixes the second epoch's set: the first block of the first epoch.
const FIXING: u64 = 0;
const BRANCHES: [usize; 2] = [0, 1];

/// On which branches somebody would like to vote at a height.
type Wish = [bool; 2];
const FIRST: Wish = [true, false];
const SECOND: Wish = [false, true];
const BOTH: Wish = [true; 2];

#[derive(Debug)]
struct Party {
    pair: KeyPair,
    faulty: bool,
    /// Power in the first epoch's set, and in the second's on each branch.
    powers: [u64; 3],
    wishes: Vec<Wish>,
}

#[derive(Debug)]
struct Story {
    parties: Vec<Party>,
    /// The first voted height at which the branches differ.
    parting: u64,
}

/// What came of it.
#[derive(Default)]
struct Outcome {
    votes: Vec<Vote>,
    certificates: BTreeMap<(usize, u64), Certificate>,
}

impl Story {
    /// Where the power of a branch's set at a place is written.
    fn column(&self, branch: usize, place: u64) -> usize {
        let shared = self.parting > FIXING;
        if place < PLACES {
            0
        } else if shared {
            1
        } else {
            1 + branch
        }
    }

    fn total(&self, column: usize, counts: impl Fn(&Party) -> bool) -> u128 {
        self.parties.iter().filter(|party| counts(party)).map(|party| u128::from(party.powers[column])).sum()
    }

    fn set(&self, branch: usize, place: u64) -> Option<Set> {
        let column = self.column(branch, place);
        let voters = self.parties.iter().filter(|party| party.powers[column] > 0);
        let members = voters.map(|party| member(&party.pair, party.powers[column], place)).collect();
        Set::new(CONTEXT, TERMS.epoch_of(super::height(place)), BtcHeight(100), members).ok()
    }

    /// Both branches have the same block below the height at which they part.
    fn ballot(&self, branch: usize, place: u64) -> Ballot {
        ballot(place, if place < self.parting { 9 } else { branch as u8 })
    }

    /// No set is more than two thirds faulty: the last of the faulty become honest until that is so.
    fn restrain(&mut self) {
        for column in 0..3 {
            while 3 * self.total(column, |party| party.faulty) > 2 * self.total(column, |_| true) {
                let last = self.parties.iter_mut().rfind(|party| party.faulty && party.powers[column] > 0);
                last.expect("somebody has that power").faulty = false;
            }
        }
    }

    fn play(&self) -> Outcome {
        let mut outcome = Outcome::default();
        // The branch of each honest member's last vote, once the branches have parted.
        let mut sides: Vec<Option<usize>> = vec![None; self.parties.len()];
        for place in 0..ALL {
            let mut votes = Vec::new();
            for (party, side) in self.parties.iter().zip(&mut sides) {
                let wished = BRANCHES.into_iter().filter(|branch| party.wishes[place as usize][*branch]);
                let mut ballots = BTreeSet::new();
                for branch in wished {
                    let holds = place == 0 || outcome.certificates.contains_key(&(branch, place - 1));
                    let keeps = holds && ballots.is_empty() && side.is_none_or(|side| side == branch);
                    if party.faulty || keeps {
                        ballots.insert(self.ballot(branch, place));
                        *side = (place >= self.parting).then_some(branch);
                    }
                }
                votes.extend(ballots.into_iter().map(|ballot| vote(&party.pair, ballot, place)));
            }
            for branch in BRANCHES {
                let Some(set) = self.set(branch, place) else { continue };
                let made = Certificate::assemble(self.ballot(branch, place), &set, &votes);
                if made.verify(&TERMS).is_ok() {
                    outcome.certificates.insert((branch, place), made);
                }
            }
            outcome.votes.extend(votes);
        }
        outcome
    }
}

impl Outcome {
    /// Whether both branches have a final block that the other has not.
    fn conflicts(&self, parting: u64) -> bool {
        let has = |branch| self.certificates.keys().any(|(own, place)| *own == branch && *place >= parting);
        has(0) && has(1)
    }

    /// The keys that follow from certificates alone.
    fn exposed(&self) -> BTreeMap<ProviderKey, KeyPair> {
        let of = |branch: usize| self.certificates.iter().filter(move |((own, _), _)| *own == branch);
        of(0).flat_map(|(_, first)| of(1).flat_map(move |(_, second)| exposed(first, second))).collect()
    }
}

/// Nine pairs in the order of their keys.
fn pairs(seed: u64) -> Vec<KeyPair> {
    let secret = |place: u64| sha256(&[&seed.to_be_bytes(), &place.to_be_bytes()]).0;
    let mut pairs: Vec<_> = (0..9).map(|place| KeyPair::from_secret_bytes(&secret(place)).unwrap()).collect();
    pairs.sort_by_key(|pair| ProviderKey::from(pair.public()));
    pairs
}

fn stories() -> impl Strategy<Value = Story> {
    let power = prop_oneof![1 => Just(0u64), 6 => 1..4u64, 1 => 1..1_000_000_000u64];
    let wishes = |both| {
        let wish = prop_oneof![
            1 => Just([false; 2]),
            3 => Just([true, false]),
            3 => Just([false, true]),
            both => Just([true; 2]),
        ];
        prop::collection::vec(wish, ALL as usize)
    };
    let party = (
        prop::bool::weighted(0.8),
        1..4u64,
        [power.clone(), power],
        prop_oneof![7 => Just(None), 1 => wishes(3).prop_map(Some)],
        prop_oneof![7 => Just(vec![BOTH; ALL as usize]), 1 => wishes(6)],
    );
    let parting = prop_oneof![2 => Just(0u64), 5 => 0..ALL];
    (any::<u64>(), prop::collection::vec(party, 3..9), parting).prop_map(|(seed, parties, parting)| {
        let (parties, fickle): (Vec<_>, Vec<_>) = parties
            .into_iter()
            .zip(pairs(seed))
            .map(|((faulty, first, [a, b], fickle, wishes), pair)| {
                (Party { pair, faulty, powers: [first, a, b], wishes }, fickle)
            })
            .unzip();
        let mut story = Story { parties, parting };
        story.restrain();
        // Most of the honest are true to one branch each, by turns: else no branch gets far.
        let honest = story.parties.iter_mut().zip(fickle).filter(|(party, _)| !party.faulty);
        for (turn, (party, fickle)) in honest.enumerate() {
            party.wishes = fickle.unwrap_or_else(|| vec![[FIRST, SECOND][turn % 2]; ALL as usize]);
        }
        story
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn conflicting_certificates_at_any_heights_expose_more_than_a_third_and_nobody_who_is_honest(
        story in stories(),
    ) {
        let outcome = story.play();
        let keys = outcome.exposed();
        if outcome.conflicts(story.parting) {
            let column = story.column(0, story.parting);
            let out = story.total(column, |party| keys.contains_key(&party.pair.public().into()));
            prop_assert!(3 * out > story.total(column, |_| true), "{} is a third or less", out);
        }
        for party in &story.parties {
            let key = ProviderKey::from(party.pair.public());
            prop_assert!(party.faulty || !keys.contains_key(&key));
            let own: Vec<_> = outcome.votes.iter().filter(|vote| vote.key == key).collect();
            let given_away = own.iter().any(|vote| {
                own.iter().any(|other| Evidence::from_votes(vote, other).is_some_and(|made| made.secret().is_ok()))
            });
            prop_assert!(party.faulty || !given_away);
        }
    }
}

/// Members of power 1, so many of them faulty, with these wishes at the first two places.
fn of_three(faulty: usize, wishes: [[Wish; 2]; 3]) -> Story {
    let party = |(i, (first, pair)): (usize, ([Wish; 2], KeyPair))| {
        let wishes = first.into_iter().chain([[false; 2]; ALL as usize]).collect();
        Party { pair, faulty: i < faulty, powers: [1; 3], wishes }
    };
    let parties = wishes.into_iter().zip(pairs(1)).enumerate().map(party).collect();
    Story { parties, parting: 0 }
}

#[test]
fn branches_that_get_final_at_one_height_cost_the_keys_of_those_who_voted_on_both() {
    let outcome = of_three(3, [[BOTH, BOTH]; 3]).play();
    assert!(outcome.conflicts(0));
    assert_eq!(outcome.exposed().len(), 3);
}

#[test]
fn a_faulty_set_can_make_two_branches_final_at_different_heights_and_no_key_comes_out() {
    let outcome = of_three(3, [[FIRST, SECOND]; 3]).play();
    let made: Vec<_> = outcome.certificates.keys().collect();
    assert_eq!(made, [&(0, 0), &(1, 1)]);
    assert!(outcome.conflicts(0) && outcome.exposed().is_empty());
    // One honest member among the three stops it: it lacks the certificate before.
    let outcome = of_three(2, [[FIRST, SECOND]; 3]).play();
    assert_eq!(outcome.certificates.keys().collect::<Vec<_>>(), [&(0, 0)]);
}

#[test]
fn the_epochs_of_the_stories_are_two_and_the_second_begins_where_it_should() {
    let epochs = [0, PLACES - 1, PLACES, ALL - 1].map(|place| TERMS.epoch_of(super::height(place)));
    assert_eq!(epochs, [EPOCH, EPOCH, EPOCH.next(), EPOCH.next()]);
}
