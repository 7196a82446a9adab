//! Verifying a proof of finality from files alone: no network, no hub, no daemon.

use crate::files::{self, HEADERS, HeaderFile, MAX_ROOT, ROOT, does_not_hold, misfit};
use bitcoin::Amount;
use clap::Args;
use palisade_hub::daemon::exit::Failure;
use palisade_protocol::codec::Wire as _;
use palisade_protocol::proof::{BadCheckpoint, Proven, Refused, TrustRoot};
use std::fmt;
use std::path::PathBuf;

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
    /// Bitcoin blocks that must lie above the anchor. By default w of the genesis document that the root names: files do not show
    /// whether governance has set another depth since. If it has (`GET /params` at a hub or follower that you trust), give it here.
    #[arg(long)]
    pub min_depth: Option<u32>,
    /// The trust root's incarnation, where chain zero has begun anew by a decision of governance: you have looked at it, and accept.
    #[arg(long, value_name = "NUMBER", default_value_t = 0)]
    pub accept_incarnation: u32,
}

/// Where the depth comes from that an anchor was judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(into = "&'static str")]
pub enum DepthFrom {
    /// It is w of the genesis document that the root names. Governance may have set another since.
    Genesis,
    /// The flag `--min-depth` gave it.
    Flag,
}

impl From<DepthFrom> for &'static str {
    fn from(from: DepthFrom) -> Self {
        match from {
            DepthFrom::Genesis => "genesis",
            DepthFrom::Flag => "flag",
        }
    }
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
    /// Depth at which an anchor is final: w of the genesis document that the root names. No file shows a later one.
    pub final_depth: u32,
    /// Bitcoin's height at which it is that deep.
    pub final_at_height: u32,
    /// The depth that was wanted.
    pub wanted_depth: u32,
    /// Where that comes from.
    pub depth_from: DepthFrom,
    /// Whether the anchor is `final_depth` deep in these headers. Until then the hub's record of the block can still leave Bitcoin.
    #[serde(rename = "final")]
    pub is_final: bool,
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
            final_at_height: proven.anchor_height.0.saturating_add(proven.final_depth),
            wanted_depth: proven.final_depth,
            depth_from: DepthFrom::Genesis,
            is_final: proven.depth >= proven.final_depth,
        }
    }
}

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let standing =
            if self.is_final { "is final" } else { "is certified and anchored, and not final yet" };
        writeln!(f, "block {} of chain {} at height {} {standing}", self.block, self.chain, self.height)?;
        writeln!(f, "  hub    {}", self.hub)?;
        let (signed, total) = (Amount::from_sat(self.signed_sat), Amount::from_sat(self.total_sat));
        writeln!(f, "  votes  {signed} of {total}")?;
        writeln!(f, "  anchor {} in Bitcoin block {}", self.anchor_txid, self.anchor_block)?;
        let depth = if self.is_final { "final" } else { "not final yet" };
        writeln!(
            f,
            "         at height {}, {} deep: {depth} (final at {}, which is height {})",
            self.anchor_height,
            blocks(self.depth),
            self.final_depth,
            self.final_at_height
        )?;
        let enough = |deep: bool| if deep { "deep enough" } else { "not deep enough" };
        let by_genesis = by(DepthFrom::Genesis, self.final_depth);
        match self.depth_from {
            DepthFrom::Genesis => {
                write!(f, "         {} {by_genesis}; {GIVE_ANOTHER}", enough(self.is_final))
            }
            DepthFrom::Flag => {
                let by_flag = by(DepthFrom::Flag, self.wanted_depth);
                write!(f, "         deep enough {by_flag}, {} {by_genesis}", enough(self.is_final))
            }
        }
    }
}

impl Verify {
    /// Judges the proof. An anchor that is not deep enough in these headers is told from a rule that no headers can mend; both
    /// are a no, and so the exit code of both is 1.
    pub fn run(&self) -> Result<Shown, Failure> {
        let proof = files::read_proof(&self.proof)?;
        let mut headers = HeaderFile::open(&self.headers)?;
        let root = files::read(&self.root, ROOT, MAX_ROOT)?;
        let root = TrustRoot::from_bytes(&root).map_err(|why| misfit(&self.root, ROOT, &why))?;
        self.check_accepted(&root)?;
        let proven = proof.verify(&root, headers.by_ref());
        headers.check()?;
        let proven = proven.map_err(|why| self.broken(&why))?;
        let (wanted_depth, depth_from) =
            self.min_depth.map_or((proven.final_depth, DepthFrom::Genesis), |depth| (depth, DepthFrom::Flag));
        let shown = Shown { wanted_depth, depth_from, ..proven.into() };
        match wanted_depth.checked_sub(shown.depth) {
            None | Some(0) => Ok(shown),
            Some(missing) => Err(self.too_young(&shown, missing)),
        }
    }

