//! The Bitcoin of a world: blocks that a real node takes, and coins for everybody.
//!
//! All money comes from one coin, the coinbase of block 1: who needs some is paid from what is left of it. The chain itself
//! says where that is, so a reorganisation that takes a payment gives its money back.
//!
//! What spends a coin of a named key is signed when it is mined. What the world cannot sign, such as a theft, is mined as
//! it is: a ledger takes it, a node would not.

use crate::{World, blocks, keypair};
use bitcoin::hashes::Hash as _;
use bitcoin::key::TapTweak as _;
use bitcoin::secp256k1::{Message as Digest, SECP256K1};
use bitcoin::sighash::{Prevouts, SighashCache, TapSighashType};
use bitcoin::{Amount, BlockHash, OutPoint, ScriptBuf, Transaction, TxIn, TxOut, Witness};
use palisade_hub::ledger::Rejected;
use palisade_protocol::anchor::Anchor;
use palisade_protocol::hash::Hash32;
use palisade_protocol::inclusion::InclusionProof;
use palisade_protocol::message::{Headers, Message};
use std::collections::BTreeMap;

/// Whose the coinbases are.
const MINER: &str = "miner";
/// Blocks on top of a coinbase's own before the one that may spend it.
const MATURITY: u32 = 99;
/// Coins that one transaction makes where many are wanted: whoever proves one shows all of it.
const COINS: usize = 20;
/// What the miner pays for a transaction.
const FEE: Amount = Amount::from_sat(1_000);

/// What it takes to sign for coins of named keys.
#[derive(Debug, Clone)]
pub(super) struct Wallet {
    /// Outputs of all that was ever mined, on whatever branch.
    outputs: BTreeMap<OutPoint, TxOut>,
    /// Names by the address of their key.
    names: BTreeMap<ScriptBuf, String>,
    /// Makes each block and payment another than those of lost branches.
    salt: u32,
}

impl Wallet {
    pub(super) fn new() -> Self {
        let names = BTreeMap::from([(address(MINER), MINER.to_owned())]);
        Self { outputs: BTreeMap::new(), names, salt: 0 }
    }

    fn next_salt(&mut self) -> u32 {
        self.salt += 1;
        self.salt
    }

    /// The transaction with a witness wherever an input has none and spends a coin of a named key.
    fn signed(&self, tx: &Transaction) -> Transaction {
        let mut tx = tx.clone();
        let coins = tx.input.iter().map(|input| self.outputs.get(&input.previous_output).cloned());
        let Some(coins) = coins.collect::<Option<Vec<TxOut>>>() else { return tx };
        for (index, coin) in coins.iter().enumerate() {
            if let (true, Some(name)) =
                (tx.input[index].witness.is_empty(), self.names.get(&coin.script_pubkey))
            {
                tx.input[index].witness = key_path(name, &tx, index, &coins);
            }
        }
        tx
    }

    fn note(&mut self, tx: &Transaction) {
        let txid = tx.compute_txid();
        let place = |(vout, output): (usize, &TxOut)| {
            (OutPoint { txid, vout: u32::try_from(vout).expect("few") }, output.clone())
        };
        self.outputs.extend(tx.output.iter().enumerate().map(place));
    }
}

impl World {
    /// Bitcoin's height.
    pub fn btc_height(&self) -> u32 {
        u32::try_from(self.chain.len() - 1).expect("a short chain")
    }

    /// Mines blocks, the first with what waits, and tells the ledger.
    pub fn mine(&mut self, count: u32) {
        let from = self.chain.len();
        for _ in 0..count {
            let waiting = std::mem::take(&mut self.mempool);
            self.mine_on_top(&waiting);
        }
        let headers = self.chain[from..].iter().map(|block| block.header).collect();
        self.send(&Message::Headers(Headers { headers })).expect("a longer chain");
    }

    fn mine_on_top(&mut self, transactions: &[Transaction]) {
        let height = u32::try_from(self.chain.len()).expect("a short chain");
        let last = self.chain.len().saturating_sub(11);
        let headers: Vec<_> = self.chain[last..].iter().map(|block| block.header).collect();
        let parent = headers.last().expect("a genesis block");
        let mut signed = Vec::with_capacity(transactions.len());
        for tx in transactions {
            self.wallet.note(tx);
            signed.push(self.wallet.signed(tx));
        }
        let salt = u64::from(self.wallet.next_salt()).to_be_bytes();
        let time = blocks::earliest_time(&headers);
        let block = blocks::build(parent, height, time, &address(MINER), salt, &signed);
        self.wallet.note(&block.txdata[0]);
        self.chain.push(block);
    }

    /// Replaces the last `depth` blocks by `depth + 1` others that hold `keep`, and tells the ledger in one batch.
    pub fn reorg(&mut self, depth: u32, keep: &[Transaction]) -> Result<Hash32, Rejected> {
        self.overtake(depth, keep, depth + 1)
    }

    /// Replaces the last `depth` blocks by `count` others, the first of which holds `keep`, and tells the ledger in one batch.
    pub fn overtake(&mut self, depth: u32, keep: &[Transaction], count: u32) -> Result<Hash32, Rejected> {
        let fork = self.chain.len() - depth as usize;
        self.chain.truncate(fork);
        self.mine_on_top(keep);
        (1..count).for_each(|_| self.mine_on_top(&[]));
        let headers = self.chain[fork..].iter().map(|block| block.header).collect();
        self.send(&Message::Headers(Headers { headers }))
    }

