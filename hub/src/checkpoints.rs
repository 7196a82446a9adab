//! Shares of checkpoints: what members of chain zero's sets sign by BLS, added up to anchors.
//! Source: docs/protocol.md, section 9.1.

use crate::ledger::Ledger;
use crate::store::{Store, StoreError};
use bitcoin::Amount;
use palisade_protocol::anchor::Anchor;
use palisade_protocol::bls::{BlsInvalid, BlsPublicKey};
use palisade_protocol::checkpoint::CheckpointShare;
use palisade_protocol::context::Context;
use palisade_protocol::hash::Hash32;
use palisade_protocol::units::{Epoch, Height};

/// Why a share is not taken.
#[derive(Debug, thiserror::Error)]
pub enum ShareError {
    /// No set votes in that epoch.
    #[error("no set is fixed for epoch {0} of chain zero")]
    NoSet(Epoch),
    /// The epoch's last voted block is not final yet.
    #[error("block {0}, the last that epoch votes on, is not final yet")]
    NotFinal(Height),
    /// Signed for another block.
    #[error("the epoch's last voted block is {own}, not {found}")]
    OtherHeader {
        /// What was signed.
        found: Hash32,
        /// What the epoch ended with.
        own: Hash32,
    },
    /// The signer is not in the set.
    #[error("the signer is not a member of the epoch's set")]
    NotMember,
    /// The signature is bad.
    #[error("share: {0}")]
    Signature(#[from] BlsInvalid),
    /// The share is known.
    #[error("the member's share is known")]
    Repeated,
    /// The share cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl ShareError {
    /// The rule's name, for programs.
    pub fn rule(&self) -> &'static str {
        match self {
            Self::NoSet(_) => "unknown-set",
            Self::NotFinal(_) => "not-in-order",
            Self::OtherHeader { .. } => "conflict",
            Self::NotMember | Self::Signature(_) => "share",
            Self::Repeated => "repeated",
            Self::Store(_) => "storage",
        }
    }

    /// Whether the same share can be taken later.
    pub fn can_be_retried(&self) -> bool {
        matches!(self, Self::NoSet(_) | Self::NotFinal(_) | Self::Store(_))
    }
}

/// Who must have signed a share, and for what.
#[derive(Debug, Clone)]
pub struct Signer {
    context: Context,
    key: BlsPublicKey,
}

/// Judges a share by the ledger: all but its signature.
pub fn signer(share: &CheckpointShare, ledger: &Ledger, store: &Store) -> Result<Signer, ShareError> {
    let epoch = share.epoch;
    let zero = ledger.chains().first().ok_or(ShareError::NoSet(epoch))?;
    let fixed = zero.sets.get(&epoch).ok_or(ShareError::NoSet(epoch))?;
    let last = zero.terms.last_voted(epoch);
    let own = *zero.certified.get(&last).ok_or(ShareError::NotFinal(last))?;
    if share.header != own {
        return Err(ShareError::OtherHeader { found: share.header, own });
    }
    fixed.set.find(&share.key).ok_or(ShareError::NotMember)?;
    if store.has_share(epoch, &share.key)? {
        return Err(ShareError::Repeated);
    }
    let bls = ledger.providers().get(&share.key).and_then(|provider| provider.bls.as_ref());
    Ok(Signer { context: zero.checkpoint, key: *bls.ok_or(ShareError::NotMember)? })
}

/// Keeps a share that its signer has signed.
pub fn keep(share: &CheckpointShare, signer: &Signer, store: &Store) -> Result<(), ShareError> {
    share.verify(&signer.context, &signer.key)?;
    if store.keep_share(share)? { Ok(()) } else { Err(ShareError::Repeated) }
}

/// What is known of an epoch's checkpoint before it is on Bitcoin.
#[derive(Debug)]
pub struct Shares {
    /// The epoch's last voted block, if it is final.
    pub header: Option<Hash32>,
    /// Power that has signed, in sat.
    pub signed_sat: u64,
    /// Power of the set, in sat.
    pub total_sat: u64,
    /// The anchor, once a quorum has signed.
    pub anchor: Option<Anchor>,
}

/// Adds an epoch's shares up; nothing if it has no set.
pub fn add_up(epoch: Epoch, ledger: &Ledger, store: &Store) -> Result<Option<Shares>, StoreError> {
    let Some(zero) = ledger.chains().first() else { return Ok(None) };
    let Some((fixed, _)) = zero.set_of(epoch) else { return Ok(None) };
    let header = zero.certified.get(&zero.terms.last_voted(epoch)).copied();
    let shares = store.shares(epoch)?;
    let signers = shares.iter().filter_map(|share| fixed.set.find(&share.key));
    let signed = signers.fold(Amount::ZERO, |sum, (_, member)| sum.checked_add(member.power).unwrap_or(sum));
    let total = fixed.set.header().total;
    // Each share was judged when it came, so what they add up to needs no judging again.
    let is_quorum = fixed.set.header().is_quorum(signed);
    let anchor =
        header.filter(|_| is_quorum).and_then(|header| Anchor::assemble(&fixed.set, header, &shares).ok());
    Ok(Some(Shares { header, signed_sat: signed.to_sat(), total_sat: total.to_sat(), anchor }))
}
