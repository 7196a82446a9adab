//! Proofs that a block of a chain is final and under Bitcoin's proof of work, checked from files alone.
//!
//! A verifier starts from one [`TrustRoot`] and a file of Bitcoin headers. A [`FinalityProof`] leads it from chain zero's
//! first set to the next and the next, each shown by the certified first block of an epoch; to the set of the chain asked
//! about, in one of those blocks; to the certificate of the block; and to a checkpoint on Bitcoin, under which that certificate
//! stands in the hub's log. Nothing else is believed: not the hub, not the maker of the proof.
//!
//! Not here: whether the headers are those of the chain with most work that there is. Their work is checked, and the verifier
//! says how deep the checkpoint lies; whoever hides newer headers from a verifier can only make less look final.
//! Source: docs/protocol.md, section 9.4.

mod verify;

pub use verify::{BadBlock, BadCheckpoint, BadStep, Proven, Refused};

use crate::block::HubHeader;
use crate::bls::BlsPublicKey;
use crate::codec::{DecodeError, Reader, Wire};
use crate::context::{ChainId, ChainIdentity, Terms};
use crate::finality::certificate::Certificate;
use crate::finality::set::{Member, SetHeader};
use crate::genesis::{Genesis, GenesisDocument};
use crate::hash::Hash32;
use crate::inclusion::InclusionProof;
use crate::keys::ProviderKey;
use crate::message::Message;
use crate::state::{SECTIONS, Section, root_of_sections};
use crate::tree::{leaf_hash, node_hash};
use crate::units::BtcHeight;
use bitcoin::Amount;
use bitcoin::block::Header;

/// Longest proof that is read, in bytes.
pub const MAX_PROOF: usize = 64 << 20;

/// Where a verifier starts: what it must have learnt from somebody whom it trusts, once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustRoot {
    /// The hub.
    pub hub: Hash32,
    /// How often its chain zero has begun anew: 0 for the root that a hub opens with. Any other was decided by governance, and is
    /// to be accepted only after that was looked at.
    pub incarnation: u32,
    /// The first set of its chain zero in that incarnation.
    pub set: SetHeader,
    /// Bitcoin's tip when that set was fixed.
    pub btc_header: Header,
    /// Its height.
    pub btc_height: BtcHeight,
}

crate::wire!(TrustRoot { hub, incarnation, set, btc_header, btc_height });

impl TrustRoot {
    /// Chain zero as the root's sets sign for it.
    fn identity(&self, genesis: &Genesis) -> ChainIdentity {
        ChainIdentity { incarnation: self.incarnation, ..genesis.zero() }
    }
}

/// A hub block and the state after it, by the roots of the state's sections.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProvenState {
    /// The block's header.
    pub header: HubHeader,
    /// Roots of all sections after the block.
    pub sections: [Hash32; SECTIONS],
}

crate::wire!(ProvenState { header, sections });

impl ProvenState {
    /// Whether the sections are those that the header commits to.
    pub fn holds(&self) -> bool {
        root_of_sections(&self.sections) == self.header.state_root
    }

    /// Whether a section has this leaf.
    #[allow(clippy::indexing_slicing, reason = "Section has exactly SECTIONS values, counted from 0")]
    pub fn has(&self, section: Section, data: &[u8], place: &LeafPath) -> bool {
        place.root(leaf_hash(data)) == self.sections[section as usize]
    }
}

impl Wire for [Hash32; SECTIONS] {
    fn encode(&self, out: &mut Vec<u8>) {
        self.iter().for_each(|root| root.encode(out));
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let mut roots = [Hash32::ZERO; SECTIONS];
        for root in &mut roots {
            *root = Hash32::decode(reader)?;
        }
        Ok(roots)
    }
}

/// A leaf's way up to its section's root. It says on which side each sibling stands, and not at which place of how many the
/// leaf is: the root commits to neither, and whatever must be known of a place stands in the leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeafPath(Vec<Sibling>);

/// A node beside the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Sibling {
    on_the_left: bool,
    hash: Hash32,
}

crate::wire!(Sibling { on_the_left, hash });

impl LeafPath {
    /// The way of the leaf at `index` of `size`, whose siblings from the leaf up are given; `None` if they do not fit.
    pub fn new(index: u64, size: u64, siblings: &[Hash32]) -> Option<Self> {
        let (mut at, mut width) = (index, size);
        let mut rest = siblings.iter();
        let mut way = Vec::new();
        while width > 1 {
            let on_the_left = at & 1 == 1;
            if on_the_left || at.saturating_add(1) < width {
                way.push(Sibling { on_the_left, hash: *rest.next()? });
            }
            (at, width) = (at >> 1, width.div_ceil(2));
        }
        (index < size && rest.next().is_none()).then_some(Self(way))
    }

    fn root(&self, leaf: Hash32) -> Hash32 {
        self.0.iter().fold(leaf, |hash, sibling| match sibling.on_the_left {
            true => node_hash(&sibling.hash, &hash),
            false => node_hash(&hash, &sibling.hash),
        })
    }
}

