//! A time between two acts of a daemon: never zero, never so long that it must be a slip of the unit.

use std::num::NonZeroU32;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// A waiting time in whole milliseconds, from 1 ms to one day. In a configuration its key ends in `_ms`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Interval(NonZeroU32);

/// A number of milliseconds that is no interval.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("must be from 1 to {} milliseconds, found {found}", Interval::MAX_MS)]
pub struct IntervalRefused {
    /// The milliseconds given.
    pub found: u64,
}

impl Interval {
    /// One day. Nothing in Palisade rests longer.
    pub const MAX_MS: u32 = 86_400_000;

    /// An interval of `ms` milliseconds.
    pub fn from_ms(ms: u64) -> Result<Self, IntervalRefused> {
        u32::try_from(ms)
            .ok()
            .filter(|ms| *ms <= Self::MAX_MS)
            .and_then(NonZeroU32::new)
            .map(Self)
            .ok_or(IntervalRefused { found: ms })
    }

    /// The same time for timers.
    pub fn duration(self) -> Duration {
        Duration::from_millis(self.0.get().into())
    }
}

impl TryFrom<u64> for Interval {
    type Error = IntervalRefused;

    fn try_from(ms: u64) -> Result<Self, IntervalRefused> {
        Self::from_ms(ms)
    }
}

impl From<Interval> for u64 {
    fn from(interval: Interval) -> u64 {
        interval.0.get().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_day_and_less_but_not_nothing_is_an_interval() {
        for (ms, accepted) in [
            (0, false),
            (1, true),
            (86_400_000, true),
            (86_400_001, false),
            (u64::MAX, false),
            (1 << 32, false),
        ] {
            assert_eq!(Interval::from_ms(ms).is_ok(), accepted, "{ms}");
        }
        assert_eq!(Interval::from_ms(1_500).unwrap().duration(), Duration::from_millis(1_500));
    }
}
