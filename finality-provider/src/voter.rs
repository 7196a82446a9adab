//! The voter: decides what deserves a vote, and gets the vote to the hub.
//!
//! It keeps a replica of the hub's log and believes nothing that the replica did not reproduce. It judges the newest
//! header that it holds against its own Bitcoin node, then votes in order, one height at a time, each only behind the
//! certificate of the height before. Nonces are committed ahead of need, whatever becomes of the votes.
//!
//! Not here: keys, and what was signed. Both belong to the signer, which does not trust this process.

pub mod ballots;
mod cast;
mod checkpoints;
mod commit;
pub mod config;
mod follow;
mod hold;
pub mod journal;
pub mod judge;
mod meters;
mod recall;
pub mod refusal;
pub mod run;
pub mod scan;
mod send;
pub mod source;
pub mod status;
mod untaken;
pub mod verdict;

use crate::signer::client::{SignerClient, SignerError};
use crate::signer::request::{ChainKey, Identity};
use ballots::Held;
use journal::{Journal, JournalError};
use meters::Meters;
use palisade_hub::bitcoind::BitcoinRpc;
use palisade_hub::client::HubClient;
use palisade_hub::daemon::health::Health;
use palisade_hub::ledger::Ledger;
use palisade_hub::replica::Replica;
use palisade_protocol::context::ChainId;
use palisade_protocol::genesis::Genesis;
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::units::{Epoch, Height};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock, RwLockReadGuard};
use std::time::Instant;
use tokio::sync::watch;
use untaken::Untaken;

/// Everything that the voter's tasks share.
pub struct Voter {
    genesis: Arc<Genesis>,
    replica: RwLock<Replica>,
    journal: Journal,
    signer: SignerClient,
    hub: HubClient,
    bitcoin: BitcoinRpc,
    health: Health,
    meters: Meters,
    /// Height of the newest block of the own log.
    news: watch::Sender<Option<Height>>,
    moment: Mutex<Moment>,
    /// Chains other than zero that it is to vote on.
    others: Vec<ChainId>,
    epochs_ahead: u64,
    refusals: PathBuf,
}

/// What is true now and need not survive a restart.
#[derive(Debug, Default)]
struct Moment {
    /// Why the newest block from the hub was refused, while it is.
    refusing: Option<String>,
    /// Whether the own log is far behind the hub's, or may be.
    behind: bool,
    /// The signer's keys, as it said last.
    keys: BTreeMap<ChainId, ProviderKey>,
    /// Whether the signer did not answer when it was asked last.
    signer_is_away: bool,
    /// What the judge says of the newest header.
    verdict: Option<Result<(), String>>,
    /// Why no vote is cast now, by chain.
    waiting: BTreeMap<ChainId, String>,
    /// What is wrong with the blocks of other chains, by chain.
    sources: BTreeMap<ChainId, String>,
    /// Newest irreversible height of other chains.
    tips: BTreeMap<ChainId, Height>,
    /// When a chain's newest vote was sent last.
    sent: BTreeMap<ChainId, Instant>,
    /// The newest certificate besides those of the log, by chain.
    held: BTreeMap<ChainId, Held>,
    /// The newest epoch of a chain in whose set nonces of another record stand in place of the signer's, while it casts no vote.
    foreign: BTreeMap<ChainId, Epoch>,
    /// Chains on which the signer's record was held against what the hub remembers.
    recalled: BTreeSet<ChainId>,
    /// What the hub did not take.
    untaken: Untaken,
}

impl Voter {
    fn replica(&self) -> RwLockReadGuard<'_, Replica> {
        self.replica.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Looks at the own ledger.
    fn with_ledger<T>(&self, look: impl FnOnce(&Ledger) -> T) -> T {
        look(self.replica().ledger())
    }

    fn moment(&self) -> MutexGuard<'_, Moment> {
        self.moment.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An alarm rings while there are reasons for it.
    fn ring_while(&self, part: &'static str, reasons: &[String]) {
        match reasons.is_empty() {
            true => self.health.recover(part),
            false => self.health.degrade(part, reasons.join("; ")),
        }
    }

    /// While a block that does not reproduce stands between us and the hub, nothing is signed.
    fn is_refusing(&self) -> bool {
        self.moment().refusing.is_some()
    }

    /// What an old log calls due is final by now, and its open epochs are closed.
    fn is_behind(&self) -> bool {
        self.moment().behind
    }

