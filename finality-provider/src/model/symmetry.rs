//! States that differ only in names are one state: times of files, the order of requests, and which of a height's two blocks
//! is called A.

use super::disk::{Files, MarkFile};
use super::{Block, FIRST, LAST, State, Vote};

impl State {
    /// Gives names in order of appearance.
    pub(super) fn simplify(&mut self) {
        if self.faults == 0 {
            // Nobody will put a copy back.
            self.machines.iter_mut().for_each(|machine| machine.disk.copy = None);
        }
        self.machines.iter_mut().for_each(|machine| machine.disk.renumber());
        for height in FIRST..=LAST {
            let mut first = None;
            self.visit(height, &mut |block| {
                first.get_or_insert(*block);
            });
            if first == Some(Block::B) {
                self.visit(height, &mut |block| *block = block.flipped(true));
                let flip = |vote: &Vote| Vote { block: vote.block.flipped(vote.height == height), ..*vote };
                self.left = self.left.iter().map(flip).collect();
            }
        }
        self.asked.sort_unstable();
    }

    /// Every place where a block of a height stands, but for the votes that have left.
    fn visit(&mut self, height: u8, look: &mut impl FnMut(&mut Block)) {
        let at = usize::from(height);
        self.hub.certified.get_mut(at).into_iter().flatten().for_each(&mut *look);
        for machine in &mut self.machines {
            for process in &mut machine.running {
                process.rows.votes[at].iter_mut().for_each(&mut *look);
                process.vote_at(height).into_iter().for_each(&mut *look);
            }
            let disk = &mut machine.disk;
            for files in [&mut disk.now, &mut disk.synced].into_iter().chain(&mut disk.copy) {
                visit_files(files, at, look);
            }
        }
        for ask in &mut self.asked {
            if ask.height == height {
                look(&mut ask.block);
            }
            if ask.height == height + 1 {
                look(&mut ask.parent);
            }
        }
    }
}

fn visit_files(files: &mut Files, at: usize, look: &mut impl FnMut(&mut Block)) {
    let marked = match &mut files.mark {
        Some(MarkFile::Whole(of)) => Some(of),
        _ => None,
    };
    let rows = files.record.as_mut().into_iter().chain(marked).map(|file| &mut file.rows);
    rows.filter_map(|rows| rows.votes[at].as_mut()).for_each(look);
}
