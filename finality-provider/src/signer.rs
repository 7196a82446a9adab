//! The signer: the operator's keys, and the only code that signs with them.
//!
//! Promises, whoever asks, however often and in parallel: one block a key, context and height; one header an epoch;
//! nothing in a context that does not follow from the genesis document and the chains it was configured with; no vote
//! unless the root that the set names is the one that this very record committed to. What is signed is in the record,
//! durably, before the signature exists.
//!
//! Which root the set names, the caller says. One who lies to a signer with a new record gets a second message of a height that the
//! lost record signed, with another nonce: it verifies under no set and gives no key away.
//!
//! Not here: which block deserves a vote. That is the voter's judgement, and the signer does not believe in it.

pub mod client;
pub mod config;
mod frame;
pub mod record;
pub mod request;
pub(crate) mod rules;
pub mod run;
pub mod server;

use crate::keys::random_bytes;
use crate::signer::record::{Claim, Record, RecordError};
use crate::signer::request::{
    ChainKey, CheckpointRequest, CommitRequest, Identity, LastVote, RegisterRequest, Registered, VoteRequest,
};
use palisade_protocol::bls::{BlsPublicKey, BlsSecretKey};
use palisade_protocol::checkpoint::{self, CheckpointShare};
use palisade_protocol::context::{ChainId, ChainIdentity, Context, Purpose, Terms};
use palisade_protocol::curve::{KeyPair, Signature};
use palisade_protocol::eots;
use palisade_protocol::finality::commitment::{self, Commitment, is_committed};
use palisade_protocol::finality::vote::{Ballot, Vote};
use palisade_protocol::genesis::Genesis;
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::nonce::{self, NonceSeed};
use palisade_protocol::provider::{BlsRegistration, MAX_OPERATOR, ProviderRegistration};
use palisade_protocol::tree::Tree;
use palisade_protocol::units::{Epoch, Height};
use rand::rngs::OsRng;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Why the signer does not sign.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// It holds no key for the chain.
    #[error("the signer holds no key for chain {0}")]
    UnknownChain(ChainId),
    /// No votes are given at the height.
    #[error("height {0} is not voted on")]
    NotVoted(Height),
    /// The epoch lies beyond all heights.
    #[error("epoch {0} is beyond all heights")]
    Beyond(Epoch),
    /// This record has committed to no nonces for the epoch.
    #[error("this record has committed to no nonces for epoch {0}")]
    NotCommitted(Epoch),
    /// The set names a root that is not this record's: another record, now lost, committed to it.
    #[error("the set of epoch {epoch} names root {set}, this record committed to {own}")]
    OtherRoot {
        /// The epoch.
        epoch: Epoch,
        /// The root in the set.
        set: Hash32,
        /// The root in the record.
        own: Hash32,
    },
    /// The height is spent on another block.
    #[error("height {height} of chain {chain} was signed for {signed}; {asked} is refused")]
    AlreadyVoted {
        /// The chain.
        chain: ChainId,
        /// The height.
        height: Height,
        /// The block that was signed for.
        signed: Hash32,
        /// The block asked for.
        asked: Hash32,
    },
    /// The epoch's checkpoint is signed for another header.
    #[error("the checkpoint of epoch {epoch} was signed for {signed}; {asked} is refused")]
    AlreadyCheckpointed {
        /// The epoch.
        epoch: Epoch,
        /// The header that was signed.
        signed: Hash32,
        /// The header asked for.
        asked: Hash32,
    },
    /// The operator's name.
    #[error("the operator's name must be 1 to {MAX_OPERATOR} printable ASCII characters")]
    Operator,
    /// Key, seed and record contradict one another. Nothing is signed until somebody has looked.
    #[error("the record does not fit the key: epoch {0} has another root than was recorded")]
    Inconsistent(Epoch),
    /// A signature came out that does not verify: the machine is faulty.
    #[error("the signature made does not verify; it was thrown away")]
    Faulty,
    /// The system gives no randomness.
    #[error("no randomness: {0}")]
    Randomness(#[from] rand::Error),
    /// The record cannot be read or written.
    #[error(transparent)]
    Record(#[from] RecordError),
}

impl Refused {
    /// The rule's name, for programs.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::UnknownChain(_) => "unknown-chain",
            Self::NotVoted(_) => "not-voted",
            Self::Beyond(_) => "beyond",
            Self::NotCommitted(_) => "not-committed",
            Self::OtherRoot { .. } => "other-root",
            Self::AlreadyVoted { .. } => "already-voted",
            Self::AlreadyCheckpointed { .. } => "already-checkpointed",
            Self::Operator => "operator",
            Self::Inconsistent(_) => "inconsistent",
            Self::Faulty => "faulty",
            Self::Randomness(_) => "randomness",
            Self::Record(_) => "record",
        }
    }
}

/// A chain that the signer may sign on, and its key there.
#[derive(Debug)]
pub struct ChainSigner {
    identity: ChainIdentity,
    terms: Terms,
    vote: Context,
    commitment: Context,
    registration: Context,
    pair: KeyPair,
    key: ProviderKey,
}

