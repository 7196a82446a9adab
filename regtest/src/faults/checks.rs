//! What must hold after a disturbed story: one history, one root, no signature lost or twice, no transaction forgotten.

mod bitcoin;
pub mod signatures;

use super::field::Field;
use super::witness::Seen;
use crate::demo::network::text;
use crate::demo::report::log::Log;
use crate::process::tool_of_profile;
use anyhow::ensure;
use serde_json::json;

/// Checks everything. Gives what the other build said of the roots.
pub async fn check(field: &mut Field, seen: &Seen) -> anyhow::Result<String> {
    let log = Log::read(&field.story.network().hub).await?;
    history_stayed(&log, seen)?;
    signatures::check(field, &log, seen).await?;
    bitcoin::check(field, seen).await?;
    roots_of_other_build(field, &log).await
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

/// A build of the other profile replays the log from genesis and computes every root itself.
async fn roots_of_other_build(field: &Field, log: &Log) -> anyhow::Result<String> {
    let dir = &field.story.network().dir;
    let tip = log.tip()?;
    log.write_genesis(&dir.join("hub.genesis"))?;
    log.write(&dir.join("hub.log.blocks"))?;
    let header = json!({ "hash": tip.hash().to_string(), "state_root": tip.state_root.to_string() });
    let told = json!({ "hub": { "genesis": "hub.genesis", "log": "hub.log.blocks", "header": header } });
    let report = dir.join("replay.json");
    std::fs::write(&report, told.to_string())?;
    let other = if cfg!(debug_assertions) { "release" } else { "debug" };
    let said = tool_of_profile(other, "palisade-demo", &["replay", &text(&report)]).await?;
    ensure!(said.contains(&tip.state_root.to_string()), "{said} does not name the root {}", tip.state_root);
    Ok(said.trim().to_owned())
}
