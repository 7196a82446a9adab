//! Stories on a real bitcoind.

mod node;
