//! What can be asked of the signer, and what it answers. Canonical bytes, one request and one answer at a time.
//!
//! A context is never among what is asked: the signer derives it. A caller names chains, epochs, heights and hashes.

use palisade_protocol::bls::BlsPublicKey;
use palisade_protocol::checkpoint::CheckpointShare;
use palisade_protocol::context::{ChainId, Context};
use palisade_protocol::finality::commitment::Commitment;
use palisade_protocol::finality::vote::Vote;
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::provider::BlsRegistration;
use palisade_protocol::units::{Epoch, Height};

use bitcoin::OutPoint;
use bitcoin::secp256k1::schnorr::Signature;

/// Number of this protocol; both sides must have the same.
pub const VERSION: u16 = 1;

/// Everything that the signer does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// Its keys, for a caller that speaks this version.
    Identity(u16),
    /// Sign the registration of a chain's key.
    Register(RegisterRequest),
    /// Commit to an epoch's nonces.
    Commit(CommitRequest),
    /// Vote.
    Vote(VoteRequest),
    /// Sign an epoch's checkpoint.
    Checkpoint(CheckpointRequest),
}

palisade_protocol::wire_enum!(Request {
    1 => Identity,
    2 => Register,
    3 => Commit,
    4 => Vote,
    5 => Checkpoint,
});

/// Sign a registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RegisterRequest {
    /// Of the key for this chain.
    pub chain: ChainId,
    /// Who runs it.
    pub operator: String,
    /// The output behind it.
    pub backing: OutPoint,
}

palisade_protocol::wire!(RegisterRequest { chain, operator, backing });

/// Commit to the nonces of an epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitRequest {
    /// Of which chain.
    pub chain: ChainId,
    /// Which epoch.
    pub epoch: Epoch,
}

palisade_protocol::wire!(CommitRequest { chain, epoch });

/// Vote for a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VoteRequest {
    /// On which chain.
    pub chain: ChainId,
    /// The block's height.
    pub height: Height,
    /// The block's hash.
    pub block: Hash32,
    /// The root that the set names for this key in the height's epoch.
    pub root: Hash32,
}

palisade_protocol::wire!(VoteRequest { chain, height, block, root });

/// Sign a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CheckpointRequest {
    /// Epoch of chain zero.
    pub epoch: Epoch,
    /// Hash of the header at its last voted height.
    pub header: Hash32,
}

palisade_protocol::wire!(CheckpointRequest { epoch, header });

/// What the signer says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// Its keys.
    Identity(Identity),
    /// A signed registration.
    Registered(Registered),
    /// A commitment.
    Commitment(Commitment),
    /// A vote.
    Vote(Vote),
    /// A checkpoint's share.
    Checkpoint(CheckpointShare),
    /// No.
    Refused(Refusal),
}

palisade_protocol::wire_enum!(Answer {
    1 => Identity,
    2 => Registered,
    3 => Commitment,
    4 => Vote,
    5 => Checkpoint,
    6 => Refused,
});

/// Who the signer is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The hub that its contexts belong to.
    pub hub: Hash32,
    /// Names its record: with another record come other nonces.
    pub record: Hash32,
    /// Its BLS key.
    pub bls: BlsPublicKey,
    /// Its key for each chain.
    pub chains: Vec<ChainKey>,
}

palisade_protocol::wire!(Identity { hub, record, bls, chains });

/// A key for a chain, and what was last signed with it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChainKey {
    /// The chain.
    pub chain: ChainId,
    /// The key.
    pub key: ProviderKey,
    /// Context of its votes.
    pub vote: Context,
    /// Heights in an epoch.
    pub epoch_length: u64,
    /// Heights divisible by this are voted on.
    pub voted_every: u64,
    /// The highest vote in the record.
    pub last: Option<LastVote>,
}

palisade_protocol::wire!(ChainKey { chain, key, vote, epoch_length, voted_every, last });

/// A vote of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LastVote {
    /// Its height.
    pub height: Height,
    /// Its block.
    pub block: Hash32,
}

palisade_protocol::wire!(LastVote { height, block });

/// What a registration needs from the signer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registered {
    /// The key.
    pub key: ProviderKey,
    /// For chain zero, the BLS key and its proof of possession.
    pub bls: Option<BlsRegistration>,
    /// By the key, over the registration.
    pub signature: Signature,
}

palisade_protocol::wire!(Registered { key, bls, signature });

/// Why the signer does not sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// The rule, for programs.
    pub rule: String,
    /// For people.
    pub message: String,
}

palisade_protocol::wire!(Refusal { rule, message });
