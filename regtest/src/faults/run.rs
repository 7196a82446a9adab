//! Runs seeds: each on a network of its own, which is kept where something did not hold.

use super::field::Field;
use super::plan::{Fault, Plan};
use super::points::{Part, Points};
use super::witness::Witness;
use super::{checks, points, story, strace};
use crate::demo::network::COVENANT;
use anyhow::Context as _;
use palisade_hub::bitcoind::{Auth, BitcoinRpc};
use std::fmt::{self, Display, Formatter};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// What came of a seed.
#[derive(Debug)]
pub struct Verdict {
    /// What was drawn.
    pub plan: Plan,
    /// Each fault, and how long after the faults were armed it came.
    pub came: Vec<(Fault, Option<Duration>)>,
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
        self.came.len() == self.plan.faults.len() && self.came.iter().all(|(_, came)| came.is_some())
    }
}

impl Display for Verdict {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        let word = match &self.result {
            Err(_) => "FAILED",
            Ok(_) if self.is_complete() => "passed",
            Ok(_) => "passed, does not count",
        };
        writeln!(out, "seed {}: {word} in {:.0} s", self.plan.seed, self.took.as_secs_f32())?;
        for (fault, came) in &self.came {
            match came {
                Some(came) => writeln!(out, "  {fault}: after {:.1} s", came.as_secs_f32())?,
                None => writeln!(out, "  {fault}: not reached")?,
            }
        }
        match &self.result {
            Ok(said) => write!(out, "  {said}")?,
            Err(why) => write!(out, "  {why:#}")?,
        }
        self.kept.iter().try_for_each(|dir| write!(out, "\n  kept: {}", dir.display()))
    }
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

async fn disturb(
    plan: &Plan,
    dir: &Path,
    came: &mut Vec<(Fault, Option<Duration>)>,
) -> anyhow::Result<String> {
    let (story, cast) = story::begin(&dir.join("network")).await.context("before any fault")?;
    let mut field = Field::new(story, dir.join("traces")).await?;
    let witness = witness(&field)?;
    let told = async {
        field.arm(&plan.faults).await.context("while the faults were armed")?;
        story::tell(&mut field, &cast).await?;
        field.start_all_again().await.context("while everything was started again")?;
        story::ended(&mut field, &cast).await.context("after everything was started again")
    }
    .await;
    *came = field.outcomes();
    told?;
    let said = checks::check(&mut field, &witness.seen()).await?;
    drop(witness);
    field.story.stop().await?;
    Ok(said)
}

fn witness(field: &Field) -> anyhow::Result<Witness> {
    let network = field.story.network();
    let node = BitcoinRpc::new(network.node.rpc_url(), Auth::Cookie(network.node.cookie_path()))?;
    Ok(Witness::begin(&network.hub, node, &["zero", "dev"]))
}

/// Counts the points of each kind of part in an undisturbed story: all calls, and those of the busiest thread.
pub async fn count(below: &Path) -> anyhow::Result<Vec<(Part, String, u32, u32)>> {
    strace::check()?;
    let dir = new_directory(below, "count")?;
    let (story, cast) = story::begin(&dir.join("network")).await?;
    let mut field = Field::new(story, dir.join("traces")).await?;
    let parts =
        [Part::Bitcoind, Part::Hub, Part::Covenant(COVENANT.0 - 1), Part::Report, Part::Watch, Part::Anchor];
    let parts = [&parts[..], &[Part::Signer(1), Part::Voter(1)]].concat();
    let traces = field.count(&parts).await?;
    story::tell(&mut field, &cast).await?;
    let mut counts = Vec::new();
    for (part, trace) in traces {
        let own = strace::count(&trace)?;
        counts.extend(own.into_iter().map(|(call, (all, most))| (part, call, all, most)));
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
