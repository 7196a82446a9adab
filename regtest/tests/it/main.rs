//! Stories on a real bitcoind.

mod anchors;
mod doors;
mod facts;
mod ledger;
mod node;
mod proofs;
mod properties;
mod refusals;
mod spends;
mod timestamps;
