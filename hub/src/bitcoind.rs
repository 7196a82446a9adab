//! A client of bitcoind's JSON-RPC: the questions that Palisade's daemons ask about Bitcoin, with typed answers.
//!
//! What is asked for by hash is checked against that hash, so a broken or lying node gives [`RpcError::Malformed`]
//! and never another block or transaction than the one that was meant. Sending is idempotent: a transaction that
//! the best chain or the mempool holds already was sent.
//!
//! Not here: a wallet, retries, and any opinion on how deep is deep enough.

mod answers;
mod progress;
mod transport;

use std::time::Duration;

use bitcoin::block::Header;
use bitcoin::blockdata::constants::genesis_block;
use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::{Amount, Block, BlockHash, FeeRate, Network, OutPoint, Transaction, Txid};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

pub use answers::{
    Acceptance, FeeRates, FoundTransaction, MempoolEntry, Scan, ScannedOutput, Tip, UnspentOutput,
};
pub use progress::{Behind, Progress};
pub(crate) use transport::cause;
pub use transport::{Auth, RpcError};

use answers::{
    AcceptInfo, ChainInfo, FeeInfo, HeaderInfo, MempoolInfo, MempoolLimits, PackageInfo, RawTransaction,
    ScanInfo, SpendInfo, TxOutInfo,
};
use transport::Connection;

/// How long the node may take over an ordinary question.
const TIMEOUT: Duration = Duration::from_secs(60);
/// How long it may take to read all unspent outputs.
const SCAN_TIMEOUT: Duration = Duration::from_secs(600);
/// Most headers that one call of [`BitcoinRpc::headers`] returns: as many as one message of the peer protocol.
pub const MAX_HEADERS: u32 = 2_000;
/// Outputs that are asked about in one call.
const OUTPOINTS: usize = 1_000;
/// Sent as text, which bitcoind takes for amounts as well as numbers, and exactly. All coins there can be: burning
/// in OP_RETURN outputs is what anchors do, and the caller has decided on it by building the transaction.
const ANY_BURN_BTC: &str = "21000000";
/// No ceiling: fees are ours to limit, where the reason for them is known.
const ANY_FEE_RATE: &str = "0";

/// bitcoind's codes that are an answer to us rather than a failure (its `src/rpc/protocol.h`).
mod code {
    /// No such block, transaction or mempool entry.
    pub(super) const NOT_FOUND: i64 = -5;
    /// Beyond the tip, for `getblockhash`.
    pub(super) const OUT_OF_RANGE: i64 = -8;
    /// An output of the transaction is in the set of unspent outputs.
    pub(super) const ALREADY_IN_UTXO_SET: i64 = -27;
}

/// One bitcoind, with transaction index (`-txindex=1`).
pub struct BitcoinRpc {
    connection: Connection,
}

impl BitcoinRpc {
    /// A client for the node at `url` (`http://127.0.0.1:8332`). Nothing is sent yet.
    pub fn new(url: impl Into<String>, auth: Auth) -> Result<Self, RpcError> {
        Ok(Self { connection: Connection::new(url.into(), auth)? })
    }

    /// The node's address.
    pub fn url(&self) -> &str {
        self.connection.url()
    }

