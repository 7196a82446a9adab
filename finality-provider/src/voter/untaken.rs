//! What was sent and is not taken, why, and when it is sent again.

use super::Voter;
use super::verdict::{self, Door, Next};
use palisade_hub::client::HubError;
use palisade_protocol::context::ChainId;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// What the hub passed over is sent again after this: it may have erred.
const SELDOM: Duration = Duration::from_secs(60);
/// What is refused so often in a row rings, whatever the reason.
const TRIES: u32 = 5;

/// A thing that was sent: a door, a chain, and the height or the epoch.
type Place = (Door, ChainId, u64);

/// Everything that was sent last without success.
#[derive(Debug, Default)]
pub(super) struct Untaken(BTreeMap<Place, Answer>);

#[derive(Debug)]
struct Answer {
    next: Next,
    why: String,
    at: Instant,
    tries: u32,
}

impl Untaken {
    /// Whether the hub said a while ago that this is to be passed over.
    pub(super) fn is_passed_over(&self, door: Door, chain: &ChainId, place: u64) -> bool {
        let answer = self.0.get(&(door, chain.clone(), place));
        answer.is_some_and(|answer| answer.next.passes_over() && answer.at.elapsed() < SELDOM)
    }

    fn keep_only(&mut self, door: Door, chain: &ChainId, waits: impl Fn(u64) -> bool) {
        self.0.retain(|(own, of, place), _| *own != door || of != chain || waits(*place));
    }

    /// Notes an answer. Gives what is to be said of it if that is new.
    fn note(&mut self, place: Place, next: Next, why: String) -> Option<String> {
        let before = self.0.remove(&place);
        let tries = before.as_ref().map_or(0, |before| before.tries).saturating_add(1);
        let is_new = before.is_none_or(|before| before.why != why);
        let said = is_new.then(|| why.clone());
        self.0.insert(place, Answer { next, why, at: Instant::now(), tries });
        said
    }

    /// Why somebody has to look, if somebody has to: the newest of each door and chain.
    fn alarm(&self) -> Option<String> {
        let rings =
            |answer: &&Answer| answer.next.rings() || answer.next == Next::Again && answer.tries >= TRIES;
        let of = |((door, chain, place), answer): (&Place, &Answer)| {
            let text = format!("chain {chain}: {door} {place} is not taken: {}", answer.why);
            ((*door, chain.clone()), text)
        };
        let newest: BTreeMap<_, _> = self.0.iter().filter(|(_, answer)| rings(answer)).map(of).collect();
        (!newest.is_empty()).then(|| newest.into_values().collect::<Vec<_>>().join("; "))
    }
}

impl Voter {
    /// Forgets what was not taken of heights or epochs that nobody waits for any more.
    pub(super) fn keep_untaken(&self, door: Door, chain: &ChainId, waits: impl Fn(u64) -> bool) {
        self.moment().untaken.keep_only(door, chain, waits);
        self.ring();
    }

    fn ring(&self) {
        let alarm = self.moment().untaken.alarm();
        match alarm {
            Some(why) => self.health.degrade("refused", why),
            None => self.health.recover("refused"),
        }
    }

    /// Notes what the hub answered, and gives what is next where it did not take what was sent.
    pub(super) fn heard(
        &self,
        door: Door,
        chain: &ChainId,
        place: u64,
        answer: Result<(), &HubError>,
    ) -> Option<Next> {
        let next = answer.err().map(|why| verdict::next(door, why));
        let mut moment = self.moment();
        let at = (door, chain.clone(), place);
        match (answer, next) {
            (Err(why), Some(next)) => {
                if let Some(why) = moment.untaken.note(at, next, why.to_string()) {
                    tracing::warn!(%chain, why, ?next, "{door} {place} is not taken");
                }
            }
            _ => drop(moment.untaken.0.remove(&at)),
        }
        drop(moment);
        self.ring();
        next
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn note(untaken: &mut Untaken, place: u64, next: Next) -> Option<String> {
        untaken.note((Door::Votes, ChainId::zero(), place), next, format!("{next:?}"))
    }

    #[test]
    fn what_is_to_be_sent_again_rings_once_it_was_refused_often_in_a_row_and_the_rest_at_once() {
        let mut untaken = Untaken::default();
        for _ in 1..TRIES {
            note(&mut untaken, 5, Next::Again);
            assert_eq!(untaken.alarm(), None);
        }
        assert_eq!(note(&mut untaken, 5, Next::Again), None, "said once");
        let alarm = untaken.alarm().unwrap();
        assert_eq!(alarm, "chain zero: the vote at height 5 is not taken: Again");
        untaken.keep_only(Door::Votes, &ChainId::zero(), |height| height >= 6);
        assert_eq!(untaken.alarm(), None);
        for (next, rings) in [(Next::Over, false), (Next::Stop, true), (Next::Alarm, true)] {
            assert!(note(&mut untaken, 10, next).is_some());
            assert_eq!(untaken.alarm().is_some(), rings, "{next:?}");
            let over = untaken.is_passed_over(Door::Votes, &ChainId::zero(), 10);
            assert_eq!(over, next != Next::Alarm, "{next:?}");
        }
    }

    #[test]
    fn what_was_passed_over_is_sent_again_after_a_while() {
        let mut untaken = Untaken::default();
        note(&mut untaken, 5, Next::Over);
        let is_over = |untaken: &Untaken| untaken.is_passed_over(Door::Votes, &ChainId::zero(), 5);
        assert!(is_over(&untaken) && !untaken.is_passed_over(Door::Commitments, &ChainId::zero(), 5));
        let answer = untaken.0.values_mut().next().unwrap();
        answer.at = answer.at.checked_sub(SELDOM).unwrap();
        assert!(!is_over(&untaken));
    }
}
