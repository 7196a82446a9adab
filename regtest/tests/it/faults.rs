//! A whole network at points that seeds draw: nothing is missing afterwards. The seeds are always the same here, so that a change is
//! judged by what it does; `make nightly` draws fresh ones, and many more.

use palisade_protocol::params::Profile;
use palisade_regtest::faults::at_work::{complaints, readings, still_behind};
use palisade_regtest::faults::field::Field;
use palisade_regtest::faults::points::{Part, listed};
use palisade_regtest::faults::run::{self, Verdict};
use palisade_regtest::faults::story;
use palisade_regtest::in_time;
use std::collections::BTreeSet;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

/// The first seed.
const FIRST: u64 = 2_000;
/// Seeds that must have reached all their points.
const SEEDS: usize = 10;
/// How many run at a time.
const AT_ONCE: usize = 3;

/// Says what was drawn also where the test passes: of `println!` cargo shows nothing then. In one piece, because others speak, too.
fn say(text: &str) {
    let _ = std::io::stderr().write_all(format!("{text}\n").as_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_disturbed_at_drawn_points_ends_its_story_with_one_history_and_nothing_missing() {
    let points = listed(&run::points().unwrap());
    say(&format!("seeds from {FIRST} on; `palisade-faults --seed SEED` runs one again\n{points}"));
    let below = Path::new(env!("CARGO_TARGET_TMPDIR")).join("faults");
    let tell = |verdict: &Verdict| say(&verdict.to_string());
    let failed = run::seeds(FIRST, SEEDS, AT_ONCE, &below, tell).await.unwrap();
    assert!(
        failed.is_empty(),
        "seeds that failed: {failed:?}; their directories are kept below {}",
        below.display()
    );
}

/// Sends the processes of parts a signal.
fn signal(field: &mut Field, parts: &BTreeSet<Part>, signal: &str) {
    let logs: Vec<_> = parts.iter().map(|part| part.log(&field.story)).collect();
    let processes: Vec<u32> = field
        .daemons()
        .filter(|own| logs.contains(&own.log().to_owned()))
        .filter_map(|own| own.process_id())
        .collect();
    assert_eq!(processes.len(), parts.len());
    let sent = Command::new("kill").arg(signal).args(processes.iter().map(u32::to_string)).status();
    assert!(sent.unwrap().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_that_only_seem_to_run_are_told_from_those_that_work_though_all_goes_on_without_them() {
    let home = tempfile::tempdir().unwrap();
    let begun = story::begin(&home.path().join("network"), Profile::Compatible).await;
    let mut field = Field::new(begun.unwrap().0, home.path().join("traces")).await.unwrap();
    let readers = BTreeSet::from([Part::Covenant(2), Part::Report, Part::Watch]);
    let stopped = &readers | &BTreeSet::from([Part::Anchor, Part::Follower, Part::Voter(3)]);
    signal(&mut field, &stopped, "-STOP");
    field.story.network().node.mine(1).await.unwrap();
    let mut behind = readings(&field).await.unwrap();
    let wait = async {
        while behind.iter().map(|reading| reading.part).collect::<BTreeSet<_>>() != readers {
            behind = still_behind(&field, behind.clone()).await;
        }
    };
    in_time("all others have read what is new", wait).await;
    let wait = async { while !complaints(&field).await.keys().eq(&stopped) {} };
    in_time("those that are not well are those that are stopped", wait).await;
    signal(&mut field, &stopped, "-CONT");
    let wait = async {
        while !behind.is_empty() || !complaints(&field).await.is_empty() {
            behind = still_behind(&field, behind.clone()).await;
        }
    };
    in_time("those that were stopped have, too", wait).await;
    field.story.stop().await.unwrap();
}
