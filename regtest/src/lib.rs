//! Real bitcoind under test.

mod bitcoind;
pub mod node;

pub use bitcoind::{NoBitcoind, bitcoind_path};
pub use node::Node;
pub mod world;
