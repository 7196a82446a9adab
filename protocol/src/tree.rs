//! Merkle trees as RFC 6962 has them: leaf `SHA256(00 || data)`, inner `SHA256(01 || left || right)`, split at the
//! largest power of two. An odd node at the end of a level moves up unchanged, which is the same tree seen from below.
//!
//! [`Tree`] is an accumulator: append, replace in place and truncate cost a path each, whatever the size.
//! Source: docs/protocol.md, sections 1.4 and 1.5.

use crate::hash::{Hash32, sha256};

/// The hash of a leaf that holds `data`.
pub fn leaf_hash(data: &[u8]) -> Hash32 {
    sha256(&[&[0], data])
}

/// The hash of an inner node.
pub fn node_hash(left: &Hash32, right: &Hash32) -> Hash32 {
    sha256(&[&[1], &left.0, &right.0])
}

/// The root of a tree without leaves: SHA-256 of nothing.
pub fn empty_root() -> Hash32 {
    sha256(&[])
}

/// A tree that keeps its inner nodes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tree {
    /// `levels[0]` are the leaf hashes, each further level their parents; the last level, if any, has one node.
    levels: Vec<Vec<Hash32>>,
}

impl Tree {
    /// A tree over leaf hashes.
    pub fn from_leaves(leaves: impl IntoIterator<Item = Hash32>) -> Self {
        let mut tree = Self::default();
        tree.put_all(leaves.into_iter().enumerate());
        tree
    }

    /// Number of leaves.
    pub fn len(&self) -> usize {
        self.levels.first().map_or(0, Vec::len)
    }

    /// Whether there is no leaf.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The root; [`empty_root`] of no leaves.
    pub fn root(&self) -> Hash32 {
        self.levels.last().and_then(|top| top.first()).copied().unwrap_or_else(empty_root)
    }

    /// The leaf hash at `index`.
    pub fn leaf(&self, index: u64) -> Option<Hash32> {
        self.levels.first()?.get(usize::try_from(index).ok()?).copied()
    }

    /// Appends a leaf hash.
    pub fn push(&mut self, leaf: Hash32) {
        self.put_all([(self.len(), leaf)]);
    }

    /// Replaces leaf hashes, or appends them where the place is the one after the last leaf; those further on are left out. What
    /// several leaves have above them is computed once.
    pub fn put_all(&mut self, leaves: impl IntoIterator<Item = (usize, Hash32)>) {
        if self.levels.is_empty() {
            self.levels.push(Vec::new());
        }
        let Some(level) = self.levels.first_mut() else { return };
        let mut changed = Vec::new();
        for (index, leaf) in leaves {
            if put(level, index, leaf) {
                changed.push(index);
            }
        }
        // A tree without leaves has no levels.
        self.levels.retain(|level| !level.is_empty());
        changed.sort_unstable();
        self.update_above(changed);
    }

    /// Drops all leaves from `len` on.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.len() {
            return;
        }
        let mut width = len;
        for level in &mut self.levels {
            level.truncate(width);
            width = width.div_ceil(2);
        }
        let needed = levels_for(len);
        self.levels.truncate(needed);
        if let Some(last) = len.checked_sub(1) {
            self.update_above(vec![last]);
        }
    }

    /// Recomputes the ancestors of the leaves at these places, which ascend.
    fn update_above(&mut self, mut changed: Vec<usize>) {
        let mut height = 0usize;
        while self.levels.get(height).is_some_and(|level| level.len() > 1) {
            changed.iter_mut().for_each(|at| *at >>= 1);
            changed.dedup();
            let above = height.saturating_add(1);
            if self.levels.len() == above {
                self.levels.push(Vec::new());
            }
            let levels = self.levels.get_mut(height..).and_then(<[_]>::split_first_mut);
            let Some((below, [parents, ..])) = levels else { return };
            for at in &changed {
                let Some(hash) = parent(below, *at) else { return };
                put(parents, *at, hash);
            }
            height = above;
        }
    }

    /// The audit path of the leaf at `index`, from the leaf up; `None` beyond the last leaf.
    pub fn path(&self, index: usize) -> Option<Vec<Hash32>> {
        if index >= self.len() {
            return None;
        }
        let mut at = index;
        let mut path = Vec::new();
        for level in &self.levels {
            if let Some(sibling) = level.get(at ^ 1) {
                path.push(*sibling);
            }
            at >>= 1;
        }
        Some(path)
    }

    /// The audit path of the leaf at `index` in the tree that the first `size` leaves made; `None` beyond the last of them.
    pub fn path_among_first(&self, index: usize, size: usize) -> Option<Vec<Hash32>> {
        if index >= size || size > self.len() {
            return None;
        }
        let (mut at, mut width) = (index, size);
        let mut path = Vec::new();
        for height in 0..levels_for(size) {
            let sibling = at ^ 1;
            if sibling < width {
                path.push(self.node_among_first(height, sibling, size)?);
            }
            (at, width) = (at >> 1, width.div_ceil(2));
        }
        Some(path)
    }

    /// A node of the tree over the first `size` leaves: the one kept if all below it existed then, else made anew from below.
    fn node_among_first(&self, height: usize, at: usize, size: usize) -> Option<Hash32> {
        let first_beyond = at.checked_add(1)?.checked_shl(u32::try_from(height).ok()?)?;
        if first_beyond <= size {
            return self.levels.get(height)?.get(at).copied();
        }
        let (below, left) = (height.checked_sub(1)?, at.checked_mul(2)?);
        let left_hash = self.node_among_first(below, left, size)?;
        let right = left.checked_add(1)?;
        if right.checked_shl(u32::try_from(below).ok()?)? >= size {
            return Some(left_hash);
        }
        Some(node_hash(&left_hash, &self.node_among_first(below, right, size)?))
    }

    /// The nodes that somebody who holds the leaves at `indices` (ascending) lacks to compute the root; see
    /// [`multi_root`].
    pub fn multi_path(&self, indices: &[usize]) -> Vec<Hash32> {
        let mut known = indices.to_vec();
        let mut missing = Vec::new();
        for level in &self.levels {
            missing.extend(
                known
                    .iter()
                    .filter(|at| known.binary_search(&(**at ^ 1)).is_err())
                    .filter_map(|at| level.get(at ^ 1)),
            );
            known.iter_mut().for_each(|at| *at >>= 1);
            known.dedup();
        }
        missing
    }
}

