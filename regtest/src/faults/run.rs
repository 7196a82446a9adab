//! Runs seeds: each on a network of its own, which is kept where something did not hold.

use super::field::{Field, Outcome};
use super::plan::Plan;
use super::points::{Part, Points};
use super::witness::Witness;
use super::{at_work, checks, points, story, strace};
use crate::demo::network::COVENANT;
use anyhow::Context as _;
use palisade_hub::bitcoind::{Auth, BitcoinRpc};
use palisade_protocol::params::Profile;
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// What came of a seed.
#[derive(Debug)]
pub struct Verdict {
    /// What was drawn.
    pub plan: Plan,
    /// What came of each fault.
    pub came: Vec<Outcome>,
    /// What another build said of the roots, or what did not hold.
    pub result: anyhow::Result<String>,
    /// How long it took.
    pub took: Duration,
    /// Where the network is, if it is kept.
    pub kept: Option<PathBuf>,
}

impl Verdict {
    /// Whether all of its points were reached: otherwise the seed shows nothing about those that were not.
    pub fn is_complete(&self) -> bool {
        self.came.len() == self.plan.faults.len() && self.came.iter().all(Outcome::is_complete)
    }
}

impl Display for Verdict {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let word = match &self.result {
            Err(_) => "FAILED",
            Ok(_) if self.is_complete() => "passed",
            Ok(_) => "passed, does not count",
        };
        let Plan { seed, profile, .. } = &self.plan;
        let profile = if *profile == Profile::Bumpable { ", bumpable profile" } else { "" };
        writeln!(out, "seed {seed}: {word} in {:.0} s{profile}", self.took.as_secs_f32())?;
        for outcome in &self.came {
            let Outcome { fault, came, came_again, torn } = outcome;
            let reached = if outcome.is_complete() { "" } else { "not reached in full; " };
            let when = came.iter().chain(came_again).map(|came| format!("after {:.1} s", came.as_secs_f32()));
            write!(out, "  {fault}: {reached}{}", when.collect::<Vec<_>>().join(", again "))?;
            torn.iter().try_for_each(|torn| write!(out, "; {torn}"))?;
            writeln!(out)?;
        }
        match &self.result {
            Ok(said) => write!(out, "  {said}")?,
            Err(why) => write!(out, "  {why:#}")?,
        }
        self.kept.iter().try_for_each(|dir| write!(out, "\n  kept: {}", dir.display()))
    }
}

/// Runs seeds from one on, some at a time, until so many have counted, and tells each verdict as it comes. Gives the seeds that
/// failed.
pub async fn seeds(
    first: u64,
    count: usize,
    at_once: usize,
    below: &Path,
    mut tell: impl FnMut(&Verdict),
) -> anyhow::Result<Vec<u64>> {
    let (points, below): (Arc<Points>, Arc<Path>) = (Arc::new(points()?), below.into());
    let (mut running, mut failed, mut counted) = (JoinSet::new(), Vec::new(), 0);
    // A point that is not reached twice as often as one that is would show that the table of points is old.
    let mut left = (0..2 * count as u64).map(|more| first.wrapping_add(more));
    while counted + failed.len() < count {
        while running.len() < at_once.min(count - counted - failed.len()) {
            let Some(next) = left.next() else { break };
            let (points, below) = (points.clone(), below.clone());
            running.spawn(async move { seed(next, &points, &below).await });
        }
        let verdict = running.join_next().await.context("too many seeds did not reach their points")???;
        tell(&verdict);
        match verdict.result {
            Err(_) => failed.push(verdict.plan.seed),
            Ok(_) => counted += usize::from(verdict.is_complete()),
        }
    }
    Ok(failed)
}

/// Runs one seed in a new directory below another, and removes it if all held.
pub async fn seed(seed: u64, points: &Points, below: &Path) -> anyhow::Result<Verdict> {
    strace::check()?;
    let plan = Plan::draw(seed, points);
    let dir = new_directory(below, &format!("seed-{seed}"))?;
    let (began, mut came) = (Instant::now(), Vec::new());
    let result = disturb(&plan, &dir, &mut came).await;
    let took = began.elapsed();
    let kept = result.is_err().then(|| dir.clone());
    match &result {
        Ok(_) => std::fs::remove_dir_all(&dir)?,
        Err(why) => std::fs::write(dir.join("failure"), format!("{plan:#?}\n{why:?}\n"))?,
    }
    Ok(Verdict { plan, came, result, took, kept })
}

async fn disturb(plan: &Plan, dir: &Path, came: &mut Vec<Outcome>) -> anyhow::Result<String> {
    let (story, cast) = story::begin(&dir.join("network"), plan.profile).await.context("before any fault")?;
    let mut field = Field::new(story, dir.join("traces")).await?;
    let witness = witness(&field)?;
    let told = async {
        field.arm(&plan.faults).await.context("while the faults were armed")?;
        story::tell(&mut field, &cast).await?;
        at_work::all(&mut field, &cast).await.context("after the faults")?;
        field.start_all_again().await.context("while everything was started again")?;
        story::ended(&mut field, &cast).await.context("after everything was started again")
    }
    .await;
    *came = field.outcomes();
    told?;
    let said = checks::check(&mut field, &cast, &witness.seen()).await?;
    drop(witness);
    field.story.stop().await?;
    Ok(said)
}

fn witness(field: &Field) -> anyhow::Result<Witness> {
    let network = field.story.network();
    let node = BitcoinRpc::new(network.node.rpc_url(), Auth::Cookie(network.node.cookie_path()))?;
    Ok(Witness::begin(&network.hub, node, &["zero", "dev"]))
}

/// How often a part makes a call.
#[derive(Debug)]
pub struct Counted {
    /// Which part.
    pub part: Part,
    /// The call.
    pub call: String,
    /// How often.
    pub calls: u32,
    /// How often its busiest thread does.
    pub busiest: u32,
}

/// Counts the points of each kind of part in an undisturbed story.
pub async fn count(below: &Path) -> anyhow::Result<Vec<Counted>> {
    strace::check()?;
    let dir = new_directory(below, "count")?;
    let (story, cast) = story::begin(&dir.join("network"), Profile::Compatible).await?;
    let mut field = Field::new(story, dir.join("traces")).await?;
    let parts = [
        Part::Bitcoind,
        Part::Hub,
        Part::Follower,
        Part::Covenant(COVENANT.0 - 1),
        Part::Report,
        Part::Watch,
    ];
    let parts = [&parts[..], &[Part::Anchor, Part::Signer(2), Part::Voter(2)]].concat();
    let traces = field.count(&parts).await?;
    story::tell(&mut field, &cast).await?;
    let mut counts = Vec::new();
    for (part, trace) in traces {
        let own = strace::count(&trace)?;
        counts.extend(own.into_iter().map(|(call, (calls, busiest))| Counted { part, call, calls, busiest }));
    }
    field.story.stop().await?;
    std::fs::remove_dir_all(&dir)?;
    Ok(counts)
}

fn new_directory(below: &Path, name: &str) -> anyhow::Result<PathBuf> {
    std::fs::create_dir_all(below)?;
    let dir = tempfile::Builder::new().prefix(&format!("{name}-")).tempdir_in(below)?;
    Ok(dir.keep())
}

/// The points that seeds draw from.
pub fn points() -> anyhow::Result<Points> {
    serde_json::from_str(points::COUNTED).context("the table of points")
}
