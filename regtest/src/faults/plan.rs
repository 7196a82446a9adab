//! What a seed does: which parts are disturbed, how, and at which of their points.

use super::link::Cut;
use super::points::{Part, Points};
use super::strace::Injection;
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

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Killed (SIGKILL).
    Kill {
        /// After the call, not before it.
        after: bool,
        /// As by a power cut: what was not made durable is torn, as these dice fall.
        torn: Option<u64>,
    },
    /// The call fails.
    Fail {
        /// ENOSPC, EIO.
        errno: &'static str,
        /// Whether all later ones do too, until the part is started again.
        lasting: bool,
    },
    /// Stopped, as by a clock that stands still, for this long.
    Stop(Duration),
    /// The link to the hub or to the node is disturbed.
    Link(Cut),
}

/// A fault: an act at a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Whose.
    pub part: Part,
    /// The call; of a link the part that it leads to.
    pub call: String,
    /// The how-manieth of the first thread that makes so many; of a link the piece of an answer.
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

    /// How strace does it; not a link.
    pub fn injection(&self) -> Option<Injection> {
        match self.act {
            Act::Kill { after: false, .. } => Some(Injection::KillBefore),
            Act::Kill { after: true, .. } => Some(Injection::Hold),
            Act::Fail { errno, lasting } => Some(Injection::Fail { errno, lasting }),
            Act::Stop(_) => Some(Injection::Stop),
            Act::Link(_) => None,
        }
    }
}

impl Display for Fault {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self { part, call, nth, act } = self;
        match act {
            Act::Kill { after, torn } => {
                let when = if *after { "after" } else { "before" };
                let power = if torn.is_some() { " by a power cut" } else { "" };
                write!(out, "{part} killed{power} {when} {call} {nth}")
            }
            Act::Fail { errno, lasting: false } => write!(out, "{part} gets {errno} at {call} {nth}"),
            Act::Fail { errno, lasting: true } => write!(out, "{part} gets {errno} from {call} {nth} on"),
            Act::Stop(time) => write!(out, "{part} stopped at {call} {nth} for {} s", time.as_secs()),
            Act::Link(cut) => write!(out, "{part} has its link to {call} {cut} at piece {nth}"),
        }
    }
}

/// What one seed does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// The seed.
    pub seed: u64,
    /// The faults, each of another part.
    pub faults: Vec<Fault>,
}

impl Plan {
    /// Draws from the points that there are.
    pub fn draw(seed: u64, points: &Points) -> Self {
        let mut dice = StdRng::seed_from_u64(seed);
        let operator = dice.gen_range(OPERATORS);
        let mut parts = [
            Part::Bitcoind,
            Part::Hub,
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
        Self { seed, faults }
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
    Some(Fault { part, call: (*call).clone(), nth, act: act(part, dice) })
}

fn act(part: Part, dice: &mut StdRng) -> Act {
    match dice.gen_range(0..10) {
        0..7 => {
            let torn = (part != Part::Bitcoind && dice.r#gen()).then(|| dice.r#gen());
            Act::Kill { after: dice.r#gen(), torn }
        }
        7..9 => {
            let errno = if dice.r#gen() { "ENOSPC" } else { "EIO" };
            Act::Fail { errno, lasting: dice.r#gen() }
        }
        _ => Act::Stop(Duration::from_secs(dice.gen_range(2..5))),
    }
}
