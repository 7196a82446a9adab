//! A fault on its way, and what came of it.

use crate::faults::disk::SmallDisk;
use crate::faults::link::Link;
use crate::faults::plan::{Act, Fault};
use crate::faults::points::Part;
use crate::faults::strace;
use anyhow::Context as _;
use std::path::PathBuf;
use std::time::Duration;
use tokio::task::JoinHandle;

/// So often a part makes something durable after a fault, and has shown that it works on.
const WORKS_ON: usize = 5;

/// A fault that waits for its point, or has come.
pub(super) struct Armed {
    pub(super) fault: Fault,
    pub(super) trace: PathBuf,
    pub(super) came: Option<Duration>,
    /// What power cuts did.
    pub(super) torn: Vec<String>,
    /// It was killed, and is to be killed once more while it recovers.
    pub(super) recovering: bool,
    pub(super) came_again: Option<Duration>,
    /// Somebody started the part again, without the fault.
    pub(super) over: bool,
    pub(super) trap: Option<JoinHandle<()>>,
    pub(super) link: Option<Link>,
    /// What the part's data lie on meanwhile.
    pub(super) disk: Option<SmallDisk>,
}

/// What came of a fault.
#[derive(Debug)]
pub struct Outcome {
    /// Which.
    pub fault: Fault,
    /// After how long it came, if it did.
    pub came: Option<Duration>,
    /// The same of the second kill.
    pub came_again: Option<Duration>,
    /// What power cuts did to files.
    pub torn: Vec<String>,
}

impl Outcome {
    /// Whether all of it came: otherwise it shows nothing about what did not.
    pub fn is_complete(&self) -> bool {
        match self.fault.act {
            Act::Kill { torn, again, .. } => {
                let cut = torn.is_none() || !self.torn.is_empty();
                self.came.is_some() && cut && (again.is_none() || self.came_again.is_some())
            }
            _ => self.came.is_some(),
        }
    }
}

impl Armed {
    /// A fault whose part is started again with it now.
    pub(super) fn new(fault: Fault, trace: PathBuf) -> Self {
        Self {
            fault,
            trace,
            came: None,
            torn: Vec::new(),
            recovering: false,
            came_again: None,
            over: false,
            trap: None,
            link: None,
            disk: None,
        }
    }

    /// The part has ended, and is started again without the fault.
    pub(super) fn end(&mut self) -> anyhow::Result<()> {
        self.over = true;
        self.disk.take().map_or(Ok(()), |mut disk| disk.put_back())
    }

    /// What strace has said; nothing before the part has begun.
    pub(super) fn traced(&self) -> String {
        std::fs::read_to_string(&self.trace).unwrap_or_default()
    }

    /// The words of the trace by which the fault has come.
    pub(super) fn mark(&self) -> anyhow::Result<&'static str> {
        self.fault.mark().context("a fault that strace tells of")
    }

    /// Whether the part has made something durable since a fault that does not end it; others need not.
    pub(super) fn works_on(&self) -> anyhow::Result<bool> {
        let passes = matches!(self.fault.act, Act::Fail { lasting: false, .. } | Act::Full | Act::Stop(_));
        if !passes || self.over || self.came.is_none() || self.fault.part == Part::Bitcoind {
            return Ok(true);
        }
        let (traced, mark) = (self.traced(), self.mark()?);
        let since = traced.lines().skip_while(|line| !line.contains(mark)).skip(1);
        let durable = since.filter(|line| !line.contains(mark)).filter_map(strace::begun);
        Ok(durable.filter(|(_, call, _)| ["fsync", "fdatasync"].contains(call)).count() >= WORKS_ON)
    }
}

impl Drop for Armed {
    fn drop(&mut self) {
        if let Some(trap) = &self.trap {
            trap.abort();
        }
    }
}
