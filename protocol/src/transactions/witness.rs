//! Witnesses: which signatures a leaf takes, in which order.
//!
//! A script's multisig reads its signatures from the top of the stack in key order, so they are written in reverse; who
//! does not sign leaves an empty element. The multisig wants exactly the quorum: one signature more fails like one less.
//! Source: docs/protocol.md, section 2.3.

use crate::keys::{CovenantKey, ProviderKey};
use crate::outputs::{Leaf, Output};
use crate::scripts::StakeKeys;
use bitcoin::Witness;
use bitcoin::secp256k1::schnorr::Signature;
use std::collections::BTreeMap;

/// Signatures of committee members.
pub type CovenantSignatures = BTreeMap<CovenantKey, Signature>;

/// Why no witness can be put together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoWitness {
    /// Not enough members have signed.
    #[error("{found} covenant signatures, {quorum} are needed")]
    BelowQuorum {
        /// Signatures by members.
        found: usize,
        /// The quorum.
        quorum: u8,
    },
    /// The output cannot be spent this way.
    #[error("the output has no such leaf")]
    NoLeaf,
}

/// The witness of a withdrawal.
pub fn timelock(output: &Output, staker: &Signature) -> Result<Witness, NoWitness> {
    finish(Vec::new(), staker, output, Leaf::Timelock)
}

/// The witness of an unbonding or expansion: the first quorum of members in key order, the others empty.
pub fn unbonding(
    output: &Output,
    keys: &StakeKeys,
    staker: &Signature,
    covenant: &CovenantSignatures,
) -> Result<Witness, NoWitness> {
    finish(committee_part(keys, covenant)?, staker, output, Leaf::Unbonding)
}

/// The witness of a slashing: committee, then the one provider whose key is out, then the holder.
pub fn slashing(
    output: &Output,
    keys: &StakeKeys,
    staker: &Signature,
    provider: (ProviderKey, &Signature),
    covenant: &CovenantSignatures,
) -> Result<Witness, NoWitness> {
    let mut stack = committee_part(keys, covenant)?;
    let (signer, signature) = provider;
    stack.extend(keys.providers().iter().rev().map(|key| match *key == signer {
        true => signature.serialize().to_vec(),
        false => Vec::new(),
    }));
    finish(stack, staker, output, Leaf::Slashing)
}

fn committee_part(keys: &StakeKeys, covenant: &CovenantSignatures) -> Result<Vec<Vec<u8>>, NoWitness> {
    let committee = keys.committee();
    let quorum = committee.quorum();
    let mut left = quorum;
    let mut stack: Vec<Vec<u8>> = Vec::with_capacity(committee.members().len());
    for member in committee.members() {
        let signature = covenant.get(member).filter(|_| left > 0);
        left = left.saturating_sub(u8::from(signature.is_some()));
        stack.push(signature.map(|s| s.serialize().to_vec()).unwrap_or_default());
    }
    if left > 0 {
        let found = usize::from(quorum.saturating_sub(left));
        return Err(NoWitness::BelowQuorum { found, quorum });
    }
    stack.reverse();
    Ok(stack)
}

fn finish(
    mut stack: Vec<Vec<u8>>,
    staker: &Signature,
    output: &Output,
    leaf: Leaf,
) -> Result<Witness, NoWitness> {
    stack.push(staker.serialize().to_vec());
    stack.push(output.leaf(leaf).ok_or(NoWitness::NoLeaf)?.to_bytes());
    stack.push(output.control_block(leaf).ok_or(NoWitness::NoLeaf)?.serialize());
    Ok(Witness::from_slice(&stack))
}
