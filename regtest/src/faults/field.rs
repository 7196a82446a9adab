//! The network while it is disturbed: faults are armed, and whoever fell to one is started again.

mod armed;
mod waits;

pub use armed::Outcome;
pub use waits::Waiting;

use super::disk::{self, SmallDisk};
use super::link::{Cut, Link};
use super::plan::{Act, Fault};
use super::points::Part;
use super::strace::Injection;
use super::{clock, strace, torn};
use crate::demo::network::{COVENANT, edit};
use crate::demo::operators::Operator;
use crate::demo::story::Story;
use crate::process::Daemon;
use anyhow::{Context as _, bail, ensure};
use armed::Armed;
use bitcoin::Block;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

const SIGKILL: i32 = 9;
/// How long a part whose disk takes nothing any more is left alone before somebody comes and starts it again.
const LEFT_ALONE: Duration = Duration::from_secs(2);

/// The network, and what is to happen to it.
pub struct Field {
    /// The network.
    pub story: Story,
    armed: Vec<Armed>,
    /// What a peer of the node would have: every block that was mined.
    chain: Vec<Block>,
    dir: PathBuf,
    began: Instant,
}

impl Field {
    /// A network that nothing happens to yet. `dir` is for what strace says.
    pub async fn new(story: Story, dir: PathBuf) -> anyhow::Result<Self> {
        std::fs::create_dir_all(&dir)?;
        let mut field = Self { story, armed: Vec::new(), chain: Vec::new(), dir, began: Instant::now() };
        field.remember().await?;
        Ok(field)
    }

    /// What came of each fault.
    pub fn outcomes(&self) -> Vec<Outcome> {
        let all = self.armed.iter();
        all.map(|Armed { fault, came, came_again, torn, .. }| Outcome {
            fault: fault.clone(),
            came: *came,
            came_again: *came_again,
            torn: torn.clone(),
        })
        .collect()
    }

    /// Starts each part that a fault is for again, with the fault.
    pub async fn arm(&mut self, faults: &[Fault]) -> anyhow::Result<()> {
        for fault in faults {
            let (part, trace) = (fault.part, self.dir.join(format!("{}.strace", fault.part)));
            let mut armed = Armed::new(fault.clone(), trace);
            match (fault.injection(), fault.act) {
                (None, Act::Link(cut)) => {
                    armed.link = Some(self.lay(part, &fault.call, cut, fault.nth).await?);
                    armed.over = true;
                    self.start_again_under(part, &[]).await?;
                }
                (Some(what), act) => {
                    let wrapper = strace::injecting(&armed.trace, &fault.call, fault.nth, what);
                    let process = self.start_again_under(part, &wrapper).await?;
                    armed.trap = process.and_then(|process| trap(process, act, what, armed.trace.clone()));
                }
                (None, Act::Clock) => {
                    self.start_again_under(part, &clock::standing_still()?).await?;
                    (armed.came, armed.over) = (Some(self.began.elapsed()), true);
                }
                (None, Act::Full) => match disk::check() {
                    Ok(()) => {
                        armed.disk = Some(self.move_to_small_disk(part, fault.nth, &armed.trace).await?)
                    }
                    // It does not come, and the seed does not count.
                    Err(_) => armed.over = true,
                },
                (None, _) => bail!("{fault} cannot be armed"),
            }
            self.armed.push(armed);
        }
        Ok(())
    }

    /// Lays a link before the hub or the node for a part's next start.
    async fn lay(&self, part: Part, to: &str, cut: Cut, nth: u32) -> anyhow::Result<Link> {
        let network = self.story.network();
        let url = if to == Part::Hub.kind() { network.hub_url.clone() } else { network.node.rpc_url() };
        let address = url.strip_prefix("http://").context("an http address")?;
        let link = Link::start(address.parse()?, cut, nth).await?;
        edit(&part.config(&self.story), &[(address, &link.address().to_string())])?;
        Ok(link)
    }

    /// Starts a part again with its data on a disk that has little room.
    async fn move_to_small_disk(
        &mut self,
        part: Part,
        pages: u32,
        trace: &Path,
    ) -> anyhow::Result<SmallDisk> {
        self.daemon(part)?.end().await?;
        let disk = SmallDisk::with_room(&disk::data(part, &self.story), pages)?;
        self.spawn_under(part, &strace::counting(trace))?;
        Ok(disk)
    }

    /// Starts parts again so that their calls are counted. Gives where.
    pub async fn count(&mut self, parts: &[Part]) -> anyhow::Result<Vec<(Part, PathBuf)>> {
        let mut traces = Vec::new();
        for part in parts {
            let trace = self.dir.join(format!("{part}.strace"));
            self.start_again_under(*part, &strace::counting(&trace)).await?;
            traces.push((*part, trace));
        }
        Ok(traces)
    }

