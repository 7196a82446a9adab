//! The wallet that pays: bdk keeps its coins and chooses among them, we read the blocks and sign.
//!
//! It knows public descriptors only, so looking needs no password. It is filled from the user's own bitcoind, block by
//! block; only confirmed coins count, because a confirmed coin is what backs a registration.

mod coin;
mod sign;

pub use coin::{INPUT, OwnCoin};
pub use sign::{sign_all, sign_coin};

use crate::amount::show_fee_rate;
use crate::journal::{Journal, JournalError};
use crate::keys::{Keys, NoKey};
use bdk_wallet::chain::BlockId;
use bdk_wallet::error::CreateTxError;
use bdk_wallet::{KeychainKind, LoadError, LocalOutput, TxOrdering, Update, Wallet};
use bitcoin::absolute::LockTime;
use bitcoin::{Address, Amount, FeeRate, Network, OutPoint, Psbt, Sequence, Transaction, TxOut, Txid};
use coin::{branch_of, own_coin};
use palisade_hub::bitcoind::{BitcoinRpc, MAX_HEADERS, RpcError};
use std::collections::BTreeSet;
use std::path::Path;

/// Blocks below the tip that a new wallet knows by name: a day of them.
const NAMED: u32 = 144;

/// Why the wallet did not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum PurseError {
    /// Its file.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// Its file is another wallet's.
    #[error("the wallet file does not belong to this seed and network: {0}")]
    Other(Box<LoadError>),
    /// Its coins and addresses are another seed's.
    #[error(
        "the wallet file is that of another seed than the key file's ({seed}): put its own back, or move it away, and it is made again from the seed"
    )]
    OtherSeed {
        /// The key file's.
        seed: String,
    },
    /// There is no wallet in the file, or no file.
    #[error("there is no wallet in this file")]
    Missing,
    /// The node.
    #[error(transparent)]
    Rpc(#[from] RpcError),
    /// The node is on another chain.
    #[error("the Bitcoin node does not know the wallet's first block: it is on another network")]
    OtherChain,
    /// The blocks do not fit together.
    #[error("the node's blocks do not follow one another: {0}")]
    Blocks(String),
    /// Not enough confirmed coins.
    #[error(
        "the wallet has {available} in confirmed coins that are free and worth spending, {needed} is needed with the fee at {}",
        show_fee_rate(*rate)
    )]
    NotEnough {
        /// Wanted.
        needed: Amount,
        /// Free, confirmed, and each worth more than its input costs.
        available: Amount,
        /// What is paid for the transaction's size.
        rate: FeeRate,
    },
    /// No single coin is large enough.
    #[error(
        "no single confirmed coin of the wallet that is free holds {needed}, which an expansion must pay from one coin with the fee at {}",
        show_fee_rate(*rate)
    )]
    NoSingleCoin {
        /// Wanted.
        needed: Amount,
        /// What is paid for the transaction's size.
        rate: FeeRate,
    },
    /// The transaction cannot be built.
    #[error("the transaction cannot be built: {0}")]
    Build(String),
    /// A key could not be derived.
    #[error(transparent)]
    NoKey(#[from] NoKey),
    /// A coin that is not the wallet's.
    #[error("{0} is not a coin of this wallet")]
    NotOurs(OutPoint),
}

/// A transaction of the wallet, to be signed.
#[derive(Debug, Clone)]
pub struct Funded {
    /// Without witnesses. The output asked for is output 0.
    pub transaction: Transaction,
    /// What each input spends.
    pub coins: Vec<OwnCoin>,
    /// What miners get.
    pub fee: Amount,
}

/// The wallet.
#[derive(Debug)]
pub struct Purse {
    wallet: Wallet,
    journal: Journal,
}

