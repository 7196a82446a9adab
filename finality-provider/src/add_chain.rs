//! Giving a finality provider another chain: a key for it, and its place in both configurations.

use crate::keys;
use crate::register::READING;
use crate::signer::config::{ChainConfig, SignerConfig};
use crate::voter::config::{SourceConfig, VoterConfig};
use anyhow::{Context as _, bail, ensure};
use clap::Args;
use palisade_hub::client::HubClient;
use palisade_hub::daemon::ask::{SILENCE, patiently};
use palisade_hub::daemon::bounded;
use palisade_hub::daemon::config::{self as files, Validate};
use palisade_hub::daemon::endpoint::http_url;
use palisade_hub::daemon::exit::Failure;
use palisade_hub::daemon::genesis::read_genesis;
use palisade_hub::daemon::password::{Password, PasswordSource};
use palisade_hub::replica::read_log;
use palisade_protocol::context::ChainId;
use palisade_protocol::genesis::Genesis;
use palisade_protocol::hash::Hash32;
use palisade_protocol::keys::ProviderKey;
use reqwest::Url;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::fmt;
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
    /// Makes the key and adds the chain to both configurations, if the hub's log holds the chain as it is given. What an earlier
    /// try has left half done is taken up: only what is missing is made.
    pub async fn run(&self) -> Result<Added, Failure> {
        let plan = self.plan()?;
        self.compare(&plan).await?;
        Ok(self.make(&plan)?)
    }

    /// Reads both configurations; they must be good with the chain in them before anything is made.
    fn plan(&self) -> anyhow::Result<Plan> {
        let signer: SignerConfig = files::load(&self.signer_config)?;
        let voter: VoterConfig = files::load(&self.config)?;
        let chain = self.chain(&signer)?;
        let (known, source) = self.held(&signer, &voter, &chain)?;
        let key = match known {
            Some(known) => Key::Signers(known.key_file.clone()),
            None => Key::Ours(chain.key_file.clone()),
        };
        let to_signer = known.is_none().then(|| table("chains", chain)).transpose()?;
        let new_source =
            || table("sources", SourceConfig { chain: self.id.clone(), url: self.source.clone() });
        let to_voter = source.is_none().then(new_source).transpose()?;
        extended::<SignerConfig>(&self.signer_config, to_signer.as_deref())?;
        extended::<VoterConfig>(&self.config, to_voter.as_deref())?;
        let genesis = read_genesis(&signer.genesis_file)?;
        Ok(Plan { genesis, signer, voter, key, to_signer, to_voter })
    }

    /// The chain as the signer is to have it.
    fn chain(&self, signer: &SignerConfig) -> anyhow::Result<ChainConfig> {
        let keys = signer.zero_key_file.parent().context("the key file has no directory")?;
        Ok(ChainConfig {
            id: self.id.clone(),
            genesis: self.genesis_block,
            incarnation: self.incarnation,
            epoch_length: self.epoch_length,
            voted_every: self.voted_every,
            // No chain's name makes this the file of another key: theirs do not begin so.
            key_file: keys.join(format!("chain-{}.json", self.id)),
        })
    }

    /// What an earlier try has added. It must be what is asked for now, and not all of it.
    fn held<'a>(
        &self,
        signer: &'a SignerConfig,
        voter: &'a VoterConfig,
        chain: &ChainConfig,
    ) -> anyhow::Result<(Option<&'a ChainConfig>, Option<&'a SourceConfig>)> {
        let known = signer.chains.iter().find(|known| known.id == self.id);
        if let Some(known) = known {
            let (file, id) = (self.signer_config.display(), &self.id);
            ensure!(
                known.has_terms_of(chain),
                "{file} has chain {id} already, with other terms: compare them"
            );
        }
        let mut sources = voter.sources.iter().filter(|source| source.chain == self.id);
        let source = sources.clone().find(|source| source.url == self.source).or(sources.next());
        if let Some(source) = source {
            let (file, id, url) = (self.config.display(), &self.id, &source.url);
            ensure!(*url == self.source, "{file} has a source of chain {id} already, {url}: change it there");
        }
        if known.is_some() && source.is_some() {
            let (signer, voter) = (self.signer_config.display(), self.config.display());
            bail!("the provider has chain {} already: {signer} and {voter} hold it", self.id);
        }
        Ok((known, source))
    }

    /// A signer with other terms than the hub's would sign what nobody counts.
    async fn compare(&self, plan: &Plan) -> Result<(), Failure> {
        let hub = HubClient::new(plan.voter.hub.url().clone());
        let read = patiently(SILENCE, READING, read_log(&hub, plan.genesis.clone(), drop)).await;
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
        let key = self.key(&plan.key, &password, network)?;
        // The signer first: a voter that has a source, and no key at its signer, can only miss heights.
        extend::<SignerConfig>(&self.signer_config, plan.to_signer.as_deref())?;
        extend::<VoterConfig>(&self.config, plan.to_voter.as_deref())?;
        Ok(Added { chain: self.id.clone(), key })
    }

    /// The key that is there, or a new one.
    fn key(&self, key: &Key, password: &Password, network: bitcoin::Network) -> anyhow::Result<ProviderKey> {
        let open = |file: &Path| {
            anyhow::Ok(ProviderKey::from(keys::open_provider(file, &self.id, password, network)?.public()))
        };
        match key {
            Key::Signers(file) => open(file),
            Key::Ours(file) if file.symlink_metadata().is_ok() => open(file).with_context(|| {
                format!(
                    "{} is there and no configuration names it; move it away for a new key",
                    file.display()
                )
            }),
            Key::Ours(file) => keys::create_provider(file, &self.id, password, network),
        }
    }
}

