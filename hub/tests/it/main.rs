//! The ledger beside a second implementation of the specification.

mod vectors;
