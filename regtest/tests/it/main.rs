//! Stories on a real bitcoind.

mod doors;
mod facts;
mod ledger;
mod node;
mod properties;
