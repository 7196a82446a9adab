//! Getting a proof: from the hub what it proves, from one's own node the headers. What comes is verified before it is kept.

use crate::verify::Shown;
use anyhow::Context as _;
use bitcoin::consensus::encode::serialize;
use clap::Args;
use palisade_hub::bitcoind::MAX_HEADERS;
use palisade_hub::client::HubClient;
use palisade_hub::daemon::node_args::NodeArgs;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::ChainId;
use palisade_protocol::proof::{FinalityProof, TrustRoot};
use std::fmt;
use std::path::PathBuf;

/// Which block, and where to ask.
#[derive(Debug, Args)]
pub struct Prove {
    /// The chain.
    #[arg(long)]
    pub chain: ChainId,
    /// Height of a final block.
    #[arg(long)]
    pub height: u64,
    /// Where the hub's API is.
    #[arg(long, default_value = "http://127.0.0.1:8200")]
    pub hub: reqwest::Url,
    /// The Bitcoin node.
    #[command(flatten)]
    pub node: NodeArgs,
    /// Directory for the files.
    #[arg(long, default_value = ".")]
    pub out: PathBuf,
}

/// The files, and what they prove.
#[derive(Debug, serde::Serialize)]
pub struct Made {
    /// The proof.
    pub proof: PathBuf,
    /// Bitcoin's headers.
    pub headers: PathBuf,
    /// The trust root. The hub gave it: compare its hash with one that you have from somebody you trust.
    pub root: PathBuf,
    /// SHA-256 of the root file.
    pub root_sha256: String,
    /// What was proven.
    pub shown: Shown,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (proof, headers, root) = (self.proof.display(), self.headers.display(), self.root.display());
        writeln!(f, "{}", self.shown)?;
        writeln!(f, "root from the hub, SHA-256 {}: compare it before you trust it", self.root_sha256)?;
        write!(
            f,
            "verify again: palisade-checkpointer verify '{proof}' --headers '{headers}' --root '{root}'"
        )
    }
}

impl Prove {
    /// Gets, verifies and writes the files.
    pub async fn run(&self) -> anyhow::Result<Made> {
        let hub = HubClient::new(self.hub.clone());
        let proof = hub.get_bytes(&format!("proofs/{}/{}", self.chain, self.height)).await?;
        let parsed = FinalityProof::parse(&proof).context("the hub's proof")?;
        let root = hub.get_bytes("root").await?;
        let trusted = TrustRoot::from_bytes(&root).context("the hub's trust root")?;
        let headers = self.read_headers(parsed.headers_from.0).await?;
        let proven = parsed.verify(&trusted, &headers).context("the hub's proof does not hold")?;
        let headers: Vec<u8> = headers.iter().flat_map(serialize).collect();
        std::fs::create_dir_all(&self.out).with_context(|| format!("directory {}", self.out.display()))?;
        let write = |name: &str, bytes: &[u8]| {
            let path = self.out.join(name);
            std::fs::write(&path, bytes).with_context(|| format!("file {}", path.display()))?;
            anyhow::Ok(path)
        };
        Ok(Made {
            proof: write("block.proof", &proof)?,
            headers: write("bitcoin.headers", &headers)?,
            root_sha256: palisade_protocol::hash::sha256(&[&root]).to_string(),
            root: write("hub.root", &root)?,
            shown: proven.into(),
        })
    }

    async fn read_headers(&self, from: u32) -> anyhow::Result<Vec<bitcoin::block::Header>> {
        let node = self.node.connect().map_err(|why| anyhow::anyhow!("{why}"))?;
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
}
