//! What a seed does: which parts are disturbed, how, and at which of their points.

use super::disk;
use super::link::Cut;
use super::points::{Part, Points};
use super::strace::Injection;
use palisade_protocol::params::Profile;
use rand::rngs::StdRng;
use rand::seq::SliceRandom as _;
use rand::{Rng as _, SeedableRng as _};
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

/// Parts that are disturbed by one seed.
const FAULTS: usize = 4;
/// Members of the covenant, of whom one is disturbed.
const MEMBERS: usize = crate::demo::network::COVENANT.0;
/// Operators that may be disturbed: not the story's own culprit, and not the one without whom there is no quorum.
const OPERATORS: std::ops::Range<usize> = 2..4;
/// Pieces of answers after which a link may be disturbed: every link carries many more in a story.
const PIECES: u32 = 60;
/// Writes of a part that starts again, before which it may be killed once more.
const AGAIN: u32 = 10;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Killed (SIGKILL).
    Kill {
        /// After the call, not before it.
        after: bool,
        /// As by a power cut: what was not made durable is torn, as these dice fall.
        torn: Option<u64>,
        /// Once more while it recovers: before so many writes.
        again: Option<u32>,
    },
    /// The call fails.
    Fail {
        /// ENOSPC, EIO.
        errno: &'static str,
        /// Whether all later ones do too, until the part is started again.
        lasting: bool,
    },
    /// Its data lie on a disk with room for as many pages more as the point's number; somebody makes room some time after that was
    /// used up.
    Full,
    /// Paused for this long.
    Stop(Duration),
    /// Its clock stands still from its start on.
    Clock,
    /// The link to the hub or to the node is disturbed.
    Link(Cut),
}

/// A fault: an act at a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Whose.
    pub part: Part,
    /// The call; of a link the part that it leads to. A clock and a disk have none.
    pub call: String,
    /// The how-manieth of the first thread that makes so many; of a link the piece of an answer, of a disk its pages.
    pub nth: u32,
    /// What happens there.
    pub act: Act,
}

impl Fault {
    /// Whether both disturb a link of the checkpointer's processes: one file says where these lead.
    fn shares_a_link_with(&self, other: &Self) -> bool {
        let is_link = |it: &Self| {
            matches!(it.act, Act::Link(_)) && matches!(it.part, Part::Report | Part::Watch | Part::Anchor)
        };
        is_link(self) && is_link(other)
    }

    /// The words by which strace says that it has come.
    pub fn mark(&self) -> Option<&'static str> {
        if self.act == Act::Full { Some(disk::MARK) } else { self.injection().map(Injection::mark) }
    }

    /// How strace does it, where it does.
    pub fn injection(&self) -> Option<Injection> {
        match self.act {
            Act::Kill { after: false, .. } => Some(Injection::KillBefore),
            Act::Kill { after: true, .. } => Some(Injection::Hold),
            Act::Fail { errno, lasting } => Some(Injection::Fail { errno, lasting }),
            Act::Stop(_) => Some(Injection::Stop),
            Act::Full | Act::Link(_) | Act::Clock => None,
        }
    }
}

impl Display for Fault {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self { part, call, nth, act } = self;
        match act {
            Act::Kill { after, torn, again } => {
                let when = if *after { "after" } else { "before" };
                let power = if torn.is_some() { " by a power cut" } else { "" };
                write!(out, "{part} killed{power} {when} {call} {nth}")?;
                let call = part.writes();
                again
                    .iter()
                    .try_for_each(|again| write!(out, ", and before {call} {again} of its next start"))
            }
            Act::Fail { errno, lasting: false } => write!(out, "{part} gets {errno} at {call} {nth}"),
            Act::Fail { errno, lasting: true } => write!(out, "{part} gets {errno} from {call} {nth} on"),
            Act::Full => write!(out, "{part} has a disk with room for {nth} pages"),
            Act::Stop(time) => write!(out, "{part} paused at {call} {nth} for {} s", time.as_secs()),
            Act::Clock => write!(out, "{part} has a clock that stands still"),
            Act::Link(cut) => write!(out, "{part} has its link to {call} {cut} at piece {nth}"),
        }
    }
}

