//! `register`: one key for one chain, backed by a coin of the operator's.

use crate::keys;
use crate::signer::client::SignerClient;
use crate::signer::request::RegisterRequest;
use crate::voter::config::VoterConfig;
use anyhow::Context as _;
use bitcoin::secp256k1::SecretKey;
use bitcoin::{Address, OutPoint};
use clap::Args;
use palisade_hub::bitcoind::{BitcoinRpc, ScannedOutput};
use palisade_hub::client::{HubClient, HubError, Receipt};
use palisade_hub::daemon::ask::{SILENCE, patiently, progress};
use palisade_hub::daemon::config as files;
use palisade_hub::daemon::exit::Failure;
use palisade_hub::daemon::genesis::read_genesis;
use palisade_hub::daemon::password::PasswordSource;
use palisade_hub::daemon::secret::Erased;
use palisade_hub::replica::{find_in_log, read_log};
use palisade_protocol::backing::Backing;
use palisade_protocol::bip322;
use palisade_protocol::context::ChainId;
use palisade_protocol::genesis::Genesis;
use palisade_protocol::hash::Hash32;
use palisade_protocol::inclusion::InclusionProof;
use palisade_protocol::keys::ProviderKey;
use palisade_protocol::message::Message;
use palisade_protocol::provider::ProviderRegistration;
use palisade_protocol::units::Height;
use rand::rngs::OsRng;
use serde::Serialize;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Pause between two attempts.
const PAUSE: Duration = Duration::from_millis(500);

/// Which key to register.
#[derive(Debug, Args)]
pub struct Register {
    /// The chain whose key it is.
    #[arg(long)]
    pub chain: ChainId,
    /// Who runs it: groups the keys of one operator. Printable ASCII.
    #[arg(long)]
    pub operator: String,
    /// The voter's configuration.
    #[arg(long, default_value = "voter.toml")]
    pub config: PathBuf,
    /// Seconds to wait for a hub that does not know the chain or the coin's block yet.
    #[arg(long, default_value_t = 60)]
    pub wait_s: u64,
}

/// A registered key.
#[derive(Debug, Serialize)]
pub struct Registered {
    /// The chain.
    pub chain: ChainId,
    /// The key.
    pub key: ProviderKey,
    /// The operator's name, as it is registered.
    pub operator: String,
    /// The coin behind it; absent if the key was registered before.
    pub backing: Option<OutPoint>,
    /// The message in the log.
    pub message: Option<Hash32>,
    /// The hub block that holds it.
    pub hub_height: Option<Height>,
}

impl fmt::Display for Registered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.backing, &self.hub_height) {
            (Some(backing), Some(height)) => write!(
                f,
                "key {} of {:?} is registered for chain {} in hub block {height}, backed by {backing}",
                self.key, self.operator, self.chain
            ),
            _ => write!(
                f,
                "key {} of {:?} was registered for chain {} before",
                self.key, self.operator, self.chain
            ),
        }
    }
}

/// What a command says while it reads the log.
pub(crate) const READING: &str = "replaying the hub's log, to believe nothing but that …";

/// Everybody whom a registration needs.
struct Parties {
    genesis: Arc<Genesis>,
    hub: HubClient,
    bitcoin: BitcoinRpc,
    signer: SignerClient,
    funding: Erased<SecretKey>,
    address: Address,
}

