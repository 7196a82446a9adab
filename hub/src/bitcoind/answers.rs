//! What bitcoind's answers mean, as types. Text is turned into these once, at the door.

use bitcoin::{Amount, BlockHash, FeeRate, OutPoint, ScriptBuf, Transaction, TxOut, Txid, Wtxid};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The last block of the node's best chain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tip {
    /// Height of the block; the genesis block has height 0.
    pub height: u32,
    /// Its hash.
    pub hash: BlockHash,
}

/// A transaction that the node has in its best chain or in its mempool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTransaction {
    /// The transaction, with its witnesses.
    pub transaction: Transaction,
    /// The block of the best chain that holds it; `None` while it waits in the mempool.
    pub mined_in: Option<BlockHash>,
}

/// An output that nothing has spent yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnspentOutput {
    /// Amount and script.
    pub output: TxOut,
    /// Blocks from its own to the tip, both counted; 0 in the mempool.
    pub confirmations: u32,
    /// Whether a coinbase made it, so that it can be spent only 100 blocks later.
    pub coinbase: bool,
    /// The tip that the answer is about.
    pub best_block: BlockHash,
}

/// What the node would do with a transaction, were it sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Acceptance {
    /// It would enter the mempool.
    Allowed {
        /// Virtual size, in vbytes.
        vsize: u64,
        /// Fee that it pays.
        fee: Amount,
    },
    /// It would not.
    Refused {
        /// The node's own words, such as `non-BIP68-final`.
        reason: String,
    },
}

/// A transaction that waits in the mempool.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MempoolEntry {
    /// Virtual size, in vbytes.
    pub vsize: u64,
    /// Fee that it pays itself.
    pub fee: Amount,
    /// Fee of it and everything in the mempool that spends it: what a replacement must beat.
    pub descendant_fees: Amount,
    /// How many transactions in the mempool descend from it, itself counted.
    pub descendants: u64,
}

/// Unspent outputs of the best chain that a descriptor describes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scan {
    /// The tip that was scanned at.
    pub tip: Tip,
    /// What was found.
    pub unspent: Vec<ScannedOutput>,
}

/// One output that a scan found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ScannedOutput {
    /// Which output.
    pub outpoint: OutPoint,
    /// Amount and script.
    pub output: TxOut,
    /// Height of its block.
    pub height: u32,
    /// Whether a coinbase made it.
    pub coinbase: bool,
}

// The shapes below are bitcoind's (`bitcoin-cli help METHOD`); fields that nobody needs are left out.

#[derive(Deserialize)]
pub(super) struct ChainInfo {
    pub chain: String,
    pub blocks: u32,
    pub bestblockhash: BlockHash,
    pub headers: u32,
    pub initialblockdownload: bool,
}

#[derive(Deserialize)]
pub(super) struct HeaderInfo {
    pub height: u32,
    /// -1 for a block off the best chain.
    pub confirmations: i64,
}

#[derive(Deserialize)]
pub(super) struct RawTransaction {
    pub hex: String,
    pub blockhash: Option<BlockHash>,
    /// 0 when the block named is off the best chain.
    #[serde(default)]
    pub confirmations: u32,
}

#[derive(Deserialize)]
pub(super) struct Script {
    pub hex: ScriptBuf,
}

#[derive(Deserialize)]
pub(super) struct TxOutInfo {
    bestblock: BlockHash,
    confirmations: u32,
    #[serde(with = "bitcoin::amount::serde::as_btc")]
    value: Amount,
    #[serde(rename = "scriptPubKey")]
    script: Script,
    coinbase: bool,
}

impl From<TxOutInfo> for UnspentOutput {
    fn from(info: TxOutInfo) -> Self {
        Self {
            output: TxOut { value: info.value, script_pubkey: info.script.hex },
            confirmations: info.confirmations,
            coinbase: info.coinbase,
            best_block: info.bestblock,
        }
    }
}

#[derive(Deserialize)]
pub(super) struct AcceptInfo {
    pub txid: Txid,
    allowed: Option<bool>,
    vsize: Option<u64>,
    fees: Option<BaseFee>,
    #[serde(rename = "reject-reason")]
    reject_reason: Option<String>,
    #[serde(rename = "package-error")]
    package_error: Option<String>,
}