impl Purse {
    /// Makes the wallet of these keys in a new file.
    pub fn create(path: &Path, keys: &Keys, network: Network) -> Result<Self, PurseError> {
        let (journal, recorded) = Journal::open(path)?;
        if recorded.is_some() {
            return Self::open(path, network);
        }
        let [receive, change] = keys.descriptors()?;
        let created = Wallet::create(receive, change).network(network).create_wallet_no_persist();
        let wallet = created.map_err(|why| PurseError::Build(why.to_string()))?;
        let mut purse = Self { wallet, journal };
        purse.save()?;
        Ok(purse)
    }

    /// Opens the wallet in a file.
    pub fn open(path: &Path, network: Network) -> Result<Self, PurseError> {
        if !path.exists() {
            return Err(PurseError::Missing);
        }
        let (journal, recorded) = Journal::open(path)?;
        let recorded = recorded.ok_or(PurseError::Missing)?;
        let loaded = Wallet::load().check_network(network).load_wallet_no_persist(recorded);
        let wallet = loaded.map_err(|why| PurseError::Other(Box::new(why)))?.ok_or(PurseError::Missing)?;
        Ok(Self { wallet, journal })
    }

    /// Whether its addresses are these keys'.
    pub fn check_keys(&self, keys: &Keys) -> Result<(), PurseError> {
        let own = [KeychainKind::External, KeychainKind::Internal].map(|branch| self.descriptor(branch));
        match own == keys.descriptors()? {
            true => Ok(()),
            false => Err(PurseError::OtherSeed { seed: keys.public_id() }),
        }
    }

    /// The same as far as the clear part of the key file tells, which needs no password.
    pub fn check_seed(&self, public_id: &str) -> Result<(), PurseError> {
        match self.descriptor(KeychainKind::External).starts_with(&format!("tr([{public_id}/")) {
            true => Ok(()),
            false => Err(PurseError::OtherSeed { seed: public_id.to_owned() }),
        }
    }

    /// Without its checksum.
    fn descriptor(&self, branch: KeychainKind) -> String {
        let text = self.wallet.public_descriptor(branch).to_string();
        text.split_once('#').map_or(text.clone(), |(descriptor, _)| descriptor.to_owned())
    }

    /// Takes the node's blocks for read: the seed of a new wallet owns nothing in them. So many are known by name that a
    /// reorganisation leaves one of them.
    pub async fn begin_at_tip(&mut self, node: &BitcoinRpc) -> Result<(), PurseError> {
        let first = node.tip().await?.height.saturating_sub(NAMED).max(1);
        let headers = node.headers(first, NAMED + 1).await?;
        let named =
            (first..).zip(headers).map(|(height, header)| BlockId { height, hash: header.block_hash() });
        let chain = self.wallet.latest_checkpoint().extend(named).ok();
        let begun = self.wallet.apply_update(Update { chain, ..Update::default() });
        begun.map_err(|why| PurseError::Blocks(why.to_string()))?;
        self.save()
    }

    /// Reads the node's blocks from where the wallet stands; a new wallet begins behind `birthday`. Follows reorgs.
    pub async fn sync(&mut self, node: &BitcoinRpc, birthday: u32) -> Result<(), PurseError> {
        loop {
            let (known, tip) = (self.last_common(node).await?, self.height());
            let first = if known.height == 0 { birthday.max(1) } else { known.height + 1 };
            let headers = match node.headers(first, MAX_HEADERS).await {
                Err(RpcError::ChainMoved { .. }) => continue,
                headers => headers?,
            };
            if headers.is_empty() {
                return self.save();
            }
            let mut connected = known;
            for (height, header) in (first..).zip(headers) {
                let hash = header.block_hash();
                let Some(block) = node.block(hash).await? else { break };
                let applied = self.wallet.apply_block_connected_to(&block, height, connected);
                applied.map_err(|why| PurseError::Blocks(why.to_string()))?;
                connected = BlockId { height, hash };
            }
            if known.height < tip {
                self.forget_unconfirmed();
            }
            self.save()?;
        }
    }

