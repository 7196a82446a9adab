//! Giving a finality provider another chain: a key for it, and its place in both configurations.

use crate::keys;
use crate::register::{READING, patiently};
use crate::signer::config::{ChainConfig, SignerConfig};
use crate::voter::config::{SourceConfig, VoterConfig};
use anyhow::{Context as _, ensure};
use clap::Args;
use palisade_hub::client::HubClient;
use palisade_hub::daemon::bounded;
use palisade_hub::daemon::config as files;
use palisade_hub::daemon::endpoint::http_url;
use palisade_hub::daemon::exit::Failure;
use palisade_hub::daemon::genesis::read_genesis;
use palisade_hub::daemon::password::PasswordSource;
use palisade_hub::replica::read_log;
use palisade_protocol::context::ChainId;
use palisade_protocol::genesis::Genesis;
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::ProviderKey;
use reqwest::Url;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::OpenOptions;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A chain to vote on, as its registration with the hub says.
#[derive(Debug, Args)]
pub struct AddChain {
    /// Its name.
    #[arg(long)]
    pub id: ChainId,
    /// Hash of its genesis block.
    #[arg(long)]
    pub genesis_block: Hash32,
    /// Counts its restarts.
    #[arg(long, default_value_t = 0)]
    pub incarnation: u32,
    /// Heights in an epoch.
    #[arg(long)]
    pub epoch_length: u64,
    /// Every so many heights are voted on.
    #[arg(long)]
    pub voted_every: u64,
    /// Where its irreversible blocks are read.
    #[arg(long, value_parser = http_url)]
    pub source: Url,
    /// The signer's configuration.
    #[arg(long, default_value = "signer.toml")]
    pub signer_config: PathBuf,
    /// The voter's configuration.
    #[arg(long, default_value = "voter.toml")]
    pub config: PathBuf,
}

/// A chain that was added.
#[derive(Debug, Serialize)]
pub struct Added {
    /// The chain.
    pub chain: ChainId,
    /// The new key for it.
    pub key: ProviderKey,
}

impl fmt::Display for Added {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "key, chain {}  {}", self.chain, self.key)?;
        write!(f, "next: start signer and voter again, then register --chain {}", self.chain)
    }
}

impl AddChain {
    /// Makes the key and adds the chain to both configurations, if the hub's log holds the chain as it is given.
    pub async fn run(&self) -> Result<Added, Failure> {
        let plan = self.plan()?;
        self.compare(&plan).await?;
        Ok(self.make(&plan)?)
    }

    /// Reads both configurations; they must be good with the chain in them before anything is made.
    fn plan(&self) -> anyhow::Result<Plan> {
        let signer: SignerConfig = files::load(&self.signer_config)?;
        ensure!(signer.chains.iter().all(|chain| chain.id != self.id), "the signer has chain {}", self.id);
        let keys = signer.zero_key_file.parent().context("the key file has no directory")?;
        let key_file = keys.join(format!("{}.json", self.id));
        let chain = ChainConfig {
            id: self.id.clone(),
            genesis: self.genesis_block,
            incarnation: self.incarnation,
            epoch_length: self.epoch_length,
            voted_every: self.voted_every,
            key_file: key_file.clone(),
        };
        let to_signer = table("chains", chain)?;
        let to_voter = table("sources", SourceConfig { chain: self.id.clone(), url: self.source.clone() })?;
        let _: SignerConfig = files::parse(&self.signer_config, &extended(&self.signer_config, &to_signer)?)?;
        let voter = files::parse(&self.config, &extended(&self.config, &to_voter)?)?;
        let genesis = read_genesis(&signer.genesis_file)?;
        Ok(Plan { genesis, signer, voter, key_file, to_signer, to_voter })
    }

    /// A signer with other terms than the hub's would sign what nobody counts.
    async fn compare(&self, plan: &Plan) -> Result<(), Failure> {
        let hub = HubClient::new(plan.voter.hub.url().clone());
        let read = patiently(READING, read_log(&hub, plan.genesis.clone(), drop)).await;
        let ledger = read.map_err(anyhow::Error::from)?;
        let unknown = || {
            Failure::not_now(format_args!("the hub's log holds no chain {}", self.id))
                .hint("governance has to register it first")
                .rule("unknown-chain")
        };
        let chain = ledger.chain(&self.id).ok_or_else(unknown)?;
        let (identity, terms) = (&chain.identity, &chain.terms);
        let rows = [
            ("genesis-block", self.genesis_block.to_string(), identity.genesis.to_string()),
            ("incarnation", self.incarnation.to_string(), identity.incarnation.to_string()),
            ("epoch-length", self.epoch_length.to_string(), terms.epoch_length.to_string()),
            ("voted-every", self.voted_every.to_string(), terms.voted_every.to_string()),
        ];
        let other = rows.iter().filter(|(_, given, registered)| given != registered);
        let other: Vec<String> = other
            .map(|(flag, given, registered)| {
                format!("--{flag} {given}, where the hub's log has {registered}")
            })
            .collect();
        if other.is_empty() {
            return Ok(());
        }
        Err(Failure::usage(format_args!("chain {} is registered with other terms: {}", self.id, other.join("; ")))
            .hint("ask the chain's people which are right; where the hub's log is wrong, votes would not be for their chain"))
    }

