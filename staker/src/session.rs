//! What every command works with: the configuration, the book, the wallet, the copy of the hub's log, the two connections.
//!
//! Opening it reads the disk only. What a command needs from Bitcoin or the hub, it asks for by name.

use crate::behind;
use crate::book::{Book, BookError};
use crate::config::Config;
use crate::failures;
use crate::keys::{KEY_PURPOSE, Keys, staker_key};
use crate::purse::{Purse, PurseError};
use crate::record::StakeRecord;
use crate::standing;
use crate::when::Calendar;
use crate::words::View;
use bitcoin::{Amount, BlockHash, Network, OutPoint, Txid};
use palisade_hub::bitcoind::{Auth, BitcoinRpc};
use palisade_hub::client::HubClient;
use palisade_hub::daemon::ask::progress;
use palisade_hub::daemon::config as files;
use palisade_hub::daemon::exit::Failure;
use palisade_hub::daemon::genesis::read_genesis_for;
use palisade_hub::daemon::keyfile::{self, KdfCost};
use palisade_hub::daemon::lock::{DirLock, LockError};
use palisade_hub::daemon::node::{BitcoinAuth, BitcoinConfig};
use palisade_hub::daemon::password::PasswordSource;
use palisade_hub::ledger::Ledger;
use palisade_hub::ledger::stake::Stake;
use palisade_hub::replica::Replica;
use palisade_protocol::genesis::Genesis;
use palisade_protocol::inclusion::InclusionProof;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// How long one question for new blocks of the hub may wait.
const FOLLOW: Duration = Duration::from_secs(5);

/// Name of the book's file in the wallet's data directory.
pub const BOOK_FILE: &str = "stakes.json";

/// An open wallet.
pub struct Session {
    /// The configuration.
    pub config: Config,
    /// What the hub was born with.
    pub genesis: Arc<Genesis>,
    /// The holder's stakes.
    pub book: Book,
    /// The holder's coins.
    pub purse: Purse,
    /// The own copy of the hub's log.
    pub replica: Replica,
    /// The hub.
    pub hub: HubClient,
    /// The Bitcoin node.
    pub node: BitcoinRpc,
    _lock: DirLock,
}

/// A client of the node that a configuration names.
pub fn connect(config: &BitcoinConfig) -> Result<BitcoinRpc, Failure> {
    let auth = match config.auth() {
        BitcoinAuth::Cookie(path) => Auth::Cookie(path.clone()),
        BitcoinAuth::User { .. } => {
            let known = config.auth().credentials().map_err(Failure::usage)?;
            Auth::UserPass { user: known.user, password: known.password.expose().to_owned() }
        }
    };
    BitcoinRpc::new(config.rpc_url().as_str(), auth).map_err(failures::node)
}

fn open_keys(config: &Config, network: Network) -> Result<Keys, Failure> {
    let source = PasswordSource::usual(config.password_file.clone());
    let password = source.read("Password of the wallet: ")?;
    let weakest = KdfCost::for_network(network);
    let opened = keyfile::open::<32>(&config.key_file, KEY_PURPOSE, &password, weakest);
    let (_, seed) = opened?;
    Ok(Keys::new(&seed, network)?)
}

/// The wallet in its file. One whose file is gone is made again from the seed, and reads the blocks again.
fn open_purse(config: &Config, network: Network) -> Result<Purse, Failure> {
    let file = config.data_dir.join("wallet.jsonl");
    match Purse::open(&file, network) {
        Err(PurseError::Missing) => {
            progress(format_args!("{} is missing: it is made again from the seed", file.display()));
            Ok(Purse::create(&file, &open_keys(config, network)?, network)?)
        }
        opened => {
            let purse = opened?;
            // Where the key file is elsewhere, whatever needs the keys says so.
            if let Ok(label) = keyfile::read_label(&config.key_file) {
                purse.check_seed(label.public_id())?;
            }
            Ok(purse)
        }
    }
}

impl Session {
    /// Opens the wallet that a configuration file describes.
    pub fn open(config: &Path) -> Result<Self, Failure> {
        Self::open_with(config, Book::open)
    }

    /// The same, to find out which stakes the wallet has: its book may be missing.
    pub fn open_for_recovery(config: &Path) -> Result<Self, Failure> {
        Self::open_with(config, Book::open_or_blank)
    }

