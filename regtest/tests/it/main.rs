//! Stories on a real bitcoind.

mod doors;
mod ledger;
mod node;
