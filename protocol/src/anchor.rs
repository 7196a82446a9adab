//! Anchors: the checkpoint of an epoch in one output of a Bitcoin transaction, signed by the epoch's set as one.
//!
//! An anchor with a quorum of its set is a checkpoint: whatever lies under the header that it names is older than the
//! Bitcoin block that holds it. One without quorum says only that somebody paid for it. Not here: which of several
//! anchors counts (the first in Bitcoin's order, which the ledger knows), and whether a header is on the best chain.
//! Source: docs/protocol.md, section 9.2.

use crate::bls::{self, BlsInvalid, BlsPublicKey, BlsSignature};
use crate::checkpoint::{self, CheckpointShare};
use crate::codec::{DecodeError, Reader, Wire};
use crate::context::Context;
use crate::finality::set::{Member, Set, SetHeader};
use crate::hash::Hash32;
use crate::units::Epoch;
use bitcoin::script::{Instruction, PushBytesBuf};
use bitcoin::{Amount, Script, ScriptBuf, Transaction};

/// First bytes of every anchor.
const TAG: [u8; 4] = *b"plsd";
/// The one version there is.
const VERSION: u8 = 1;
/// Bytes without the bitmap.
const FIXED: usize = 4 + 1 + 8 + 32 + BlsSignature::LEN;
/// Longest bitmap: a bit for each of 60 members.
const MAX_BITMAP: usize = 8;
/// Longest anchor transaction without witnesses, in bytes: longer ones fit no standard timestamp file.
pub const MAX_ANCHOR_TRANSACTION: usize = 4_000;

/// What an anchor says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Anchor {
    /// The epoch of chain zero.
    pub epoch: Epoch,
    /// Hash of the header at its last voted height.
    pub header: Hash32,
    /// Who signed: member i of the set is bit `80 >> (i mod 8)` of byte `i / 8`. One to eight bytes.
    pub bitmap: Vec<u8>,
    /// Their signatures as one, over the checkpoint's message.
    pub signature: BlsSignature,
}

/// A member that signed, with the key that its set names by hash.
#[derive(Debug, Clone, Copy)]
pub struct Signer<'a> {
    /// Its place in the set.
    pub index: u16,
    /// The member.
    pub member: &'a Member,
    /// Its key for checkpoints.
    pub bls: &'a BlsPublicKey,
}

/// Why an anchor is no checkpoint. Trying again with the same anchor and set never helps.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadAnchor {
    /// No output is an anchor.
    #[error("no output of the transaction is an anchor")]
    NoAnchor,
    /// The transaction fits no timestamp file.
    #[error("the transaction has {0} bytes without witnesses, at most {MAX_ANCHOR_TRANSACTION} are allowed")]
    TooLong(usize),
    /// The set is another epoch's.
    #[error("the set is of epoch {set}, the anchor of epoch {anchor}")]
    WrongSet {
        /// Epoch of the set.
        set: Epoch,
        /// Epoch of the anchor.
        anchor: Epoch,
    },
    /// The bitmap names nobody or somebody who is no member, or has another length than the set asks for.
    #[error("the bitmap does not name members of the set")]
    Bitmap,
    /// The signers handed over are not those of the bitmap.
    #[error("the signers are not those of the bitmap")]
    Signers,
    /// A key is not the one that the set names.
    #[error("the BLS key of member {0} is not the one that the set names")]
    Key(u16),
    /// Not enough power.
    #[error("{power} of {total} signed, strictly more than two thirds are needed")]
    NoQuorum {
        /// Power that signed.
        power: Amount,
        /// The set's power.
        total: Amount,
    },
    /// The signature is bad.
    #[error(transparent)]
    Signature(#[from] BlsInvalid),
}

impl Anchor {
    /// Adds shares up. Shares of others than members, or of another epoch or header, are left out. It is not judged.
    pub fn assemble(set: &Set, header: Hash32, shares: &[CheckpointShare]) -> Result<Self, BlsInvalid> {
        let epoch = set.header().epoch;
        let mut bitmap = vec![0; bitmap_len(set.header())];
        let mut signatures = Vec::new();
        for share in shares.iter().filter(|share| share.epoch == epoch && share.header == header) {
            let Some((index, _)) = set.find(&share.key) else { continue };
            let Some(byte) = bitmap.get_mut(index / 8) else { continue };
            let bit = 0x80 >> (index % 8);
            if *byte & bit == 0 {
                *byte |= bit;
                signatures.push(share.signature);
            }
        }
        Ok(Self { epoch, header, bitmap, signature: bls::aggregate(&signatures)? })
    }

