//! A whole network at points that seeds draw: nothing is missing afterwards. The seeds are always the same here, so that a change is
//! judged by what it does; `make nightly` draws fresh ones, and many more.

use palisade_regtest::faults::run::{self, Verdict};
use std::path::Path;

/// The first seed.
const FIRST: u64 = 2_000;
/// Seeds that must have reached all their points.
const SEEDS: usize = 10;
/// How many run at a time.
const AT_ONCE: usize = 3;

#[tokio::test(flavor = "multi_thread")]
async fn a_network_disturbed_at_drawn_points_ends_its_story_with_one_history_and_nothing_missing() {
    println!("seeds from {FIRST} on; `palisade-faults --seed SEED` runs one again");
    let below = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults");
    let tell = |verdict: &Verdict| println!("{verdict}");
    let failed = run::seeds(FIRST, SEEDS, AT_ONCE, &below, tell).await.unwrap();
    assert!(
        failed.is_empty(),
        "seeds that failed: {failed:?}; their directories are kept below {}",
        below.display()
    );
}
