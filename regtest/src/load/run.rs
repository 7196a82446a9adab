//! One run: a quiet time, the same time under a flood, and what must be true afterwards.

use super::crowd::{Crowd, Waits};
use super::figures::Memory;
use super::flood::{self, Sent};
use super::plan::Plan;
use super::scene;
use crate::demo::network::text;
use crate::demo::report::log::Log;
use crate::hub_process::HubProcess;
use crate::process::binary;
use anyhow::{Context as _, ensure};
use palisade_protocol::hash::Hash32;
use palisade_protocol::message::Message;
use palisade_protocol::units::Height;
use palisade_world::World;
use serde::Serialize;
use std::collections::BTreeSet;
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

/// Time between two honest registrations.
const REGISTER_EVERY: Duration = Duration::from_millis(500);
/// Time before anything is measured: connections are made, pages of the log are in memory.
const WARM: Duration = Duration::from_secs(2);
/// Most memory that messages and votes which wait take, in kB (docs/operations/load.md).
const WAITING_KB: u64 = 2 * 64 * 1_024;
/// Memory that connections, threads and pages of the log take under a flood, in kB.
const OWN_KB: u64 = 24 * 1_024;
/// Most bytes of memory for each that waits.
const WORTH: u64 = 2;
/// How long what is under way at the end may take.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is asked for.
#[derive(Debug, Clone)]
pub struct Options {
    /// How long each of both times lasts.
    pub time: Duration,
    /// Messages a second.
    pub rate: u32,
    /// Connections that they come over.
    pub connections: usize,
    /// What they are.
    pub plan: fn(&mut World) -> Plan,
    /// What makes it fail.
    pub bounds: Bounds,
}

/// Within which bounds a run must be. Compared within the run, so that a slow machine is not what fails.
#[derive(Debug, Clone, Copy)]
pub struct Bounds {
    /// Least part of the messages that were due which must have been sent, in percent: otherwise it was no flood.
    pub sent_percent: u32,
    /// Most times as long that a block may take to be final under the flood, of nineteen blocks of twenty.
    pub times_as_long: u32,
    /// The same of a vote, until it counts: blocks wait for the next one anyhow, and hide a vote that is late.
    pub votes_times_as_long: Option<u32>,
}

impl Default for Bounds {
    /// Those that a machine keeps that has other work.
    fn default() -> Self {
        Self { sent_percent: 50, times_as_long: 20, votes_times_as_long: None }
    }
}

/// One of both times.
#[derive(Debug, Clone, Serialize)]
pub struct Phase {
    /// What honest parties waited for.
    pub waits: Waits,
    /// Memory of the hub at the end, and its peak since the start.
    pub memory: Memory,
}

/// What a run has shown.
#[derive(Debug, Serialize)]
pub struct Outcome {
    /// Without the flood.
    pub quiet: Phase,
    /// Under it.
    pub flooded: Phase,
    /// The flood.
    pub sent: Sent,
    /// What the build of the other profile says of the log.
    pub replayed: String,
    /// What must not be.
    pub failures: Vec<String>,
}

