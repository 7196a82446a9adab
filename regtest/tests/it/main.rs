//! Stories on a real bitcoind.

mod anchors;
mod doors;
mod facts;
mod interrupt;
mod kills;
mod ledger;
mod node;
mod properties;
mod spends;
mod timestamps;
