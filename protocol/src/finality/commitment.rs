//! Commitments: a provider fixes the nonces of an epoch before it can know what it will vote on.
//! Source: docs/protocol.md, section 7.1.

use crate::codec::Wire as _;
use crate::context::{Context, Terms};
use crate::eots::PublicNonce;
use crate::hash::{Hash32, tagged};
use crate::keys::{BadSignature, ProviderKey};
use crate::tree::{Tree, leaf_hash, path_root};
use crate::units::{Epoch, Height};
use bitcoin::secp256k1::schnorr::Signature;

/// One root for one epoch, signed by the provider.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Commitment {
    /// Whose nonces.
    pub key: ProviderKey,
    /// For which epoch of the key's chain.
    pub epoch: Epoch,
    /// Root of the tree over R.x of the epoch's voted heights.
    pub root: Hash32,
    /// BIP-340 over [`message`].
    pub signature: Signature,
}

crate::wire!(Commitment { key, epoch, root, signature });

/// What a commitment signs; `context` is the chain's commitment context.
pub fn message(context: &Context, epoch: Epoch, root: &Hash32) -> [u8; 32] {
    tagged("palisade/1/commitment", &[&context.0, &epoch.to_bytes(), &root.0]).0
}

impl Commitment {
    /// Whether the provider signed it.
    pub fn verify(&self, context: &Context) -> Result<(), BadSignature> {
        self.key.verify(&message(context, self.epoch, &self.root), &self.signature)
    }
}

/// The tree over an epoch's nonces, in order of height.
pub fn nonce_tree(nonces: impl IntoIterator<Item = PublicNonce>) -> Tree {
    Tree::from_leaves(nonces.into_iter().map(|nonce| leaf_hash(&nonce.to_bytes())))
}

/// Whether a nonce is the one that `root` fixes for a height.
pub fn is_committed(
    root: &Hash32,
    terms: &Terms,
    height: Height,
    nonce: &PublicNonce,
    path: &[Hash32],
) -> bool {
    let leaf = leaf_hash(&nonce.to_bytes());
    terms
        .nonce_index(height)
        .and_then(|index| path_root(leaf, index, terms.voted_heights(), path))
        .is_some_and(|found| found == *root)
}
