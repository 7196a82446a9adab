//! Coins for everybody: the harness spends the coinbases that its key has mined.

use std::sync::LazyLock;

use bitcoin::absolute::LockTime;
use bitcoin::hashes::{Hash, sha256};
use bitcoin::key::{Keypair, Secp256k1, TapTweak};
use bitcoin::script::PushBytesBuf;
use bitcoin::secp256k1::{Message, SecretKey, rand::thread_rng};
use bitcoin::sighash::{Prevouts, SighashCache, TapSighashType};
use bitcoin::{
    Address, Amount, FeeRate, KnownHrp, Network, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut,
    Txid, Witness, taproot, transaction,
};
use palisade_hub::bitcoind::{RpcError, Scan};

use super::{LOOK_AGAIN, Node, NodeError};

/// An output of ours.
pub(super) type Coin = (OutPoint, TxOut);

/// Blocks after which a coinbase can be spent, its own counted.
const MATURITY: u32 = 100;
/// What our spends pay: above the minimum that nodes relay, whatever their version.
const FEE_RATE: FeeRate = FeeRate::from_sat_per_vb_u32(2);

/// Bytes in one output of a transaction that fills the mempool: nodes relay no more than 100,000 in one transaction.
const CROWD_BYTES: usize = 95_000;

/// The harness's key: public, because what it owns is worth nothing.
static KEY: LazyLock<Keypair> = LazyLock::new(|| {
    let secret = sha256::Hash::hash(b"palisade: the regtest harness mines to this key").to_byte_array();
    #[allow(clippy::expect_used, reason = "the hash of this text is a valid secret key")]
    let secret = SecretKey::from_slice(&secret).expect("a hash in range");
    Keypair::from_secret_key(&Secp256k1::new(), &secret)
});

/// Where the harness mines to: the taproot address of its key, without scripts (BIP 86).
pub(super) fn address() -> Address {
    let secp = Secp256k1::verification_only();
    Address::p2tr(&secp, KEY.x_only_public_key().0, None, KnownHrp::from(Network::Regtest))
}

impl Node {
    /// Sends `amount` to an address: output 0 of the transaction, which then waits in the mempool.
    pub async fn fund(&self, address: &Address, amount: Amount) -> Result<Txid, NodeError> {
        let output = TxOut { value: amount, script_pubkey: address.script_pubkey() };
        Ok(self.fund_many(&[output]).await?.compute_txid())
    }

    /// Sends all these outputs, in this order, in one transaction, which then waits in the mempool. Change follows
    /// them. Needs mature coinbases: the first is there after 100 blocks.
    pub async fn fund_many(&self, outputs: &[TxOut]) -> Result<Transaction, NodeError> {
        self.fund_at(outputs, FEE_RATE).await
    }

    /// Fills the mempool with large transactions that pay `rate`, each from a mature coinbase, until the node takes none for less.
    /// Its flag `-maxmempool=5` makes that some fifty.
    pub async fn crowd(&self, rate: FeeRate) -> Result<(), NodeError> {
        let data = PushBytesBuf::try_from(vec![7; CROWD_BYTES]).unwrap_or_default();
        let output = TxOut { value: Amount::ZERO, script_pubkey: ScriptBuf::new_op_return(data) };
        while self.rpc.least_fee_rate().await? <= rate {
            self.fund_at(std::slice::from_ref(&output), rate).await?;
        }
        Ok(())
    }

    async fn fund_at(&self, outputs: &[TxOut], rate: FeeRate) -> Result<Transaction, NodeError> {
        let mut change = self.change.lock().await;
        let mut candidates = self.mature().await?;
        candidates
            .extend(change.iter().filter(|coin| !candidates.contains(coin)).cloned().collect::<Vec<_>>());
        let mut coins = Vec::new();
        for coin in candidates {
            if self.rpc.tx_out(coin.0, true).await?.is_none() {
                continue; // spent in the mempool
            }
            coins.push(coin);
            if let Some(unsigned) = spend(&coins, outputs, rate) {
                let signed = sign(unsigned, &coins);
                let txid = self.rpc.send_raw_transaction(&signed).await?;
                let rest = signed.output.iter().enumerate().skip(outputs.len());
                change.extend(rest.map(|(vout, output)| (OutPoint::new(txid, vout as u32), output.clone())));
                return Ok(signed);
            }
        }
        let found = coins.iter().map(|(_, output)| output.value).sum();
        let paid: Amount = outputs.iter().map(|output| output.value).sum();
        Err(NodeError::NotEnoughFunds { wanted: paid + fee(coins.len(), outputs, rate), found })
    }

