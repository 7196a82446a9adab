//! The ledger of Palisade.
pub mod client;
pub mod engine;
pub mod ledger;
pub mod replica;
pub mod store;