/// Runs a hub, quiet and flooded, in a directory of its own.
pub async fn run(options: &Options) -> anyhow::Result<Outcome> {
    let (warm, all) = (WARM.as_secs_f64(), 2.0 * options.time.as_secs_f64());
    // None is left for the time in which the flood's last messages are answered.
    let registrations = ((warm + all) / REGISTER_EVERY.as_secs_f64()) as usize;
    let (scene, plan) = scene::set(registrations, options.plan);
    let before: BTreeSet<Hash32> =
        scene.world.log.iter().flat_map(|block| &block.messages).map(|message| message.id()).collect();
    let mut hub = HubProcess::start(&scene.world).await;
    let crowd = Crowd::begin(&hub.client, scene, REGISTER_EVERY);
    tokio::time::sleep(WARM).await;
    crowd.waits();
    tokio::time::sleep(options.time).await;
    let process = hub.daemon.process_id().context("a running hub")?;
    let quiet = Phase { waits: crowd.waits(), memory: Memory::of(process)? };
    let flood = begin_flood(&hub, options, &plan).await?;
    tokio::time::sleep(options.time).await;
    let flooded = Phase { waits: crowd.waits(), memory: Memory::of(process)? };
    let sent = end_flood(flood).await?;
    hub.daemon.check()?;
    let mut failures = Vec::new();
    all_became_final(&crowd, &mut hub).await?;
    failures.extend(crowd.troubles());
    let log = Log::read(&hub.client).await?;
    let told = before.union(&crowd.registered()).copied().collect();
    failures.extend(foreign_messages(&log, &told));
    failures.extend(votes_are_those(&hub, &crowd).await?);
    failures
        .extend(sent.answers.get("taken").map(|taken| format!("{taken} of the flood's messages were taken")));
    let replayed = log.replay_in_other_build(hub.dir()).await?;
    drop(crowd);
    hub.daemon.end().await?;
    let mut outcome = Outcome { quiet, flooded, sent, replayed, failures };
    outcome.failures.extend(outcome.shortfalls(options.bounds));
    Ok(outcome)
}

impl Outcome {
    /// What says that this was no flood, or that it cost more than it may.
    fn shortfalls(&self, bounds: Bounds) -> Vec<String> {
        let Self { quiet, flooded, sent, .. } = self;
        let mut found = Vec::new();
        if 100 * sent.written < u64::from(bounds.sent_percent) * sent.due {
            found.push(format!("of {} messages that were due only {} were sent", sent.due, sent.written));
        }
        // Of so many blocks so many became final.
        let [before, under] =
            [quiet, flooded].map(|own| (own.waits.certificates.count, own.waits.blocks.count));
        if 2 * under.0 * before.1 < before.0 * under.1 || under.0 == 0 {
            found.push(format!(
                "{} certificates came with {} blocks under the flood, {} with {} before it",
                under.0, under.1, before.0, before.1
            ));
        }
        let [_, longer, _] = flooded.waits.certificates.over(&quiet.waits.certificates);
        if longer > bounds.times_as_long.into() {
            found.push(format!(
                "a block took {longer:.1} times as long to be final as before, {} times at most were to be expected",
                bounds.times_as_long
            ));
        }
        let [_, longer, _] = flooded.waits.votes.over(&quiet.waits.votes);
        // No vote, no ratio.
        if bounds.votes_times_as_long.is_some_and(|most| longer > most.into() || longer.is_nan()) {
            found.push(format!(
                "nineteen of twenty votes took up to {longer:.1} times as long until they counted"
            ));
        }
        let grown = flooded.memory.peak.saturating_sub(quiet.memory.peak);
        let most = OWN_KB + WAITING_KB.min(WORTH * sent.bytes / 1_024);
        if grown > most {
            let mb = sent.bytes >> 20;
            found.push(format!(
                "a flood of {mb} MiB has cost {grown} kB of memory, {most} kB at most were to be expected"
            ));
        }
        found
    }
}

/// Has another process send the plan. On return it has begun.
async fn begin_flood(hub: &HubProcess, options: &Options, plan: &Plan) -> anyhow::Result<Child> {
    let file = hub.at("plan.json");
    std::fs::write(&file, serde_json::to_vec(plan)?)?;
    let url = hub.client.url();
    let address = format!("{}:{}", url.host_str().context("a host")?, url.port().context("a port")?);
    let mut child = Command::new(binary("palisade-load")?)
        .args(["flood", "--address", &address, "--plan", &text(&file)])
        .args(["--rate", &options.rate.to_string(), "--connections", &options.connections.to_string()])
        .args(["--ms", &options.time.as_millis().to_string()])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()?;
    let mut line = [0; flood::BEGINS.len()];
    child.stdout.as_mut().context("its output")?.read_exact(&mut line).await?;
    ensure!(line == *flood::BEGINS, "the flood does not begin");
    Ok(child)
}

