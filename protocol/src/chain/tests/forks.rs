//! Forks by work, against a model that keeps every header and recomputes everything.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

fn hashes(headers: &[Header]) -> Vec<BlockHash> {
    headers.iter().map(Header::block_hash).collect()
}

fn tip(branch: &Branch) -> Tip {
    Tip { height: BtcHeight(branch.0.len() as u32 - 1), hash: branch.0.last().unwrap().block_hash() }
}

/// The sum of the work of all headers.
fn work(branch: &Branch) -> Work {
    branch.0.iter().map(Header::work).reduce(|sum, work| sum + work).unwrap()
}

#[test]
fn of_equal_work_the_first_seen_stays_until_one_more_block_decides() {
    let mut first = Branch::genesis();
    first.grow(&[1; 5], 1);
    let mut second = Branch(first.0[..4].to_vec());
    second.grow(&[1; 2], 2);
    let mut chain = first.followed();
    let fork = BtcHeight(3);
    let refused = HeaderRefused::NotMoreWork { fork, found: work(&second), best: work(&first) };
    assert!(refused.can_be_retried());
    assert_eq!(chain.accept(&second.0[4..]), Err(refused));
    assert_eq!(chain, first.followed());
    second.grow(&[1], 2);
    let orphan = HeaderRefused::UnknownPrevious(second.0[5].block_hash());
    assert_eq!(chain.accept(&second.0[6..]), Err(orphan), "a branch that lost was not kept");
    assert!(chain.accept(&second.0[4..]).is_ok());
    assert_eq!(chain, second.followed());
}

#[test]
fn a_shorter_branch_with_more_work_wins() {
    let trunk = Branch::quick();

    let (mut long, mut short) = (trunk.clone(), trunk.clone());
    long.grow(&[20; 12], 2);
    short.grow(&[1; 7], 3).grow(&[1; 3], 3);
    assert!(short.0[16].target() < long.0[16].target());
    let mut chain = long.followed();
    let reorganised = Accepted::Reorganised {
        fork: BtcHeight(8),
        old_tip: tip(&long),
        new_tip: tip(&short),
        disconnected: hashes(&long.0[9..]),
        connected: hashes(&short.0[9..]),
    };
    assert_eq!(chain.accept(&short.0[9..]), Ok(reorganised));
    assert_eq!(chain.tip().height, BtcHeight(18), "lower than before");
    assert_eq!(chain.hash_at(BtcHeight(19)), None);
    assert_eq!(chain, short.followed());
    assert!(matches!(chain.accept(&long.0[9..]), Err(HeaderRefused::NotMoreWork { .. })));
}

#[test]
fn a_branch_is_judged_by_its_own_times_and_targets_across_a_retarget() {
    let mut trunk = Branch::genesis();
    trunk.grow(&[1; 6], 1);
    let (mut fast, mut slow) = (trunk.clone(), trunk.clone());
    slow.grow(&[5; 3], 2);
    fast.grow(&[1; 3], 3);
    assert_ne!(fast.0[8].bits, slow.0[8].bits);
    let mut chain = slow.followed();
    assert!(chain.accept(&fast.0[7..]).is_ok());
    // The slow branch's target on top of the fast one's blocks is refused.
    let wrong = mined(fast.0[8].block_hash(), slow.0[8].bits, fast.0[8].time + 1, 4);
    let refused =
        HeaderRefused::WrongTarget { height: BtcHeight(9), found: slow.0[8].bits, required: fast.0[8].bits };
    assert_eq!(chain.accept(&[wrong]), Err(refused));
}

/// Every branch that was ever mined, and the index of the best one.
struct Model {
    branches: Vec<Branch>,
    best: usize,
}

impl Model {
    fn best(&self) -> &Branch {
        &self.branches[self.best]
    }

    /// Headers that `branch` shares with the best one.
    fn shared(&self, branch: &Branch) -> usize {
        self.best().0.iter().zip(&branch.0).take_while(|(left, right)| left == right).count()
    }

    /// What handing in all of `branch` above the fork must give; the first seen stays unless there is more work.
    fn expected(&self, branch: &Branch) -> Result<Accepted, HeaderRefused> {
        let (best, shared) = (self.best(), self.shared(branch));
        let fork = BtcHeight(shared as u32 - 1);
        if work(branch) <= work(best) {
            return Err(HeaderRefused::NotMoreWork { fork, found: work(branch), best: work(best) });
        }
        let (old_tip, new_tip) = (tip(best), tip(branch));
        if shared == best.0.len() {
            return Ok(Accepted::Extended { from: old_tip, to: new_tip });
        }
        let (disconnected, connected) = (hashes(&best.0[shared..]), hashes(&branch.0[shared..]));
        Ok(Accepted::Reorganised { fork, old_tip, new_tip, disconnected, connected })
    }

    fn check(&self, chain: &HeaderChain) {
        let best = self.best();
        assert_eq!((chain.tip(), chain.total_work()), (tip(best), work(best)));
        assert_eq!(chain.median_time_past(chain.tip().height), Some(best.median_s()));
        let on_best: BTreeSet<_> = hashes(&best.0).into_iter().collect();
        for header in self.branches.iter().flat_map(|branch| branch.0.iter().enumerate()) {
            let (height, hash) = (BtcHeight(header.0 as u32), header.1.block_hash());
            assert_eq!(chain.height_of(&hash), on_best.contains(&hash).then_some(height));
            assert_eq!(chain.hash_at(height) == Some(hash), on_best.contains(&hash));
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_best_chain_is_the_one_that_a_naive_model_finds(
        steps in prop::collection::vec((any::<prop::sample::Index>(), 0..4_usize, 1..5_usize, 1..6_u32, 0..3_usize), 1..14)
    ) {
        let mut model = Model { branches: vec![Branch::genesis()], best: 0 };
        let mut chain = model.best().client();
        for (salt, (from, back, count, gap_s, overlap)) in (1..).zip(steps) {
            let from = from.get(&model.branches);
            let mut branch = Branch(from.0[..from.0.len().saturating_sub(back).max(1)].to_vec());
            branch.grow(&vec![gap_s; count], salt);
            let first = model.shared(&branch).saturating_sub(overlap);
            let expected = model.expected(&branch);
            let before = chain.clone();
            prop_assert_eq!(&chain.accept(&branch.0[first..]), &expected);
            model.branches.push(branch);
            match expected {
                Ok(_) => model.best = model.branches.len() - 1,
                Err(_) => prop_assert_eq!(&chain, &before),
            }
            model.check(&chain);
            prop_assert_eq!(&chain, &model.best().followed(), "history leaves no trace");
        }
    }
}
