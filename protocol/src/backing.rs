//! Backings: a Bitcoin output that stands behind a registration, so that registering costs something and needs no account.
//!
//! The output is proven to be on Bitcoin, and its owner signs a readable text by its script (BIP-322).
//! Source: docs/protocol.md, section 5.1.

use crate::bip322::{self, Bip322Invalid};
use crate::inclusion::{InclusionProof, InclusionRefused};
use bitcoin::block::Header;
use bitcoin::{OutPoint, TxOut, Witness};

/// An output of a proven transaction, and its owner's signature.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Backing {
    /// The transaction and its place in a block.
    pub proof: InclusionProof,
    /// Which of its outputs.
    pub vout: u32,
    /// BIP-322 "simple" signature over the registration's text.
    pub witness: Witness,
}

crate::wire!(Backing { proof, vout, witness });

/// Why an output backs nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BadBacking {
    /// The transaction is not in the block.
    #[error("backing transaction: {0}")]
    NotIncluded(#[from] InclusionRefused),
    /// The transaction has no such output.
    #[error("the backing transaction has no output {0}")]
    NoOutput(u32),
    /// The owner did not sign.
    #[error("signature of the backing output: {0}")]
    Signature(#[from] Bip322Invalid),
}

impl Backing {
    /// Where the output is.
    pub fn outpoint(&self) -> OutPoint {
        OutPoint { txid: self.proof.transaction.compute_txid(), vout: self.vout }
    }

    /// The output, if the transaction has it.
    pub fn output(&self) -> Option<&TxOut> {
        self.proof.transaction.output.get(usize::try_from(self.vout).ok()?)
    }

    /// Checks the proof against the header of its block, and the signature over `text`.
    pub fn verify(&self, header: &Header, text: &str) -> Result<(), BadBacking> {
        self.proof.check(header)?;
        let output = self.output().ok_or(BadBacking::NoOutput(self.vout))?;
        Ok(bip322::verify(&output.script_pubkey, text.as_bytes(), &self.witness)?)
    }
}
