//! Palisade under test: a real bitcoind, the network around it, and those who misbehave.

mod bitcoind;
pub mod demo;
pub mod devchain;
pub mod liar;
pub mod node;
pub mod process;
pub mod world;

pub use bitcoind::{NoBitcoind, bitcoind_path};
pub use node::Node;