    fn open_with(config: &Path, open: fn(&Path) -> Result<Book, BookError>) -> Result<Self, Failure> {
        let config: Config = files::load(config)
            .map_err(|why| Failure::usage(why).hint("`palisade-staker init` makes one; --config names it"))?;
        let genesis = read_genesis_for(config.network, &config.genesis_file)
            .map_err(|why| Failure::usage(format_args!("{why:#}")))?;
        let network = genesis.network();
        let lock = DirLock::acquire(&config.data_dir).map_err(|why| match why {
            LockError::Held { holder, .. } => {
                let who = holder.map(|process| format!(", process {process}")).unwrap_or_default();
                Failure::not_now(format_args!("another command{who}, is at work on this wallet"))
                    .hint("try again in a moment: one at a time works on a wallet")
            }
            why => Failure::failed(why),
        })?;
        Ok(Self {
            book: open(&config.data_dir.join(BOOK_FILE))?,
            purse: open_purse(&config, network)?,
            replica: Replica::open(&config.data_dir, genesis.clone()).map_err(failures::replica)?,
            hub: HubClient::new(config.hub.url().clone()).telling(),
            node: connect(&config.bitcoin)?,
            genesis,
            config,
            _lock: lock,
        })
    }

    /// The network.
    pub fn network(&self) -> Network {
        self.genesis.network()
    }

    /// The state that follows from the own copy of the log.
    pub fn ledger(&self) -> &Ledger {
        self.replica.ledger()
    }

    /// Reads the encrypted seed; may ask for the password.
    pub fn keys(&self) -> Result<Keys, Failure> {
        let keys = open_keys(&self.config, self.network())?;
        self.purse.check_keys(&keys)?;
        self.check_book(&keys)?;
        Ok(keys)
    }

    /// Refuses a book of other keys: what it says of stakes is not about this wallet's.
    fn check_book(&self, keys: &Keys) -> Result<(), Failure> {
        for record in self.book.stakes() {
            if staker_key(&*keys.staking(record.key_index)?) != record.staker {
                let (file, name) = (self.config.data_dir.join(BOOK_FILE), record.name());
                return Err(Failure::failed(format_args!(
                    "book of stakes {}: its stake {name} has a key of another seed than the key file's",
                    file.display()
                ))
                .hint("put this wallet's own book back, or move this one away: `palisade-staker recover` then makes it again"));
            }
        }
        Ok(())
    }

    /// Reads new Bitcoin blocks into the wallet, from a node that is on the right network.
    pub async fn sync(&mut self) -> Result<(), Failure> {
        self.node.check_network(self.network()).await.map_err(failures::node)?;
        let birthday = self.genesis.document().base_height.0;
        Ok(self.purse.sync(&self.node, birthday).await?)
    }

    /// Replays what is new in the hub's log. Only the hub of the genesis document is listened to.
    pub async fn catch_up(&mut self) -> Result<(), Failure> {
        let found = self.hub.genesis().await.map_err(failures::hub)?;
        if found != *self.genesis.document() {
            return Err(Failure::failed("the hub has another genesis document than the one configured")
                .hint("check `hub.url` and `genesis_file`"));
        }
        self.replica.catch_up(&self.hub).await.map_err(failures::replica)
    }

    /// Follows the hub's log for a moment.
    pub async fn follow(&mut self) -> Result<(), Failure> {
        self.replica.follow(&self.hub, FOLLOW).await.map(drop).map_err(failures::replica)
    }

    /// Refuses to act on a hub that follows another Bitcoin chain than the own node, or on a node that is behind.
    pub async fn check_same_bitcoin(&self) -> Result<(), Failure> {
        behind::check(&self.node, None).await?;
        let tip = self.ledger().bitcoin().tip();
        let own = self.node.block_hash(tip.height.0).await.map_err(failures::node)?;
        if own == Some(tip.hash) {
            return Ok(());
        }
        Err(Failure::not_now(format_args!(
            "your Bitcoin node does not have block {} ({}), on which the hub stands",
            tip.height, tip.hash
        ))
        .hint("one of the two is behind or on another branch; nothing is sent until they agree"))
    }

    /// Coins that stakes under way will spend.
    pub fn reserved(&self) -> BTreeSet<OutPoint> {
        self.book
            .reserved(|record| self.is_overtaken(record) || standing::is_over(record, self.known(record)))
    }

    /// Coins that cannot back a registration: those that stakes under way will spend, and those that the log holds for a stake
    /// that came to nothing, until that lapses.
    pub fn held(&self) -> BTreeSet<OutPoint> {
        let own = self.purse.coins(&BTreeSet::new()).into_iter().map(|coin| coin.outpoint);
        let backing = own.filter(|coin| self.ledger().stakes().backed_by(coin).is_some());
        self.reserved().into_iter().chain(backing).collect()
    }

