//! What a seed does: which parts are disturbed, how, and at which of their points.

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
/// Operators that may be disturbed: the first one is the story's own culprit.
const OPERATORS: std::ops::Range<usize> = 1..4;

/// What happens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Act {
    /// Killed (SIGKILL) before the call.
    KillBefore,
    /// Killed after it.
    KillAfter,
    /// The call fails.
    Fail {
        /// ENOSPC, EIO.
        errno: &'static str,
        /// Whether all later ones do too, until the part is started again.
        lasting: bool,
    },
    /// Stopped, as by a clock that stands still, for this long.
    Stop(Duration),
}

impl Act {
    /// How strace does it.
    pub fn injection(self) -> Injection {
        match self {
            Self::KillBefore => Injection::KillBefore,
            Self::KillAfter => Injection::Hold,
            Self::Fail { errno, lasting } => Injection::Fail { errno, lasting },
            Self::Stop(_) => Injection::Stop,
        }
    }
}

/// A fault: an act at a point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// Whose.
    pub part: Part,
    /// The call.
    pub call: String,
    /// The how-manieth of the first thread that makes so many.
    pub nth: u32,
    /// What happens there.
    pub act: Act,
}

impl Display for Fault {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let Self { part, call, nth, act } = self;
        match act {
            Act::KillBefore => write!(out, "{part} killed before {call} {nth}"),
            Act::KillAfter => write!(out, "{part} killed after {call} {nth}"),
            Act::Fail { errno, lasting: false } => write!(out, "{part} gets {errno} at {call} {nth}"),
            Act::Fail { errno, lasting: true } => write!(out, "{part} gets {errno} from {call} {nth} on"),
            Act::Stop(time) => write!(out, "{part} stopped at {call} {nth} for {} s", time.as_secs()),
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
        let mut faults: Vec<Fault> =
            parts.into_iter().filter_map(|part| draw(part, points, &mut dice)).take(FAULTS).collect();
        faults.sort_by_key(|fault| fault.part);
        Self { seed, faults }
    }
}

/// A fault of a part, if it has points.
fn draw(part: Part, points: &Points, dice: &mut StdRng) -> Option<Fault> {
    let own: Vec<_> = points.get(part.kind())?.iter().filter(|(_, count)| **count > 0).collect();
    // A call that is made often has more points, and is not drawn always.
    let (call, count) = own.choose_weighted(dice, |(_, count)| 1 + count.isqrt()).ok()?;
    let nth = dice.gen_range(1..=**count);
    let act = match dice.gen_range(0..10) {
        0..4 => Act::KillBefore,
        4..7 => Act::KillAfter,
        7..9 => Act::Fail { errno: if dice.r#gen() { "ENOSPC" } else { "EIO" }, lasting: dice.r#gen() },
        _ => Act::Stop(Duration::from_secs(dice.gen_range(2..5))),
    };
    Some(Fault { part, call: (*call).clone(), nth, act })
}