    /// Looks once after everything that runs: notices faults that have come, and starts again who fell to one. Fails if somebody
    /// fell to none.
    pub async fn keep(&mut self) -> anyhow::Result<()> {
        for armed in &mut self.armed {
            if let Some(came) = armed.link.as_ref().and_then(Link::came) {
                armed.came = Some(came.duration_since(self.began));
            }
        }
        for index in 0..self.armed.len() {
            if !self.armed[index].over {
                self.look_after(index).await?;
            }
        }
        let waiting: Vec<PathBuf> = self
            .armed
            .iter()
            .filter(|armed| !armed.over)
            .map(|armed| armed.fault.part.log(&self.story))
            .collect();
        self.daemons()
            .filter(|daemon| !waiting.iter().any(|log| daemon.log() == log))
            .try_for_each(Daemon::check)?;
        let is_waiting = self.armed.iter().any(|armed| armed.fault.part == Part::Bitcoind && !armed.over);
        match self.story.network_mut().node.ended() {
            Some(status) if !is_waiting => bail!("bitcoind ended with {status}"),
            _ => Ok(()),
        }
    }

    async fn look_after(&mut self, index: usize) -> anyhow::Result<()> {
        let Fault { part, act, .. } = self.armed[index].fault;
        let ended = self.ended(part)?;
        let armed = &mut self.armed[index];
        let now = self.began.elapsed();
        if armed.came.is_none() && armed.traced().contains(armed.mark()?) {
            armed.came = Some(now);
        }
        let Some(status) = ended else {
            let lasts = matches!(act, Act::Fail { lasting: true, .. });
            let left = armed.came.is_some_and(|came| now > came + LEFT_ALONE);
            return match &mut armed.disk {
                Some(disk) if left => disk.make_room(),
                None if lasts && left => self.relieve(index).await,
                _ => Ok(()),
            };
        };
        ensure!(armed.came.is_some(), "{part} ended with {status} before its fault came");
        match act {
            Act::Kill { .. } => return self.killed(index, status).await,
            Act::Fail { errno, .. } => self.ended_clearly(part, status, errno)?,
            Act::Full => self.ended_clearly(part, status, "ENOSPC")?,
            Act::Stop(_) | Act::Clock | Act::Link(_) => {
                bail!("{part} ended with {status} at a fault that should not end it")
            }
        }
        self.armed[index].end()?;
        self.start(part).await
    }

    /// Tears what a power cut tears, and starts the part again: as it is, or to be killed once more.
    async fn killed(&mut self, index: usize, status: ExitStatus) -> anyhow::Result<()> {
        let armed = &mut self.armed[index];
        let part = armed.fault.part;
        ensure!(status.signal() == Some(SIGKILL), "{part} ended with {status} instead of by the kill");
        let Act::Kill { torn, again, .. } = armed.fault.act else { bail!("{} kills nobody", armed.fault) };
        if let Some(dice) = torn {
            let mut dice = StdRng::seed_from_u64(dice.wrapping_add(u64::from(armed.recovering)));
            armed.torn.extend(torn::tear(&armed.trace, &self.story.network().dir, &mut dice)?);
        }
        match again.filter(|_| !armed.recovering) {
            Some(nth) => {
                armed.recovering = true;
                armed.trace.set_extension("again.strace");
                let wrapper = strace::injecting(&armed.trace, part.writes(), nth, Injection::KillBefore);
                self.spawn_under(part, &wrapper).map(|_| ())
            }
            None => {
                armed.came_again = armed.recovering.then(|| self.began.elapsed());
                armed.over = true;
                self.start(part).await
            }
        }
    }

    /// Waits until those whose faults end nobody work on: an error that was answered must not leave a part that only seems to.
    async fn all_work_on(&mut self) -> anyhow::Result<()> {
        for index in 0..self.armed.len() {
            let waiting = Waiting::until(format!("work goes on after: {}", self.armed[index].fault));
            while !self.armed[index].works_on()? {
                waiting.check("no call that makes anything durable")?;
                self.pause().await?;
            }
        }
        Ok(())
    }

    /// A part whose disk is full goes on or says clearly why it ends. What bitcoind does is not ours to judge.
    fn ended_clearly(&self, part: Part, status: ExitStatus, errno: &str) -> anyhow::Result<()> {
        if part == Part::Bitcoind {
            return Ok(());
        }
        let log = std::fs::read_to_string(part.log(&self.story))?;
        let end: Vec<&str> = log.lines().rev().take(5).collect();
        let words: &[&str] = match errno {
            // SQLite calls a sync that fails an I/O error, whatever the cause.
            "ENOSPC" => &["No space left on device", "database or disk is full", "disk I/O error"],
            _ => &["Input/output error", "disk I/O error"],
        };
        let clear =
            status.code() == Some(1) && end.iter().any(|line| words.iter().any(|word| line.contains(word)));
        ensure!(clear, "{part} ended with {status} at {errno} and does not say why: {end:?}");
        Ok(())
    }

    /// Somebody made room on the disk, and starts the part again.
    async fn relieve(&mut self, index: usize) -> anyhow::Result<()> {
        let part = self.armed[index].fault.part;
        self.armed[index].over = true;
        self.kill(part).await?;
        self.start(part).await
    }

