//! What must hold after a disturbed story: one history, one root, no signature lost or twice, no transaction forgotten.

mod another_build;
mod bitcoin;
mod books;
pub mod signatures;

use super::field::Field;
use super::story::Cast;
use super::witness::Seen;
use crate::demo::report::log::Log;
use anyhow::ensure;

/// Checks everything. Gives what the other build said of the roots.
pub async fn check(field: &mut Field, cast: &Cast, seen: &Seen) -> anyhow::Result<String> {
    let log = Log::read(&field.story.network().hub).await?;
    history_stayed(&log, seen)?;
    signatures::check(field, &log, seen).await?;
    bitcoin::check(field, seen).await?;
    books::check(field, cast, &log, seen).await?;
    another_build::check(field, &log).await
}

/// What the hub has shown once, it shows now.
fn history_stayed(log: &Log, seen: &Seen) -> anyhow::Result<()> {
    ensure!(seen.changed.is_empty(), "the hub showed two blocks at each of the heights {:?}", seen.changed);
    for block in log.blocks() {
        let height = block.header.height;
        let then = seen.blocks.get(&height);
        ensure!(
            then.is_none_or(|then| then == block),
            "hub block {height} is not the one that was shown before"
        );
    }
    let last = log.tip()?.height;
    let lost = seen.blocks.keys().find(|height| **height > last);
    ensure!(lost.is_none(), "the hub showed block {lost:?}, its log ends at {last}");
    Ok(())
}
