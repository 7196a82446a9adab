//! The state root: one hash over everything the ledger holds, made so that any part can be proven shortly.
//!
//! A fixed list of sections, each a tree of its own in order of registration (docs/protocol.md, section 8.2).

use crate::hash::Hash32;
use crate::tree::{Tree, leaf_hash};

/// The sections, in the order of their leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(usize)]
pub enum Section {
    /// Versions of the parameters.
    Params = 0,
    /// Best chain of Bitcoin.
    Bitcoin = 1,
    /// Finality providers.
    Providers = 2,
    /// Stakes.
    Stakes = 3,
    /// Chains and the breaker.
    Chains = 4,
    /// Sets, as they were fixed.
    Sets = 5,
    /// Recorded certificates.
    Certificates = 6,
    /// Headers of earlier hub blocks.
    Headers = 7,
    /// Checkpoints on Bitcoin.
    Anchors = 8,
}

/// Number of sections.
pub const SECTIONS: usize = 9;

/// All sections.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StateTree {
    sections: [Tree; SECTIONS],
}

impl StateTree {
    /// A section's tree.
    #[allow(clippy::indexing_slicing, reason = "Section has exactly SECTIONS values, counted from 0")]
    pub fn section(&self, section: Section) -> &Tree {
        &self.sections[section as usize]
    }

    /// A section's tree, to be changed.
    #[allow(clippy::indexing_slicing, reason = "Section has exactly SECTIONS values, counted from 0")]
    pub fn section_mut(&mut self, section: Section) -> &mut Tree {
        &mut self.sections[section as usize]
    }

    /// Appends a leaf or replaces the one in its place.
    pub fn put(&mut self, section: Section, index: usize, data: &[u8]) {
        self.section_mut(section).put_all([(index, leaf_hash(data))]);
    }

    /// The same for many leaves of a section.
    pub fn put_all(&mut self, section: Section, leaves: impl IntoIterator<Item = (usize, Vec<u8>)>) {
        let leaves = leaves.into_iter().map(|(index, data)| (index, leaf_hash(&data)));
        self.section_mut(section).put_all(leaves);
    }

    /// The state root.
    pub fn root(&self) -> Hash32 {
        self.top().root()
    }

    /// Roots of all sections, in the order of their leaves.
    pub fn section_roots(&self) -> [Hash32; SECTIONS] {
        self.sections.each_ref().map(Tree::root)
    }

    fn top(&self) -> Tree {
        top(&self.section_roots())
    }
}

/// The state root over the roots of all sections.
pub fn root_of_sections(sections: &[Hash32; SECTIONS]) -> Hash32 {
    top(sections).root()
}

fn top(sections: &[Hash32; SECTIONS]) -> Tree {
    Tree::from_leaves(sections.iter().map(|section| leaf_hash(&section.0)))
}
