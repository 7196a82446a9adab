//! Fresh headers for a proof, from one's own node: what was too young to be final becomes so without the hub.

use crate::files::{self, HeaderFile, PROOF, misfit};
use anyhow::Context as _;
use bitcoin::block::Header;
use bitcoin::consensus::encode::serialize;
use clap::Args;
use palisade_hub::bitcoind::{BitcoinRpc, MAX_HEADERS};
use palisade_hub::daemon::bounded;
use palisade_hub::daemon::exit::Failure;
use palisade_hub::daemon::node_args::NodeArgs;
use palisade_protocol::genesis::Genesis;
use std::fmt;
use std::path::PathBuf;

/// For which proof, and where to.
#[derive(Debug, Args)]
pub struct Headers {
    /// The proof; it names the height that its headers begin at.
    pub proof: PathBuf,
    /// The file of headers. One that is there is replaced.
    #[arg(long, default_value = "bitcoin.headers")]
    pub out: PathBuf,
    /// The Bitcoin node.
    #[command(flatten)]
    pub node: NodeArgs,
}

/// What was written.
#[derive(Debug, serde::Serialize)]
pub struct Written {
    /// The file.
    pub headers: PathBuf,
    /// Height of the first.
    pub from_height: u32,
    /// Height of the last: the verifier's tip.
    pub tip_height: u32,
}

impl fmt::Display for Written {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { headers, from_height, tip_height } = self;
        write!(f, "{}: Bitcoin's headers from height {from_height} to {tip_height}", headers.display())
    }
}

impl Headers {
    /// Reads the node's headers and writes them.
    pub async fn run(&self) -> Result<Written, Failure> {
        let proof = files::read_proof(&self.proof)?;
        self.check_out()?;
        let genesis = Genesis::new(proof.genesis).map_err(|why| misfit(&self.proof, PROOF, &why))?;
        let node = self.node.connect()?;
        node.check_network(genesis.network()).await.map_err(anyhow::Error::from)?;
        Ok(self.write(&node, proof.headers_from.0).await?)
    }

    /// Only headers are replaced: a slip must not cost the proof or the root.
    fn check_out(&self) -> Result<(), Failure> {
        if !self.out.exists() {
            return Ok(());
        }
        if HeaderFile::open(&self.out).is_ok_and(are_headers) {
            return Ok(());
        }
        let out = self.out.display();
        Err(Failure::usage(format_args!("{out} is there and holds no headers: it stays as it is"))
            .hint("name another file with --out"))
    }

    async fn write(&self, node: &BitcoinRpc, from_height: u32) -> anyhow::Result<Written> {
        let headers = read_all(node, from_height).await?;
        let above = (headers.len() as u32).checked_sub(1);
        let above = above.with_context(|| format!("the node has no block at height {from_height} yet"))?;
        bounded::write(&self.out, &to_file(&headers))
            .with_context(|| format!("file {}", self.out.display()))?;
        Ok(Written { headers: self.out.clone(), from_height, tip_height: from_height + above })
    }
}

/// Whether each names the one before.
fn are_headers(mut file: HeaderFile) -> bool {
    let mut above = None;
    let follows = |header: Header| {
        above.replace(header.block_hash()).is_none_or(|above| header.prev_blockhash == above)
    };
    file.by_ref().all(follows) && file.check().is_ok()
}

/// The node's headers from a height up to its tip.
pub(crate) async fn read_all(node: &BitcoinRpc, from: u32) -> anyhow::Result<Vec<Header>> {
    let mut headers = Vec::new();
    loop {
        let more = node.headers(from + headers.len() as u32, MAX_HEADERS).await?;
        let is_last = more.len() < MAX_HEADERS as usize;
        headers.extend(more);
        if is_last {
            return Ok(headers);
        }
    }
}

/// The form of a file of headers.
pub(crate) fn to_file(headers: &[Header]) -> Vec<u8> {
    headers.iter().flat_map(serialize).collect()
}