impl ChainSigner {
    /// The contexts follow from the chain's identity; nobody else says them.
    pub fn new(identity: ChainIdentity, terms: Terms, pair: KeyPair) -> Self {
        Self {
            vote: identity.context(Purpose::Vote),
            commitment: identity.context(Purpose::Commitment),
            registration: identity.context(Purpose::Registration),
            key: pair.public().into(),
            identity,
            terms,
            pair,
        }
    }

    /// Its public key.
    pub fn key(&self) -> ProviderKey {
        self.key
    }

    fn bip340(&self, message: &[u8; 32]) -> Result<Signature, Refused> {
        Ok(self.pair.sign_bip340(message, &*random_bytes(&mut OsRng)?))
    }

    /// Refuses epochs whose heights would not all be different numbers.
    fn check_epoch(&self, epoch: Epoch) -> Result<(), Refused> {
        let end = epoch.0.checked_add(1).and_then(|next| next.checked_mul(self.terms.epoch_length));
        match end {
            Some(end) if i64::try_from(end).is_ok() => Ok(()),
            _ => Err(Refused::Beyond(epoch)),
        }
    }
}

/// Why keys and chains do not make a signer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadSigner {
    /// Two chains have one name.
    #[error("chain {0} is configured twice")]
    ChainTwice(ChainId),
    /// Two chains share a key: votes on one would count against the other.
    #[error("chains {0} and {1} have the same key; each chain needs its own")]
    SharedKey(ChainId, ChainId),
    /// There is no chain zero.
    #[error("there is no key for chain zero")]
    NoZero,
}

/// The keys and the record of one operator.
#[derive(Debug)]
pub struct Signer {
    hub: Hash32,
    chains: Vec<ChainSigner>,
    bls: BlsSecretKey,
    bls_public: BlsPublicKey,
    checkpoint: Context,
    seed: NonceSeed,
    record: Mutex<Record>,
    /// By vote context, the epoch voted in last and its nonces.
    trees: Mutex<BTreeMap<Context, (Epoch, Arc<Tree>)>>,
}

impl Signer {
    /// A signer of these chains, one of which is chain zero.
    pub fn new(
        genesis: &Genesis,
        chains: Vec<ChainSigner>,
        bls: BlsSecretKey,
        record: Record,
    ) -> Result<Self, BadSigner> {
        for (index, chain) in chains.iter().enumerate() {
            let id = &chain.identity.id;
            for other in chains.iter().take(index) {
                if other.identity.id == *id {
                    return Err(BadSigner::ChainTwice(id.clone()));
                }
                if other.key == chain.key {
                    return Err(BadSigner::SharedKey(other.identity.id.clone(), id.clone()));
                }
            }
        }
        let is_zero =
            |own: &ChainIdentity| *own == ChainIdentity { incarnation: own.incarnation, ..genesis.zero() };
        let zero = chains.iter().find(|chain| is_zero(&chain.identity)).ok_or(BadSigner::NoZero)?;
        let checkpoint = zero.identity.context(Purpose::Checkpoint);
        Ok(Self {
            hub: genesis.id(),
            chains,
            bls_public: bls.public_key(),
            bls,
            checkpoint,
            seed: NonceSeed::from_bytes(*record.seed().as_bytes()),
            record: Mutex::new(record),
            trees: Mutex::default(),
        })
    }

    /// The keys, and where the record stands.
    pub fn identity(&self) -> Result<Identity, Refused> {
        let record = self.record();
        let mut chains = Vec::with_capacity(self.chains.len());
        for chain in &self.chains {
            let last = record.last_vote(&chain.key.to_bytes(), &chain.vote)?;
            chains.push(ChainKey {
                chain: chain.identity.id.clone(),
                key: chain.key,
                vote: chain.vote,
                epoch_length: chain.terms.epoch_length,
                voted_every: chain.terms.voted_every,
                last: last.map(|(height, block)| LastVote { height, block }),
            });
        }
        Ok(Identity { hub: self.hub, record: record.id(), bls: self.bls_public, chains })
    }

    /// Signs the registration of a chain's key.
    pub fn register(&self, request: &RegisterRequest) -> Result<Registered, Refused> {
        let chain = self.chain(&request.chain)?;
        let printable = request.operator.bytes().all(|c| (0x20..0x7f).contains(&c));
        if request.operator.is_empty() || request.operator.len() > MAX_OPERATOR || !printable {
            return Err(Refused::Operator);
        }
        let bls = request
            .chain
            .is_zero()
            .then(|| BlsRegistration { key: self.bls_public, possession: self.bls.prove_possession() });
        let message = ProviderRegistration::message(
            &chain.registration,
            &chain.key,
            &request.operator,
            bls.as_ref(),
            request.backing,
        );
        Ok(Registered { key: chain.key, bls, signature: chain.bip340(&message)? })
    }