    /// Places of the members that signed, in ascending order.
    pub fn signers(&self) -> Vec<u16> {
        let bits = self.bitmap.iter().flat_map(|byte| (0..8).map(move |bit| byte & (0x80 >> bit) != 0));
        (0..).zip(bits).filter_map(|(index, signed)| signed.then_some(index)).collect()
    }

    /// Judges the anchor under its epoch's set; `context` is chain zero's checkpoint context. That the signers are members of
    /// the set, and that each has proven possession of its key, is for the caller to know.
    pub fn verify(
        &self,
        context: &Context,
        set: &SetHeader,
        signers: &[Signer<'_>],
    ) -> Result<(), BadAnchor> {
        if set.epoch != self.epoch {
            return Err(BadAnchor::WrongSet { set: set.epoch, anchor: self.epoch });
        }
        let named = self.signers();
        if self.bitmap.len() != bitmap_len(set) || named.last().is_none_or(|last| *last >= set.count) {
            return Err(BadAnchor::Bitmap);
        }
        if !signers.iter().map(|signer| signer.index).eq(named) {
            return Err(BadAnchor::Signers);
        }
        if let Some(wrong) = signers.iter().find(|signer| signer.bls.hash() != signer.member.bls_hash) {
            return Err(BadAnchor::Key(wrong.index));
        }
        let power = signers
            .iter()
            .fold(Amount::ZERO, |sum, signer| sum.checked_add(signer.member.power).unwrap_or(Amount::MAX));
        if !set.is_quorum(power) {
            return Err(BadAnchor::NoQuorum { power, total: set.total });
        }
        let keys: Vec<&BlsPublicKey> = signers.iter().map(|signer| signer.bls).collect();
        let message = checkpoint::message(context, self.epoch, &self.header);
        Ok(bls::verify_aggregate(&keys, &message, &self.signature)?)
    }

    /// The output script that carries it: OP_RETURN and one push.
    pub fn script(&self) -> ScriptBuf {
        let mut data = PushBytesBuf::new();
        // At most 101 bytes: far below what a push may hold.
        let _ = data.extend_from_slice(&self.to_bytes());
        ScriptBuf::new_op_return(data)
    }

    /// The anchor of a transaction: its first output with a script as [`Anchor::script`] writes it, and that output's place.
    pub fn find(transaction: &Transaction) -> Result<(u32, Self), BadAnchor> {
        let length = transaction.base_size();
        if length > MAX_ANCHOR_TRANSACTION {
            return Err(BadAnchor::TooLong(length));
        }
        let outputs = (0..).zip(&transaction.output);
        let mut anchors =
            outputs.filter_map(|(vout, output)| Some((vout, Self::from_script(&output.script_pubkey)?)));
        anchors.next().ok_or(BadAnchor::NoAnchor)
    }

    fn from_script(script: &Script) -> Option<Self> {
        if !script.is_op_return() {
            return None;
        }
        let Some(Ok(Instruction::PushBytes(data))) = script.instructions().nth(1) else { return None };
        let anchor = Self::from_bytes(data.as_bytes()).ok()?;
        (anchor.script().as_script() == script).then_some(anchor)
    }
}

impl Wire for Anchor {
    fn encode(&self, out: &mut Vec<u8>) {
        TAG.encode(out);
        VERSION.encode(out);
        self.epoch.encode(out);
        self.header.encode(out);
        out.extend_from_slice(&self.bitmap);
        self.signature.encode(out);
    }

    /// Reads all that is left: the length of the bitmap follows from that of the whole.
    fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let bits = reader.left().checked_sub(FIXED).filter(|bits| (1..=MAX_BITMAP).contains(bits));
        let bits = bits.ok_or(DecodeError::Invalid("length of an anchor"))?;
        if reader.array()? != TAG || reader.array()? != [VERSION] {
            return Err(DecodeError::Invalid("tag or version of an anchor"));
        }
        let (epoch, header) = (Wire::decode(reader)?, Wire::decode(reader)?);
        let bitmap = reader.take(bits)?.to_vec();
        Ok(Self { epoch, header, bitmap, signature: Wire::decode(reader)? })
    }
}

fn bitmap_len(set: &SetHeader) -> usize {
    usize::from(set.count).div_ceil(8)
}

#[cfg(test)]
mod tests;