    /// Blocks alone count: what a lost block held need not be in the mempool, and the coins that it spent would never be free again.
    fn forget_unconfirmed(&mut self) {
        let lost = self.wallet.transactions().filter(|tx| !tx.chain_position.is_confirmed());
        // At no time in particular, because the wallet is never told of the mempool.
        let lost: Vec<(Txid, u64)> = lost.map(|tx| (tx.tx_node.txid, 0)).collect();
        self.wallet.apply_evicted_txs(lost);
    }

    /// The newest block that the wallet has read and the node still has.
    async fn last_common(&self, node: &BitcoinRpc) -> Result<BlockId, PurseError> {
        for checkpoint in self.wallet.checkpoints() {
            if node.block_hash(checkpoint.height()).await? == Some(checkpoint.hash()) {
                return Ok(checkpoint.block_id());
            }
        }
        Err(PurseError::OtherChain)
    }

    /// Height of the newest block that the wallet has read.
    pub fn height(&self) -> u32 {
        self.wallet.latest_checkpoint().height()
    }

    /// An address that nobody has paid to yet.
    pub fn address(&mut self) -> Result<Address, PurseError> {
        let address = self.wallet.next_unused_address(KeychainKind::External).address;
        self.save()?;
        Ok(address)
    }

    /// Confirmed coins, except those in `reserved` and coinbases that cannot be spent yet.
    pub fn coins(&self, reserved: &BTreeSet<OutPoint>) -> Vec<OwnCoin> {
        let free = self.wallet.list_unspent().filter(|coin| {
            coin.chain_position.is_confirmed() && !reserved.contains(&coin.outpoint) && self.is_mature(coin)
        });
        free.map(own_coin).collect()
    }

    /// What these coins hold.
    pub fn total(&self, reserved: &BTreeSet<OutPoint>) -> Amount {
        self.coins(reserved).iter().map(|coin| coin.output.value).sum()
    }

    fn is_mature(&self, coin: &LocalOutput) -> bool {
        let coinbase = self.wallet.get_tx(coin.outpoint.txid).is_some_and(|tx| tx.tx_node.tx.is_coinbase());
        let height = coin.chain_position.confirmation_height_upper_bound().unwrap_or(u32::MAX);
        !coinbase || height.saturating_add(100) <= self.height().saturating_add(1)
    }

    /// Builds a transaction that pays `output` from confirmed coins that are not reserved and hold more than their inputs cost, with
    /// change where it is worth it, and spends all of `wanted` besides, first. Nothing is reserved by building.
    pub fn fund(
        &mut self,
        output: &TxOut,
        rate: FeeRate,
        reserved: &BTreeSet<OutPoint>,
        wanted: &[OutPoint],
    ) -> Result<Funded, PurseError> {
        let coins = self.coins(reserved);
        let (good, poor): (Vec<_>, Vec<_>) = coins.iter().partition(|coin| coin.worth(rate) > Amount::ZERO);
        let available: Amount = good.iter().map(|coin| coin.output.value).sum();
        let poor = poor.iter().map(|coin| coin.outpoint).filter(|coin| !wanted.contains(coin));
        let kept: Vec<OutPoint> = reserved.iter().copied().chain(poor).collect();
        let mut builder = self.wallet.build_tx();
        builder.add_utxos(wanted).map_err(|why| PurseError::Build(why.to_string()))?;
        builder
            .add_recipient(output.script_pubkey.clone(), output.value)
            .fee_rate(rate)
            .unspendable(kept)
            .exclude_unconfirmed()
            .ordering(TxOrdering::Untouched)
            .nlocktime(LockTime::ZERO)
            // Never replaced: another txid would be another stake than the one that the committee signed for.
            .set_exact_sequence(Sequence::MAX);
        let psbt = builder.finish().map_err(|why| match why {
            CreateTxError::CoinSelection(short) => {
                // Without coins nothing is reckoned for the input that there will be.
                let input = rate.fee_wu(INPUT).filter(|_| short.available == Amount::ZERO);
                let needed = short.needed + input.unwrap_or(Amount::ZERO);
                PurseError::NotEnough { needed, available, rate }
            }
            other => PurseError::Build(other.to_string()),
        })?;
        self.save()?;
        self.funded(psbt)
    }