impl Register {
    /// Registers the key, and waits until that is in the hub's log.
    pub async fn run(&self) -> Result<Registered, Failure> {
        let config: VoterConfig = files::load(&self.config).map_err(Failure::usage)?;
        let parties = Parties::of(&config)?;
        let no_signer = |why| {
            Failure::not_now(why).hint("start it with `palisade-finality-provider signer --config FILE`")
        };
        let identity = parties.signer.identity().await.map_err(no_signer)?;
        let own = identity.chains.iter().find(|own| own.chain == self.chain).ok_or_else(|| {
            Failure::failed(format_args!("the signer has no key for chain {}", self.chain))
                .hint("`palisade-finality-provider add-chain` makes one; start the signer again after it")
        })?;
        let scan = format!("looking for coins at {} among all unspent outputs of Bitcoin …", parties.address);
        for coin in patiently(SILENCE, &scan, parties.coins()).await? {
            let message = self.message(&parties, &coin, own.key).await?;
            match self.submit(&parties.hub, &message).await {
                Ok(_) => {
                    return Ok(Registered {
                        hub_height: Some(parties.find(&message).await?),
                        chain: self.chain.clone(),
                        key: own.key,
                        operator: self.operator.clone(),
                        backing: Some(coin.outpoint),
                        message: Some(message.id()),
                    });
                }
                // Another key, or a stake, stands on this coin.
                Err(HubError::Refused { rule, .. }) if rule == "backing-used" => {}
                Err(HubError::Refused { rule, .. }) if rule == "repeated" => {
                    let lie = || {
                        Failure::failed(format_args!(
                            "the hub says that {} is registered, and its log does not hold that",
                            own.key
                        ))
                    };
                    let known = parties.known(&own.key).await?.ok_or_else(lie)?;
                    return self.before(own.key, known);
                }
                Err(why) if why.can_be_retried() => return Err(Failure::not_now(why)),
                Err(why) => return Err(Failure::failed(why)),
            }
        }
        if let Some(known) = parties.known(&own.key).await? {
            return self.before(own.key, known);
        }
        let address = &parties.address;
        Err(Failure::not_now(format_args!("there is no unused coin at {address}"))
            .hint("send any amount to that address, one coin for each chain, and run this again once it is confirmed"))
    }

    /// The key was registered before. Another name than the one that is registered would silently stay another.
    fn before(&self, key: ProviderKey, operator: String) -> Result<Registered, Failure> {
        let chain = self.chain.clone();
        if operator == self.operator {
            return Ok(Registered { chain, key, operator, backing: None, message: None, hub_height: None });
        }
        Err(Failure::failed(format_args!(
            "key {key} is registered for chain {chain} already, under the name {operator:?} and not {:?}",
            self.operator
        ))
        .hint("a registration cannot be changed: keep the name, or make another key with `init` in a new directory"))
    }

    async fn message(
        &self,
        parties: &Parties,
        coin: &ScannedOutput,
        key: ProviderKey,
    ) -> anyhow::Result<Message> {
        let proof = parties.prove(coin).await?;
        let text = ProviderRegistration::text(&parties.genesis.id(), &self.chain, &key);
        let random = keys::random_bytes(&mut OsRng)?;
        let witness = bip322::sign_p2tr_key_path(&parties.funding, text.as_bytes(), &random)?;
        let backing = Backing { proof, vout: coin.outpoint.vout, witness };
        let request = RegisterRequest {
            chain: self.chain.clone(),
            operator: self.operator.clone(),
            backing: backing.outpoint(),
        };
        let signed = parties.signer.register(request).await?;
        Ok(Message::Provider(Box::new(ProviderRegistration {
            chain: self.chain.clone(),
            key: signed.key,
            operator: self.operator.clone(),
            bls: signed.bls,
            backing,
            signature: signed.signature,
        })))
    }

    /// Submits until the hub takes it, refuses it for good, or the time is over.
    async fn submit(&self, hub: &HubClient, message: &Message) -> Result<Receipt, HubError> {
        let (began, patience) = (Instant::now(), Duration::from_secs(self.wait_s));
        let mut wait = Wait::default();
        loop {
            match patiently(SILENCE, "waiting for the hub's next block …", hub.submit(message)).await {
                Err(why) if why.can_be_retried() && began.elapsed() < patience => {
                    wait.line(&why, began.elapsed(), patience).iter().for_each(progress);
                    tokio::time::sleep(PAUSE).await;
                }
                done => return done,
            }
        }
    }
}

/// What somebody who waits has been told.
#[derive(Debug, Default)]
struct Wait {
    told: Option<String>,
}