    /// The hash of a block of the own log.
    fn own_block(&self, height: Height) -> anyhow::Result<Option<Hash32>> {
        let blocks = self.replica().store().blocks(height, 1)?;
        let found = blocks.first().filter(|block| block.header.height == height);
        Ok(found.map(|block| block.header.hash()))
    }

    /// The signer's keys. A signer of another hub is none.
    async fn identity(&self) -> Result<Identity, SignerError> {
        let answer = match self.signer.identity().await {
            Ok(identity) if identity.hub == self.genesis.id() => Ok(identity),
            Ok(identity) => Err(SignerError::Refused {
                rule: "other-hub".to_owned(),
                message: format!("it signs for hub {}, not for {}", identity.hub, self.genesis.id()),
            }),
            Err(why) => Err(why),
        };
        self.note_signer(answer.as_ref());
        answer
    }

    /// One line when the signer goes, one when it is back; nobody else complains of it meanwhile.
    fn note_signer(&self, answer: Result<&Identity, &SignerError>) {
        let mut moment = self.moment();
        let was_away = std::mem::replace(&mut moment.signer_is_away, answer.is_err());
        match answer {
            Ok(identity) => {
                self.health.recover("signer");
                moment.keys = identity.chains.iter().map(|own| (own.chain.clone(), own.key)).collect();
                if was_away {
                    moment.recalled.clear();
                    tracing::info!("the signer answers again");
                }
            }
            Err(why) => {
                let why = in_words(why);
                if !was_away {
                    tracing::warn!(why, "nothing is signed");
                }
                self.health.degrade("signer", why);
            }
        }
    }

    /// The signer's key for a chain, if its contexts and terms are those of the ledger, and it is the one that this voter votes with.
    async fn own_key(&self, chain: &ChainId) -> Result<(ChainKey, Hash32), NoKey> {
        let identity = self.identity().await?;
        let record = identity.record;
        let own = identity.chains.into_iter().find(|own| own.chain == *chain).ok_or(NoKey::None)?;
        self.is_the_voters(chain, own.key)?;
        self.with_ledger(|ledger| {
            let known = ledger.chain(chain).ok_or(NoKey::NoChain)?;
            let same = known.vote == own.vote
                && known.terms.epoch_length == own.epoch_length
                && known.terms.voted_every == own.voted_every;
            if same { Ok((own, record)) } else { Err(NoKey::OtherChain(known.identity.incarnation)) }
        })
    }
}

impl Voter {
    /// Refuses a key that is another than the one of the voter's own newest vote. One that is out has a successor.
    fn is_the_voters(&self, chain: &ChainId, key: ProviderKey) -> Result<(), NoKey> {
        match self.journal.newest_vote(chain)?.map(|vote| vote.key) {
            Some(voted) if voted != key && !self.with_ledger(|own| own.providers().is_exposed(&voted)) => {
                Err(NoKey::OtherKey { chain: chain.clone(), key, voted })
            }
            _ => Ok(()),
        }
    }
}

/// Why the signer gives no keys, and what to do.
fn in_words(why: &SignerError) -> String {
    match why {
        SignerError::Unreachable { .. } => {
            format!("{why}: is it running? `palisade-finality-provider signer --config FILE` starts it")
        }
        _ => why.to_string(),
    }
}

/// Why there is no key for a chain.
#[derive(Debug, thiserror::Error)]
enum NoKey {
    /// The signer is not there.
    #[error(transparent)]
    Signer(#[from] SignerError),
    /// The journal.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// It has another provider's.
    #[error(
        "chain {chain}: the signer has the key {key}, and this voter has voted with {voted}: does `signer_socket` name another \
         provider's signer? If the key was changed on purpose, stop the voter and move `journal.sqlite` out of its directory"
    )]
    OtherKey {
        /// Where.
        chain: ChainId,
        /// The signer's.
        key: ProviderKey,
        /// That of the newest vote.
        voted: ProviderKey,
    },
    /// It has none.
    #[error(
        "the signer has no key for this chain: `add-chain` makes one, and the signer knows it after its next start"
    )]
    None,
    /// The hub has no such chain.
    #[error("the hub has not registered this chain yet")]
    NoChain,
    /// The signer was configured for a chain that is not the hub's.
    #[error(
        "the signer's chain has another genesis, incarnation or terms than the hub's, whose incarnation is {0}: if governance \
         recovered chain zero, accept that with `zero_incarnation` in the signer's configuration"
    )]
    OtherChain(u32),
}

#[cfg(test)]
mod tests;