    /// Gives a key a confirmed coin on its BIP-86 address. Gives the coin's proof.
    pub fn fund(&mut self, name: &str, sat: u64) -> (OutPoint, TxOut, InclusionProof) {
        let output = TxOut { value: Amount::from_sat(sat), script_pubkey: address(name) };
        if let Some(made) = self.coins.iter().position(|(_, coin, _)| *coin == output) {
            return self.coins.swap_remove(made);
        }
        self.wallet.names.insert(address(name), name.to_owned());
        let tx = self.pay(output.clone());
        self.mine(1);
        (OutPoint { txid: tx.compute_txid(), vout: 0 }, output, self.proof(&tx))
    }

    /// Gives a key many confirmed coins of one size, in the block after those that the money for them takes.
    pub fn many_coins(&mut self, name: &str, sat: u64, count: usize) -> Vec<(OutPoint, InclusionProof)> {
        let coin = TxOut { value: Amount::from_sat(sat), script_pubkey: address(name) };
        let purse = sat * COINS as u64 + FEE.to_sat();
        let purses: Vec<OutPoint> = (0..count.div_ceil(COINS)).map(|_| self.fund(name, purse).0).collect();
        let splits = purses.into_iter().map(|purse| transaction(vec![purse], vec![coin.clone(); COINS]));
        let splits: Vec<Transaction> = splits.collect();
        self.mempool.extend(splits.clone());
        self.mine(1);
        let coins_of = |tx: &Transaction| {
            let (txid, proof) = (tx.compute_txid(), self.proof(tx));
            let vouts = 0..u32::try_from(COINS).expect("few");
            vouts.map(|vout| (OutPoint { txid, vout }, proof.clone())).collect::<Vec<_>>()
        };
        splits.iter().flat_map(coins_of).take(count).collect()
    }

    /// Mines a transaction that carries an anchor, and gives it.
    pub fn mine_anchor(&mut self, anchor: &Anchor) -> Transaction {
        let tx = self.pay(TxOut { value: Amount::ZERO, script_pubkey: anchor.script() });
        self.mine(1);
        tx
    }

    /// A transaction of the miner's with this output first, which waits for the next block.
    pub fn pay(&mut self, output: TxOut) -> Transaction {
        if self.btc_height() <= MATURITY {
            self.mine(MATURITY + 1 - self.btc_height());
        }
        let (purse, held) = self.purse();
        let rest = held.checked_sub(output.value + FEE).expect("the miner has 50 BTC for everybody");
        let change = TxOut { value: rest, script_pubkey: address(MINER) };
        let mut tx = transaction(vec![purse], vec![output, change]);
        // A number without a meaning for nodes, so that no payment is one that a reorganisation took.
        tx.input[0].sequence = bitcoin::Sequence(1 << 31 | self.wallet.next_salt());
        self.mempool.push(tx.clone());
        tx
    }

    /// The miner's coin that pays: change of the newest payment, or the first coinbase.
    fn purse(&self) -> (OutPoint, Amount) {
        let mined = self.chain.iter().rev().flat_map(|block| block.txdata.iter().skip(1).rev());
        let first = &self.chain[1].txdata[0];
        let script = address(MINER);
        let purse = |tx: &Transaction| {
            let vout = tx.output.iter().position(|output| output.script_pubkey == script)?;
            let outpoint = OutPoint { txid: tx.compute_txid(), vout: u32::try_from(vout).expect("few") };
            Some((outpoint, tx.output[vout].value))
        };
        self.mempool.iter().rev().chain(mined).chain([first]).find_map(purse).expect("a coinbase")
    }

    /// Proof of a transaction that is in the chain.
    pub fn proof(&self, tx: &Transaction) -> InclusionProof {
        let txid = tx.compute_txid();
        let found = self.chain.iter().rev().find_map(|block| {
            let index = block.txdata.iter().position(|own| own.compute_txid() == txid)?;
            Some((block, u32::try_from(index).expect("a small block")))
        });
        let (block, index) = found.expect("the transaction is mined");
        InclusionProof::from_block(block, index).expect("a sound block")
    }

    /// The block of the best chain at a height.
    pub fn block_hash(&self, height: u32) -> BlockHash {
        self.chain[height as usize].block_hash()
    }
}

/// The BIP-86 address of a named key.
pub fn address(name: &str) -> ScriptBuf {
    ScriptBuf::new_p2tr(SECP256K1, keypair(name).x_only_public_key().0, None)
}

/// The witness of an input that spends a coin on the address of a named key; `coins` are what all inputs spend.
pub fn key_path(name: &str, tx: &Transaction, index: usize, coins: &[TxOut]) -> Witness {
    let digest = SighashCache::new(tx)
        .taproot_key_spend_signature_hash(index, &Prevouts::All(coins), TapSighashType::Default)
        .expect("a coin for each input");
    let key = keypair(name).tap_tweak(SECP256K1, None).to_keypair();
    let digest = Digest::from_digest(digest.to_byte_array());
    // The same story gives the same blocks.
    Witness::from_slice(&[SECP256K1.sign_schnorr_no_aux_rand(&digest, &key).serialize()])
}

/// A version-2 transaction without witnesses and locktime.
pub fn transaction(inputs: Vec<OutPoint>, output: Vec<TxOut>) -> Transaction {
    let input =
        |previous_output| TxIn { previous_output, sequence: bitcoin::Sequence::MAX, ..TxIn::default() };
    Transaction {
        version: bitcoin::transaction::Version::TWO,
        lock_time: bitcoin::absolute::LockTime::ZERO,
        input: inputs.into_iter().map(input).collect(),
        output,
    }
}