impl Wait {
    /// What to say now: after two seconds why nothing goes on, and again when that changes.
    fn line(&mut self, why: &impl fmt::Display, waited: Duration, patience: Duration) -> Option<String> {
        let why = why.to_string();
        if waited < SILENCE || self.told.as_ref() == Some(&why) {
            return None;
        }
        let left = patience.saturating_sub(waited).as_secs();
        let line = format!("not yet: {why}; trying again for {left} s");
        self.told = Some(why);
        Some(line)
    }
}

impl Parties {
    fn of(config: &VoterConfig) -> anyhow::Result<Self> {
        let genesis = read_genesis(&config.genesis_file)?;
        let password =
            PasswordSource::usual(config.password_file.clone()).read("Password of the funding key: ")?;
        let (funding, address) = keys::open_funding(&config.funding_key_file, &password, genesis.network())?;
        Ok(Self {
            hub: HubClient::new(config.hub.url().clone()),
            bitcoin: config.bitcoin_rpc()?,
            signer: SignerClient::new(&config.signer_socket),
            funding,
            address,
            genesis,
        })
    }

    /// The block of the hub's log that holds a message which the hub says it took.
    async fn find(&self, message: &Message) -> Result<Height, Failure> {
        let id = message.id();
        let found = patiently(SILENCE, READING, find_in_log(&self.hub, self.genesis.clone(), id)).await;
        let lie =
            || Failure::failed(format_args!("the hub says that it took {id}, and its log does not hold it"));
        found.map_err(Failure::failed)?.ok_or_else(lie)
    }

    /// The operator's name under which the hub's log holds a key, if it does.
    async fn known(&self, key: &ProviderKey) -> Result<Option<String>, Failure> {
        let read = patiently(SILENCE, READING, read_log(&self.hub, self.genesis.clone(), drop)).await;
        let ledger = read.map_err(anyhow::Error::from)?;
        Ok(ledger.providers().get(key).map(|known| known.operator.clone()))
    }

    /// Confirmed coins of the operator, oldest first. A coinbase is none: it can vanish with its block.
    async fn coins(&self) -> Result<Vec<ScannedOutput>, Failure> {
        let scan = self.bitcoin.scan_tx_out_set(&format!("addr({})", self.address)).await;
        let mut coins = scan.map_err(Failure::not_now)?.unspent;
        coins.retain(|coin| !coin.coinbase);
        coins.sort_by_key(|coin| coin.height);
        Ok(coins)
    }

    async fn prove(&self, coin: &ScannedOutput) -> anyhow::Result<InclusionProof> {
        let moved = "the chain moved; try again";
        let hash = self.bitcoin.block_hash(coin.height).await?.context(moved)?;
        let block = self.bitcoin.block(hash).await?.context(moved)?;
        let index = block.txdata.iter().position(|tx| tx.compute_txid() == coin.outpoint.txid);
        Ok(InclusionProof::from_block(&block, u32::try_from(index.context(moved)?)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_told_why_after_two_seconds_and_when_that_changes() {
        let (mut wait, patience) = (Wait::default(), Duration::from_secs(60));
        let mut line = |why: &str, ms| wait.line(&why, Duration::from_millis(ms), patience);
        assert_eq!(line("no chain", 0), None);
        assert_eq!(line("no chain", 1_999), None);
        assert_eq!(line("no chain", 2_000).unwrap(), "not yet: no chain; trying again for 58 s");
        assert_eq!(line("no chain", 9_000), None);
        assert_eq!(line("no block", 59_000).unwrap(), "not yet: no block; trying again for 1 s");
    }

    #[test]
    fn a_key_under_another_name_is_no_success() {
        let chain = ChainId::zero();
        let register = Register { chain, operator: "otto".to_owned(), config: PathBuf::new(), wait_s: 0 };
        let key = palisade_world::provider_key("otto");
        let before = register.before(key, "otto".to_owned()).unwrap();
        assert!(before.to_string().contains("of \"otto\" was registered"), "{before}");
        let why = register.before(key, "anna".to_owned()).unwrap_err();
        assert!(why.to_string().contains("under the name \"anna\" and not \"otto\""), "{why}");
        assert_eq!(why.exit() as u8, 1);
    }
}
