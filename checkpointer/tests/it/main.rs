//! Stories of the checkpointer against a real bitcoind and a real hub.

mod anchor;
mod fees;
mod lies;
mod party;
mod processes;
mod proofs;
mod report;
mod watch;
