//! Invariant 6 of the design: whatever happens to the process and to its files, no nonce signs two messages.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::fs;

/// What can befall a signer.
#[derive(Debug, Clone)]
enum Act {
    /// Asked for the nonces of an epoch.
    Commit(u64),
    /// Asked for a vote, with one of the roots that any record ever committed to, as a set may name any of them.
    Vote { height: u64, block: u8, root: usize },
    /// Stopped and started.
    Restart,
    /// Its files are copied away.
    Backup,
    /// The copies are written over its files, or take their place, while it is stopped or runs.
    Restore { in_place: bool, mark_too: bool, runs: bool },
    /// A file is lost.
    Lose { mark: bool },
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let vote = (0u64..4, 1u8..4, 0usize..8);
    let act = prop_oneof![
        2 => (2u64..4).prop_map(Act::Commit),
        6 => vote.prop_map(|(at, block, root)| Act::Vote { height: 40 + 10 * at, block, root }),
        1 => Just(Act::Restart),
        1 => Just(Act::Backup),
        2 => any::<(bool, bool, bool)>()
            .prop_map(|(in_place, mark_too, runs)| Act::Restore { in_place, mark_too, runs }),
        1 => any::<bool>().prop_map(|mark| Act::Lose { mark }),
    ];
    proptest::collection::vec(act, 1..40)
}

/// A signer, its files, what was copied of them, and everything that it ever gave out.
struct Story {
    dir: TempDir,
    signer: Option<Signer>,
    backup: Vec<(&'static str, Vec<u8>)>,
    roots: Vec<Hash32>,
    signed: BTreeMap<[u8; 32], Ballot>,
}

impl Story {
    fn new() -> Self {
        let dir = TempDir::new().unwrap();
        let signer = Some(signer(dir.path()));
        Self { dir, signer, backup: Vec::new(), roots: Vec::new(), signed: BTreeMap::new() }
    }

    /// Does something to the files while the signer does not run.
    fn stopped(&mut self, act: impl FnOnce(&mut Self)) {
        self.signer = None;
        act(self);
        self.signer = Some(signer(self.dir.path()));
    }

    fn act(&mut self, act: &Act) {
        match act {
            Act::Commit(epoch) => {
                let request = CommitRequest { chain: ChainId::zero(), epoch: Epoch(*epoch) };
                // A record whose file was changed under it may be of no use until the next start.
                let made = self.signer.as_ref().unwrap().commit(&request);
                self.roots.extend(made.map(|commitment| commitment.root));
            }
            Act::Vote { height, block, root } => self.vote(*height, *block, *root),
            Act::Restart => self.stopped(|_| {}),
            Act::Backup => self.stopped(|story| {
                let read = |name| (name, fs::read(story.dir.path().join(name)).unwrap());
                story.backup = ["record.sqlite", "record.mark"].map(read).to_vec();
            }),
            Act::Restore { in_place, mark_too, runs: false } => {
                self.stopped(|story| story.restore(*in_place, *mark_too));
            }
            Act::Restore { in_place, mark_too, runs: true } => self.restore(*in_place, *mark_too),
            Act::Lose { mark } => self.stopped(|story| {
                let name = if *mark { "record.mark" } else { "record.sqlite" };
                let _ = fs::remove_file(story.dir.path().join(name));
            }),
        }
    }

    fn restore(&mut self, in_place: bool, mark_too: bool) {
        for (name, bytes) in self.backup.iter().take(if mark_too { 2 } else { 1 }) {
            let path = self.dir.path().join(name);
            if !in_place {
                let _ = fs::remove_file(&path);
            }
            fs::write(path, bytes).unwrap();
        }
    }

    fn vote(&mut self, height: u64, block: u8, root: usize) {
        let Some(root) = self.roots.get(root % self.roots.len().max(1)) else { return };
        let Ok(vote) = self.signer.as_ref().unwrap().vote(&request(height, block, *root)) else { return };
        let first = *self.signed.entry(vote.nonce.to_bytes()).or_insert(vote.ballot);
        assert_eq!(first, vote.ballot, "two messages under one nonce give the key away");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_nonce_signs_two_messages_whatever_befalls_the_record(acts in acts()) {
        let mut story = Story::new();
        acts.iter().for_each(|act| story.act(act));
    }
}

#[test]
fn the_story_would_notice_a_second_message() {
    let mut story = Story::new();
    story.act(&Act::Commit(2));
    story.act(&Act::Vote { height: 40, block: 1, root: 0 });
    let nonce = *story.signed.keys().next().expect("a vote");
    story.signed.get_mut(&nonce).unwrap().block = Hash32([9; 32]);
    let again = std::panic::AssertUnwindSafe(|| story.vote(40, 1, 0));
    assert!(std::panic::catch_unwind(again).is_err());
}
