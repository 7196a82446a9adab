//! Whether every part does its work. A quorum does without one member, and much goes on without an anchorer: a part that only seems
//! to run must not pass.

use super::field::{Field, Waiting};
use super::points::Part;
use super::story::Cast;
use crate::demo::network::COVENANT;
use crate::demo::operators::Operator;
use crate::process::{metric, reasons};
use anyhow::{Context as _, bail};
use palisade_hub::client::HubClient;
use palisade_protocol::block::Block;
use palisade_protocol::units::Height;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;
use tokio::task::JoinSet;

/// How long a part may take for one answer: one that was stopped gives none.
const ANSWER_TIME: Duration = Duration::from_secs(2);

/// Every part does something from now on.
pub async fn all(field: &mut Field, cast: &Cast) -> anyhow::Result<()> {
    goes_on(field).await?;
    all_vote(field).await?;
    follower_follows(field, &cast.follower).await?;
    all_read(field).await?;
    is_anchored_anew(field).await?;
    nobody_complains(field).await
}

/// Both chains have more final blocks than now.
pub async fn goes_on(field: &mut Field) -> anyhow::Result<()> {
    let waiting = Waiting::until("both chains go on");
    let mut began = None;
    loop {
        field.pause().await?;
        if let Ok(now) = field.story.final_now().await {
            let began = began.get_or_insert_with(|| now.clone());
            if now.iter().zip(began.iter()).all(|((_, now), (_, then))| *now >= then + 10) {
                return Ok(());
            }
        }
        waiting.check(&began)?;
    }
}

/// Every operator but the culprit votes on both chains again: no quorum needs all of them.
async fn all_vote(field: &mut Field) -> anyhow::Result<()> {
    let waiting = Waiting::until("all operators vote again");
    let named = |(index, own): (usize, &Operator)| {
        [&own.zero, &own.other].map(|key| (key.clone(), Part::Voter(index)))
    };
    let all = field.story.operators().iter().enumerate().skip(1);
    let mut missing: BTreeMap<String, Part> = all.flat_map(named).collect();
    let mut began = None;
    while !missing.is_empty() {
        field.pause().await?;
        waiting.check(&missing)?;
        let Ok(now) = field.story.final_now().await else { continue };
        for (chain, height) in began.get_or_insert(now) {
            let votes = field.story.network().hub.votes(chain, Height(*height + 1)).await.unwrap_or_default();
            missing.retain(|key, _| !votes.iter().any(|vote| vote.key.to_string() == *key));
        }
    }
    Ok(())
}

/// The follower has the block that the hub has at a height now.
async fn follower_follows(field: &mut Field, follower: &HubClient) -> anyhow::Result<()> {
    let hub = field.story.network().hub.clone();
    let waiting = Waiting::until("the follower has the hub's newest block");
    let mut wanted: Option<Block> = None;
    loop {
        field.pause().await?;
        let Some(block) = &wanted else {
            let height = field.hub_height().await.unwrap_or(0);
            wanted = hub.blocks(Height(height), Duration::ZERO).await.unwrap_or_default().first().cloned();
            waiting.check("no answer of the hub")?;
            continue;
        };
        match follower.blocks(block.header.height, Duration::ZERO).await {
            Ok(page) if page.first() == Some(block) => return Ok(()),
            Ok(page) if !page.is_empty() => {
                bail!("the follower has another block than the hub: {:?}", page[0].header)
            }
            last => waiting.check(last)?,
        }
    }
}

/// A metric of a part, and the values by which it shows that the part has read up to a height, or owes nothing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reading {
    /// Whose.
    pub part: Part,
    /// Which.
    pub metric: &'static str,
    /// What it should be.
    pub wanted: RangeInclusive<u64>,
}

/// The covenant has read the hub's newest block and owes no answer; reporter and watcher have read Bitcoin's.
async fn all_read(field: &mut Field) -> anyhow::Result<()> {
    field.mine(1).await?;
    let waiting = Waiting::until("covenant, reporter and watcher have read the newest blocks");
    let mut behind = loop {
        field.pause().await?;
        match readings(field).await {
            Ok(readings) => break readings,
            Err(why) => waiting.check(why)?,
        }
    };
    while !behind.is_empty() {
        field.pause().await?;
        behind = still_behind(field, behind).await;
        waiting.check(&behind)?;
    }
    Ok(())
}

/// What shows that everybody has read what is newest now.
pub async fn readings(field: &Field) -> anyhow::Result<Vec<Reading>> {
    let (hub, bitcoin) = (field.hub_height().await?, u64::from(field.rpc().tip().await?.height));
    let reading = |part, metric, wanted| Reading { part, metric, wanted };
    let members = (0..COVENANT.0).map(Part::Covenant).flat_map(|member| {
        [
            reading(member, "palisade_height", hub..=u64::MAX),
            reading(member, "palisade_waiting_stakes", 0..=0),
        ]
    });
    let rest = [(Part::Report, "palisade_report_told_height"), (Part::Watch, "palisade_watch_btc_height")];
    Ok(members.chain(rest.map(|(part, metric)| reading(part, metric, bitcoin..=u64::MAX))).collect())
}

/// Those of them that are not shown now.
pub async fn still_behind(field: &Field, readings: Vec<Reading>) -> Vec<Reading> {
    let mut left = Vec::new();
    for reading in readings {
        match shown(field, &reading).await {
            Ok(shown) if reading.wanted.contains(&shown) => {}
            _ => left.push(reading),
        }
    }
    left
}

async fn shown(field: &Field, reading: &Reading) -> anyhow::Result<u64> {
    let address = std::fs::read_to_string(reading.part.log(&field.story).with_extension("address"))?;
    let shown = tokio::time::timeout(ANSWER_TIME, metric(address.trim(), reading.metric)).await??;
    shown.with_context(|| format!("no {}", reading.metric))
}

/// An epoch is anchored that was not.
async fn is_anchored_anew(field: &mut Field) -> anyhow::Result<()> {
    let waiting = Waiting::until("the anchorer anchors one more epoch");
    let mut before = None;
    loop {
        field.pause().await?;
        if let Ok(status) = field.story.network().view("status").await {
            let now = status["anchored_epoch"].as_u64();
            if now > *before.get_or_insert(now) {
                return Ok(());
            }
        }
        if !field.mempool().await.unwrap_or_default().is_empty() {
            field.mine(1).await?;
        }
        waiting.check(before)?;
    }
}

/// Every part answers, and has no alarm.
async fn nobody_complains(field: &mut Field) -> anyhow::Result<()> {
    let waiting = Waiting::until("every part is well");
    loop {
        field.pause().await?;
        let complaints = complaints(field).await;
        if complaints.is_empty() {
            return Ok(());
        }
        waiting.check(complaints)?;
    }
}

/// The parts that are not well, with their alarms, if they answer at all.
pub async fn complaints(field: &Field) -> BTreeMap<Part, Option<Vec<String>>> {
    // bitcoind has no such door. Who is stopped keeps nobody waiting but itself.
    let ours = field.parts().into_iter().filter(|part| *part != Part::Bitcoind);
    let asked: JoinSet<_> = ours
        .map(|part| {
            let address = part.log(&field.story).with_extension("address");
            async move { (part, tokio::time::timeout(ANSWER_TIME, reasons(&address)).await.ok().flatten()) }
        })
        .collect();
    let told = asked.join_all().await.into_iter();
    told.filter(|(_, told)| told.as_ref().is_none_or(|alarms| !alarms.is_empty())).collect()
}
