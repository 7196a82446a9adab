//! Medians of rounds on a clock.

use std::num::NonZero;
use std::time::Instant;

/// Rounds whose median counts.
pub const ROUNDS: usize = 7;

/// Microseconds that a piece of work takes.
pub fn time(work: impl FnOnce()) -> f64 {
    let start = Instant::now();
    work();
    start.elapsed().as_secs_f64() * 1e6
}

/// The middle one of an odd number of figures.
pub fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

/// Microseconds for one of `count` repetitions, on one core.
pub fn each(count: u32, work: impl Fn()) -> f64 {
    time(|| (0..count).for_each(|_| work())) / f64::from(count)
}

/// Microseconds of the clock for one of `count` repetitions on every core at once.
pub fn each_on_all_cores(count: u32, work: impl Fn() + Sync) -> f64 {
    let cores = cores();
    let run = || {
        std::thread::scope(|scope| {
            (0..cores).for_each(|_| {
                scope.spawn(|| (0..count).for_each(|_| work()));
            });
        });
    };
    time(run) / f64::from(count) / f64::from(cores)
}

/// Medians of two measurements whose rounds take turns, so that both see the same machine.
pub fn in_turns(mut ours: impl FnMut() -> f64, mut floor: impl FnMut() -> f64) -> (f64, f64) {
    let (ours, floor) = (0..ROUNDS).map(|_| (ours(), floor())).unzip();
    (median(ours), median(floor))
}

/// Cores of this machine.
pub fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, NonZero::get).try_into().expect("not so many cores")
}
