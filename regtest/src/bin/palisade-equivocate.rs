//! A finality provider that misbehaves: signs another block at a height that its signer has voted at, with the same nonce, which
//! no shipped binary can.
//!
//! It works as a thief of the operator's disk would: with the key file, its password, and the seed in the signer's record.

use anyhow::{Context as _, ensure};
use clap::Parser;
use palisade_hub::client::HubClient;
use palisade_hub::daemon::exit::{self, Failure, Format};
use palisade_hub::daemon::genesis::read_genesis;
use palisade_hub::daemon::keyfile::{self, KdfCost};
use palisade_hub::daemon::password::PasswordSource;
use palisade_hub::daemon::shutdown;
use palisade_protocol::context::{ChainId, ChainIdentity, Purpose, Terms};
use palisade_protocol::curve::KeyPair;
use palisade_protocol::eots::{self, SecretNonce};
use palisade_protocol::finality::commitment::nonce_tree;
use palisade_protocol::finality::vote::{Ballot, Vote};
use palisade_protocol::hash::Hash32;
use palisade_protocol::nonce::{self, NonceSeed};
use palisade_protocol::units::Height;
use reqwest::Url;
use rusqlite::{Connection, OpenFlags};
use std::path::PathBuf;
use std::process::ExitCode;

/// Votes twice at one height, and loses the key.
#[derive(Parser)]
struct Cli {
    /// The provider's key file for the chain.
    #[arg(long)]
    key_file: PathBuf,
    /// File with its password.
    #[arg(long)]
    password_file: PathBuf,
    /// The signer's record.
    #[arg(long)]
    record: PathBuf,
    /// The hub's genesis document.
    #[arg(long)]
    genesis: PathBuf,
    /// The hub.
    #[arg(long)]
    hub: Url,
    /// The chain.
    #[arg(long)]
    chain: ChainId,
    /// Hash of the chain's genesis block.
    #[arg(long)]
    genesis_block: Hash32,
    /// Heights in an epoch.
    #[arg(long)]
    epoch_length: u64,
    /// Every so many heights are voted on.
    #[arg(long)]
    voted_every: u64,
    /// Where it votes again.
    #[arg(long)]
    height: u64,
    /// Hash of the other block.
    #[arg(long)]
    block: Hash32,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let done = shutdown::run(|_| async move { cli.run().await }).map_err(Failure::failed);
    exit::finish(done.and_then(|done| Ok(done?)), Format::Text)
}

impl Cli {
    async fn run(&self) -> anyhow::Result<()> {
        let genesis = read_genesis(&self.genesis)?;
        let identity =
            ChainIdentity { id: self.chain.clone(), genesis: self.genesis_block, ..genesis.zero() };
        let terms =
            Terms { epoch_length: self.epoch_length, voted_every: self.voted_every, minimum_power_sat: 1 };
        let password = PasswordSource::File(self.password_file.clone()).read("")?;
        let purpose = format!("finality-provider {}", self.chain);
        let weakest = KdfCost::for_network(genesis.network());
        let (_, secret) = keyfile::open::<32>(&self.key_file, &purpose, &password, weakest)?;
        let pair = KeyPair::from_secret_bytes(secret.expose())?;
        let record = Connection::open_with_flags(&self.record, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
        let seed: [u8; 32] = record.query_row("SELECT seed FROM birth", [], |row| row.get(0))?;
        let (seed, context) = (NonceSeed::from_bytes(seed), identity.context(Purpose::Vote));

        let height = Height(self.height);
        let epoch = terms.epoch_of(height);
        let index = usize::try_from(terms.nonce_index(height).context("no votes are given at that height")?)?;
        let heights =
            (0..terms.voted_heights()).map(|i| terms.first_height(epoch).plus(i * terms.voted_every));
        let derive = |height| nonce::derive(&pair, &seed, &context, height);
        let tree = nonce_tree(heights.map(|height| derive(height).public()));
        let path = tree.path(index).context("a leaf")?;
        let secret: SecretNonce = derive(height);
        let nonce = secret.public();
        let ballot = Ballot { context, height, block: self.block };
        let signature = eots::sign(&pair, secret, &ballot.message());
        let vote = Vote { ballot, key: pair.public().into(), nonce, signature, path };
        let refused = HubClient::new(self.hub.clone()).vote(&vote).await.err();
        let refused = refused.context("the hub counted the vote: nobody had voted there with this key")?;
        ensure!(refused.rule() == Some("equivocation"), "{refused}");
        println!("voted for another block at height {height}: {refused}");
        Ok(())
    }
}
