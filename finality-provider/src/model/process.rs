//! A signer process: opens the record, claims, synchronises, and lets signatures go.

use super::disk::{Disk, MarkFile, RecordFile, Rows};
use super::keys::{Keys, Seed};
use super::{Ask, Block, Check};
use crate::signer::record::Claim;
use crate::signer::record::trust::{Files, Start, check_contents};
use crate::signer::rules;
use palisade_protocol::units::Epoch;

/// A running signer. SQLite reads the file once: the process alone writes it, and so knows what it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Process {
    pub(super) seed: Seed,
    pub(super) rows: Rows,
    /// The file that it has open lost its name: what it writes there is gone with the process.
    pub(super) record_lost: bool,
    pub(super) mark_lost: bool,
    pub(super) work: Option<Work>,
}

/// One request at a time holds the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Work {
    pub(super) job: Job,
    stage: Stage,
    released: bool,
}

/// What is to be signed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Job {
    Root(u8),
    Vote(Ask),
}

/// How far a claim has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Stage {
    Begun,
    Written,
    Synced,
    Marked,
    Durable,
}

impl Process {
    /// Opens the record, if `Record::open` would trust it.
    pub(super) fn open(disk: &Disk, keys: &Keys, without: Option<Check>) -> Option<Self> {
        let blindly = disk.now.record.filter(|_| without == Some(Check::Mark));
        blindly.or_else(|| trusted(disk, keys, without)).map(Self::of)
    }

    /// Begins a record.
    pub(super) fn begin(disk: &mut Disk, seed: Seed) -> Self {
        Self::of(disk.begin(seed))
    }

    fn of(RecordFile { seed, rows, .. }: RecordFile) -> Self {
        Self { seed, rows, record_lost: false, mark_lost: false, work: None }
    }

    /// Takes a request, as `Signer::vote` does. A refusal changes nothing.
    pub(super) fn take_vote(&mut self, ask: Ask, keys: &Keys, without: Option<Check>) {
        let (height, set) = (usize::from(ask.height), keys.root(ask.root, ask.height));
        let own = self.rows.roots[height].then(|| keys.root(self.seed, ask.height));
        let fits = rules::check_root(Epoch(ask.height.into()), own, set).is_ok()
            && keys.is_committed(self.seed, ask.height, &set);
        if !fits && without != Some(Check::OwnRoot) {
            return;
        }
        let known = self.rows.votes[height].map(|block| block.hash(ask.height));
        let claim = match rules::claim(known, ask.block.hash(ask.height)) {
            Claim::Taken(_) if without == Some(Check::OneMessage) => Claim::Repeat,
            claim => claim,
        };
        // What the source said of the parent is forgotten.
        self.take(Job::Vote(Ask { parent: Block::A, ..ask }), claim);
    }

    /// Takes a request for a commitment, as `Signer::commit` does.
    pub(super) fn take_commit(&mut self, epoch: u8, keys: &Keys) {
        let root = keys.root(self.seed, epoch);
        let known = self.rows.roots[usize::from(epoch)].then_some(root);
        self.take(Job::Root(epoch), rules::claim(known, root));
    }

    fn take(&mut self, job: Job, claim: Claim) {
        let stage = match claim {
            Claim::Fresh => Stage::Begun,
            Claim::Repeat => Stage::Durable,
            Claim::Taken(_) => return,
        };
        self.work = Some(Work { job, stage, released: false });
    }

    /// Whether there is a step to take before the claim is durable.
    pub(super) fn has_step(&self) -> bool {
        self.work.is_some_and(|work| work.stage < Stage::Durable)
    }

    /// The next step of a claim.
    pub(super) fn step(&mut self, disk: &mut Disk) {
        let Some(mut work) = self.work else { return };
        work.stage = match work.stage {
            Stage::Begun => {
                self.write(disk, work.job);
                Stage::Written
            }
            Stage::Written => {
                if !self.record_lost {
                    disk.synced.record = disk.now.record;
                }
                Stage::Synced
            }
            Stage::Synced => {
                self.mark(disk);
                Stage::Marked
            }
            Stage::Marked | Stage::Durable => {
                if !self.mark_lost {
                    disk.synced.mark = disk.now.mark;
                }
                Stage::Durable
            }
        };
        self.work = (work.stage < Stage::Durable || !work.released).then_some(work);
    }

    /// SQLite writes the page that it changed, as it has it in memory.
    fn write(&mut self, disk: &mut Disk, job: Job) {
        match job {
            Job::Root(epoch) => self.rows.roots[usize::from(epoch)] = true,
            Job::Vote(ask) => self.rows.votes[usize::from(ask.height)] = Some(ask.block),
        }
        let changed = disk.tick();
        if let (false, Some(file)) = (self.record_lost, &mut disk.now.record) {
            file.changed = changed;
            match job {
                Job::Root(_) => file.rows.roots = self.rows.roots,
                Job::Vote(_) => file.rows.votes = self.rows.votes,
            }
        }
    }

    fn mark(&self, disk: &mut Disk) {
        let own = disk.now.record.filter(|_| !self.record_lost);
        let changed = own.map_or_else(|| disk.tick(), |file| file.changed);
        if !self.mark_lost {
            let of = RecordFile { changed, seed: self.seed, rows: self.rows };
            disk.now.mark = Some(MarkFile::Whole(of));
        }
    }

    /// What may leave now.
    pub(super) fn releasable(&self, without: Option<Check>) -> Option<Job> {
        let needed = match without {
            Some(Check::RecordFirst) => Stage::Begun,
            Some(Check::SyncFirst) => Stage::Written,
            _ => Stage::Durable,
        };
        self.work.filter(|work| work.stage >= needed && !work.released).map(|work| work.job)
    }

    /// It has left.
    pub(super) fn release(&mut self) {
        if let Some(work) = &mut self.work {
            work.released = true;
        }
        self.work = self.work.filter(|work| work.stage < Stage::Durable);
    }

    /// The block that is being voted for at a height.
    pub(super) fn vote_at(&mut self, height: u8) -> Option<&mut Block> {
        match self.work.as_mut().map(|work| &mut work.job) {
            Some(Job::Vote(ask)) if ask.height == height => Some(&mut ask.block),
            _ => None,
        }
    }

    /// Its highest vote, as `Signer::identity` says.
    pub(super) fn last(&self) -> Option<(u8, Block)> {
        let votes = self.rows.votes.iter().enumerate().rev();
        votes.filter_map(|(height, block)| Some((height as u8, (*block)?))).next()
    }
}

/// The record, if it may be trusted.
fn trusted(disk: &Disk, keys: &Keys, without: Option<Check>) -> Option<RecordFile> {
    let mark = disk.now.mark.and_then(|mark| mark.read(keys));
    let record = disk.now.record;
    let files = Files { record: record.map(|file| file.changed), has_mark: disk.now.mark.is_some(), mark };
    let Ok(Start::Open(mark)) = files.judge() else { return None };
    let file = record?;
    let found = match without {
        Some(Check::Contents) => mark.contents,
        _ => file.contents(keys),
    };
    check_contents(found, &mark).is_ok().then_some(file)
}
