//! Getting a proof: from the hub what it proves, from one's own node the headers. What comes is verified before it is kept.

use crate::files::MAX_ROOT;
use crate::headers;
use crate::verify::{Shown, blocks};
use anyhow::Context as _;
use bitcoin::block::Header;
use clap::Args;
use palisade_hub::bitcoind::BitcoinRpc;
use palisade_hub::client::HubClient;
use palisade_hub::daemon::bounded;
use palisade_hub::daemon::endpoint::http_url;
use palisade_hub::daemon::exit::Failure;
use palisade_hub::daemon::node_args::NodeArgs;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::context::ChainId;
use palisade_protocol::proof::{ChainBlock, FinalityProof, MAX_PROOF, Proven, Refused, TrustRoot};
use std::fmt;
use std::io::ErrorKind;
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
    /// Directory for the files. A `hub.root` in it that is another than this hub's stays, and so does a `block.proof` of another
    /// block; then nothing is written.
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
        self.keep(self.get(&node).await?)
    }

    async fn get(&self, node: &BitcoinRpc) -> anyhow::Result<Got> {
        let hub = HubClient::new(self.hub.clone()).telling();
        let proof = hub.get_bytes(&format!("proofs/{}/{}", self.chain, self.height)).await?;
        let parsed = FinalityProof::parse(&proof).context("the hub's proof")?;
        let headers = headers::read_all(node, parsed.headers_from.0).await?;
        let mut incarnation = None;
        loop {
            let (root, trusted) = fetch_root(&hub, incarnation).await?;
            let earlier = trusted.incarnation.checked_sub(1);
            let proven = match parsed.verify(&trusted, &headers) {
                // The block is older than the newest root.
                Err(Refused::OtherRoot) if earlier.is_some() => {
                    incarnation = earlier;
                    continue;
                }
                judged => judged.context("the hub's proof does not hold")?,
            };
            return Ok(Got { proof, root, trusted, headers, block: parsed.block, proven });
        }
    }

    /// Writes the files, the root first and the proof last; none if something is in the way of one of them.
    fn keep(&self, got: Got) -> Result<Made, Failure> {
        std::fs::create_dir_all(&self.out).with_context(|| format!("directory {}", self.out.display()))?;
        let [root, headers, proof] =
            ["hub.root", "bitcoin.headers", "block.proof"].map(|name| self.out.join(name));
        let mut files = vec![(&headers, headers::to_file(&got.headers)), (&proof, got.proof.clone())];
        if !self.has_root(&root, &got)? {
            files.insert(0, (&root, got.root.clone()));
        }
        check_old_proof(&proof, &got)?;
        for (path, _) in &files {
            bounded::check_place(path).with_context(|| named(path))?;
        }
        for (path, bytes) in &files {
            bounded::write(path, bytes).with_context(|| named(path))?;
        }
        Ok(self.made(proof, headers, root, got))
    }

    /// Whether the hub's root is there already. Another one that is there is what somebody trusts: nobody but them replaces it.
    fn has_root(&self, path: &Path, got: &Got) -> Result<bool, Failure> {
        let found = match bounded::read(path, MAX_ROOT) {
            Err(why) if why.kind() == ErrorKind::NotFound => return Ok(false),
            found => found.with_context(|| named(path))?,
        };
        if found.as_ref() == Some(&got.root) {
            return Ok(true);
        }
        let holds = match found.and_then(|bytes| TrustRoot::from_bytes(&bytes).ok()) {
            Some(other) if other.hub != got.trusted.hub => {
                format!("the root of another hub, {}", other.hub)
            }
            Some(other) if other.incarnation != got.trusted.incarnation => format!(
                "the root of incarnation {} of the same hub's chain zero, and this one is of incarnation {}",
                other.incarnation, got.trusted.incarnation
            ),
            Some(_) => "another root of the same hub".to_owned(),
            None => "something that is no trust root".to_owned(),
        };
        let (path, hub, id) = (path.display(), &self.hub, got.trusted.hub);
        Err(Failure::failed(format_args!(
            "{path} holds {holds}; {hub} gives a root of hub {id}: nothing was written"
        ))
        .hint(format_args!(
            "is --hub the hub that you trust? If it is meant to be another one, name another directory with --out; delete {path} only if you trust it no more"
        ))
        .rule("other-root"))
    }

    fn made(&self, proof: PathBuf, headers: PathBuf, root: PathBuf, got: Got) -> Made {
        let at = |path: &Path| format!("'{}'", path.display());
        let (proof_at, headers_at, root_at) = (at(&proof), at(&headers), at(&root));
        let node = self.node.flags();
        Made {
            verify: format!(
                "palisade-checkpointer verify {proof_at} --headers {headers_at} --root {root_at}"
            ),
            refresh: format!("palisade-checkpointer headers {proof_at} --out {headers_at} {node}"),
            proof,
            headers,
            root,
            root_sha256: palisade_protocol::hash::sha256(&[&got.root]).to_string(),
            shown: got.proven.into(),
        }
    }
}

/// The hub's root of an incarnation of chain zero, the newest if none is named.
async fn fetch_root(hub: &HubClient, incarnation: Option<u32>) -> anyhow::Result<(Vec<u8>, TrustRoot)> {
    let query = incarnation.map_or_else(String::new, |number| format!("?incarnation={number}"));
    let root = hub.get_bytes(&format!("root{query}")).await?;
    let trusted = TrustRoot::from_bytes(&root).context("the hub's trust root")?;
    anyhow::ensure!(
        incarnation.is_none_or(|wanted| wanted == trusted.incarnation),
        "the hub gave the root of incarnation {} of chain zero for another",
        trusted.incarnation
    );
    Ok((root, trusted))
}

/// What hub and node gave, verified.
struct Got {
    proof: Vec<u8>,
    root: Vec<u8>,
    trusted: TrustRoot,
    headers: Vec<Header>,
    block: ChainBlock,
    proven: Proven,
}

/// Refuses to replace a proof of another block, which somebody may need.
fn check_old_proof(path: &Path, got: &Got) -> Result<(), Failure> {
    let found = match bounded::read(path, MAX_PROOF) {
        Err(why) if why.kind() == ErrorKind::NotFound => return Ok(()),
        found => found.with_context(|| named(path))?,
    };
    let found = found.and_then(|bytes| FinalityProof::parse(&bytes).ok()).map(|proof| proof.block);
    let holds = match found {
        Some(block) if block.certificate.ballot == got.block.certificate.ballot => return Ok(()),
        Some(ChainBlock { chain, certificate, .. }) => {
            format!("a proof of block {} of chain {chain}", certificate.ballot.height)
        }
        None => "something that is no proof".to_owned(),
    };
    let (path, Got { block, proven, .. }) = (path.display(), got);
    Err(Failure::failed(format_args!(
        "{path} holds {holds}, and not of block {} of chain {}: nothing was written",
        proven.height, block.chain
    ))
    .hint("name another directory with --out, or move that file away")
    .rule("other-proof"))
}

fn named(path: &Path) -> String {
    format!("file {}", path.display())
}