/// Waits until the other process has counted what came of it.
async fn end_flood(child: Child) -> anyhow::Result<Sent> {
    let done = child.wait_with_output().await?;
    ensure!(done.status.success(), "the flood ended with {}", done.status);
    Ok(serde_json::from_slice(&done.stdout)?)
}

/// Waits until every voted block of the flooded time has its certificate.
async fn all_became_final(crowd: &Crowd, hub: &mut HubProcess) -> anyhow::Result<()> {
    let (began, end) = (Instant::now(), crowd.height());
    while !crowd.has_certified(end) {
        hub.daemon.check()?;
        ensure!(
            began.elapsed() < PATIENCE,
            "not every block up to {end} is certified a minute after the flood"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    Ok(())
}

/// Messages in the log that nobody honest has sent. The hub makes certificates itself.
fn foreign_messages(log: &Log, told: &BTreeSet<Hash32>) -> Vec<String> {
    let mut left = told.clone();
    let mut found = Vec::new();
    for message in log.blocks().iter().flat_map(|block| &block.messages) {
        let own = left.remove(&message.id()) || matches!(message.decode(), Ok(Message::Certificate(_)));
        if !own {
            found.push(format!("the log holds a message that nobody honest has sent: {}", message.id()));
        }
    }
    found
        .extend(left.into_iter().map(|id| format!("the log does not hold {id}, which the hub said it does")));
    found
}

/// The hub keeps every vote that it said it has counted, and no other.
async fn votes_are_those(hub: &HubProcess, crowd: &Crowd) -> anyhow::Result<Vec<String>> {
    let counted: BTreeSet<_> = crowd.counted().iter().map(|vote| (vote.ballot, vote.key)).collect();
    let kept = hub.client.all_votes("zero", Height(0)).await?;
    let kept: BTreeSet<_> = kept.iter().map(|vote| (vote.ballot, vote.key)).collect();
    let lost = counted
        .difference(&kept)
        .map(|(ballot, key)| format!("lost: the vote of {key} on {}", ballot.height));
    // Votes on the last blocks may be under way.
    let end = counted.iter().map(|(ballot, _)| ballot.height).max();
    let foreign = kept.difference(&counted).filter(|(ballot, _)| Some(ballot.height) < end);
    let foreign =
        foreign.map(|(ballot, key)| format!("a vote of {key} on {} that it has not sent", ballot.height));
    Ok(lost.chain(foreign).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::load::figures::Times;

    /// A time in which a vote and all else took so many milliseconds each.
    fn phase(vote: f64, rest: f64) -> Phase {
        let [votes, rest] = [vote, rest].map(|ms| Times { count: 100, p50: ms, p95: ms, max: ms });
        let waits = Waits { votes, certificates: rest, registrations: rest, blocks: rest };
        Phase { waits, memory: Memory { peak: 1, now: 1 } }
    }

    #[test]
    fn a_thin_flood_late_blocks_and_late_votes_fail_where_bounds_say_so() {
        let sent = Sent { due: 1_000, written: 890, ..Sent::default() };
        let (quiet, flooded) = (phase(2.0, 200.0), phase(9.0, 500.0));
        let outcome = Outcome { quiet, flooded, sent, replayed: String::new(), failures: Vec::new() };
        let found = |sent_percent, times_as_long, votes_times_as_long| {
            outcome.shortfalls(Bounds { sent_percent, times_as_long, votes_times_as_long })
        };
        assert!(outcome.shortfalls(Bounds::default()).is_empty());
        assert!(found(89, 3, Some(5)).is_empty());
        for (bounds, word) in
            [((90, 3, None), "890"), ((89, 2, Some(5)), "final"), ((89, 3, Some(4)), "votes")]
        {
            let why = found(bounds.0, bounds.1, bounds.2);
            assert!(matches!(&why[..], [one] if one.contains(word)), "{word}: {why:?}");
        }
    }
}