/// Replaces a node or appends one; gives whether there was a place for it.
fn put(level: &mut Vec<Hash32>, index: usize, hash: Hash32) -> bool {
    let len = level.len();
    match level.get_mut(index) {
        Some(slot) => *slot = hash,
        None if index == len => level.push(hash),
        None => return false,
    }
    true
}

/// The node at `at` of the level above; one without a right half moves up unchanged.
fn parent(below: &[Hash32], at: usize) -> Option<Hash32> {
    let left = at.checked_mul(2)?;
    let left_hash = below.get(left)?;
    Some(below.get(left.checked_add(1)?).map_or(*left_hash, |right| node_hash(left_hash, right)))
}

/// Number of levels of a tree with `len` leaves.
fn levels_for(len: usize) -> usize {
    match len {
        0 => 0,
        _ => (usize::BITS.saturating_sub(len.saturating_sub(1).leading_zeros()) as usize).saturating_add(1),
    }
}

/// The root that a leaf hash at `index` of `size` leaves has under `path`; `None` if the path has another shape.
pub fn path_root(leaf: Hash32, index: u64, size: u64, path: &[Hash32]) -> Option<Hash32> {
    multi_root(&[(index, leaf)], size, path)
}

/// The root over leaf hashes at ascending indices of `size` leaves, with the missing nodes level by level from below.
/// `None` if the indices are not ascending and below `size`, or if nodes are missing or left over.
pub fn multi_root(leaves: &[(u64, Hash32)], size: u64, missing: &[Hash32]) -> Option<Hash32> {
    if leaves.is_empty() || !leaves.is_sorted_by(|a, b| a.0 < b.0) || leaves.last()?.0 >= size {
        return None;
    }
    let mut known = leaves.to_vec();
    let mut missing = missing.iter().copied();
    let mut width = size;
    while width > 1 {
        let mut above = Vec::with_capacity(known.len());
        let mut nodes = known.into_iter().peekable();
        while let Some((at, hash)) = nodes.next() {
            let right_of_it = at.checked_add(1)?;
            let parent = if at & 1 == 1 {
                node_hash(&missing.next()?, &hash)
            } else if right_of_it == width {
                hash
            } else if let Some((_, right)) = nodes.next_if(|(next, _)| *next == right_of_it) {
                node_hash(&hash, &right)
            } else {
                node_hash(&hash, &missing.next()?)
            };
            above.push((at >> 1, parent));
        }
        known = above;
        width = width.div_ceil(2);
    }
    let root = known.first().map(|(_, hash)| *hash);
    if missing.next().is_some() { None } else { root }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// RFC 6962 section 2.1, word for word.
    fn naive(leaves: &[Hash32]) -> Hash32 {
        match leaves {
            [] => empty_root(),
            [leaf] => *leaf,
            _ => {
                let split = leaves.len().next_power_of_two() / 2;
                node_hash(&naive(&leaves[..split]), &naive(&leaves[split..]))
            }
        }
    }

    fn leaves(n: usize) -> Vec<Hash32> {
        (0..n).map(|i| leaf_hash(&i.to_be_bytes())).collect()
    }

    #[test]
    fn the_accumulator_is_the_tree_of_rfc_6962() {
        for n in 0..70 {
            let (tree, all) = (Tree::from_leaves(leaves(n)), leaves(n));
            assert_eq!((tree.root(), tree.len(), tree.is_empty()), (naive(&all), n, n == 0));
            assert!((0..n).all(|at| tree.leaf(at as u64) == Some(all[at])) && tree.leaf(n as u64).is_none());
        }
    }

    #[test]
    fn leaves_that_do_not_ascend_below_the_size_have_no_root() {
        let [a, b] = leaves(2)[..] else { unreachable!() };
        let root = node_hash(&a, &b);
        assert_eq!(multi_root(&[(0, a), (1, b)], 2, &[]), Some(root));
        assert_eq!(multi_root(&[(1, b), (0, a)], 2, &[a, b]), None);
        assert_eq!(multi_root(&[(0, a), (0, a)], 2, &[b, b]), None);
        assert_eq!(multi_root(&[(0, a), (0, a)], 1, &[]), None);
        assert_eq!(multi_root(&[(0, a), (2, b)], 2, &[b, a]), None);
        assert_eq!(multi_root(&[], 2, &[a, b]), None);
    }

    #[test]
    fn a_grown_tree_still_gives_the_paths_of_every_earlier_one() {
        let grown = Tree::from_leaves(leaves(37));
        for size in 1..=37 {
            let then = Tree::from_leaves(leaves(size));
            for index in 0..size {
                assert_eq!(grown.path_among_first(index, size), then.path(index), "leaf {index} of {size}");
            }
            assert_eq!(grown.path_among_first(size, size), None);
        }
        assert_eq!(grown.path_among_first(0, 38), None);
    }

    #[test]
    fn every_leaf_has_a_path_and_no_other_place() {
        for n in 1..40u64 {
            let tree = Tree::from_leaves(leaves(n as usize));
            for i in 0..n {
                let path = tree.path(i as usize).unwrap();
                let leaf = leaves(n as usize)[i as usize];
                assert_eq!(path_root(leaf, i, n, &path), Some(tree.root()));
                for other in (0..n).filter(|other| *other != i) {
                    assert_ne!(path_root(leaf, other, n, &path), Some(tree.root()));
                }
                assert_eq!(path_root(leaf, n, n, &path), None);
            }
        }
    }

    proptest! {
        #[test]
        fn replacing_and_truncating_equal_building_anew(
            n in 1usize..80, cut in 0usize..80, at in 0usize..80, many in prop::collection::vec(0usize..90, 0..20),
        ) {
            let mut all = leaves(n);
            let mut tree = Tree::from_leaves(all.clone());
            all.truncate(cut);
            tree.truncate(cut);
            if let Some(slot) = all.get_mut(at) {
                *slot = Hash32([7; 32]);
                tree.put_all([(at, Hash32([7; 32]))]);
            }
            prop_assert_eq!(&tree, &Tree::from_leaves(all.clone()));
            all.push(Hash32([9; 32]));
            tree.push(Hash32([9; 32]));
            prop_assert_eq!(tree.root(), naive(&all));
            // Many at once, in any order, some beyond the last one.
            let changes = many.iter().zip(1u64..).map(|(at, number)| (*at, leaf_hash(&number.to_le_bytes())));
            for (at, leaf) in changes.clone() {
                if at == all.len() {
                    all.push(leaf);
                } else if let Some(slot) = all.get_mut(at) {
                    *slot = leaf;
                }
            }
            tree.put_all(changes);
            prop_assert_eq!(&tree, &Tree::from_leaves(all.clone()));
            prop_assert_eq!(tree.root(), naive(&all));
        }

        #[test]
        fn a_multi_proof_shows_its_leaves_and_nothing_else(n in 1usize..80, picks in prop::collection::btree_set(0usize..80, 1..20)) {
            let picks: Vec<usize> = picks.into_iter().filter(|i| *i < n).collect();
            prop_assume!(!picks.is_empty());
            let all = leaves(n);
            let tree = Tree::from_leaves(all.clone());
            let missing = tree.multi_path(&picks);
            let shown: Vec<_> = picks.iter().map(|i| (*i as u64, all[*i])).collect();
            prop_assert_eq!(multi_root(&shown, n as u64, &missing), Some(tree.root()));
            let mut forged = shown.clone();
            forged[0].1 = Hash32([7; 32]);
            prop_assert_ne!(multi_root(&forged, n as u64, &missing), Some(tree.root()));
            let extra: Vec<_> = missing.iter().copied().chain([Hash32::ZERO]).collect();
            prop_assert_eq!(multi_root(&shown, n as u64, &extra), None);
        }
    }
}
