//! What is measured, and how two measurements compare.

use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;

/// Times of something that happened often.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Times {
    /// How many.
    pub count: usize,
    /// Half of them took at most so long, in milliseconds.
    pub p50: f64,
    /// Nineteen of twenty.
    pub p95: f64,
    /// The longest.
    pub max: f64,
}

impl Times {
    /// Sums up.
    pub fn of(mut all: Vec<Duration>) -> Self {
        all.sort_unstable();
        let ms = |place: usize| all.get(place).map_or(0.0, |time| time.as_secs_f64() * 1e3);
        let last = all.len().saturating_sub(1);
        Self { count: all.len(), p50: ms(last / 2), p95: ms(last * 95 / 100), max: ms(last) }
    }

    /// Each figure as so many times another one's.
    pub fn over(&self, other: &Self) -> [f64; 3] {
        let ratio = |own: f64, other: f64| if other > 0.0 { own / other } else { f64::NAN };
        [ratio(self.p50, other.p50), ratio(self.p95, other.p95), ratio(self.max, other.max)]
    }
}

/// Memory of a process, in kB.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Most that it ever had.
    pub peak: u64,
    /// What it has.
    pub now: u64,
}

impl Memory {
    /// That of a process that runs.
    pub fn of(process: u32) -> std::io::Result<Self> {
        let status = std::fs::read_to_string(PathBuf::from(format!("/proc/{process}/status")))?;
        let field = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_whitespace().next()?.parse().ok()
        };
        let missing = || std::io::Error::other("no memory in the status of the process");
        Ok(Self { peak: field("VmHWM:").ok_or_else(missing)?, now: field("VmRSS:").ok_or_else(missing)? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_summed_up_and_compared() {
        let all = (1..=100).map(Duration::from_millis).collect();
        let times = Times::of(all);
        assert_eq!((times.count, times.p50, times.p95, times.max), (100, 50.0, 95.0, 100.0));
        let half = Times::of((1..=100).map(|ms| Duration::from_micros(ms * 500)).collect());
        assert!(times.over(&half).iter().all(|ratio| (ratio - 2.0).abs() < 1e-9));
        assert_eq!(Times::of(Vec::new()).count, 0);
    }

    #[test]
    fn a_process_has_memory_and_no_more_than_at_its_peak() {
        let own = Memory::of(std::process::id()).unwrap();
        assert!(own.now > 0 && own.peak >= own.now);
    }
}
