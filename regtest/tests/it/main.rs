//! Stories on a real bitcoind.

mod anchors;
mod doors;
mod facts;
mod interrupt;
mod ledger;
mod lies;
mod node;
mod properties;
mod spends;
mod timestamps;