#[derive(Deserialize)]
struct BaseFee {
    #[serde(with = "bitcoin::amount::serde::as_btc")]
    base: Amount,
}

impl From<AcceptInfo> for Acceptance {
    fn from(info: AcceptInfo) -> Self {
        match (info.allowed, info.vsize, info.fees) {
            (Some(true), Some(vsize), Some(fees)) => Self::Allowed { vsize, fee: fees.base },
            // In a package the node stops judging at the first failure: the rest carry no verdict.
            _ => Self::Refused {
                reason: info
                    .reject_reason
                    .or(info.package_error)
                    .unwrap_or_else(|| "not judged, because another one of the package failed".to_owned()),
            },
        }
    }
}

#[derive(Deserialize)]
pub(super) struct MempoolInfo {
    vsize: u64,
    descendantcount: u64,
    fees: MempoolFees,
}

#[derive(Deserialize)]
pub(super) struct SpendInfo {
    pub(super) txid: Txid,
    pub(super) vout: u32,
    pub(super) spendingtxid: Option<Txid>,
}

#[derive(Deserialize)]
struct MempoolFees {
    #[serde(with = "bitcoin::amount::serde::as_btc")]
    base: Amount,
    #[serde(with = "bitcoin::amount::serde::as_btc")]
    descendant: Amount,
}

impl From<MempoolInfo> for MempoolEntry {
    fn from(info: MempoolInfo) -> Self {
        Self {
            vsize: info.vsize,
            fee: info.fees.base,
            descendant_fees: info.fees.descendant,
            descendants: info.descendantcount,
        }
    }
}

/// Fee rates, as a node sees them now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FeeRates {
    /// What should confirm in time; never less than the other.
    pub estimate: FeeRate,
    /// The least that its mempool takes and keeps for a while.
    pub least: FeeRate,
}

#[derive(Deserialize)]
pub(super) struct FeeInfo {
    #[serde(default, with = "bitcoin::amount::serde::as_btc::opt")]
    pub feerate: Option<Amount>,
}

#[derive(Deserialize)]
pub(super) struct MempoolLimits {
    #[serde(with = "bitcoin::amount::serde::as_btc")]
    pub mempoolminfee: Amount,
    #[serde(with = "bitcoin::amount::serde::as_btc")]
    pub incrementalrelayfee: Amount,
}

#[derive(Deserialize)]
pub(super) struct PackageInfo {
    package_msg: String,
    /// By wtxid.
    #[serde(rename = "tx-results", default)]
    results: BTreeMap<Wtxid, PackageResult>,
}

#[derive(Deserialize)]
struct PackageResult {
    error: Option<String>,
}

impl PackageInfo {
    /// Why the package was not taken, in the node's words: the child's, if it says what is wrong with that.
    pub fn refusal(&self, child: Wtxid) -> Option<String> {
        let errors = || self.results.values().filter_map(|result| result.error.clone());
        let own = self.results.get(&child).and_then(|result| result.error.clone());
        let said = own.or_else(|| errors().next());
        if self.package_msg == "success" {
            said
        } else {
            Some(said.unwrap_or_else(|| self.package_msg.clone()))
        }
    }
}

#[derive(Deserialize)]
pub(super) struct ScanInfo {
    pub success: bool,
    height: u32,
    bestblock: BlockHash,
    unspents: Vec<ScannedInfo>,
}

#[derive(Deserialize)]
struct ScannedInfo {
    txid: Txid,
    vout: u32,
    #[serde(rename = "scriptPubKey")]
    script: ScriptBuf,
    #[serde(with = "bitcoin::amount::serde::as_btc")]
    amount: Amount,
    coinbase: bool,
    height: u32,
}

impl From<ScanInfo> for Scan {
    fn from(info: ScanInfo) -> Self {
        let found = |one: ScannedInfo| ScannedOutput {
            outpoint: OutPoint::new(one.txid, one.vout),
            output: TxOut { value: one.amount, script_pubkey: one.script },
            height: one.height,
            coinbase: one.coinbase,
        };
        Self {
            tip: Tip { height: info.height, hash: info.bestblock },
            unspent: info.unspents.into_iter().map(found).collect(),
        }
    }
}
