//! Verifying a proof of finality from files alone: no network, no hub, no daemon.

use bitcoin::block::Header;
use clap::Args;
use palisade_hub::daemon::bounded;
use palisade_hub::daemon::exit::Failure;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::proof::{FinalityProof, MAX_PROOF, Proven, TrustRoot};
use std::fmt;
use std::path::{Path, PathBuf};

/// Bytes of a Bitcoin header.
const HEADER: usize = 80;
/// Longest file of headers that is read: more than Bitcoin will have in a hundred years.
const MAX_HEADERS: usize = HEADER * 8_000_000;
/// Longest trust root.
const MAX_ROOT: usize = 1_024;

/// The three files.
#[derive(Debug, Args)]
pub struct Verify {
    /// The proof.
    pub proof: PathBuf,
    /// Bitcoin's headers, 80 bytes each, from the height that the proof names; the last is the verifier's tip.
    #[arg(long)]
    pub headers: PathBuf,
    /// The trust root, from somebody you trust.
    #[arg(long)]
    pub root: PathBuf,
    /// Bitcoin blocks that must lie above the anchor; by default as many as make it final by the hub's parameters.
    #[arg(long)]
    pub min_depth: Option<u32>,
}

/// What was proven.
#[derive(Debug, serde::Serialize)]
pub struct Shown {
    /// Always true: else there is an error, and the exit code is 1.
    pub valid: bool,
    /// The hub.
    pub hub: String,
    /// The chain.
    pub chain: String,
    /// Height of the block that is final.
    pub height: u64,
    /// Its hash.
    pub block: String,
    /// Power that voted for it, in sat.
    pub signed_sat: u64,
    /// Power of the set, in sat.
    pub total_sat: u64,
    /// The Bitcoin transaction that anchors it.
    pub anchor_txid: String,
    /// The Bitcoin block that holds that.
    pub anchor_block: String,
    /// Its height.
    pub anchor_height: u32,
    /// Blocks above it.
    pub depth: u32,
    /// Depth at which the hub calls an anchor final.
    pub final_depth: u32,
}

impl From<Proven> for Shown {
    fn from(proven: Proven) -> Self {
        Self {
            valid: true,
            hub: proven.chain.hub.to_string(),
            chain: proven.chain.id.to_string(),
            height: proven.height.0,
            block: proven.block.to_string(),
            signed_sat: proven.power.to_sat(),
            total_sat: proven.total.to_sat(),
            anchor_txid: proven.anchor.to_string(),
            anchor_block: proven.anchor_block.to_string(),
            anchor_height: proven.anchor_height.0,
            depth: proven.depth,
            final_depth: proven.final_depth,
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "block {} of chain {} at height {} is final", self.block, self.chain, self.height)?;
        writeln!(f, "  hub    {}", self.hub)?;
        writeln!(f, "  votes  {} of {} sat", self.signed_sat, self.total_sat)?;
        writeln!(f, "  anchor {} in Bitcoin block {}", self.anchor_txid, self.anchor_block)?;
        let depth = if self.depth >= self.final_depth { "final" } else { "not final yet" };
        write!(
            f,
            "         at height {}, {} blocks deep: {depth} (final at {})",
            self.anchor_height, self.depth, self.final_depth
        )
    }
}

impl Verify {
    /// Judges the proof.
    pub fn run(&self) -> Result<Shown, Failure> {
        let proof = read(&self.proof, MAX_PROOF)?;
        let (headers, root) = (read(&self.headers, MAX_HEADERS)?, read(&self.root, MAX_ROOT)?);
        let refused =
            |why: &dyn fmt::Display| Failure::failed(format_args!("the proof does not hold: {why}"));
        let proof =
            FinalityProof::parse(&proof).map_err(|why| refused(&format_args!("proof file: {why}")))?;
        let root = TrustRoot::from_bytes(&root).map_err(|why| refused(&format_args!("root file: {why}")))?;
        let headers = parse_headers(&headers).map_err(|why| refused(&why))?;
        let proven = proof.verify(&root, &headers).map_err(|why| refused(&why))?;
        let wanted = self.min_depth.unwrap_or(proven.final_depth);
        if proven.depth < wanted {
            let found = proven.depth;
            return Err(refused(&format_args!("the anchor is {found} blocks deep, {wanted} are wanted")));
        }
        Ok(proven.into())
    }
}

/// Reads a file of at most `max` bytes.
fn read(path: &Path, max: usize) -> Result<Vec<u8>, Failure> {
    let failed = |why: std::io::Error| Failure::usage(format_args!("cannot read {}: {why}", path.display()));
    let bytes = bounded::read(path, max).map_err(failed)?;
    bytes.ok_or_else(|| Failure::failed(format_args!("{} has more than {max} bytes", path.display())))
}

fn parse_headers(bytes: &[u8]) -> Result<Vec<Header>, String> {
    let (headers, rest) = bytes.as_chunks::<HEADER>();
    if !rest.is_empty() {
        return Err(format!("headers file: {} bytes are no multiple of {HEADER}", bytes.len()));
    }
    let parse =
        |bytes: &[u8; HEADER]| Header::from_bytes(bytes).map_err(|why| format!("headers file: {why}"));
    headers.iter().map(parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_that_are_missing_torn_or_too_long_are_named_and_nothing_is_said_to_hold() {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name);
        let verify = || Verify { proof: at("p"), headers: at("h"), root: at("r"), min_depth: None };
        assert!(verify().run().unwrap_err().to_string().contains("cannot read"));
        std::fs::write(at("p"), [0; 10]).unwrap();
        std::fs::write(at("h"), [0; 81]).unwrap();
        std::fs::write(at("r"), [0; MAX_ROOT + 1]).unwrap();
        assert!(verify().run().unwrap_err().to_string().contains("more than 1024 bytes"));
        std::fs::write(at("r"), [0; 8]).unwrap();
        let why = verify().run().unwrap_err();
        assert!(why.to_string().contains("proof file"), "{why}");
        assert_eq!(why.exit() as u8, 1);
        assert!(parse_headers(&[0; 81]).unwrap_err().contains("no multiple"));
        assert_eq!(parse_headers(&[0; 160]).unwrap().len(), 2);
    }
}
