//! Daemons are killed (SIGKILL) at moments that a printed seed draws. What was accepted, signed or sent is there afterwards, and
//! everything goes on (design, section 10, invariants 4 and 5).

mod backup;
mod covenant;
mod hub;
mod network;
pub(crate) mod signer;

use rand::rngs::StdRng;
use rand::{Rng as _, SeedableRng as _};

/// Draws the moments of a run. `KILL_SEED` repeats those of another run, which has printed its seed.
fn moments() -> StdRng {
    let given = std::env::var("KILL_SEED").ok().and_then(|seed| seed.parse().ok());
    let seed: u64 = given.unwrap_or_else(|| rand::thread_rng().r#gen());
    println!("KILL_SEED={seed}");
    StdRng::seed_from_u64(seed)
}
