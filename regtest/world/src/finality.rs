//! Finality in a world: nonces, votes, certificates, checkpoints and anchors of named providers.

use crate::{World, bls_secret, pair, provider_key, schnorr, secret};
use palisade_protocol::anchor::Anchor;
use palisade_protocol::checkpoint::{self, CheckpointShare};
use palisade_protocol::context::{ChainId, Terms};
use palisade_protocol::curve::KeyPair;
use palisade_protocol::eots::{self, SecretNonce};
use palisade_protocol::finality::certificate::Certificate;
use palisade_protocol::finality::commitment::{self, Commitment, nonce_tree};
use palisade_protocol::finality::evidence::{Evidence, LeakedKey};
use palisade_protocol::finality::vote::{Ballot, Vote};
use palisade_protocol::hash::{Hash32, sha256};
use palisade_protocol::message::Message;
use palisade_protocol::nonce::{self, NonceSeed};
use palisade_protocol::tree::Tree;
use palisade_protocol::units::{Epoch, Height};

/// Evidence that a named provider's key is out: the key of the same name, or a wrong one.
pub fn leaked_key(name: &str, of: &str) -> Message {
    Message::Evidence(Evidence::Key(LeakedKey { key: provider_key(name), secret: secret(of).secret_bytes() }))
}

impl World {
    /// A named provider's key gets out.
    pub fn leak(&mut self, name: &str) {
        self.send(&leaked_key(name, name)).expect("a key that was not out");
    }

    /// The nonces of a named provider for an epoch of a chain.
    pub fn nonces(&self, chain: &ChainId, name: &str, epoch: Epoch) -> (Vec<SecretNonce>, Tree) {
        let chain = self.ledger.chain(chain).expect("a registered chain");
        let (first, terms) = (chain.terms.first_height(epoch), chain.terms);
        let seed = NonceSeed::from_bytes(sha256(&[b"seed", name.as_bytes()]).0);
        let nonces: Vec<_> = (0..terms.voted_heights())
            .map(|i| nonce::derive(&pair(name), &seed, &chain.vote, first.plus(i * terms.voted_every)))
            .collect();
        let tree = nonce_tree(nonces.iter().map(SecretNonce::public));
        (nonces, tree)
    }

    /// The commitment of a named provider to an epoch of a chain.
    pub fn commitment(&self, chain: &ChainId, name: &str, epoch: Epoch) -> Message {
        let root = self.nonces(chain, name, epoch).1.root();
        let context = self.ledger.chain(chain).expect("a registered chain").commitment;
        let signature = schnorr(name, &commitment::message(&context, epoch, &root));
        Message::Commitment(Commitment { key: provider_key(name), epoch, root, signature })
    }

    /// Commits for a range of epochs.
    pub fn commit(&mut self, chain: &ChainId, name: &str, epochs: std::ops::Range<u64>) {
        for epoch in epochs {
            let commitment = self.commitment(chain, name, Epoch(epoch));
            self.send(&commitment).expect("a good commitment");
        }
    }

    /// The certificate of a block by the votes of these providers.
    pub fn certificate(&self, chain: &ChainId, names: &[&str], height: Height, block: Hash32) -> Message {
        let own = self.ledger.chain(chain).expect("a registered chain");
        let votes: Vec<Vote> = names.iter().map(|name| self.vote(chain, name, height, block)).collect();
        let ballot = Ballot { context: own.vote, height, block };
        let set = &own.sets[&own.terms.epoch_of(height)].set;
        Message::Certificate(Box::new(Certificate::assemble(ballot, set, &votes)))
    }

    /// Closes blocks up to a height of chain zero; each voted one of an epoch with a set is certified in the block after it.
    pub fn finalise_until(&mut self, names: &[&str], height: u64) {
        while self.ledger.next_height() < Height(height) {
            let (header, _) = self.close();
            let zero = &self.ledger.chains()[0];
            let has_set = zero.sets.contains_key(&zero.terms.epoch_of(header.height));
            if has_set && zero.terms.is_voted(header.height) {
                let certificate = self.certificate(&ChainId::zero(), names, header.height, header.hash());
                self.send(&certificate).expect("a good certificate");
            }
        }
    }

    /// A named provider's share of a header's checkpoint.
    pub fn share(&self, name: &str, epoch: Epoch, header: Hash32) -> CheckpointShare {
        let message = checkpoint::message(&self.ledger.chains()[0].checkpoint, epoch, &header);
        let signature = bls_secret(name).sign(&message);
        CheckpointShare { epoch, header, key: provider_key(name), signature }
    }

    /// The anchor of a header as the end of an epoch, signed by these providers.
    pub fn anchor(&self, names: &[&str], epoch: Epoch, header: Hash32) -> Anchor {
        let set = &self.ledger.chains()[0].sets[&epoch].set;
        let shares: Vec<_> = names.iter().map(|name| self.share(name, epoch, header)).collect();
        Anchor::assemble(set, header, &shares).expect("somebody signs")
    }

    /// The vote of a named provider, honest or not.
    pub fn vote(&self, chain: &ChainId, name: &str, height: Height, block: Hash32) -> Vote {
        let own = self.ledger.chain(chain).expect("a registered chain");
        let (mut nonces, tree) = self.nonces(chain, name, own.terms.epoch_of(height));
        let index = usize::try_from(own.terms.nonce_index(height).expect("a voted height")).expect("few");
        let ballot = Ballot { context: own.vote, height, block };
        let secret = nonces.swap_remove(index);
        let nonce = secret.public();
        let signature = eots::sign(&pair(name), secret, &ballot.message());
        let path = tree.path(index).expect("a leaf");
        Vote { ballot, key: provider_key(name), nonce, signature, path }
    }
}

/// A vote as a signer with this seed makes it.
pub fn vote_by_seed(pair: &KeyPair, seed: [u8; 32], terms: &Terms, ballot: Ballot) -> Vote {
    let seed = NonceSeed::from_bytes(seed);
    let nonce = |height| nonce::derive(pair, &seed, &ballot.context, height);
    let first = terms.first_height(terms.epoch_of(ballot.height));
    let heights = (0..terms.voted_heights()).map(|index| first.plus(index * terms.voted_every));
    let tree = nonce_tree(heights.map(|height| nonce(height).public()));
    let index = usize::try_from(terms.nonce_index(ballot.height).expect("a voted height")).expect("few");
    let secret = nonce(ballot.height);
    let public = secret.public();
    let signature = eots::sign(pair, secret, &ballot.message());
    let path = tree.path(index).expect("a leaf");
    Vote { ballot, key: pair.public().into(), nonce: public, signature, path }
}
