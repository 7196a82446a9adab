//! Stories and properties of the rules, in memory.

mod anchors;
#[path = "../../../../protocol/tests/it/edits.rs"]
mod edits;
mod facts;
mod ledger;
mod proofs;
mod properties;
mod recovery;
mod refusals;
mod replays;
mod resumes;
mod retargets;
mod sets;
mod vectors;
mod versions;
mod votes;