/// Where the chain's key is.
enum Key {
    /// In the file that the signer's configuration names.
    Signers(PathBuf),
    /// In a file that no configuration names yet: it is to be made, unless an earlier try has.
    Ours(PathBuf),
}

/// What is going to be made.
struct Plan {
    genesis: Arc<Genesis>,
    signer: SignerConfig,
    voter: VoterConfig,
    key: Key,
    /// Nothing if it has the chain.
    to_signer: Option<String>,
    /// Nothing if it has the chain.
    to_voter: Option<String>,
}

/// One more table of an array, to be appended to a configuration.
fn table(name: &str, item: impl Serialize) -> anyhow::Result<String> {
    Ok(format!("\n{}", toml::to_string(&BTreeMap::from([(name, [item])]))?))
}

/// The text of a configuration with more at its end, which is still a good one.
fn extended<T: DeserializeOwned + Validate>(path: &Path, more: Option<&str>) -> anyhow::Result<String> {
    let text = bounded::read_text(path).with_context(|| path.display().to_string())?;
    let text = text + more.unwrap_or_default();
    ensure!(text.len() <= files::MAX_BYTES, files::ConfigError::TooLong { path: path.to_owned() });
    let _: T = files::parse(path, &text)?;
    Ok(text)
}

/// Puts more at the end of a configuration: all of it, or nothing.
fn extend<T: DeserializeOwned + Validate>(path: &Path, more: Option<&str>) -> anyhow::Result<()> {
    if more.is_none() {
        return Ok(());
    }
    let text = extended::<T>(path, more)?;
    bounded::replace(path, text.as_bytes())
        .with_context(|| format!("cannot write the configuration {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::Made;
    use crate::init::tests::init;
    use palisade_hub::daemon::shutdown::Shutdown;
    use palisade_protocol::context::Terms;
    use palisade_protocol::governance::{Action, NewChain};
    use palisade_protocol::units::Epoch;
    use palisade_regtest::hub;
    use palisade_world::World;
    use std::fs::{self, Permissions};
    use std::os::unix::fs::PermissionsExt as _;

    /// A hub with chains, and a new provider.
    struct Scene {
        made: Made,
        dir: tempfile::TempDir,
        stop: Shutdown,
    }

    impl Scene {
        async fn new(chains: &[&str]) -> Self {
            let (dir, stop) = (tempfile::tempdir().unwrap(), Shutdown::manual());
            let mut world = World::new(1_000);
            for id in chains {
                let terms = Terms { epoch_length: 50, voted_every: 5, minimum_power_sat: 1_000 };
                let chain = NewChain {
                    id: id.parse().unwrap(),
                    genesis: Hash32([5; 32]),
                    terms,
                    first_epoch: Epoch(0),
                };
                world.govern(Action::RegisterChain(chain)).unwrap();
                world.close();
            }
            let served = hub::serve(&world.hub(&dir.path().join("hub")), &stop).await;
            let mut init = init(dir.path(), world.ledger.genesis().document());
            init.hub = served.parse().unwrap();
            Self { made: init.run().unwrap(), dir, stop }
        }

        fn add(&self, id: &str, genesis: u8, epoch_length: u64, voted_every: u64) -> AddChain {
            AddChain {
                id: id.parse().unwrap(),
                genesis_block: Hash32([genesis; 32]),
                incarnation: 0,
                epoch_length,
                voted_every,
                source: "http://127.0.0.1:3".parse().unwrap(),
                signer_config: self.made.signer_config.clone(),
                config: self.made.config.clone(),
            }
        }

        async fn add_dev(&self) -> Result<Added, Failure> {
            self.add("dev", 5, 50, 5).run().await
        }

        async fn refused(&self, part: &str) {
            let before = self.files();
            let why = self.add_dev().await.unwrap_err().to_string();
            assert!(why.contains(part), "{why}");
            assert_eq!(self.files(), before, "{why}");
        }

        /// What both configurations hold.
        fn files(&self) -> [String; 2] {
            [&self.made.signer_config, &self.made.config].map(|file| fs::read_to_string(file).unwrap())
        }

        fn put(&self, signer: &str, voter: &str) {
            fs::write(&self.made.signer_config, signer).unwrap();
            fs::write(&self.made.config, voter).unwrap();
        }

        /// The key for a chain that the signer finds.
        fn opened(&self, id: &str) -> ProviderKey {
            let signer: SignerConfig = files::load(&self.made.signer_config).unwrap();
            let chain = signer.chains.iter().find(|chain| chain.id.as_str() == id).unwrap();
            let password = PasswordSource::File(self.dir.path().join("password")).read("").unwrap();
            let network = bitcoin::Network::Regtest;
            keys::open_bls(&signer.bls_key_file, &password, network).unwrap();
            let opened = keys::open_provider(&chain.key_file, &chain.id, &password, network);
            ProviderKey::from(opened.unwrap().public())
        }
    }

    impl Drop for Scene {
        fn drop(&mut self) {
            self.stop.trigger();
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_chain_is_added_with_the_terms_of_the_hubs_log_and_with_no_others() {
        let scene = Scene::new(&["dev"]).await;
        let add = |id, genesis, length, every| scene.add(id, genesis, length, every);
        let untouched = scene.files();
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
        assert_eq!(scene.files(), untouched);
        let added = scene.add_dev().await.unwrap();
        assert_eq!(scene.opened("dev"), added.key);
        let voter: VoterConfig = files::load(&scene.made.config).unwrap();
        assert_eq!((voter.sources[0].chain.as_str(), voter.sources.len()), ("dev", 1));
        scene.refused("has chain dev already").await;
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_second_try_takes_up_what_the_first_left_half_done() {
        let scene = Scene::new(&["dev"]).await;
        let (signer_file, voter_file) = (&scene.made.signer_config, &scene.made.config);
        fs::set_permissions(signer_file, Permissions::from_mode(0o640)).unwrap();
        let [signer, voter] = scene.files();
        // The voter's configuration cannot be written: it is named, and what is there already is whole.
        let in_the_way = voter_file.with_extension("toml.new");
        fs::create_dir(&in_the_way).unwrap();
        let why = scene.add_dev().await.unwrap_err().to_string();
        assert!(why.contains(&format!("cannot write the configuration {}", voter_file.display())), "{why}");
        fs::remove_dir(&in_the_way).unwrap();
        let key = scene.opened("dev");
        let again = scene.add_dev().await.unwrap();
        assert_eq!((again.key, scene.opened("dev")), (key, key));
        assert_eq!(signer_file.metadata().unwrap().permissions().mode() & 0o7777, 0o640);
        let [full_signer, full_voter] = scene.files();
        assert!(full_signer.starts_with(&signer) && full_voter.starts_with(&voter));
        // Whatever a crash has left: the key alone, or one of the two configurations.
        for (left_signer, left_voter) in [(&signer, &voter), (&full_signer, &voter), (&signer, &full_voter)] {
            scene.put(left_signer, left_voter);
            assert_eq!(scene.add_dev().await.unwrap().key, key);
            assert_eq!(scene.files(), [full_signer.clone(), full_voter.clone()]);
        }
        // What a person wrote otherwise is not for a program to mend.
        scene.put(&full_signer.replace("voted_every = 5\n", "voted_every = 10\n"), &voter);
        scene.refused("signer.toml has chain dev already, with other terms").await;
        scene.put(&signer, &full_voter.replace("127.0.0.1:3", "127.0.0.1:4"));
        scene.refused("voter.toml has a source of chain dev already, http://127.0.0.1:4").await;
        // A torn key is no key; one that the signer names is never made anew.
        let key_file = signer_file.with_file_name("keys").join("chain-dev.json");
        fs::write(&key_file, "{").unwrap();
        scene.put(&signer, &voter);
        scene.refused("chain-dev.json is there and no configuration names it").await;
        fs::remove_file(&key_file).unwrap();
        scene.put(&full_signer, &voter);
        scene.refused("chain-dev.json").await;
        assert!(!key_file.exists());
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn a_chain_may_have_the_name_of_any_other_key() {
        let names = ["bls", "funding", "zero-2"];
        let scene = Scene::new(&names).await;
        for name in names {
            let added = scene.add(name, 5, 50, 5).run().await.unwrap();
            assert_eq!(scene.opened(name), added.key);
        }
    }
}