    fn make(&self, plan: &Plan) -> anyhow::Result<Added> {
        let (signer, network) = (&plan.signer, plan.genesis.network());
        let password = PasswordSource::usual(signer.password_file.clone()).read("Password of the keys: ")?;
        // The one password must open all keys when the signer starts.
        keys::open_bls(&signer.bls_key_file, &password, network)?;
        let key = keys::create_provider(&plan.key_file, &self.id, &password, network)?;
        append(&self.signer_config, &plan.to_signer)?;
        append(&self.config, &plan.to_voter)?;
        Ok(Added { chain: self.id.clone(), key })
    }
}

/// What is going to be made.
struct Plan {
    genesis: Arc<Genesis>,
    signer: SignerConfig,
    voter: VoterConfig,
    key_file: PathBuf,
    to_signer: String,
    to_voter: String,
}

/// One more table of an array, to be appended to a configuration.
fn table(name: &str, item: impl Serialize) -> anyhow::Result<String> {
    Ok(format!("\n{}", toml::to_string(&BTreeMap::from([(name, [item])]))?))
}

fn extended(path: &Path, more: &str) -> anyhow::Result<String> {
    let text = bounded::read_text(path).with_context(|| path.display().to_string())?;
    Ok(text + more)
}

fn append(path: &Path, more: &str) -> anyhow::Result<()> {
    let mut file = OpenOptions::new().append(true).open(path)?;
    file.write_all(more.as_bytes())?;
    Ok(file.sync_all()?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::tests::init;
    use palisade_hub::daemon::shutdown::Shutdown;
    use palisade_protocol::context::Terms;
    use palisade_protocol::governance::{Action, NewChain};
    use palisade_regtest::hub;
    use palisade_regtest::world::World;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_chain_is_added_with_the_terms_of_the_hubs_log_and_with_no_others() {
        let dir = tempfile::tempdir().unwrap();
        let mut world = World::new(1_000);
        let terms = Terms { epoch_length: 50, voted_every: 5, minimum_power_sat: 1_000 };
        let chain = NewChain { id: "dev".parse().unwrap(), genesis: Hash32([5; 32]), terms };
        world.govern(Action::RegisterChain(chain)).unwrap();
        world.close();
        let stop = Shutdown::manual();
        let served = hub::serve(&hub::of(&world, &dir.path().join("hub")), &stop).await;
        let mut init = init(dir.path(), world.ledger.genesis().document());
        init.hub = served.parse().unwrap();
        let made = init.run().unwrap();
        let files_now = || [&made.signer_config, &made.config].map(|file| std::fs::read(file).unwrap());
        let untouched = files_now();
        let add = |id: &str, genesis, epoch_length, voted_every| AddChain {
            id: id.parse().unwrap(),
            genesis_block: Hash32([genesis; 32]),
            incarnation: 0,
            epoch_length,
            voted_every,
            source: "http://127.0.0.1:3".parse().unwrap(),
            signer_config: made.signer_config.clone(),
            config: made.config.clone(),
        };
        for (wrong, code, part) in [
            (add("dev", 6, 50, 5), 2, "--genesis-block 0606"),
            (add("dev", 5, 100, 5), 2, "other terms: --epoch-length 100, where the hub's log has 50"),
            (add("dev", 5, 50, 10), 2, "--voted-every 10, where the hub's log has 5"),
            (AddChain { incarnation: 1, ..add("dev", 5, 50, 5) }, 2, "--incarnation 1"),
            (add("other", 5, 50, 5), 3, "the hub's log holds no chain other"),
            (add("other", 5, 51, 5), 2, "multiple of voted_every"),
        ] {
            let why = wrong.run().await.unwrap_err();
            assert!(why.to_string().contains(part) && why.exit() as u8 == code, "{why}");
        }
        assert_eq!(files_now(), untouched);
        let added = add("dev", 5, 50, 5).run().await.unwrap();
        let signer: SignerConfig = files::load(&made.signer_config).unwrap();
        let voter: VoterConfig = files::load(&made.config).unwrap();
        assert_eq!((voter.sources[0].chain.as_str(), signer.chains.len()), ("dev", 1));
        let password = PasswordSource::File(dir.path().join("password")).read("").unwrap();
        let network = bitcoin::Network::Regtest;
        let opened = keys::open_provider(&signer.chains[0].key_file, &added.chain, &password, network);
        assert_eq!(ProviderKey::from(opened.unwrap().public()), added.key);
        let why = add("dev", 5, 50, 5).run().await.unwrap_err().to_string();
        assert!(why.contains("has chain dev"), "{why}");
        stop.trigger();
    }
}
