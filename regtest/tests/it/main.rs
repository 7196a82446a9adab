//! Stories on a real bitcoind.

mod ledger;
mod node;
