//! A naive account of the sets of a chain other than zero, written from docs/protocol.md, section 7.2.

use palisade_protocol::keys::ProviderKey;
use std::collections::BTreeMap;

/// Blocks of Bitcoin that a set signs for.
const LIFETIME: u32 = 100;

type Members = BTreeMap<ProviderKey, u64>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fixed {
    pub members: Members,
    pub expiry: u32,
}

impl Fixed {
    pub fn total(&self) -> u64 {
        self.members.values().sum()
    }
}

/// What the rules of the chain see of the rest of the world at the end of a block.
pub struct Around<'a> {
    pub tip: u32,
    pub tripped: bool,
    /// Who is eligible for an epoch, with what power.
    pub eligible: &'a dyn Fn(u64) -> Members,
    /// What a key that is not exposed has now.
    pub held: &'a dyn Fn(&ProviderKey) -> u64,
    /// The first epoch for which nobody has nonces.
    pub end: u64,
}

/// Whether a set with this power after one with that is too weak, and governance did not accept it.
pub fn shrinks(before: u64, power: u64, accepted: Option<u64>) -> bool {
    let is_accepted = power > 0 && accepted.is_some_and(|least| power >= least);
    3 * power <= 2 * before && !is_accepted
}

#[derive(Clone)]
pub struct Sets {
    pub fixed: BTreeMap<u64, Fixed>,
    pub paused: bool,
    pub accepted: Option<u64>,
    minimum: u64,
    length: u64,
    voted_every: u64,
    wanted: Option<u64>,
    pub opened: u64,
    last_final: Option<u64>,
}

impl Sets {
    pub fn new(minimum: u64, length: u64, voted_every: u64) -> Self {
        let (fixed, paused, accepted, wanted) = (BTreeMap::new(), false, None, None);
        Self { fixed, paused, accepted, minimum, length, voted_every, wanted, opened: 0, last_final: None }
    }

    /// The height that must be certified next, and the epoch whose set has to; none before the chain is open.
    pub fn next(&self) -> Option<(u64, u64)> {
        self.fixed.last_key_value()?;
        let opening = self.opened * self.length;
        let height = self.last_final.map_or(opening, |last| opening.max(last + self.voted_every));
        Some((height, height / self.length))
    }

    /// Whether a certificate of an epoch counts now.
    pub fn takes(&self, epoch: u64, tip: u32, tripped: bool) -> bool {
        !tripped && !self.paused && self.fixed.get(&epoch).is_some_and(|set| tip <= set.expiry)
    }

    /// A height became final.
    pub fn finalise(&mut self, height: u64) {
        self.last_final = Some(height);
        let next = height / self.length + 1;
        self.wanted = Some(next).filter(|next| !self.fixed.contains_key(next)).or(self.wanted);
    }

    /// The end of a block.
    pub fn close(&mut self, around: &Around<'_>) {
        if around.tripped || self.paused {
            return;
        }
        let Some((newest, set)) = self.fixed.last_key_value() else {
            return self.start(0, self.minimum, around);
        };
        let (newest, total) = (*newest, set.total());
        if around.tip > set.expiry {
            let held: u64 = set.members.keys().map(around.held).sum();
            return self.start(newest + 1, 2 * held / 3 + 1, around);
        }
        let Some(epoch) = self.wanted else { return };
        let members = (around.eligible)(epoch);
        let power: u64 = members.values().sum();
        if shrinks(total, power, self.accepted) {
            self.paused = true;
        } else {
            self.fix(epoch, members, around.tip);
        }
    }

    fn start(&mut self, first: u64, minimum: u64, around: &Around<'_>) {
        let epochs = (first..around.end).map(|epoch| (epoch, (around.eligible)(epoch)));
        let strong = |(_, members): &(u64, Members)| members.values().sum::<u64>() >= minimum;
        if let Some((epoch, members)) = { epochs }.find(strong) {
            self.opened = epoch;
            self.fix(epoch, members, around.tip);
        }
    }

    fn fix(&mut self, epoch: u64, members: Members, tip: u32) {
        self.fixed.insert(epoch, Fixed { members, expiry: tip + LIFETIME });
        (self.wanted, self.accepted) = (None, None);
    }
}
