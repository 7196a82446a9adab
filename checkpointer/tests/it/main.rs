//! Stories of the checkpointer against a real bitcoind and a real hub.

mod party;
mod report;
