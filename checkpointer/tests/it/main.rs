//! Stories of the checkpointer against a real bitcoind and a real hub.

mod anchor;
mod behind;
mod estimates;
mod fees;
mod late;
mod lies;
mod party;
mod processes;
mod proofs;
mod purse;
mod report;
mod rivals;
mod watch;
