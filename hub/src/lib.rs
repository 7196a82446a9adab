//! The ledger of Palisade.

pub mod bitcoind;
