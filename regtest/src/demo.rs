//! The demo: the whole story on a real bitcoind, told as it happens, with a report that anybody can check.

pub mod family;
pub mod holders;
pub mod network;
pub mod operators;
pub mod place;
pub mod report;
pub mod story;
pub mod tell;
pub mod up;
