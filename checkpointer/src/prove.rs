//! Getting a proof: from the hub what it proves, from one's own node the headers. What comes is verified before it is kept.

use crate::headers;
use crate::verify::{Shown, blocks};
use anyhow::Context as _;
use clap::Args;
use palisade_hub::bitcoind::BitcoinRpc;
use palisade_hub::client::HubClient;
use palisade_hub::daemon::bounded;
use palisade_hub::daemon::endpoint::http_url;
use palisade_hub::daemon::exit::Failure;
use palisade_hub::daemon::node_args::NodeArgs;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::ChainId;
use palisade_protocol::proof::{FinalityProof, TrustRoot};
use std::fmt;
use std::path::{Path, PathBuf};

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
    #[arg(long, default_value = "http://127.0.0.1:8200", value_parser = http_url)]
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
    /// The command that verifies the files, once the anchor is final.
    pub verify: String,
    /// The command that writes fresh headers, without the hub.
    pub refresh: String,
    /// What was proven.
    pub shown: Shown,
}

impl fmt::Display for Made {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = &self.shown;
        writeln!(f, "{shown}")?;
        writeln!(f, "root from the hub, SHA-256 {}: compare it before you trust it", self.root_sha256)?;
        if shown.is_final {
            return write!(f, "verify again: {}", self.verify);
        }
        let missing = blocks(shown.final_depth - shown.depth);
        writeln!(
            f,
            "{missing} more and it is final: from Bitcoin height {} on these two show it",
            shown.final_at_height
        )?;
        writeln!(f, "  {}\n  {}", self.refresh, self.verify)?;
        write!(f, "with what lies above it now: {} --min-depth {}", self.verify, shown.depth)
    }
}

impl Prove {
    /// Gets, verifies and writes the files.
    pub async fn run(&self) -> Result<Made, Failure> {
        let node = self.node.connect()?;
        Ok(self.make(&node).await?)
    }

    async fn make(&self, node: &BitcoinRpc) -> anyhow::Result<Made> {
        let hub = HubClient::new(self.hub.clone());
        let proof = hub.get_bytes(&format!("proofs/{}/{}", self.chain, self.height)).await?;
        let parsed = FinalityProof::parse(&proof).context("the hub's proof")?;
        let root = hub.get_bytes("root").await?;
        let trusted = TrustRoot::from_bytes(&root).context("the hub's trust root")?;
        let read = headers::read_all(node, parsed.headers_from.0).await?;
        let proven = parsed.verify(&trusted, &read).context("the hub's proof does not hold")?;
        std::fs::create_dir_all(&self.out).with_context(|| format!("directory {}", self.out.display()))?;
        let write = |name: &str, bytes: &[u8]| {
            let path = self.out.join(name);
            bounded::write(&path, bytes).with_context(|| format!("file {}", path.display()))?;
            anyhow::Ok(path)
        };
        let root_sha256 = palisade_protocol::hash::sha256(&[&root]).to_string();
        let (proof, root) = (write("block.proof", &proof)?, write("hub.root", &root)?);
        let headers = write("bitcoin.headers", &headers::to_file(&read))?;
        let at = |path: &Path| format!("'{}'", path.display());
        let (proof_at, headers_at, root_at) = (at(&proof), at(&headers), at(&root));
        let node = self.node.flags();
        Ok(Made {
            verify: format!(
                "palisade-checkpointer verify {proof_at} --headers {headers_at} --root {root_at}"
            ),
            refresh: format!("palisade-checkpointer headers {proof_at} --out {headers_at} {node}"),
            proof,
            headers,
            root,
            root_sha256,
            shown: proven.into(),
        })
    }
}
