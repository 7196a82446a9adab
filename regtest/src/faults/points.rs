//! What can be disturbed, and how many points each part of the network has: calls that change what is on disk.

use crate::demo::story::Story;
use std::collections::BTreeMap;
use std::fmt::{self, Display, Formatter};
use std::path::PathBuf;

/// Calls that are counted.
pub const CALLS: [&str; 6] = ["fsync", "fdatasync", "pwrite64", "write", "ftruncate", "rename"];

/// A process of the network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Part {
    /// The Bitcoin node.
    Bitcoind,
    /// The hub.
    Hub,
    /// A hub that follows it, and that it asks at its start.
    Follower,
    /// A member of the covenant.
    Covenant(usize),
    /// The reporter.
    Report,
    /// The watcher.
    Watch,
    /// The anchorer.
    Anchor,
    /// An operator's signer.
    Signer(usize),
    /// An operator's voter.
    Voter(usize),
}

impl Part {
    /// The kind of the part, as the table of points names it.
    pub fn kind(self) -> &'static str {
        match self {
            Self::Bitcoind => "bitcoind",
            Self::Hub => "hub",
            Self::Follower => "follower",
            Self::Covenant(_) => "covenant",
            Self::Report => "report",
            Self::Watch => "watch",
            Self::Anchor => "anchor",
            Self::Signer(_) => "signer",
            Self::Voter(_) => "voter",
        }
    }

    /// The call by which it changes its files.
    pub fn writes(self) -> &'static str {
        if self == Self::Bitcoind { "write" } else { "pwrite64" }
    }

    /// The parts that it has a link to, which its configuration names.
    pub fn links(self) -> &'static [Part] {
        match self {
            Self::Bitcoind | Self::Hub | Self::Signer(_) => &[],
            Self::Covenant(_) | Self::Follower => &[Self::Hub],
            Self::Report | Self::Watch | Self::Anchor | Self::Voter(_) => &[Self::Hub, Self::Bitcoind],
        }
    }

    /// The configuration that names them.
    pub fn config(self, story: &Story) -> PathBuf {
        match self {
            Self::Report | Self::Watch | Self::Anchor => {
                story.network().dir.join("checkpointer/checkpointer.toml")
            }
            part => part.log(story).with_extension("toml"),
        }
    }

    /// Where the part's daemon writes what it does.
    pub fn log(self, story: &Story) -> PathBuf {
        let dir = &story.network().dir;
        let operator = |index: usize, which: &str| story.operators()[index].dir().join(which);
        match self {
            Self::Bitcoind => dir.join("bitcoin/regtest/debug.log"),
            Self::Hub => dir.join("hub/hub.log"),
            Self::Follower => dir.join("follower/follower.log"),
            Self::Covenant(member) => dir.join(format!("covenant-{member}/covenant.log")),
            Self::Report | Self::Watch | Self::Anchor => {
                dir.join("checkpointer").join(self.kind()).with_extension("log")
            }
            Self::Signer(index) => operator(index, "signer.log"),
            Self::Voter(index) => operator(index, "voter.log"),
        }
    }
}

impl Display for Part {
    fn fmt(&self, out: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Covenant(index) | Self::Signer(index) | Self::Voter(index) => {
                write!(out, "{}-{index}", self.kind())
            }
            _ => out.write_str(self.kind()),
        }
    }
}

/// How often each call is made by each kind of part.
pub type Points = BTreeMap<String, BTreeMap<String, u32>>;

/// The table that seeds draw from, so that a seed is the same faults everywhere: for each call how often the busiest thread
/// makes it in an undisturbed story, as `palisade-faults --count` counted it.
pub const COUNTED: &str = include_str!("points.json");

/// The table for people, a line for each kind of part.
pub fn listed(points: &Points) -> String {
    let line = |(kind, own): (&String, &BTreeMap<String, u32>)| {
        let calls: Vec<String> = own.iter().map(|(call, most)| format!("{call} 1 to {most}")).collect();
        format!("\n  {kind:<9} {}", calls.join(", "))
    };
    format!("points of each daemon that seeds draw from:{}", points.iter().map(line).collect::<String>())
}