    fn funded(&self, psbt: Psbt) -> Result<Funded, PurseError> {
        let fee = psbt.fee().map_err(|why| PurseError::Build(why.to_string()))?;
        let transaction = psbt.unsigned_tx;
        let coins = transaction
            .input
            .iter()
            .map(|input| self.coin(input.previous_output))
            .collect::<Result<_, _>>()?;
        Ok(Funded { transaction, coins, fee })
    }

    /// Whether the wallet has a coin and could spend it now.
    pub fn holds(&self, outpoint: OutPoint) -> bool {
        self.wallet.get_utxo(outpoint).is_some()
    }

    /// The coin at an outpoint, if the wallet has it and could spend it now.
    pub fn coin(&self, outpoint: OutPoint) -> Result<OwnCoin, PurseError> {
        self.wallet.get_utxo(outpoint).map(own_coin).ok_or(PurseError::NotOurs(outpoint))
    }

    /// What transactions of ours will bring back to the wallet once a block holds them.
    pub fn unconfirmed<'a>(&self, own: impl Iterator<Item = &'a Transaction>) -> Amount {
        let waits = |tx: &&Transaction| {
            let unspent = tx.input.iter().any(|input| self.coin(input.previous_output).is_ok());
            unspent && self.wallet.get_tx(tx.compute_txid()).is_none()
        };
        let outputs = own.filter(waits).flat_map(|tx| &tx.output);
        outputs.filter(|out| self.wallet.is_mine(out.script_pubkey.clone())).map(|out| out.value).sum()
    }

    /// The outputs of a transaction that are the wallet's, whether a block holds it or not.
    pub fn made_by(&self, tx: &Transaction) -> Vec<OwnCoin> {
        let txid = tx.compute_txid();
        let coin = |(vout, output): (u32, &TxOut)| {
            let (keychain, index) = self.wallet.derivation_of_spk(output.script_pubkey.clone())?;
            let outpoint = OutPoint { txid, vout };
            Some(OwnCoin { outpoint, output: output.clone(), branch: branch_of(keychain), index })
        };
        (0..).zip(&tx.output).filter_map(coin).collect()
    }

    /// Whether a block holds another transaction that spends one of the coins which a transaction spends.
    pub fn is_overtaken(&self, tx: &Transaction) -> bool {
        let own = tx.compute_txid();
        let confirmed =
            |txid: Txid| self.wallet.get_tx(txid).is_some_and(|tx| tx.chain_position.is_confirmed());
        let spenders =
            tx.input.iter().flat_map(|input| self.wallet.tx_graph().outspends(input.previous_output));
        spenders.into_iter().any(|txid| *txid != own && confirmed(*txid))
    }

    /// The smallest coin that holds at least `needed`, a sum with the fee at `rate`.
    pub fn single_coin(
        &self,
        needed: Amount,
        rate: FeeRate,
        reserved: &BTreeSet<OutPoint>,
    ) -> Result<OwnCoin, PurseError> {
        let enough = self.coins(reserved).into_iter().filter(|coin| coin.output.value >= needed);
        enough.min_by_key(|coin| coin.output.value).ok_or(PurseError::NoSingleCoin { needed, rate })
    }

    /// An address for change.
    pub fn change_address(&mut self) -> Result<Address, PurseError> {
        let address = self.wallet.next_unused_address(KeychainKind::Internal).address;
        self.save()?;
        Ok(address)
    }

    fn save(&mut self) -> Result<(), PurseError> {
        if let Some(change) = self.wallet.staged() {
            self.journal.append(change)?;
            self.wallet.take_staged();
        }
        Ok(())
    }
}
