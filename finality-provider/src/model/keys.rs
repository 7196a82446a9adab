//! The operator's key and what follows from it: roots and nonces as the production code derives them, once for all states.

use super::{LAST, SEEDS};
use crate::signer::record::name;
use crate::signer::rules::epoch_tree;
use palisade_protocol::context::Terms;
use palisade_protocol::eots::PublicNonce;
use palisade_protocol::finality::commitment::is_committed;
use palisade_protocol::finality::set::Member;
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::nonce::{self, NonceSeed};
use palisade_protocol::units::{Epoch, Height};
use palisade_world::pair;
use std::collections::BTreeSet;

/// Which seed, in the order in which they were drawn.
pub(super) type Seed = u8;

/// One height an epoch, and all of them voted on.
const TERMS: Terms = Terms { epoch_length: 1, voted_every: 1, minimum_power_sat: 1 };

/// What one seed makes.
struct Derived {
    name: Hash32,
    /// By height, which is the epoch.
    nonces: Vec<(PublicNonce, Hash32, Vec<Hash32>)>,
}

/// A key for a chain.
pub(super) struct Keys {
    key: ProviderKey,
    seeds: Vec<Derived>,
}

impl Keys {
    pub(super) fn new() -> Self {
        let pair = pair("anna");
        let context = Hash32([3; 32]);
        let derive = |seed: u8| {
            let seed = NonceSeed::from_bytes([seed + 1; 32]);
            let at = |height: u8| {
                let tree = epoch_tree(&pair, &seed, &context, &TERMS, Epoch(height.into()));
                let public = nonce::derive(&pair, &seed, &context, Height(height.into())).public();
                (public, tree.root(), tree.path(0).unwrap())
            };
            Derived { name: name(&seed), nonces: (0..=LAST).map(at).collect() }
        };
        let keys = Self { key: pair.public().into(), seeds: (0..SEEDS).map(derive).collect() };
        keys.check_that_all_differ();
        keys
    }

    /// Seeds and heights stand for nonces in the model's states, so that no two of them may make one nonce.
    fn check_that_all_differ(&self) {
        let all = self.seeds.iter().flat_map(|seed| &seed.nonces);
        let nonces: BTreeSet<_> = all.clone().map(|(nonce, ..)| nonce.to_bytes()).collect();
        let roots: BTreeSet<_> = all.map(|(_, root, _)| root).collect();
        let wanted = usize::from(SEEDS) * (usize::from(LAST) + 1);
        assert_eq!((nonces.len(), roots.len()), (wanted, wanted));
    }

    /// The name of a seed's record.
    pub(super) fn name(&self, seed: Seed) -> Hash32 {
        self.seeds[usize::from(seed)].name
    }

    pub(super) fn root(&self, seed: Seed, epoch: u8) -> Hash32 {
        self.seeds[usize::from(seed)].nonces[usize::from(epoch)].1
    }

    /// Whether the nonce of a seed is the one that a root fixes: the last look at a signature before it leaves.
    pub(super) fn is_committed(&self, seed: Seed, height: u8, root: &Hash32) -> bool {
        let (nonce, _, path) = &self.seeds[usize::from(seed)].nonces[usize::from(height)];
        is_committed(root, &TERMS, Height(height.into()), nonce, path)
    }

    pub(super) fn member(&self, nonce_root: Hash32) -> Member {
        Member { key: self.key, power: bitcoin::Amount::ONE_SAT, bls_hash: Hash32::ZERO, nonce_root }
    }

    pub(super) fn key(&self) -> ProviderKey {
        self.key
    }
}