    /// Commits to an epoch's nonces. The root is in the record before it is signed; asked again, the answer is the same.
    pub fn commit(&self, request: &CommitRequest) -> Result<Commitment, Refused> {
        let chain = self.chain(&request.chain)?;
        let root = self.tree(chain, request.epoch)?.root();
        let claim = self.record().claim_root(&chain.key.to_bytes(), &chain.vote, request.epoch, root)?;
        if let Claim::Taken(_) = claim {
            return Err(Refused::Inconsistent(request.epoch));
        }
        let message = commitment::message(&chain.commitment, request.epoch, &root);
        let signature = chain.bip340(&message)?;
        Ok(Commitment { key: chain.key, epoch: request.epoch, root, signature })
    }

    /// Votes. Claims the height first: a crash after it costs at most one vote, never the key.
    pub fn vote(&self, request: &VoteRequest) -> Result<Vote, Refused> {
        let chain = self.chain(&request.chain)?;
        let tree = self.committed_tree(chain, request)?;
        let index = chain.terms.nonce_index(request.height).ok_or(Refused::NotVoted(request.height))?;
        let path = usize::try_from(index).ok().and_then(|index| tree.path(index));
        let path = path.ok_or(Refused::NotVoted(request.height))?;
        let claim =
            self.record().claim_vote(&chain.key.to_bytes(), &chain.vote, request.height, request.block)?;
        match claim {
            Claim::Fresh | Claim::Repeat => {}
            Claim::Taken(signed) => {
                let (chain, asked) = (request.chain.clone(), request.block);
                return Err(Refused::AlreadyVoted { chain, height: request.height, signed, asked });
            }
        }
        self.sign_claimed(chain, request, path)
    }

    /// The tree of the height's epoch, if the set names its root and this record has committed to it.
    fn committed_tree(&self, chain: &ChainSigner, request: &VoteRequest) -> Result<Arc<Tree>, Refused> {
        if !chain.terms.is_voted(request.height) {
            return Err(Refused::NotVoted(request.height));
        }
        let epoch = chain.terms.epoch_of(request.height);
        let own = self.record().root(&chain.key.to_bytes(), &chain.vote, epoch)?;
        let own = rules::check_root(epoch, own, request.root)?;
        let tree = self.voting_tree(chain, epoch)?;
        if tree.root() == own { Ok(tree) } else { Err(Refused::Inconsistent(epoch)) }
    }

    /// The caller has claimed the height for this block. A faulty signature could give the key away, so it is checked.
    fn sign_claimed(
        &self,
        chain: &ChainSigner,
        request: &VoteRequest,
        path: Vec<Hash32>,
    ) -> Result<Vote, Refused> {
        let nonce = nonce::derive(&chain.pair, &self.seed, &chain.vote, request.height);
        let public = nonce.public();
        let ballot = Ballot { context: chain.vote, height: request.height, block: request.block };
        let message = ballot.message();
        let signature = eots::sign(&chain.pair, nonce, &message);
        let committed = is_committed(&request.root, &chain.terms, request.height, &public, &path);
        if !committed || eots::verify(&chain.key.point(), &public, &message, &signature).is_err() {
            return Err(Refused::Faulty);
        }
        Ok(Vote { ballot, key: chain.key, nonce: public, signature, path })
    }

    /// Signs an epoch's checkpoint, one header an epoch, record first.
    pub fn checkpoint(&self, request: &CheckpointRequest) -> Result<CheckpointShare, Refused> {
        let zero = self.chain(&ChainId::zero())?;
        let CheckpointRequest { epoch, header } = *request;
        let key = self.bls_public.to_bytes();
        if let Claim::Taken(signed) = self.record().claim_checkpoint(&key, &self.checkpoint, epoch, header)? {
            return Err(Refused::AlreadyCheckpointed { epoch, signed, asked: header });
        }
        let signature = self.bls.sign(&checkpoint::message(&self.checkpoint, epoch, &header));
        Ok(CheckpointShare { epoch, header, key: zero.key, signature })
    }

    fn chain(&self, id: &ChainId) -> Result<&ChainSigner, Refused> {
        let found = self.chains.iter().find(|chain| chain.identity.id == *id);
        found.ok_or_else(|| Refused::UnknownChain(id.clone()))
    }

    fn tree(&self, chain: &ChainSigner, epoch: Epoch) -> Result<Tree, Refused> {
        chain.check_epoch(epoch)?;
        Ok(rules::epoch_tree(&chain.pair, &self.seed, &chain.vote, &chain.terms, epoch))
    }

    /// The same, kept in memory for the epoch that a chain votes in.
    fn voting_tree(&self, chain: &ChainSigner, epoch: Epoch) -> Result<Arc<Tree>, Refused> {
        let trees = || self.trees.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, tree)) = trees().get(&chain.vote).filter(|(kept, _)| *kept == epoch) {
            return Ok(tree.clone());
        }
        let tree = Arc::new(self.tree(chain, epoch)?);
        trees().insert(chain.vote, (epoch, tree.clone()));
        Ok(tree)
    }

    fn record(&self) -> std::sync::MutexGuard<'_, Record> {
        // A panic elsewhere leaves no transaction half done: SQLite rolls it back.
        self.record.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