    /// Whoever gets another root than the first must say that it is meant.
    fn check_accepted(&self, root: &TrustRoot) -> Result<(), Failure> {
        let (found, accepted) = (root.incarnation, self.accept_incarnation);
        if found == accepted {
            return Ok(());
        }
        let file = self.root.display();
        Err(Failure::failed(format_args!(
            "{file} is a root of incarnation {found} of chain zero, and {accepted} is accepted"
        ))
        .hint(format_args!(
            "chain zero began anew by a decision of the hub's governance: ask it why, compare the root with others, and then accept it with --accept-incarnation {found}"
        ))
        .rule("incarnation"))
    }

    /// The proof breaks a rule: which, and which file shows it.
    fn broken(&self, why: &Refused) -> Failure {
        let headers = self.headers.display();
        let failure = match why {
            Refused::TooFewHeaders(_) | Refused::Base(_) => misfit(&self.headers, HEADERS, why),
            Refused::Rules(_) | Refused::Headers(_) => does_not_hold(&format_args!("{headers}: {why}")),
            Refused::RootBlock(_) => does_not_hold(&format_args!("{headers}: {why}")).hint(format_args!(
                "the headers are of another network or branch than the root, or not from the height that the proof names: {}",
                self.fresh_headers()
            )),
            Refused::OtherHub { .. } => {
                let (proof, root) = (self.proof.display(), self.root.display());
                does_not_hold(&format_args!("{proof} and {root}: {why}"))
            }
            Refused::Checkpoint { why: BadCheckpoint::UnknownBlock(_), .. } => {
                does_not_hold(&format_args!("{headers}: {why}")).hint(format_args!(
                    "headers that end before the anchor cannot show it: {}",
                    self.fresh_headers()
                ))
            }
            _ => does_not_hold(why),
        };
        failure.rule(rule(why))
    }

    /// Nothing is wrong, but too little work lies above the anchor in these headers.
    fn too_young(&self, shown: &Shown, missing: u32) -> Failure {
        let Shown { wanted_depth, depth_from, anchor_height, .. } = *shown;
        let (found, missing_in_words) = (blocks(shown.depth), blocks(missing));
        let (by, until) = (by(depth_from, wanted_depth), anchor_height.saturating_add(wanted_depth));
        let give = if depth_from == DepthFrom::Genesis { format!("; {GIVE_ANOTHER}") } else { String::new() };
        Failure::failed(format_args!(
            "not final yet (depth): in these headers the anchor at Bitcoin height {anchor_height} is {found} deep, {wanted_depth} are wanted {by}; {missing_in_words} missing"
        ))
        .hint(format_args!("once Bitcoin is at height {until}, verify again: {}{give}", self.fresh_headers()))
        .rule("depth")
        .fact("wanted_depth", wanted_depth)
        .fact("depth_from", <&str>::from(depth_from))
        .fact("missing_blocks", missing)
        .fact("final_at_height", until)
    }

    fn fresh_headers(&self) -> String {
        let (proof, headers) = (self.proof.display(), self.headers.display());
        format!(
            "`palisade-checkpointer headers '{proof}' --out '{headers}' --bitcoin URL --cookie FILE` writes fresh ones"
        )
    }
}

/// What a verifier without network cannot know.
const GIVE_ANOTHER: &str = "if governance has set another since, `verify` takes it with --min-depth";

/// What an anchor is judged by, in words.
fn by(from: DepthFrom, depth: u32) -> String {
    match from {
        DepthFrom::Genesis => format!("by w = {depth} of the genesis document that the root file names"),
        DepthFrom::Flag => format!("by --min-depth {depth}"),
    }
}

/// So many blocks, in words.
pub(crate) fn blocks(count: u32) -> String {
    if count == 1 { "1 block".to_owned() } else { format!("{count} blocks") }
}

/// The name of the rule that a proof breaks, for programs.
fn rule(why: &Refused) -> &'static str {
    match why {
        Refused::Genesis(_) => "genesis",
        Refused::OtherHub { .. } => "other-hub",
        Refused::Rules(_) | Refused::TooFewHeaders(_) | Refused::Base(_) | Refused::Headers(_) => "headers",
        Refused::RootBlock(_) => "root-block",
        Refused::RootSet => "root-set",
        Refused::OtherRoot => "other-root",
        Refused::Step { .. } => "step",
        Refused::Checkpoint { why: BadCheckpoint::UnknownBlock(_), .. } => "unknown-block",
        Refused::Checkpoint { .. } => "checkpoint",
        Refused::Block { .. } => "block",
        Refused::Expired { .. } => "set-expired",
    }
}
