//! The ledger of Palisade.
