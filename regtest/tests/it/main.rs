//! Stories on a real bitcoind.

mod alarms;
mod anchors;
mod doors;
mod drills;
#[path = "../../../protocol/tests/it/edits.rs"]
mod edits;
mod facts;
mod faults;
mod formats;
mod full_disk;
mod interrupt;
mod kills;
mod ledger;
mod lies;
mod lost_hub;
mod node;
mod openapi;
mod proofs;
mod properties;
mod provision;
mod records;
mod recovery;
mod refusals;
mod reorgs;
mod resumes;
mod sets;
mod spends;
mod starts;
mod timestamps;
mod up;
mod versions;
mod votes;
