//! Why the ledger refuses a message. The message changes nothing; the answer names the rule.
//! Source: docs/protocol.md, section 5.2.

use bitcoin::{BlockHash, OutPoint};
use palisade_protocol::anchor::BadAnchor;
use palisade_protocol::backing::BadBacking;
use palisade_protocol::chain::HeaderRefused;
use palisade_protocol::codec::DecodeError;
use palisade_protocol::context::ChainId;
use palisade_protocol::covenant::BadAnswer;
use palisade_protocol::finality::certificate::BadCertificate;
use palisade_protocol::finality::evidence::NoEvidence;
use palisade_protocol::governance::BadGovernance;
use palisade_protocol::inclusion::InclusionRefused;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::params::BadParams;
use palisade_protocol::provider::BadProvider;
use palisade_protocol::registration::StakeRefused;
use palisade_protocol::stake::StakeId;
use palisade_protocol::units::{BtcHeight, Epoch, Height};

/// The rule that a message breaks.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Rejected {
    /// Not a message.
    #[error("not a message: {0}")]
    Decode(#[from] DecodeError),
    /// The message is in the log already, or says nothing new.
    #[error("nothing new: {0}")]
    Repeated(&'static str),
    /// Bitcoin headers.
    #[error("headers: {0}")]
    Headers(#[from] HeaderRefused),
    /// A block that is not on the best chain that the ledger knows.
    #[error("block {0} is not on the best chain that the hub knows")]
    UnknownBlock(BlockHash),
    /// A transaction is not in its block.
    #[error("inclusion proof: {0}")]
    NotIncluded(#[from] InclusionRefused),
    /// A backing output.
    #[error("{0}")]
    Backing(#[from] BadBacking),
    /// One output backs one thing.
    #[error("output {0} already backs another registration")]
    BackingUsed(OutPoint),
    /// A provider's registration.
    #[error("provider: {0}")]
    Provider(#[from] BadProvider),
    /// Nobody registered that key.
    #[error("{0} is not a registered finality provider")]
    UnknownProvider(ProviderKey),
    /// The key is out.
    #[error("the key of finality provider {0} is out")]
    Exposed(ProviderKey),
    /// No such chain.
    #[error("chain {0} is not registered")]
    UnknownChain(ChainId),
    /// A stake breaks a rule that needs no ledger.
    #[error("stake: {0}")]
    Stake(#[from] StakeRefused),
    /// A stake gives power on wrong chains.
    #[error("a stake gives power to exactly one provider of chain zero and at most one of each other chain")]
    Chains,
    /// An outpoint is registered.
    #[error("output {0} is registered as a stake already")]
    StakeExists(OutPoint),
    /// An outpoint was registered before, with other transactions that can still be sent.
    #[error(
        "output {0} was registered before with other exits, which still hold: it cannot be registered with these"
    )]
    AgreedBefore(OutPoint),
    /// An outpoint was registered before, and its coins are not there any more.
    #[error("the coins of output {0}, which was registered before, have left it")]
    CoinsLeft(OutPoint),
    /// A stake without a future: it has no power, and its coins may be anywhere.
    #[error(
        "the stake's timelock is over at height {0}: it can gain no power, and its coins may have left it"
    )]
    Matured(BtcHeight),
    /// A stake that is too late for its intent's rules.
    #[error("the intent's signature by the staking key does not verify")]
    Intent,
    /// No such stake.
    #[error("stake {0} is not registered")]
    UnknownStake(StakeId),
    /// An expansion breaks a rule.
    #[error("expansion: {0}")]
    Expansion(&'static str),
    /// A committee member's answer.
    #[error("answer: {0}")]
    Answer(#[from] BadAnswer),
    /// A transaction that is not the stake's.
    #[error("the transaction is not the staking transaction of this stake")]
    NotStaking,
    /// The output that is spent has not been reported.
    #[error("the output that is spent is not known to be on Bitcoin yet: report that first")]
    NotReported,
    /// A spend that is none.
    #[error("spend: {0}")]
    Spend(&'static str),
    /// A commitment breaks a rule.
    #[error("commitment: {0}")]
    Commitment(&'static str),
    /// An epoch outside the range that is open for commitments.
    #[error("commitments are open for epochs {first} {}, not {found}", up_to(*.last))]
    Epoch {
        /// Wanted.
        found: Epoch,
        /// First open.
        first: Epoch,
        /// Last open.
        last: Epoch,
    },
    /// A certificate proves nothing.
    #[error("certificate: {0}")]
    Certificate(#[from] BadCertificate),
    /// A certificate of a set that is not the chain's.
    #[error("chain {chain} has no such set for epoch {epoch}")]
    UnknownSet {
        /// The chain.
        chain: ChainId,
        /// The epoch.
        epoch: Epoch,
    },
    /// The set's time is over.
    #[error("the set expired at Bitcoin height {0}")]
    Expired(BtcHeight),
    /// Another block is final.
    #[error("another block is final at height {0}")]
    Conflict(Height),
    /// Heights become final in order.
    #[error("height {0} is not final yet")]
    NotInOrder(Height),
    /// The breaker is tripped.
    #[error("the circuit breaker is tripped: {0}")]
    Tripped(String),
    /// Evidence that is none.
    #[error("{0}")]
    Evidence(#[from] NoEvidence),
    /// An anchor that is no checkpoint.
    #[error("anchor: {0}")]
    Anchor(#[from] BadAnchor),
    /// A batch of digests.
    #[error("batch: {0}")]
    Batch(&'static str),
    /// Governance.
    #[error("governance: {0}")]
    Governance(#[from] BadGovernance),
    /// The number of a decision.
    #[error("governance decision {found} is out of order, the next is {next}")]
    Sequence {
        /// Found.
        found: u64,
        /// Expected.
        next: u64,
    },
    /// A decision that makes no sense now.
    #[error("decision: {0}")]
    Decision(&'static str),
    /// Parameters.
    #[error("parameters: {0}")]
    Params(#[from] BadParams),
}

/// How far a range of epochs goes.
fn up_to(last: Epoch) -> String {
    if last.0 == u64::MAX { "on".to_owned() } else { format!("to {last}") }
}

impl Rejected {
    /// The rule's name, for programs.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::Decode(_) => "encoding",
            Self::Repeated(_) => "repeated",
            Self::Headers(_) => "headers",
            Self::UnknownBlock(_) => "unknown-block",
            Self::NotIncluded(_) => "inclusion",
            Self::Backing(_) => "backing",
            Self::BackingUsed(_) => "backing-used",
            Self::Provider(_) => "provider",
            Self::UnknownProvider(_) => "unknown-provider",
            Self::Exposed(_) => "exposed",
            Self::UnknownChain(_) => "unknown-chain",
            Self::Stake(_) => "stake",
            Self::Chains => "stake-chains",
            Self::StakeExists(_) => "stake-exists",
            Self::AgreedBefore(_) => "agreed-before",
            Self::CoinsLeft(_) => "coins-left",
            Self::Matured(_) => "matured",
            Self::Intent => "intent",
            Self::UnknownStake(_) => "unknown-stake",
            Self::Expansion(_) => "expansion",
            Self::Answer(_) => "answer",
            Self::NotStaking => "not-staking",
            Self::NotReported => "not-reported",
            Self::Spend(_) => "spend",
            Self::Commitment(_) => "commitment",
            Self::Epoch { .. } => "commitment-epoch",
            Self::Certificate(_) => "certificate",
            Self::UnknownSet { .. } => "unknown-set",
            Self::Expired(_) => "set-expired",
            Self::Conflict(_) => "conflict",
            Self::NotInOrder(_) => "not-in-order",
            Self::Tripped(_) => "breaker",
            Self::Evidence(_) => "evidence",
            Self::Anchor(_) => "anchor",
            Self::Batch(_) => "batch",
            Self::Governance(_) => "governance",
            Self::Sequence { .. } => "sequence",
            Self::Decision(_) => "decision",
            Self::Params(_) => "params",
        }
    }

    /// Whether the same message can be accepted later.
    pub fn can_be_retried(&self) -> bool {
        match self {
            Self::Headers(why) => why.can_be_retried(),
            Self::UnknownBlock(_)
            | Self::UnknownProvider(_)
            | Self::UnknownChain(_)
            | Self::UnknownStake(_)
            | Self::UnknownSet { .. }
            | Self::NotInOrder(_)
            | Self::NotReported
            | Self::Epoch { .. }
            | Self::Tripped(_) => true,
            // The numbers that were used stay used.
            Self::Sequence { found, next } => found > next,
            Self::Decode(_)
            | Self::Repeated(_)
            | Self::NotIncluded(_)
            | Self::Backing(_)
            | Self::BackingUsed(_)
            | Self::Provider(_)
            | Self::Exposed(_)
            | Self::Stake(_)
            | Self::Chains
            | Self::StakeExists(_)
            | Self::AgreedBefore(_)
            | Self::CoinsLeft(_)
            | Self::Matured(_)
            | Self::Intent
            | Self::Expansion(_)
            | Self::Answer(_)
            | Self::NotStaking
            | Self::Spend(_)
            | Self::Commitment(_)
            | Self::Certificate(_)
            | Self::Expired(_)
            | Self::Conflict(_)
            | Self::Evidence(_)
            | Self::Anchor(_)
            | Self::Batch(_)
            | Self::Governance(_)
            | Self::Decision(_)
            | Self::Params(_) => false,
        }
    }
}