    /// Confirmed coins of ours that a next block may spend, largest first.
    async fn mature(&self) -> Result<Vec<Coin>, NodeError> {
        let Scan { tip, mut unspent } = self.scan_own().await?;
        unspent.retain(|coin| !coin.coinbase || tip.height + 1 - coin.height >= MATURITY);
        unspent.sort_by_key(|coin| std::cmp::Reverse(coin.output.value));
        Ok(unspent.into_iter().map(|coin| (coin.outpoint, coin.output)).collect())
    }

    async fn scan_own(&self) -> Result<Scan, NodeError> {
        loop {
            match self.rpc.scan_tx_out_set(&format!("addr({})", address())).await {
                // The node does one scan at a time, and daemons under test scan too.
                Err(RpcError::Refused { message, .. }) if message.starts_with("Scan already in progress") => {
                    tokio::time::sleep(LOOK_AGAIN).await;
                }
                scan => return Ok(scan?),
            }
        }
    }
}

/// Spends all of `coins`: the outputs, and the rest back to us unless it is too small. `None` when they are too few.
fn spend(coins: &[Coin], outputs: &[TxOut], rate: FeeRate) -> Option<Transaction> {
    let own = address().script_pubkey();
    let held: Amount = coins.iter().map(|(_, output)| output.value).sum();
    let paid: Amount = outputs.iter().map(|output| output.value).sum();
    let mut outputs = outputs.to_vec();
    held.checked_sub(paid)?.checked_sub(fee(coins.len(), &outputs, rate))?;
    let change = TxOut { value: Amount::ZERO, script_pubkey: own };
    outputs.push(change);
    let rest = held.checked_sub(paid)?.checked_sub(fee(coins.len(), &outputs, rate)).unwrap_or_default();
    let dust = outputs.last()?.script_pubkey.minimal_non_dust();
    if rest < dust {
        outputs.pop();
    } else {
        outputs.last_mut()?.value = rest;
    }
    Some(unsigned(coins.iter().map(|(outpoint, _)| *outpoint), &outputs))
}

fn fee(inputs: usize, outputs: &[TxOut], rate: FeeRate) -> Amount {
    let mut transaction = unsigned(std::iter::repeat_n(OutPoint::null(), inputs), outputs);
    for input in &mut transaction.input {
        input.witness = Witness::from_slice(&[[0; 64]]); // as long as a signature
    }
    rate * transaction.weight()
}

fn unsigned(coins: impl Iterator<Item = OutPoint>, outputs: &[TxOut]) -> Transaction {
    let input = |previous_output| TxIn {
        previous_output,
        sequence: Sequence::ENABLE_RBF_NO_LOCKTIME,
        ..TxIn::default()
    };
    Transaction {
        version: transaction::Version::TWO,
        lock_time: LockTime::ZERO,
        input: coins.map(input).collect(),
        output: outputs.to_vec(),
    }
}

fn sign(mut transaction: Transaction, coins: &[Coin]) -> Transaction {
    let secp = Secp256k1::new();
    let key = KEY.tap_tweak(&secp, None).to_keypair();
    let spent: Vec<&TxOut> = coins.iter().map(|(_, output)| output).collect();
    let mut cache = SighashCache::new(&transaction);
    let signatures: Vec<Witness> = (0..coins.len())
        .map(|index| {
            #[allow(clippy::expect_used, reason = "there is one input for each coin, by construction")]
            let hash = cache
                .taproot_key_spend_signature_hash(index, &Prevouts::All(&spent), TapSighashType::Default)
                .expect("every input has its coin");
            let signature = secp.sign_schnorr_with_rng(&Message::from(hash), &key, &mut thread_rng());
            Witness::p2tr_key_spend(&taproot::Signature { signature, sighash_type: TapSighashType::Default })
        })
        .collect();
    for (input, witness) in transaction.input.iter_mut().zip(signatures) {
        input.witness = witness;
    }
    transaction
}
