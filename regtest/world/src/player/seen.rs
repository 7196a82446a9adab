//! What a history came to: a property of random histories says something of a case only if some history came to it.

use super::model::{Facts, K, Kind, Known, Model};
use palisade_hub::ledger::state::StakeState;
use palisade_protocol::keys::ProviderKey;
use std::collections::{BTreeMap, BTreeSet};

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Case {
    /// Bitcoin lost more than k blocks.
    DeepReorg,
    /// The next set of chain zero was too weak.
    ZeroShrank,
    CarriedOver,
    Resumed,
    /// A stake got deep enough for power while the breaker was tripped.
    Held,
    /// The next set of the other chain was too weak.
    Paused,
    /// The same, and governance had accepted that.
    WeakerAccepted,
    /// The other chain had a set again after its newest had expired.
    BeganAgain,
    SpendLost,
    /// It had power again after that.
    Restored,
    AnchorLost,
    AnchorAgain,
    /// Two votes at one height.
    Equivocated,
    /// A key got out that had power.
    OutWithPower,
    /// A stake of a key that is out got deep enough for power, which it never had.
    OutAndDeep,
    /// A stake of a key that is out was spent by its expansion, or the key got out after that.
    OutAndExpanded,
    OutAndSpendLost,
    /// A key got out that an expansion does not name any more, and what the old stake still gave ended.
    OutAndForgotten,
    /// One key of two got out, and the stake's power ended for the other.
    OneOfTwoOut,
    BothOut,
    /// The holder or a slashing spent a stake that never had power.
    NeverHadPower,
    /// A member signed a stake that had its quorum.
    BeyondQuorum,
    /// A stake ended whose provider had power and was in no set.
    LeftOutsideSets,
    /// The last stake of a provider left.
    LastLeft,
    /// The same, told when the spend was no more in the newest block.
    LastLeftLate,
    /// A key was new in a set that was fixed in a block in which a stake changed.
    Entered,
    /// A key of the set before was not in such a set.
    Left,
}

impl Case {
    pub const ALL: [Self; 27] = [
        Self::DeepReorg,
        Self::ZeroShrank,
        Self::CarriedOver,
        Self::Resumed,
        Self::Held,
        Self::Paused,
        Self::WeakerAccepted,
        Self::BeganAgain,
        Self::SpendLost,
        Self::Restored,
        Self::AnchorLost,
        Self::AnchorAgain,
        Self::Equivocated,
        Self::OutWithPower,
        Self::OutAndDeep,
        Self::OutAndExpanded,
        Self::OutAndSpendLost,
        Self::OutAndForgotten,
        Self::OneOfTwoOut,
        Self::BothOut,
        Self::NeverHadPower,
        Self::BeyondQuorum,
        Self::LeftOutsideSets,
        Self::LastLeft,
        Self::LastLeftLate,
        Self::Entered,
        Self::Left,
    ];
}

#[derive(Clone, Default)]
pub struct Seen {
    pub counts: BTreeMap<Case, u32>,
    before: Vec<Facts>,
    exposed: BTreeSet<ProviderKey>,
    /// Stakes that ever had power, and those that lost a spend.
    powered: BTreeSet<usize>,
    lost: BTreeSet<usize>,
    /// A stake changed since the last hub block.
    pub(super) moved: bool,
}

/// What decides beside the stakes.
pub(super) struct Moment<'a> {
    pub tip: u32,
    /// The facts were told later than in the block that has them.
    pub late: bool,
    /// Whether a key is in the newest set of its chain, if there is one.
    pub in_set: &'a dyn Fn(&ProviderKey) -> Option<bool>,
}

impl Seen {
    pub fn note(&mut self, case: Case) {
        *self.counts.entry(case).or_default() += 1;
    }

    pub fn add(&mut self, other: &Self) {
        for (case, count) in &other.counts {
            *self.counts.entry(*case).or_default() += count;
        }
    }

    /// Of these none happened.
    pub fn lacks(&self, cases: &[Case]) -> Vec<Case> {
        cases.iter().copied().filter(|case| !self.counts.contains_key(case)).collect()
    }

    pub(super) fn note_if(&mut self, happened: bool, case: Case) {
        if happened {
            self.note(case);
        }
    }