impl Wire for LeafPath {
    fn encode(&self, out: &mut Vec<u8>) {
        self.0.encode(out);
    }

    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Wire::decode(reader).map(Self)
    }
}

/// From one set of chain zero to the next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    /// The first block of the epoch, and the state after it.
    pub state: ProvenState,
    /// That the block is final, by the epoch's set.
    pub certificate: Certificate,
    /// The next epoch's set.
    pub next: SetHeader,
    /// Its place among the sets of that state.
    pub place: LeafPath,
    /// The checkpoint under which the certificate lies; needed once the set has expired.
    pub under: Option<Under>,
}

crate::wire!(Step { state, certificate, next, place, under });

/// The way of a certificate, as a message of the hub's log, to one of the proof's checkpoints.
///
/// It must be the certificate with its signatures, and not only the block that it certifies: whoever gets hold of an expired
/// set's keys can sign for a block of its own making that it had anchored long before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Under {
    /// Which checkpoint.
    pub checkpoint: u16,
    /// The hub block whose messages the certificate is one of.
    pub header: HubHeader,
    /// Where among that block's messages.
    pub message: LeafPath,
    /// Where that block is among the headers of the checkpoint's state; nothing if it is the very block that the anchor names.
    pub among_headers: Option<LeafPath>,
}

crate::wire!(Under { checkpoint, header, message, among_headers });

impl Under {
    /// Whether the certificate lies under the checkpoint in this way.
    fn leads(&self, certificate: &Certificate, checkpoint: &Checkpoint) -> bool {
        let id = Message::Certificate(Box::new(certificate.clone())).id();
        let hash = self.header.hash();
        let is_there = match &self.among_headers {
            Some(place) => checkpoint.state.has(Section::Headers, &hash.0, place),
            None => self.header == checkpoint.state.header,
        };
        is_there && self.message.root(leaf_hash(&id.0)) == self.header.message_root
    }
}

/// An anchor with a quorum of its set, in its Bitcoin block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The transaction that carries the anchor.
    pub inclusion: InclusionProof,
    /// The hub block that the anchor names, and the state after it.
    pub state: ProvenState,
    /// The members that signed, in the set's order.
    pub signers: Vec<CheckpointSigner>,
    /// Nodes of the set's members tree that their leaves lack.
    pub members_proof: Vec<Hash32>,
}

crate::wire!(Checkpoint { inclusion, state, signers, members_proof });

/// A member that signed a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointSigner {
    /// Its key for votes.
    pub key: ProviderKey,
    /// Its power.
    pub power: Amount,
    /// Its key for checkpoints, which the set names by hash.
    pub bls: BlsPublicKey,
}

crate::wire!(CheckpointSigner { key, power, bls });

impl CheckpointSigner {
    /// The member, but for its nonces, which no checkpoint needs.
    fn member(&self) -> Member {
        Member { key: self.key, power: self.power, bls_hash: self.bls.hash(), nonce_root: Hash32::ZERO }
    }
}

/// A block of another chain: its set, its certificate, and the hub's record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainBlock {
    /// The chain.
    pub chain: ChainId,
    /// Its genesis block.
    pub genesis: Hash32,
    /// Counts its restarts.
    pub incarnation: u32,
    /// Its terms.
    pub terms: Terms,
    /// The step whose state has the chain's set.
    pub step: u16,
    /// Where in that state.
    pub set_place: LeafPath,
    /// The block is final.
    pub certificate: Certificate,
    /// The checkpoint under which that certificate lies.
    pub record: Under,
}

crate::wire!(ChainBlock { chain, genesis, incarnation, terms, step, set_place, certificate, record });

/// All that shows that a block is final and anchored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinalityProof {
    /// The hub's birth certificate; the trust root names its hash.
    pub genesis: GenesisDocument,
    /// Height of the first header in the file of headers; on networks that retarget, ten below a multiple of 2,016.
    pub headers_from: BtcHeight,
    /// From the first set on, one for each epoch.
    pub steps: Vec<Step>,
    /// Checkpoints, as the steps and the block need them.
    pub checkpoints: Vec<Checkpoint>,
    /// The block.
    pub block: ChainBlock,
}

crate::wire!(FinalityProof { genesis, headers_from, steps, checkpoints, block });

impl FinalityProof {
    /// Reads a proof file.
    pub fn parse(bytes: &[u8]) -> Result<Self, DecodeError> {
        let found = bytes.len();
        if found > MAX_PROOF {
            return Err(DecodeError::TooLong { what: "proof", found, max: MAX_PROOF });
        }
        Self::from_bytes(bytes)
    }
}

/// Leaf data of a set in the state's section of sets.
pub fn set_leaf(set: &SetHeader, terms: &Terms) -> Vec<u8> {
    [set.to_bytes(), terms.to_bytes()].concat()
}

/// Leaf data of a final block in the state's section of certificates.
pub fn certificate_leaf(chain: &ChainId, height: crate::units::Height, block: &Hash32) -> Vec<u8> {
    [chain.to_bytes(), height.to_bytes(), block.to_bytes()].concat()
}