    /// Why coins that are free cannot back a registration yet: the log still holds them.
    pub fn still_backing(&self) -> Failure {
        let coins = self.purse.coins(&self.reserved());
        let stakes = coins.iter().filter_map(|coin| {
            self.ledger()
                .stakes()
                .backed_by(&coin.outpoint)
                .map(|stake| (coin.output.value, stake.lapses_at.0))
        });
        let (sum, last) =
            stakes.fold((Amount::ZERO, 0), |(sum, last), (value, lapses)| (sum + value, last.max(lapses)));
        let when = Calendar::of(self.network()).height(last, self.ledger().btc_height().0);
        Failure::not_now(format_args!(
            "{sum} of free coins back registrations that came to nothing, and can back no other until those have lapsed, at {when}"
        ))
        .hint("send other coins to `palisade-staker address`; `stake --confirmed` can use these at once")
    }

    /// Whether no block holds a stake and one still may.
    pub fn is_under_way(&self, record: &StakeRecord) -> bool {
        standing::is_under_way(record, self.known(record)) && !self.is_overtaken(record)
    }

    /// Whether a block holds another transaction that spends a coin which a stake's transaction spends, as far as the log
    /// and the wallet know.
    fn is_overtaken(&self, record: &StakeRecord) -> bool {
        self.purse.is_overtaken(&record.staking_tx) || standing::displaced(record, self.ledger()).is_some()
    }

    /// What a lack of coins means: that some are on their way, or set aside, or that more must be sent.
    pub fn lack(&self, why: PurseError) -> Failure {
        if !matches!(why, PurseError::NotEnough { .. } | PurseError::NoSingleCoin { .. }) {
            return why.into();
        }
        let sent = self.book.stakes().iter().filter(|record| record.broadcast);
        let change = self.purse.unconfirmed(sent.map(|record| &record.staking_tx));
        let (all, free) = (self.purse.total(&BTreeSet::new()), self.purse.total(&self.reserved()));
        let reserved = all.checked_sub(free).unwrap_or_default();
        match (change, reserved) {
            (Amount::ZERO, Amount::ZERO) => why.into(),
            (Amount::ZERO, reserved) => Failure::not_now(why).hint(format_args!(
                "{reserved} are set aside for stakes that you have begun: see `palisade-staker status`"
            )),
            (change, _) => Failure::not_now(why).hint(format_args!(
                "{change} of change wait for a confirmation: try again after the next block"
            )),
        }
    }

    /// What the own copy of the log knows of a stake.
    pub fn known(&self, record: &StakeRecord) -> Option<&Stake> {
        standing::known(record, self.ledger())
    }

    /// What words about stakes are found from. `tip` is the own node's height, where it was asked for.
    pub fn view(&self, tip: Option<u32>) -> View<'_> {
        let ledger = self.ledger();
        let calendar = Calendar::of(self.network());
        View { ledger, book: self.book.stakes(), calendar, tip: tip.unwrap_or(ledger.btc_height().0) }
    }

    /// Refuses to decide on what a node says that is behind its peers or the hub.
    pub async fn check_node(&self) -> Result<(), Failure> {
        behind::check(&self.node, Some(self.ledger().btc_height().0)).await
    }

    /// The block of the own node's best chain that holds a transaction, if one does.
    pub async fn block_of(&self, txid: Txid) -> Result<Option<BlockHash>, Failure> {
        let found = self.node.raw_transaction(txid).await.map_err(failures::node)?;
        Ok(found.and_then(|found| found.mined_in))
    }

    /// Proof that a transaction is in a block, from the own node.
    pub async fn prove(&self, txid: Txid) -> Result<InclusionProof, Failure> {
        let unconfirmed = || Failure::not_now(format_args!("{txid} has no confirmation yet"));
        let hash = self.block_of(txid).await?.ok_or_else(unconfirmed)?;
        let block = self.node.block(hash).await.map_err(failures::node)?.ok_or_else(unconfirmed)?;
        let index = block.txdata.iter().position(|tx| tx.compute_txid() == txid);
        let index = index.and_then(|index| u32::try_from(index).ok()).ok_or_else(unconfirmed)?;
        InclusionProof::from_block(&block, index).map_err(Failure::failed)
    }
}