    /// Calls any method; `params` is an array, or an object of named parameters.
    pub async fn call<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: Value,
    ) -> Result<T, RpcError> {
        read(method, self.connection.call(method, params, TIMEOUT).await?)
    }

    /// The last block of the best chain.
    pub async fn tip(&self) -> Result<Tip, RpcError> {
        Ok(self.progress().await?.tip)
    }

    /// How far the node is with Bitcoin's blocks.
    pub async fn progress(&self) -> Result<Progress, RpcError> {
        Ok(self.call::<ChainInfo>("getblockchaininfo", json!([])).await?.into())
    }

    /// The network that the node is on, by its own word.
    pub async fn network(&self) -> Result<Network, RpcError> {
        let method = "getblockchaininfo";
        let info: ChainInfo = self.call(method, json!([])).await?;
        Network::from_core_arg(&info.chain).map_err(|e| RpcError::malformed(method, e))
    }

    /// Fails with [`RpcError::WrongNetwork`] unless the node says that it is on `wanted`, and with [`RpcError::OtherChain`]
    /// unless its first block is that network's. Signets share name and first block: the genesis document's base header tells
    /// them apart.
    pub async fn check_network(&self, wanted: Network) -> Result<(), RpcError> {
        let found = self.network().await?;
        if found != wanted {
            return Err(RpcError::WrongNetwork { wanted, found });
        }
        let first = genesis_block(wanted).block_hash();
        match self.block_hash(0).await? {
            Some(found) if found == first => Ok(()),
            found => Err(RpcError::OtherChain { wanted, first, found }),
        }
    }

    /// Hash of the best chain's block at `height`; `None` above the tip.
    pub async fn block_hash(&self, height: u32) -> Result<Option<BlockHash>, RpcError> {
        none_if(code::OUT_OF_RANGE, self.call("getblockhash", json!([height])).await)
    }

    /// Height of a block; `None` when the node does not know it or when it is off the best chain.
    pub async fn height_of(&self, hash: BlockHash) -> Result<Option<u32>, RpcError> {
        let info: Option<HeaderInfo> =
            none_if(code::NOT_FOUND, self.call("getblockheader", json!([hash, true])).await)?;
        Ok(info.filter(|info| info.confirmations >= 0).map(|info| info.height))
    }

    /// The header with this hash, on or off the best chain; `None` when the node does not know it.
    pub async fn header(&self, hash: BlockHash) -> Result<Option<Header>, RpcError> {
        let method = "getblockheader";
        let Some(hex) = none_if(code::NOT_FOUND, self.call::<String>(method, json!([hash, false])).await)?
        else {
            return Ok(None);
        };
        read_header(method, &hex, hash).map(Some)
    }

    /// Headers of the best chain from height `first` up, at most `count` and at most [`MAX_HEADERS`]; fewer at the
    /// tip, none above it. They are linked; [`RpcError::ChainMoved`] when the chain changed in between.
    pub async fn headers(&self, first: u32, count: u32) -> Result<Vec<Header>, RpcError> {
        let end = self.tip().await?.height.saturating_add(1);
        let stop = first.saturating_add(count.min(MAX_HEADERS)).min(end);
        if first >= stop {
            return Ok(Vec::new());
        }
        let heights: Vec<Value> = (first..stop).map(|height| json!([height])).collect();
        let hashes: Vec<BlockHash> = match self.call_each("getblockhash", &heights).await {
            Err(RpcError::Refused { method, code: code::OUT_OF_RANGE, .. }) => {
                return Err(RpcError::ChainMoved { method });
            }
            answer => answer?,
        };
        let method = "getblockheader";
        let params: Vec<Value> = hashes.iter().map(|hash| json!([hash, false])).collect();
        let texts: Vec<String> = self.call_each(method, &params).await?;
        let headers: Vec<Header> = texts
            .iter()
            .zip(&hashes)
            .map(|(text, hash)| read_header(method, text, *hash))
            .collect::<Result<_, _>>()?;
        let linked =
            hashes.iter().zip(headers.iter().skip(1)).all(|(hash, next)| next.prev_blockhash == *hash);
        if linked { Ok(headers) } else { Err(RpcError::ChainMoved { method }) }
    }

    /// The block with this hash, on or off the best chain; `None` when the node does not know it.
    pub async fn block(&self, hash: BlockHash) -> Result<Option<Block>, RpcError> {
        let method = "getblock";
        let Some(hex) = none_if(code::NOT_FOUND, self.call::<String>(method, json!([hash, 0])).await)? else {
            return Ok(None);
        };
        let block: Block = deserialize_hex(&hex).map_err(|e| RpcError::malformed(method, e))?;
        if block.block_hash() != hash || !block.check_merkle_root() || !block.check_witness_commitment() {
            return Err(RpcError::malformed(method, format!("it is not block {hash}")));
        }
        Ok(Some(block))
    }

    /// The transaction, from the best chain or the mempool. `None` when it is in neither: a transaction whose only
    /// block was reorganised away is not found.
    pub async fn raw_transaction(&self, txid: Txid) -> Result<Option<FoundTransaction>, RpcError> {
        let method = "getrawtransaction";
        let found: RawTransaction = match self.call(method, json!([txid, 1])).await {
            Ok(found) => found,
            // The same code also stands for an index that is missing or not ready: then nobody knows.
            Err(RpcError::Refused { code: code::NOT_FOUND, message, .. })
                if message.starts_with("No such mempool or blockchain transaction") =>
            {
                return Ok(None);
            }
            Err(RpcError::Refused { code: code::NOT_FOUND, message, .. })
                if message.contains("still in the process of being indexed") =>
            {
                return Err(RpcError::WarmingUp { url: self.url().to_owned(), message });
            }
            Err(error) => return Err(error),
        };
        let transaction: Transaction =
            deserialize_hex(&found.hex).map_err(|e| RpcError::malformed(method, e))?;
        if transaction.compute_txid() != txid {
            return Err(RpcError::malformed(method, format!("it is not transaction {txid}")));
        }
        let stale = found.blockhash.is_some() && found.confirmations == 0;
        Ok((!stale).then_some(FoundTransaction { transaction, mined_in: found.blockhash }))
    }

    /// The output, while unspent; with `include_mempool` also outputs made in the mempool, and not those spent there.
    pub async fn tx_out(
        &self,
        outpoint: OutPoint,
        include_mempool: bool,
    ) -> Result<Option<UnspentOutput>, RpcError> {
        let params = json!([outpoint.txid, outpoint.vout, include_mempool]);
        let found: Option<TxOutInfo> = self.call("gettxout", params).await?;
        Ok(found.map(UnspentOutput::from))
    }

    /// Sends a transaction. Success too when the best chain or the mempool holds it already. The caller limits fees
    /// and burnt amounts: the node is asked not to.
    pub async fn send_raw_transaction(&self, transaction: &Transaction) -> Result<Txid, RpcError> {
        let txid = transaction.compute_txid();
        let params = json!([serialize_hex(transaction), ANY_FEE_RATE, ANY_BURN_BTC]);
        match self.call::<Txid>("sendrawtransaction", params).await {
            Ok(sent) if sent == txid => Ok(txid),
            Ok(other) => {
                Err(RpcError::malformed("sendrawtransaction", format!("it names {other}, not {txid}")))
            }
            Err(RpcError::Refused { code: code::ALREADY_IN_UTXO_SET, .. }) => Ok(txid),
            // A mined transaction whose outputs are all spent looks to the node like one with missing inputs.
            Err(refusal @ RpcError::Refused { .. }) => match self.raw_transaction(txid).await {
                Ok(Some(_)) => Ok(txid),
                _ => Err(refusal),
            },
            Err(error) => Err(error),
        }
    }

    /// Hands the node a transaction together with the child that pays for it. Success too when it holds both already.
    pub async fn submit_package(&self, parent: &Transaction, child: &Transaction) -> Result<(), RpcError> {
        let method = "submitpackage";
        let params = json!([[serialize_hex(parent), serialize_hex(child)], ANY_FEE_RATE, ANY_BURN_BTC]);
        let answer: PackageInfo = self.call(method, params).await?;
        match answer.refusal(child.compute_wtxid()) {
            None => Ok(()),
            Some(message) => Err(RpcError::Refused { method, code: 0, message }),
        }
    }

    /// What the node would do with each of these, in order; several are judged as one package of related
    /// transactions (at most 25, parents first).
    pub async fn test_mempool_accept(
        &self,
        transactions: &[Transaction],
    ) -> Result<Vec<Acceptance>, RpcError> {
        let method = "testmempoolaccept";
        let hex: Vec<String> = transactions.iter().map(serialize_hex).collect();
        let verdicts: Vec<AcceptInfo> = self.call(method, json!([hex, ANY_FEE_RATE])).await?;
        let named = verdicts.iter().map(|verdict| verdict.txid);
        if !named.eq(transactions.iter().map(Transaction::compute_txid)) {
            return Err(RpcError::malformed(method, "it is about other transactions"));
        }
        Ok(verdicts.into_iter().map(Acceptance::from).collect())
    }

    /// The transaction's entry in the mempool; `None` when it is not there.
    pub async fn mempool_entry(&self, txid: Txid) -> Result<Option<MempoolEntry>, RpcError> {
        let found: Option<MempoolInfo> =
            none_if(code::NOT_FOUND, self.call("getmempoolentry", json!([txid])).await)?;
        Ok(found.map(MempoolEntry::from))
    }

    /// For each output the transaction of the mempool that spends it, if one does.
    pub async fn spends_in_mempool(&self, outpoints: &[OutPoint]) -> Result<Vec<Option<Txid>>, RpcError> {
        let mut spends = Vec::with_capacity(outpoints.len());
        for part in outpoints.chunks(OUTPOINTS) {
            let asked: Vec<Value> =
                part.iter().map(|coin| json!({ "txid": coin.txid, "vout": coin.vout })).collect();
            let method = "gettxspendingprevout";
            let answer: Vec<SpendInfo> = self.call(method, json!([asked])).await?;
            let own = answer.iter().map(|found| OutPoint { txid: found.txid, vout: found.vout });
            if !own.eq(part.iter().copied()) {
                return Err(RpcError::malformed(method, "it is about other outputs"));
            }
            spends.extend(answer.into_iter().map(|found| found.spendingtxid));
        }
        Ok(spends)
    }

    /// The fee rate that should confirm within `blocks`, or `fallback` while the node has seen too little to say
    /// (always on regtest); in both cases at least what its mempool takes now.
    pub async fn estimate_fee_rate(&self, blocks: u16, fallback: FeeRate) -> Result<FeeRate, RpcError> {
        Ok(self.fee_rates(blocks, fallback).await?.estimate)
    }

    /// That rate, with the one that it is at least.
    pub async fn fee_rates(&self, blocks: u16, fallback: FeeRate) -> Result<FeeRates, RpcError> {
        let estimate: FeeInfo = self.call("estimatesmartfee", json!([blocks])).await?;
        let least = self.least_fee_rate().await?;
        Ok(FeeRates { estimate: estimate.feerate.map_or(fallback, per_kvb).max(least), least })
    }

    /// The least fee rate at which the node's mempool takes a transaction now and does not drop it with the next that it drops: a
    /// step above its minimum, which rises while it is full.
    pub async fn least_fee_rate(&self) -> Result<FeeRate, RpcError> {
        let limits: MempoolLimits = self.call("getmempoolinfo", json!([])).await?;
        Ok(per_kvb(limits.mempoolminfee.checked_add(limits.incrementalrelayfee).unwrap_or(Amount::MAX)))
    }

    /// Hands the node a block. Success when it is valid as far as the node looked (a block of a side branch is
    /// connected only once its branch has more work), also when the node had it before.
    pub async fn submit_block(&self, block: &Block) -> Result<(), RpcError> {
        let method = "submitblock";
        match self.call::<Option<String>>(method, json!([serialize_hex(block)])).await?.as_deref() {
            None | Some("inconclusive" | "duplicate" | "duplicate-inconclusive") => Ok(()),
            Some(reason) => Err(RpcError::Refused { method, code: 0, message: reason.to_owned() }),
        }
    }

    /// Unspent outputs of the best chain that the output descriptor describes (`addr(...)`, `raw(...)`, `tr(...)`).
    /// Reads the whole set: minutes on mainnet, and one scan at a time.
    pub async fn scan_tx_out_set(&self, descriptor: &str) -> Result<Scan, RpcError> {
        let method = "scantxoutset";
        let answer = self.connection.call(method, json!(["start", [descriptor]]), SCAN_TIMEOUT).await?;
        let scan: ScanInfo = read(method, answer)?;
        if !scan.success {
            return Err(RpcError::malformed(method, "the scan was aborted"));
        }
        Ok(Scan::from(scan))
    }

    /// Asks the node to stop; it answers before it has.
    pub async fn stop(&self) -> Result<(), RpcError> {
        self.call::<String>("stop", json!([])).await.map(drop)
    }

    async fn call_each<T: DeserializeOwned>(
        &self,
        method: &'static str,
        params: &[Value],
    ) -> Result<Vec<T>, RpcError> {
        let answers = self.connection.call_each(method, params, TIMEOUT).await?;
        answers.into_iter().map(|answer| read(method, answer)).collect()
    }
}

/// An amount for 1,000 vbytes, which are 4,000 weight units; rounded up.
fn per_kvb(amount: Amount) -> FeeRate {
    FeeRate::from_sat_per_kwu(amount.to_sat().div_ceil(4))
}

fn read<T: DeserializeOwned>(method: &'static str, answer: Value) -> Result<T, RpcError> {
    serde_json::from_value(answer).map_err(|e| RpcError::malformed(method, e))
}

fn read_header(method: &'static str, hex: &str, hash: BlockHash) -> Result<Header, RpcError> {
    let header: Header = deserialize_hex(hex).map_err(|e| RpcError::malformed(method, e))?;
    if header.block_hash() == hash {
        Ok(header)
    } else {
        Err(RpcError::malformed(method, format!("it is not header {hash}")))
    }
}

fn none_if<T>(not_found: i64, answer: Result<T, RpcError>) -> Result<Option<T>, RpcError> {
    match answer {
        Ok(value) => Ok(Some(value)),
        Err(RpcError::Refused { code, .. }) if code == not_found => Ok(None),
        Err(error) => Err(error),
    }
}

#[cfg(test)]
mod tests;