    /// Compares what is with what was.
    pub(super) fn look(&mut self, model: &Model, moment: &Moment<'_>) {
        let before = std::mem::take(&mut self.before);
        let nothing = Facts::default();
        for (i, known) in model.stakes.iter().enumerate() {
            let was = before.get(i).unwrap_or(&nothing);
            self.moved |= was.state != known.now.state;
            self.keys(known, was, model);
            self.spends(i, known, was, moment);
            self.powers(i, known, was, model.tripped, moment.tip);
        }
        let sum = |facts: &[Facts], key: &ProviderKey| facts.iter().any(|own| own.power.contains(key));
        let now: Vec<Facts> = model.stakes.iter().map(|known| known.now.clone()).collect();
        let ended: Vec<_> = { before.iter() }
            .flat_map(|own| &own.power)
            .filter(|key| !sum(&now, key) && !model.exposed.contains(key))
            .collect();
        let spent = |(was, now): (&Facts, &Facts)| was.spend.is_none() && now.spend.is_some();
        let left = !ended.is_empty() && before.iter().zip(&now).any(spent);
        self.note_if(left, Case::LastLeft);
        self.note_if(left && moment.late, Case::LastLeftLate);
        self.exposed.clone_from(&model.exposed);
        self.before = now;
    }

    /// What became of keys that are out.
    fn keys(&mut self, known: &Known, was: &Facts, model: &Model) {
        let out = |keys: &[ProviderKey]| keys.iter().filter(|key| model.exposed.contains(key)).count();
        let names_out = |known: &Known| out(&known.providers) + out(&known.former) > 0;
        let is_out = names_out(known);
        let was_out = { known.providers.iter().chain(&known.former) }.any(|key| self.exposed.contains(key));
        let now = &known.now;
        let ended = !was.power.is_empty() && now.power.is_empty();
        self.note_if(is_out && !was_out && ended, Case::OutWithPower);
        let two = known.providers.len() == 2;
        self.note_if(two && ended && !was_out && out(&known.providers) == 1, Case::OneOfTwoOut);
        self.note_if(two && out(&known.providers) == 2, Case::BothOut);
        let expanded = |facts: &Facts| facts.state == Some(StakeState::Expanded);
        self.note_if(is_out && expanded(now) && !(was_out && expanded(was)), Case::OutAndExpanded);
        let successor = match now.spend {
            Some((Kind::Expansion(new), _)) => model.stakes.get(new),
            _ => None,
        };
        let forgotten = successor.is_some_and(|new| !names_out(new));
        self.note_if(is_out && !was_out && ended && forgotten, Case::OutAndForgotten);
        self.note_if(is_out && was.spend.is_some() && now.spend.is_none(), Case::OutAndSpendLost);
    }

    fn spends(&mut self, i: usize, known: &Known, was: &Facts, moment: &Moment<'_>) {
        let now = &known.now;
        if was.spend.is_some() && now.spend.is_none() {
            self.note(Case::SpendLost);
            self.lost.insert(i);
        }
        let Some((kind, _)) = now.spend.filter(|_| was.spend.is_none()) else { return };
        let never = !self.powered.contains(&i) && !matches!(kind, Kind::Expansion(_));
        self.note_if(never, Case::NeverHadPower);
        let outside = was.power.iter().any(|key| (moment.in_set)(key) == Some(false));
        self.note_if(outside && now.power.is_empty(), Case::LeftOutsideSets);
    }

    fn powers(&mut self, i: usize, known: &Known, was: &Facts, tripped: bool, tip: u32) {
        let now = &known.now;
        let deep = now.included.is_some_and(|height| tip >= height + K);
        let never = !self.powered.contains(&i);
        let state = |state| now.state == Some(state) && now.spend.is_none();
        self.note_if(never && deep && state(StakeState::Exposed), Case::OutAndDeep);
        self.note_if(never && deep && tripped && state(StakeState::Verified), Case::Held);
        let again = was.power.is_empty() && !now.power.is_empty();
        self.note_if(again && self.lost.contains(&i), Case::Restored);
        if !now.power.is_empty() {
            self.powered.insert(i);
        }
    }
}
