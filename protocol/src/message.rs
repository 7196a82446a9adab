//! Messages: everything that can change the ledger. Each authenticates itself by signatures or Bitcoin proofs.
//! Source: docs/protocol.md, section 5.1.

use crate::codec::Wire as _;
use crate::context::Context;
use crate::covenant::CovenantAnswer;
use crate::finality::certificate::Certificate;
use crate::finality::commitment::Commitment;
use crate::finality::evidence::Evidence;
use crate::governance::GovernanceMessage;
use crate::hash::{Hash32, tagged};
use crate::inclusion::InclusionProof;
use crate::keys::CovenantKey;
use crate::provider::ProviderRegistration;
use crate::registration::StakeRegistration;
use crate::stake::StakeId;
use crate::units::Height;
use bitcoin::OutPoint;
use bitcoin::block::Header;
use bitcoin::secp256k1::schnorr::Signature;

/// Longest message, in bytes.
pub const MAX_MESSAGE: usize = 1_000_000;

/// A message of the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Message {
    /// Bitcoin headers that the light client may not know.
    Headers(Headers),
    /// A provider's key.
    Provider(Box<ProviderRegistration>),
    /// A stake.
    Stake(Box<StakeRegistration>),
    /// A committee member's answer to a stake.
    Answer(CovenantAnswer),
    /// A committee member's consent to an expansion.
    Consent(ExpansionConsent),
    /// A registered stake is on Bitcoin.
    Included(StakeIncluded),
    /// An output of a stake is spent on Bitcoin.
    Spent(OutputSpent),
    /// A provider fixes the nonces of an epoch.
    Commitment(Commitment),
    /// A block is final.
    Certificate(Box<Certificate>),
    /// A provider's key is out.
    Evidence(Evidence),
    /// A Bitcoin transaction that anchors an epoch.
    Anchor(InclusionProof),
    /// Root over a batch of digests to be timestamped.
    Batch(TimestampBatch),
    /// A decision of governance.
    Governance(GovernanceMessage),
}

crate::wire_enum!(Message {
    1 => Headers,
    2 => Provider,
    3 => Stake,
    4 => Answer,
    5 => Consent,
    6 => Included,
    7 => Spent,
    8 => Commitment,
    9 => Certificate,
    10 => Evidence,
    11 => Anchor,
    12 => Batch,
    13 => Governance,
});

impl Message {
    /// The message's id, by which the log and users name it.
    pub fn id(&self) -> Hash32 {
        id_of_bytes(&self.to_bytes())
    }
}

/// The id of a message with these canonical bytes.
pub fn id_of_bytes(bytes: &[u8]) -> Hash32 {
    tagged("palisade/1/message", &[bytes])
}

/// Consecutive Bitcoin headers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Headers {
    /// Each the child of the one before.
    pub headers: Vec<Header>,
}

crate::wire!(Headers { headers });

/// A member's signature on the old stake's unbonding leaf, for the transaction that expands it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpansionConsent {
    /// The new stake.
    pub stake: StakeId,
    /// Who consents.
    pub member: CovenantKey,
    /// On input 0 of the new stake's staking transaction.
    pub signature: Signature,
}

crate::wire!(ExpansionConsent { stake, member, signature });

/// A staking transaction in its block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StakeIncluded {
    /// The stake.
    pub stake: StakeId,
    /// The proof.
    pub proof: InclusionProof,
}

crate::wire!(StakeIncluded { stake, proof });

/// A transaction in its block that spends a stake, or the unbonding output of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OutputSpent {
    /// Whose.
    pub stake: StakeId,
    /// The output.
    pub outpoint: OutPoint,
    /// The spending transaction.
    pub proof: InclusionProof,
}

crate::wire!(OutputSpent { stake, outpoint, proof });

/// A batch of digests, for one hub block: in another one it means nothing, so nobody can fill the log with copies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TimestampBatch {
    /// The hub block that holds it.
    pub height: Height,
    /// Root of the tree over the digests.
    pub root: Hash32,
    /// How many there are.
    pub count: u32,
    /// BIP-340 by the hub's key over [`TimestampBatch::message`].
    pub signature: Signature,
}

crate::wire!(TimestampBatch { height, root, count, signature });

impl TimestampBatch {
    /// What the hub signs; `context` is chain zero's hub context.
    pub fn message(context: &Context, height: Height, root: &Hash32, count: u32) -> [u8; 32] {
        tagged("palisade/1/batch", &[&context.0, &height.to_bytes(), &root.0, &count.to_bytes()]).0
    }
}