    /// Starts everything again, without faults: what waits for a fault, too. All are killed but the signers, whom their operators
    /// ask to stop: not all of them may sit epochs out at once.
    pub async fn start_all_again(&mut self) -> anyhow::Result<()> {
        self.all_work_on().await?;
        let parts = self.parts();
        // Voters before signers, who wait for those that talk to them.
        for part in parts.iter().rev() {
            match part {
                Part::Signer(_) if self.ended(*part)?.is_none() => self.daemon(*part)?.end().await?,
                part => self.kill(*part).await?,
            }
        }
        self.armed.iter_mut().try_for_each(Armed::end)?;
        for part in parts {
            self.start(part).await?;
        }
        Ok(())
    }

    /// Everything that runs: the culprit does no more. In the order in which they can be started.
    pub fn parts(&self) -> Vec<Part> {
        let mut parts = vec![Part::Bitcoind, Part::Hub, Part::Follower];
        parts.extend((0..COVENANT.0).map(Part::Covenant));
        parts.extend([Part::Report, Part::Watch, Part::Anchor]);
        for index in 1..self.story.operators().len() {
            parts.extend([Part::Signer(index), Part::Voter(index)]);
        }
        parts
    }

    /// All that runs but bitcoind.
    pub fn daemons(&mut self) -> impl Iterator<Item = &mut Daemon> {
        let (network, operators) = self.story.processes_mut();
        network.daemons_mut().chain(operators.iter_mut().flat_map(Operator::daemons_mut))
    }

    fn daemon(&mut self, part: Part) -> anyhow::Result<&mut Daemon> {
        let log = part.log(&self.story);
        self.daemons().find(|daemon| daemon.log() == log).with_context(|| format!("{part} does not run"))
    }

    fn ended(&mut self, part: Part) -> anyhow::Result<Option<ExitStatus>> {
        match part {
            Part::Bitcoind => Ok(self.story.network_mut().node.ended()),
            part => self.daemon(part)?.ended(),
        }
    }

    /// Starts a part, and gives the node what it lost.
    async fn start(&mut self, part: Part) -> anyhow::Result<()> {
        if part == Part::Bitcoind {
            self.story.network_mut().node.start_under(&[]).await?;
            return self.give_back().await;
        }
        let daemon = self.daemon(part)?;
        let address = daemon.log().with_extension("address");
        daemon.start_again(Some(&address))
    }

    /// Kills what runs.
    async fn kill(&mut self, part: Part) -> anyhow::Result<()> {
        if self.ended(part)?.is_some() {
            return Ok(());
        }
        match part {
            Part::Bitcoind => Ok(self.story.network_mut().node.kill()?),
            part => self.daemon(part)?.kill().await,
        }
    }

    /// Asks a part to end and starts it by another command. Gives its process, if it runs.
    async fn start_again_under(
        &mut self,
        part: Part,
        wrapper: &[std::ffi::OsString],
    ) -> anyhow::Result<Option<u32>> {
        match part {
            Part::Bitcoind => self.story.network_mut().node.stop().await?,
            part => self.daemon(part)?.end().await?,
        }
        self.spawn_under(part, wrapper)
    }

    /// Starts a part that has ended by another command. Nobody waits for it to answer: its fault may come before.
    fn spawn_under(&mut self, part: Part, wrapper: &[std::ffi::OsString]) -> anyhow::Result<Option<u32>> {
        if part == Part::Bitcoind {
            return Ok(Some(self.story.network_mut().node.spawn_under(wrapper)?));
        }
        let daemon = self.daemon(part)?;
        let address = daemon.log().with_extension("address");
        daemon.start_again_under(wrapper, Some(&address))?;
        Ok(daemon.process_id())
    }
}

/// Does what strace leaves to do when a point is reached.
fn trap(process: u32, act: Act, what: Injection, trace: PathBuf) -> Option<JoinHandle<()>> {
    let (wait, signal) = match act {
        Act::Kill { after: true, .. } => (Duration::ZERO, "-KILL"),
        Act::Stop(time) => (time, "-CONT"),
        Act::Kill { .. } | Act::Fail { .. } | Act::Full | Act::Link(_) | Act::Clock => return None,
    };
    Some(tokio::spawn(async move {
        let mark = what.mark();
        let times = || std::fs::read_to_string(&trace).map_or(0, |text| text.matches(mark).count());
        let mut handled = 0;
        loop {
            // Each thread has its own nth call.
            let seen = times();
            if seen == handled {
                tokio::time::sleep(Duration::from_millis(5)).await;
                continue;
            }
            handled = seen;
            tokio::time::sleep(wait).await;
            let mut kill = tokio::process::Command::new("kill");
            kill.arg(signal).arg(process.to_string()).stderr(Stdio::null());
            if matches!(act, Act::Kill { .. }) {
                // A tracer that holds two threads at once can fail to let either of them die. It goes second.
                kill.args(tracer(process));
            }
            // Fails only where the process has ended, which its keeper sees.
            let _ = kill.status().await;
        }
    }))
}

/// Who traces a process.
fn tracer(process: u32) -> Option<String> {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).ok()?;
    let own = status.lines().find_map(|line| line.strip_prefix("TracerPid:"))?.trim();
    (own != "0").then(|| own.to_owned())
}