/// What one seed does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// Of which shape the network's presigned transactions are.
    pub profile: Profile,
    /// The faults, each of another part.
    pub faults: Vec<Fault>,
}

impl Plan {
    /// Draws from the points that there are.
    pub fn draw(seed: u64, points: &Points) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let profile = if dice.r#gen() { Profile::Bumpable } else { Profile::Compatible };
        let operator = dice.gen_range(OPERATORS);
        let mut parts = [
            Part::Bitcoind,
            Part::Hub,
            Part::Follower,
            Part::Covenant(dice.gen_range(0..MEMBERS)),
            Part::Report,
            Part::Watch,
            Part::Anchor,
            Part::Signer(operator),
            Part::Voter(operator),
        ];
        parts.shuffle(&mut dice);
        let mut faults: Vec<Fault> = Vec::new();
        let drawn = parts.into_iter().filter_map(|part| draw(part, points, &mut dice));
        for fault in drawn {
            if faults.len() < FAULTS && !faults.iter().any(|other| other.shares_a_link_with(&fault)) {
                faults.push(fault);
            }
        }
        faults.sort_by_key(|fault| fault.part);
        Self { seed, profile, faults }
    }
}

/// A fault of a part, if it has points.
fn draw(part: Part, points: &Points, dice: &mut StdRng) -> Option<Fault> {
    let links = part.links();
    if !links.is_empty() && dice.gen_bool(0.2) {
        let cut = *[Cut::Dropped, Cut::Stalled, Cut::Halved, Cut::Slow].choose(dice)?;
        let call = links.choose(dice)?.to_string();
        return Some(Fault { part, call, nth: dice.gen_range(1..=PIECES), act: Act::Link(cut) });
    }
    let own: Vec<_> = points.get(part.kind())?.iter().filter(|(_, count)| **count > 0).collect();
    // A call that is made often has more points, and is not drawn always.
    let (call, count) = own.choose_weighted(dice, |(_, count)| 1 + count.isqrt()).ok()?;
    let nth = dice.gen_range(1..=**count);
    let act = act(part, call, dice);
    let (call, nth) = match act {
        Act::Clock => (String::new(), 0),
        Act::Full => (String::new(), nth),
        _ => ((*call).clone(), nth),
    };
    Some(Fault { part, call, nth, act })
}

fn act(part: Part, call: &str, dice: &mut StdRng) -> Act {
    match dice.gen_range(0..20) {
        0..14 => {
            let after: bool = dice.r#gen();
            // What a power cut can tear is what was written and not synced.
            let is_loose = if after { call == "pwrite64" } else { ["fsync", "fdatasync"].contains(&call) };
            let torn = (part != Part::Bitcoind && is_loose).then(|| dice.r#gen());
            let again = dice.gen_bool(0.3).then(|| dice.gen_range(1..=AGAIN));
            Act::Kill { after, torn, again }
        }
        14..18 => {
            let errno = if dice.r#gen() { "ENOSPC" } else { "EIO" };
            let lasting = dice.r#gen();
            // A signer takes a record that was moved for one that came back, and the node says itself how it takes a full disk.
            let has_disk = !matches!(part, Part::Signer(_) | Part::Bitcoind);
            let fills = errno == "ENOSPC" && lasting && has_disk;
            if fills { Act::Full } else { Act::Fail { errno, lasting } }
        }
        18 => Act::Stop(Duration::from_secs(dice.gen_range(2..5))),
        _ => Act::Clock,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faults::run::points;
    use std::collections::BTreeSet;

    #[test]
    fn some_seed_fills_the_disk_of_each_kind_of_part_that_can_be_moved() {
        let points = points().unwrap();
        let mut filled = BTreeSet::new();
        for seed in 0..1_000 {
            let drawn = Plan::draw(seed, &points).faults;
            filled.extend(drawn.iter().filter(|fault| fault.act == Act::Full).map(|fault| fault.part.kind()));
        }
        let all = points.keys().map(String::as_str).filter(|kind| !["bitcoind", "signer"].contains(kind));
        assert!(filled.iter().copied().eq(all), "{filled:?}");
    }
}
