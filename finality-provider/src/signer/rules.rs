//! What the signer decides, apart from keys, files and sockets. Pure.
//!
//! Signer and record carry it out; the model (src/model.rs) tries it in every order of requests, crashes and restores.

use super::Refused;
use super::record::Claim;
use palisade_protocol::context::{Context, Terms};
use palisade_protocol::curve::KeyPair;
use palisade_protocol::finality::commitment::nonce_tree;
use palisade_protocol::hash::Hash32;
use palisade_protocol::nonce::{self, NonceSeed};
use palisade_protocol::tree::Tree;
use palisade_protocol::units::Epoch;

/// What a claim comes to where `known` was claimed before.
pub(crate) fn claim(known: Option<Hash32>, asked: Hash32) -> Claim {
    match known {
        None => Claim::Fresh,
        Some(known) if known == asked => Claim::Repeat,
        Some(known) => Claim::Taken(known),
    }
}

/// A record votes only under roots that it has committed to itself. `own` is its root for the epoch.
pub(crate) fn check_root(epoch: Epoch, own: Option<Hash32>, set: Hash32) -> Result<Hash32, Refused> {
    match own {
        None => Err(Refused::NotCommitted(epoch)),
        Some(own) if own != set => Err(Refused::OtherRoot { epoch, set, own }),
        Some(own) => Ok(own),
    }
}

/// The tree over an epoch's nonces; it follows from key, seed and context, so it is computed and never stored. The caller has
/// checked that the epoch has heights.
pub(crate) fn epoch_tree(
    pair: &KeyPair,
    seed: &NonceSeed,
    context: &Context,
    terms: &Terms,
    epoch: Epoch,
) -> Tree {
    let first = terms.first_height(epoch);
    nonce_tree((0..terms.voted_heights()).map(|index| {
        let height = first.plus(index * terms.voted_every);
        nonce::derive(pair, seed, context, height).public()
    }))
}
