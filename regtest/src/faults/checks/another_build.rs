//! The same roots from a build of the other profile: of a hub that follows from genesis on, and that nothing happens to.

use crate::demo::network::text;
use crate::demo::report::log::Log;
use crate::faults::field::{Field, Waiting};
use crate::process::{Daemon, other_profile};
use anyhow::{Context as _, ensure};
use palisade_hub::client::HubClient;
use std::time::Duration;

/// A follower keeps no block whose root it has not computed itself. Gives what it came to.
pub(super) async fn check(field: &mut Field, log: &Log) -> anyhow::Result<String> {
    let (network, profile) = (field.story.network(), other_profile());
    let dir = network.dir.join("another-build");
    std::fs::create_dir(&dir)?;
    let config = dir.join("follower.toml");
    std::fs::write(&config, network.follower_config(&dir, "127.0.0.1:0"))?;
    let args = ["run", "--config", &text(&config)];
    let mut follower = Daemon::start_of_profile(profile, "palisade-hub", &args, &dir.join("follower.log"))?;
    let url = format!("http://{}", follower.address(&dir.join("follower.address")).await?);
    let (asked, newest) = (HubClient::new(url.parse()?), log.blocks().last().context("a block")?);
    let height = newest.header.height;
    let waiting = Waiting::until(format!("a follower of the {profile} build has hub block {height}"));
    let found = loop {
        field.pause().await?;
        follower.check()?;
        match asked.blocks(height, Duration::ZERO).await {
            Ok(page) if !page.is_empty() => break page,
            last => waiting.check(last)?,
        }
    };
    ensure!(found.first() == Some(newest), "the {profile} build has another block at {height}");
    follower.stop().await?;
    let root = newest.header.state_root;
    Ok(format!("a follower of the {profile} build, from genesis: the state after {height} is {root}"))
}
