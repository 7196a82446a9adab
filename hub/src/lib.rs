//! The ledger of Palisade.
pub mod ledger;
